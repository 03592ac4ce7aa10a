//! Tokens to nodes.

use std::collections::BTreeMap;

use super::fault::Fault;
use super::scanner::Scanner;
use super::source::Mark;
use super::token::{Kind, Token};
use crate::context::Context;
use crate::value::Text;

/// A node's number in its [`Tree`].
pub(super) type Id = usize;

/// The first document of a text.
#[derive(Default)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
}

/// A node.
pub(super) enum Node {
    Scalar(Scalar),
    Alias { name: Text, target: Id },
    Sequence(Vec<Id>),
    Mapping(Vec<(Id, Id)>),
}

/// A scalar.
pub(super) struct Scalar {
    pub(super) value: Text,
    /// Its tag in full; empty if it has none.
    pub(super) tag: Vec<u8>,
    /// Whether it is plain without a tag, or has the tag `!`.
    pub(super) implicit: bool,
}

/// Anchor and tag in front of a node.
#[derive(Default)]
struct Properties {
    anchor: Option<Text>,
    tag: Vec<u8>,
}

struct Parser<'a> {
    scanner: Scanner<'a>,
    tree: Tree,
    anchors: BTreeMap<Text, Id>,
    /// Handles of tags and what they stand for.
    handles: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Reads the first document and gives its root; `None` if the text has none. What stands behind it may be anything.
pub(super) fn parse(cx: &mut Context, scanner: Scanner<'_>) -> Result<Option<(Tree, Id)>, Fault> {
    let mut parser = Parser {
        scanner,
        tree: Tree::default(),
        anchors: BTreeMap::new(),
        handles: Vec::new(),
    };
    let root = parser.document(cx)?;
    Ok(root.map(|root| (parser.tree, root)))
}

/// A fault of the parser. It names the line of the problem or else that of what it is in, both one too low.
fn fault(context: Option<Mark>, problem: &str, mark: Mark) -> Fault {
    let context = context.map_or(0, |context| context.line);
    let line = if mark.line > 0 { mark.line } else { context };
    Fault::at((line > 0).then_some(line), problem)
}

// === impl Scalar ===

impl Scalar {
    fn empty() -> Self {
        Self {
            value: Text::default(),
            tag: Vec::new(),
            implicit: true,
        }
    }
}

// === impl Parser ===

impl Parser<'_> {
    fn peek(&mut self) -> Result<&Token, Fault> {
        self.scanner.peek()
    }

    /// Takes the token that was peeked, and looks at the next.
    fn take_and_peek(&mut self) -> Result<&Token, Fault> {
        self.take();
        self.peek()
    }

    fn take(&mut self) -> Option<Token> {
        self.scanner.take()
    }

    fn add(&mut self, cx: &mut Context, node: Node) -> Result<Id, Fault> {
        cx.work(2)?;
        cx.allocate(size_of::<Node>() + size_of::<Id>())?;
        self.tree.nodes.push(node);
        Ok(self.tree.nodes.len() - 1)
    }

    fn add_empty(&mut self, cx: &mut Context) -> Result<Id, Fault> {
        self.add(cx, Node::Scalar(Scalar::empty()))
    }

    fn document(&mut self, cx: &mut Context) -> Result<Option<Id>, Fault> {
        let explicit = match self.peek()?.kind {
            Kind::StreamEnd => return Ok(None),
            Kind::Version(..) | Kind::TagDirective(..) | Kind::DocumentStart => true,
            _ => false,
        };
        self.directives(cx)?;
        let root = if explicit {
            let token = self.peek()?;
            if !matches!(token.kind, Kind::DocumentStart) {
                let problem = "did not find expected <document start>";
                return Err(fault(None, problem, token.mark));
            }
            match self.take_and_peek()?.kind {
                Kind::Version(..)
                | Kind::TagDirective(..)
                | Kind::DocumentStart
                | Kind::DocumentEnd
                | Kind::StreamEnd => self.add_empty(cx)?,
                _ => self.node(cx, true, false)?,
            }
        } else {
            self.node(cx, true, false)?
        };
        // The token behind the document must be one, too.
        self.peek()?;
        Ok(Some(root))
    }

    fn directives(&mut self, cx: &mut Context) -> Result<(), Fault> {
        let mut versions = 0;
        loop {
            let token = self.peek()?;
            let mark = token.mark;
            match &token.kind {
                Kind::Version(major, minor) => {
                    let supported = (*major, *minor) == (1, 1);
                    versions += 1;
                    if versions > 1 {
                        return Err(fault(None, "found duplicate %YAML directive", mark));
                    }
                    if !supported {
                        return Err(fault(None, "found incompatible YAML document", mark));
                    }
                    self.take();
                }
                Kind::TagDirective(..) => {
                    if let Some(Token {
                        kind: Kind::TagDirective(handle, prefix),
                        ..
                    }) = self.take()
                    {
                        if self.handles.iter().any(|(known, _)| *known == handle) {
                            return Err(fault(None, "found duplicate %TAG directive", mark));
                        }
                        cx.work(1 + self.handles.len() as u64)?;
                        self.handles.push((handle, prefix));
                    }
                }
                _ => break,
            }
        }
        for (handle, prefix) in [("!", "!"), ("!!", "tag:yaml.org,2002:")] {
            if !self
                .handles
                .iter()
                .any(|(known, _)| known == handle.as_bytes())
            {
                self.handles.push((handle.into(), prefix.into()));
            }
        }
        Ok(())
    }

    /// A node. Outside brackets it may be a block, and where `indentless` a sequence may be as far left as its key.
    fn node(&mut self, cx: &mut Context, block: bool, indentless: bool) -> Result<Id, Fault> {
        let start = self.peek()?.mark;
        if let Kind::Alias(_) = self.peek()?.kind {
            return self.alias(cx);
        }
        let properties = self.properties(start)?;
        let token = self.peek()?;
        let mark = token.mark;
        match &token.kind {
            Kind::BlockEntry if indentless => {
                self.collection(cx, properties, Self::indentless_sequence)
            }
            Kind::Scalar { .. } => self.scalar(cx, properties),
            Kind::FlowSequenceStart => self.collection(cx, properties, Self::flow_sequence),
            Kind::FlowMappingStart => self.collection(cx, properties, Self::flow_mapping),
            Kind::BlockSequenceStart if block => {
                self.collection(cx, properties, Self::block_sequence)
            }
            Kind::BlockMappingStart if block => {
                self.collection(cx, properties, Self::block_mapping)
            }
            _ if properties.anchor.is_some() || !properties.tag.is_empty() => {
                let implicit = properties.tag.is_empty();
                let id = self.add(
                    cx,
                    Node::Scalar(Scalar {
                        value: Text::default(),
                        tag: properties.tag,
                        implicit,
                    }),
                )?;
                self.name(properties.anchor, id);
                Ok(id)
            }
            _ => Err(fault(
                Some(start),
                "did not find expected node content",
                mark,
            )),
        }
    }

    fn alias(&mut self, cx: &mut Context) -> Result<Id, Fault> {
        let Some(Token {
            kind: Kind::Alias(name),
            ..
        }) = self.take()
        else {
            return Err(Fault::at(None, "no alias"));
        };
        let Some(&target) = self.anchors.get(&name) else {
            return Err(Fault::showing_data(
                format!("yaml: unknown anchor '{}' referenced", name.to_lossy()),
                "yaml: unknown anchor referenced",
            ));
        };
        self.add(cx, Node::Alias { name, target })
    }

    fn properties(&mut self, start: Mark) -> Result<Properties, Fault> {
        let mut properties = Properties::default();
        let mut tag = None;
        // Each at most once, in any order.
        for _ in 0..2 {
            match self.peek()?.kind {
                Kind::Anchor(_) if properties.anchor.is_none() => {
                    if let Some(Token {
                        kind: Kind::Anchor(name),
                        ..
                    }) = self.take()
                    {
                        properties.anchor = Some(name);
                    }
                }
                Kind::Tag(..) if tag.is_none() => tag = self.take(),
                _ => break,
            }
        }
        // The token behind must be one before the tag is looked up.
        self.peek()?;
        if let Some(Token {
            kind: Kind::Tag(handle, suffix),
            mark,
        }) = tag
        {
            properties.tag = self.full_tag(&handle, suffix, start, mark)?;
        }
        Ok(properties)
    }

    fn full_tag(
        &self,
        handle: &[u8],
        suffix: Vec<u8>,
        start: Mark,
        mark: Mark,
    ) -> Result<Vec<u8>, Fault> {
        if handle.is_empty() {
            return Ok(suffix);
        }
        let prefix = self.handles.iter().find(|(known, _)| known == handle);
        let full = prefix.map(|(_, prefix)| [prefix.as_slice(), &suffix].concat());
        match full {
            Some(full) if !full.is_empty() => Ok(full),
            _ => Err(fault(Some(start), "found undefined tag handle", mark)),
        }
    }

    fn name(&mut self, anchor: Option<Text>, id: Id) {
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, id);
        }
    }

    fn scalar(&mut self, cx: &mut Context, properties: Properties) -> Result<Id, Fault> {
        let Some(Token {
            kind: Kind::Scalar { value, plain },
            ..
        }) = self.take()
        else {
            return Err(Fault::at(None, "no scalar"));
        };
        let tag = properties.tag;
        let implicit = (plain && tag.is_empty()) || tag == b"!";
        let id = self.add(
            cx,
            Node::Scalar(Scalar {
                value,
                tag,
                implicit,
            }),
        )?;
        self.name(properties.anchor, id);
        Ok(id)
    }

    /// A sequence or mapping, which may be named inside itself.
    fn collection(
        &mut self,
        cx: &mut Context,
        properties: Properties,
        read: fn(&mut Self, &mut Context) -> Result<Node, Fault>,
    ) -> Result<Id, Fault> {
        let id = self.add(cx, Node::Sequence(Vec::new()))?;
        self.name(properties.anchor, id);
        let node = cx.nested(|cx| read(self, cx))?;
        if let Some(place) = self.tree.nodes.get_mut(id) {
            *place = node;
        }
        Ok(id)
    }

    fn block_sequence(&mut self, cx: &mut Context) -> Result<Node, Fault> {
        let start = self.peek()?.mark;
        self.take();
        let mut items = Vec::new();
        loop {
            let token = self.peek()?;
            let mark = token.mark;
            match token.kind {
                Kind::BlockEntry => {
                    let item = match self.take_and_peek()?.kind {
                        Kind::BlockEntry | Kind::BlockEnd => self.add_empty(cx)?,
                        _ => self.node(cx, true, false)?,
                    };
                    items.push(item);
                }
                Kind::BlockEnd => {
                    self.take();
                    return Ok(Node::Sequence(items));
                }
                _ => {
                    let problem = "did not find expected '-' indicator";
                    return Err(fault(Some(start), problem, mark));
                }
            }
        }
    }

    fn indentless_sequence(&mut self, cx: &mut Context) -> Result<Node, Fault> {
        let mut items = Vec::new();
        while let Kind::BlockEntry = self.peek()?.kind {
            let item = match self.take_and_peek()?.kind {
                Kind::BlockEntry | Kind::Key | Kind::Value | Kind::BlockEnd => {
                    self.add_empty(cx)?
                }
                _ => self.node(cx, true, false)?,
            };
            items.push(item);
        }
        Ok(Node::Sequence(items))
    }

    fn block_mapping(&mut self, cx: &mut Context) -> Result<Node, Fault> {
        let start = self.peek()?.mark;
        self.take();
        let mut entries = Vec::new();
        loop {
            let token = self.peek()?;
            let mark = token.mark;
            match token.kind {
                Kind::Key => {
                    let key = self.block_mapping_part(cx)?;
                    let value = match self.peek()?.kind {
                        Kind::Value => self.block_mapping_part(cx)?,
                        _ => self.add_empty(cx)?,
                    };
                    entries.push((key, value));
                }
                Kind::BlockEnd => {
                    self.take();
                    return Ok(Node::Mapping(entries));
                }
                _ => {
                    let problem = "did not find expected key";
                    return Err(fault(Some(start), problem, mark));
                }
            }
        }
    }

    /// What stands behind `?` or `:`.
    fn block_mapping_part(&mut self, cx: &mut Context) -> Result<Id, Fault> {
        match self.take_and_peek()?.kind {
            Kind::Key | Kind::Value | Kind::BlockEnd => self.add_empty(cx),
            _ => self.node(cx, true, true),
        }
    }

    fn flow_sequence(&mut self, cx: &mut Context) -> Result<Node, Fault> {
        let start = self.peek()?.mark;
        self.take();
        let mut items = Vec::new();
        loop {
            if let Kind::FlowSequenceEnd = self.peek()?.kind {
                break;
            }
            if !items.is_empty() {
                let token = self.peek()?;
                if !matches!(token.kind, Kind::FlowEntry) {
                    let problem = "did not find expected ',' or ']'";
                    return Err(fault(Some(start), problem, token.mark));
                }
                self.take();
            }
            match self.peek()?.kind {
                Kind::Key => items.push(self.flow_pair(cx)?),
                Kind::FlowSequenceEnd => break,
                _ => items.push(self.node(cx, false, false)?),
            }
        }
        self.take();
        Ok(Node::Sequence(items))
    }

    /// `key: value` as an entry of a sequence: a mapping of one.
    fn flow_pair(&mut self, cx: &mut Context) -> Result<Id, Fault> {
        let id = self.add(cx, Node::Mapping(Vec::new()))?;
        let key = match self.take_and_peek()?.kind {
            Kind::Value | Kind::FlowEntry | Kind::FlowSequenceEnd => {
                // As in libyaml, the token is lost.
                self.take();
                self.add_empty(cx)?
            }
            _ => self.node(cx, false, false)?,
        };
        let mut value = None;
        if let Kind::Value = self.peek()?.kind {
            match self.take_and_peek()?.kind {
                Kind::FlowEntry | Kind::FlowSequenceEnd => {}
                _ => value = Some(self.node(cx, false, false)?),
            }
        }
        let value = match value {
            Some(value) => value,
            None => self.add_empty(cx)?,
        };
        if let Some(place) = self.tree.nodes.get_mut(id) {
            *place = Node::Mapping(vec![(key, value)]);
        }
        Ok(id)
    }

    fn flow_mapping(&mut self, cx: &mut Context) -> Result<Node, Fault> {
        let start = self.peek()?.mark;
        self.take();
        let mut entries = Vec::new();
        loop {
            if let Kind::FlowMappingEnd = self.peek()?.kind {
                break;
            }
            if !entries.is_empty() {
                let token = self.peek()?;
                if !matches!(token.kind, Kind::FlowEntry) {
                    let problem = "did not find expected ',' or '}'";
                    return Err(fault(Some(start), problem, token.mark));
                }
                self.take();
            }
            match self.peek()?.kind {
                Kind::Key => {
                    let key = match self.take_and_peek()?.kind {
                        Kind::Value | Kind::FlowEntry | Kind::FlowMappingEnd => {
                            self.add_empty(cx)?
                        }
                        _ => self.node(cx, false, false)?,
                    };
                    let value = self.flow_value(cx)?;
                    entries.push((key, value));
                }
                Kind::FlowMappingEnd => break,
                _ => {
                    let key = self.node(cx, false, false)?;
                    let value = self.add_empty(cx)?;
                    // The next token must be one before the value ends.
                    self.peek()?;
                    entries.push((key, value));
                }
            }
        }
        self.take();
        Ok(Node::Mapping(entries))
    }

    fn flow_value(&mut self, cx: &mut Context) -> Result<Id, Fault> {
        if let Kind::Value = self.peek()?.kind {
            return match self.take_and_peek()?.kind {
                Kind::FlowEntry | Kind::FlowMappingEnd => self.add_empty(cx),
                _ => self.node(cx, false, false),
            };
        }
        self.add_empty(cx)
    }
}

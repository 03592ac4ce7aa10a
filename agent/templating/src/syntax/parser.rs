//! From tokens to the tree. Follows the Go parser's order of looking ahead, because its errors bear the line of the token that
//! was read last.

mod blocks;
mod failure;
mod pipelines;
mod tokens;

use std::collections::{BTreeMap, HashMap};

use super::ast::{Block, Command, Definition, Expression, Forest, Name, Position, Statement};
use super::lexer::Lexer;
use super::token::{Keyword, Kind, Token};
use crate::error::ParseError;
use crate::limits::Limits;
use crate::template::Delimiters;
use crate::unicode::{first_rune, is_space};
use crate::value::Text;

type Result<T, E = ParseError> = std::result::Result<T, E>;

/// Parses one text.
pub(super) struct Parser<'t> {
    name: &'t str,
    text: &'t [u8],
    lexer: Lexer<'t>,
    templates: BTreeMap<Name, Definition>,
    tree: Tree<'t>,
    /// Nodes that belong to no list yet, those of outer lists first: so each list takes memory once, and no more than it needs.
    statements: Vec<Statement>,
    commands: Vec<Command>,
    words: Vec<Expression>,
    /// How deep the block is that is being parsed.
    depth: u32,
    /// How deep it may be.
    nesting: u32,
    /// How many tokens were read.
    tokens: u64,
    /// How many may be.
    most_tokens: u64,
}

/// What belongs to one template while it is parsed: the text's own, a `define` or a `block`.
struct Tree<'t> {
    /// Tokens read ahead, last one first. Between templates the look-ahead is empty.
    ahead: [Token; 3],
    /// How many tokens of `ahead` are to be read again.
    pending: usize,
    /// Where the left delimiter of the current action is.
    action: Option<usize>,
    /// How many `range` bodies are around.
    ranges: u32,
    /// How many parentheses are around.
    parentheses: u32,
    variables: Variables<'t>,
}

/// The variables that are visible, the latest last.
struct Variables<'t> {
    names: Vec<&'t [u8]>,
    /// How often each is declared, once there are too many to look at one by one.
    counts: Option<HashMap<&'t [u8], u32>>,
}

/// From how many variables on they are counted.
const MANY_VARIABLES: usize = 32;

/// What an action turned out to be.
enum Node {
    Statement(Statement),
    /// `{{ else }}`, or `{{ else` with the `if` or `with` still ahead.
    Else,
    /// `{{ end }}`
    End,
}

/// Parses `text`; `name` is the template's.
pub(super) fn parse(
    name: &str,
    text: &[u8],
    delimiters: &Delimiters,
    limits: &Limits,
) -> Result<Forest> {
    let mut parser = Parser {
        name,
        text,
        lexer: Lexer::new(text, &delimiters.left, &delimiters.right),
        templates: BTreeMap::new(),
        tree: Tree::new(),
        statements: Vec::with_capacity(8),
        commands: Vec::new(),
        words: Vec::with_capacity(8),
        depth: 0,
        nesting: limits.nesting,
        tokens: 0,
        most_tokens: limits.steps,
    };
    if Position::try_from(text.len()).is_err() {
        return Err(parser.fail("the template is too long", &[]));
    }
    let root = parser.root()?;
    let own = parser.define_own(root)?;
    Ok(Forest {
        name: name.to_owned(),
        own,
        defined: parser.templates,
        text: Text::whole(text.to_vec()),
    })
}

// === impl Parser ===

impl<'t> Parser<'t> {
    /// The text's own template, to the end of the text.
    fn root(&mut self) -> Result<Block> {
        while self.peek().kind != Kind::End {
            if self.peek().kind == Kind::LeftDelimiter {
                let delimiter = self.next();
                if self.next_non_space().kind == Kind::Keyword(Keyword::Define) {
                    self.in_new_tree(Self::definition)?;
                    continue;
                }
                self.back_up_to(&[delimiter]);
            }
            match self.text_or_action()? {
                Node::Statement(statement) => self.statements.push(statement),
                other => return Err(self.fail("unexpected %s", &[other.name().into()])),
            }
        }
        Ok(self.take_statements(0))
    }

    /// The statements since the mark, as a block.
    fn take_statements(&mut self, mark: usize) -> Block {
        Block(self.statements.drain(mark..).collect())
    }

    /// Takes the text's own template in, and out again.
    fn define_own(&mut self, root: Block) -> Result<Block> {
        if self.templates.is_empty() {
            return Ok(root);
        }
        let name = Name::from(self.name.as_bytes());
        self.define(Name::clone(&name), root)?;
        let own = self.templates.remove(&name);
        Ok(own.map(|own| own.block).unwrap_or_default())
    }

    /// `{{ define "name" }}` to its `{{ end }}`; the keyword is past.
    fn definition(&mut self) -> Result<()> {
        const CONTEXT: &str = "define clause";
        let token = self.next_non_space();
        let name = self.template_name(token, CONTEXT)?;
        self.expect(Kind::RightDelimiter, CONTEXT)?;
        let (block, end) = self.block()?;
        if !matches!(end, Node::End) {
            return Err(self.fail("unexpected %s in %s", &[end.name().into(), CONTEXT.into()]));
        }
        self.define(name, block)
    }

    /// Takes a template in. One that is not blank cannot be replaced by another one.
    fn define(&mut self, name: Name, block: Block) -> Result<()> {
        let is_blank = self.is_blank(&block);
        match self.templates.get(&name) {
            Some(existing) if !existing.is_blank => {
                if is_blank {
                    return Ok(());
                }
                Err(self.fail(
                    "template: multiple definition of template %q",
                    &[(&*name).into()],
                ))
            }
            _ => {
                self.templates.insert(name, Definition { block, is_blank });
                Ok(())
            }
        }
    }

    fn is_blank(&self, block: &Block) -> bool {
        block.0.iter().all(|statement| match statement {
            Statement::Text(span) => is_blank(span.of(self.text)),
            _ => false,
        })
    }

    /// Parses a template of its own, from where the reading is.
    fn in_new_tree<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let outer = std::mem::replace(&mut self.tree, Tree::new());
        let result = step(self);
        self.tree = outer;
        result
    }
}

/// Whether there are only blanks, as Unicode has them.
fn is_blank(mut text: &[u8]) -> bool {
    while let Some((character, length)) = first_rune(text) {
        if !is_space(character) {
            return false;
        }
        text = &text[length..];
    }
    true
}

// === impl Tree ===

impl Tree<'_> {
    fn new() -> Self {
        let nothing = Token {
            kind: Kind::End,
            start: 0,
            end: 0,
        };
        Self {
            ahead: [nothing; 3],
            pending: 0,
            action: None,
            ranges: 0,
            parentheses: 0,
            variables: Variables {
                names: Vec::new(),
                counts: None,
            },
        }
    }
}

// === impl Variables ===

impl<'t> Variables<'t> {
    fn declare(&mut self, name: &'t [u8]) {
        self.names.push(name);
        if let Some(counts) = &mut self.counts {
            *counts.entry(name).or_default() += 1;
        } else if self.names.len() >= MANY_VARIABLES {
            let mut counts = HashMap::new();
            for name in &self.names {
                *counts.entry(*name).or_default() += 1;
            }
            self.counts = Some(counts);
        }
    }

    fn contains(&self, name: &[u8]) -> bool {
        name == b"$"
            || match &self.counts {
                Some(counts) => counts.contains_key(name),
                None => self.names.contains(&name),
            }
    }

    /// How many there are: the mark to go back to with [`Self::forget`].
    fn mark(&self) -> usize {
        self.names.len()
    }

    /// Forgets those declared since the mark.
    fn forget(&mut self, mark: usize) {
        for name in self.names.drain(mark.min(self.names.len())..) {
            let Some(counts) = &mut self.counts else {
                continue;
            };
            if let Some(count) = counts.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(name);
                }
            }
        }
    }
}

// === impl Node ===

impl Node {
    /// As error texts show it.
    fn name(&self) -> &'static str {
        match self {
            Self::Statement(_) => "",
            Self::Else => "{{else}}",
            Self::End => "{{end}}",
        }
    }
}

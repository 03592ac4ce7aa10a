//! Nodes to values, by way of what JSON could hold.

use std::collections::BTreeSet;

use zeroize::Zeroizing;

use super::fault::Fault;
use super::parser::{Id, Node, Scalar, Tree};
use super::resolve::{Data, resolve};
use super::syntax;
use crate::context::Context;
use crate::format;
use crate::unicode;
use crate::value::{Dict, Element, Text, Value};

/// What becomes of the scalars that are values of the outermost mapping.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaves {
    /// They keep their types; numbers are floats.
    Typed,
    /// They keep their types; integers that fit are [`Value::Int64`].
    Exact,
    /// They become texts, for a map of strings.
    Texts,
}

/// Where a node stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    /// A value of the outermost mapping.
    Value,
    Inner,
}

/// What the tree holds.
pub(super) struct Decoded {
    pub(super) value: Value,
    /// Why it is no JSON, if it is none.
    pub(super) fault: Option<Fault>,
}

struct Decoder<'a> {
    tree: &'a Tree,
    leaves: Leaves,
    /// How many nodes were decoded, and how many of them behind aliases.
    count: u64,
    aliased: u64,
    alias_depth: u32,
    /// The aliases that are being followed.
    active: BTreeSet<Id>,
    /// Mappings with a key that JSON cannot have.
    unsupported: Vec<(Dict, Fault)>,
    has_infinite: bool,
}

/// Decodes the tree.
pub(super) fn decode(
    cx: &mut Context,
    tree: &Tree,
    root: Id,
    leaves: Leaves,
) -> Result<Decoded, Fault> {
    let mut decoder = Decoder {
        tree,
        leaves,
        count: 1,
        aliased: 0,
        alias_depth: 0,
        active: BTreeSet::new(),
        unsupported: Vec::new(),
        has_infinite: false,
    };
    let value = decoder.value(cx, root, Place::Root)?;
    let mut fault = None;
    if !decoder.unsupported.is_empty() {
        find_unsupported(cx, &value, &mut decoder.unsupported, &mut fault)?;
    }
    if fault.is_none() && decoder.has_infinite {
        fault = infinite(cx, &value)?
            .map(|number| Fault::plain(format!("json: unsupported value: {number}")));
    }
    Ok(Decoded { value, fault })
}

/// The first mapping that is still there with a key that JSON cannot have.
fn find_unsupported(
    cx: &mut Context,
    value: &Value,
    unsupported: &mut Vec<(Dict, Fault)>,
    found: &mut Option<Fault>,
) -> Result<(), Fault> {
    cx.work(1)?;
    match value {
        _ if found.is_some() => Ok(()),
        Value::List(list) => cx.nested(|cx| {
            let mut values = list.values().iter();
            values.try_for_each(|value| find_unsupported(cx, value, unsupported, found))
        }),
        Value::Dict(dict) => {
            cx.work(unsupported.len() as u64)?;
            if let Some(index) = unsupported
                .iter()
                .position(|(other, _)| other.is_same(dict))
            {
                *found = Some(unsupported.swap_remove(index).1);
                return Ok(());
            }
            cx.nested(|cx| {
                dict.try_each(|_, value| find_unsupported(cx, value, unsupported, found))
            })
        }
        _ => Ok(()),
    }
}

/// The first float in the order of JSON that JSON cannot have.
fn infinite(cx: &mut Context, value: &Value) -> Result<Option<&'static str>, Fault> {
    cx.work(1)?;
    match value {
        Value::Float(number) if number.is_nan() => Ok(Some("NaN")),
        Value::Float(number) if number.is_infinite() => {
            Ok(Some(if *number > 0.0 { "+Inf" } else { "-Inf" }))
        }
        Value::List(list) => cx.nested(|cx| {
            for value in list.values() {
                if let Some(number) = infinite(cx, value)? {
                    return Ok(Some(number));
                }
            }
            Ok(None)
        }),
        Value::Dict(dict) => cx.nested(|cx| {
            let mut found = None;
            dict.try_each(|_, value| {
                if found.is_none() {
                    found = infinite(cx, value)?;
                }
                Ok::<_, Fault>(())
            })?;
            Ok(found)
        }),
        _ => Ok(None),
    }
}

// === impl Place ===

impl Place {
    /// The place of values of a mapping that is here.
    fn inside_mapping(self) -> Self {
        match self {
            Self::Root => Self::Value,
            Self::Value | Self::Inner => Self::Inner,
        }
    }
}

// === impl Decoder ===

impl Decoder<'_> {
    fn node(&self, id: Id) -> Result<&Node, Fault> {
        let node = self.tree.nodes.get(id);
        node.ok_or_else(|| Fault::at(None, "no node"))
    }

    /// Counts a node, and refuses a document most of which is behind aliases.
    fn count(&mut self, cx: &mut Context) -> Result<(), Fault> {
        cx.work(1)?;
        self.count += 1;
        if self.alias_depth > 0 {
            self.aliased += 1;
        }
        let ratio = self.aliased as f64 / self.count as f64;
        if self.aliased > 100 && self.count > 1000 && ratio > allowed_ratio(self.count) {
            return Err(Fault::at(None, "document contains excessive aliasing"));
        }
        Ok(())
    }

    /// The value of a node.
    fn value(&mut self, cx: &mut Context, id: Id, place: Place) -> Result<Value, Fault> {
        self.count(cx)?;
        let tree = self.tree;
        match tree.nodes.get(id) {
            Some(Node::Scalar(scalar)) => self.leaf(cx, scalar, place),
            Some(Node::Alias { name, target }) => {
                self.follow(id, name)?;
                let value = self.value(cx, *target, place);
                self.unfollow(id);
                value
            }
            Some(Node::Sequence(items)) => cx.nested(|cx| {
                cx.allocate(items.len().saturating_mul(size_of::<Value>()))?;
                let mut values = Vec::with_capacity(items.len());
                for &item in items {
                    values.push(self.value(cx, item, Place::Inner)?);
                }
                Ok(cx.list(Element::Any, values)?)
            }),
            Some(Node::Mapping(entries)) => {
                let dict = cx.dict()?;
                cx.nested(|cx| self.entries(cx, entries, &dict, place.inside_mapping()))?;
                Ok(Value::Dict(dict))
            }
            None => Err(Fault::at(None, "no node")),
        }
    }

    fn follow(&mut self, alias: Id, name: &Text) -> Result<(), Fault> {
        if !self.active.insert(alias) {
            return Err(Fault::showing_data(
                format!("yaml: anchor '{}' value contains itself", name.to_lossy()),
                "yaml: anchor value contains itself",
            ));
        }
        self.alias_depth += 1;
        Ok(())
    }

    fn unfollow(&mut self, alias: Id) {
        self.alias_depth -= 1;
        self.active.remove(&alias);
    }

    fn leaf(&mut self, cx: &mut Context, scalar: &Scalar, place: Place) -> Result<Value, Fault> {
        let data = resolve(scalar)?;
        if place == Place::Value && self.leaves == Leaves::Texts {
            return Ok(text_leaf(cx, data)?);
        }
        Ok(match data {
            Data::Nil => Value::Nil,
            Data::Bool(value) => Value::Bool(value),
            Data::Int(number) if self.leaves == Leaves::Exact => Value::Int64(number),
            Data::Int(number) => Value::Float(number as f64),
            Data::Uint(number) => Value::Float(number as f64),
            Data::Float(number) => {
                self.has_infinite |= !number.is_finite();
                Value::Float(number)
            }
            Data::Text(text) => Value::Text(text),
            Data::Binary(text) => Value::Text(through_json(&text)),
        })
    }

    fn entries(
        &mut self,
        cx: &mut Context,
        entries: &[(Id, Id)],
        dict: &Dict,
        place: Place,
    ) -> Result<(), Fault> {
        let mut unsupported = None;
        for &(key, value) in entries {
            if is_merge(self.node(key)?) {
                self.merge(cx, value, dict, place)?;
                continue;
            }
            let text = self.key(cx, key)?;
            let decoded = self.value(cx, value, place)?;
            match text {
                Ok(text) => {
                    cx.allocate(size_of::<(Text, Value)>())?;
                    dict.insert(text, decoded);
                }
                Err(key) => unsupported = Some((key, value)),
            }
        }
        // The last of equal keys counts.
        if let Some((key, value)) = unsupported {
            cx.allocate(size_of::<(Dict, Fault)>())?;
            let fault = self.show_unsupported(cx, &key, value)?;
            self.unsupported.push((dict.clone(), fault));
        }
        Ok(())
    }

    /// A key as JSON has it, or the type of one that it cannot have.
    fn key(&mut self, cx: &mut Context, id: Id) -> Result<Result<Text, Unsupported>, Fault> {
        self.count(cx)?;
        let tree = self.tree;
        match tree.nodes.get(id) {
            Some(Node::Scalar(scalar)) => Ok(key_text(resolve(scalar)?)),
            Some(Node::Alias { name, target }) => {
                self.follow(id, name)?;
                let key = self.key(cx, *target);
                self.unfollow(id);
                key
            }
            _ => {
                self.count -= 1;
                // Other faults inside it come first.
                self.value(cx, id, Place::Inner)?;
                let shown = syntax::show(cx, self.tree, id)?;
                Err(Fault::showing_data(
                    format!("yaml: invalid map key: {}", String::from_utf8_lossy(&shown)),
                    "yaml: invalid map key",
                ))
            }
        }
    }

    fn show_unsupported(
        &self,
        cx: &mut Context,
        key: &Unsupported,
        value: Id,
    ) -> Result<Fault, Fault> {
        let shown = syntax::show(cx, self.tree, value)?;
        let safe = format!("unsupported map key of type: {}", key.type_name);
        Ok(Fault::showing_data(
            format!(
                "{safe}, key: {}, value: {}",
                key.shown,
                String::from_utf8_lossy(&shown)
            ),
            safe,
        ))
    }

    /// Takes over the entries of one mapping or several.
    fn merge(&mut self, cx: &mut Context, id: Id, dict: &Dict, place: Place) -> Result<(), Fault> {
        let tree = self.tree;
        match tree.nodes.get(id) {
            // The first ones win, so they come last.
            Some(Node::Sequence(items)) => {
                for &item in items.iter().rev() {
                    self.merge_one(cx, item, dict, place)?;
                }
                Ok(())
            }
            _ => self.merge_one(cx, id, dict, place),
        }
    }

    fn merge_one(
        &mut self,
        cx: &mut Context,
        id: Id,
        dict: &Dict,
        place: Place,
    ) -> Result<(), Fault> {
        let tree = self.tree;
        match tree.nodes.get(id) {
            Some(Node::Mapping(entries)) => {
                self.count(cx)?;
                cx.nested(|cx| self.entries(cx, entries, dict, place))
            }
            Some(Node::Alias { name, target }) => match tree.nodes.get(*target) {
                Some(Node::Mapping(_)) => {
                    self.count(cx)?;
                    self.follow(id, name)?;
                    let result = self.merge_one(cx, *target, dict, place);
                    self.unfollow(id);
                    result
                }
                _ => Err(no_map_to_merge()),
            },
            _ => Err(no_map_to_merge()),
        }
    }
}

fn no_map_to_merge() -> Fault {
    Fault::at(
        None,
        "map merge requires map or sequence of maps as the value",
    )
}

/// How much of a document may be behind aliases: less, the larger it is.
fn allowed_ratio(count: u64) -> f64 {
    const LOW: f64 = 400_000.0;
    const HIGH: f64 = 4_000_000.0;
    let count = count as f64;
    if count <= LOW {
        0.99
    } else if count >= HIGH {
        0.10
    } else {
        0.99 - 0.89 * ((count - LOW) / (HIGH - LOW))
    }
}

/// Whether a key is `<<`, whose value's entries are taken over.
pub(super) fn is_merge(node: &Node) -> bool {
    match node {
        Node::Scalar(scalar) => {
            scalar.value.bytes() == b"<<"
                && (scalar.implicit || scalar.tag == b"tag:yaml.org,2002:merge")
        }
        _ => false,
    }
}

/// A key that JSON cannot have.
struct Unsupported {
    type_name: &'static str,
    shown: String,
}

fn key_text(data: Data) -> Result<Text, Unsupported> {
    Ok(match data {
        Data::Text(text) => text,
        Data::Binary(text) => through_json(&text),
        Data::Bool(value) => Text::word(if value { "true" } else { "false" }),
        Data::Int(number) => Text::from(number.to_string()),
        Data::Float(number) if number.is_nan() => Text::word(".nan"),
        Data::Float(number) => {
            // Go prints it as a 32-bit float, for which it may be too large.
            let number = number as f32;
            if number.is_infinite() {
                return Ok(Text::word(if number > 0.0 { ".inf" } else { "-.inf" }));
            }
            let mut text = Vec::new();
            format::float::append_32(number, &mut text);
            Text::new(text)
        }
        Data::Nil => {
            return Err(Unsupported {
                type_name: "%!s(<nil>)",
                shown: "<nil>".to_owned(),
            });
        }
        Data::Uint(number) => {
            return Err(Unsupported {
                type_name: "uint64",
                shown: format!("{number:#x}"),
            });
        }
    })
}

/// Bytes as they come out of JSON: what is no UTF-8 is replaced.
fn through_json(bytes: &Text) -> Text {
    if std::str::from_utf8(bytes.bytes()).is_ok() {
        return bytes.clone();
    }
    let valid = Zeroizing::new(unicode::runes(bytes.bytes()).collect::<String>());
    Text::from(valid.as_str())
}

/// A scalar as a string of a map of strings.
fn text_leaf(cx: &mut Context, data: Data) -> crate::failure::Result<Value> {
    match data {
        Data::Nil => Ok(Value::Nil),
        Data::Text(text) => Ok(Value::Text(text)),
        Data::Binary(text) => Ok(Value::Text(through_json(&text))),
        Data::Bool(value) => Ok(Value::of(if value { "true" } else { "false" })),
        Data::Int(number) => cx.text(number.to_string()),
        Data::Uint(number) => cx.text(number.to_string()),
        Data::Float(number) => {
            let mut text = Vec::new();
            format::float::append_32(number as f32, &mut text);
            cx.text(text)
        }
    }
}

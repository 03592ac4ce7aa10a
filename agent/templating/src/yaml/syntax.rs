//! Nodes as Go's `%#v` shows what they decode to, for messages.

use std::cmp::Ordering;

use super::decode::is_merge;
use super::fault::Fault;
use super::parser::{Id, Node, Tree};
use super::resolve::{Data, resolve};
use crate::context::Context;
use crate::format;
use crate::output::Output;

/// An entry of a mapping: what orders it, its key and value as text.
struct Entry {
    key: Data,
    shown: Vec<u8>,
    value: Vec<u8>,
}

/// The node as `%#v` has it. It must have been decoded before: aliases are followed without a check.
pub(super) fn show(cx: &mut Context, tree: &Tree, id: Id) -> Result<Vec<u8>, Fault> {
    let mut out = Output::default();
    node(cx, tree, id, true, &mut out)?;
    Ok(out.bytes().to_vec())
}

fn node(
    cx: &mut Context,
    tree: &Tree,
    id: Id,
    outermost: bool,
    out: &mut Output,
) -> Result<(), Fault> {
    cx.work(1)?;
    match tree.nodes.get(id) {
        None => Ok(()),
        Some(Node::Alias { target, .. }) => node(cx, tree, *target, outermost, out),
        Some(Node::Scalar(scalar)) => data(cx, &resolve(scalar)?, outermost, out),
        Some(Node::Sequence(items)) => cx.nested(|cx| {
            out.write(cx, b"[]interface {}{")?;
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.write(cx, b", ")?;
                }
                node(cx, tree, *item, false, out)?;
            }
            Ok(out.write(cx, b"}")?)
        }),
        Some(Node::Mapping(pairs)) => cx.nested(|cx| {
            let mut entries = Vec::new();
            collect(cx, tree, pairs, &mut entries)?;
            entries.sort_by(|one, other| compare(&one.key, &other.key));
            out.write(cx, b"map[interface {}]interface {}{")?;
            for (index, entry) in entries.iter().enumerate() {
                if index > 0 {
                    out.write(cx, b", ")?;
                }
                out.write(cx, &entry.shown)?;
                out.write(cx, b":")?;
                out.write(cx, &entry.value)?;
            }
            Ok(out.write(cx, b"}")?)
        }),
    }
}

fn data(cx: &mut Context, data: &Data, outermost: bool, out: &mut Output) -> Result<(), Fault> {
    match data {
        Data::Nil if outermost => out.write(cx, b"<nil>")?,
        Data::Nil => out.write(cx, b"interface {}(nil)")?,
        Data::Bool(value) => out.number(cx, value)?,
        Data::Int(number) => out.number(cx, number)?,
        Data::Uint(number) => out.number(cx, format_args!("{number:#x}"))?,
        Data::Float(number) => {
            let mut text = Vec::new();
            format::float(*number, &mut text);
            out.write(cx, &text)?;
        }
        Data::Text(value) | Data::Binary(value) => {
            cx.allocate(value.bytes().len().saturating_mul(4))?;
            let mut text = Vec::new();
            format::quote(value.bytes(), &mut text);
            out.write(cx, &text)?;
        }
    }
    Ok(())
}

/// The entries of a mapping, merged ones included. The last of a key wins.
fn collect(
    cx: &mut Context,
    tree: &Tree,
    pairs: &[(Id, Id)],
    entries: &mut Vec<Entry>,
) -> Result<(), Fault> {
    for (key, value) in pairs {
        if tree.nodes.get(*key).is_some_and(is_merge) {
            merge(cx, tree, *value, entries)?;
            continue;
        }
        let Some(key) = scalar(tree, *key)? else {
            continue;
        };
        let mut shown = Output::default();
        data(cx, &key, false, &mut shown)?;
        let mut text = Output::default();
        node(cx, tree, *value, false, &mut text)?;
        cx.work(entries.len() as u64)?;
        entries.retain(|entry| compare(&entry.key, &key) != Ordering::Equal);
        entries.push(Entry {
            key,
            shown: shown.bytes().to_vec(),
            value: text.bytes().to_vec(),
        });
    }
    Ok(())
}

fn merge(cx: &mut Context, tree: &Tree, id: Id, entries: &mut Vec<Entry>) -> Result<(), Fault> {
    cx.work(1)?;
    match tree.nodes.get(id) {
        Some(Node::Alias { target, .. }) => merge(cx, tree, *target, entries),
        Some(Node::Mapping(pairs)) => cx.nested(|cx| collect(cx, tree, pairs, entries)),
        Some(Node::Sequence(items)) => cx.nested(|cx| {
            for item in items.iter().rev() {
                merge(cx, tree, *item, entries)?;
            }
            Ok(())
        }),
        _ => Ok(()),
    }
}

/// The value of a scalar or of an alias of one.
fn scalar(tree: &Tree, id: Id) -> Result<Option<Data>, Fault> {
    match tree.nodes.get(id) {
        Some(Node::Scalar(scalar)) => resolve(scalar).map(Some),
        Some(Node::Alias { target, .. }) => match tree.nodes.get(*target) {
            Some(Node::Scalar(scalar)) => resolve(scalar).map(Some),
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

/// The order of keys: by type, in no order that means anything, then by value.
fn compare(one: &Data, other: &Data) -> Ordering {
    fn rank(data: &Data) -> u8 {
        match data {
            Data::Nil => 0,
            Data::Text(_) | Data::Binary(_) => 1,
            Data::Uint(_) => 2,
            Data::Int(_) => 3,
            Data::Float(_) => 4,
            Data::Bool(_) => 5,
        }
    }
    match (one, other) {
        (Data::Bool(one), Data::Bool(other)) => one.cmp(other),
        (Data::Int(one), Data::Int(other)) => one.cmp(other),
        (Data::Uint(one), Data::Uint(other)) => one.cmp(other),
        (Data::Float(one), Data::Float(other)) => one.total_cmp(other),
        (Data::Text(one) | Data::Binary(one), Data::Text(other) | Data::Binary(other)) => {
            one.cmp(other)
        }
        _ => rank(one).cmp(&rank(other)),
    }
}

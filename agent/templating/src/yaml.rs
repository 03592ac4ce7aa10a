//! YAML 1.1 text of values and back, as `sigs.k8s.io/yaml` on top of `go-yaml` 2 has it, which Kubernetes reads manifests with.
//!
//! ```text
//! text ─> source (characters) ─> scanner (tokens) ─> parser (nodes) ─> decode (values)
//!                                                                        └── resolve  types by spelling
//! values ─> write ─> emitter (lines, quotes, folding) ─> text
//! ```
//!
//! No YAML crate is used: they speak YAML 1.2, their messages differ and quote what they read.

mod decode;
mod emitter;
mod fault;
mod order;
mod parser;
mod resolve;
mod scanner;
mod source;
mod syntax;
mod token;
mod write;

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use latchkey_secret::SecretValue;
use zeroize::Zeroizing;

use self::decode::{Decoded, Leaves};
use self::fault::Fault;
use self::scanner::Scanner;
use self::source::Source;
use crate::context::Context;
use crate::failure::Result;
use crate::limits::Limits;
use crate::tree::Tree;
use crate::value::{Dict, Text, Value};

pub use self::fault::YamlError;

/// Steps for reading a text of nothing.
const DOCUMENT: u64 = 10;
/// What stands before a fault of the YAML text.
const CONVERTING: &str = "error converting YAML to JSON: ";

/// Reads a text that is a YAML mapping into a map of strings: what `templateAs: KeysAndValues` and literals mean for targets
/// `Data`, `Labels` and `Annotations`.
///
/// Only the first document counts; the last of equal keys wins; no text is an empty map. Scalars become strings: numbers in
/// decimal, floats by the shortest digits of a 32-bit float, all words for true and false as `true` and `false`, null as the
/// empty string. So do keys.
///
/// # Errors
///
/// The text is no YAML, no mapping, a value is a list or mapping, or a limit is reached.
pub fn string_map(
    text: &[u8],
    limits: &Limits,
) -> Result<BTreeMap<String, Zeroizing<Vec<u8>>>, YamlError> {
    let mut cx = Context::new(*limits, Timestamp::UNIX_EPOCH, TimeZone::UTC);
    Ok(read_string_map(&mut cx, text)?)
}

fn read_string_map(
    cx: &mut Context,
    text: &[u8],
) -> Result<BTreeMap<String, Zeroizing<Vec<u8>>>, Fault> {
    let mut map = BTreeMap::new();
    let Some(dict) = read_dict(cx, text, Leaves::Texts)? else {
        return Ok(map);
    };
    dict.try_each(|key, value| {
        let value = match value {
            Value::Nil => &[],
            Value::Text(text) => text.bytes(),
            other => return Err(unexpected(other, "string")),
        };
        cx.allocate(key.bytes().len() + value.len())?;
        map.insert(key.to_lossy().into_owned(), Zeroizing::new(value.to_vec()));
        Ok(())
    })?;
    Ok(map)
}

/// Reads a text that is any YAML: what `templateAs: KeysAndValues` and literals mean for a target that is a path.
///
/// Only the first document counts; the last of equal keys wins; no text is null. Scalars have the types of YAML 1.1, and integers
/// stay integers.
///
/// # Errors
///
/// The text is no YAML, is nothing that JSON can hold, or a limit is reached.
pub fn tree(text: &[u8], limits: &Limits) -> Result<Tree, YamlError> {
    let mut cx = Context::new(*limits, Timestamp::UNIX_EPOCH, TimeZone::UTC);
    Ok(read_tree(&mut cx, text)?)
}

fn read_tree(cx: &mut Context, text: &[u8]) -> Result<Tree, Fault> {
    let decoded = decode(cx, text, Leaves::Exact).map_err(|fault| fault.within(CONVERTING))?;
    match decoded {
        None => Ok(Tree::Null),
        Some(Decoded {
            fault: Some(fault), ..
        }) => Err(fault.within(CONVERTING)),
        Some(Decoded { value, .. }) => copy(cx, &value),
    }
}

fn copy(cx: &mut Context, value: &Value) -> Result<Tree, Fault> {
    cx.allocate(size_of::<Tree>())?;
    match value {
        Value::Nil => Ok(Tree::Null),
        Value::Bool(value) => Ok(Tree::Bool(*value)),
        Value::Int64(integer) => Ok(Tree::Integer(*integer)),
        Value::Float(number) => Ok(Tree::number(*number)),
        Value::Text(text) => {
            cx.allocate(text.bytes().len())?;
            Ok(Tree::text(SecretValue::new(text.bytes().to_vec())))
        }
        Value::List(list) => cx.nested(|cx| {
            let items = list.values().iter().map(|item| copy(cx, item));
            Ok(Tree::List(items.collect::<Result<_, Fault>>()?))
        }),
        Value::Dict(dict) => cx.nested(|cx| {
            let mut map = BTreeMap::new();
            dict.try_each(|key, value| {
                cx.allocate(key.bytes().len())?;
                map.insert(key.to_lossy().into_owned(), copy(cx, value)?);
                Ok::<_, Fault>(())
            })?;
            Ok(Tree::Map(map))
        }),
        // The decoder makes no others.
        _ => Err(Fault::at(None, "no JSON")),
    }
}

/// `fromYaml`: the mapping, or a dict with the message under `Error`.
pub(crate) fn read(cx: &mut Context, text: &[u8]) -> Result<Dict> {
    match read_dict(cx, text, Leaves::Typed) {
        Ok(Some(dict)) => Ok(dict),
        Ok(None) => cx.dict(),
        Err(Fault::Limit(failure)) => Err(failure),
        Err(Fault::Text { full, .. }) => {
            let dict = cx.dict()?;
            let message = cx.text(full)?;
            cx.allocate(size_of::<(Text, Value)>())?;
            dict.insert(Text::word("Error"), message);
            Ok(dict)
        }
    }
}

/// `toYaml`: the text without the line break at the end; `None` for a value that Go cannot write.
pub(crate) fn write(cx: &mut Context, value: &Value) -> Result<Option<Text>> {
    write::write(cx, value)
}

/// The mapping that a text is; `None` for no text or null.
fn read_dict(cx: &mut Context, text: &[u8], leaves: Leaves) -> Result<Option<Dict>, Fault> {
    let decoded = decode(cx, text, leaves).map_err(|fault| fault.within(CONVERTING))?;
    let Some(Decoded { value, fault }) = decoded else {
        return Ok(None);
    };
    if let Some(fault) = fault {
        return Err(fault.within(CONVERTING));
    }
    match value {
        Value::Nil => Ok(None),
        Value::Dict(dict) => Ok(Some(dict)),
        other => Err(unexpected(
            &other,
            match leaves {
                Leaves::Typed | Leaves::Exact => "map[string]interface {}",
                Leaves::Texts => "map[string]string",
            },
        )),
    }
}

fn decode(cx: &mut Context, text: &[u8], leaves: Leaves) -> Result<Option<Decoded>, Fault> {
    // For the texts of all scalars, and for looking at each character.
    cx.allocate(text.len().saturating_mul(2))?;
    cx.work(DOCUMENT + text.len() as u64 / 8)?;
    let source = source::Decoded::new(text);
    let scanner = Scanner::new(Source::new(&source));
    let Some((tree, root)) = parser::parse(cx, scanner)? else {
        return Ok(None);
    };
    decode::decode(cx, &tree, root, leaves).map(Some)
}

/// The fault of a value where Go wants another type.
fn unexpected(value: &Value, wanted: &str) -> Fault {
    let kind = match value {
        Value::Bool(_) => "bool",
        Value::Text(_) => "string",
        Value::List(_) => "array",
        Value::Dict(_) => "object",
        _ => "number",
    };
    Fault::plain(format!(
        "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {kind} into Go value of type {wanted}"
    ))
}

#[cfg(test)]
mod tests;

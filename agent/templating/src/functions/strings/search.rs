//! Strings in strings.

use memchr::memmem;

use super::super::{Function, Parameter, int, text};
use super::buffer;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::unicode;
use crate::value::{Text, Value};

pub(in crate::functions) const FUNCTIONS: &[Function] = &[
    Function {
        name: "contains",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "bool",
        summary: "Whether the second string contains the first.",
        source: "sprig",
        example: ("{{ contains \"cret\" \"secret\" }}", "true"),
        call: contains,
    },
    Function {
        name: "hasPrefix",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "bool",
        summary: "Whether the second string starts with the first.",
        source: "sprig",
        example: ("{{ hasPrefix \"se\" \"secret\" }}", "true"),
        call: has_prefix,
    },
    Function {
        name: "hasSuffix",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "bool",
        summary: "Whether the second string ends with the first.",
        source: "sprig",
        example: ("{{ hasSuffix \"et\" \"secret\" }}", "true"),
        call: has_suffix,
    },
    Function {
        name: "replace",
        parameters: &[Parameter::Text, Parameter::Text, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The third string with all occurrences of the first replaced by the second.",
        source: "sprig",
        example: ("{{ replace \".\" \"-\" \"a.b.c\" }}", "a-b-c"),
        call: replace,
    },
    Function {
        name: "repeat",
        parameters: &[Parameter::Int, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The string as many times as the number says.",
        source: "sprig",
        example: ("{{ repeat 3 \"ab\" }}", "ababab"),
        call: repeat,
    },
    Function {
        name: "plural",
        parameters: &[Parameter::Text, Parameter::Text, Parameter::Int],
        variadic: None,
        result: "string",
        summary: "The first string if the number is 1, else the second.",
        source: "sprig",
        example: ("{{ plural \"key\" \"keys\" 2 }}", "keys"),
        call: plural,
    },
];

fn contains(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (part, whole) = (text(arguments, 0)?, text(arguments, 1)?);
    let found = memmem::find(whole.bytes(), part.bytes());
    Ok(Value::Bool(found.is_some()))
}

fn has_prefix(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (prefix, whole) = (text(arguments, 0)?, text(arguments, 1)?);
    Ok(Value::Bool(whole.bytes().starts_with(prefix.bytes())))
}

fn has_suffix(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (suffix, whole) = (text(arguments, 0)?, text(arguments, 1)?);
    Ok(Value::Bool(whole.bytes().ends_with(suffix.bytes())))
}

fn replace(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (old, new) = (text(arguments, 0)?.bytes(), text(arguments, 1)?.bytes());
    let whole = text(arguments, 2)?;
    if old == new {
        return Ok(Value::Text(whole.clone()));
    }
    if old.is_empty() {
        return replace_nothing(cx, whole.bytes(), new);
    }
    let bytes = whole.bytes();
    let finder = memmem::Finder::new(old);
    let count = finder.find_iter(bytes).count();
    if count == 0 {
        return Ok(Value::Text(whole.clone()));
    }
    let kept = bytes.len().saturating_sub(count.saturating_mul(old.len()));
    let mut out = buffer(cx, count.saturating_mul(new.len()).saturating_add(kept))?;
    let mut start = 0;
    for end in finder.find_iter(bytes) {
        out.extend_from_slice(bytes.get(start..end).unwrap_or_default());
        out.extend_from_slice(new);
        start = end + old.len();
    }
    out.extend_from_slice(bytes.get(start..).unwrap_or_default());
    Ok(Value::Text(Text::new(out)))
}

/// `new` at the ends of `bytes` and between all runes.
fn replace_nothing(cx: &mut Context, mut bytes: &[u8], new: &[u8]) -> Result<Value> {
    let count = unicode::runes(bytes).count() + 1;
    let len = count.saturating_mul(new.len()).saturating_add(bytes.len());
    let mut out = buffer(cx, len)?;
    out.extend_from_slice(new);
    while let Some((_, width)) = unicode::first_rune(bytes) {
        let (rune, rest) = bytes.split_at_checked(width).unwrap_or((bytes, &[]));
        out.extend_from_slice(rune);
        out.extend_from_slice(new);
        bytes = rest;
    }
    Ok(Value::Text(Text::new(out)))
}

fn repeat(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (count, text) = (int(arguments, 0)?, text(arguments, 1)?);
    if count == 1 {
        return Ok(Value::Text(text.clone()));
    }
    let Ok(count) = usize::try_from(count) else {
        return Err(negative_count());
    };
    let len = text.bytes().len().checked_mul(count);
    let Some(len) = len.filter(|len| i64::try_from(*len).is_ok()) else {
        return Err(Failure::plain("strings: Repeat output length overflow"));
    };
    cx.allocate(len)?;
    Ok(Value::Text(Text::new(text.bytes().repeat(count))))
}

/// Go's text for `strings.Repeat` with a negative count.
pub(super) fn negative_count() -> Failure {
    Failure::plain("strings: negative Repeat count")
}

fn plural(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let chosen = usize::from(int(arguments, 2)? != 1);
    Ok(Value::Text(text(arguments, chosen)?.clone()))
}

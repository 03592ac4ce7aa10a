//! Strings in strings.

use memchr::{memchr_iter, memmem};

use super::super::{Function, Parameter, int, text};
use super::{buffer, look};
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

fn contains(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (part, whole) = two(cx, arguments)?;
    Ok(Value::Bool(memmem::find(whole, part).is_some()))
}

fn has_prefix(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (prefix, whole) = two(cx, arguments)?;
    Ok(Value::Bool(whole.starts_with(prefix)))
}

fn has_suffix(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (suffix, whole) = two(cx, arguments)?;
    Ok(Value::Bool(whole.ends_with(suffix)))
}

/// The bytes of both arguments, paid for a look at them.
fn two<'a>(cx: &mut Context, arguments: &'a [Value]) -> Result<(&'a [u8], &'a [u8])> {
    let (part, whole) = (text(arguments, 0)?.bytes(), text(arguments, 1)?.bytes());
    look(cx, part)?;
    look(cx, whole)?;
    Ok((part, whole))
}

fn replace(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (old, new) = (text(arguments, 0)?.bytes(), text(arguments, 1)?.bytes());
    let whole = text(arguments, 2)?;
    let bytes = whole.bytes();
    cx.work(old.len() as u64 / 16)?;
    look(cx, bytes)?;
    if old == new {
        return Ok(Value::Text(whole.clone()));
    }
    if old.is_empty() {
        return replace_nothing(cx, bytes, new);
    }
    let mut count = 0_usize;
    for_each_match(bytes, old, |_| count += 1);
    if count == 0 {
        return Ok(Value::Text(whole.clone()));
    }
    // Each takes longer than the bytes between them.
    cx.work(count as u64 / 2)?;
    let kept = bytes.len().saturating_sub(count.saturating_mul(old.len()));
    let mut out = buffer(cx, count.saturating_mul(new.len()).saturating_add(kept))?;
    let mut start = 0;
    for_each_match(bytes, old, |end| {
        out.extend_from_slice(bytes.get(start..end).unwrap_or_default());
        out.extend_from_slice(new);
        start = end + old.len();
    });
    out.extend_from_slice(bytes.get(start..).unwrap_or_default());
    Ok(Value::Text(Text::new(out)))
}

/// Calls `take` with where each occurrence of `part` starts that does not overlap with one before.
fn for_each_match(bytes: &[u8], part: &[u8], take: impl FnMut(usize)) {
    match part {
        [byte] => memchr_iter(*byte, bytes).for_each(take),
        part => memmem::find_iter(bytes, part).for_each(take),
    }
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

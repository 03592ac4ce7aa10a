//! Parts of strings, by bytes.

use super::super::{Function, Parameter, int, text};
use super::{buffer, look, part};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::unicode;
use crate::value::{Text, Value};

pub(in crate::functions) const FUNCTIONS: &[Function] = &[
    Function {
        name: "trim",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The string without white space at its ends.",
        source: "sprig",
        example: ("[{{ trim \"  x y\\n\" }}]", "[x y]"),
        call: trim,
    },
    Function {
        name: "trimAll",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The string without any characters of the first string at its ends.",
        source: "sprig",
        example: ("{{ trimAll \"$/\" \"$/price/\" }}", "price"),
        call: trim_all,
    },
    Function {
        name: "trimall",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The same as `trimAll`.",
        source: "sprig",
        example: ("{{ trimall \"$\" \"$5$\" }}", "5"),
        call: trim_all,
    },
    Function {
        name: "trimSuffix",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The string without the first string at its end, once.",
        source: "sprig",
        example: ("{{ trimSuffix \"/\" \"a//\" }}", "a/"),
        call: trim_suffix,
    },
    Function {
        name: "trimPrefix",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The string without the first string at its start, once.",
        source: "sprig",
        example: ("{{ trimPrefix \"v\" \"v1.2\" }}", "1.2"),
        call: trim_prefix,
    },
    Function {
        name: "substr",
        parameters: &[Parameter::Int, Parameter::Int, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The bytes of the string from the first position to before the second; a negative one is open.",
        source: "sprig",
        example: ("{{ substr 4 -1 \"kubernetes\" }}", "rnetes"),
        call: substring,
    },
    Function {
        name: "trunc",
        parameters: &[Parameter::Int, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The first bytes of the string, or the last ones for a negative count.",
        source: "sprig",
        example: (
            "{{ trunc 4 \"kubernetes\" }} {{ trunc -3 \"kubernetes\" }}",
            "kube tes",
        ),
        call: truncate,
    },
    Function {
        name: "abbrev",
        parameters: &[Parameter::Int, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The string cut to a width in bytes, with an ellipsis if it is longer.",
        source: "sprig",
        example: ("{{ abbrev 9 \"external secrets\" }}", "extern..."),
        call: abbreviate,
    },
    Function {
        name: "abbrevboth",
        parameters: &[Parameter::Int, Parameter::Int, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The string cut on both sides: from an offset, to a width in bytes.",
        source: "sprig",
        example: (
            "{{ abbrevboth 5 10 \"0123456789abcdefghij\" }}",
            "...5678...",
        ),
        call: abbreviate_both,
    },
    Function {
        name: "initials",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The first byte of each word, as Latin-1.",
        source: "sprig",
        example: ("{{ initials \"kubernetes secret operator\" }}", "kso"),
        call: initials,
    },
    Function {
        name: "nospace",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The string without white space. If any is dropped, bytes outside ASCII are taken as Latin-1.",
        source: "sprig",
        example: ("{{ nospace \"k 8 s\" }}", "k8s"),
        call: no_space,
    },
];

/// What an abbreviation shows for the rest.
const ELLIPSIS: &[u8] = b"...";

fn trim(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let text = text(arguments, 0)?;
    look(cx, text.bytes())?;
    part(cx, text, trimmed(text.bytes(), unicode::is_space))
}

fn trim_all(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (set, text) = (text(arguments, 0)?.bytes(), text(arguments, 1)?);
    look(cx, text.bytes())?;
    let trimmed = match set {
        [only] if only.is_ascii() => trimmed(text.bytes(), |rune| rune == char::from(*only)),
        set => {
            // Each rune at an end is looked up in the set.
            let lookups = text.bytes().len().saturating_mul(set.len());
            cx.work(lookups as u64 / 4)?;
            trimmed(text.bytes(), |rune| {
                unicode::runes(set).any(|other| other == rune)
            })
        }
    };
    part(cx, text, trimmed)
}

/// `bytes` without runes at the ends that pass.
fn trimmed(mut bytes: &[u8], passes: impl Fn(char) -> bool) -> &[u8] {
    while let Some((rune, width)) = unicode::first_rune(bytes)
        && passes(rune)
    {
        bytes = bytes.get(width..).unwrap_or_default();
    }
    while let Some((rune, width)) = unicode::last_rune(bytes)
        && passes(rune)
    {
        bytes = bytes.get(..bytes.len() - width).unwrap_or_default();
    }
    bytes
}

fn trim_suffix(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (suffix, text) = (text(arguments, 0)?, text(arguments, 1)?);
    look(cx, suffix.bytes())?;
    let bytes = text.bytes();
    part(
        cx,
        text,
        bytes.strip_suffix(suffix.bytes()).unwrap_or(bytes),
    )
}

fn trim_prefix(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (prefix, text) = (text(arguments, 0)?, text(arguments, 1)?);
    look(cx, prefix.bytes())?;
    let bytes = text.bytes();
    part(
        cx,
        text,
        bytes.strip_prefix(prefix.bytes()).unwrap_or(bytes),
    )
}

fn substring(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (start, end) = (int(arguments, 0)?, int(arguments, 1)?);
    let text = text(arguments, 2)?;
    let bytes = text.bytes();
    let len = bytes.len();
    let range = if start < 0 {
        let Ok(end) = usize::try_from(end) else {
            return Err(out_of_range(format!("[:{end}]")));
        };
        if end > len {
            return Err(out_of_range(format!("[:{end}] with length {len}")));
        }
        bytes.get(..end)
    } else {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let end = usize::try_from(end).map_or(len, |end| end.min(len));
        if start > end {
            return Err(out_of_range(format!("[{start}:{end}]")));
        }
        bytes.get(start..end)
    };
    part(cx, text, range.unwrap_or_default())
}

/// Go's text for a bad slice expression.
fn out_of_range(bounds: String) -> Failure {
    Failure::plain(format!("runtime error: slice bounds out of range {bounds}"))
}

fn truncate(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (count, text) = (int(arguments, 0)?, text(arguments, 1)?);
    let bytes = text.bytes();
    let kept = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let range = if count < 0 {
        bytes
            .len()
            .checked_sub(kept)
            .and_then(|start| bytes.get(start..))
    } else {
        bytes.get(..kept)
    };
    part(cx, text, range.unwrap_or(bytes))
}

fn abbreviate(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (width, text) = (int(arguments, 0)?, text(arguments, 1)?);
    match usize::try_from(width) {
        Ok(width @ 4..) => {
            let (start, end) = abbreviation(text.bytes(), width);
            two_parts(cx, text, start, end)
        }
        _ => Ok(Value::Text(text.clone())),
    }
}

/// `bytes` in at most `width`: the part that is kept and the ellipsis behind it, if need be.
fn abbreviation(bytes: &[u8], width: usize) -> (&[u8], &'static [u8]) {
    if bytes.len() <= width {
        return (bytes, b"");
    }
    let kept = bytes.get(..width.saturating_sub(ELLIPSIS.len()));
    (kept.unwrap_or(bytes), ELLIPSIS)
}

fn abbreviate_both(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (offset, width) = (int(arguments, 0)?, int(arguments, 1)?);
    let text = text(arguments, 2)?;
    let bytes = text.bytes();
    let len = bytes.len() as i64;
    if width < 4 || offset > 0 && width < 7 || len <= width {
        return Ok(Value::Text(text.clone()));
    }
    let mut offset = offset.min(len);
    // Wraps for offsets near the least number, as in Go.
    if len.wrapping_sub(offset) < width - 3 {
        offset = len - (width - 3);
    }
    let kept = usize::try_from(width - 3).unwrap_or_default();
    if offset <= 4 {
        let start = bytes.get(..kept).unwrap_or(bytes);
        return two_parts(cx, text, start, ELLIPSIS);
    }
    if width < 7 {
        return cx.text("");
    }
    let offset = usize::try_from(offset).unwrap_or_default();
    let (middle, end) = if offset + kept < bytes.len() {
        abbreviation(bytes.get(offset..).unwrap_or_default(), kept)
    } else {
        let start = bytes.len() - kept;
        (bytes.get(start..).unwrap_or_default(), &b""[..])
    };
    let mut out = buffer(cx, ELLIPSIS.len() + middle.len() + end.len())?;
    out.extend_from_slice(ELLIPSIS);
    out.extend_from_slice(middle);
    out.extend_from_slice(end);
    Ok(Value::Text(Text::new(out)))
}

/// A part of `whole` with `end` behind it.
fn two_parts(cx: &mut Context, whole: &Text, start: &[u8], end: &[u8]) -> Result<Value> {
    if end.is_empty() {
        return part(cx, whole, start);
    }
    let mut out = buffer(cx, start.len() + end.len())?;
    out.extend_from_slice(start);
    out.extend_from_slice(end);
    Ok(Value::Text(Text::new(out)))
}

fn initials(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let bytes = text(arguments, 0)?.bytes();
    // Each word but the last has a byte of white space behind it.
    let mut out = buffer(cx, bytes.len() + 1)?;
    let mut starts = true;
    for byte in bytes {
        let rune = char::from(*byte);
        if unicode::is_space(rune) {
            starts = true;
        } else if std::mem::take(&mut starts) {
            unicode::push(&mut out, rune);
        }
    }
    Ok(Value::Text(Text::new(out)))
}

fn no_space(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let text = text(arguments, 0)?;
    look(cx, text.bytes())?;
    let runes = text.bytes().iter().map(|byte| char::from(*byte));
    let kept = runes.filter(|rune| !unicode::is_space(*rune));
    if kept.clone().count() == text.bytes().len() {
        return Ok(Value::Text(text.clone()));
    }
    let mut out = buffer(cx, kept.clone().map(char::len_utf8).sum())?;
    kept.for_each(|rune| unicode::push(&mut out, rune));
    Ok(Value::Text(Text::new(out)))
}

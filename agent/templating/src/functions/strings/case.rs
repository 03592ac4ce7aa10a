//! Upper, lower and title case. Mapping is rune to rune; bytes that are not UTF-8 become U+FFFD.

use super::super::{Function, Parameter, text};
use super::{buffer, look, mapped_len};
use crate::context::Context;
use crate::failure::Result;
use crate::unicode::{self, Class};
use crate::value::{Text, Value};

pub(in crate::functions) const FUNCTIONS: &[Function] = &[
    Function {
        name: "upper",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The string in upper case, rune by rune: `ß` stays.",
        source: "sprig",
        example: ("{{ upper \"größe\" }}", "GRÖßE"),
        call: upper,
    },
    Function {
        name: "lower",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The string in lower case, rune by rune: `Σ` is always `σ`.",
        source: "sprig",
        example: ("{{ lower \"ΣΑΣ\" }}", "σασ"),
        call: lower,
    },
    Function {
        name: "title",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The string with the first letter of each word in title case, the rest kept.",
        source: "sprig",
        example: ("{{ title \"o'neil in new-york\" }}", "O'Neil In New-York"),
        call: title,
    },
    Function {
        name: "untitle",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The string with the first letter of each word in lower case, the rest kept.",
        source: "sprig",
        example: ("{{ untitle \"Hello Big World\" }}", "hello big world"),
        call: untitle,
    },
    Function {
        name: "swapcase",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The string with upper letters in lower case, the others in upper case, or in title case at the start of a word.",
        source: "sprig",
        example: ("{{ swapcase \"Hello wORLD\" }}", "hELLO World"),
        call: swap_case,
    },
    Function {
        name: "camelcase",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The string in Pascal case: words at `-`, `_` and white space are joined, each with an upper letter first.",
        source: "sprig",
        example: ("{{ camelcase \"HTTP_server name\" }}", "HttpServerName"),
        call: camel_case,
    },
];

fn upper(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let text = text(arguments, 0)?;
    let bytes = text.bytes();
    look(cx, bytes)?;
    if !bytes.is_ascii() {
        return map(cx, text, unicode::to_upper);
    }
    if !bytes.iter().any(u8::is_ascii_lowercase) {
        return Ok(Value::Text(text.clone()));
    }
    cx.text(bytes.to_ascii_uppercase())
}

fn lower(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let text = text(arguments, 0)?;
    let bytes = text.bytes();
    look(cx, bytes)?;
    if !bytes.is_ascii() {
        return map(cx, text, unicode::to_lower);
    }
    if !bytes.iter().any(u8::is_ascii_uppercase) {
        return Ok(Value::Text(text.clone()));
    }
    cx.text(bytes.to_ascii_lowercase())
}

fn title(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let mut previous = ' ';
    map(cx, text(arguments, 0)?, |rune| {
        let starts = separates(previous);
        previous = rune;
        if starts {
            unicode::to_title(rune)
        } else {
            rune
        }
    })
}

/// Whether a word starts behind a rune, for `title`.
fn separates(rune: char) -> bool {
    if rune.is_ascii() {
        return !rune.is_ascii_alphanumeric() && rune != '_';
    }
    unicode::is_space(rune)
}

fn untitle(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let mut starts = true;
    map(cx, text(arguments, 0)?, |rune| {
        if unicode::is_space(rune) {
            starts = true;
            return rune;
        }
        if std::mem::take(&mut starts) {
            unicode::to_lower(rune)
        } else {
            rune
        }
    })
}

fn swap_case(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let mut starts = true;
    map(cx, text(arguments, 0)?, |rune| match unicode::class(rune) {
        Class::Upper | Class::Title => {
            starts = false;
            unicode::to_lower(rune)
        }
        Class::Lower if std::mem::take(&mut starts) => unicode::to_title(rune),
        Class::Lower => unicode::to_upper(rune),
        _ => {
            starts = unicode::is_space(rune);
            rune
        }
    })
}

/// `text` with each rune mapped.
fn map(cx: &mut Context, text: &Text, mut map: impl FnMut(char) -> char) -> Result<Value> {
    let bytes = text.bytes();
    cx.work(bytes.len() as u64 / 4)?;
    let mut out = buffer(cx, mapped_len(bytes))?;
    unicode::runes(bytes).for_each(|rune| unicode::push(&mut out, map(rune)));
    Ok(Value::Text(Text::new(out)))
}

fn camel_case(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let bytes = text(arguments, 0)?.bytes();
    // A text of connectors only gets one more.
    let mut out = buffer(cx, mapped_len(bytes).saturating_add(1))?;
    push_camel_case(bytes, &mut out);
    Ok(Value::Text(Text::new(out)))
}

fn push_camel_case(bytes: &[u8], out: &mut Vec<u8>) {
    let mut runes = unicode::runes(bytes);
    let mut last = None;
    let first = runes.by_ref().find(|rune| {
        if is_connector(*rune) {
            unicode::push(out, *rune);
            last = Some(*rune);
            return false;
        }
        true
    });
    let Some(first) = first else {
        last.into_iter().for_each(|rune| unicode::push(out, rune));
        return;
    };
    let mut lowering = unicode::is_upper(first);
    let mut pending = unicode::to_upper(first);
    for mut rune in runes {
        if is_connector(pending) && is_connector(rune) {
            unicode::push(out, pending);
        } else if is_connector(pending) {
            lowering = unicode::is_upper(rune);
            rune = unicode::to_upper(rune);
        } else {
            lowering = lowering && unicode::is_upper(rune);
            if lowering {
                rune = unicode::to_lower(rune);
            }
            unicode::push(out, pending);
        }
        pending = rune;
    }
    unicode::push(out, pending);
}

/// Whether a rune stands between the words of `camelcase`, `snakecase` and `kebabcase`.
pub(super) fn is_connector(rune: char) -> bool {
    matches!(rune, '-' | '_') || unicode::is_space(rune)
}

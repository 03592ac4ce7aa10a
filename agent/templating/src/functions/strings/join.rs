//! Strings made of values.

use super::super::{Function, Parameter, any, text};
use super::buffer;
use crate::buffer::extend;
use crate::context::Context;
use crate::convert::{to_text, to_texts};
use crate::failure::{Failure, Result};
use crate::format;
use crate::value::{Element, List, Text, Value};

pub(in crate::functions) const FUNCTIONS: &[Function] = &[
    Function {
        name: "hello",
        parameters: &[],
        variadic: None,
        result: "string",
        summary: "A greeting.",
        source: "sprig",
        example: ("{{ hello }}", "Hello!"),
        call: hello,
    },
    Function {
        name: "fail",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "string",
        summary: "Fails the render with the string as the message.",
        source: "sprig",
        example: ("{{ if false }}{{ fail \"no key\" }}{{ end }}ok", "ok"),
        call: fail,
    },
    Function {
        name: "quote",
        parameters: &[],
        variadic: Some(Parameter::Any),
        result: "string",
        summary: "Each argument as text in double quotes, escaped as in Go, joined by blanks; nils are dropped.",
        source: "sprig",
        example: ("{{ quote \"a\\\"b\" 1 nil }}", "\"a\\\"b\" \"1\""),
        call: quote,
    },
    Function {
        name: "squote",
        parameters: &[],
        variadic: Some(Parameter::Any),
        result: "string",
        summary: "Each argument as text in single quotes, not escaped, joined by blanks; nils are dropped.",
        source: "sprig",
        example: ("{{ squote \"a\" 1 nil }}", "'a' '1'"),
        call: single_quote,
    },
    Function {
        name: "cat",
        parameters: &[],
        variadic: Some(Parameter::Any),
        result: "string",
        summary: "The arguments as text, joined by blanks; nils are dropped.",
        source: "sprig",
        example: ("{{ cat \"a\" 1 nil true }}", "a 1 true"),
        call: cat,
    },
    Function {
        name: "toString",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "string",
        summary: "The value as text.",
        source: "sprig",
        example: ("{{ toString 2.50 }}", "2.5"),
        call: to_string,
    },
    Function {
        name: "toStrings",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "strings",
        summary: "The elements of the list as text, without nils; a value that is no list is the only element.",
        source: "sprig",
        example: (
            "{{ toStrings (list 1 \"a\" nil) | toJson }}",
            "[\"1\",\"a\"]",
        ),
        call: to_strings,
    },
    Function {
        name: "join",
        parameters: &[Parameter::Text, Parameter::Any],
        variadic: None,
        result: "string",
        summary: "The elements of the list as text with the string between them; nils are dropped.",
        source: "sprig",
        example: ("{{ list \"a\" 1 | join \"/\" }}", "a/1"),
        call: join,
    },
    Function {
        name: "sortAlpha",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "strings",
        summary: "The elements of the list as text, sorted by bytes. A list of strings is itself sorted.",
        source: "sprig",
        example: ("{{ sortAlpha (list \"b\" \"a\" 1) }}", "[1 a b]"),
        call: sort_alpha,
    },
];

fn hello(cx: &mut Context, _arguments: &[Value]) -> Result<Value> {
    cx.text("Hello!")
}

fn fail(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    Err(Failure::showing_data(text(arguments, 0)?.to_lossy()))
}

fn quote(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    each(cx, arguments, |cx, value, out| {
        let text = match value {
            Value::Text(text) => text.clone(),
            other => to_text(cx, other)?,
        };
        format::pay_for_quoting(cx, text.bytes())?;
        format::quote(text.bytes(), out);
        Ok(())
    })
}

fn single_quote(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    each(cx, arguments, |cx, value, out| {
        extend(out, b"'");
        format::display(cx, value, out)?;
        extend(out, b"'");
        Ok(())
    })
}

fn cat(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    each(cx, arguments, format::display)
}

/// What `append` makes of each non-nil argument, joined by blanks.
fn each(
    cx: &mut Context,
    arguments: &[Value],
    append: impl Fn(&mut Context, &Value, &mut Vec<u8>) -> Result<()>,
) -> Result<Value> {
    // Enough for texts without escapes and short numbers.
    let lengths = arguments
        .iter()
        .map(|value| value.as_bytes().map_or(16, <[u8]>::len) + 4);
    let expected = lengths.fold(0, usize::saturating_add);
    let mut out = buffer(cx, expected)?;
    let present = arguments
        .iter()
        .filter(|value| !matches!(value, Value::Nil));
    for (index, value) in present.enumerate() {
        if index > 0 {
            extend(&mut out, b" ");
        }
        append(cx, value, &mut out)?;
    }
    cx.allocate(out.len().saturating_sub(expected))?;
    Ok(Value::Text(Text::new(out)))
}

fn to_string(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    Ok(Value::Text(to_text(cx, any(arguments, 0)?)?))
}

fn to_strings(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    match any(arguments, 0)? {
        Value::List(list) if list.element() == Element::Text => Ok(Value::List(list.clone())),
        value => {
            let texts = to_texts(cx, value)?;
            strings(cx, texts)
        }
    }
}

fn strings(cx: &mut Context, texts: Vec<Text>) -> Result<Value> {
    cx.list(Element::Text, texts.into_iter().map(Value::Text).collect())
}

fn sort_alpha(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let value = any(arguments, 0)?;
    let Value::List(list) = value else {
        let only = to_text(cx, value)?;
        return strings(cx, vec![only]);
    };
    pay_for_sorting(cx, list)?;
    if list.element() == Element::Text {
        cx.allocate(list.capacity().saturating_mul(size_of::<Value>()))?;
        if list.sort_texts() {
            return Ok(value.clone());
        }
    }
    let mut texts = to_texts(cx, value)?;
    texts.sort_unstable();
    strings(cx, texts)
}

/// A comparison may have to look at all of a text.
fn pay_for_sorting(cx: &mut Context, list: &List) -> Result<()> {
    let lengths = list.values().iter().filter_map(Value::as_bytes);
    let bytes = lengths
        .map(|bytes| bytes.len() as u64)
        .fold(0, u64::saturating_add);
    let rounds = u64::from(list.len().max(1).ilog2());
    cx.work((bytes / 64 + list.len() as u64 / 8).saturating_mul(rounds))
}

fn join(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (separator, value) = (text(arguments, 0)?, any(arguments, 1)?);
    if let Value::Text(text) = value {
        return Ok(Value::Text(text.clone()));
    }
    if let Value::List(list) = value
        && holds_texts(list)
    {
        cx.work(list.len() as u64)?;
        let parts = list.values().iter().filter_map(Value::as_bytes);
        return joined(cx, separator.bytes(), parts);
    }
    let texts = to_texts(cx, value)?;
    joined(cx, separator.bytes(), texts.iter().map(Text::bytes))
}

/// Whether all elements are texts or nil.
fn holds_texts(list: &List) -> bool {
    let mut values = list.values().iter();
    values.all(|value| matches!(value, Value::Text(_) | Value::Nil))
}

fn joined<'a>(
    cx: &mut Context,
    separator: &[u8],
    parts: impl Iterator<Item = &'a [u8]> + Clone,
) -> Result<Value> {
    let lengths = parts
        .clone()
        .map(|part| part.len().saturating_add(separator.len()));
    let mut out = buffer(cx, lengths.fold(0, usize::saturating_add))?;
    for (index, part) in parts.enumerate() {
        if index > 0 {
            out.extend_from_slice(separator);
        }
        out.extend_from_slice(part);
    }
    Ok(Value::Text(Text::new(out)))
}

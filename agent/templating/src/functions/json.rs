//! JSON.

use super::{Function, Parameter, any, text};
use crate::context::Context;
use crate::failure::{Failure, Kind, Result};
use crate::json::{self, Style};
use crate::value::{Text, Value};

const COMPACT: Style = Style {
    escape_html: true,
    pretty: false,
};
const PRETTY: Style = Style {
    escape_html: true,
    pretty: true,
};
const RAW: Style = Style {
    escape_html: false,
    pretty: false,
};

pub(super) const FUNCTIONS: &[Function] = &[
    reader(
        "fromJson",
        "The value that a string is the JSON text of: numbers become float64. What is no JSON gives nil.",
        ("{{ (fromJson \"{\\\"port\\\": 5432}\").port }}", "5432"),
        |cx, arguments| match json::read(cx, text(arguments, 0)?.bytes()) {
            Ok(document) => Ok(document.value),
            Err(failure) => or(failure, Value::Nil),
        },
    ),
    reader(
        "mustFromJson",
        "The same as `fromJson`, but fails if the string is no JSON text.",
        ("{{ (mustFromJson \"[1, 2.5]\") }}", "[1 2.5]"),
        |cx, arguments| {
            let document = json::read(cx, text(arguments, 0)?.bytes())?;
            match document.failure {
                Some(failure) => Err(failure),
                None => Ok(document.value),
            }
        },
    ),
    writer(
        "mustToJson",
        "The same as `toJson`, but fails for a value that JSON has no form for.",
        ("{{ list 1 \"two\" nil | mustToJson }}", "[1,\"two\",null]"),
        |cx, arguments| written(cx, arguments, COMPACT),
    ),
    writer(
        "mustToPrettyJson",
        "The same as `toPrettyJson`, but fails for a value that JSON has no form for.",
        ("{{ list 1 | mustToPrettyJson }}", "[\n  1\n]"),
        |cx, arguments| written(cx, arguments, PRETTY),
    ),
    writer(
        "mustToRawJson",
        "The same as `toRawJson`.",
        ("{{ mustToRawJson \"a < b\" }}", "\"a < b\""),
        |cx, arguments| written(cx, arguments, RAW),
    ),
    writer(
        "toJson",
        "The JSON text of any value, keys in order; `<`, `>` and `&` are escaped. A value that JSON has no form for gives an empty string.",
        (
            "{{ dict \"b\" (list 1 true) \"a\" \"x\" | toJson }}",
            "{\"a\":\"x\",\"b\":[1,true]}",
        ),
        |cx, arguments| written_or_empty(cx, arguments, COMPACT),
    ),
    writer(
        "toPrettyJson",
        "The same as `toJson`, with each entry on a line of its own.",
        (
            "{{ dict \"a\" \"x\" | toPrettyJson }}",
            "{\n  \"a\": \"x\"\n}",
        ),
        |cx, arguments| written_or_empty(cx, arguments, PRETTY),
    ),
    writer(
        "toRawJson",
        "The JSON text of any value, without escapes for `<`, `>` and `&`. Fails for a value that JSON has no form for.",
        ("{{ toRawJson \"a < b\" }}", "\"a < b\""),
        |cx, arguments| written(cx, arguments, RAW),
    ),
];

const fn reader(
    name: &'static str,
    summary: &'static str,
    example: (&'static str, &'static str),
    call: super::Call,
) -> Function {
    Function {
        name,
        parameters: &[Parameter::Text],
        variadic: None,
        result: "any",
        summary,
        source: "sprig",
        example,
        call,
    }
}

const fn writer(
    name: &'static str,
    summary: &'static str,
    example: (&'static str, &'static str),
    call: super::Call,
) -> Function {
    Function {
        name,
        parameters: &[Parameter::Any],
        variadic: None,
        result: "string",
        summary,
        source: "sprig",
        example,
        call,
    }
}

fn written(cx: &mut Context, arguments: &[Value], style: Style) -> Result<Value> {
    json::write(cx, any(arguments, 0)?, style).map(Value::Text)
}

fn written_or_empty(cx: &mut Context, arguments: &[Value], style: Style) -> Result<Value> {
    written(cx, arguments, style).or_else(|failure| or(failure, Value::Text(Text::default())))
}

/// What stands for a failure that the function hides. The limits of the render are none of those.
fn or(failure: Failure, value: Value) -> Result<Value> {
    match failure.kind() {
        Kind::Limit(_) => Err(failure),
        Kind::Plain | Kind::ShowsData => Ok(value),
    }
}

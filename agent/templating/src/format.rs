//! How values print: Go's `fmt` as far as templates reach it.
//!
//! `%v`, which nearly everything uses, has a short way of its own ([`display`]); `printf` with its verbs and flags goes through
//! [`directives`] and [`verbs`].

pub(crate) mod escape;
pub(crate) mod float;
pub(crate) mod integer;
pub(crate) mod printable;
pub(crate) mod quote;

mod directives;
mod fields;
mod verbs;

#[cfg(test)]
mod tests;

use crate::context::Context;
use crate::failure::Result;
use crate::time::{MONTHS, WEEKDAYS, duration};
use crate::value::{List, Value};

pub(crate) use escape::{html, js, urlquery};
pub(crate) use quote::{can_backquote, quote, quote_ascii};

/// What is paid for a number or word, whose text is short.
const SCALAR: usize = 24;

/// Appends `value` as `%v` prints it. nil is `<nil>`; the evaluator prints `<no value>` for one at the end of an action.
pub(crate) fn display(cx: &mut Context, value: &Value, out: &mut Vec<u8>) -> Result<()> {
    match value {
        Value::Text(text) => append(cx, text.bytes(), out),
        Value::List(list) => cx.nested(|cx| display_list(cx, list, out)),
        Value::Dict(dict) => cx.nested(|cx| {
            append(cx, b"map[", out)?;
            let mut separator: &[u8] = b"";
            dict.try_each(|key, value| {
                display_entry(cx, separator, key.bytes(), out)?;
                separator = b" ";
                display(cx, value, out)
            })?;
            append(cx, b"]", out)
        }),
        Value::StringMap(map) => {
            append(cx, b"map[", out)?;
            let mut separator: &[u8] = b"";
            for (key, value) in map.entries() {
                display_entry(cx, separator, key.bytes(), out)?;
                separator = b" ";
                append(cx, value.bytes(), out)?;
            }
            append(cx, b"]", out)
        }
        Value::Certificate(certificate) => {
            append(cx, b"{", out)?;
            append(cx, certificate.certificate.bytes(), out)?;
            append(cx, b" ", out)?;
            append(cx, certificate.key.bytes(), out)?;
            append(cx, b"}", out)
        }
        other => {
            cx.allocate(SCALAR)?;
            display_scalar(other, out);
            Ok(())
        }
    }
}

/// Appends `arguments` as `fmt.Sprint` does: a blank between two of which neither is a string.
pub(crate) fn print(cx: &mut Context, arguments: &[Value], out: &mut Vec<u8>) -> Result<()> {
    let mut after_text = true;
    for argument in arguments {
        let is_text = matches!(argument, Value::Text(_));
        if !is_text && !after_text {
            append(cx, b" ", out)?;
        }
        after_text = is_text;
        display(cx, argument, out)?;
    }
    Ok(())
}

/// Appends `arguments` as `fmt.Sprintln` does: blanks between all, a newline at the end.
pub(crate) fn println(cx: &mut Context, arguments: &[Value], out: &mut Vec<u8>) -> Result<()> {
    for (index, argument) in arguments.iter().enumerate() {
        if index > 0 {
            append(cx, b" ", out)?;
        }
        display(cx, argument, out)?;
    }
    append(cx, b"\n", out)
}

/// Appends `arguments` as `fmt.Sprintf` does.
pub(crate) fn printf(
    cx: &mut Context,
    format: &[u8],
    arguments: &[Value],
    out: &mut Vec<u8>,
) -> Result<()> {
    directives::run(cx, format, arguments, out)
}

/// Appends a float as `%v` does: the shortest digits that read back the same, with an exponent below -4 and from 6 on.
pub(crate) fn float(value: f64, out: &mut Vec<u8>) {
    float::append(value, b'g', None, out);
}

/// Appends the text that a value's `String` method gives: of times, durations and versions. `false` for other types.
fn method_text(value: &Value, out: &mut Vec<u8>) -> bool {
    match value {
        Value::Time(time) => out.extend_from_slice(time.text().as_bytes()),
        Value::Duration(nanoseconds) => {
            out.extend_from_slice(duration::text(*nanoseconds).as_bytes());
        }
        Value::Month(number) => {
            let name = MONTHS.get(usize::from(*number).wrapping_sub(1));
            out.extend_from_slice(name.copied().unwrap_or_default().as_bytes());
        }
        Value::Weekday(number) => {
            let name = WEEKDAYS.get(usize::from(*number));
            out.extend_from_slice(name.copied().unwrap_or_default().as_bytes());
        }
        Value::Location(zone) => out.extend_from_slice(zone.name().as_bytes()),
        Value::Version(Some(version)) | Value::VersionValue(version) => {
            out.extend_from_slice(version.text().as_bytes());
        }
        // A nil pointer to a version: the method panics and fmt prints this.
        Value::Version(None) => out.extend_from_slice(b"<nil>"),
        _ => return false,
    }
    true
}

fn append(cx: &mut Context, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    cx.allocate(bytes.len())?;
    out.extend_from_slice(bytes);
    Ok(())
}

fn display_list(cx: &mut Context, list: &List, out: &mut Vec<u8>) -> Result<()> {
    append(cx, b"[", out)?;
    for (index, value) in list.values().iter().enumerate() {
        cx.work(1)?;
        if index > 0 {
            append(cx, b" ", out)?;
        }
        display(cx, value, out)?;
    }
    append(cx, b"]", out)
}

fn display_entry(cx: &mut Context, separator: &[u8], key: &[u8], out: &mut Vec<u8>) -> Result<()> {
    cx.work(1)?;
    append(cx, separator, out)?;
    append(cx, key, out)?;
    append(cx, b":", out)
}

fn display_scalar(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Nil => out.extend_from_slice(b"<nil>"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(value) | Value::Int64(value) => integer::signed(*value, out),
        Value::Uint8(value) => integer::unsigned(u64::from(*value), out),
        Value::Uint64(value) => integer::unsigned(*value, out),
        Value::Float(value) => float(*value, out),
        Value::Complex(real, imaginary) => {
            out.push(b'(');
            float(*real, out);
            let start = out.len();
            float(*imaginary, out);
            if !matches!(out.get(start), Some(b'+' | b'-')) {
                out.insert(start, b'+');
            }
            out.extend_from_slice(b"i)");
        }
        other => {
            method_text(other, out);
        }
    }
}

//! How values print: Go's `fmt` as far as templates reach it.
//!
//! `%v`, which nearly everything uses, has a short way of its own ([`display`]); `printf` with its verbs and flags goes through
//! [`directives`] and [`verbs`].
//!
//! What is appended may be secret, so each growth of an output goes through [`buffer`], which wipes the place that is left.

pub(crate) mod escape;
pub(crate) mod float;
pub(crate) mod integer;
pub(crate) mod quote;

mod directives;
mod fields;
mod structs;
mod verbs;

#[cfg(test)]
mod tests;

use crate::buffer;
use crate::context::Context;
use crate::failure::Result;
use crate::time::{MONTHS, WEEKDAYS, duration};
use crate::value::{List, Value};

pub(crate) use escape::{html, js, urlquery};
pub(crate) use quote::{can_backquote, pay as pay_for_quoting, quote};

/// What is paid for a number or word, in bytes.
const SCALAR: usize = 24;
/// The longest text of a number: a complex one.
const LONGEST_NUMBER: usize = 64;

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
            buffer::reserve(out, LONGEST_NUMBER);
            display_scalar(other, out);
            Ok(())
        }
    }
}

/// Appends `arguments` as `fmt.Sprint` does: a blank between two of which neither is a string.
pub(crate) fn print(cx: &mut Context, arguments: &[Value], out: &mut Vec<u8>) -> Result<()> {
    let lengths = arguments
        .iter()
        .filter_map(Value::as_bytes)
        .map(<[u8]>::len);
    let expected = lengths.fold(0, usize::saturating_add);
    cx.check_memory(expected)?;
    buffer::reserve(out, expected);
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
        Value::Time(time) => buffer::extend(out, time.text().as_bytes()),
        Value::Duration(nanoseconds) => {
            buffer::extend(out, duration::text(*nanoseconds).as_bytes());
        }
        Value::Month(number) => {
            let name = MONTHS.get(usize::from(*number).wrapping_sub(1));
            buffer::extend(out, name.copied().unwrap_or_default().as_bytes());
        }
        Value::Weekday(number) => {
            let name = WEEKDAYS.get(usize::from(*number));
            buffer::extend(out, name.copied().unwrap_or_default().as_bytes());
        }
        Value::Location(zone) => buffer::extend(out, zone.name().as_bytes()),
        Value::Version(Some(version)) | Value::SemverStruct(version) => {
            buffer::extend(out, version.text().as_bytes());
        }
        // A nil pointer to a version: the method panics and fmt prints this.
        Value::Version(None) => buffer::extend(out, b"<nil>"),
        _ => return false,
    }
    true
}

fn append(cx: &mut Context, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    cx.allocate(bytes.len())?;
    buffer::extend(out, bytes);
    Ok(())
}

/// Appends `count` times `byte`.
fn fill(cx: &mut Context, byte: u8, count: usize, out: &mut Vec<u8>) -> Result<()> {
    cx.allocate(count)?;
    cx.work(count as u64 / 64)?;
    buffer::reserve(out, count);
    out.resize(out.len() + count, byte);
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

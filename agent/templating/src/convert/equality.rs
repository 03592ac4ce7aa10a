//! Go's `reflect.DeepEqual`.

use crate::context::Context;
use crate::failure::Result;
use crate::value::{Dict, List, Value};

/// Pairs of dicts that are being compared. A pair met again inside itself counts as equal, as in Go.
type Pairs = Vec<(Dict, Dict)>;

/// Go's `reflect.DeepEqual`: types count, nil lists and dicts differ from empty ones, NaN is not equal to itself.
pub(crate) fn deep_equal(cx: &mut Context, one: &Value, other: &Value) -> Result<bool> {
    compare(cx, &mut Vec::new(), one, other)
}

fn compare(cx: &mut Context, pairs: &mut Pairs, one: &Value, other: &Value) -> Result<bool> {
    cx.work(1)?;
    Ok(match (one, other) {
        (Value::Nil, Value::Nil) => true,
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::Int(one), Value::Int(other))
        | (Value::Int64(one), Value::Int64(other))
        | (Value::Duration(one), Value::Duration(other)) => one == other,
        (Value::Uint8(one), Value::Uint8(other))
        | (Value::Month(one), Value::Month(other))
        | (Value::Weekday(one), Value::Weekday(other)) => one == other,
        (Value::Uint64(one), Value::Uint64(other)) => one == other,
        (Value::Float(one), Value::Float(other)) => one == other,
        (Value::Complex(real, imaginary), Value::Complex(other_real, other_imaginary)) => {
            real == other_real && imaginary == other_imaginary
        }
        (Value::Text(one), Value::Text(other)) => {
            cx.work(one.bytes().len().min(other.bytes().len()) as u64 / 64)?;
            one == other
        }
        (Value::List(one), Value::List(other)) => compare_lists(cx, pairs, one, other)?,
        (Value::Dict(one), Value::Dict(other)) => compare_dicts(cx, pairs, one, other)?,
        (Value::StringMap(one), Value::StringMap(other)) => {
            if one.is_same(other) {
                return Ok(true);
            }
            cx.work(one.len().min(other.len()) as u64)?;
            one.len() == other.len() && one.entries().eq(other.entries())
        }
        (Value::Time(one), Value::Time(other)) => one.is_deeply_equal(other),
        (Value::Location(one), Value::Location(other)) => one.is_deeply_equal(other),
        (Value::Version(None), Value::Version(None)) => true,
        (Value::Version(Some(one)), Value::Version(Some(other)))
        | (Value::SemverStruct(one), Value::SemverStruct(other)) => one.is_identical(other),
        (Value::Certificate(one), Value::Certificate(other)) => {
            one.certificate == other.certificate && one.key == other.key
        }
        _ => false,
    })
}

fn compare_lists(cx: &mut Context, pairs: &mut Pairs, one: &List, other: &List) -> Result<bool> {
    if one.element() != other.element()
        || one.is_nil() != other.is_nil()
        || one.len() != other.len()
    {
        return Ok(false);
    }
    if one.is_same(other) {
        return Ok(true);
    }
    cx.nested(|cx| {
        for (one, other) in one.values().iter().zip(other.values()) {
            if !compare(cx, pairs, one, other)? {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

fn compare_dicts(cx: &mut Context, pairs: &mut Pairs, one: &Dict, other: &Dict) -> Result<bool> {
    if one.is_nil() != other.is_nil() || one.len() != other.len() {
        return Ok(false);
    }
    cx.work(pairs.len() as u64 / 16)?;
    let met = |(left, right): &(Dict, Dict)| {
        left.is_same(one) && right.is_same(other) || left.is_same(other) && right.is_same(one)
    };
    if one.is_same(other) || pairs.iter().any(met) {
        return Ok(true);
    }
    pairs.push((one.clone(), other.clone()));
    let mut equal = true;
    cx.nested(|cx| {
        one.try_each(|key, value| {
            equal = equal
                && match other.get(key.bytes()) {
                    Some(counterpart) => compare(cx, pairs, value, &counterpart)?,
                    None => false,
                };
            Ok(())
        })
    })?;
    pairs.pop();
    Ok(equal)
}

//! `eq`, `ne`, `lt`, `le`, `gt`, `ge`.

use std::rc::Rc;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::format;
use crate::value::{Text, Value};

/// A value reduced to what Go compares.
#[derive(Clone, Copy)]
enum Basic<'v> {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Complex(f64, f64),
    Text(&'v [u8]),
    /// Nothing that has an order: nil, lists, maps, structs, pointers.
    Other,
}

/// Whether `one` equals any of the others.
pub(super) fn eq(cx: &mut Context, one: &Value, others: &[Value]) -> Result<bool> {
    if others.is_empty() {
        return Err(Failure::plain("missing argument for comparison"));
    }
    for other in others {
        if is_equal(cx, one, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn ne(cx: &mut Context, one: &Value, other: &Value) -> Result<bool> {
    is_equal(cx, one, other).map(|equal| !equal)
}

pub(super) fn lt(cx: &mut Context, one: &Value, other: &Value) -> Result<bool> {
    let basics = (basic(one), basic(other));
    Ok(match basics {
        (Basic::Other, _) | (_, Basic::Other) => return Err(bad_type()),
        (Basic::Int(one), Basic::Int(other)) => one < other,
        (Basic::Uint(one), Basic::Uint(other)) => one < other,
        (Basic::Int(one), Basic::Uint(other)) => i128::from(one) < i128::from(other),
        (Basic::Uint(one), Basic::Int(other)) => i128::from(one) < i128::from(other),
        (Basic::Float(one), Basic::Float(other)) => one < other,
        (Basic::Text(one), Basic::Text(other)) => {
            cx.work(one.len().min(other.len()) as u64 / 64)?;
            one < other
        }
        (Basic::Bool(_), Basic::Bool(_)) | (Basic::Complex(..), Basic::Complex(..)) => {
            return Err(bad_type());
        }
        _ => return Err(incompatible(one, other)),
    })
}

pub(super) fn le(cx: &mut Context, one: &Value, other: &Value) -> Result<bool> {
    Ok(lt(cx, one, other)? || is_equal(cx, one, other)?)
}

/// Go's way round: with NaN both `lt` and `le` are false, so `gt` is true.
pub(super) fn gt(cx: &mut Context, one: &Value, other: &Value) -> Result<bool> {
    le(cx, one, other).map(|less| !less)
}

pub(super) fn ge(cx: &mut Context, one: &Value, other: &Value) -> Result<bool> {
    lt(cx, one, other).map(|less| !less)
}

#[expect(clippy::float_cmp, reason = "Go's == of floats")]
fn is_equal(cx: &mut Context, one: &Value, other: &Value) -> Result<bool> {
    Ok(match (basic(one), basic(other)) {
        (Basic::Bool(one), Basic::Bool(other)) => one == other,
        (Basic::Int(one), Basic::Int(other)) => one == other,
        (Basic::Uint(one), Basic::Uint(other)) => one == other,
        (Basic::Int(int), Basic::Uint(uint)) | (Basic::Uint(uint), Basic::Int(int)) => {
            i128::from(int) == i128::from(uint)
        }
        (Basic::Float(one), Basic::Float(other)) => one == other,
        (Basic::Complex(one, first), Basic::Complex(other, second)) => {
            one == other && first == second
        }
        (Basic::Text(one), Basic::Text(other)) => {
            cx.work(one.len() as u64 / 64)?;
            one == other
        }
        (Basic::Other, Basic::Other) => return are_same(cx, one, other),
        _ if matches!(one, Value::Nil) || matches!(other, Value::Nil) => false,
        _ => return Err(incompatible(one, other)),
    })
}

/// Equality of values that have no order.
fn are_same(cx: &mut Context, one: &Value, other: &Value) -> Result<bool> {
    let (first, second) = (one.kind_name(), other.kind_name());
    let has_nil = matches!(one, Value::Nil) || matches!(other, Value::Nil);
    if first != second && !has_nil {
        let (one_type, other_type) = (Value::of(one.type_name()), Value::of(other.type_name()));
        let shown = [one.clone(), one_type, other_type, other.clone()];
        return Err(formatted(
            cx,
            b"non-comparable types %s: %v, %s: %v",
            &shown,
        ));
    }
    if is_nil(one) || is_nil(other) {
        return Ok(is_nil(one) == is_nil(other));
    }
    Ok(match (one, other) {
        (_, Value::List(_) | Value::Dict(_) | Value::StringMap(_)) => {
            let shown = [other.clone(), Value::of(other.type_name())];
            return Err(formatted(cx, b"non-comparable type %s: %v", &shown));
        }
        (Value::Time(one), Value::Time(other)) => one.is_identical(other),
        (Value::Version(Some(one)), Value::Version(Some(other))) => Rc::ptr_eq(one, other),
        (Value::SemverStruct(one), Value::SemverStruct(other)) => one.is_identical(other),
        (Value::Location(one), Value::Location(other)) => one.is_identical(other),
        (Value::Certificate(one), Value::Certificate(other)) => {
            one.certificate == other.certificate && one.key == other.key
        }
        _ => false,
    })
}

/// Whether a value is nil or a nil of its type.
fn is_nil(value: &Value) -> bool {
    match value {
        Value::Nil | Value::Version(None) => true,
        Value::List(list) => list.is_nil(),
        Value::Dict(dict) => dict.is_nil(),
        _ => false,
    }
}

fn basic(value: &Value) -> Basic<'_> {
    match value {
        Value::Bool(value) => Basic::Bool(*value),
        Value::Int(value) | Value::Int64(value) | Value::Duration(value) => Basic::Int(*value),
        Value::Month(value) | Value::Weekday(value) => Basic::Int(i64::from(*value)),
        Value::Uint8(value) => Basic::Uint(u64::from(*value)),
        Value::Uint64(value) => Basic::Uint(*value),
        Value::Float(value) => Basic::Float(*value),
        Value::Complex(real, imaginary) => Basic::Complex(*real, *imaginary),
        Value::Text(text) => Basic::Text(text.bytes()),
        Value::Nil
        | Value::List(_)
        | Value::Dict(_)
        | Value::StringMap(_)
        | Value::Time(_)
        | Value::Location(_)
        | Value::Version(_)
        | Value::SemverStruct(_)
        | Value::Certificate(_) => Basic::Other,
    }
}

fn bad_type() -> Failure {
    Failure::plain("invalid type for comparison")
}

fn incompatible(one: &Value, other: &Value) -> Failure {
    let (one, other) = (one.type_name(), other.type_name());
    Failure::plain(format!(
        "incompatible types for comparison: {one} and {other}"
    ))
}

fn formatted(cx: &mut Context, layout: &[u8], arguments: &[Value]) -> Failure {
    let mut text = zeroize::Zeroizing::new(Vec::new());
    if let Err(failure) = format::printf(cx, layout, arguments, &mut text) {
        return failure;
    }
    let text = Text::new(std::mem::take(&mut *text));
    Failure::showing_data(text.to_lossy())
}

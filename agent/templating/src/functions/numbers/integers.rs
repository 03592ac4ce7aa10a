//! Conversions to integers and integer arithmetic, wrapping as in Go.

use crate::context::Context;
use crate::convert::{self, NumberError, to_int64};
use crate::failure::{Failure, Result};
use crate::functions::{any, text};
use crate::value::Value;

pub(super) fn int(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    Ok(Value::Int(to_int64(any(arguments, 0)?)))
}

pub(super) fn int64(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    Ok(Value::Int64(to_int64(any(arguments, 0)?)))
}

pub(super) fn atoi(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let digits = text(arguments, 0)?.bytes();
    let number = match convert::parse_int(digits, 10, 64) {
        Ok(number) => number,
        Err(NumberError::Syntax) => 0,
        Err(NumberError::Range) if digits.starts_with(b"-") => i64::MIN,
        Err(NumberError::Range) => i64::MAX,
    };
    Ok(Value::Int(number))
}

pub(super) fn to_decimal(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let printed = convert::to_text(cx, any(arguments, 0)?)?;
    let number = convert::parse_int(printed.bytes(), 8, 64).unwrap_or(0);
    Ok(Value::Int64(number))
}

pub(super) fn add(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    fold(cx, arguments.split_first(), 0, i64::wrapping_add)
}

pub(super) fn add1(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let number = to_int64(any(arguments, 0)?);
    Ok(Value::Int64(number.wrapping_add(1)))
}

pub(super) fn sub(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (one, other) = pair(arguments)?;
    Ok(Value::Int64(one.wrapping_sub(other)))
}

pub(super) fn mul(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    fold(cx, arguments.split_first(), 1, i64::wrapping_mul)
}

pub(super) fn div(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (one, other) = pair(arguments)?;
    not_zero(other)?;
    Ok(Value::Int64(one.wrapping_div(other)))
}

pub(super) fn modulo(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (one, other) = pair(arguments)?;
    not_zero(other)?;
    Ok(Value::Int64(one.wrapping_rem(other)))
}

pub(super) fn max(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    fold(cx, arguments.split_first(), 0, i64::max)
}

pub(super) fn min(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    fold(cx, arguments.split_first(), 0, i64::min)
}

/// Joins the arguments from left to right; `none` if there are none.
fn fold(
    cx: &mut Context,
    arguments: Option<(&Value, &[Value])>,
    none: i64,
    join: fn(i64, i64) -> i64,
) -> Result<Value> {
    let Some((first, rest)) = arguments else {
        return Ok(Value::Int64(none));
    };
    cx.work(rest.len() as u64)?;
    let rest = rest.iter().map(to_int64);
    Ok(Value::Int64(rest.fold(to_int64(first), join)))
}

fn pair(arguments: &[Value]) -> Result<(i64, i64)> {
    Ok((to_int64(any(arguments, 0)?), to_int64(any(arguments, 1)?)))
}

fn not_zero(divisor: i64) -> Result<()> {
    if divisor == 0 {
        return Err(Failure::plain("runtime error: integer divide by zero"));
    }
    Ok(())
}

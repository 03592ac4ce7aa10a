//! Floats: conversion, extremes, rounding.

use crate::context::Context;
use crate::convert::to_float64;
use crate::failure::Result;
use crate::functions::{any, int};
use crate::value::Value;

pub(super) fn float64(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    Ok(Value::Float(to_float64(any(arguments, 0)?)))
}

pub(super) fn maxf(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    fold(cx, arguments, larger)
}

pub(super) fn minf(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    fold(cx, arguments, |one, other| -larger(-one, -other))
}

pub(super) fn ceil(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    Ok(Value::Float(to_float64(any(arguments, 0)?).ceil()))
}

pub(super) fn floor(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    Ok(Value::Float(to_float64(any(arguments, 0)?).floor()))
}

pub(super) fn round(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let value = to_float64(any(arguments, 0)?);
    let places = int(arguments, 1)?;
    let on = match arguments.get(2) {
        Some(Value::Float(on)) => *on,
        _ => 0.5,
    };
    let power = power_of_ten(places);
    let scaled = power * value;
    // The fraction of an infinity is NaN, which rounds down.
    let fraction = scaled - scaled.trunc();
    let rounded = if fraction >= on {
        scaled.ceil()
    } else {
        scaled.floor()
    };
    Ok(Value::Float(rounded / power))
}

fn fold(cx: &mut Context, arguments: &[Value], join: fn(f64, f64) -> f64) -> Result<Value> {
    let first = to_float64(any(arguments, 0)?);
    cx.work(arguments.len() as u64)?;
    let rest = arguments.iter().skip(1).map(to_float64);
    Ok(Value::Float(rest.fold(first, join)))
}

/// Go's `math.Max`: positive infinity wins over NaN, NaN over the rest, 0 over -0.
fn larger(one: f64, other: f64) -> f64 {
    if one == f64::INFINITY || other == f64::INFINITY {
        f64::INFINITY
    } else if one.is_nan() || other.is_nan() {
        f64::NAN
    } else if one == 0.0 && other == 0.0 {
        if one.is_sign_negative() { other } else { one }
    } else if one > other {
        one
    } else {
        other
    }
}

/// Go's `math.Pow(10, places)` step by step: far from zero its result differs from the nearest float.
fn power_of_ten(places: i64) -> f64 {
    match places {
        0 => return 1.0,
        1 => return 10.0,
        _ => {}
    }
    // 10 is 0.625 times two to the power of 4.
    let (mut square, mut square_exponent) = (0.625_f64, 4_i64);
    let (mut mantissa, mut exponent) = (1.0_f64, 0_i64);
    // Go takes the number of places as a float.
    let mut left = (places as f64).abs() as u64;
    while left != 0 {
        if square_exponent.abs() > 1 << 12 {
            exponent += square_exponent;
            break;
        }
        if left & 1 == 1 {
            mantissa *= square;
            exponent += square_exponent;
        }
        square *= square;
        square_exponent *= 2;
        if square < 0.5 {
            square += square;
            square_exponent -= 1;
        }
        left >>= 1;
    }
    if places < 0 {
        mantissa = 1.0 / mantissa;
        exponent = -exponent;
    }
    times_power_of_two(mantissa, exponent)
}

/// `value` times two to the power of `exponent`, rounded once. `value` is positive and neither tiny nor huge.
fn times_power_of_two(value: f64, exponent: i64) -> f64 {
    let power = |exponent: i64| f64::from_bits(((exponent + 1023) as u64) << 52);
    let exponent = exponent.clamp(-1_200, 1_200);
    if exponent > 1_000 {
        value * power(1_000) * power(exponent - 1_000)
    } else if exponent < -900 {
        // The first product is exact.
        value * power(-900) * power(exponent + 900)
    } else {
        value * power(exponent)
    }
}

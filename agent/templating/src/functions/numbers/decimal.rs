//! Arithmetic on floats in exact decimal, as `github.com/shopspring/decimal` does it for sprig: each operand counts as its
//! shortest decimal form, and only the result is rounded to a float.

mod natural;

use natural::Natural;

use crate::context::Context;
use crate::convert::to_float64;
use crate::failure::{Failure, Result};
use crate::format::float::shortest_digits;
use crate::functions::any;
use crate::value::Value;

/// Decimals that a quotient is rounded to.
const DIVISION_DECIMALS: i64 = 16;

/// A number times ten to the power of an exponent.
struct Decimal {
    negative: bool,
    magnitude: Natural,
    exponent: i64,
}

type Operation = fn(&mut Context, Decimal, Decimal) -> Result<Decimal>;

pub(super) fn add1f(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    run(cx, any(arguments, 0)?, &[Value::Int(1)], Decimal::add)
}

pub(super) fn addf(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    run(cx, &Value::Float(0.0), arguments, Decimal::add)
}

pub(super) fn subf(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (first, rest) = split(arguments)?;
    run(cx, first, rest, |cx, one, mut other| {
        other.negative = !other.negative;
        Decimal::add(cx, one, other)
    })
}

pub(super) fn mulf(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (first, rest) = split(arguments)?;
    run(cx, first, rest, Decimal::multiply)
}

pub(super) fn divf(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (first, rest) = split(arguments)?;
    run(cx, first, rest, Decimal::divide)
}

fn split(arguments: &[Value]) -> Result<(&Value, &[Value])> {
    arguments.split_first().ok_or_else(Failure::unexpected_type)
}

fn run(cx: &mut Context, first: &Value, rest: &[Value], operation: Operation) -> Result<Value> {
    let mut result = Decimal::from_float(to_float64(first))?;
    for value in rest {
        cx.work(1)?;
        let value = Decimal::from_float(to_float64(value))?;
        result = operation(cx, result, value)?;
    }
    Ok(Value::Float(result.to_float(cx)?))
}

// === impl Decimal ===

impl Decimal {
    fn from_float(value: f64) -> Result<Self> {
        if !value.is_finite() {
            let mut text = b"Cannot create a Decimal from ".to_vec();
            crate::format::float(value, &mut text);
            return Err(Failure::plain(String::from_utf8_lossy(&text)));
        }
        let (digits, exponent) = shortest_digits(value);
        Ok(Self {
            negative: value < 0.0,
            magnitude: Natural::from(digits),
            exponent: i64::from(exponent),
        })
    }

    /// The nearest float.
    fn to_float(&self, cx: &mut Context) -> Result<f64> {
        if self.magnitude.is_zero() {
            return Ok(0.0);
        }
        self.magnitude.pay(cx, 9)?;
        let sign = if self.negative { "-" } else { "" };
        let text = format!("{sign}{}e{}", self.magnitude.to_digits(), self.exponent);
        text.parse().map_err(|_| Failure::unexpected_type())
    }

    fn add(cx: &mut Context, one: Self, other: Self) -> Result<Self> {
        let exponent = one.exponent.min(other.exponent);
        let (one_negative, other_negative) = (one.negative, other.negative);
        let one = one.scaled_to(cx, exponent)?;
        let other = other.scaled_to(cx, exponent)?;
        one.pay(cx, 4)?;
        other.pay(cx, 4)?;
        let (negative, magnitude) = if one_negative == other_negative {
            (one_negative, one.add(&other))
        } else if one >= other {
            (one_negative, one.subtract(&other))
        } else {
            (other_negative, other.subtract(&one))
        };
        Ok(Self {
            negative,
            magnitude,
            exponent,
        })
    }

    fn multiply(cx: &mut Context, one: Self, other: Self) -> Result<Self> {
        one.magnitude.pay_product(cx, &other.magnitude)?;
        Ok(Self {
            negative: one.negative != other.negative,
            magnitude: one.magnitude.multiply(&other.magnitude),
            exponent: one.exponent + other.exponent,
        })
    }

    /// Rounded to [`DIVISION_DECIMALS`], half away from zero.
    fn divide(cx: &mut Context, one: Self, other: Self) -> Result<Self> {
        if other.magnitude.is_zero() {
            return Err(Failure::plain("decimal division by 0"));
        }
        let negative = one.negative != other.negative;
        let shift = one.exponent - other.exponent + DIVISION_DECIMALS;
        let dividend = one.magnitude.times_power_of_ten(cx, shift.max(0))?;
        let divisor = other.magnitude.times_power_of_ten(cx, (-shift).max(0))?;
        dividend.pay_product(cx, &divisor)?;
        let (quotient, remainder) = dividend.divide(&divisor);
        let up = remainder.add(&remainder) >= divisor;
        Ok(Self {
            negative,
            magnitude: quotient.add(&Natural::from(u64::from(up))),
            exponent: -DIVISION_DECIMALS,
        })
    }

    /// The magnitude for an exponent that is not above its own.
    fn scaled_to(self, cx: &mut Context, exponent: i64) -> Result<Natural> {
        self.magnitude
            .times_power_of_ten(cx, self.exponent - exponent)
    }
}

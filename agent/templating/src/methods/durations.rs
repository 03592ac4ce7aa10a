//! Methods of `time.Duration`, `time.Month` and `time.Weekday`.

use super::{Method, Type};
use crate::failure::{Failure, Result};
use crate::functions::Parameter;
use crate::time::{MONTHS, WEEKDAYS, duration};
use crate::value::Value;

/// `time.Duration`
pub(super) const DURATION: Type = Type {
    methods: &[DURATIONS],
    refused: &[],
};

/// `time.Month`
pub(super) const MONTH: Type = Type {
    methods: &[NAMES],
    refused: &[],
};

/// `time.Weekday`
pub(super) const WEEKDAY: Type = MONTH;

/// Nanoseconds in a minute and in an hour.
const MINUTE: i64 = 60_000_000_000;
const HOUR: i64 = 60 * MINUTE;

/// A method of a duration: its name, the types of its parameters, and its code.
macro_rules! method {
    ($name:literal, [$($parameter:ident),*], |$cx:pat_param, $duration:ident, $arguments:pat_param| $body:expr) => {
        Method {
            name: $name,
            parameters: &[$(Parameter::$parameter),*],
            call: |$cx, receiver, $arguments| {
                let $duration = nanoseconds(receiver)?;
                Ok($body)
            },
        }
    };
}

const DURATIONS: &[Method] = &[
    method!("String", [], |cx, it, _| cx.text(duration::text(it))?),
    method!("Hours", [], |_, it, _| Value::Float(duration::in_units(
        it, HOUR
    ))),
    method!("Minutes", [], |_, it, _| Value::Float(duration::in_units(
        it, MINUTE
    ))),
    method!("Seconds", [], |_, it, _| Value::Float(duration::in_units(
        it,
        1_000_000_000
    ))),
    method!("Milliseconds", [], |_, it, _| Value::Int64(it / 1_000_000)),
    method!("Microseconds", [], |_, it, _| Value::Int64(it / 1_000)),
    method!("Nanoseconds", [], |_, it, _| Value::Int64(it)),
    method!("Round", [Duration], |_, it, arguments| Value::Duration(
        duration::round(it, super::integer(arguments, 0)?)
    )),
    method!("Truncate", [Duration], |_, it, arguments| Value::Duration(
        duration::truncate(it, super::integer(arguments, 0)?)
    )),
    method!("Abs", [], |_, it, _| Value::Duration(duration::absolute(
        it
    ))),
];

const NAMES: &[Method] = &[Method {
    name: "String",
    parameters: &[],
    call: |cx, receiver, _| cx.text(name(receiver)?),
}];

fn nanoseconds(receiver: &Value) -> Result<i64> {
    match receiver {
        Value::Duration(nanoseconds) => Ok(*nanoseconds),
        _ => Err(Failure::unexpected_type()),
    }
}

fn name(receiver: &Value) -> Result<&'static str> {
    let name = match receiver {
        Value::Month(month) => MONTHS.get(usize::from(*month).wrapping_sub(1)),
        Value::Weekday(weekday) => WEEKDAYS.get(usize::from(*weekday)),
        _ => None,
    };
    name.copied().ok_or_else(Failure::unexpected_type)
}

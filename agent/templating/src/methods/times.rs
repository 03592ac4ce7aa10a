//! Methods of `time.Time` and `*time.Location`.

use std::cmp::Ordering;
use std::rc::Rc;

use super::{Method, Type};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::functions::Parameter;
use crate::time::{Time, Zone};
use crate::value::{Element, Value};

/// `time.Time`
pub(super) const TIME: Type = Type {
    methods: &[PARTS, MOMENTS, ARITHMETIC, TEXTS],
    refused: &[
        (
            "Clock",
            "function Clock has 3 return values; should be 1 or 2",
        ),
        (
            "Date",
            "function Date has 3 return values; should be 1 or 2",
        ),
        (
            "ISOWeek",
            "invalid function signature for ISOWeek: second return value should be error; is int",
        ),
        (
            "Zone",
            "invalid function signature for Zone: second return value should be error; is int",
        ),
        (
            "ZoneBounds",
            "invalid function signature for ZoneBounds: second return value should be error; is time.Time",
        ),
    ],
};

/// `*time.Location`
pub(super) const LOCATION: Type = Type {
    methods: &[&[Method {
        name: "String",
        parameters: &[],
        call: |cx, receiver, _| match receiver {
            Value::Location(zone) => cx.text(zone.name()),
            _ => Err(Failure::unexpected_type()),
        },
    }]],
    refused: &[],
};

/// A method of a time: its name, the types of its parameters, and its code.
macro_rules! method {
    ($name:literal, [$($parameter:ident),*], |$cx:pat_param, $time:ident, $arguments:pat_param| $body:expr) => {
        Method {
            name: $name,
            parameters: &[$(Parameter::$parameter),*],
            call: |$cx, receiver, $arguments| {
                let $time = time(receiver)?;
                $body
            },
        }
    };
}

/// What stands on the calendar and on the clock.
const PARTS: &[Method] = &[
    method!("Year", [], |_, time, _| Ok(Value::Int(time.date().year))),
    method!("Month", [], |_, time, _| Ok(Value::Month(
        time.date().month
    ))),
    method!("Day", [], |_, time, _| int(time.date().day)),
    method!("YearDay", [], |_, time, _| int(time.date().year_day)),
    method!("Weekday", [], |_, time, _| Ok(Value::Weekday(
        time.date().weekday
    ))),
    method!("Hour", [], |_, time, _| int(time.clock().hour)),
    method!("Minute", [], |_, time, _| int(time.clock().minute)),
    method!("Second", [], |_, time, _| int(time.clock().second)),
    method!("Nanosecond", [], |_, time, _| int(time.nanosecond())),
    method!("IsDST", [], |_, time, _| Ok(Value::Bool(
        time.is_summer_time()
    ))),
];

/// The moment as a number, in other zones, and beside other moments.
const MOMENTS: &[Method] = &[
    method!("Unix", [], |_, time, _| Ok(Value::Int64(time.unix()))),
    method!("UnixMilli", [], |_, time, _| Ok(Value::Int64(
        time.unix_in(1_000)
    ))),
    method!("UnixMicro", [], |_, time, _| Ok(Value::Int64(
        time.unix_in(1_000_000)
    ))),
    method!("UnixNano", [], |_, time, _| Ok(Value::Int64(
        time.unix_in(1_000_000_000)
    ))),
    method!("IsZero", [], |_, time, _| Ok(Value::Bool(time.is_zero()))),
    method!("UTC", [], |_, time, _| value(time.in_zone(Zone::Utc))),
    method!("Local", [], |cx, time, _| value(
        time.in_zone(Zone::Local(cx.zone().clone()))
    )),
    method!("In", [Location], |_, time, arguments| {
        match arguments.first() {
            Some(Value::Location(zone)) => value(time.in_zone(zone.clone())),
            _ => Err(Failure::plain("time: missing Location in call to Time.In")),
        }
    }),
    method!("Location", [], |_, time, _| Ok(Value::Location(
        time.zone().clone()
    ))),
    method!("After", [Time], |_, time, arguments| {
        let order = time.compare(other(arguments)?);
        Ok(Value::Bool(order == Ordering::Greater))
    }),
    method!("Before", [Time], |_, time, arguments| {
        let order = time.compare(other(arguments)?);
        Ok(Value::Bool(order == Ordering::Less))
    }),
    method!("Equal", [Time], |_, time, arguments| {
        let order = time.compare(other(arguments)?);
        Ok(Value::Bool(order == Ordering::Equal))
    }),
    method!("Compare", [Time], |_, time, arguments| {
        Ok(Value::Int(time.compare(other(arguments)?) as i64))
    }),
];

/// Other moments.
const ARITHMETIC: &[Method] = &[
    method!("Add", [Duration], |_, time, arguments| value(
        time.add(super::integer(arguments, 0)?)
    )),
    method!("AddDate", [Int, Int, Int], |_, time, arguments| value(
        time.add_date(
            super::integer(arguments, 0)?,
            super::integer(arguments, 1)?,
            super::integer(arguments, 2)?,
        )
    )),
    method!("Sub", [Time], |_, time, arguments| Ok(Value::Duration(
        time.since(other(arguments)?)
    ))),
    method!("Truncate", [Duration], |_, time, arguments| value(
        time.truncate(super::integer(arguments, 0)?)
    )),
    method!("Round", [Duration], |_, time, arguments| value(
        time.round(super::integer(arguments, 0)?)
    )),
];

/// Texts and bytes.
const TEXTS: &[Method] = &[
    method!("Format", [Text], |cx, time, arguments| {
        let layout = super::text(arguments, 0)?.bytes();
        time.format_text(cx, layout)
    }),
    method!("String", [], |cx, time, _| cx.text(time.text())),
    method!("GoString", [], |cx, time, _| cx.text(time.go_text())),
    method!("AppendFormat", [Bytes, Text], |cx, time, arguments| {
        let layout = super::text(arguments, 1)?.bytes();
        time.pay(cx, layout)?;
        let mut out = super::bytes(arguments, 0)?;
        time.append(layout, &mut out);
        byte_list(cx, &out)
    }),
    method!("MarshalText", [], |cx, time, _| {
        byte_list(cx, &rfc_3339(time, "MarshalText")?)
    }),
    method!("AppendText", [Bytes], |cx, time, arguments| {
        let mut out = super::bytes(arguments, 0)?;
        out.extend(rfc_3339(time, "AppendText")?);
        byte_list(cx, &out)
    }),
    method!("MarshalJSON", [], |cx, time, _| {
        let mut out = b"\"".to_vec();
        out.extend(rfc_3339(time, "MarshalJSON")?);
        out.push(b'"');
        byte_list(cx, &out)
    }),
    method!("MarshalBinary", [], |cx, time, _| binary(cx, time, &[])),
    method!("GobEncode", [], |cx, time, _| binary(cx, time, &[])),
    method!("AppendBinary", [Bytes], |cx, time, arguments| {
        binary(cx, time, &super::bytes(arguments, 0)?)
    }),
];

fn time(receiver: &Value) -> Result<&Time> {
    match receiver {
        Value::Time(time) => Ok(time),
        _ => Err(Failure::unexpected_type()),
    }
}

/// The first argument, which the evaluator has checked to be a time.
fn other(arguments: &[Value]) -> Result<&Time> {
    time(arguments.first().ok_or_else(Failure::unexpected_type)?)
}

fn int(number: impl Into<i64>) -> Result<Value> {
    Ok(Value::Int(number.into()))
}

fn value(time: Time) -> Result<Value> {
    Ok(Value::Time(Rc::new(time)))
}

fn rfc_3339(time: &Time, method: &str) -> Result<Vec<u8>> {
    time.rfc_3339()
        .map_err(|text| Failure::plain(format!("Time.{method}: {text}")))
}

fn binary(cx: &mut Context, time: &Time, before: &[u8]) -> Result<Value> {
    let mut out = before.to_vec();
    out.extend(time.binary().map_err(Failure::plain)?);
    byte_list(cx, &out)
}

/// A `[]uint8`.
pub(super) fn byte_list(cx: &mut Context, bytes: &[u8]) -> Result<Value> {
    let values = bytes.iter().copied().map(Value::Uint8).collect();
    cx.list(Element::Byte, values)
}

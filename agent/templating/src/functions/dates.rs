//! Dates and durations.

use std::rc::Rc;

use super::{Function, Parameter, any, text};
use crate::context::Context;
use crate::convert;
use crate::failure::{Failure, Result};
use crate::time::{Time, Zone, duration};
use crate::value::Value;

/// The layout of a date in HTML.
const HTML: &[u8] = b"2006-01-02";
/// Nanoseconds in a second.
const SECOND: i64 = 1_000_000_000;

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "now",
        parameters: &[],
        variadic: None,
        result: "time",
        summary: "The moment of the render.",
        source: "sprig",
        example: ("{{ now | ago }}", "0s"),
        call: |cx, _| Ok(time(now(cx))),
    },
    Function {
        name: "ago",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "string",
        summary: "How long ago a date was, in whole seconds, as a Go duration.",
        source: "sprig",
        example: (r#"{{ now | date_modify "-90m" | ago }}"#, "1h30m0s"),
        call: |cx, arguments| {
            let passed = now(cx).since(&moment(cx, any(arguments, 0)?));
            cx.text(duration::text(duration::round(passed, SECOND)))
        },
    },
    Function {
        name: "date",
        parameters: &[Parameter::Text, Parameter::Any],
        variadic: None,
        result: "string",
        summary: "A date in a Go layout, in the local zone. A date is a time or an int or int64 of seconds since 1970; anything else is now.",
        source: "sprig",
        example: (
            r#"{{ date "2 Jan 2006 15:04" 1893553445 }}"#,
            "2 Jan 2030 03:04",
        ),
        call: |cx, arguments| {
            let layout = text(arguments, 0)?;
            format(cx, layout.bytes(), any(arguments, 1)?, b"Local")
        },
    },
    Function {
        name: "dateInZone",
        parameters: &[Parameter::Text, Parameter::Any, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "A date in a Go layout, in a zone of the IANA database, `UTC` or `Local`; UTC where there is no such zone.",
        source: "sprig",
        example: (
            r#"{{ dateInZone "15:04 MST" 1893553445 "Europe/Berlin" }}"#,
            "04:04 CET",
        ),
        call: date_in_zone,
    },
    Function {
        name: "date_in_zone",
        parameters: &[Parameter::Text, Parameter::Any, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The same as `dateInZone`.",
        source: "sprig",
        example: (
            r#"{{ date_in_zone "15:04 MST" 1893553445 "Asia/Kolkata" }}"#,
            "08:34 IST",
        ),
        call: date_in_zone,
    },
    Function {
        name: "htmlDate",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "string",
        summary: "A date as HTML date pickers have it, in the local zone.",
        source: "sprig",
        example: ("{{ htmlDate 1893553445 }}", "2030-01-02"),
        call: |cx, arguments| format(cx, HTML, any(arguments, 0)?, b"Local"),
    },
    Function {
        name: "htmlDateInZone",
        parameters: &[Parameter::Any, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "A date as HTML date pickers have it, in a zone as under `dateInZone`.",
        source: "sprig",
        example: (r#"{{ htmlDateInZone 0 "America/New_York" }}"#, "1969-12-31"),
        call: |cx, arguments| {
            let zone = text(arguments, 1)?;
            format(cx, HTML, any(arguments, 0)?, zone.bytes())
        },
    },
    Function {
        name: "toDate",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "time",
        summary: "Reads a date (the second string) by a Go layout (the first), in the local zone unless the text has one; the zero time where it cannot be read.",
        source: "sprig",
        example: (
            r#"{{ toDate "2006-01-02" "2031-07-09" }}"#,
            "2031-07-09 00:00:00 +0000 UTC",
        ),
        call: |cx, arguments| Ok(time(parse(cx, arguments)?.unwrap_or_else(|_| Time::zero()))),
    },
    Function {
        name: "mustToDate",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "time",
        summary: "Reads a date (the second string) by a Go layout (the first); fails where it cannot be read.",
        source: "sprig",
        example: (
            r#"{{ (mustToDate "02/01/2006" "09/07/2031").Month }}"#,
            "July",
        ),
        call: |cx, arguments| {
            let outcome = parse(cx, arguments)?;
            outcome.map(time).map_err(Failure::showing_data)
        },
    },
    Function {
        name: "dateModify",
        parameters: &[Parameter::Text, Parameter::Time],
        variadic: None,
        result: "time",
        summary: "A time moved by a Go duration such as `-1.5h`; the time itself where that cannot be read.",
        source: "sprig",
        example: (
            r#"{{ toDate "15:04" "09:30" | dateModify "-45m" | date "15:04" }}"#,
            "08:45",
        ),
        call: date_modify,
    },
    Function {
        name: "date_modify",
        parameters: &[Parameter::Text, Parameter::Time],
        variadic: None,
        result: "time",
        summary: "The same as `dateModify`.",
        source: "sprig",
        example: (
            r#"{{ toDate "15:04" "09:30" | date_modify "36h" | date "15:04" }}"#,
            "21:30",
        ),
        call: date_modify,
    },
    Function {
        name: "mustDateModify",
        parameters: &[Parameter::Text, Parameter::Time],
        variadic: None,
        result: "time",
        summary: "A time moved by a Go duration; fails where that cannot be read.",
        source: "sprig",
        example: (
            r#"{{ toDate "15:04" "09:30" | mustDateModify "90s" | date "15:04:05" }}"#,
            "09:31:30",
        ),
        call: must_date_modify,
    },
    Function {
        name: "must_date_modify",
        parameters: &[Parameter::Text, Parameter::Time],
        variadic: None,
        result: "time",
        summary: "The same as `mustDateModify`.",
        source: "sprig",
        example: (
            r#"{{ toDate "15:04" "09:30" | must_date_modify "1h" | date "15:04" }}"#,
            "10:30",
        ),
        call: must_date_modify,
    },
    Function {
        name: "unixEpoch",
        parameters: &[Parameter::Time],
        variadic: None,
        result: "string",
        summary: "Seconds since 1970.",
        source: "sprig",
        example: (
            r#"{{ toDate "2006-01-02" "2031-07-09" | unixEpoch }}"#,
            "1941321600",
        ),
        call: |cx, arguments| cx.text(time_argument(arguments, 0)?.unix().to_string()),
    },
    Function {
        name: "duration",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "string",
        summary: "Seconds, as a string or an int64, as a Go duration; `0s` for anything else, an int included.",
        source: "sprig",
        example: (r#"{{ duration "3661" }}"#, "1h1m1s"),
        call: |cx, arguments| {
            let seconds = match any(arguments, 0)? {
                Value::Text(text) => parse_int(text.bytes()),
                Value::Int64(seconds) => *seconds,
                _ => 0,
            };
            cx.text(duration::text(seconds.wrapping_mul(SECOND)))
        },
    },
    Function {
        name: "durationRound",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "string",
        summary: "A Go duration, an int64 of nanoseconds, or the time since a time, in its largest unit: `y mo d h m s`.",
        source: "sprig",
        example: (r#"{{ durationRound "2400h10m5s" }}"#, "3mo"),
        call: |cx, arguments| {
            let duration = match any(arguments, 0)? {
                Value::Text(text) => {
                    cx.work(text.bytes().len() as u64 / 16)?;
                    duration::parse(text.bytes()).unwrap_or_default()
                }
                Value::Int64(nanoseconds) => *nanoseconds,
                Value::Time(time) => now(cx).since(time),
                _ => 0,
            };
            cx.text(largest_unit(duration))
        },
    },
];

fn now(cx: &Context) -> Time {
    Time::now(cx.now(), cx.zone())
}

fn time(time: Time) -> Value {
    Value::Time(Rc::new(time))
}

/// Argument `index`, which the evaluator has checked to be a time.
fn time_argument(arguments: &[Value], index: usize) -> Result<&Rc<Time>> {
    match arguments.get(index) {
        Some(Value::Time(time)) => Ok(time),
        _ => Err(Failure::unexpected_type()),
    }
}

/// What sprig takes for a date: a time or seconds; anything else is now.
fn moment(cx: &Context, date: &Value) -> Time {
    match date {
        Value::Time(time) => Time::clone(time),
        Value::Int(seconds) | Value::Int64(seconds) => {
            Time::from_unix(*seconds, Zone::Local(cx.zone().clone()))
        }
        _ => now(cx),
    }
}

fn format(cx: &mut Context, layout: &[u8], date: &Value, zone: &[u8]) -> Result<Value> {
    let zone = Zone::load(zone, cx.zone());
    moment(cx, date).in_zone(zone).format_text(cx, layout)
}

fn date_in_zone(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (layout, zone) = (text(arguments, 0)?, text(arguments, 2)?);
    format(cx, layout.bytes(), any(arguments, 1)?, zone.bytes())
}

/// Reads the second argument by the layout in the first; inside, Go's text where that fails.
fn parse(cx: &mut Context, arguments: &[Value]) -> Result<Result<Time, String>> {
    let (layout, text) = (text(arguments, 0)?, text(arguments, 1)?);
    cx.work((layout.bytes().len() + text.bytes().len()) as u64 / 4)?;
    Ok(Time::parse(layout.bytes(), text.bytes(), cx.zone()))
}

fn date_modify(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let time_value = time_argument(arguments, 1)?;
    match parse_duration(cx, arguments)? {
        Ok(duration) => Ok(time(time_value.add(duration))),
        Err(_) => Ok(Value::Time(Rc::clone(time_value))),
    }
}

fn must_date_modify(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let time_value = time_argument(arguments, 1)?;
    let duration = parse_duration(cx, arguments)?.map_err(Failure::showing_data)?;
    Ok(time(time_value.add(duration)))
}

fn parse_duration(cx: &mut Context, arguments: &[Value]) -> Result<Result<i64, String>> {
    let text = text(arguments, 0)?;
    cx.work(text.bytes().len() as u64 / 16)?;
    Ok(duration::parse(text.bytes()))
}

/// Go's `strconv.ParseInt` with the error dropped: beyond the range it gives the nearest number, for all else 0.
fn parse_int(text: &[u8]) -> i64 {
    match convert::parse_int(text, 10, 64) {
        Ok(number) => number,
        Err(convert::NumberError::Range) if text.first() == Some(&b'-') => i64::MIN,
        Err(convert::NumberError::Range) => i64::MAX,
        Err(convert::NumberError::Syntax) => 0,
    }
}

/// A duration in the largest unit that it exceeds.
fn largest_unit(duration: i64) -> String {
    const MINUTE: u64 = 60 * SECOND as u64;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    const UNITS: [(u64, &str); 6] = [
        (365 * DAY, "y"),
        (30 * DAY, "mo"),
        (DAY, "d"),
        (HOUR, "h"),
        (MINUTE, "m"),
        (SECOND as u64, "s"),
    ];
    let duration = duration.unsigned_abs();
    UNITS.iter().find(|(unit, _)| duration > *unit).map_or_else(
        || "0s".to_owned(),
        |(unit, name)| format!("{}{name}", duration / unit),
    )
}

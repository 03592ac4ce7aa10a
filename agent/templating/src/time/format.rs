//! A moment and a layout make a text.

use super::calendar::{Clock, Date};
use super::layout::{Chunk, Element, Fraction, Offset, Pad};
use super::{Time, Zone};
use crate::context::Context;
use crate::failure::Result;
use crate::value::{Text, Value};

// === impl Time ===

impl Time {
    /// `Format`, for layouts that are written here; others are to be paid for, see [`Self::format_text`].
    pub(crate) fn format(&self, layout: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(layout.len() + 10);
        self.append(layout, &mut out);
        out
    }

    /// `Format`.
    pub(crate) fn format_text(&self, cx: &mut Context, layout: &[u8]) -> Result<Value> {
        self.pay(cx, layout)?;
        Ok(Value::Text(Text::new(self.format(layout))))
    }

    /// Pays for a text before it is made. No element grows more than fourfold, but for the abbreviation of a zone, which may
    /// be as long as the text it was read from.
    pub(crate) fn pay(&self, cx: &mut Context, layout: &[u8]) -> Result<()> {
        let abbreviation = match &self.zone {
            Zone::Fixed(_) => self.zone.name().len(),
            _ => 0,
        };
        let elements = layout.len() / 3;
        let abbreviations = elements.saturating_mul(abbreviation);
        cx.work(elements as u64)?;
        cx.allocate(layout.len().saturating_mul(4).saturating_add(abbreviations))
    }

    /// `AppendFormat`.
    pub(crate) fn append(&self, layout: &[u8], out: &mut Vec<u8>) {
        let offset = self.offset();
        let wall = super::calendar::absolute(self.seconds.wrapping_add(offset));
        let (date, clock) = (Date::new(wall), Clock::new(wall));
        let mut rest = layout;
        while !rest.is_empty() {
            let chunk = Chunk::next(rest);
            out.extend_from_slice(chunk.before);
            let Some(element) = chunk.element else {
                return;
            };
            rest = chunk.rest;
            match element {
                Element::Abbreviation => self.append_abbreviation(offset, out),
                Element::Offset(style) => append_offset(offset, style, out),
                Element::Fraction(style) => append_fraction(self.nanoseconds, style, out),
                element => append_civil(element, date, clock, out),
            }
        }
    }

    fn append_abbreviation(&self, offset: i64, out: &mut Vec<u8>) {
        let is_named = self.zone.with_abbreviation(self.unix(), |name| {
            out.extend_from_slice(name.as_bytes());
            !name.is_empty()
        });
        if is_named {
            return;
        }
        let minutes = offset / 60;
        out.push(if minutes < 0 { b'-' } else { b'+' });
        append_number(minutes.abs() / 60, 2, out);
        append_number(minutes.abs() % 60, 2, out);
    }
}

/// Appends an element of the date or the time of day.
fn append_civil(element: Element, date: Date, clock: Clock, out: &mut Vec<u8>) {
    let mut text = |text: &str| out.extend_from_slice(text.as_bytes());
    match element {
        Element::MonthName => text(date.month_name()),
        Element::ShortMonthName => text(short(date.month_name())),
        Element::WeekdayName => text(date.weekday_name()),
        Element::ShortWeekdayName => text(short(date.weekday_name())),
        Element::UpperHalf => text(if clock.hour >= 12 { "PM" } else { "AM" }),
        Element::LowerHalf => text(if clock.hour >= 12 { "pm" } else { "am" }),
        Element::Year => append_number(date.year, 4, out),
        Element::ShortYear => append_number((date.year % 100).abs(), 2, out),
        Element::Month(pad) => append_padded(i64::from(date.month), pad, 2, out),
        Element::Day(pad) => append_padded(i64::from(date.day), pad, 2, out),
        Element::YearDay(pad) => append_padded(i64::from(date.year_day), pad, 3, out),
        Element::Hour => append_number(clock.hour, 2, out),
        Element::Hour12(pad) => {
            let hour = if clock.hour % 12 == 0 {
                12
            } else {
                clock.hour % 12
            };
            append_padded(hour, pad, 2, out);
        }
        Element::Minute(pad) => append_padded(clock.minute, pad, 2, out),
        Element::Second(pad) => append_padded(clock.second, pad, 2, out),
        Element::Abbreviation | Element::Offset(_) | Element::Fraction(_) => {}
    }
}

/// The first three letters of a name.
fn short(name: &str) -> &str {
    name.get(..3).unwrap_or(name)
}

fn append_padded(number: i64, pad: Pad, width: usize, out: &mut Vec<u8>) {
    match pad {
        Pad::None => append_number(number, 0, out),
        Pad::Zero => append_number(number, width, out),
        Pad::Blank => {
            let digits = match number {
                ..10 => 1,
                10..100 => 2,
                _ => 3,
            };
            out.extend(std::iter::repeat_n(b' ', width.saturating_sub(digits)));
            append_number(number, 0, out);
        }
    }
}

fn append_offset(offset: i64, style: Offset, out: &mut Vec<u8>) {
    if offset == 0 && style.has_z {
        out.push(b'Z');
        return;
    }
    // The sign is that of the whole minutes; seconds of an offset between -1 and 0 minutes keep a sign of their own.
    let minutes = offset / 60;
    let (sign, seconds) = if minutes < 0 {
        (b'-', -offset % 60)
    } else {
        (b'+', offset % 60)
    };
    out.push(sign);
    append_number(minutes.abs() / 60, 2, out);
    if style.has_minutes {
        if style.has_colons {
            out.push(b':');
        }
        append_number(minutes.abs() % 60, 2, out);
    }
    if style.has_seconds {
        if style.has_colons {
            out.push(b':');
        }
        append_number(seconds, 2, out);
    }
}

fn append_fraction(nanoseconds: u32, style: Fraction, out: &mut Vec<u8>) {
    if style.is_trimmed && (style.digits == 0 || nanoseconds == 0) {
        return;
    }
    let start = out.len();
    out.push(style.separator);
    append_number(i64::from(nanoseconds), 9, out);
    out.truncate(start + 1 + style.digits.min(9));
    if style.is_trimmed {
        while out.last() == Some(&b'0') {
            out.pop();
        }
        if out.len() == start + 1 {
            out.pop();
        }
    }
}

/// Appends a number in decimal, with zeros before its digits up to `width`.
fn append_number(number: i64, width: usize, out: &mut Vec<u8>) {
    if number < 0 {
        out.push(b'-');
    }
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut left = number.unsigned_abs();
    while left > 0 || start == digits.len() {
        start -= 1;
        digits[start] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    let count = digits.len() - start;
    out.extend(std::iter::repeat_n(b'0', width.saturating_sub(count)));
    out.extend_from_slice(&digits[start..]);
}

//! A layout and a text make a moment.

use jiff::tz::TimeZone;

use super::calendar::{self, MONTHS, WEEKDAYS};
use super::layout::{Chunk, Element, Fraction, Offset, Pad, quote};
use super::read::{
    Half, Outcome, Trouble, abbreviation, half, is_digit, name, nanoseconds, number, offset,
    signed_number, skip, skip_blank, starts_fraction, take, within, year_day,
};
use super::{Time, Zone};

/// Years from here to 99 are of the twentieth century.
const FIRST_SHORT_YEAR: i64 = 69;
/// The length in which names are abbreviated.
const SHORT: usize = 3;

/// What has been read so far.
#[derive(Default)]
struct Reading {
    year: i64,
    month: Option<i64>,
    day: Option<i64>,
    year_day: Option<i64>,
    hour: i64,
    minute: i64,
    second: i64,
    nanosecond: i64,
    half: Option<Half>,
    is_utc: bool,
    offset: Option<i64>,
    abbreviation: String,
}

// === impl Time ===

impl Time {
    /// `time.ParseInLocation` with Go's `Local`.
    ///
    /// # Errors
    ///
    /// Where `text` is not of the form of `layout` or no date, with Go's text, which quotes both.
    pub(crate) fn parse(layout: &[u8], text: &[u8], local: &TimeZone) -> Result<Self, String> {
        let mut reading = Reading::default();
        let (mut rest, mut value) = (layout, text);
        loop {
            let chunk = Chunk::next(rest);
            value = skip(value, chunk.before)
                .map_err(|at| describe_form(layout, text, chunk.before, at))?;
            let Some(element) = chunk.element else {
                break;
            };
            rest = chunk.rest;
            let at_element = value;
            reading
                .read(element, &mut value, rest)
                .map_err(|trouble| match trouble {
                    Trouble::Form => describe_form(layout, text, chunk.source, at_element),
                    Trouble::Range(what) => describe(text, &format!("{what} out of range")),
                })?;
        }
        if !value.is_empty() {
            let mut extra = b"extra text: ".to_vec();
            quote(value, &mut extra);
            return Err(describe(text, &String::from_utf8_lossy(&extra)));
        }
        reading
            .finish(&Zone::Local(local.clone()))
            .map_err(|what| describe(text, what))
    }
}

/// `parsing time "x" as "2006": cannot parse "x" as "2006"`
fn describe_form(layout: &[u8], text: &[u8], element: &[u8], at: &[u8]) -> String {
    let mut out = b"parsing time ".to_vec();
    quote(text, &mut out);
    out.extend_from_slice(b" as ");
    quote(layout, &mut out);
    out.extend_from_slice(b": cannot parse ");
    quote(at, &mut out);
    out.extend_from_slice(b" as ");
    quote(element, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// `parsing time "x": day out of range`
fn describe(text: &[u8], what: &str) -> String {
    let mut out = b"parsing time ".to_vec();
    quote(text, &mut out);
    out.extend_from_slice(b": ");
    out.extend_from_slice(what.as_bytes());
    String::from_utf8_lossy(&out).into_owned()
}

// === impl Reading ===

impl Reading {
    /// Reads one element off the front of `value`; `rest` is the layout behind it.
    fn read(&mut self, element: Element, value: &mut &[u8], rest: &[u8]) -> Outcome<()> {
        match element {
            Element::ShortYear => {
                let year = signed_number(take(value, 2)?)?;
                let is_last_century = year >= FIRST_SHORT_YEAR;
                self.year = year + if is_last_century { 1_900 } else { 2_000 };
            }
            Element::Year => {
                if !is_digit(value, 0) {
                    return Err(Trouble::Form);
                }
                self.year = signed_number(take(value, 4)?)?;
            }
            Element::MonthName => self.month = Some(name(value, &MONTHS, usize::MAX)?),
            Element::ShortMonthName => self.month = Some(name(value, &MONTHS, SHORT)?),
            Element::WeekdayName => _ = name(value, &WEEKDAYS, usize::MAX)?,
            Element::ShortWeekdayName => _ = name(value, &WEEKDAYS, SHORT)?,
            Element::Month(pad) => {
                let month = number(value, pad)?;
                self.month = Some(within(month, 1..=12, "month")?);
            }
            Element::Day(pad) => {
                if pad == Pad::Blank {
                    skip_blank(value);
                }
                self.day = Some(number(value, pad)?);
            }
            Element::YearDay(pad) => self.year_day = Some(year_day(value, pad)?),
            Element::Hour => self.hour = within(number(value, Pad::None)?, 0..=23, "hour")?,
            Element::Hour12(pad) => self.hour = within(number(value, pad)?, 0..=12, "hour")?,
            Element::Minute(pad) => self.minute = within(number(value, pad)?, 0..=59, "minute")?,
            Element::Second(pad) => self.read_second(pad, value, rest)?,
            Element::UpperHalf => self.half = Some(half(take(value, 2)?, b"AM", b"PM")?),
            Element::LowerHalf => self.half = Some(half(take(value, 2)?, b"am", b"pm")?),
            Element::Abbreviation => self.read_abbreviation(value)?,
            Element::Offset(style) => self.read_offset(style, value)?,
            Element::Fraction(style) => self.read_fraction(style, value)?,
        }
        Ok(())
    }

    /// A fraction may follow the second though the layout has none.
    fn read_second(&mut self, pad: Pad, value: &mut &[u8], rest: &[u8]) -> Outcome<()> {
        self.second = within(number(value, pad)?, 0..=59, "second")?;
        if !starts_fraction(value)
            || matches!(Chunk::next(rest).element, Some(Element::Fraction(_)))
        {
            return Ok(());
        }
        self.read_all_digits(value)
    }

    /// A separator and all digits behind it.
    fn read_all_digits(&mut self, value: &mut &[u8]) -> Outcome<()> {
        let digits = value
            .iter()
            .skip(1)
            .take_while(|byte| byte.is_ascii_digit());
        let length = 1 + digits.count();
        self.nanosecond = nanoseconds(take(value, length)?)?;
        Ok(())
    }

    fn read_fraction(&mut self, style: Fraction, value: &mut &[u8]) -> Outcome<()> {
        if style.is_trimmed {
            if starts_fraction(value) {
                return self.read_all_digits(value);
            }
            return Ok(());
        }
        self.nanosecond = nanoseconds(take(value, 1 + style.digits)?)?;
        Ok(())
    }

    fn read_abbreviation(&mut self, value: &mut &[u8]) -> Outcome<()> {
        if value.starts_with(b"UTC") {
            self.is_utc = true;
            take(value, 3)?;
            return Ok(());
        }
        let length = abbreviation(value).ok_or(Trouble::Form)?;
        self.abbreviation = String::from_utf8_lossy(take(value, length)?).into_owned();
        Ok(())
    }

    fn read_offset(&mut self, style: Offset, value: &mut &[u8]) -> Outcome<()> {
        if style.has_z && value.first() == Some(&b'Z') {
            self.is_utc = true;
            take(value, 1)?;
            return Ok(());
        }
        let colon = usize::from(style.has_colons);
        let mut length = 3;
        if style.has_minutes {
            length += colon + 2;
        }
        if style.has_seconds {
            length += colon + 2;
        }
        let text = take(value, length)?;
        let is_colon = |at: usize| text.get(at) == Some(&b':');
        if style.has_colons && !(is_colon(3) && (!style.has_seconds || is_colon(6))) {
            return Err(Trouble::Form);
        }
        let pair = |at: usize| text.get(at..at + 2).unwrap_or_default();
        let minutes = if style.has_minutes {
            pair(3 + colon)
        } else {
            b"00"
        };
        let seconds = if style.has_seconds {
            pair(5 + 2 * colon)
        } else {
            b"00"
        };
        self.offset = offset(text, pair(1), minutes, seconds)?;
        Ok(())
    }

    /// The moment that was read, or what is wrong with it.
    fn finish(mut self, local: &Zone) -> Result<Time, &'static str> {
        match self.half {
            Some(Half::Afternoon) if self.hour < 12 => self.hour += 12,
            Some(Half::Morning) if self.hour == 12 => self.hour = 0,
            _ => {}
        }
        let (month, day) = self.month_and_day()?;
        if !(1..=calendar::days_in(month, self.year)).contains(&day) {
            return Err("day out of range");
        }
        let civil = |zone| {
            let clock = (self.hour, self.minute, self.second);
            Time::from_civil((self.year, month, day), clock, self.nanosecond, zone)
        };
        if self.is_utc {
            return Ok(civil(Zone::Utc));
        }
        let name = &self.abbreviation;
        if let Some(offset) = self.offset {
            let mut time = civil(Zone::Utc);
            time.add_seconds(-offset);
            let unix = time.unix();
            let is_local = local.offset(unix) == offset
                && (name.is_empty() || local.with_abbreviation(unix, |local| local == name));
            time.zone = if is_local {
                local.clone()
            } else {
                Zone::fixed(name, offset)
            };
            return Ok(time);
        }
        if name.is_empty() {
            return Ok(civil(local.clone()));
        }
        let mut time = civil(Zone::Utc);
        if let Some(offset) = local.offset_of(name, time.unix()) {
            time.add_seconds(-offset);
            time.zone = local.clone();
            return Ok(time);
        }
        // Of unknown abbreviations only `GMT+3` says its offset; and that is not taken off the moment.
        let hours = name.strip_prefix("GMT").map_or(0, |hours| {
            signed_number(hours.as_bytes()).unwrap_or_default()
        });
        time.zone = Zone::fixed(name, hours * 3_600);
        Ok(time)
    }

    /// The month and the day, made of the day of the year if that was read.
    fn month_and_day(&self) -> Result<(i64, i64), &'static str> {
        let Some(mut year_day) = self.year_day else {
            return Ok((self.month.unwrap_or(1), self.day.unwrap_or(1)));
        };
        const LEAP_DAY: i64 = 31 + 29;
        let is_leap = calendar::is_leap(self.year);
        if !(1..=365 + i64::from(is_leap)).contains(&year_day) {
            return Err("day-of-year out of range");
        }
        let (mut month, mut day) = (2, 29);
        if !is_leap || year_day != LEAP_DAY {
            if is_leap && year_day > LEAP_DAY {
                year_day -= 1;
            }
            (month, day) = (1, year_day);
            while day > calendar::days_in(month, 1) {
                day -= calendar::days_in(month, 1);
                month += 1;
            }
        }
        if self.month.is_some_and(|read| read != month) {
            return Err("day-of-year does not match month");
        }
        if self.day.is_some_and(|read| read != day) {
            return Err("day-of-year does not match day");
        }
        Ok((month, day))
    }
}

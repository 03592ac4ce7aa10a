//! Go's `time.Time`: a moment of any year with the zone it is shown in.
//!
//! ```text
//! calendar  seconds <-> year, month, day
//! zone      UTC, Local, fixed offsets, the bundled IANA database
//! layout    the elements of `2006-01-02` and their kin
//! format    a moment and a layout -> text
//! parse     a layout and a text -> moment; read takes the text apart
//! duration  `time.Duration`
//! ```
//!
//! Arithmetic wraps or saturates where Go's does, so that absurd years print alike.

pub(crate) mod duration;

mod calendar;
mod format;
mod layout;
mod parse;
mod read;
mod zone;

#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use self::calendar::{Clock, Date};

pub(crate) use self::calendar::{MONTHS, WEEKDAYS};
pub(crate) use self::layout::quote;
pub(crate) use self::zone::Zone;

/// Seconds from 0001-01-01 to 1970-01-01, both 00:00:00 UTC.
const UNIX_EPOCH: i64 = 62_135_596_800;
/// Nanoseconds in a second.
const SECOND: i64 = 1_000_000_000;
/// The first second (since the year 1) that a moment with a monotonic reading can have: 1885-01-01.
const MONOTONIC_START: i64 = 59_453_308_800;
/// How many seconds from there on can: 33 bits of them.
const MONOTONIC_SECONDS: i64 = 1 << 33;
/// How `String` and `%v` print.
const DEFAULT_LAYOUT: &[u8] = b"2006-01-02 15:04:05.999999999 -0700 MST";
/// How JSON and `MarshalText` have it.
const RFC_3339: &[u8] = b"2006-01-02T15:04:05.999999999Z07:00";

/// A moment with the zone it is shown in.
#[derive(Clone)]
pub(crate) struct Time {
    /// Since 0001-01-01 00:00:00 UTC.
    seconds: i64,
    /// Below a second.
    nanoseconds: u32,
    /// The monotonic clock's reading, in nanoseconds, which only what comes from `now` has.
    monotonic: Option<i64>,
    zone: Zone,
}

// === impl Time ===

impl Time {
    /// Go's zero time: 0001-01-01 00:00:00 UTC.
    pub(crate) fn zero() -> Self {
        Self {
            seconds: 0,
            nanoseconds: 0,
            monotonic: None,
            zone: Zone::Utc,
        }
    }

    /// `time.Unix`, shown in `zone`.
    pub(crate) fn from_unix(seconds: i64, zone: Zone) -> Self {
        Self {
            seconds: seconds.wrapping_add(UNIX_EPOCH),
            nanoseconds: 0,
            monotonic: None,
            zone,
        }
    }

    /// `time.Now`. There is no clock in this crate, so the monotonic reading is always that of a process which has just begun.
    pub(crate) fn now(moment: Timestamp, local: &TimeZone) -> Self {
        let nanoseconds = moment.as_nanosecond();
        let second = i128::from(SECOND);
        let mut time = Self::from_unix(
            nanoseconds.div_euclid(second) as i64,
            Zone::Local(local.clone()),
        );
        time.nanoseconds = nanoseconds.rem_euclid(second) as u32;
        time.monotonic = Some(1);
        time
    }

    /// `time.Date`: any of the numbers may be out of range and is carried over. A local time that a change of clocks skips or
    /// repeats is taken by the one of the two offsets that Go takes.
    fn from_civil(
        (year, month, day): (i64, i64, i64),
        (hour, minute, second): (i64, i64, i64),
        nanosecond: i64,
        zone: Zone,
    ) -> Self {
        let (second, nanosecond) = calendar::carry(second, nanosecond, SECOND);
        let unix = calendar::unix_seconds((year, month, day), (hour, minute, second));
        // Whichever way the clocks change: look at the offset of that second in UTC, then at that of the moment it gives.
        let offset = match zone.offset(unix) {
            0 => 0,
            offset => zone.offset(unix.wrapping_sub(offset)),
        };
        let mut time = Self::from_unix(unix.wrapping_sub(offset), zone);
        time.nanoseconds = nanosecond as u32;
        time
    }

    /// The same moment, shown in another zone.
    pub(crate) fn in_zone(&self, zone: Zone) -> Self {
        Self {
            zone,
            monotonic: None,
            ..self.clone()
        }
    }

    pub(crate) fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Whether it is [`Self::zero`], in whatever zone.
    pub(crate) fn is_zero(&self) -> bool {
        self.seconds == 0 && self.nanoseconds == 0 && self.monotonic.is_none()
    }

    /// Seconds since 1970.
    pub(crate) fn unix(&self) -> i64 {
        self.seconds.wrapping_sub(UNIX_EPOCH)
    }

    /// Units since 1970, `per_second` of them in a second. Wraps as Go does.
    pub(crate) fn unix_in(&self, per_second: i64) -> i64 {
        let whole = self.unix().wrapping_mul(per_second);
        whole.wrapping_add(i64::from(self.nanoseconds) / (SECOND / per_second))
    }

    /// Nanoseconds below the second.
    pub(crate) fn nanosecond(&self) -> i64 {
        i64::from(self.nanoseconds)
    }

    /// Seconds east of UTC.
    fn offset(&self) -> i64 {
        self.zone.offset(self.unix())
    }

    /// Seconds since the beginning of Go's calendar, of the clock on the wall in its zone.
    fn wall(&self) -> u64 {
        calendar::absolute(self.seconds.wrapping_add(self.offset()))
    }

    pub(crate) fn date(&self) -> Date {
        Date::new(self.wall())
    }

    pub(crate) fn clock(&self) -> Clock {
        Clock::new(self.wall())
    }

    /// Whether summer time is in force.
    pub(crate) fn is_summer_time(&self) -> bool {
        self.zone.is_summer_time(self.unix())
    }

    /// `Add`: the moment that is `duration` nanoseconds later. Saturates at the ends of time.
    pub(crate) fn add(&self, duration: i64) -> Self {
        let mut seconds = duration / SECOND;
        let mut nanoseconds = self.nanosecond() + duration % SECOND;
        if nanoseconds >= SECOND {
            seconds += 1;
            nanoseconds -= SECOND;
        } else if nanoseconds < 0 {
            seconds -= 1;
            nanoseconds += SECOND;
        }
        let mut time = self.clone();
        time.nanoseconds = nanoseconds as u32;
        time.add_seconds(seconds);
        time.monotonic = time
            .monotonic
            .and_then(|reading| reading.checked_add(duration));
        time
    }

    /// Moves by whole seconds. The monotonic reading is dropped where its seconds do not reach, and otherwise left to the caller.
    fn add_seconds(&mut self, seconds: i64) {
        self.seconds = match self.seconds.checked_add(seconds) {
            Some(sum) => sum,
            None if seconds > 0 => i64::MAX,
            None => -i64::MAX,
        };
        let since_start = self.seconds.wrapping_sub(MONOTONIC_START);
        if !(0..MONOTONIC_SECONDS).contains(&since_start) {
            self.monotonic = None;
        }
    }

    /// `AddDate`: days that do not exist are carried over (31 January and a month is in March).
    pub(crate) fn add_date(&self, years: i64, months: i64, days: i64) -> Self {
        let (date, clock) = (self.date(), self.clock());
        Self::from_civil(
            (
                date.year.wrapping_add(years),
                i64::from(date.month).wrapping_add(months),
                i64::from(date.day).wrapping_add(days),
            ),
            (clock.hour, clock.minute, clock.second),
            self.nanosecond(),
            self.zone.clone(),
        )
    }

    /// `Sub`: nanoseconds from `other` to `self`. Saturates.
    pub(crate) fn since(&self, other: &Self) -> i64 {
        if let (Some(one), Some(other)) = (self.monotonic, other.monotonic) {
            return one.saturating_sub(other);
        }
        let second = i128::from(SECOND);
        let seconds = i128::from(self.seconds) - i128::from(other.seconds);
        let nanoseconds = seconds * second + i128::from(self.nanosecond() - other.nanosecond());
        nanoseconds.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    /// `Compare`: the order of two moments, by the monotonic readings if both have one.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        if let (Some(one), Some(other)) = (self.monotonic, other.monotonic) {
            return one.cmp(&other);
        }
        (self.seconds, self.nanoseconds).cmp(&(other.seconds, other.nanoseconds))
    }

    /// `Truncate`: down to a multiple of `unit` nanoseconds since the zero time.
    pub(crate) fn truncate(&self, unit: i64) -> Self {
        let mut time = self.clone();
        time.monotonic = None;
        if unit <= 0 {
            return time;
        }
        time.add(-time.beyond(unit))
    }

    /// `Round`: to the nearest multiple of `unit` nanoseconds since the zero time, halves up.
    pub(crate) fn round(&self, unit: i64) -> Self {
        let mut time = self.clone();
        time.monotonic = None;
        if unit <= 0 {
            return time;
        }
        let beyond = time.beyond(unit);
        if beyond < unit - beyond {
            time.add(-beyond)
        } else {
            time.add(unit - beyond)
        }
    }

    /// Nanoseconds since the last multiple of `unit`, which is positive.
    fn beyond(&self, unit: i64) -> i64 {
        let moment = i128::from(self.seconds) * i128::from(SECOND) + i128::from(self.nanoseconds);
        moment.rem_euclid(i128::from(unit)) as i64
    }

    /// Go's `==` of two times: the same moment in the same zone, kept in the same way.
    pub(crate) fn is_identical(&self, other: &Self) -> bool {
        self.has_same_moment(other) && self.zone.is_identical(&other.zone)
    }

    /// Go's `reflect.DeepEqual` of two times: as `==`, but zones of the same name and offset are equal.
    pub(crate) fn is_deeply_equal(&self, other: &Self) -> bool {
        self.has_same_moment(other) && self.zone.is_deeply_equal(&other.zone)
    }

    fn has_same_moment(&self, other: &Self) -> bool {
        (self.seconds, self.nanoseconds, self.monotonic)
            == (other.seconds, other.nanoseconds, other.monotonic)
    }

    /// The fields `wall` and `ext` of Go's struct, which verbs that take no text print.
    pub(crate) fn raw(&self) -> (u64, i64) {
        let nanoseconds = u64::from(self.nanoseconds);
        match self.monotonic {
            None => (nanoseconds, self.seconds),
            Some(reading) => {
                let seconds = self.seconds.wrapping_sub(MONOTONIC_START) as u64;
                (1 << 63 | seconds << 30 | nanoseconds, reading)
            }
        }
    }

    /// `String`: how `%v` prints it.
    pub(crate) fn text(&self) -> String {
        let mut out = self.format(DEFAULT_LAYOUT);
        if let Some(reading) = self.monotonic {
            let sign = if reading < 0 { '-' } else { '+' };
            let reading = reading.unsigned_abs();
            let (seconds, nanoseconds) = (reading / SECOND as u64, reading % SECOND as u64);
            out.extend_from_slice(format!(" m={sign}{seconds}.{nanoseconds:09}").as_bytes());
        }
        // Layout and names are UTF-8.
        String::from_utf8_lossy(&out).into_owned()
    }

    /// `GoString`: how `%#v` prints it.
    pub(crate) fn go_text(&self) -> String {
        let (date, clock) = (self.date(), self.clock());
        let mut out = format!(
            "time.Date({}, time.{}, {}, {}, {}, {}, {}, ",
            date.year,
            date.month_name(),
            date.day,
            clock.hour,
            clock.minute,
            clock.second,
            self.nanoseconds
        )
        .into_bytes();
        match &self.zone {
            Zone::Utc => out.extend_from_slice(b"time.UTC"),
            Zone::Local(_) => out.extend_from_slice(b"time.Local"),
            zone => {
                out.extend_from_slice(b"time.Location(");
                quote(zone.name().as_bytes(), &mut out);
                out.push(b')');
            }
        }
        out.push(b')');
        String::from_utf8_lossy(&out).into_owned()
    }

    /// The text that JSON and `MarshalText` have, without quotes.
    ///
    /// # Errors
    ///
    /// Where RFC 3339 cannot say it; Go puts the name of the method and a colon before the text.
    pub(crate) fn rfc_3339(&self) -> Result<Vec<u8>, &'static str> {
        let out = self.format(RFC_3339);
        if out.get(4) != Some(&b'-') {
            return Err("year outside of range [0,9999]");
        }
        if out.last() == Some(&b'Z') {
            return Ok(out);
        }
        match out.get(out.len().saturating_sub(6)..) {
            Some([sign, tens, ones, ..])
                if !sign.is_ascii_digit()
                    && 10 * u32::from(tens.wrapping_sub(b'0'))
                        + u32::from(ones.wrapping_sub(b'0'))
                        < 24 =>
            {
                Ok(out)
            }
            _ => Err("timezone hour outside of range [0,23]"),
        }
    }

    /// `MarshalBinary`.
    ///
    /// # Errors
    ///
    /// Where the offset does not fit, with Go's text.
    pub(crate) fn binary(&self) -> Result<Vec<u8>, &'static str> {
        const UTC_MINUTES: i16 = -1;
        let offset = match self.zone {
            Zone::Utc => None,
            _ => Some(self.offset()),
        };
        let (minutes, seconds) = match offset {
            None => (UTC_MINUTES, 0),
            Some(offset) => {
                let minutes = i16::try_from(offset / 60)
                    .ok()
                    .filter(|minutes| *minutes != UTC_MINUTES)
                    .ok_or("Time.MarshalBinary: unexpected zone offset")?;
                (minutes, (offset % 60) as i8)
            }
        };
        let version = if seconds == 0 { 1 } else { 2 };
        let mut out = vec![version];
        out.extend_from_slice(&self.seconds.to_be_bytes());
        out.extend_from_slice(&self.nanoseconds.to_be_bytes());
        out.extend_from_slice(&minutes.to_be_bytes());
        if seconds != 0 {
            out.extend_from_slice(&seconds.to_be_bytes());
        }
        Ok(out)
    }
}

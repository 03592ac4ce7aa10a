//! Go's calendar: the Gregorian one, carried back and on for as far as 64 bits of seconds reach.

/// The months' names, January first.
pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// The days' names, Sunday first.
pub(crate) const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// Seconds in a day.
const DAY: u64 = 86_400;
/// Days in 400 years, after which the calendar repeats.
const ERA_DAYS: u64 = 146_097;
/// Go counts days without sign from 1 March of this year before the year 0.
const ABSOLUTE_YEARS: u64 = 292_277_022_400;
/// Days from 1 March to the end of the year.
const MARCH_TO_DECEMBER: u64 = 306;
/// Days from there to 0001-01-01.
const ABSOLUTE_TO_YEAR_1: u64 = ABSOLUTE_YEARS / 400 * ERA_DAYS + MARCH_TO_DECEMBER;
/// The weekday of that first day, from Sunday.
const FIRST_WEEKDAY: u64 = 3;

/// A day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Date {
    pub(crate) year: i64,
    /// From 1.
    pub(crate) month: u8,
    /// From 1.
    pub(crate) day: u8,
    /// From 1.
    pub(crate) year_day: u16,
    /// Sunday is 0.
    pub(crate) weekday: u8,
}

/// A time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
}

// === impl Date ===

impl Date {
    /// The day of a second that [`absolute`] gave.
    pub(super) fn new(absolute: u64) -> Self {
        let days = absolute / DAY;
        let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        // Years begin in March here, so that the leap day is the last.
        let march_day = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * march_day + 2) / 153;
        let day = march_day - (153 * march_month + 2) / 5 + 1;
        let is_next_year = march_month >= 10;
        let month = if is_next_year {
            march_month - 9
        } else {
            march_month + 3
        };
        let year = (era * 400 + year_of_era)
            .wrapping_sub(ABSOLUTE_YEARS)
            .wrapping_add(u64::from(is_next_year)) as i64;
        let year_day = if is_next_year {
            march_day - MARCH_TO_DECEMBER + 1
        } else {
            march_day + 60 + u64::from(is_leap(year))
        };
        Self {
            year,
            month: month as u8,
            day: day as u8,
            year_day: year_day as u16,
            weekday: ((days + FIRST_WEEKDAY) % 7) as u8,
        }
    }

    pub(crate) fn month_name(self) -> &'static str {
        MONTHS
            .get(usize::from(self.month).wrapping_sub(1))
            .copied()
            .unwrap_or_default()
    }

    pub(crate) fn weekday_name(self) -> &'static str {
        WEEKDAYS
            .get(usize::from(self.weekday))
            .copied()
            .unwrap_or_default()
    }
}

// === impl Clock ===

impl Clock {
    /// The time of day of a second that [`absolute`] gave.
    pub(super) fn new(absolute: u64) -> Self {
        let second = (absolute % DAY) as i64;
        Self {
            hour: second / 3_600,
            minute: second / 60 % 60,
            second: second % 60,
        }
    }
}

/// Seconds since the year 1 as seconds since the beginning of Go's calendar.
pub(super) fn absolute(seconds: i64) -> u64 {
    (seconds as u64).wrapping_add(ABSOLUTE_TO_YEAR_1.wrapping_mul(DAY))
}

/// Seconds since 1970 of a day and a time of day, any part of which may be out of its range.
pub(super) fn unix_seconds(
    (year, month, day): (i64, i64, i64),
    (hour, minute, second): (i64, i64, i64),
) -> i64 {
    let (year, month) = carry(year, month.wrapping_sub(1), 12);
    let (minute, second) = carry(minute, second, 60);
    let (hour, minute) = carry(hour, minute, 60);
    let (day, hour) = carry(day, hour, 24);
    absolute_days(year, month + 1, day)
        .wrapping_mul(DAY)
        .wrapping_add((hour * 3_600 + minute * 60 + second) as u64)
        .wrapping_sub(ABSOLUTE_TO_YEAR_1.wrapping_mul(DAY))
        .wrapping_sub(super::UNIX_EPOCH as u64) as i64
}

/// Days since the beginning of Go's calendar; the month is from 1 to 12, the day any number.
fn absolute_days(year: i64, month: i64, day: i64) -> u64 {
    let is_next_year = month < 3;
    let year = (year as u64)
        .wrapping_sub(u64::from(is_next_year))
        .wrapping_add(ABSOLUTE_YEARS);
    let march_month = if is_next_year { month + 9 } else { month - 3 };
    let march_day = (153 * march_month + 2) / 5;
    let (century, year_of_century) = (year / 100, year % 100);
    ERA_DAYS
        .wrapping_mul(century)
        .wrapping_div(4)
        .wrapping_add(1_461 * year_of_century / 4)
        .wrapping_add(march_day as u64)
        .wrapping_add(day as u64)
        .wrapping_sub(1)
}

/// Go's `norm`: brings `low` into `0..base` and carries the rest over to `high`.
pub(super) fn carry(high: i64, low: i64, base: i64) -> (i64, i64) {
    (
        high.wrapping_add(low.div_euclid(base)),
        low.rem_euclid(base),
    )
}

pub(super) fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// How many days a month (from 1) has.
pub(super) fn days_in(month: i64, year: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

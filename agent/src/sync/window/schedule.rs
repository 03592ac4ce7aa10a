//! The grammar of schedules (`externalsecret.md` 2.5) and when they fire.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use latchkey_crds::duration;

/// How many years ahead a firing is looked for, as upstream does: `0 0 30 2 *` never fires.
const YEARS: i16 = 5;
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// When a window opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Schedule {
    /// Once per period of whole seconds, without an anchor.
    Every(Duration),
    /// At certain minutes of certain days.
    Cron(Cron),
}

/// Five fields of a cron expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cron {
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

/// The values of one field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Field {
    /// Bit n is set if n is one of them.
    values: u64,
    /// Whether the field is left open, by `*` or `?`.
    is_open: bool,
}

/// What a field may hold.
struct Range {
    least: u32,
    most: u32,
    /// Words for values, the first for the least.
    words: &'static [&'static str],
}

// === impl Schedule ===

impl Schedule {
    /// Understands a schedule; `None` if it has none of the known forms.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let expression = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        if let Some(period) = expression.strip_prefix("@every ") {
            let period = duration::parse("schedule", period).ok()?;
            let seconds = period
                .positive()
                .map_or(0, |period| period.as_secs())
                .max(1);
            return Some(Self::Every(Duration::from_secs(seconds)));
        }
        Cron::parse(expression).map(Self::Cron)
    }
}

// === impl Cron ===

impl Cron {
    fn parse(expression: &str) -> Option<Self> {
        let fields: Vec<&str> = expression.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return None;
        };
        let range = |least, most, words| Range { least, most, words };
        Some(Self {
            minute: Field::parse(minute, &range(0, 59, &[]))?,
            hour: Field::parse(hour, &range(0, 23, &[]))?,
            day: Field::parse(day, &range(1, 31, &[]))?,
            month: Field::parse(month, &range(1, 12, &MONTHS))?,
            weekday: Field::parse(weekday, &range(0, 6, &WEEKDAYS))?,
        })
    }

    /// The first firing at `instant` or later, within [`YEARS`].
    pub(super) fn at_or_after(&self, instant: Timestamp) -> Option<Timestamp> {
        // Firings are whole minutes.
        let second = instant.as_second() + i64::from(instant.subsec_nanosecond() > 0);
        let minute = second.div_euclid(60) + i64::from(second.rem_euclid(60) > 0);
        let from = Timestamp::from_second(minute.checked_mul(60)?)
            .ok()?
            .to_zoned(TimeZone::UTC)
            .datetime();
        let mut date = from.date();
        let mut time = (from.hour().unsigned_abs(), from.minute().unsigned_abs());
        let last = date.year().saturating_add(YEARS);
        while date.year() <= last {
            if !self.month.has(date.month().unsigned_abs()) {
                date = date.last_of_month().tomorrow().ok()?;
            } else if let Some((hour, minute)) =
                self.is_day(date).then(|| self.time(time)).flatten()
            {
                let firing = date.at(hour, minute, 0, 0).to_zoned(TimeZone::UTC).ok()?;
                return Some(firing.timestamp());
            } else {
                date = date.tomorrow().ok()?;
            }
            time = (0, 0);
        }
        None
    }

    /// Where both kinds of day are restricted, either will do.
    fn is_day(&self, date: Date) -> bool {
        let day = self.day.has(date.day().unsigned_abs());
        let weekday = self
            .weekday
            .has(date.weekday().to_sunday_zero_offset().unsigned_abs());
        if self.day.is_open || self.weekday.is_open {
            day && weekday
        } else {
            day || weekday
        }
    }

    /// The first hour and minute at `from` or later on one day.
    fn time(&self, from: (u8, u8)) -> Option<(i8, i8)> {
        let first_minute = self.minute.at_or_after(0)?;
        let (hour, minute) = match self.minute.at_or_after(from.1) {
            Some(minute) if self.hour.has(from.0) => (from.0, minute),
            _ => (self.hour.at_or_after(from.0 + 1)?, first_minute),
        };
        Some((i8::try_from(hour).ok()?, i8::try_from(minute).ok()?))
    }
}

// === impl Field ===

impl Field {
    fn parse(text: &str, range: &Range) -> Option<Self> {
        let mut field = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let part = Self::parse_part(part, range)?;
            field.values |= part.values;
            field.is_open |= part.is_open;
        }
        Some(field)
    }

    /// One of `*`, `?`, `n`, `n-m`, each with or without `/step`.
    fn parse_part(text: &str, range: &Range) -> Option<Self> {
        let (bounds, step) = match text.split_once('/') {
            None => (text, None),
            Some((bounds, step)) => (bounds, Some(step.parse::<u32>().ok()?)),
        };
        let (from, to) = match bounds.split_once('-') {
            None => (bounds, None),
            Some((from, to)) => (from, Some(to)),
        };
        let is_open = matches!(from, "*" | "?");
        let (from, to) = if is_open {
            (range.least, range.most)
        } else {
            let from = range.value(from)?;
            match to {
                Some(to) => (from, range.value(to)?),
                None if step.is_some() => (from, range.most),
                None => (from, from),
            }
        };
        let step = step.unwrap_or(1);
        if from < range.least || to > range.most || from > to || step == 0 {
            return None;
        }
        let step_size = usize::try_from(step).ok()?;
        Some(Self {
            values: (from..=to)
                .step_by(step_size)
                .fold(0, |values, value| values | 1 << value),
            is_open: is_open && step == 1,
        })
    }

    fn has(self, value: u8) -> bool {
        value < 64 && self.values & (1 << value) != 0
    }

    fn at_or_after(self, value: u8) -> Option<u8> {
        (value..64).find(|value| self.has(*value))
    }
}

// === impl Range ===

impl Range {
    /// A number or a word, in any letter case.
    fn value(&self, text: &str) -> Option<u32> {
        let word = self
            .words
            .iter()
            .position(|word| word.eq_ignore_ascii_case(text));
        match word {
            Some(position) => Some(self.least + u32::try_from(position).ok()?),
            None => text.parse().ok(),
        }
    }
}

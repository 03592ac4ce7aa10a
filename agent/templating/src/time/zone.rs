//! Time zones: Go's `time.Location`.

use std::rc::Rc;
use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// The zone database that is compiled in: no file is read.
static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Seconds in 400 years, after which the calendar, weekdays included, repeats.
const ERA: i64 = 146_097 * 86_400;
/// How many changes of the clocks a search for an abbreviation looks at.
const CHANGES: usize = 1_000;

/// A time zone.
#[derive(Clone)]
pub(crate) enum Zone {
    /// `time.UTC`
    Utc,
    /// `time.Local`
    Local(TimeZone),
    /// One of the IANA database.
    Named(TimeZone),
    /// What a text with an offset or an abbreviation is read to.
    Fixed(Rc<Fixed>),
}

/// A zone of one offset.
pub(crate) struct Fixed {
    /// The abbreviation; may be empty.
    name: Box<str>,
    /// Seconds east of UTC.
    offset: i64,
}

// === impl Zone ===

impl Zone {
    /// `time.LoadLocation`, or UTC where that fails. Go looks for files, so names are case sensitive.
    pub(crate) fn load(name: &[u8], local: &TimeZone) -> Self {
        match name {
            b"" | b"UTC" => return Self::Utc,
            b"Local" => return Self::Local(local.clone()),
            _ => {}
        }
        let zone = std::str::from_utf8(name)
            .ok()
            .and_then(|name| Some((name, DATABASE.get(name).ok()?)));
        match zone {
            Some((name, zone)) if zone.iana_name() == Some(name) && !zone.is_unknown() => {
                Self::Named(zone)
            }
            _ => Self::Utc,
        }
    }

    /// `time.FixedZone`: `offset` is in seconds east of UTC.
    pub(crate) fn fixed(name: &str, offset: i64) -> Self {
        Self::Fixed(Rc::new(Fixed {
            name: name.into(),
            offset,
        }))
    }

    /// `String`: its name.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Utc => "UTC",
            Self::Local(zone) | Self::Named(zone) => zone.iana_name().unwrap_or("Local"),
            Self::Fixed(fixed) => &fixed.name,
        }
    }

    /// Seconds east of UTC at a moment in seconds since 1970.
    pub(super) fn offset(&self, unix: i64) -> i64 {
        match self {
            Self::Utc => 0,
            Self::Fixed(fixed) => fixed.offset,
            Self::Local(zone) | Self::Named(zone) if *zone == TimeZone::UTC => 0,
            Self::Local(zone) | Self::Named(zone) => {
                i64::from(zone.to_offset(representative(unix)).seconds())
            }
        }
    }

    /// The abbreviation at a moment in seconds since 1970, handed to `then`. Empty for a zone that is an offset only.
    pub(super) fn with_abbreviation<T>(&self, unix: i64, then: impl FnOnce(&str) -> T) -> T {
        match self {
            Self::Utc => then("UTC"),
            Self::Fixed(fixed) => then(&fixed.name),
            Self::Local(zone) | Self::Named(zone) => {
                then(zone.to_offset_info(representative(unix)).abbreviation())
            }
        }
    }

    pub(super) fn is_summer_time(&self, unix: i64) -> bool {
        match self {
            Self::Utc | Self::Fixed(_) => false,
            Self::Local(zone) | Self::Named(zone) => {
                zone.to_offset_info(representative(unix)).dst().is_dst()
            }
        }
    }

    /// Go's `lookupName`: the offset that `abbreviation` stands for in this zone, for the wall clock reading `unix` (seconds
    /// since 1970 as if it were UTC): the one in force then, else the first that the zone ever had under that name.
    pub(super) fn offset_of(&self, abbreviation: &str, unix: i64) -> Option<i64> {
        let zone = match self {
            Self::Utc => return None,
            Self::Fixed(fixed) => {
                return (*fixed.name == *abbreviation).then_some(fixed.offset);
            }
            Self::Local(zone) | Self::Named(zone) => zone,
        };
        if *zone == TimeZone::UTC {
            return None;
        }
        let mut offsets = Vec::new();
        let start = zone.to_offset_info(Timestamp::MIN);
        if start.abbreviation() == abbreviation {
            offsets.push(i64::from(start.offset().seconds()));
        }
        for change in zone.following(Timestamp::MIN).take(CHANGES) {
            let offset = i64::from(change.offset().seconds());
            if change.abbreviation() == abbreviation && !offsets.contains(&offset) {
                offsets.push(offset);
            }
        }
        let in_force = offsets.iter().find_map(|offset| {
            let moment = representative(unix.wrapping_sub(*offset));
            let info = zone.to_offset_info(moment);
            (info.abbreviation() == abbreviation).then(|| i64::from(info.offset().seconds()))
        });
        in_force.or_else(|| offsets.first().copied())
    }

    /// Whether Go has one and the same pointer for both.
    pub(crate) fn is_identical(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Utc, Self::Utc) | (Self::Local(_), Self::Local(_)) => true,
            (Self::Fixed(one), Self::Fixed(other)) => {
                Rc::ptr_eq(one, other) || (one.is_shared() && one.is_equal(other))
            }
            _ => false,
        }
    }

    /// Whether Go's pointers lead to equal contents.
    pub(crate) fn is_deeply_equal(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Fixed(one), Self::Fixed(other)) => one.is_equal(other),
            (Self::Named(one), Self::Named(other)) => one == other,
            _ => self.is_identical(other),
        }
    }
}

// === impl Fixed ===

impl Fixed {
    /// Whether Go keeps one such zone for everybody: no name, whole hours, in use on this planet.
    fn is_shared(&self) -> bool {
        self.name.is_empty()
            && self.offset % 3_600 == 0
            && (-12..=14).contains(&(self.offset / 3_600))
    }

    fn is_equal(&self, other: &Self) -> bool {
        self.name == other.name && self.offset == other.offset
    }
}

/// A moment at which every zone has the offset it has at `unix`, within the years that the database knows. Before them there is
/// but one offset, after them rules go by the calendar, which repeats.
fn representative(unix: i64) -> Timestamp {
    let (first, last) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    let unix = if unix > last {
        unix - ERA * ((unix - last) / ERA + 1)
    } else {
        unix.max(first)
    };
    Timestamp::from_second(unix).unwrap_or(Timestamp::MIN)
}

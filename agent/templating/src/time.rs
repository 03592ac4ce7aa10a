//! Go's `time.Time`.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A moment with the zone it is shown in.
pub(crate) struct Time {
    pub(crate) moment: Timestamp,
    pub(crate) zone: TimeZone,
}

// === impl Time ===

impl Time {
    /// As `%v` prints it.
    pub(crate) fn text(&self) -> String {
        String::new()
    }
}

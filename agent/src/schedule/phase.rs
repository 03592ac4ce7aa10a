//! The moment of a refresh within its interval (`docs/architecture.md`, "When an object is looked at").
//!
//! Each object has a place within its interval that follows from its UID alone: at the times `place + n × interval` it is
//! refreshed. Objects that were synced at the same moment, by whatever made them, by a restart or by the end of an outage, move
//! towards their places with each refresh, always earlier and never later than the interval allows. As the way is never longer
//! than one interval, an object is refreshed at most once more than it would have been, whatever happens to it.

use std::time::Duration;

use jiff::Timestamp;

use crate::stable_hash::fnv1a;

/// Up to this length an interval is kept exactly: whoever asks for so short a time means it, and there is little to spread.
const EXACT: Duration = Duration::from_secs(60);
/// The part of the way to its place that an object goes with each refresh. All go the same part of ways that differ, so that they are
/// apart from the first refresh on.
const PART: i128 = 5;
/// An object that is so little short of its place is there: refresh times are whole seconds, and clocks are set.
const TOLERANCE: i128 = 2_000_000_000;
const SECOND: i128 = 1_000_000_000;

/// How much earlier than `interval` after `refreshed` the object with this UID is refreshed: up to a fifth of the interval.
pub(crate) fn advance(uid: &str, refreshed: Timestamp, interval: Duration) -> Duration {
    if interval <= EXACT || uid.is_empty() {
        return Duration::ZERO;
    }
    let length = i128::try_from(interval.as_nanos()).unwrap_or(i128::MAX);
    let place = i128::from(hash(uid)) % length;
    let place = place - place % SECOND;
    let end = refreshed.as_nanosecond().saturating_add(length);
    let behind = (end - place).rem_euclid(length);
    if behind + TOLERANCE >= length {
        return Duration::ZERO;
    }
    Duration::from_nanos(u64::try_from(behind / PART).unwrap_or_default())
}

/// A share of one that follows from `text`, the same in every process and version.
pub(crate) fn share(text: &str) -> f64 {
    // The upper half: the lower bits of such a sum are the worse ones. 32 bits fit a float.
    f64::from((hash(text) >> 32) as u32) / f64::from(u32::MAX)
}

/// Well mixed, because a remainder and a share are taken of it.
fn hash(text: &str) -> u64 {
    let sum = fnv1a(text.bytes());
    let mixed = (sum ^ (sum >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests;

//! Sync windows (`externalsecret.md` 2.5): when periodic refreshes may happen. A pure function of the windows and the time, in UTC
//! (D-09).

mod schedule;

use std::time::Duration;

use jiff::Timestamp;
use latchkey_crds::duration::{self, InvalidDuration};
use latchkey_crds::external_secret::{SyncWindow, SyncWindowKind, SyncWindows};

use schedule::Schedule;

/// Longest time until a blocked refresh is looked at again (D-01).
const LONGEST_WAIT: Duration = Duration::from_secs(7 * 60);
/// Windows include the instant of their end: they are over this much later.
const PAST_THE_END: Duration = Duration::from_millis(1);
/// `@every` windows may be this much shorter than their period and still never close.
const EVERY_SLACK: Duration = Duration::from_secs(1);
/// The most boundaries that are looked at to find out how long to wait; within seven minutes each window has at most 16.
const MOST_BOUNDARIES: usize = 64;

/// A window that can be open.
struct Window {
    schedule: Schedule,
    duration: Duration,
}

/// Checks what the schema does not: that durations are durations.
pub(super) fn check(windows: &SyncWindows) -> Result<(), InvalidDuration> {
    windows
        .windows
        .iter()
        .try_for_each(|window| parse_duration(window).map(drop))
}

/// Whether a periodic refresh may happen at `now`.
pub(super) fn permits(windows: &SyncWindows, now: Timestamp) -> bool {
    permits_by(windows, &usable(windows), now)
}

/// How long to wait from `now`, at which `windows` permit nothing, until they do, or until it is time to think again.
pub(super) fn until_permitted(windows: &SyncWindows, now: Timestamp) -> Duration {
    let usable = usable(windows);
    let mut at = now;
    for _ in 0..MOST_BOUNDARIES {
        let boundary = usable
            .iter()
            .filter_map(|window| window.next_boundary(at))
            .min();
        let Some(boundary) = boundary else { break };
        let wait: Duration = boundary.duration_since(now).try_into().unwrap_or_default();
        if wait >= LONGEST_WAIT {
            break;
        }
        if permits_by(windows, &usable, boundary) {
            return wait;
        }
        at = boundary;
    }
    LONGEST_WAIT
}

fn permits_by(windows: &SyncWindows, usable: &[Window], now: Timestamp) -> bool {
    if windows.windows.is_empty() {
        return true;
    }
    let is_open = usable.iter().any(|window| window.is_open(now));
    match windows.kind {
        SyncWindowKind::Allow => is_open,
        SyncWindowKind::Deny => !is_open,
    }
}

/// The windows that can ever be open: a schedule that cannot be understood never opens one.
fn usable(windows: &SyncWindows) -> Vec<Window> {
    windows
        .windows
        .iter()
        .filter_map(|window| {
            Some(Window {
                schedule: Schedule::parse(&window.schedule)?,
                duration: parse_duration(window).ok()??,
            })
        })
        .collect()
}

/// The duration, or none if it is below zero.
fn parse_duration(window: &SyncWindow) -> Result<Option<Duration>, InvalidDuration> {
    let parsed = duration::parse("spec.syncWindows.windows[].duration", &window.duration)?;
    Ok((!parsed.is_negative).then_some(parsed.absolute))
}

// === impl Window ===

impl Window {
    fn is_open(&self, now: Timestamp) -> bool {
        match &self.schedule {
            Schedule::Every(period) => *period <= self.duration.saturating_add(EVERY_SLACK),
            Schedule::Cron(cron) => now
                .checked_sub(self.duration)
                .ok()
                .and_then(|earliest| cron.at_or_after(earliest))
                .is_some_and(|opening| opening <= now),
        }
    }

    /// The next instant after `at` at which the window opens or, unless it opened again meanwhile, is over.
    fn next_boundary(&self, at: Timestamp) -> Option<Timestamp> {
        let Schedule::Cron(cron) = &self.schedule else {
            return None;
        };
        let tick = Duration::from_nanos(1);
        let after = |instant: Timestamp| cron.at_or_after(instant.checked_add(tick).ok()?);
        let length = self.duration.checked_add(PAST_THE_END)?;
        let end = at
            .checked_sub(length)
            .ok()
            .and_then(after)
            .and_then(|opening| opening.checked_add(length).ok());
        [after(at), end].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests;

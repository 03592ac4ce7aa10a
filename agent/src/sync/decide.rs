//! What one pass has to do (`externalsecret.md` 2.2, 2.4, 2.10, 2.13): a pure function of what was observed.

use std::time::Duration;

use jiff::Timestamp;
use latchkey_crds::duration::SignedDuration;
use latchkey_crds::external_secret::{CreationPolicy, ExternalSecret, rules};
use latchkey_engine::template::{self, TemplateError};
use latchkey_engine::unsupported::first_unsupported_field;

use super::names;
use super::target::TargetSecret;

/// Added to a timer, because a refresh is due strictly after its interval has passed.
const TIMER_SLACK: Duration = Duration::from_millis(10);
/// Pause where the next refresh is already due when a pass ends (D-01).
const OVERDUE_PAUSE: Duration = Duration::from_secs(1);

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// The object cannot be honoured until someone changes it; the text says why.
    Refuse(String),
    /// Its template may not be applied, whatever the provider has.
    RefuseTemplate(TemplateError),
    /// The target exists and does not carry our label yet: put it on, then look again.
    Adopt,
    /// Nothing is due. The next look is after this time, or at a change.
    Rest(Option<Duration>),
    /// Fetch, and write what was fetched.
    Resolve,
}

/// Decides for an object that is not being deleted and its target, as they were read.
pub(super) fn plan(object: &ExternalSecret, target: Option<&TargetSecret>, now: Timestamp) -> Plan {
    let violations = rules::violations(&object.spec);
    let forbidden = template::check(&object.spec.target);
    if !violations.is_empty() {
        return match forbidden {
            // Nothing else is wrong: told as upstream's controller tells it (1.4).
            Err(error) if error.rules() == violations => Plan::RefuseTemplate(error),
            _ => Plan::Refuse(violations.join("\n")),
        };
    }
    if let Err(error) = forbidden {
        return Plan::RefuseTemplate(error);
    }
    if let Some(message) = first_unsupported_field(&object.spec) {
        return Plan::Refuse(message);
    }
    let interval = match object.spec.refresh_interval() {
        Ok(interval) => interval,
        Err(error) => return Plan::Refuse(error.to_string()),
    };
    if target.is_some_and(|target| !target.is_managed()) {
        return Plan::Adopt;
    }
    if object.spec.target.creation_policy() == CreationPolicy::None {
        // D-19: nothing is delivered from here, so only a change of the object is worth a look.
        return if never_synced(object) || has_changed(object) {
            Plan::Resolve
        } else {
            Plan::Rest(None)
        };
    }
    if refresh_is_due(object, interval, now) || !target.is_some_and(TargetSecret::is_intact) {
        return Plan::Resolve;
    }
    Plan::Rest(next_refresh(object, interval, now))
}

/// Whether a Periodic object is to be fetched again (2.4, in that order).
fn refresh_is_due(object: &ExternalSecret, interval: SignedDuration, now: Timestamp) -> bool {
    let Some(interval) = interval.positive() else {
        return synced_version(object).is_empty();
    };
    if has_changed(object) {
        return true;
    }
    let Some(refreshed) = refresh_time(object) else {
        return true;
    };
    refreshed > now || since(refreshed, now) > interval
}

/// When to look again after a pass that succeeded or had nothing to do (2.13); `None` for intervals of zero or less.
pub(super) fn next_refresh(
    object: &ExternalSecret,
    interval: SignedDuration,
    now: Timestamp,
) -> Option<Duration> {
    let interval = interval.positive()?;
    let refreshed = refresh_time(object).filter(|refreshed| *refreshed <= now);
    let pause = refreshed.and_then(|refreshed| interval.checked_sub(since(refreshed, now)));
    Some(pause.map_or(OVERDUE_PAUSE, |pause| pause + TIMER_SLACK))
}

/// When to look again after a success that was observed at `now`.
pub(super) fn after_success(object: &ExternalSecret, now: Timestamp) -> Option<Duration> {
    if object.spec.target.creation_policy() == CreationPolicy::None {
        return None;
    }
    next_refresh(object, object.spec.refresh_interval().ok()?, now)
}

fn never_synced(object: &ExternalSecret) -> bool {
    synced_version(object).is_empty() || refresh_time(object).is_none()
}

fn has_changed(object: &ExternalSecret) -> bool {
    synced_version(object) != names::current_version(object)
}

fn synced_version(object: &ExternalSecret) -> &str {
    object
        .status
        .as_ref()
        .and_then(|status| status.synced_resource_version.as_deref())
        .unwrap_or_default()
}

fn refresh_time(object: &ExternalSecret) -> Option<Timestamp> {
    Some(object.status.as_ref()?.refresh_time.as_ref()?.0)
}

/// The time from `earlier` to `later`; zero if they are the other way round.
fn since(earlier: Timestamp, later: Timestamp) -> Duration {
    later.duration_since(earlier).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests;

//! What one pass has to do (`externalsecret.md` 2.2, 2.4, 2.9, 2.10, 2.13): pure functions of what was observed.

use std::time::Duration;

use jiff::Timestamp;
use latchkey_crds::duration::SignedDuration;
use latchkey_crds::external_secret::{
    CreationPolicy, DeletionPolicy, ExternalSecret, RefreshPolicy, rules,
};
use latchkey_engine::template::{self, TemplateError};

use super::target::TargetSecret;
use super::{mutate, names, outcome, window};
use crate::schedule::phase;

/// Added to a timer, because a refresh is due strictly after its interval has passed.
const TIMER_SLACK: Duration = Duration::from_millis(10);
/// Pause where the next refresh is already due when a pass ends (D-01).
const OVERDUE_PAUSE: Duration = Duration::from_secs(1);

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// The object cannot be honoured until someone changes it.
    Refuse {
        /// Message of the condition.
        message: String,
        /// Text of the event: why.
        detail: String,
    },
    /// Its template may not be applied, whatever the provider has.
    RefuseTemplate(TemplateError),
    /// The target exists and does not carry our label yet: put it on, then look again.
    Adopt,
    /// Nothing is due. The next look is after this time, or at a change.
    Rest(Option<Duration>),
    /// Fetch, and write what was fetched.
    Resolve,
}

/// Whether values are to be fetched again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Now,
    /// After this time, or only after a change.
    Later(Option<Duration>),
}

/// What an empty result means for the target (2.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Emptied {
    /// It stays as it is.
    Retain,
    /// It goes, if it is there.
    Delete,
    /// It should go and may not; the text says why.
    Refuse(String),
    /// It is written like any other result.
    Write,
}

// === impl Plan ===

impl Plan {
    /// A refusal whose reason is short enough for the condition.
    pub(super) fn refuse(reason: String) -> Self {
        Self::Refuse {
            message: reason.clone(),
            detail: reason,
        }
    }
}

/// Decides for an object that is not being deleted and its target, as they were read. `lost` is the UID of the target if nothing
/// but its disappearance from the watch made us look.
pub(super) fn plan(
    object: &ExternalSecret,
    target: Option<&TargetSecret>,
    lost: Option<&str>,
    now: Timestamp,
) -> Plan {
    if let Some(refusal) = refusal(object) {
        return refusal;
    }
    let interval = match object.spec.refresh_interval() {
        Ok(interval) => interval,
        Err(error) => return Plan::refuse(error.to_string()),
    };
    let due = due(object, interval, now);
    if let Some(target) = target.filter(|target| !target.is_managed()) {
        // Losing the label is no event (2.1): it is put back when something else gives a reason to look.
        return match (due, lost) {
            (Due::Later(pause), Some(lost)) if target.metadata.uid.as_deref() == Some(lost) => {
                Plan::Rest(pause)
            }
            _ => Plan::Adopt,
        };
    }
    match due {
        Due::Later(pause) if is_valid(object, target) => Plan::Rest(pause),
        _ => Plan::Resolve,
    }
}

/// When to look at an object again whose target is known to be valid and ours; `None` if there is something to do now.
pub(super) fn rest(object: &ExternalSecret, now: Timestamp) -> Option<Option<Duration>> {
    if refusal(object).is_some() {
        return None;
    }
    let interval = object.spec.refresh_interval().ok()?;
    match due(object, interval, now) {
        Due::Later(pause) => Some(pause),
        Due::Now => None,
    }
}

/// Whether a target that seems to be absent may be made without a look at it: making one that is there fails, so it can only cost a
/// second fetch. Where a target that is absent is not simply made, it has to be looked at.
pub(super) fn may_be_made_unseen(object: &ExternalSecret) -> bool {
    let target = &object.spec.target;
    let is_made = matches!(
        target.creation_policy(),
        CreationPolicy::Owner | CreationPolicy::Orphan | CreationPolicy::CreateOrMerge
    );
    is_made
        && target.deletion_policy() == DeletionPolicy::Retain
        && refresh_time(object).is_none()
        // Nor may what a generator made be made twice.
        && !generates(object)
}

/// Whether a generator makes any of its values.
fn generates(object: &ExternalSecret) -> bool {
    object.spec.data_from.iter().any(|entry| {
        let source = entry.source_ref.as_ref();
        source.is_some_and(|source| source.generator_ref.is_some())
    })
}

/// What is wrong with the object itself, where targets of other kinds are not allowed (5.1).
fn refusal(object: &ExternalSecret) -> Option<Plan> {
    if object.spec.target.manifest.is_some() {
        return Some(Plan::Refuse {
            message: outcome::INVALID_GENERIC.to_owned(),
            detail: String::from(
                "generic targets are disabled. Enable with --unsafe-allow-generic-targets flag",
            ),
        });
    }
    refusal_of_spec(object)
}

/// What is wrong with the object itself, whatever its target is.
pub(super) fn refusal_of_spec(object: &ExternalSecret) -> Option<Plan> {
    let violations = rules::violations(&object.spec);
    let forbidden = template::check(&object.spec.target);
    if !violations.is_empty() {
        return Some(match forbidden {
            // Nothing else is wrong: told as upstream's controller tells it (1.4).
            Err(error) if error.rules() == violations => Plan::RefuseTemplate(error),
            _ => Plan::refuse(violations.join("\n")),
        });
    }
    if let Err(error) = forbidden {
        return Some(Plan::RefuseTemplate(error));
    }
    let windows = object.spec.sync_windows.as_ref()?;
    let error = window::check(windows).err()?;
    Some(Plan::refuse(error.to_string()))
}

/// Whether the target is as it should be (2.10). One that is not written from here, or not looked after once it was, always is.
pub(super) fn is_valid(object: &ExternalSecret, target: Option<&TargetSecret>) -> bool {
    match object.spec.target.creation_policy() {
        CreationPolicy::None | CreationPolicy::Orphan => true,
        CreationPolicy::Owner | CreationPolicy::Merge | CreationPolicy::CreateOrMerge => {
            target.is_some_and(TargetSecret::is_intact)
        }
    }
}

/// Whether the object is to be fetched again, its target aside (2.4, in that order).
pub(super) fn due(object: &ExternalSecret, interval: SignedDuration, now: Timestamp) -> Due {
    if object.spec.target.creation_policy() == CreationPolicy::None {
        // D-19: nothing is delivered from here, so only a change of the object is worth a look.
        return once(never_synced(object) || has_changed(object));
    }
    if outcome::awaits_clean_up(object) {
        return Due::Now;
    }
    match object.spec.refresh_policy() {
        RefreshPolicy::CreatedOnce => once(never_synced(object)),
        RefreshPolicy::OnChange => once(never_synced(object) || has_changed(object)),
        RefreshPolicy::Periodic => periodic(object, interval, now),
    }
}

/// Where time changes nothing, there is nothing to wait for (D-01).
fn once(is_due: bool) -> Due {
    if is_due { Due::Now } else { Due::Later(None) }
}

fn periodic(object: &ExternalSecret, interval: SignedDuration, now: Timestamp) -> Due {
    let Some(interval) = interval.positive() else {
        return once(synced_version(object).is_empty());
    };
    if has_changed(object) {
        return Due::Now;
    }
    let Some(refreshed) = refresh_time(object).filter(|refreshed| *refreshed <= now) else {
        return Due::Now;
    };
    let interval = interval.saturating_sub(advance(object, refreshed, interval));
    if let Some(rest) = interval.checked_sub(since(refreshed, now)) {
        return Due::Later(Some(rest + TIMER_SLACK));
    }
    match &object.spec.sync_windows {
        Some(windows) if !window::permits(windows, now) => {
            Due::Later(Some(window::until_permitted(windows, now)))
        }
        _ => Due::Now,
    }
}

/// How much earlier than its interval says the object is refreshed, so that not all are at once. Not where windows decide: all would
/// come when one opens. And not where values are made anew, which last as long as somebody asked for.
fn advance(object: &ExternalSecret, refreshed: Timestamp, interval: Duration) -> Duration {
    let has_windows = object
        .spec
        .sync_windows
        .as_ref()
        .is_some_and(|windows| !windows.windows.is_empty());
    if has_windows || generates(object) {
        return Duration::ZERO;
    }
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    phase::advance(uid, refreshed, interval)
}

/// When to look again after a success that was observed at `now` (2.13). A target that is not valid even so, such as one that is
/// not there to be merged into, is looked for with each interval whatever the refresh policy.
pub(super) fn after_success(
    object: &ExternalSecret,
    is_valid: bool,
    now: Timestamp,
) -> Option<Duration> {
    let interval = object.spec.refresh_interval().ok()?;
    match due(object, interval, now) {
        Due::Now => Some(OVERDUE_PAUSE),
        Due::Later(Some(pause)) => Some(pause),
        Due::Later(None) if is_valid => None,
        Due::Later(None) => Some(interval.positive()? + TIMER_SLACK),
    }
}

/// What becomes of the target when there is nothing to deliver (2.9).
pub(super) fn emptied(object: &ExternalSecret, target: Option<&TargetSecret>) -> Emptied {
    match object.spec.target.deletion_policy() {
        DeletionPolicy::Retain => return Emptied::Retain,
        DeletionPolicy::Merge => return Emptied::Write,
        DeletionPolicy::Delete => {}
    }
    let name = object.target_name();
    let creation = object.spec.target.creation_policy();
    if creation != CreationPolicy::Owner {
        return Emptied::Refuse(format!(
            "unable to delete secret {name}: creationPolicy={creation} is not Owner"
        ));
    }
    if target.is_some_and(|target| !mutate::is_ours_to_delete(object, &target.metadata)) {
        return Emptied::Refuse(format!(
            "unable to delete secret {name}: not owned by this ExternalSecret"
        ));
    }
    Emptied::Delete
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

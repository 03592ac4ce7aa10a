//! What one pass has to do with a target of another kind (`externalsecret.md` 2.4, 2.9, 2.10, 5.1, 5.2, 5.5): pure functions of what was
//! observed.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use latchkey_crds::external_secret::{CreationPolicy, DeletionPolicy, ExternalSecret};

use super::super::decide::{self as shared, Due, Plan};
use super::super::mutate::{is_controlled_by, is_controlled_by_other};
use super::super::outcome::INVALID_GENERIC;
use super::live::{Live, NoContent};
use super::{TargetId, is_managed};

/// What to do.
#[derive(Debug)]
pub(super) enum Look {
    /// Nothing is due. The next look is after this time, or at a change.
    Rest(Option<Duration>),
    /// Fetch, and write what was fetched. With the target, if there is one.
    Resolve(Option<Box<Live>>),
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

/// The target of an object, or why it cannot be honoured until someone changes it (5.1, 1.4).
pub(super) fn target(object: &ExternalSecret) -> Result<TargetId, Plan> {
    let refuse = |missing: &str| Plan::Refuse {
        message: INVALID_GENERIC.to_owned(),
        detail: format!("target.manifest.{missing} is required"),
    };
    let target = TargetId::of(object).ok_or_else(|| refuse("kind"))?;
    if target.gvk.api_version().is_empty() {
        return Err(refuse("apiVersion"));
    }
    if target.gvk.kind.is_empty() {
        return Err(refuse("kind"));
    }
    if let Some(refusal) = shared::refusal_of_spec(object) {
        return Err(refusal);
    }
    match object.spec.refresh_interval() {
        Ok(_) => Ok(target),
        Err(error) => Err(Plan::refuse(error.to_string())),
    }
}

/// Whether the target is looked at at all (5.2).
pub(super) fn is_read(object: &ExternalSecret) -> bool {
    object.spec.target.creation_policy() != CreationPolicy::None
}

/// Decides for an object that is not being deleted, and can be honoured, and its target as they were read. `lost` is the UID of the
/// target if nothing but its disappearance from the watch made us look.
pub(super) fn look(
    object: &ExternalSecret,
    existing: Option<Live>,
    lost: Option<&str>,
    now: Timestamp,
) -> Result<Look, NoContent> {
    let is_valid = is_valid(object, existing.as_ref())?;
    let interval = object.spec.refresh_interval();
    let due = interval.map_or(Due::Now, |interval| shared::due(object, interval, now));
    let Due::Later(pause) = due else {
        return Ok(Look::Resolve(existing.map(Box::new)));
    };
    // Losing the label is no event (2.1): it is put back when something else gives a reason to look.
    let has_only_lost_label = existing.as_ref().is_some_and(|live| {
        !live.is_managed() && lost.is_some() && live.metadata.uid.as_deref() == lost
    });
    if is_valid || has_only_lost_label {
        return Ok(Look::Rest(pause));
    }
    Ok(Look::Resolve(existing.map(Box::new)))
}

/// Whether the target is as it should be (2.10, 5.5). One that is not written from here, or not looked after once it was, always is.
pub(super) fn is_valid(
    object: &ExternalSecret,
    existing: Option<&Live>,
) -> Result<bool, NoContent> {
    if matches!(
        object.spec.target.creation_policy(),
        CreationPolicy::None | CreationPolicy::Orphan
    ) {
        return Ok(true);
    }
    let Some(live) = existing.filter(|live| live.metadata.uid.is_some() && live.is_managed())
    else {
        return Ok(false);
    };
    let hash = live.content_hash()?;
    Ok(live.stored_hash() == Some(&*hash))
}

/// What becomes of the target when there is nothing to deliver (2.9).
pub(super) fn emptied(object: &ExternalSecret, existing: Option<&Live>) -> Emptied {
    match object.spec.target.deletion_policy() {
        DeletionPolicy::Retain => return Emptied::Retain,
        DeletionPolicy::Merge => return Emptied::Write,
        DeletionPolicy::Delete => {}
    }
    let policy = object.spec.target.creation_policy();
    if policy != CreationPolicy::Owner {
        return Emptied::Refuse(format!(
            "unable to delete resource: creationPolicy={policy} is not Owner"
        ));
    }
    if existing.is_some_and(|live| !may_delete(object, &live.metadata)) {
        return Emptied::Refuse(String::from(
            "unable to delete resource: not owned by this ExternalSecret",
        ));
    }
    Emptied::Delete
}

/// Whether the object may delete a target: it controls it; or it is meant to own it, has written it as the label says, and nobody else
/// controls it (D-11).
pub(super) fn may_delete(object: &ExternalSecret, metadata: &ObjectMeta) -> bool {
    is_controlled_by(metadata, object)
        || (object.spec.target.creation_policy() == CreationPolicy::Owner
            && is_managed(metadata)
            && !is_controlled_by_other(metadata, object))
}

#[cfg(test)]
mod tests;

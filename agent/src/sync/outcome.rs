//! What a pass says on the object: conditions, events and the time of the next look (`externalsecret.md` 2.13, 2.16).

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use latchkey_crds::conditions::{
    self, Condition, ConditionStatus, external_secret_reasons as reasons,
};
use latchkey_crds::external_secret::{Binding, ExternalSecret, ExternalSecretStatus};
use latchkey_engine::ResolveError;
use latchkey_engine::source::FailureClass;
use latchkey_engine::template::TemplateError;

use super::mutate::OwnedByOther;
use super::names;
use super::target::RequestError;
use crate::generators::states::StateError;

/// A pass that ends with Ready=False.
#[derive(Debug)]
pub(super) struct Failure {
    /// Message of the condition; stable, without detail.
    pub(super) message: String,
    /// Text of the event: the whole chain.
    pub(super) detail: String,
    pub(super) retry: Retry,
    /// Whether the binding names the target from now on: an existing one was to be updated (1.2).
    pub(super) binds: bool,
}

/// When a failed object is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// With growing pauses; at least what the provider or the API server asked for.
    Backoff(Option<Duration>),
    /// As [`Self::Backoff`], and as soon as the provider is reached again.
    CutOff(Option<Duration>),
    /// After a long pause, and at least what the provider asked for: it refused the credentials.
    Parked(Option<Duration>),
    /// With short pauses: a store is not ready.
    Store {
        /// Somebody has looked at it and said so.
        is_known: bool,
    },
    /// Only after a change of the object or its target.
    Never,
}

/// How a pass may end otherwise than well.
#[derive(Debug)]
pub(super) enum Interrupted {
    /// Ready=False.
    Failed(Failure),
    /// Something changed under our hands, or the object could not be read or patched: look again, say nothing.
    Again(RequestError),
}

// === impl Failure ===

impl Failure {
    /// Whether the values are to be had by pods alone.
    pub(super) fn is_for_pods(&self) -> bool {
        self.message == FOR_PODS
    }
}

impl From<Failure> for Interrupted {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What a successful pass says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Success {
    /// What was achieved.
    pub(super) achievement: Achievement,
    /// The target, if one was written.
    pub(super) binding: Option<String>,
    /// Whether the target is as it should be now. One that is not is looked for again (2.13).
    pub(super) is_valid: bool,
}

/// The ways in which a pass succeeds (2.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Achievement {
    /// The target holds what the provider has, or there is none to write.
    Synced,
    /// The provider has nothing, and the target stays.
    Retained,
    /// The provider has nothing, and the target is gone.
    Deleted,
    /// There is no target to merge into.
    Missing,
    /// There is no target to write, and values are for the pods alone that mount them.
    LeftToPods,
    /// There is no target to write, and generators make values for the nodes alone that mount them.
    LeftToNodes,
}

/// Message where an entry of the spec failed.
const NOT_FETCHED: &str = "could not get secret data from provider";
/// Message where a store is read under the identity of pods (csi.md 9.2): a Secret would hand one pod's values to all.
const FOR_PODS: &str = "a store is read under the identity of pods, so this is for volumes only: set spec.target.creationPolicy to None";
/// Message where a target could not be made or written.
const NOT_UPDATED: &str = "could not update secret";
/// Message where a target of a former name could not be deleted.
const NOT_CLEANED_UP: &str = "could not delete orphaned secrets";
/// Message where a target could not be deleted.
const NOT_DELETED: &str = "could not delete secret";

/// Message about a target of another kind that is not allowed, or not named (5.1).
pub(super) const INVALID_GENERIC: &str = "invalid generic target";

// === impl Achievement ===

impl Achievement {
    /// Reason and message of the condition, for a target of another kind than Secret too (2.16, 5.6).
    fn says(self, is_generic: bool) -> (&'static str, &'static str) {
        match (self, is_generic) {
            (Self::Synced, false) => (reasons::SECRET_SYNCED, SYNCED),
            (Self::Synced, true) => (reasons::RESOURCE_SYNCED, SYNCED),
            (Self::Retained, false) => (reasons::SECRET_SYNCED, RETAINED),
            (Self::Retained, true) => (reasons::RESOURCE_SYNCED, RETAINED),
            (Self::Deleted, false) => (reasons::SECRET_DELETED, DELETED),
            (Self::Deleted, true) => (reasons::RESOURCE_DELETED, DELETED),
            (Self::LeftToPods, false) => (reasons::SECRET_SYNCED, LEFT_TO_PODS),
            (Self::LeftToPods, true) => (reasons::RESOURCE_SYNCED, LEFT_TO_PODS),
            (Self::LeftToNodes, false) => (reasons::SECRET_SYNCED, LEFT_TO_NODES),
            (Self::LeftToNodes, true) => (reasons::RESOURCE_SYNCED, LEFT_TO_NODES),
            (Self::Missing, false) => (
                reasons::SECRET_MISSING,
                "secret will not be created due to CreationPolicy=Merge",
            ),
            (Self::Missing, true) => (
                reasons::RESOURCE_MISSING,
                "resource will not be created due to CreationPolicy=Merge",
            ),
        }
    }
}

const SYNCED: &str = "secret synced";
const LEFT_TO_PODS: &str = "each pod that mounts it is given its own values";
const LEFT_TO_NODES: &str = "each node that mounts it has its own values made";
const RETAINED: &str = "secret retained due to DeletionPolicy=Retain";

/// What condition and event say about a target that the deletion policy removed.
pub(super) const DELETED: &str = "secret deleted due to DeletionPolicy=Delete";

/// The status after a failure.
pub(super) fn failed(
    object: &ExternalSecret,
    failure: &Failure,
    now: Timestamp,
) -> ExternalSecretStatus {
    let mut status = object.status.clone().unwrap_or_default();
    bind(
        &mut status,
        failure.binds.then(|| object.target_name().to_owned()),
    );
    let is_gate = failure.message == INVALID_GENERIC;
    let condition = Condition::ready(
        ConditionStatus::False,
        if is_generic(object) && !is_gate {
            reasons::RESOURCE_SYNCED_ERROR
        } else {
            reasons::SECRET_SYNCED_ERROR
        },
        failure.message.clone(),
        now,
    );
    conditions::set(&mut status.conditions, condition);
    status
}

/// The failure of an entry of the spec.
pub(super) fn not_fetched(error: &ResolveError) -> Failure {
    let message = match error.class() {
        Some(FailureClass::PodOnly) => FOR_PODS,
        _ => NOT_FETCHED,
    };
    Failure {
        message: message.to_owned(),
        detail: error.to_string(),
        retry: match error.class() {
            Some(FailureClass::StoreNotReady) => Retry::Store { is_known: true },
            Some(FailureClass::StoreNotValidated) => Retry::Store { is_known: false },
            Some(FailureClass::Reference) => Retry::Never,
            Some(FailureClass::Unauthorized) => Retry::Parked(error.retry_after()),
            Some(FailureClass::Unavailable | FailureClass::Timeout) => {
                Retry::CutOff(error.retry_after())
            }
            _ => Retry::Backoff(error.retry_after()),
        },
        binds: false,
    }
}

/// The failure where what a generator left could not be kept: the fetch has failed with it (7.3).
pub(super) fn not_kept(error: &StateError) -> Failure {
    Failure {
        message: NOT_FETCHED.to_owned(),
        detail: error.to_string(),
        retry: Retry::Backoff(None),
        binds: false,
    }
}

/// The failure for a target that should go and may not (2.9, D-20).
pub(super) fn not_deletable(detail: String) -> Failure {
    Failure {
        message: NOT_DELETED.to_owned(),
        detail,
        retry: Retry::Never,
        binds: false,
    }
}

/// The outcome of a failed deletion of the target.
pub(super) fn not_deleted(error: RequestError, name: &str) -> Interrupted {
    match error {
        RequestError::Conflict(_) => Interrupted::Again(error),
        error => Interrupted::Failed(Failure {
            message: NOT_DELETED.to_owned(),
            detail: format!("unable to delete secret {name}: {error}"),
            retry: Retry::Backoff(error.retry_after()),
            binds: false,
        }),
    }
}

/// The failure of the clean-up after a rename, whose new target is written.
pub(super) fn not_cleaned_up(error: &RequestError) -> Failure {
    Failure {
        message: NOT_CLEANED_UP.to_owned(),
        detail: error.to_string(),
        retry: Retry::Backoff(error.retry_after()),
        binds: true,
    }
}

/// Whether the last pass over an object wrote its target and failed to clean up after it.
pub(super) fn awaits_clean_up(object: &ExternalSecret) -> bool {
    let conditions = object.status.as_ref().map(|status| &status.conditions);
    conditions
        .and_then(|conditions| conditions::find(conditions, conditions::READY))
        .is_some_and(|ready| {
            ready.status == ConditionStatus::False
                && ready.message.as_deref() == Some(NOT_CLEANED_UP)
        })
}

/// The failure of an object that cannot be honoured until someone changes it.
pub(super) fn refused(message: String, detail: String) -> Failure {
    Failure {
        message,
        detail,
        retry: Retry::Never,
        binds: false,
    }
}

/// The failure for content that an immutable target keeps from being written (2.11).
pub(super) fn immutable(name: &str) -> Failure {
    Failure {
        message: String::from("could not update secret, target is immutable"),
        detail: format!("unable to update secret {name}: secret is immutable"),
        retry: Retry::Never,
        binds: true,
    }
}

/// The status after a success that began at `started`.
pub(super) fn succeeded(
    object: &ExternalSecret,
    success: &Success,
    started: Timestamp,
) -> ExternalSecretStatus {
    let mut status = object.status.clone().unwrap_or_default();
    // Whole seconds: more is not stored, and a status that only differs in what is lost would be written for nothing.
    let started = Timestamp::from_second(started.as_second()).unwrap_or(started);
    status.refresh_time = Some(Time(started));
    status.synced_resource_version = Some(names::current_version(object));
    bind(&mut status, success.binding.clone());
    let (reason, message) = success.achievement.says(is_generic(object));
    let condition = Condition::ready(ConditionStatus::True, reason, message, started);
    conditions::set(&mut status.conditions, condition);
    status
}

fn is_generic(object: &ExternalSecret) -> bool {
    object.spec.target.manifest.is_some()
}

/// The binding is set and never cleared (1.2).
fn bind(status: &mut ExternalSecretStatus, name: Option<String>) {
    if let Some(name) = name {
        status.binding = Some(Binding { name });
    }
}

/// The failure for a target that somebody else controls (2.8.1). `existing` is its name if it is there already.
pub(super) fn owned_by_other(error: &OwnedByOther, existing: Option<&str>) -> Failure {
    let message = match error {
        OwnedByOther::ExternalSecret(_) => "target is owned by another ExternalSecret",
        OwnedByOther::Controller { .. } => "failed to take ownership of target secret",
    };
    let prefix = existing
        .map(|name| format!("unable to mutate secret {name}: "))
        .unwrap_or_default();
    Failure {
        message: message.to_owned(),
        detail: format!("{prefix}{error}"),
        retry: Retry::Never,
        binds: existing.is_some(),
    }
}

/// The failure of a template. `existing` is the name of the target if it is there already.
pub(super) fn not_rendered(error: &TemplateError, existing: Option<&str>) -> Failure {
    let prefix = existing
        .map(|name| format!("unable to mutate secret {name}: "))
        .unwrap_or_default();
    Failure {
        message: NOT_UPDATED.to_owned(),
        detail: format!("{prefix}{error}"),
        // A template that breaks a rule breaks it until someone changes it.
        retry: if error.is_forbidden() {
            Retry::Never
        } else {
            Retry::Backoff(None)
        },
        binds: existing.is_some(),
    }
}

/// The outcome of a failed write; `updated` is the target's name if it was to be replaced. What a template rendered is not
/// quoted.
pub(super) fn not_written(
    error: RequestError,
    updated: Option<&str>,
    is_rendered: bool,
) -> Interrupted {
    match error {
        RequestError::Conflict(_) => Interrupted::Again(error),
        error => {
            let prefix = updated
                .map(|name| format!("unable to update secret {name}: "))
                .unwrap_or_default();
            let retry_after = error.retry_after();
            let reason = match error {
                RequestError::Invalid { fields, .. } if is_rendered => fields,
                error => error.to_string(),
            };
            Interrupted::Failed(Failure {
                message: NOT_UPDATED.to_owned(),
                detail: format!("{prefix}{reason}"),
                retry: Retry::Backoff(retry_after),
                binds: updated.is_some(),
            })
        }
    }
}

#[cfg(test)]
mod tests;

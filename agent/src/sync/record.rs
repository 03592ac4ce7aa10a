//! What passes write to the ExternalSecret itself: its status and our finalizer (`externalsecret.md` 1.2, 2.2, 2.13).

use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource as _;
use kube::api::{Api, Patch, PatchParams};
use latchkey_crds::conditions::{self, ConditionStatus, READY};
use latchkey_crds::external_secret::{ExternalSecret, ExternalSecretStatus};
use latchkey_engine::source::Source;
use serde_json::{Value, json};
use tracing::warn;

use super::backoff::{Key, Pace};
use super::names;
use super::outcome::{self, Failure, Retry};
use super::reconcile::{Context, Ended};
use super::target::{RequestError, bounded};

// === impl Context ===

impl<S: Source> Context<S> {
    /// Reports a failure on the object and says when to look again.
    pub(super) async fn report(
        &self,
        key: &Key,
        objects: &Api<ExternalSecret>,
        object: &mut ExternalSecret,
        failure: Failure,
    ) -> Result<Ended, RequestError> {
        let now = Instant::now();
        let backoff = &self.watched.backoff;
        let paced = match failure.retry {
            Retry::Never => None,
            Retry::Store { is_known: true } => Some((Pace::Store, None)),
            Retry::Store { is_known: false } => Some((Pace::NewStore, None)),
            Retry::Backoff(retry_after) | Retry::CutOff(retry_after) => {
                Some((Pace::Growing, retry_after))
            }
            Retry::Parked(retry_after) => Some((Pace::Parked, retry_after)),
        };
        let pause = paced.map(|(pace, retry_after)| backoff.failed(key, pace, retry_after, now));
        let is_cut_off = matches!(failure.retry, Retry::CutOff(_));
        let not_before = paced.and_then(|(_, asked)| asked);
        let not_before = not_before.map(|asked| tokio::time::Instant::now() + asked);
        self.watched.dependents.failed(key, is_cut_off, not_before);
        warn!("{}: {}", failure.message, failure.detail);
        self.metrics.failed(&key.0, &key.1);
        let is_told = match failure.retry {
            Retry::Never | Retry::Backoff(_) | Retry::CutOff(_) | Retry::Parked(_) => true,
            Retry::Store { is_known: true } => backoff.is_worth_telling(key),
            Retry::Store { is_known: false } => backoff.is_impatient(key, now),
        };
        if is_told {
            self.events
                .warning(&object.object_ref(&()), "UpdateFailed", &failure.detail)
                .await;
        }
        let status = outcome::failed(object, &failure, Timestamp::now());
        match (self.write_status(key, objects, object, status).await, pause) {
            (Err(error), None) => Err(error),
            // The next pass writes it.
            (Err(_) | Ok(()), pause) => Ok(Ended::Badly(pause)),
        }
    }

    /// Writes a status that differs from the one that was read.
    pub(super) async fn write_status(
        &self,
        key: &Key,
        objects: &Api<ExternalSecret>,
        object: &mut ExternalSecret,
        status: ExternalSecretStatus,
    ) -> Result<(), RequestError> {
        let ready = conditions::find(&status.conditions, READY).map(|condition| condition.status);
        self.metrics.ready(&key.0, &key.1, ready);
        if object.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let patch = json!({
            "metadata": { "resourceVersion": object.metadata.resource_version },
            "status": status,
        });
        let answer =
            bounded(objects.patch_status(&key.1, &own_parameters(), &Patch::Merge(patch))).await;
        let version = object.metadata.resource_version.as_deref();
        let written = self.unless_outdated(key, version, answer)?;
        self.watched.replaced(key, version, Some(&written));
        *object = written;
        Ok(())
    }

    /// Puts our finalizer on, if it is missing.
    pub(super) async fn add_finalizer(
        &self,
        key: &Key,
        objects: &Api<ExternalSecret>,
        object: &mut ExternalSecret,
    ) -> Result<(), RequestError> {
        let mut finalizers = object.metadata.finalizers.clone().unwrap_or_default();
        if finalizers.iter().any(|held| held == names::FINALIZER) {
            return Ok(());
        }
        finalizers.push(names::FINALIZER.to_owned());
        let patch = finalizers_of(&object.metadata, &finalizers);
        let answer = bounded(objects.patch(&key.1, &own_parameters(), &patch)).await;
        let version = object.metadata.resource_version.as_deref();
        let written = self.unless_outdated(key, version, answer)?;
        self.watched.replaced(key, version, Some(&written));
        *object = written;
        Ok(())
    }

    /// Takes our finalizer off an object that is being deleted.
    pub(super) async fn let_go(
        &self,
        key: &Key,
        objects: &Api<ExternalSecret>,
        metadata: &ObjectMeta,
    ) -> Result<(), RequestError> {
        let mut finalizers = metadata.finalizers.clone().unwrap_or_default();
        if !finalizers.iter().any(|held| held == names::FINALIZER) {
            return Ok(());
        }
        finalizers.retain(|held| held != names::FINALIZER);
        let patch = finalizers_of(metadata, &finalizers);
        let answer = bounded(objects.patch_metadata(&key.1, &own_parameters(), &patch)).await;
        let version = metadata.resource_version.as_deref();
        match self.unless_outdated(key, version, answer) {
            Ok(_) => {
                self.watched.replaced(key, version, None);
                Ok(())
            }
            Err(RequestError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The answer to a write that named a version. One that was refused for it tells that the watch is behind, or dead, which it may
    /// be for minutes: the next pass reads the object instead of believing the watch.
    fn unless_outdated<T>(
        &self,
        key: &Key,
        version: Option<&str>,
        answer: Result<T, RequestError>,
    ) -> Result<T, RequestError> {
        if matches!(answer, Err(RequestError::Conflict(_))) {
            self.watched.replaced(key, version, None);
        }
        answer
    }
}

/// Touches nothing else of the object, so that no ownership of other fields is claimed.
fn finalizers_of(metadata: &ObjectMeta, finalizers: &[String]) -> Patch<Value> {
    Patch::Merge(json!({
        "metadata": { "resourceVersion": metadata.resource_version, "finalizers": finalizers },
    }))
}

fn own_parameters() -> PatchParams {
    PatchParams {
        field_manager: Some(names::OWN_FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// The Ready condition of an object as it was read.
pub(super) fn ready(object: &ExternalSecret) -> Option<ConditionStatus> {
    let conditions = &object.status.as_ref()?.conditions;
    conditions::find(conditions, READY).map(|condition| condition.status)
}

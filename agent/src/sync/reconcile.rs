//! One pass over one ExternalSecret: reads, asks [`decide`], acts, and writes the status if it differs (`externalsecret.md` 2.2).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource as _};
use latchkey_crds::conditions::{self, ConditionStatus, READY};
use latchkey_crds::external_secret::{
    CreationPolicy, ExternalSecret, ExternalSecretStatus, SecretStoreRef, StoreApi, StoreKind,
};
use latchkey_crds::secret_store::{ClusterSecretStore, SecretStore};
use latchkey_engine::resolve;
use latchkey_engine::source::{Caller, Source};
use latchkey_engine::template::Renderer;
use serde_json::json;
use tracing::{Instrument as _, debug, info_span, warn};

use super::backoff::Key;
use super::decide::{self, Plan};
use super::events::Events;
use super::outcome::{self, Failure, Interrupted, RETAINED, Retry, SYNCED, Success};
use super::target::{self, RequestError, TargetSecret, bounded};
use super::watched::{Watched, key};
use super::{Config, Guarded, Metrics, names};
use crate::schedule::Next;

/// Looks at one object in one pass: the first may put the label on, the second decides on what came of it.
const LOOKS: usize = 3;

/// What passes share.
pub(super) struct Context<S> {
    client: Client,
    source: Arc<S>,
    renderer: Arc<Renderer>,
    config: Config,
    metrics: Metrics,
    watched: Arc<Watched>,
    pub(super) events: Events,
}

/// The controller's entry: one pass, measured. Failures are reported on the object, so there is no error to return.
pub(super) async fn reconcile<S: Source + 'static>(
    object: Arc<Guarded>,
    context: Arc<Context<S>>,
) -> Next {
    let key = key(&object);
    let span = info_span!("sync", namespace = key.0, name = key.1);
    let begin = Instant::now();
    context.metrics.called(&key.0, &key.1);
    let next = async {
        match &object.0 {
            Ok(external_secret) => context.pass(&key, external_secret).await,
            Err(invalid) => {
                warn!("the ExternalSecret cannot be read");
                debug!("{}", invalid.error);
                context.metrics.failed(&key.0, &key.1);
                Next::Change
            }
        }
    };
    let next = next.instrument(span).await;
    context.metrics.took(&key.0, &key.1, begin.elapsed());
    context.watched.end_pass(&key, &context.metrics);
    next
}

// === impl Context ===

impl<S: Source> Context<S> {
    pub(super) fn new(
        client: Client,
        source: Arc<S>,
        renderer: Arc<Renderer>,
        config: Config,
        metrics: Metrics,
        watched: Arc<Watched>,
    ) -> Self {
        Self {
            events: Events::new(client.clone()),
            client,
            source,
            renderer,
            config,
            metrics,
            watched,
        }
    }

    async fn pass(&self, key: &Key, cached: &ExternalSecret) -> Next {
        match self.try_pass(key, cached).await {
            Ok(Ended::Well(pause)) => {
                self.watched.backoff.forget(key);
                Next::within(pause)
            }
            Ok(Ended::Badly(Some(pause))) => Next::After(pause),
            Ok(Ended::Badly(None)) => {
                self.watched.backoff.forget(key);
                Next::Change
            }
            Err(error) => {
                if !matches!(error, RequestError::Conflict(_)) {
                    warn!("the pass failed and is repeated: {error}");
                    self.metrics.failed(&key.0, &key.1);
                }
                Next::After(
                    self.watched
                        .backoff
                        .failed(key, None, false, Instant::now()),
                )
            }
        }
    }

    /// The whole pass; the error is one that is not reported on the object.
    async fn try_pass(&self, key: &Key, cached: &ExternalSecret) -> Result<Ended, RequestError> {
        let objects: Api<ExternalSecret> = Api::namespaced(self.client.clone(), &key.0);
        let mut object = if self
            .watched
            .is_stale(key, cached.metadata.resource_version.as_deref())
        {
            match bounded(objects.get_opt(&key.1)).await? {
                Some(object) => object,
                None => return Ok(Ended::Well(None)),
            }
        } else {
            cached.clone()
        };
        if object.metadata.deletion_timestamp.is_some() {
            // With deletionPolicy Retain there is nothing to clean up; an owned target goes with its owner (2.12).
            self.set_finalizer(key, &objects, &mut object, false)
                .await?;
            return Ok(Ended::Well(None));
        }
        self.set_finalizer(key, &objects, &mut object, true).await?;

        let started = Timestamp::now();
        match self.look_and_act(key, &object).await {
            Ok(Acted::Nothing(pause)) => {
                self.metrics.ready(&key.0, &key.1, ready(&object));
                Ok(Ended::Well(pause))
            }
            Ok(Acted::Foreign) => {
                self.metrics.ready(&key.0, &key.1, None);
                Ok(Ended::Well(None))
            }
            Ok(Acted::Synced(success)) => {
                let status = outcome::succeeded(&object, &success, started);
                self.write_status(key, &objects, &mut object, status)
                    .await?;
                Ok(Ended::Well(decide::after_success(
                    &object,
                    Timestamp::now(),
                )))
            }
            Err(Interrupted::Again(error)) => Err(error),
            Err(Interrupted::Failed(failure)) => {
                self.report(key, &objects, &mut object, failure).await
            }
        }
    }

    /// Looks at the target, decides and acts, again after the label was put on.
    async fn look_and_act(&self, key: &Key, object: &ExternalSecret) -> Result<Acted, Interrupted> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &key.0);
        let name = object.target_name();
        for _ in 0..LOOKS {
            let existing = target::read(&secrets, name)
                .await
                .map_err(Interrupted::Again)?;
            let plan = decide::plan(object, existing.as_ref(), Timestamp::now());
            if let Plan::Rest(pause) = plan {
                return Ok(Acted::Nothing(pause));
            }
            if self
                .belongs_to_others(key, object)
                .await
                .map_err(Interrupted::Again)?
            {
                return Ok(Acted::Foreign);
            }
            match plan {
                Plan::Rest(pause) => return Ok(Acted::Nothing(pause)),
                Plan::Refuse(message) => {
                    return Err(Failure {
                        detail: message.clone(),
                        message,
                        retry: Retry::Never,
                        wrote: false,
                    }
                    .into());
                }
                Plan::RefuseTemplate(error) => {
                    let existing = existing.is_some().then_some(name);
                    return Err(outcome::not_rendered(&error, existing).into());
                }
                Plan::Adopt => {
                    let manager = names::field_manager(&key.1);
                    target::adopt(&secrets, name, &manager)
                        .await
                        .map_err(Interrupted::Again)?;
                }
                Plan::Resolve => {
                    return self
                        .resolve(key, object, &secrets, existing)
                        .await
                        .map(Acted::Synced);
                }
            }
        }
        Err(Interrupted::Again(RequestError::Conflict(format!(
            "the label of secret {name} does not stay"
        ))))
    }

    /// Whether any store that the object refers to is of another controller class (2.2 step 5). Stores that do not exist, or that
    /// cannot be understood, fail later.
    async fn belongs_to_others(
        &self,
        key: &Key,
        object: &ExternalSecret,
    ) -> Result<bool, RequestError> {
        let references: BTreeSet<(StoreKindOrder, &str)> = object
            .spec
            .store_refs()
            .filter(|reference| {
                reference.api() == Ok(StoreApi::V2Alpha1) && !reference.name().is_empty()
            })
            .map(|reference| (StoreKindOrder::of(reference), reference.name()))
            .collect();
        for (kind, name) in references {
            let found = match kind {
                StoreKindOrder::Namespaced => {
                    let stores: Api<SecretStore> = Api::namespaced(self.client.clone(), &key.0);
                    understood(bounded(stores.get_opt(name)).await)?
                        .map(|store| store.spec.controller)
                }
                StoreKindOrder::Cluster => {
                    let stores: Api<ClusterSecretStore> = Api::all(self.client.clone());
                    understood(bounded(stores.get_opt(name)).await)?
                        .map(|store| store.spec.controller)
                }
            };
            let class = found.flatten().unwrap_or_default();
            if !class.is_empty() && class != self.config.controller_class {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Fetches and delivers.
    async fn resolve(
        &self,
        key: &Key,
        object: &ExternalSecret,
        secrets: &Api<Secret>,
        existing: Option<TargetSecret>,
    ) -> Result<Success, Interrupted> {
        let caller = Caller {
            namespace: key.0.clone(),
            name: key.1.clone(),
            uid: object.metadata.uid.clone().unwrap_or_default(),
        };
        let (source, renderer) = (self.source.as_ref(), self.renderer.as_ref());
        let now = Timestamp::now();
        let resolution = resolve(&object.spec, &caller, source, renderer, now)
            .await
            .map_err(|error| outcome::not_fetched(&error))?;
        if resolution.data.is_empty() {
            return Ok(Success {
                message: RETAINED,
                binding: None,
            });
        }
        let name = existing.is_some().then(|| object.target_name());
        let rendered = renderer
            .render(object, resolution.data, now)
            .await
            .map_err(|error| outcome::not_rendered(&error, name))?;
        if object.spec.target.creation_policy() == CreationPolicy::None {
            return Ok(Success {
                message: SYNCED,
                binding: None,
            });
        }
        self.deliver(key, object, secrets, existing, rendered)
            .await?;
        // D-22: only now is the old target of a renamed one superfluous.
        self.remove_orphans(key, object, secrets).await?;
        Ok(Success {
            message: SYNCED,
            binding: Some(object.target_name().to_owned()),
        })
    }

    /// Reports a failure on the object and says when to look again.
    async fn report(
        &self,
        key: &Key,
        objects: &Api<ExternalSecret>,
        object: &mut ExternalSecret,
        failure: Failure,
    ) -> Result<Ended, RequestError> {
        let now = Instant::now();
        let backoff = &self.watched.backoff;
        let pause = match failure.retry {
            Retry::Never => None,
            Retry::Store => Some(backoff.failed(key, None, true, now)),
            Retry::Backoff(retry_after) => Some(backoff.failed(key, retry_after, false, now)),
        };
        warn!("{}: {}", failure.message, failure.detail);
        self.metrics.failed(&key.0, &key.1);
        if failure.retry != Retry::Store || backoff.is_impatient(key, now) {
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
    async fn write_status(
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
        let written =
            bounded(objects.patch_status(&key.1, &own_parameters(), &Patch::Merge(patch))).await?;
        self.watched
            .replaced(key, object.metadata.resource_version.as_deref());
        *object = written;
        Ok(())
    }

    /// Adds or removes the finalizer, if it is not as wanted. Nothing else of the object is touched, so that no ownership of
    /// other fields is claimed.
    async fn set_finalizer(
        &self,
        key: &Key,
        objects: &Api<ExternalSecret>,
        object: &mut ExternalSecret,
        wanted: bool,
    ) -> Result<(), RequestError> {
        let mut finalizers = object.metadata.finalizers.clone().unwrap_or_default();
        if finalizers
            .iter()
            .any(|finalizer| finalizer == names::FINALIZER)
            == wanted
        {
            return Ok(());
        }
        if wanted {
            finalizers.push(names::FINALIZER.to_owned());
        } else {
            finalizers.retain(|finalizer| finalizer != names::FINALIZER);
        }
        let patch = json!({
            "metadata": { "resourceVersion": object.metadata.resource_version, "finalizers": finalizers },
        });
        match bounded(objects.patch(&key.1, &own_parameters(), &Patch::Merge(patch))).await {
            Ok(written) => {
                self.watched
                    .replaced(key, object.metadata.resource_version.as_deref());
                *object = written;
                Ok(())
            }
            Err(RequestError::NotFound) if !wanted => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// How a pass ended, and when the next one is due.
enum Ended {
    /// Nothing was due, or what was due succeeded.
    Well(Option<Duration>),
    /// The failure is on the object.
    Badly(Option<Duration>),
}

/// What a look led to.
enum Acted {
    /// Nothing was due.
    Nothing(Option<Duration>),
    /// The object is another controller's.
    Foreign,
    /// Fetched and delivered.
    Synced(Success),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum StoreKindOrder {
    Namespaced,
    Cluster,
}

// === impl StoreKindOrder ===

impl StoreKindOrder {
    fn of(reference: &SecretStoreRef) -> Self {
        match reference.kind() {
            StoreKind::SecretStore => Self::Namespaced,
            StoreKind::ClusterSecretStore => Self::Cluster,
        }
    }
}

/// A store that cannot be decoded counts as one without class: using it fails later, with a better text.
fn understood<K>(answer: Result<Option<K>, RequestError>) -> Result<Option<K>, RequestError> {
    match answer {
        Err(RequestError::Undecodable(_) | RequestError::NotFound) => Ok(None),
        other => other,
    }
}

fn own_parameters() -> PatchParams {
    PatchParams {
        field_manager: Some(names::OWN_FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

fn ready(object: &ExternalSecret) -> Option<ConditionStatus> {
    let conditions = &object.status.as_ref()?.conditions;
    conditions::find(conditions, READY).map(|condition| condition.status)
}

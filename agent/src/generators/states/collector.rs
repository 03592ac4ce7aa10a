//! Ends states: deletes them at their deadline, and has their values revoked before they go.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt as _;
use jiff::Timestamp;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Client, Resource as _, ResourceExt as _};
use latchkey_crds::generator_state::{FINALIZER, GeneratorState};
use latchkey_engine::source::{GeneratedState, Source};
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::bounded;
use super::decide::{self, Plan};
use crate::complaints::WatchComplaints;
use crate::namespaces::{Place, WatchNamespaces};

/// States that are ended at a time.
const CONCURRENCY: u16 = 4;

type Guarded = DeserializeGuard<GeneratorState>;

/// Ends states. Clones share their work.
pub struct Collector<S>(Arc<Shared<S>>);

struct Shared<S> {
    client: Client,
    source: Arc<S>,
    namespaces: WatchNamespaces,
    watches: WatchComplaints,
    /// Consecutive failures of each state.
    failures: Mutex<HashMap<ObjectRef<Guarded>, u32>>,
}

/// Why a state is tried again.
#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error("failed to revoke generated values: {0}")]
    Revoke(String),
    #[error("failed to write a GeneratorState: {0}")]
    Write(#[source] Box<kube::Error>),
}

// === impl Collector ===

impl<S: Source + 'static> Collector<S> {
    /// Makes a collector of the states in `namespaces` whose values are revoked through `source`. Nothing happens before
    /// [`Collector::run`].
    #[must_use]
    pub fn new(client: Client, source: Arc<S>, namespaces: WatchNamespaces) -> Self {
        Self(Arc::new(Shared {
            client,
            source,
            namespaces,
            watches: WatchComplaints::default(),
            failures: Mutex::default(),
        }))
    }

    /// Ends states until `cancel`. Call it while this replica leads, and once at a time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops at once. A state whose values were revoked and that is still there is revoked again, which is
    /// harmless.
    pub async fn run(&self, cancel: CancellationToken) {
        let places = self.0.namespaces.places();
        let of_places = places
            .iter()
            .map(|place| self.follow(place, cancel.clone()));
        futures::future::join_all(of_places).await;
        self.0.failures.lock().clear();
    }

    async fn follow(&self, place: &Place, cancel: CancellationToken) {
        let api: Api<Guarded> = place.api(&self.0.client);
        let concurrency = self.0.namespaces.share(CONCURRENCY);
        let (reader, writer) = reflector::store();
        let (heard, place) = (Arc::clone(&self.0), place.clone());
        let states = watcher(api, watcher::Config::default())
            .default_backoff()
            .inspect(move |event| heard.watches.hear("GeneratorStates", &place, event))
            .reflect(writer)
            .applied_objects();
        Controller::for_stream(states, reader)
            .with_config(Config::default().concurrency(concurrency))
            .graceful_shutdown_on(cancel.cancelled_owned())
            .run(
                |state, shared| async move { shared.reconcile(&state).await },
                |state, error, shared| shared.retry(&state, error),
                Arc::clone(&self.0),
            )
            .for_each(|outcome| async move {
                if let Err(error) = outcome {
                    debug!(
                        error = &error as &dyn std::error::Error,
                        "a pass over a GeneratorState ended early"
                    );
                }
            })
            .await;
    }
}

// === impl Shared ===

impl<S: Source> Shared<S> {
    async fn reconcile(&self, guarded: &Guarded) -> Result<Action, PassError> {
        let Ok(state) = &guarded.0 else {
            let (namespace, name) = (guarded.meta().namespace.as_deref(), guarded.name_any());
            warn!(namespace, name, "the GeneratorState cannot be decoded");
            return Ok(Action::await_change());
        };
        let api: Api<GeneratorState> =
            Api::namespaced(self.client.clone(), &state.namespace().unwrap_or_default());
        let action = match decide::plan(state, Timestamp::now()) {
            Plan::Leave => {
                if state.metadata.deletion_timestamp.is_some() {
                    warn!(
                        namespace = state.namespace(),
                        name = state.name_any(),
                        "the GeneratorState waits for the controller whose generator it names"
                    );
                }
                Action::await_change()
            }
            Plan::Rest => Action::await_change(),
            Plan::Wait(left) => Action::requeue(left),
            Plan::Guard => {
                self.set_finalizers(&api, state, true).await?;
                Action::await_change()
            }
            Plan::Delete => {
                let parameters = DeleteParams {
                    preconditions: Some(Preconditions {
                        uid: state.uid(),
                        resource_version: state.resource_version(),
                    }),
                    ..DeleteParams::default()
                };
                settled(bounded(api.delete(&state.name_any(), &parameters)).await)?;
                Action::await_change()
            }
            Plan::Release => {
                let namespace = state.namespace().unwrap_or_default();
                let left = GeneratedState {
                    resource: state.spec.resource.clone(),
                    state: state.spec.state.clone(),
                };
                self.source
                    .revoke(&namespace, &left)
                    .await
                    .map_err(|error| PassError::Revoke(error.to_string()))?;
                self.set_finalizers(&api, state, false).await?;
                Action::await_change()
            }
        };
        self.failures.lock().remove(&ObjectRef::from_obj(guarded));
        Ok(action)
    }

    async fn set_finalizers(
        &self,
        api: &Api<GeneratorState>,
        state: &GeneratorState,
        is_wanted: bool,
    ) -> Result<(), PassError> {
        let mut finalizers = state.metadata.finalizers.clone().unwrap_or_default();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        if is_wanted {
            finalizers.push(FINALIZER.to_owned());
        }
        // The version makes the API server refuse if anyone else changed the list meanwhile.
        let patch = json!({ "metadata": {
            "resourceVersion": state.metadata.resource_version, "finalizers": finalizers,
        } });
        let (name, parameters) = (state.name_any(), PatchParams::default());
        settled(bounded(api.patch(&name, &parameters, &Patch::Merge(&patch))).await)
    }

    fn retry(&self, state: &Guarded, error: &PassError) -> Action {
        warn!(
            namespace = state.meta().namespace,
            name = state.name_any(),
            error = error as &dyn std::error::Error,
            "trying again"
        );
        let mut failures = self.failures.lock();
        let count = failures.entry(ObjectRef::from_obj(state)).or_default();
        *count = count.saturating_add(1);
        Action::requeue(decide::pause(*count))
    }
}

/// What is gone needs no write. A conflict is answered by the next watch event, but that one may have come already.
fn settled<T>(answer: Result<T, kube::Error>) -> Result<(), PassError> {
    match answer {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(PassError::Write(Box::new(error))),
    }
}

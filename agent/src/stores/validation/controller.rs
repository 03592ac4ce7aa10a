//! Watches stores, has them examined, and writes what changed.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Predicate as _, WatchStreamExt as _, predicates, reflector, watcher};
use kube::{Client, Resource, ResourceExt as _};
use latchkey_crds::conditions::{self, ConditionStatus};
use latchkey_crds::generator::{ClusterGenerator, Generator};
use latchkey_crds::secret_store::{self, ClusterSecretStore, SecretStore};
use parking_lot::Mutex;
use rand::RngExt as _;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::{BroadcastStream, WatchStream};
use tokio_util::sync::CancellationToken;

use super::decide;
use super::kinds::{Kind, reference};
use super::ladder::{Finding, examine};
use super::metrics::StoreMetrics;
use crate::complaints::{Told, WatchComplaints};
use crate::namespaces::{Place, WatchNamespaces};
use crate::passes::PassResult;
use crate::providers::Providers;
use crate::stores::objects::{self, Change};
use crate::stores::{Store, StoreCache, StoreKey};

/// Longest wait for one answer of the API server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Stores that are examined at a time, per kind; more only where more namespaces are watched.
const CONCURRENCY: u16 = 8;

/// Stores whose object changed and that wait to be examined for it. What does not fit is examined at its usual time.
const TOUCHED: usize = 1024;

/// Settings of a [`Validator`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// Time between two validations of a store that names none; `--store-requeue-interval`.
    pub interval: Duration,
    /// Name of this replica, for events.
    pub instance: Option<String>,
    /// Whether ClusterSecretStores are validated too; `--enable-cluster-store-reconciler`.
    pub cluster_stores: bool,
    /// Whose stores and generators are validated. Unless all, those outside namespaces are not.
    pub namespaces: WatchNamespaces,
}

/// Validates stores.
#[derive(Clone)]
pub struct Validator(Arc<Shared>);

struct Shared {
    client: Client,
    providers: Arc<Providers>,
    settings: Settings,
    metrics: StoreMetrics,
    recorders: Recorders,
    /// Consecutive failures of each store.
    failures: Mutex<HashMap<StoreKey, u32>>,
    /// Stores whose object at the provider changed.
    touched: broadcast::Sender<StoreKey>,
    watches: WatchComplaints,
    /// Complaints about events, by namespace.
    events: Told<String>,
}

/// Upstream's names for what tells of stores, and ours for generators.
struct Recorders {
    store: Recorder,
    cluster_store: Recorder,
    generator: Recorder,
    cluster_generator: Recorder,
}

/// Why a pass failed; the store is then tried again like after any failure.
#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error("failed to write the status of {key}: {cause}")]
    Write { key: StoreKey, cause: String },
}

impl Validator {
    /// Makes a validator. Nothing happens before [`Validator::run`].
    #[must_use]
    pub fn new(
        client: Client,
        providers: Arc<Providers>,
        settings: Settings,
        metrics: StoreMetrics,
    ) -> Self {
        let recorder = |controller: &str| {
            let reporter = Reporter {
                controller: controller.into(),
                instance: settings.instance.clone(),
            };
            Recorder::new(client.clone(), reporter)
        };
        let recorders = Recorders {
            store: recorder("secret-store"),
            cluster_store: recorder("cluster-secret-store"),
            generator: recorder("generator"),
            cluster_generator: recorder("cluster-generator"),
        };
        Self(Arc::new(Shared {
            client,
            providers,
            settings,
            metrics,
            recorders,
            failures: Mutex::default(),
            touched: broadcast::Sender::new(TOUCHED),
            watches: WatchComplaints::default(),
            events: Told::default(),
        }))
    }

    /// Validates all stores until `cancel`. Call it while this replica leads, and once at a time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops at once; a status is written with one request or not at all.
    pub async fn run(&self, cancel: CancellationToken) {
        let (client, settings) = (&self.0.client, &self.0.settings);
        let is_everywhere = settings.namespaces.is_all();
        let cluster_stores = async {
            if is_everywhere && settings.cluster_stores {
                let api = Api::all(client.clone());
                self.follow::<ClusterSecretStore>(api, &Place::all(), &cancel)
                    .await;
            }
        };
        let touch = |store: &StoreKey, change: Change<'_>| {
            if matches!(change, Change::Object { .. }) {
                // Without a receiver nobody examines stores any more.
                let _ = self.0.touched.send(store.clone());
            }
        };
        let known = StoreCache::default();
        let of_objects = cancel.run_until_cancelled(objects::follow(
            client,
            &settings.namespaces,
            &known,
            touch,
        ));
        let cluster_generators = async {
            if is_everywhere {
                let api = Api::all(client.clone());
                self.follow::<ClusterGenerator>(api, &Place::all(), &cancel)
                    .await;
            }
        };
        let places = settings.namespaces.places();
        let stores = places
            .iter()
            .map(|place| self.follow::<SecretStore>(place.api(client), place, &cancel));
        let generators = places
            .iter()
            .map(|place| self.follow::<Generator>(place.api(client), place, &cancel));
        tokio::join!(
            of_objects,
            futures::future::join_all(stores),
            futures::future::join_all(generators),
            cluster_stores,
            cluster_generators,
        );
        self.0.failures.lock().clear();
        self.0.metrics.clear();
    }

    async fn follow<K: Kind>(
        &self,
        api: Api<DeserializeGuard<K>>,
        place: &Place,
        cancel: &CancellationToken,
    ) where
        DeserializeGuard<K>:
            Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (reader, writer) = reflector::store();
        let shared = self.0.clone();
        let (heard, place) = (self.0.clone(), place.clone());
        let objects = watcher(api, watcher::Config::default())
            .default_backoff()
            .inspect(move |event| heard.watches.hear(K::KINDS, &place, event))
            .reflect(writer)
            .inspect(move |event| {
                if let Ok(watcher::Event::Delete(object)) = event {
                    shared.forget(&K::key(
                        object.meta().namespace.as_deref().unwrap_or_default(),
                        &object.name_any(),
                    ));
                }
            })
            .applied_objects()
            // Our own status writes must not lead to another validation.
            .predicate_filter(
                // No generation counts the annotations by which a store is read under the identity of pods.
                predicates::generation.combine(predicates::annotations),
                Default::default(),
            );
        let own_identity =
            WatchStream::from_changes(self.0.providers.identities.own().changes()).map(|_| ());
        let breakers =
            WatchStream::from_changes(self.0.providers.pool.breaker_changes()).map(|_| ());
        let touched = BroadcastStream::new(self.0.touched.subscribe()).filter_map(|store| {
            std::future::ready(store.ok().and_then(|store| reference::<K>(&store)))
        });
        Controller::for_stream(objects, reader)
            .with_config(
                Config::default().concurrency(self.0.settings.namespaces.share(CONCURRENCY)),
            )
            .reconcile_on(touched)
            .reconcile_all_on(own_identity)
            .reconcile_all_on(breakers)
            .graceful_shutdown_on(cancel.clone().cancelled_owned())
            .run(
                |object, shared| async move { shared.reconcile(&object).await },
                |object, error, shared| shared.retry(object.as_ref(), error),
                self.0.clone(),
            )
            .for_each(|outcome| async move {
                if let Err(error) = outcome {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "a pass over a store ended early"
                    );
                }
            })
            .await;
    }
}

// === impl Recorders ===

impl Recorders {
    fn of(&self, key: &StoreKey) -> &Recorder {
        match (key.is_generator(), key.is_cluster()) {
            (false, false) => &self.store,
            (false, true) => &self.cluster_store,
            (true, false) => &self.generator,
            (true, true) => &self.cluster_generator,
        }
    }
}

impl Shared {
    async fn reconcile<K: Kind>(&self, object: &DeserializeGuard<K>) -> Result<Action, PassError> {
        let object = match &object.0 {
            Ok(object) => object,
            Err(error) => {
                let (name, namespace) = (
                    error.metadata.name.as_deref(),
                    error.metadata.namespace.as_deref(),
                );
                tracing::warn!(kind = %K::kind(&()), name, namespace, error = %error.error, "store cannot be decoded");
                return Ok(Action::await_change());
            }
        };
        let store = object.store();
        let key = &store.key;
        if !self.providers.policy.manages(&store) || object.meta().deletion_timestamp.is_some() {
            self.forget(key);
            return Ok(Action::await_change());
        }
        let pass = self.metrics.begin(key);
        let start = Instant::now();
        let finding = examine(&self.providers, &store).await;
        if let Err(error) = self.write(object, &store, &finding).await {
            pass.end(PassResult::of(true, true));
            return Err(error);
        }
        self.metrics.describe(key, object.meta().labels.as_ref());
        self.metrics.set(key, finding.status, start.elapsed());
        let has_failed = finding.status != ConditionStatus::True;
        pass.end(PassResult::of(has_failed, true));
        let failures = if finding.status == ConditionStatus::True {
            self.failures.lock().remove(key);
            0
        } else {
            self.count_failure(key)
        };
        let interval = secret_store::validation_interval(store.refresh_interval.as_deref())
            .ok()
            .flatten()
            .unwrap_or(self.settings.interval);
        let jitter = rand::rng().random_range(0.0..=1.0);
        Ok(Action::requeue(decide::next_pass(
            failures, &finding, interval, jitter,
        )))
    }

    /// Writes the status if it says something new, and tells about the change.
    async fn write<K: Kind>(
        &self,
        object: &K,
        store: &Store,
        finding: &Finding,
    ) -> Result<(), PassError> {
        let Some((status, is_news)) = decide::next_status(store, finding, Timestamp::now()) else {
            return Ok(());
        };
        let api = K::api(self.client.clone(), &store.key.namespace);
        // The UID makes the API server refuse the write if the store was deleted and made again meanwhile.
        let patch = serde_json::json!({ "metadata": { "uid": store.uid }, "status": status });
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let written = timeout(
            REQUEST_TIMEOUT,
            api.patch_status(&store.key.name, &params, &patch),
        );
        let failed = |cause: String| PassError::Write {
            key: store.key.clone(),
            cause,
        };
        match written.await {
            Ok(Ok(_)) => {}
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => return Ok(()),
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => {
                return Err(failed(format!(
                    "no answer within {} s",
                    REQUEST_TIMEOUT.as_secs()
                )));
            }
        }
        if is_news {
            tracing::info!(
                store = %store.key,
                namespace = store.key.namespace,
                status = finding.status.as_str(),
                reason = finding.reason,
                message = finding.message,
                "store changed"
            );
            self.tell(object, store, finding).await;
        }
        Ok(())
    }

    async fn tell<K: Kind>(&self, object: &K, store: &Store, finding: &Finding) {
        let is_good = finding.status == ConditionStatus::True
            && finding.reason == conditions::store_reasons::VALID;
        let event = |type_, reason: &str, note: &str| Event {
            type_,
            reason: reason.to_owned(),
            // The API takes 1 kB.
            note: Some(note.chars().take(1000).scan(0, within_bytes).collect()),
            action: "Validate".to_owned(),
            secondary: None,
        };
        let type_ = if is_good {
            EventType::Normal
        } else {
            EventType::Warning
        };
        let mut events = vec![event(type_, finding.reason, &finding.message)];
        events.extend(
            finding
                .warnings
                .iter()
                .map(|warning| event(EventType::Warning, "ProviderWarning", warning)),
        );
        let recorder = self.recorders.of(&store.key);
        let reference = object.object_ref(&());
        for event in events {
            match timeout(REQUEST_TIMEOUT, recorder.publish(&event, &reference)).await {
                Ok(Ok(())) => {}
                Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                    if self.events.is_news(store.key.namespace.clone(), "") {
                        tracing::error!(
                            "events cannot be written: {}; grant create and patch on events.events.k8s.io there",
                            status.message
                        );
                    }
                }
                Ok(Err(error)) => {
                    tracing::debug!(store = %store.key, %error, "failed to publish an event")
                }
                Err(_) => tracing::debug!(store = %store.key, "publishing an event took too long"),
            }
        }
    }

    fn retry<K: Kind>(&self, object: &DeserializeGuard<K>, error: &PassError) -> Action {
        tracing::warn!(error = error as &dyn std::error::Error, "trying again");
        let object = ObjectRef::from_obj(object);
        let failures = self.count_failure(&K::key(
            object.namespace.as_deref().unwrap_or_default(),
            &object.name,
        ));
        Action::requeue(decide::pause(
            failures,
            true,
            self.settings.interval,
            rand::rng().random_range(0.0..=1.0),
        ))
    }

    fn count_failure(&self, key: &StoreKey) -> u32 {
        let mut failures = self.failures.lock();
        let count = failures.entry(key.clone()).or_default();
        *count = count.saturating_add(1);
        *count
    }

    fn forget(&self, key: &StoreKey) {
        self.failures.lock().remove(key);
        self.metrics.forget(key);
    }
}

/// Ends an iterator of characters at 1000 bytes.
fn within_bytes(used: &mut usize, character: char) -> Option<char> {
    *used += character.len_utf8();
    (*used <= 1000).then_some(character)
}

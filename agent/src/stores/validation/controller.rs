//! Watches stores, has them examined, and writes what changed.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{WatchStreamExt as _, predicates, reflector, watcher};
use kube::{Client, Resource, ResourceExt as _};
use latchkey_crds::conditions::{self, Condition, ConditionStatus};
use latchkey_crds::secret_store::{self, ClusterSecretStore, SecretStore, SecretStoreStatus};
use parking_lot::Mutex;
use rand::RngExt as _;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;

use super::ladder::{Finding, examine};
use super::metrics::StoreMetrics;
use crate::providers::Providers;
use crate::stores::{Store, StoreKey};

/// First pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause after a failure that someone must repair (P-RT-5).
const LONGEST_PAUSE: Duration = Duration::from_secs(7 * 60);

/// Longest pause after a failure that may pass by itself: consumers wait for this store.
const LONGEST_TRANSIENT_PAUSE: Duration = Duration::from_secs(30);

/// Shortest interval between two validations (AMB-29).
const SHORTEST_INTERVAL: Duration = Duration::from_secs(5);

/// Longest wait for one answer of the API server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Stores that are examined at a time, per kind.
const CONCURRENCY: u16 = 8;

/// Settings of a [`Validator`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// Time between two validations of a store that names none; `--store-requeue-interval`.
    pub interval: Duration,
    /// Name of this replica, for events.
    pub instance: Option<String>,
}

/// Validates stores.
#[derive(Clone)]
pub struct Validator(Arc<Shared>);

struct Shared {
    client: Client,
    providers: Arc<Providers>,
    settings: Settings,
    metrics: StoreMetrics,
    recorders: [Recorder; 2],
    /// Consecutive failures of each store.
    failures: Mutex<HashMap<StoreKey, u32>>,
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
        let recorders = [recorder("secret-store"), recorder("cluster-secret-store")];
        Self(Arc::new(Shared {
            client,
            providers,
            settings,
            metrics,
            recorders,
            failures: Mutex::default(),
        }))
    }

    /// Validates all stores until `cancel`. Call it while this replica leads, and once at a time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops at once; a status is written with one request or not at all.
    pub async fn run(&self, cancel: CancellationToken) {
        let client = &self.0.client;
        tokio::join!(
            self.follow::<SecretStore>(Api::all(client.clone()), cancel.clone()),
            self.follow::<ClusterSecretStore>(Api::all(client.clone()), cancel),
        );
        self.0.failures.lock().clear();
        self.0.metrics.clear();
    }

    async fn follow<K: Kind>(&self, api: Api<DeserializeGuard<K>>, cancel: CancellationToken)
    where
        DeserializeGuard<K>:
            Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (reader, writer) = reflector::store();
        let shared = self.0.clone();
        let objects = watcher(api, watcher::Config::default())
            .default_backoff()
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
            .predicate_filter(predicates::generation, Default::default());
        let own_identity =
            WatchStream::from_changes(self.0.providers.identities.own().changes()).map(|_| ());
        Controller::for_stream(objects, reader)
            .with_config(Config::default().concurrency(CONCURRENCY))
            .reconcile_all_on(own_identity)
            .graceful_shutdown_on(cancel.cancelled_owned())
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

/// What the two kinds have in common.
trait Kind:
    Resource<DynamicType = ()>
    + Clone
    + Debug
    + DeserializeOwned
    + serde::Serialize
    + Send
    + Sync
    + 'static
{
    fn key(namespace: &str, name: &str) -> StoreKey;
    fn store(&self) -> Store;
    fn api(client: Client, namespace: &str) -> Api<Self>;
}

impl Kind for SecretStore {
    fn key(namespace: &str, name: &str) -> StoreKey {
        StoreKey::namespaced(namespace, name)
    }

    fn store(&self) -> Store {
        Store::from(self)
    }

    fn api(client: Client, namespace: &str) -> Api<Self> {
        in_namespace(client, namespace)
    }
}

impl Kind for ClusterSecretStore {
    fn key(_: &str, name: &str) -> StoreKey {
        StoreKey::cluster(name)
    }

    fn store(&self) -> Store {
        Store::from(self)
    }

    fn api(client: Client, _: &str) -> Api<Self> {
        Api::all(client)
    }
}

fn in_namespace<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(
    client: Client,
    namespace: &str,
) -> Api<K> {
    Api::namespaced(client, namespace)
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
        let start = Instant::now();
        let finding = examine(&self.providers, &store).await;
        self.write(object, &store, &finding).await?;
        self.metrics.set(key, finding.status, start.elapsed());
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
        Ok(Action::requeue(pause(
            failures,
            finding.is_transient,
            interval,
            jitter,
        )))
    }

    /// Writes the status if it says something new, and tells about the change.
    async fn write<K: Kind>(
        &self,
        object: &K,
        store: &Store,
        finding: &Finding,
    ) -> Result<(), PassError> {
        let Some((status, is_news)) = next_status(store, finding, Timestamp::now()) else {
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
        let recorder = &self.recorders[usize::from(store.key.is_cluster())];
        let reference = object.object_ref(&());
        for event in events {
            match timeout(REQUEST_TIMEOUT, recorder.publish(&event, &reference)).await {
                Ok(Ok(())) => {}
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
        Action::requeue(pause(
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

/// When the store is examined again. `jitter` is 0 to 1 and adds up to a tenth, so that stores do not fall into step.
fn pause(failures: u32, is_transient: bool, interval: Duration, jitter: f64) -> Duration {
    let pause = if failures == 0 {
        interval.max(SHORTEST_INTERVAL)
    } else {
        let longest = if is_transient {
            LONGEST_TRANSIENT_PAUSE
        } else {
            LONGEST_PAUSE
        };
        FIRST_PAUSE
            .saturating_mul(2_u32.saturating_pow(failures - 1))
            .min(longest)
    };
    pause + pause.mul_f64(jitter.clamp(0.0, 1.0) / 10.0)
}

/// The status to write and whether it is worth an event, or `None` if it would say nothing new.
fn next_status(
    store: &Store,
    finding: &Finding,
    now: Timestamp,
) -> Option<(SecretStoreStatus, bool)> {
    let mut status = store.status.clone();
    let condition = Condition::ready(finding.status, finding.reason, finding.message.clone(), now)
        .observed_at(store.generation);
    let is_news = store.ready().is_none_or(|ready| {
        (
            ready.status,
            ready.reason.as_deref(),
            ready.message.as_deref(),
        ) != (
            condition.status,
            condition.reason.as_deref(),
            condition.message.as_deref(),
        )
    });
    conditions::set(&mut status.conditions, condition);
    status.observed_generation = store.generation;
    if finding.capabilities.is_some() && finding.status == ConditionStatus::True {
        status.capabilities = finding.capabilities;
    }
    (status != store.status).then_some((status, is_news))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::jiff::Timestamp;
    use latchkey_crds::conditions::ConditionStatus;
    use latchkey_crds::secret_store::Capabilities;
    use serde_json::json;

    use super::{Finding, next_status, pause};
    use crate::stores::Store;
    use crate::stores::validation::StoreMetrics;

    fn store() -> Store {
        let object = json!({
            "metadata": {"name": "bao", "namespace": "team-a", "uid": "u", "generation": 2},
            "spec": {"providerConfig": {
                "address": "p.a.svc:8080",
                "providerRef": {"kind": "HashicorpVault", "name": "vault"},
            }},
        });
        Store::from(
            &serde_json::from_value::<latchkey_crds::secret_store::SecretStore>(object).unwrap(),
        )
    }

    fn finding(status: ConditionStatus, reason: &'static str, message: &str) -> Finding {
        Finding {
            status,
            reason,
            message: message.into(),
            capabilities: Some(Capabilities::ReadOnly),
            warnings: Vec::new(),
            is_transient: false,
        }
    }

    #[test]
    fn pauses_grow_to_their_cap_and_success_waits_for_the_interval() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let cases = [
            (0, false, minutes(5), 0.0, minutes(5)),
            (
                0,
                false,
                Duration::from_secs(1),
                0.0,
                Duration::from_secs(5),
            ),
            (0, false, minutes(10), 1.0, minutes(11)),
            (1, false, minutes(5), 0.0, Duration::from_secs(1)),
            (4, false, minutes(5), 0.0, Duration::from_secs(8)),
            (40, false, minutes(5), 0.0, minutes(7)),
            (4, true, minutes(5), 0.0, Duration::from_secs(8)),
            (40, true, minutes(5), 0.0, Duration::from_secs(30)),
        ];
        for (failures, is_transient, interval, jitter, expected) in cases {
            assert_eq!(
                pause(failures, is_transient, interval, jitter),
                expected,
                "{failures} {is_transient}"
            );
        }
    }

    #[test]
    fn status_is_written_on_change_only() {
        // B3: hundreds of agents watch stores.
        let mut store = store();
        let valid = finding(ConditionStatus::True, "Valid", "store validated");
        let at = |second| Timestamp::from_second(second).unwrap();
        let (status, is_news) = next_status(&store, &valid, at(1)).unwrap();
        assert!(is_news);
        assert_eq!(status.capabilities, Some(Capabilities::ReadOnly));
        assert_eq!(status.observed_generation, Some(2));
        store.status = status;
        assert_eq!(next_status(&store, &valid, at(2)), None);

        // A new generation with the same result is recorded without an event.
        store.generation = Some(3);
        let (status, is_news) = next_status(&store, &valid, at(3)).unwrap();
        assert!(!is_news);
        assert_eq!(
            status.conditions[0].last_transition_time,
            store.status.conditions[0].last_transition_time
        );
        store.status = status;

        // A failure keeps what was known of the provider.
        let invalid = finding(
            ConditionStatus::False,
            "InvalidProviderConfig",
            "unable to validate store: no",
        );
        let invalid = Finding {
            capabilities: None,
            ..invalid
        };
        let (status, is_news) = next_status(&store, &invalid, at(4)).unwrap();
        assert!(is_news);
        assert_eq!(status.capabilities, Some(Capabilities::ReadOnly));
        assert_eq!(status.conditions.len(), 1);
        assert_eq!(status.conditions[0].status, ConditionStatus::False);
    }

    #[test]
    fn series_follow_the_condition_and_go_with_the_store() {
        let metrics = StoreMetrics::default();
        let mut registry = prometheus_client::registry::Registry::default();
        metrics.register(&mut registry);
        let text = |registry: &prometheus_client::registry::Registry| {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
            text
        };
        let key = store().key;
        metrics.set(&key, ConditionStatus::True, Duration::from_millis(1));
        metrics.set(&key, ConditionStatus::False, Duration::from_millis(2));
        let shown = text(&registry);
        let series = "secretstore_status_condition{name=\"bao\",namespace=\"team-a\",condition=\"Ready\",status=";
        assert!(shown.contains(&format!("{series}\"True\"}} 0")), "{shown}");
        assert!(shown.contains(&format!("{series}\"False\"}} 1")), "{shown}");
        assert!(
            shown.contains(
                "secretstore_reconcile_duration{name=\"bao\",namespace=\"team-a\"} 2000000"
            ),
            "{shown}"
        );
        metrics.forget(&key);
        assert!(!text(&registry).contains("bao"));
    }
}

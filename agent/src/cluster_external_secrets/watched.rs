//! What the watches have shown of namespaces and of the ExternalSecrets that ClusterExternalSecrets own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::PartialObjectMeta;
use kube::core::ObjectMeta;
use kube::runtime::watcher::Event;
use latchkey_crds::external_secret::ExternalSecret;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::NAMESPACE_FINALIZER_PREFIX;
use super::generated::Desired;
use super::plan::{self, Change, SeenNamespace, SeenNamespaces};
use super::shown::Shown;

/// Shortest time between two passes that changes of nothing but a status trigger, per ClusterExternalSecret. They matter only
/// because a pass may heal what has failed.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// Namespace and name of an ExternalSecret.
pub(super) type Key = (String, String);

/// Whether a watch has shown everything that there is.
struct Complete(watch::Sender<bool>);

impl Default for Complete {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Complete {
    fn note<T>(&self, event: &Event<T>) {
        if matches!(event, Event::InitDone) {
            self.0.send_replace(true);
        }
    }

    async fn wait(&self) {
        // The sender is a part of this object, so that it is there as long as anybody waits.
        let _ = self.0.subscribe().wait_for(|complete| *complete).await;
    }
}

/// The namespaces of the cluster.
#[derive(Default)]
pub(super) struct Namespaces {
    state: Mutex<NamespaceState>,
    complete: Complete,
}

#[derive(Default)]
struct NamespaceState {
    shown: Shown<String>,
    /// Passes keep what they have begun with.
    seen: Arc<SeenNamespaces>,
}

// === impl Namespaces ===

impl Namespaces {
    /// Takes note of a watch event; what it changed.
    pub(super) fn note(&self, event: &Event<PartialObjectMeta<Namespace>>) -> Vec<Change> {
        let changes = self.state.lock().note(event);
        self.complete.note(event);
        changes
    }

    /// All namespaces, as soon as the watch has shown them once.
    pub(super) async fn all(&self) -> Arc<SeenNamespaces> {
        self.complete.wait().await;
        Arc::clone(&self.state.lock().seen)
    }
}

// === impl NamespaceState ===

impl NamespaceState {
    fn note(&mut self, event: &Event<PartialObjectMeta<Namespace>>) -> Vec<Change> {
        let (applied, gone) = self.shown.note(event, |object| {
            object.metadata.name.clone().unwrap_or_default()
        });
        let seen = Arc::make_mut(&mut self.seen);
        let mut changes: Vec<Change> = gone
            .iter()
            .map(|name| Change {
                before: seen.remove(name),
                after: None,
            })
            .collect();
        if let Some(object) = applied {
            let after = seen_namespace(&object.metadata);
            let name = object.metadata.name.clone().unwrap_or_default();
            changes.push(Change {
                before: seen.insert(name, after.clone()),
                after: Some(after),
            });
        }
        changes
    }
}

fn seen_namespace(metadata: &ObjectMeta) -> SeenNamespace {
    SeenNamespace {
        labels: metadata.labels.clone().unwrap_or_default(),
        finalizers: metadata
            .finalizers
            .iter()
            .flatten()
            .filter(|finalizer| finalizer.starts_with(NAMESPACE_FINALIZER_PREFIX))
            .cloned()
            .collect(),
        is_terminating: metadata.deletion_timestamp.is_some(),
    }
}

/// The ExternalSecrets that ClusterExternalSecrets control.
#[derive(Default)]
pub(super) struct Owned {
    state: Mutex<OwnedState>,
    complete: Complete,
}

#[derive(Default)]
struct OwnedState {
    shown: Shown<Key>,
    seen: HashMap<Key, SeenExternalSecret>,
    /// ExternalSecrets that were found or made as wanted, so that they need not be read again.
    settled: HashMap<Key, Settled>,
    /// When a mere change of a status last led to a pass, by ClusterExternalSecret.
    paced: HashMap<String, Instant>,
}

/// What a pass looks at, as the watch shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SeenExternalSecret {
    owner: String,
    uid: Option<String>,
    generation: Option<i64>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    is_terminating: bool,
}

/// An ExternalSecret whose spec, at this generation, is what its ClusterExternalSecret asked for at that generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    uid: Option<String>,
    generation: Option<i64>,
    set_uid: Option<String>,
    set_generation: Option<i64>,
}

// === impl Settled ===

impl Settled {
    /// The ExternalSecret `object` is as `set` wants it.
    pub(super) fn of(object: &ObjectMeta, set: &ObjectMeta) -> Self {
        Self {
            uid: object.uid.clone(),
            generation: object.generation,
            set_uid: set.uid.clone(),
            set_generation: set.generation,
        }
    }
}

// === impl Owned ===

impl Owned {
    /// Takes note of a watch event; the ClusterExternalSecrets to look at.
    pub(super) fn note(
        &self,
        event: &Event<PartialObjectMeta<ExternalSecret>>,
        now: Instant,
    ) -> Vec<String> {
        let names = self.state.lock().note(event, now);
        self.complete.note(event);
        names
    }

    /// Returns as soon as the watch has shown everything once.
    pub(super) async fn wait(&self) {
        self.complete.wait().await;
    }

    /// Whether the ExternalSecret is known to be as wanted, without reading it.
    pub(super) fn is_settled(&self, key: &Key, desired: &Desired, set: &ObjectMeta) -> bool {
        let state = self.state.lock();
        let (Some(seen), Some(settled)) = (state.seen.get(key), state.settled.get(key)) else {
            return false;
        };
        seen.owner == desired.owner.name
            && seen.labels == desired.labels
            && seen.annotations == desired.annotations
            && *settled
                == (Settled {
                    uid: seen.uid.clone(),
                    generation: seen.generation,
                    set_uid: set.uid.clone(),
                    set_generation: set.generation,
                })
    }

    /// Takes note that the ExternalSecret is as wanted.
    pub(super) fn settle(&self, key: Key, settled: Settled) {
        self.state.lock().settled.insert(key, settled);
    }

    /// Forgets what was noted for a ClusterExternalSecret that is gone.
    pub(super) fn forget(&self, set: &str) {
        self.state.lock().paced.remove(set);
    }
}

// === impl OwnedState ===

impl OwnedState {
    fn note(
        &mut self,
        event: &Event<PartialObjectMeta<ExternalSecret>>,
        now: Instant,
    ) -> Vec<String> {
        let (applied, gone) = self.shown.note(event, |object| key(&object.metadata));
        let mut names: Vec<String> = gone.iter().filter_map(|key| self.lose(key)).collect();
        if let Some(object) = applied {
            let key = key(&object.metadata);
            match seen_external_secret(&object.metadata) {
                Some(after) => names.extend(self.see(key, after, now)),
                None => names.extend(self.lose(&key)),
            }
        }
        names
    }

    /// The former owner of one that is gone, or no longer owned.
    fn lose(&mut self, key: &Key) -> Option<String> {
        self.settled.remove(key);
        self.seen.remove(key).map(|before| before.owner)
    }

    fn see(&mut self, key: Key, after: SeenExternalSecret, now: Instant) -> Vec<String> {
        let owner = after.owner.clone();
        match self.seen.insert(key, after.clone()) {
            Some(before) if before == after => {
                let last = self.paced.get(&owner);
                if last.is_some_and(|last| now.duration_since(*last) < STATUS_PAUSE) {
                    return Vec::new();
                }
                self.paced.insert(owner.clone(), now);
                vec![owner]
            }
            Some(before) if before.owner != owner => vec![before.owner, owner],
            _ => vec![owner],
        }
    }
}

fn key(metadata: &ObjectMeta) -> Key {
    (
        metadata.namespace.clone().unwrap_or_default(),
        metadata.name.clone().unwrap_or_default(),
    )
}

fn seen_external_secret(metadata: &ObjectMeta) -> Option<SeenExternalSecret> {
    let references = metadata.owner_references.as_deref().unwrap_or_default();
    Some(SeenExternalSecret {
        owner: plan::controller(references)?.to_owned(),
        uid: metadata.uid.clone(),
        generation: metadata.generation,
        labels: metadata.labels.clone().unwrap_or_default(),
        annotations: metadata.annotations.clone().unwrap_or_default(),
        is_terminating: metadata.deletion_timestamp.is_some(),
    })
}

#[cfg(test)]
mod tests;

//! What the watch has shown: the objects, which of them write which target, and which are older than our own writes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PartialObjectMeta;
use kube::runtime::watcher::Event;
use kube::{Resource as _, ResourceExt as _};
use parking_lot::Mutex;

use super::backoff::{Backoff, Key};
use super::{Guarded, Metrics};

/// Shared between the watch and the passes.
#[derive(Default)]
pub(super) struct Watched {
    state: Mutex<State>,
    /// Failures of objects, forgotten with them.
    pub(super) backoff: Backoff,
}

#[derive(Default)]
struct State {
    /// All objects that the watch has shown, as it showed them last.
    known: HashMap<Key, Arc<Guarded>>,
    /// Those of the list that the watch is reading, if it is.
    listed: Option<HashSet<Key>>,
    /// Names of the ExternalSecrets by namespace and name of their target.
    writers: HashMap<Key, BTreeSet<String>>,
    /// Name of the target by namespace and name of the ExternalSecret.
    targets: HashMap<Key, String>,
    /// Resource versions that a write of ours has replaced, by namespace and name of the ExternalSecret.
    replaced: HashMap<Key, Vec<String>>,
}

// === impl Watched ===

impl Watched {
    /// Takes note of a watch event and returns the objects that deserve a pass for it: a change of the status alone is none
    /// (`externalsecret.md` 2.1).
    pub(super) fn note(&self, event: Event<Guarded>, metrics: &Metrics) -> Option<Key> {
        match event {
            Event::Apply(object) | Event::InitApply(object) => self.state.lock().apply(object),
            Event::Delete(object) => {
                self.forget(&key(&object), metrics);
                None
            }
            Event::Init => {
                self.state.lock().listed = Some(HashSet::new());
                None
            }
            Event::InitDone => {
                // Deletions while the watch was broken are not told: what the new list lacks is gone.
                let mut state = self.state.lock();
                let listed = state.listed.take().unwrap_or_default();
                let is_gone = |key: &&Key| !listed.contains(*key);
                let gone: Vec<Key> = state.known.keys().filter(is_gone).cloned().collect();
                drop(state);
                for key in gone {
                    self.forget(&key, metrics);
                }
                None
            }
        }
    }

    /// An object as the watch showed it last; `None` if it is gone.
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Guarded>> {
        self.state.lock().known.get(key).cloned()
    }

    /// Namespaces and names of all objects.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.state.lock().known.keys().cloned().collect()
    }

    /// Forgets what a pass has noted about an object that went away meanwhile.
    pub(super) fn end_pass(&self, key: &Key, metrics: &Metrics) {
        let is_known = self.state.lock().known.contains_key(key);
        if !is_known {
            self.forget(key, metrics);
        }
    }

    fn forget(&self, key: &Key, metrics: &Metrics) {
        metrics.gone(&key.0, &key.1);
        self.backoff.forget(key);
        self.state.lock().forget(key);
    }

    /// The ExternalSecrets whose target this Secret is.
    pub(super) fn owners_of(&self, secret: &PartialObjectMeta<Secret>) -> Vec<Key> {
        let namespace = secret.namespace().unwrap_or_default();
        let state = self.state.lock();
        let names = state.writers.get(&(namespace.clone(), secret.name_any()));
        names
            .into_iter()
            .flatten()
            .map(|name| (namespace.clone(), name.clone()))
            .collect()
    }

    /// Takes note that a write of ours has replaced the version `old` of an object.
    pub(super) fn replaced(&self, key: &Key, old: Option<&str>) {
        if let Some(old) = old {
            let mut state = self.state.lock();
            state
                .replaced
                .entry(key.clone())
                .or_default()
                .push(old.to_owned());
        }
    }

    /// Whether a cached object of this version is one that a write of ours has replaced since.
    pub(super) fn is_stale(&self, key: &Key, version: Option<&str>) -> bool {
        let mut state = self.state.lock();
        let replaced = state.replaced.get(key);
        let stale = version.is_some_and(|version| {
            replaced.is_some_and(|versions| versions.iter().any(|old| old == version))
        });
        if !stale {
            state.replaced.remove(key);
        }
        stale
    }
}

// === impl State ===

impl State {
    fn apply(&mut self, mut object: Guarded) -> Option<Key> {
        // Ownership of fields in the ExternalSecret itself is of no use here and takes much room.
        object.meta_mut().managed_fields = None;
        let key = key(&object);
        if let Some(listed) = &mut self.listed {
            listed.insert(key.clone());
        }
        if let Ok(object) = &object.0 {
            self.point(key.clone(), object.target_name().to_owned());
        }
        let known = self.known.get(&key);
        let is_new = known.is_none_or(|known| differs(known.meta(), object.meta()));
        self.known.insert(key.clone(), Arc::new(object));
        is_new.then_some(key)
    }

    fn point(&mut self, key: Key, target: String) {
        if self.targets.get(&key) == Some(&target) {
            return;
        }
        self.unpoint(&key);
        self.writers
            .entry((key.0.clone(), target.clone()))
            .or_default()
            .insert(key.1.clone());
        self.targets.insert(key, target);
    }

    fn unpoint(&mut self, key: &Key) {
        let Some(target) = self.targets.remove(key) else {
            return;
        };
        let place = (key.0.clone(), target);
        if let Some(writers) = self.writers.get_mut(&place) {
            writers.remove(&key.1);
            if writers.is_empty() {
                self.writers.remove(&place);
            }
        }
    }

    fn forget(&mut self, key: &Key) {
        self.known.remove(key);
        self.unpoint(key);
        self.replaced.remove(key);
    }
}

/// Whether more than the status changed.
fn differs(old: &ObjectMeta, new: &ObjectMeta) -> bool {
    old.uid != new.uid
        || old.generation != new.generation
        || old.labels != new.labels
        || old.annotations != new.annotations
        || old.finalizers != new.finalizers
        || old.deletion_timestamp != new.deletion_timestamp
}

pub(super) fn key(object: &Guarded) -> Key {
    let metadata = object.meta();
    (
        metadata.namespace.clone().unwrap_or_default(),
        metadata.name.clone().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use kube::core::DeserializeGuard;
    use serde_json::json;

    use super::*;

    fn object(name: &str, target: &str) -> Guarded {
        DeserializeGuard(Ok(serde_json::from_value(json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": { "name": name, "namespace": "a" }, "spec": { "target": { "name": target } },
        }))
        .unwrap()))
    }

    fn owners(watched: &Watched, secret: &str) -> Vec<String> {
        let secret =
            serde_json::from_value(json!({ "metadata": { "name": secret, "namespace": "a" } }))
                .unwrap();
        watched
            .owners_of(&secret)
            .into_iter()
            .map(|(_, name)| name)
            .collect()
    }

    #[test]
    fn a_secret_belongs_to_every_object_that_names_it() {
        // externalsecret.md 2.1
        let (watched, metrics) = (Watched::default(), Metrics::default());
        for (name, target) in [("one", "shared"), ("two", "shared"), ("three", "other")] {
            watched.note(Event::InitApply(object(name, target)), &metrics);
        }
        assert_eq!(owners(&watched, "shared"), ["one", "two"]);
        watched.note(Event::Apply(object("one", "other")), &metrics);
        assert_eq!(owners(&watched, "shared"), ["two"]);
        assert_eq!(owners(&watched, "other"), ["one", "three"]);
        watched.note(Event::Delete(object("two", "shared")), &metrics);
        assert_eq!(owners(&watched, "shared"), Vec::<String>::new());
    }

    #[test]
    fn what_a_new_list_lacks_and_what_a_late_pass_notes_is_forgotten() {
        let (watched, metrics) = (Watched::default(), Metrics::default());
        let list = |objects: &[&str]| {
            watched.note(Event::Init, &metrics);
            for name in objects {
                watched.note(Event::InitApply(object(name, "shared")), &metrics);
            }
            watched.note(Event::InitDone, &metrics);
        };
        list(&["one", "two"]);
        list(&["two"]);
        assert_eq!(owners(&watched, "shared"), ["two"]);

        let key = (String::from("a"), String::from("two"));
        watched.note(Event::Delete(object("two", "shared")), &metrics);
        watched.replaced(&key, Some("6"));
        watched
            .backoff
            .failed(&key, None, false, std::time::Instant::now());
        watched.end_pass(&key, &metrics);
        let later = std::time::Instant::now() + std::time::Duration::from_secs(3600);
        assert!(!watched.is_stale(&key, Some("6")));
        assert!(!watched.backoff.is_impatient(&key, later));
    }

    #[test]
    fn a_change_of_the_status_alone_deserves_no_pass() {
        // externalsecret.md 2.1
        let (watched, metrics) = (Watched::default(), Metrics::default());
        let version = |generation: i64, labels: serde_json::Value, status: &str| {
            DeserializeGuard(Ok(serde_json::from_value(json!({
                "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
                "metadata": { "name": "x", "namespace": "a", "uid": "1", "generation": generation, "labels": labels },
                "spec": {}, "status": { "syncedResourceVersion": status },
            }))
            .unwrap()))
        };
        let key = (String::from("a"), String::from("x"));
        let note = |object| watched.note(Event::Apply(object), &metrics);
        assert_eq!(note(version(1, json!({}), "1")), Some(key.clone()));
        assert_eq!(note(version(1, json!({}), "2")), None);
        assert_eq!(note(version(2, json!({}), "2")), Some(key.clone()));
        assert_eq!(
            note(version(2, json!({ "a": "b" }), "2")),
            Some(key.clone())
        );
        let seen = watched.get(&key).unwrap();
        let status = seen.0.as_ref().unwrap().status.as_ref().unwrap();
        assert_eq!(status.synced_resource_version.as_deref(), Some("2"));
    }

    #[test]
    fn a_cached_version_is_stale_until_the_watch_catches_up() {
        let (watched, key) = (Watched::default(), (String::from("a"), String::from("x")));
        watched.replaced(&key, Some("6"));
        watched.replaced(&key, Some("7"));
        assert!(watched.is_stale(&key, Some("6")));
        assert!(watched.is_stale(&key, Some("7")));
        assert!(!watched.is_stale(&key, Some("8")));
        assert!(
            !watched.is_stale(&key, Some("7")),
            "the note is gone once it was of no use"
        );
    }
}

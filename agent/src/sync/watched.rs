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
use super::{Guarded, Metrics, names};

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
    /// Namespaces and names of the Secrets with our label.
    managed: HashSet<Key>,
    /// Those of the list that the watch of Secrets is reading, if it is.
    listed_targets: Option<HashSet<Key>>,
    /// UIDs of targets that the watch lost sight of, by namespace and name of the ExternalSecret, until a pass or a change of
    /// either.
    lost: HashMap<Key, String>,
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

    /// Takes note of a watch event about Secrets with our label and returns the ExternalSecrets whose targets it concerns.
    pub(super) fn note_target(&self, event: &Event<PartialObjectMeta<Secret>>) -> Vec<Key> {
        let mut state = self.state.lock();
        match event {
            Event::Apply(secret) | Event::InitApply(secret) => {
                let target = target_key(secret);
                if let Some(listed) = &mut state.listed_targets {
                    listed.insert(target.clone());
                }
                let writers = state.writers_of(&target);
                for writer in &writers {
                    state.lost.remove(writer);
                }
                state.managed.insert(target);
                writers
            }
            Event::Delete(secret) => {
                let target = target_key(secret);
                let writers = state.writers_of(&target);
                for writer in &writers {
                    // Deleted, or its label was: only a look can tell.
                    let uid = secret.uid().unwrap_or_default();
                    state.lost.insert(writer.clone(), uid);
                }
                state.managed.remove(&target);
                writers
            }
            Event::Init => {
                state.listed_targets = Some(HashSet::new());
                Vec::new()
            }
            Event::InitDone => {
                // Deletions while the watch was broken are not told: what the new list lacks is gone.
                let listed = state.listed_targets.take().unwrap_or_default();
                let gone: Vec<Key> = state.managed.difference(&listed).cloned().collect();
                let writers = gone.iter().flat_map(|target| state.writers_of(target));
                let writers = writers.collect();
                state.managed = listed;
                writers
            }
        }
    }

    /// The UID of the target, if nothing but its disappearance from the watch was heard of since the last pass.
    pub(super) fn take_lost(&self, key: &Key) -> Option<String> {
        self.state.lock().lost.remove(key)
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
        if is_new {
            self.lost.remove(&key);
        }
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

    /// The ExternalSecrets whose target this is.
    fn writers_of(&self, target: &Key) -> Vec<Key> {
        let names = self.writers.get(target).into_iter().flatten();
        names.map(|name| (target.0.clone(), name.clone())).collect()
    }

    fn forget(&mut self, key: &Key) {
        self.known.remove(key);
        self.lost.remove(key);
        self.unpoint(key);
        self.replaced.remove(key);
    }
}

/// Whether more than the status changed, or than our finalizer was put on: a pass does that, and goes on.
fn differs(old: &ObjectMeta, new: &ObjectMeta) -> bool {
    old.uid != new.uid
        || old.generation != new.generation
        || old.labels != new.labels
        || old.annotations != new.annotations
        || finalizers_differ(old, new)
        || old.deletion_timestamp != new.deletion_timestamp
}

fn finalizers_differ(old: &ObjectMeta, new: &ObjectMeta) -> bool {
    let (old, new) = (old.finalizers.iter(), new.finalizers.iter());
    let (old, mut new) = (old.flatten(), new.flatten());
    for held in old {
        if new.next() != Some(held) {
            return true;
        }
    }
    new.any(|added| added != names::FINALIZER)
}

fn target_key(secret: &PartialObjectMeta<Secret>) -> Key {
    (secret.namespace().unwrap_or_default(), secret.name_any())
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

    fn secret(name: &str, uid: &str) -> PartialObjectMeta<Secret> {
        serde_json::from_value(
            json!({ "metadata": { "name": name, "namespace": "a", "uid": uid } }),
        )
        .unwrap()
    }

    fn note_target(watched: &Watched, event: Event<PartialObjectMeta<Secret>>) -> Vec<String> {
        let touched = watched.note_target(&event);
        touched.into_iter().map(|(_, name)| name).collect()
    }

    fn owners(watched: &Watched, name: &str) -> Vec<String> {
        note_target(watched, Event::Apply(secret(name, "u")))
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
    fn a_target_that_only_vanished_from_the_watch_is_remembered_by_its_uid() {
        // externalsecret.md 2.1
        let (watched, metrics) = (Watched::default(), Metrics::default());
        let key = (String::from("a"), String::from("one"));
        watched.note(Event::InitApply(object("one", "shared")), &metrics);
        let vanish = || note_target(&watched, Event::Delete(secret("shared", "u")));
        assert_eq!(vanish(), ["one"]);
        assert_eq!(watched.take_lost(&key).as_deref(), Some("u"));
        assert_eq!(watched.take_lost(&key), None, "it was told once");
        // A change of either is another reason to look.
        vanish();
        watched.note(Event::Apply(object("one", "shared")), &metrics);
        assert_eq!(watched.take_lost(&key).as_deref(), Some("u"), "no change");
        vanish();
        let mut changed = object("one", "shared");
        changed.meta_mut().generation = Some(2);
        watched.note(Event::Apply(changed), &metrics);
        assert_eq!(watched.take_lost(&key), None);
        vanish();
        note_target(&watched, Event::Apply(secret("shared", "v")));
        assert_eq!(watched.take_lost(&key), None);
        vanish();
        watched.note(Event::Delete(object("one", "shared")), &metrics);
        assert_eq!(watched.take_lost(&key), None);
    }

    #[test]
    fn targets_that_a_new_list_lacks_are_looked_at() {
        let (watched, metrics) = (Watched::default(), Metrics::default());
        for name in ["x", "y", "z"] {
            watched.note(Event::InitApply(object(name, name)), &metrics);
        }
        let list = |names: &[&str]| {
            let mut touched = note_target(&watched, Event::Init);
            for name in names {
                touched.extend(note_target(&watched, Event::InitApply(secret(name, "u"))));
            }
            touched.extend(note_target(&watched, Event::InitDone));
            touched.sort();
            touched
        };
        assert_eq!(list(&["x", "y"]), ["x", "y"]);
        note_target(&watched, Event::Apply(secret("z", "u")));
        note_target(&watched, Event::Delete(secret("x", "u")));
        assert_eq!(list(&["y"]), ["y", "z"]);
        assert_eq!(list(&["y"]), ["y"]);
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
        // E102
        let (watched, metrics) = (Watched::default(), Metrics::default());
        let mut object = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": { "name": "x", "namespace": "a", "uid": "1", "generation": 1 },
            "spec": {}, "status": {},
        });
        let key = (String::from("a"), String::from("x"));
        let mut change = |parent: &str, field: &str, value: serde_json::Value| {
            object.pointer_mut(parent).unwrap()[field] = value;
            let object = DeserializeGuard(Ok(serde_json::from_value(object.clone()).unwrap()));
            watched.note(Event::Apply(object), &metrics)
        };
        assert_eq!(
            change("/status", "syncedResourceVersion", json!("1")),
            Some(key.clone())
        );
        assert_eq!(change("/status", "syncedResourceVersion", json!("2")), None);
        for (field, value) in [
            ("generation", json!(2)),
            ("labels", json!({ "a": "b" })),
            ("annotations", json!({ "a": "b" })),
            ("finalizers", json!(["example.com/x"])),
            ("finalizers", json!(["example.com/y"])),
            ("deletionTimestamp", json!("2024-03-05T12:00:00Z")),
        ] {
            let touched = change("/metadata", field, value);
            assert_eq!(touched.as_ref(), Some(&key), "{field}");
        }
        // Our own mark is no news; losing it is.
        let marked = json!(["example.com/y", names::FINALIZER]);
        assert_eq!(change("/metadata", "finalizers", marked), None);
        let stripped = json!(["example.com/y"]);
        assert_eq!(
            change("/metadata", "finalizers", stripped),
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

//! What the watch has shown: the objects, which of them write which target, and which are older than our own writes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PartialObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use kube::{Resource as _, ResourceExt as _};
use latchkey_crds::external_secret::ExternalSecret;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::backoff::{Backoff, Key};
use super::generic::{Gvk, Index, TargetId};
use super::references::Dependents;
use super::{Guarded, Metrics, names};
use crate::namespaces::Place;

/// Shared between the watch and the passes.
#[derive(Default)]
pub(super) struct Watched {
    state: Mutex<State>,
    /// Failures of objects, forgotten with them.
    pub(super) backoff: Backoff,
    /// What objects wait for that did not succeed, forgotten with them.
    pub(super) dependents: Dependents,
    /// Wakes those who wait for an ExternalSecret to have no target of another kind, or another one, any more.
    pub(super) released: Notify,
    /// Wakes those who wait for the lists of targets.
    listed: Notify,
}

#[derive(Default)]
struct State {
    /// All objects that the watch has shown, as it showed them last.
    known: HashMap<Key, Arc<Guarded>>,
    /// Those of the list that a watch is reading, by what the watch covers.
    listed: HashMap<Place, HashSet<Key>>,
    /// Names of the ExternalSecrets by namespace and name of their target.
    writers: HashMap<Key, BTreeSet<String>>,
    /// The same for targets of other kinds than Secret.
    generic: Index,
    /// Name of the target by namespace and name of the ExternalSecret.
    targets: HashMap<Key, String>,
    /// Resource versions that a write is known to have replaced, by namespace and name of the ExternalSecret.
    replaced: HashMap<Key, Vec<String>>,
    /// Resource versions of the Secrets with our label, by their namespace and name.
    managed: HashMap<Key, String>,
    /// Those of the list that a watch of Secrets is reading, by what the watch covers.
    listed_targets: HashMap<Place, HashSet<Key>>,
    /// What those watches cover that have read a whole list.
    known_targets: HashSet<Place>,
    /// Resource version at which the target was found valid, by namespace and name of the ExternalSecret.
    valid: HashMap<Key, String>,
    /// UIDs of targets that the watch lost sight of, by namespace and name of the ExternalSecret, until a pass or a change of
    /// either.
    lost: HashMap<Key, String>,
}

// === impl Watched ===

impl Watched {
    /// Takes note of an event of the watch that covers `place` and returns the objects that deserve a pass for it: a change of the
    /// status alone is none (`externalsecret.md` 2.1).
    pub(super) fn note(
        &self,
        place: &Place,
        event: Event<Guarded>,
        metrics: &Metrics,
    ) -> Option<Key> {
        match event {
            Event::Apply(object) | Event::InitApply(object) => {
                let mut state = self.state.lock();
                let released = state.point_generic(&object);
                let changed = state.apply(place, object);
                drop(state);
                if released {
                    self.released.notify_waiters();
                }
                changed
            }
            Event::Delete(object) => {
                self.forget(&key(&object), metrics);
                None
            }
            Event::Init => {
                let mut state = self.state.lock();
                state.listed.insert(place.clone(), HashSet::new());
                None
            }
            Event::InitDone => {
                // Deletions while the watch was broken are not told: what the new list lacks is gone.
                let mut state = self.state.lock();
                let listed = state.listed.remove(place).unwrap_or_default();
                let is_gone = |key: &&Key| place.covers(&key.0) && !listed.contains(*key);
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
        self.settled(key);
        let mut state = self.state.lock();
        state.forget(key);
        let released = state.generic.remove(key);
        drop(state);
        if released {
            self.released.notify_waiters();
        }
    }

    /// Whether any object has a target of this kind.
    pub(super) fn uses(&self, gvk: &Gvk) -> bool {
        self.state.lock().generic.uses(gvk)
    }

    /// Takes note that a target of another kind than Secret has changed, or has vanished from its watch with the UID `lost`, and
    /// returns the ExternalSecrets that it concerns.
    pub(super) fn note_generic(&self, target: &TargetId, lost: Option<String>) -> Vec<Key> {
        let mut state = self.state.lock();
        let writers = state.generic.writers_of(target);
        for writer in &writers {
            match &lost {
                Some(uid) => state.lost.insert(writer.clone(), uid.clone()),
                None => state.lost.remove(writer),
            };
        }
        writers
    }

    /// Forgets the failures of an object that succeeded, that nothing but a change of itself can help, or that is not ours.
    pub(super) fn settled(&self, key: &Key) {
        self.backoff.forget(key);
        self.dependents.forget(key);
    }

    /// Takes note of an event of the watch of Secrets with our label that covers `place`, and returns the ExternalSecrets whose
    /// targets it concerns.
    pub(super) fn note_target(
        &self,
        place: &Place,
        event: &Event<PartialObjectMeta<Secret>>,
    ) -> Vec<Key> {
        let mut state = self.state.lock();
        match event {
            Event::Apply(secret) | Event::InitApply(secret) => {
                let target = target_key(secret);
                if let Some(listed) = state.listed_targets.get_mut(place) {
                    listed.insert(target.clone());
                }
                let writers = state.writers_of(&target);
                for writer in &writers {
                    state.lost.remove(writer);
                }
                let version = secret.resource_version().unwrap_or_default();
                state.managed.insert(target, version);
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
                state.listed_targets.insert(place.clone(), HashSet::new());
                Vec::new()
            }
            Event::InitDone => {
                // Deletions while the watch was broken are not told: what the new list lacks is gone.
                let listed = state.listed_targets.remove(place).unwrap_or_default();
                let is_gone = |target: &Key| place.covers(&target.0) && !listed.contains(target);
                let gone = state.managed.keys().filter(|target| is_gone(target));
                let writers = gone.flat_map(|target| state.writers_of(target));
                let writers = writers.collect();
                state.managed.retain(|target, _| !is_gone(target));
                state.known_targets.insert(place.clone());
                self.listed.notify_waiters();
                writers
            }
        }
    }

    /// The UID of the target, if nothing but its disappearance from the watch was heard of since the last pass.
    pub(super) fn take_lost(&self, key: &Key) -> Option<String> {
        self.state.lock().lost.remove(key)
    }

    /// Takes note of the version at which the target of an object was found, or made, valid.
    pub(super) fn found_valid(&self, key: &Key, version: Option<&str>) {
        if let Some(version) = version {
            let mut state = self.state.lock();
            state.valid.insert(key.clone(), version.to_owned());
        }
    }

    /// Whether the target still is what was found valid: looking at it again would tell nothing new.
    pub(super) fn is_known_valid(&self, key: &Key, target: &Key) -> bool {
        let state = self.state.lock();
        let now = state.managed.get(target);
        now.is_some() && state.valid.get(key) == now
    }

    /// Whether there is no Secret of ours with that name, as far as the watch knows. There may be one without our label.
    pub(super) fn seems_absent(&self, target: &Key) -> bool {
        let state = self.state.lock();
        let is_known = state
            .known_targets
            .iter()
            .any(|place| place.covers(&target.0));
        is_known && !state.managed.contains_key(target)
    }

    /// Waits until the watches of Secrets have read their lists, of which there are `count`.
    pub(super) async fn targets_listed(&self, count: usize) {
        loop {
            let listed = self.listed.notified();
            if self.state.lock().known_targets.len() >= count {
                return;
            }
            listed.await;
        }
    }

    /// Takes note that a write has replaced the version `old` of an object, and of what it is now if that was answered: the write was
    /// ours.
    pub(super) fn replaced(&self, key: &Key, old: Option<&str>, new: Option<&ExternalSecret>) {
        let now = new.and_then(|new| new.metadata.resource_version.as_deref());
        if old == now {
            // It changed nothing.
            return;
        }
        let mut state = self.state.lock();
        if let Some(old) = old {
            let versions = state.replaced.entry(key.clone()).or_default();
            versions.push(old.to_owned());
        }
        if let Some(new) = new
            && let Some(known) = state.known.get_mut(key)
        {
            let mut object = DeserializeGuard(Ok(new.clone()));
            object.meta_mut().managed_fields = None;
            *known = Arc::new(object);
        }
    }

    /// Whether an object of this version is one that a write has replaced, while the watch did not show a newer one.
    pub(super) fn is_stale(&self, key: &Key, version: Option<&str>) -> bool {
        self.state.lock().is_stale(key, version)
    }
}

// === impl State ===

impl State {
    fn apply(&mut self, place: &Place, mut object: Guarded) -> Option<Key> {
        // Ownership of fields in the ExternalSecret itself is of no use here and takes much room.
        object.meta_mut().managed_fields = None;
        let key = key(&object);
        if let Some(listed) = self.listed.get_mut(place) {
            listed.insert(key.clone());
        }
        if self.is_stale(&key, object.meta().resource_version.as_deref()) {
            // Older than the answer to our own write, which is known already.
            return None;
        }
        self.replaced.remove(&key);
        if let Ok(object) = &object.0 {
            if object.spec.target.manifest.is_some() {
                self.unpoint(&key);
            } else {
                self.point(key.clone(), object.target_name().to_owned());
            }
        }
        let known = self.known.get(&key);
        let is_new = known.is_none_or(|known| differs(known.meta(), object.meta()));
        self.known.insert(key.clone(), Arc::new(object));
        if is_new {
            self.lost.remove(&key);
        }
        is_new.then_some(key)
    }

    fn is_stale(&self, key: &Key, version: Option<&str>) -> bool {
        let replaced = self.replaced.get(key).into_iter().flatten();
        version.is_some_and(|version| replaced.into_iter().any(|old| old == version))
    }

    /// Takes note of a target of another kind. Returns whether the object had another one.
    fn point_generic(&mut self, object: &Guarded) -> bool {
        match &object.0 {
            Ok(known) => self.generic.point(&key(object), TargetId::of(known)),
            Err(_) => false,
        }
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
        self.valid.remove(key);
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
mod tests;

//! What the watch has shown: which objects write which target, and which cached objects are older than our own writes.

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::api::core::v1::Secret;
use kube::api::PartialObjectMeta;
use kube::runtime::reflector::ObjectRef;
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
    /// Names of the ExternalSecrets by namespace and name of their target.
    writers: HashMap<Key, BTreeSet<String>>,
    /// Name of the target by namespace and name of the ExternalSecret.
    targets: HashMap<Key, String>,
    /// Resource versions that a write of ours has replaced, by namespace and name of the ExternalSecret.
    replaced: HashMap<Key, Vec<String>>,
}

// === impl Watched ===

impl Watched {
    /// Takes note of a watch event, before any pass that it triggers.
    pub(super) fn note(&self, event: &Event<Guarded>, metrics: &Metrics) {
        match event {
            Event::Apply(object) | Event::InitApply(object) => {
                let target = match &object.0 {
                    Ok(object) => object.target_name().to_owned(),
                    Err(_) => return,
                };
                self.state.lock().point(key(object), target);
            }
            Event::Delete(object) => {
                let key = key(object);
                metrics.gone(&key.0, &key.1);
                self.backoff.forget(&key);
                self.state.lock().forget(&key);
            }
            Event::Init | Event::InitDone => {}
        }
    }

    /// The ExternalSecrets whose target this Secret is.
    pub(super) fn owners_of(&self, secret: &PartialObjectMeta<Secret>) -> Vec<ObjectRef<Guarded>> {
        let namespace = secret.namespace().unwrap_or_default();
        let state = self.state.lock();
        let names = state.writers.get(&(namespace.clone(), secret.name_any()));
        names
            .into_iter()
            .flatten()
            .map(|name| ObjectRef::new(name).within(&namespace))
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
        self.unpoint(key);
        self.replaced.remove(key);
    }
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
            .map(|owner| owner.name)
            .collect()
    }

    #[test]
    fn a_secret_belongs_to_every_object_that_names_it() {
        // externalsecret.md 2.1
        let (watched, metrics) = (Watched::default(), Metrics::default());
        for (name, target) in [("one", "shared"), ("two", "shared"), ("three", "other")] {
            watched.note(&Event::InitApply(object(name, target)), &metrics);
        }
        assert_eq!(owners(&watched, "shared"), ["one", "two"]);
        watched.note(&Event::Apply(object("one", "other")), &metrics);
        assert_eq!(owners(&watched, "shared"), ["two"]);
        assert_eq!(owners(&watched, "other"), ["one", "three"]);
        watched.note(&Event::Delete(object("two", "shared")), &metrics);
        assert_eq!(owners(&watched, "shared"), Vec::<String>::new());
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

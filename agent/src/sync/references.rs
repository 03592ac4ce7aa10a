//! What an ExternalSecret refers to, and who waits for it.

use std::collections::{BTreeSet, HashMap};

use latchkey_crds::external_secret::{ExternalSecret, StoreApi, StoreKind};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::backoff::Key;
use crate::generators;
use crate::stores::StoreKey;

/// The stores and generators that an object in `namespace` refers to. References that mean none are left out: using them fails.
pub(super) fn of(namespace: &str, object: &ExternalSecret) -> BTreeSet<StoreKey> {
    let stores = object.spec.store_refs().filter(|reference| {
        reference.api() == Ok(StoreApi::V2Alpha1) && !reference.name().is_empty()
    });
    let stores = stores.map(|reference| match reference.kind() {
        // Always one of the object's namespace (D-07, SB-01).
        StoreKind::SecretStore => StoreKey::namespaced(namespace, reference.name()),
        StoreKind::ClusterSecretStore => StoreKey::cluster(reference.name()),
    });
    let generators = object.spec.data_from.iter().filter_map(|entry| {
        let reference = entry.source_ref.as_ref()?.generator_ref.as_ref()?;
        generators::key_of(namespace, reference).ok()
    });
    stores.chain(generators).collect()
}

/// The objects whose last fetch did not succeed, by what they refer to. One is noted before it is fetched, so that a change of its
/// store while it is under way is not missed.
#[derive(Default)]
pub(super) struct Dependents(Mutex<State>);

#[derive(Default)]
struct State {
    objects: HashMap<Key, Dependent>,
    by_store: HashMap<StoreKey, BTreeSet<Key>>,
}

struct Dependent {
    stores: BTreeSet<StoreKey>,
    /// Its provider cannot be reached, as far as is known: while it is under way, that may be so.
    is_cut_off: bool,
    /// Somebody asked not to be asked again before.
    not_before: Option<Instant>,
}

// === impl Dependents ===

impl Dependents {
    /// Takes note of an object that is about to be fetched.
    pub(super) fn note(&self, key: &Key, stores: BTreeSet<StoreKey>) {
        let mut state = self.0.lock();
        let known = state.objects.get(key);
        if known.is_none_or(|known| known.stores != stores) {
            state.forget(key);
            for store in &stores {
                let dependents = state.by_store.entry(store.clone()).or_default();
                dependents.insert(key.clone());
            }
        }
        let dependent = Dependent {
            stores,
            is_cut_off: true,
            not_before: None,
        };
        state.objects.insert(key.clone(), dependent);
    }

    /// Takes note of how an object failed that was noted before.
    pub(super) fn failed(&self, key: &Key, is_cut_off: bool, not_before: Option<Instant>) {
        if let Some(dependent) = self.0.lock().objects.get_mut(key) {
            dependent.is_cut_off = is_cut_off;
            dependent.not_before = not_before;
        }
    }

    /// Forgets an object that succeeded, that nothing else can help, or that is gone.
    pub(super) fn forget(&self, key: &Key) {
        self.0.lock().forget(key);
    }

    /// The objects that may be helped by a change of this store, of one namespace or of all, and when at the earliest.
    pub(super) fn of(
        &self,
        store: &StoreKey,
        namespace: Option<&str>,
    ) -> Vec<(Key, Option<Instant>)> {
        let state = self.0.lock();
        let all = state.by_store.get(store).into_iter().flatten();
        all.filter(|key| namespace.is_none_or(|namespace| key.0 == namespace))
            .map(|key| {
                let dependent = state.objects.get(key);
                (key.clone(), dependent.and_then(|it| it.not_before))
            })
            .collect()
    }

    /// The objects whose provider could not be reached, and when they may be looked at.
    pub(super) fn cut_off(&self) -> Vec<(Key, Option<Instant>)> {
        let state = self.0.lock();
        let all = state.objects.iter();
        all.filter(|(_, dependent)| dependent.is_cut_off)
            .map(|(key, dependent)| (key.clone(), dependent.not_before))
            .collect()
    }
}

// === impl State ===

impl State {
    fn forget(&mut self, key: &Key) {
        let Some(dependent) = self.objects.remove(key) else {
            return;
        };
        for store in &dependent.stores {
            if let Some(dependents) = self.by_store.get_mut(store) {
                dependents.remove(key);
                if dependents.is_empty() {
                    self.by_store.remove(store);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(namespace: &str, name: &str) -> Key {
        (namespace.to_owned(), name.to_owned())
    }

    #[test]
    fn every_reference_counts_once_and_those_that_mean_none_do_not() {
        let api = "secretstore.external-secrets.io/v2alpha1";
        let generators = "generator.external-secrets.io/v2alpha1";
        let object: ExternalSecret = serde_json::from_value(json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {},
            "spec": {
                "secretStoreRef": { "apiVersion": api, "name": "one" },
                "data": [
                    { "secretKey": "a", "remoteRef": { "key": "a" }, "sourceRef": { "storeRef": { "apiVersion": api, "name": "one" } } },
                    { "secretKey": "b", "remoteRef": { "key": "b" }, "sourceRef": { "storeRef": {
                        "apiVersion": api, "kind": "ClusterSecretStore", "name": "all",
                    } } },
                    { "secretKey": "c", "remoteRef": { "key": "c" }, "sourceRef": { "storeRef": { "name": "of-v1" } } },
                ],
                "dataFrom": [
                    { "sourceRef": { "generatorRef": { "apiVersion": generators, "kind": "Generator", "name": "g" } } },
                    { "sourceRef": { "generatorRef": { "apiVersion": "x/v1", "kind": "Generator", "name": "g" } } },
                ],
            },
        }))
        .unwrap();
        let wanted = [
            StoreKey::namespaced("a", "one"),
            StoreKey::cluster("all"),
            StoreKey::generator("a", "g"),
        ];
        assert_eq!(of("a", &object), BTreeSet::from(wanted));
    }

    #[test]
    fn dependents_are_found_by_store_and_namespace_until_they_are_forgotten() {
        let dependents = Dependents::default();
        let (shared, own) = (StoreKey::cluster("s"), StoreKey::namespaced("a", "s"));
        let both = || BTreeSet::from([shared.clone(), own.clone()]);
        let of = |store: &StoreKey, namespace| -> Vec<Key> {
            let found = dependents.of(store, namespace);
            found.into_iter().map(|(key, _)| key).collect()
        };
        dependents.note(&key("a", "x"), both());
        dependents.note(&key("b", "y"), BTreeSet::from([shared.clone()]));
        assert_eq!(of(&shared, None), [key("a", "x"), key("b", "y")]);
        assert_eq!(of(&shared, Some("b")), [key("b", "y")]);
        assert_eq!(of(&own, None), [key("a", "x")]);
        assert!(of(&StoreKey::generator("a", "s"), None).is_empty());
        // A change of its spec.
        dependents.note(&key("a", "x"), BTreeSet::from([own.clone()]));
        assert_eq!(of(&shared, None), [key("b", "y")]);
        dependents.forget(&key("b", "y"));
        assert!(of(&shared, None).is_empty());
    }

    #[test]
    fn an_object_is_cut_off_until_it_is_known_not_to_be() {
        let (dependents, object) = (Dependents::default(), key("a", "x"));
        let stores = || BTreeSet::from([StoreKey::cluster("s")]);
        dependents.note(&object, stores());
        assert_eq!(dependents.cut_off(), [(object.clone(), None)], "under way");
        dependents.failed(&object, false, None);
        assert_eq!(dependents.cut_off(), []);
        let later = Some(Instant::now());
        dependents.failed(&object, true, later);
        assert_eq!(dependents.cut_off(), [(object.clone(), later)]);
        assert_eq!(
            dependents.of(&StoreKey::cluster("s"), None),
            [(object.clone(), later)]
        );
        dependents.note(&object, stores());
        assert_eq!(dependents.cut_off(), [(object.clone(), None)], "again");
        dependents.forget(&object);
        dependents.failed(&object, true, None);
        assert_eq!(dependents.cut_off(), []);
    }
}

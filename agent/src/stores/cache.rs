//! All stores and generators in memory, for the role `sync`.
//!
//! They hold no values. What is known is never older than what the API server has told; an object that is not known is asked for, as it
//! may have been made a moment ago. So a pass costs no request for its stores, and nobody waits for a watch.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use futures::StreamExt as _;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use latchkey_crds::conditions::ConditionStatus;
use latchkey_crds::generator::{ClusterGenerator, Generator};
use latchkey_crds::secret_store::{ClusterSecretStore, SecretStore};
use parking_lot::RwLock;
use tracing::{debug, warn};

use super::model::{Store, StoreKey};
use super::reader::{ApiReader, ReadError, StoreReader, read_error};
use crate::namespaces::{Place, WatchNamespaces};

/// A store as it was told last; the error is [`ReadError::Malformed`].
type Known = Result<Arc<Store>, ReadError>;

/// What is known of stores and generators. Clones share it. Empty unless somebody runs [`StoreCache::follow`].
#[derive(Clone, Default)]
pub struct StoreCache(Arc<RwLock<HashMap<StoreKey, Known>>>);

impl fmt::Debug for StoreCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "StoreCache of {}", self.0.read().len())
    }
}

/// Empties the cache when nothing follows any more.
struct Emptied<'a>(&'a StoreCache);

impl Drop for Emptied<'_> {
    fn drop(&mut self) {
        self.0.0.write().clear();
    }
}

// === impl StoreCache ===

impl StoreCache {
    /// The store, if it is known.
    #[must_use]
    pub fn get(&self, key: &StoreKey) -> Option<Result<Arc<Store>, ReadError>> {
        self.0.read().get(key).cloned()
    }

    /// Every store that is known and understood.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Store>> {
        let known = self.0.read();
        known
            .values()
            .filter_map(|known| known.clone().ok())
            .collect()
    }

    /// Watches the stores and generators of `namespaces`, and if these are all those of the cluster, until it is dropped. `told` hears of
    /// each that changed, after the cache has it, and whether the change may help those who failed with it.
    ///
    /// Kinds that are not there, or may not be watched, stay unknown, so that each is asked for.
    pub async fn follow(
        &self,
        client: &Client,
        namespaces: &WatchNamespaces,
        told: impl Fn(&StoreKey, bool) + Send + Sync,
    ) {
        let _emptied = Emptied(self);
        let (places, everywhere) = (namespaces.places(), Place::all());
        let stores = places.iter().map(|place| {
            self.follow_kind::<SecretStore>(place.api(client), place, StoreKey::namespaced, &told)
        });
        let generators = places.iter().map(|place| {
            self.follow_kind::<Generator>(place.api(client), place, StoreKey::generator, &told)
        });
        let of_cluster = async {
            if !namespaces.is_all() {
                return;
            }
            tokio::join!(
                self.follow_kind::<ClusterSecretStore>(
                    Api::all(client.clone()),
                    &everywhere,
                    |_, name| StoreKey::cluster(name),
                    &told
                ),
                self.follow_kind::<ClusterGenerator>(
                    Api::all(client.clone()),
                    &everywhere,
                    |_, name| StoreKey::cluster_generator(name),
                    &told
                ),
            );
        };
        tokio::join!(
            futures::future::join_all(stores),
            futures::future::join_all(generators),
            of_cluster,
        );
    }

    async fn follow_kind<K>(
        &self,
        api: Api<DeserializeGuard<K>>,
        place: &Place,
        key: fn(&str, &str) -> StoreKey,
        told: &(impl Fn(&StoreKey, bool) + Send + Sync),
    ) where
        K: kube::Resource + Clone + fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
        for<'a> Store: From<&'a K>,
        DeserializeGuard<K>:
            kube::Resource + Clone + fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
    {
        let kind = key("", "").kind();
        let key_of = |object: &DeserializeGuard<K>| {
            key(&object.namespace().unwrap_or_default(), &object.name_any())
        };
        let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
        let mut listed = HashSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object) | Event::Apply(object)) => {
                    let key = key_of(&object);
                    listed.insert(key.clone());
                    let known = match &object.0 {
                        Ok(store) => Ok(Arc::new(Store::from(store))),
                        Err(error) => Err(ReadError::Malformed(
                            error.error.chars().take(256).collect(),
                        )),
                    };
                    if let Some(helps) = self.put(&key, known) {
                        told(&key, helps);
                    }
                }
                Ok(Event::Delete(object)) => {
                    let key = key_of(&object);
                    self.0.write().remove(&key);
                    told(&key, false);
                }
                // Deletions while the watch was broken are not told: what the new list lacks is gone.
                Ok(Event::InitDone) => self.retain(kind, place, &listed),
                Err(error) => self.note_broken(kind, place, &error),
            }
        }
    }

    /// Takes note of a store; `None` if nothing about it is new, else whether that may help those who failed with it.
    fn put(&self, key: &StoreKey, known: Known) -> Option<bool> {
        let mut stores = self.0.write();
        let old = stores.get(key);
        if old == Some(&known) {
            return None;
        }
        let helps = helps(old, &known);
        stores.insert(key.clone(), known);
        Some(helps)
    }

    fn retain(&self, kind: &str, place: &Place, listed: &HashSet<StoreKey>) {
        let mut stores = self.0.write();
        stores.retain(|key, _| {
            key.kind() != kind || !place.covers(&key.namespace) || listed.contains(key)
        });
    }

    fn note_broken(&self, kind: &str, place: &Place, error: &watcher::Error) {
        let cause = match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => read_error(error),
            other => ReadError::Failed(other.to_string().chars().take(256).collect()),
        };
        let is_refused = matches!(
            error,
            watcher::Error::InitialListFailed(kube::Error::Api(status))
            | watcher::Error::WatchStartFailed(kube::Error::Api(status))
                if matches!(status.code, 401 | 403 | 404)
        );
        if is_refused {
            // What was known is not followed any more: it is asked for from now on.
            debug!(kind, "stores of this kind cannot be watched: {cause}");
            self.retain(kind, place, &HashSet::new());
        } else {
            warn!(kind, "the watch of stores broke: {cause}");
        }
    }
}

/// Whether a change from `old` to `new` may help those who failed with the store: it can be used now, and could not before or is
/// another one.
fn helps(old: Option<&Known>, new: &Known) -> bool {
    let Ok(new) = new else { return false };
    if !is_open(new) {
        return false;
    }
    match old {
        Some(Ok(old)) => {
            !is_open(old)
                || !is_ready(old) && is_ready(new)
                || old.generation != new.generation
                || old.uid != new.uid
                || old.caller != new.caller
        }
        Some(Err(_)) | None => true,
    }
}

/// Whether nobody waits for it, as far as the store itself says (B4).
fn is_open(store: &Store) -> bool {
    let ready = store.ready();
    !store.is_gated || ready.is_some_and(|ready| ready.status != ConditionStatus::False)
}

fn is_ready(store: &Store) -> bool {
    let ready = store.ready();
    ready.is_some_and(|ready| ready.status == ConditionStatus::True)
}

/// Reads from a [`StoreCache`], and what it does not know through GETs.
#[derive(Clone)]
pub struct CachedReader {
    cache: StoreCache,
    api: ApiReader,
}

// === impl CachedReader ===

impl CachedReader {
    /// Reads from `cache`, else through `client`.
    #[must_use]
    pub fn new(cache: StoreCache, client: Client) -> Self {
        Self {
            cache,
            api: ApiReader::new(client),
        }
    }

    /// Reads only what an agent that works in `namespaces` may read.
    #[must_use]
    pub fn limited_to(self, namespaces: WatchNamespaces) -> Self {
        Self {
            api: self.api.limited_to(namespaces),
            ..self
        }
    }
}

impl StoreReader for CachedReader {
    async fn store(&self, key: &StoreKey) -> Result<Arc<Store>, ReadError> {
        match self.cache.get(key) {
            Some(known) => known,
            None => self.api.store(key).await,
        }
    }

    async fn namespace_labels(
        &self,
        name: &str,
    ) -> Result<Arc<std::collections::BTreeMap<String, String>>, ReadError> {
        self.api.namespace_labels(name).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::model::fixtures::namespaced;
    use super::*;

    fn store(generation: i64, ready: Option<&str>, gating: &str) -> Known {
        let mut store = namespaced(json!({}), json!({ "gatingPolicy": gating }));
        store.generation = Some(generation);
        let conditions = ready.map(|status| json!({ "type": "Ready", "status": status }));
        let conditions: Vec<_> = conditions.into_iter().collect();
        store.status = serde_json::from_value(json!({ "conditions": conditions })).unwrap();
        Ok(Arc::new(store))
    }

    #[test]
    fn a_store_helps_those_who_failed_when_it_opens_or_is_another() {
        // pushsecret-and-stores.md B4, X-142
        let (ready, broken) = (
            |g| store(g, Some("True"), "Enabled"),
            |g| store(g, Some("False"), "Enabled"),
        );
        let unknown = || store(1, Some("Unknown"), "Enabled");
        let fresh = || store(1, None, "Enabled");
        let malformed = || Err(ReadError::Malformed("no".into()));
        for (name, old, new, wanted) in [
            ("created, nobody looked at it", None, fresh(), false),
            ("seen first when ready", None, ready(1), true),
            ("validated", Some(fresh()), ready(1), true),
            (
                "cannot be validated, which does not matter",
                Some(fresh()),
                unknown(),
                true,
            ),
            ("became ready", Some(broken(1)), ready(1), true),
            ("still ready", Some(ready(1)), ready(1), false),
            ("changed while ready", Some(ready(1)), ready(2), true),
            ("changed while broken", Some(broken(1)), broken(2), false),
            ("broke", Some(ready(1)), broken(1), false),
            ("understood again", Some(malformed()), ready(1), true),
            ("not understood", Some(ready(1)), malformed(), false),
            (
                "open by its policy, created",
                None,
                store(1, None, "Disabled"),
                true,
            ),
            (
                "open by its policy, became ready",
                Some(store(1, Some("False"), "Disabled")),
                store(1, Some("True"), "Disabled"),
                true,
            ),
        ] {
            assert_eq!(helps(old.as_ref(), &new), wanted, "{name}");
        }
    }

    #[test]
    fn what_is_not_new_is_not_told_and_what_a_list_lacks_is_gone() {
        let (cache, key) = (StoreCache::default(), StoreKey::namespaced("team-a", "bao"));
        assert_eq!(cache.get(&key), None);
        assert_eq!(
            cache.put(&key, store(1, Some("True"), "Enabled")),
            Some(true)
        );
        assert_eq!(cache.put(&key, store(1, Some("True"), "Enabled")), None);
        assert_eq!(
            cache.put(&key, store(1, Some("False"), "Enabled")),
            Some(false)
        );
        assert!(cache.get(&key).is_some_and(|known| known.is_ok()));
        let cluster = StoreKey::cluster("bao");
        cache.put(&cluster, store(1, None, "Enabled"));
        cache.retain("SecretStore", &Place::of("team-b"), &HashSet::new());
        assert!(cache.get(&key).is_some(), "another namespace's list");
        cache.retain("SecretStore", &Place::all(), &HashSet::new());
        assert_eq!(cache.get(&key), None);
        assert_eq!(cache.all().len(), 1);
        drop(Emptied(&cache));
        assert_eq!(cache.get(&cluster), None);
    }
}

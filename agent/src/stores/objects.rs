//! Changes of the configuration objects that stores name (`pushsecret-and-stores.md` B2, X-142).
//!
//! Their metadata is watched, kind by kind, as far as any store names one and the agent may: they belong to providers, and nothing else
//! of them is of interest here. Where a kind may not be watched, a change is noticed when its store is validated again.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use kube::api::{Api, DynamicObject, PartialObjectMeta};
use kube::core::GroupVersionKind;
use kube::discovery::{self, Scope};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Resource as _, ResourceExt as _};
use latchkey_crds::secret_store::AuthenticationScope;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use super::cache::StoreCache;
use super::model::{Store, StoreKey};
use crate::namespaces::{Place, WatchNamespaces};

/// The API groups whose kinds are watched; what the chart's RBAC allows.
const GROUPS: [&str; 2] = [
    "provider.secretstore.external-secrets.io",
    "provider.generator.external-secrets.io",
];
/// The most kinds that are watched: stores may name any.
const MOST_KINDS: usize = 32;
/// Time until it is looked again whether a kind is served.
const PAUSE: Duration = Duration::from_secs(60);
/// Longest wait for the answer to that.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What happened to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// The store itself changed, in a way that may help those who failed with it or in another.
    Store {
        /// Whether it may help.
        helps: bool,
    },
    /// The object that it names changed.
    Object {
        /// The only namespace whose callers that concerns; `None` means all.
        callers: Option<&'a str>,
    },
}

/// Fills `cache` with stores and generators of `namespaces`, and tells what happens to them and to the objects that they
/// name. Runs until it is dropped.
pub async fn follow(
    client: &Client,
    namespaces: &WatchNamespaces,
    cache: &StoreCache,
    told: impl Fn(&StoreKey, Change<'_>) + Send + Sync,
) {
    let changed = Notify::new();
    let stores = cache.follow(client, namespaces, |key, helps| {
        changed.notify_one();
        told(key, Change::Store { helps });
    });
    let objects = async {
        let mut kinds: HashSet<GroupVersionKind> = HashSet::new();
        let mut watches = FuturesUnordered::new();
        loop {
            for kind in kinds_of(cache) {
                if kinds.len() < MOST_KINDS && kinds.insert(kind.clone()) {
                    for place in namespaces.places() {
                        watches.push(follow_kind(client, kind.clone(), place, cache, &told));
                    }
                }
            }
            tokio::select! {
                () = changed.notified() => {}
                // They do not end.
                Some(()) = watches.next() => {}
            }
        }
    };
    tokio::join!(stores, objects);
}

/// The kinds that are worth a watch.
fn kinds_of(cache: &StoreCache) -> HashSet<GroupVersionKind> {
    let stores = cache.all();
    stores.iter().filter_map(|store| kind_of(store)).collect()
}

fn kind_of(store: &Store) -> Option<GroupVersionKind> {
    let reference = &store.provider.provider_ref;
    let (group, version) = reference.api_version().split_once('/')?;
    GROUPS
        .contains(&group)
        .then(|| GroupVersionKind::gvk(group, version, &reference.kind))
}

/// Whether `store` names the object of its kind with that namespace and name, and then the only namespace whose callers reach it so.
fn names<'a>(store: &Store, namespace: &'a str, name: &str) -> Option<Option<&'a str>> {
    let reference = &store.provider.provider_ref;
    if reference.name != name {
        return None;
    }
    let named = reference.namespace.as_deref().unwrap_or_default();
    match (store.key.is_cluster(), store.scope) {
        (false, _) => (store.key.namespace == namespace).then_some(None),
        // The caller's own (provider-protocol.md 9.3).
        (true, AuthenticationScope::ManifestNamespace) if !store.key.is_generator() => {
            Some(Some(namespace))
        }
        (true, _) => (named == namespace).then_some(None),
    }
}

async fn follow_kind(
    client: &Client,
    kind: GroupVersionKind,
    place: Place,
    cache: &StoreCache,
    told: &(impl Fn(&StoreKey, Change<'_>) + Send + Sync),
) {
    let api = find(client, &kind, &place).await;
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    let mut seen = Seen::default();
    while let Some(event) = events.next().await {
        let touched = match event {
            Ok(event) => seen.note(event),
            Err(error) => {
                debug!(kind = kind.kind, %error, "objects of this kind cannot be watched");
                continue;
            }
        };
        let Some((namespace, name)) = touched else {
            continue;
        };
        for store in cache.all() {
            if kind_of(&store).as_ref() == Some(&kind)
                && let Some(callers) = names(&store, &namespace, &name)
            {
                told(&store.key, Change::Object { callers });
            }
        }
    }
}

type Metadata = PartialObjectMeta<DynamicObject>;

/// Waits until the kind is served.
async fn find(client: &Client, kind: &GroupVersionKind, place: &Place) -> Api<Metadata> {
    let mut is_told = false;
    loop {
        match timeout(REQUEST_TIMEOUT, discovery::pinned_kind(client, kind)).await {
            Ok(Ok((resource, capabilities))) => {
                return match place.namespace() {
                    Some(namespace) if capabilities.scope == Scope::Namespaced => {
                        Api::namespaced_with(client.clone(), namespace, &resource)
                    }
                    _ => Api::all_with(client.clone(), &resource),
                };
            }
            Ok(Err(_)) | Err(_) => {
                if !is_told {
                    info!(
                        kind = kind.kind,
                        group = kind.group,
                        "this kind of provider object is not served"
                    );
                }
                is_told = true;
                sleep(PAUSE).await;
            }
        }
    }
}

/// The objects of one kind by namespace and name, with what tells one state of their spec from another.
#[derive(Default)]
struct Seen {
    versions: HashMap<(String, String), String>,
    /// Whether a whole list was read: what the first one shows is not news.
    is_complete: bool,
}

// === impl Seen ===

impl Seen {
    /// Takes note of an event and returns the object if its spec changed, or it came or went.
    fn note(&mut self, event: Event<Metadata>) -> Option<(String, String)> {
        match event {
            Event::Init => None,
            Event::InitDone => {
                self.is_complete = true;
                None
            }
            Event::InitApply(object) | Event::Apply(object) => {
                let key = place(&object);
                let generation = object.meta().generation;
                let version = generation.map_or_else(
                    || object.resource_version().unwrap_or_default(),
                    |generation| format!("{} {generation}", object.uid().unwrap_or_default()),
                );
                let old = self.versions.insert(key.clone(), version);
                (self.is_complete && old.as_ref() != self.versions.get(&key)).then_some(key)
            }
            Event::Delete(object) => {
                let key = place(&object);
                self.versions.remove(&key);
                Some(key)
            }
        }
    }
}

fn place(object: &Metadata) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::model::fixtures::{cluster, cluster_generator, generator, namespaced};
    use super::*;

    #[test]
    fn a_change_concerns_the_stores_that_name_the_object() {
        let named = |namespace: &str| json!({ "providerRef": { "namespace": namespace } });
        let manifest = || json!({ "authenticationScope": "ManifestNamespace" });
        for (what, store, namespace, wanted) in [
            (
                "its own",
                namespaced(json!({}), json!({})),
                "team-a",
                Some(None),
            ),
            (
                "another's",
                namespaced(json!({}), json!({})),
                "team-b",
                None,
            ),
            ("cluster", cluster(named("p"), json!({})), "p", Some(None)),
            (
                "cluster, elsewhere",
                cluster(named("p"), json!({})),
                "team-a",
                None,
            ),
            (
                "the caller's",
                cluster(json!({}), manifest()),
                "team-b",
                Some(Some("team-b")),
            ),
            (
                "a generator's",
                generator(json!({}), json!({})),
                "team-a",
                Some(None),
            ),
            (
                "a cluster generator's",
                cluster_generator(
                    named("p"),
                    json!({ "authenticationNamespace": "ManifestReference" }),
                ),
                "p",
                Some(None),
            ),
        ] {
            let name = store.provider.provider_ref.name.clone();
            assert_eq!(names(&store, namespace, &name), wanted, "{what}");
            assert_eq!(names(&store, namespace, "another"), None, "{what}");
        }
    }

    #[test]
    fn only_kinds_of_providers_are_watched() {
        let with = |api_version: &str| {
            namespaced(
                json!({ "providerRef": { "apiVersion": api_version, "kind": "Fake" } }),
                json!({}),
            )
        };
        let group = "provider.secretstore.external-secrets.io";
        let found = kind_of(&with(&format!("{group}/v2alpha1")));
        assert_eq!(
            found,
            Some(GroupVersionKind::gvk(group, "v2alpha1", "Fake"))
        );
        for other in ["apps/v1", "external-secrets.io/v1", "v1"] {
            assert_eq!(kind_of(&with(other)), None, "{other}");
        }
    }

    #[test]
    fn only_changes_of_what_was_seen_before_are_news() {
        let object = |name: &str, generation: Option<i64>, version: &str| -> Metadata {
            serde_json::from_value(json!({
                "metadata": { "namespace": "a", "name": name, "uid": "u", "generation": generation, "resourceVersion": version },
            }))
            .unwrap()
        };
        let touched = |name: &str| Some((String::from("a"), name.to_owned()));
        let mut seen = Seen::default();
        assert_eq!(seen.note(Event::Init), None);
        assert_eq!(seen.note(Event::InitApply(object("x", Some(1), "1"))), None);
        assert_eq!(seen.note(Event::InitDone), None);
        assert_eq!(
            seen.note(Event::Apply(object("x", Some(1), "2"))),
            None,
            "its status"
        );
        assert_eq!(
            seen.note(Event::Apply(object("x", Some(2), "3"))),
            touched("x")
        );
        assert_eq!(
            seen.note(Event::Apply(object("y", None, "1"))),
            touched("y")
        );
        assert_eq!(
            seen.note(Event::Apply(object("y", None, "2"))),
            touched("y")
        );
        // A new list after the watch broke tells only what is new.
        seen.note(Event::Init);
        assert_eq!(seen.note(Event::InitApply(object("x", Some(2), "9"))), None);
        assert_eq!(
            seen.note(Event::InitApply(object("z", Some(1), "9"))),
            touched("z")
        );
        assert_eq!(
            seen.note(Event::Delete(object("x", Some(2), "10"))),
            touched("x")
        );
    }
}

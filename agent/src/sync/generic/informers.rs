//! One watch for each kind that is the target of an ExternalSecret (`externalsecret.md` 5.5).
//!
//! A watch begins with the first target that was written or found valid, is shared by all ExternalSecrets with targets of its kind,
//! and ends with the last of them. It asks for the metadata of objects with our label only. One that cannot be started, because the
//! rights are missing, says so in the log and goes on trying.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::{BoxStream, SelectAll};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, DynamicObject, PartialObjectMeta};
use kube::discovery::ApiResource;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::super::backoff::Key;
use super::super::names;
use super::super::watched::Watched;
use super::{Gvk, TargetId};
use crate::complaints::describe_watch;
use crate::namespaces::{Place, WatchNamespaces};

/// ExternalSecrets that may wait for being looked at. A watch that finds no place waits.
const MOST_WAITING: usize = 64;

type Partial = PartialObjectMeta<DynamicObject>;

/// The running watches. They end when this is dropped.
pub(in super::super) struct Informers {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    _stop: DropGuard,
}

struct Shared {
    client: Client,
    namespaces: WatchNamespaces,
    watched: Arc<Watched>,
    running: Mutex<HashSet<Gvk>>,
    triggers: mpsc::Sender<Key>,
    stop: CancellationToken,
}

/// What a watch has shown of a kind.
#[derive(Default)]
struct Seen {
    objects: HashMap<Key, Known>,
    /// Those of the list that the watch is reading, if it is.
    listed: Option<HashSet<Key>>,
}

struct Known {
    uid: String,
    fingerprint: u64,
}

/// An object whose ExternalSecrets are to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Touched {
    key: Key,
    /// Its UID, if it is gone or has lost our label: only a look can tell.
    lost: Option<String>,
}

// === impl Informers ===

impl Informers {
    /// No watches yet, and the ExternalSecrets that watches will want to be looked at. Only `namespaces` are watched.
    pub(in super::super) fn new(
        client: Client,
        namespaces: WatchNamespaces,
        watched: Arc<Watched>,
    ) -> (Self, mpsc::Receiver<Key>) {
        let (triggers, triggered) = mpsc::channel(MOST_WAITING);
        let stop = CancellationToken::new();
        let shared = Shared {
            client,
            namespaces,
            watched,
            running: Mutex::default(),
            triggers,
            stop: stop.clone(),
        };
        let informers = Self {
            shared: Arc::new(shared),
            tasks: TaskTracker::new(),
            _stop: stop.drop_guard(),
        };
        (informers, triggered)
    }

    /// Has objects of a kind watched, as long as there is an ExternalSecret with a target of it.
    pub(super) fn hold(&self, gvk: &Gvk, resource: &ApiResource) {
        if !self.shared.running.lock().insert(gvk.clone()) {
            return;
        }
        info!("watching targets of the kind {gvk}");
        let (shared, gvk, resource) = (Arc::clone(&self.shared), gvk.clone(), resource.clone());
        self.tasks.spawn(async move {
            let stop = shared.stop.clone();
            stop.run_until_cancelled(shared.follow(&gvk, &resource))
                .await;
        });
    }
}

// === impl Shared ===

impl Shared {
    /// Follows a kind until nobody has a target of it.
    async fn follow(&self, gvk: &Gvk, resource: &ApiResource) {
        let mut events = self.events(resource);
        let mut seen: HashMap<Place, Seen> = HashMap::new();
        let mut is_broken = false;
        loop {
            // Before the look, so that no release in between is missed.
            let released = self.watched.released.notified();
            if self.retires(gvk) {
                info!("no target of the kind {gvk} is left to watch");
                return;
            }
            let event = tokio::select! {
                event = events.next() => event,
                () = released => continue,
            };
            match event {
                Some((place, Ok(event))) => {
                    is_broken = false;
                    let touched = seen.entry(place).or_default().note(&event);
                    self.tell(gvk, touched).await;
                }
                Some((place, Err(error))) => {
                    let error = describe_watch(&error);
                    if is_broken {
                        debug!("the watch of {gvk} in {place} is still broken: {error}");
                    } else {
                        warn!("the watch of {gvk} in {place} broke: {error}");
                    }
                    is_broken = true;
                }
                None => {
                    self.running.lock().remove(gvk);
                    return;
                }
            }
        }
    }

    /// What the watches of a kind show, one for each place.
    fn events(
        &self,
        resource: &ApiResource,
    ) -> SelectAll<BoxStream<'static, (Place, watcher::Result<Event<Partial>>)>> {
        let managed = watcher::Config::default().labels(&format!("{}=true", names::MANAGED_LABEL));
        let watches = self.namespaces.places().into_iter().map(|place| {
            let client = self.client.clone();
            let api: Api<Partial> = match place.namespace() {
                Some(namespace) => Api::namespaced_with(client, namespace, resource),
                None => Api::all_with(client, resource),
            };
            let events = watcher(api, managed.clone()).default_backoff();
            events.map(move |event| (place.clone(), event)).boxed()
        });
        futures::stream::select_all(watches)
    }

    /// Ends a watch that nobody needs, in one step with [`Informers::hold`].
    fn retires(&self, gvk: &Gvk) -> bool {
        let mut running = self.running.lock();
        let retires = !self.watched.uses(gvk);
        if retires {
            running.remove(gvk);
        }
        retires
    }

    async fn tell(&self, gvk: &Gvk, touched: Vec<Touched>) {
        for Touched { key, lost } in touched {
            let target = TargetId {
                gvk: gvk.clone(),
                namespace: key.0,
                name: key.1,
            };
            for writer in self.watched.note_generic(&target, lost) {
                // The receiver lives as long as the controller.
                if self.triggers.send(writer).await.is_err() {
                    return;
                }
            }
        }
    }
}

// === impl Seen ===

impl Seen {
    /// Takes note of a watch event and returns the objects that it tells something about.
    fn note(&mut self, event: &Event<Partial>) -> Vec<Touched> {
        match event {
            Event::Apply(object) | Event::InitApply(object) => {
                let key = key(&object.metadata);
                if let Some(listed) = &mut self.listed {
                    listed.insert(key.clone());
                }
                let known = Known {
                    uid: object.metadata.uid.clone().unwrap_or_default(),
                    fingerprint: fingerprint(&object.metadata),
                };
                let fingerprint = known.fingerprint;
                let before = self.objects.insert(key.clone(), known);
                if before.is_some_and(|before| before.fingerprint == fingerprint) {
                    return Vec::new();
                }
                vec![Touched { key, lost: None }]
            }
            Event::Delete(object) => {
                let key = key(&object.metadata);
                self.objects.remove(&key);
                let lost = Some(object.metadata.uid.clone().unwrap_or_default());
                vec![Touched { key, lost }]
            }
            Event::Init => {
                self.listed = Some(HashSet::new());
                Vec::new()
            }
            Event::InitDone => {
                // Deletions while the watch was broken are not told: what the new list lacks is gone.
                let listed = self.listed.take().unwrap_or_default();
                let gone = self.objects.extract_if(|key, _| !listed.contains(key));
                gone.map(|(key, known)| Touched {
                    key,
                    lost: Some(known.uid),
                })
                .collect()
            }
        }
    }
}

fn key(metadata: &ObjectMeta) -> Key {
    (
        metadata.namespace.clone().unwrap_or_default(),
        metadata.name.clone().unwrap_or_default(),
    )
}

/// What tells whether an object deserves a look: all of its metadata, but for the resource version where a generation tells the same
/// of its content without counting changes of its status.
fn fingerprint(metadata: &ObjectMeta) -> u64 {
    let has_generation = metadata.generation.is_some_and(|generation| generation > 0);
    let telling = ObjectMeta {
        managed_fields: None,
        resource_version: metadata
            .resource_version
            .clone()
            .filter(|_| !has_generation),
        ..metadata.clone()
    };
    let mut hasher = DefaultHasher::new();
    serde_json::to_vec(&telling)
        .unwrap_or_default()
        .hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(name: &str, change: Value) -> Partial {
        let mut metadata =
            json!({ "name": name, "namespace": "a", "uid": "u", "resourceVersion": "1" });
        let fields = change.as_object().unwrap().clone();
        metadata.as_object_mut().unwrap().extend(fields);
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    fn names(touched: Vec<Touched>) -> Vec<(String, Option<String>)> {
        let touched = touched.into_iter();
        touched
            .map(|touched| (touched.key.1, touched.lost))
            .collect()
    }

    #[test]
    fn changes_of_content_and_metadata_are_told_and_those_of_a_status_are_not() {
        // externalsecret.md 2.1, 5.5
        let mut seen = Seen::default();
        let mut is_told = |change: Value| {
            let event = Event::Apply(object("x", change));
            !seen.note(&event).is_empty()
        };
        assert!(is_told(json!({ "generation": 1 })), "new");
        assert!(
            !is_told(json!({ "generation": 1, "resourceVersion": "2" })),
            "status"
        );
        let managed_fields = json!([{ "manager": "m" }]);
        assert!(!is_told(
            json!({ "generation": 1, "managedFields": managed_fields })
        ));
        assert!(is_told(json!({ "generation": 2 })));
        assert!(is_told(json!({ "generation": 2, "labels": { "a": "b" } })));
        assert!(is_told(
            json!({ "generation": 2, "annotations": { "a": "b" } })
        ));
        assert!(is_told(json!({ "generation": 2, "uid": "v" })), "recreated");
        // ConfigMaps have no generation.
        assert!(is_told(json!({})));
        assert!(!is_told(json!({})));
        assert!(is_told(json!({ "resourceVersion": "2" })));
    }

    #[test]
    fn what_goes_is_told_by_its_uid_also_if_it_went_unseen() {
        let mut seen = Seen::default();
        for name in ["x", "y"] {
            seen.note(&Event::Apply(object(name, json!({}))));
        }
        let lost = |name: &str| vec![(name.to_owned(), Some("u".to_owned()))];
        let gone = seen.note(&Event::Delete(object("x", json!({}))));
        assert_eq!(names(gone), lost("x"));
        assert!(seen.note(&Event::Init).is_empty());
        let listed = seen.note(&Event::InitApply(object("z", json!({}))));
        assert_eq!(names(listed), [("z".to_owned(), None)]);
        assert_eq!(names(seen.note(&Event::InitDone)), lost("y"));
        assert!(seen.note(&Event::Init).is_empty());
        assert!(
            seen.note(&Event::InitApply(object("z", json!({}))))
                .is_empty(),
            "unchanged"
        );
        assert!(seen.note(&Event::InitDone).is_empty());
    }
}

//! Watched copies of the resources that configure stores, so that a read does not cost a call to the API server.
//!
//! The first request for a kind in a namespace starts one watch of that kind there; until it has caught up, while it is
//! broken, and where this server may not watch, the resource is read one by one. An object that the copy lacks is read too:
//! it may be younger than the last event.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

/// Most watches; kinds in further namespaces are read one by one. Each is a connection to the API server.
const MAX_WATCHES: usize = 64;
/// How long a watch that is not permitted rests.
const DENIED_PAUSE: Duration = Duration::from_secs(300);

/// The watches of a process. Dropping it ends them.
#[derive(Default)]
pub(super) struct Watches(Mutex<Running>);

#[derive(Default)]
struct Running {
    copies: HashMap<(TypeId, String), Arc<dyn Any + Send + Sync>>,
    tasks: JoinSet<()>,
}

/// The objects of one kind in one namespace, as far as the watch has told.
struct Copy<K: 'static + Resource<DynamicType = ()>> {
    store: reflector::Store<K>,
    current: AtomicBool,
}

// === impl Watches ===

impl Watches {
    /// The object, if a watch that is up to date knows it.
    pub(super) fn find<K>(&self, client: &Client, namespace: &str, name: &str) -> Option<Arc<K>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + Sync
            + 'static,
    {
        let copy = self.copy::<K>(client, namespace)?;
        if !copy.current.load(Ordering::Acquire) {
            return None;
        }
        copy.store.get(&ObjectRef::new(name).within(namespace))
    }

    fn copy<K>(&self, client: &Client, namespace: &str) -> Option<Arc<Copy<K>>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + Sync
            + 'static,
    {
        let key = (TypeId::of::<K>(), namespace.to_owned());
        let mut running = self.0.lock();
        if let Some(copy) = running.copies.get(&key) {
            return copy.clone().downcast().ok();
        }
        if running.copies.len() >= MAX_WATCHES {
            return None;
        }
        let (store, writer) = reflector::store();
        let copy = Arc::new(Copy {
            store,
            current: AtomicBool::new(false),
        });
        running.tasks.spawn(follow(
            Api::namespaced(client.clone(), namespace),
            writer,
            copy.clone(),
        ));
        running.copies.insert(key, copy.clone());
        Some(copy)
    }
}

/// Keeps a copy up to date for as long as the process runs.
async fn follow<K>(api: Api<K>, mut writer: reflector::store::Writer<K>, copy: Arc<Copy<K>>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let mut events = watcher(api, watcher::Config::default())
        .default_backoff()
        .boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                writer.apply_watcher_event(&event);
                // While a new list comes in, the copy is still the old one.
                let listing = matches!(event, watcher::Event::Init | watcher::Event::InitApply(_));
                copy.current.store(!listing, Ordering::Release);
            }
            Err(error) => {
                copy.current.store(false, Ordering::Release);
                if is_denied(&error) {
                    tracing::info!(kind = %K::kind(&()), "not permitted to watch, reading one by one");
                    tokio::time::sleep(DENIED_PAUSE).await;
                }
            }
        }
    }
}

fn is_denied(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => {
            matches!(error, kube::Error::Api(status) if matches!(status.code, 401 | 403))
        }
        watcher::Error::WatchError(status) => status.code == 403,
        watcher::Error::NoResourceVersion => false,
    }
}

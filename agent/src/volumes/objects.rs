//! The ExternalSecrets that volumes of this node use, each watched by name.
//!
//! RBAC: `get`, `list`, `watch` on `externalsecrets.external-secrets.io`; nothing else. A watch carries the field selector
//! `metadata.name`, so an agent sees only the objects that pods of its node name (csi.md 9.4).

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use kube::core::DeserializeGuard;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use latchkey_crds::external_secret::ExternalSecret;

use super::failure::clip;

/// Names one ExternalSecret of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What is known of one object.
#[derive(Clone, Debug)]
pub enum Sight {
    /// The object as it is now.
    Present(Box<ExternalSecret>),
    /// There is no such object.
    Missing,
    /// The object exists and cannot be understood; the text says why and is safe to show.
    Unreadable(String),
    /// The API server does not answer; what was known stays known. The text is safe to show.
    Trouble(String),
}

/// A way to follow single ExternalSecrets. The agent does it with a watch per object, tests with a channel.
pub trait Objects: Send + Sync + 'static {
    /// Follows one object: first what it is now, then each change. The watch ends when the stream is dropped.
    fn follow(&self, key: &ObjectKey) -> BoxStream<'static, Sight>;
}

/// [`Objects`] of a real API server.
#[derive(Clone)]
pub struct KubeObjects(Client);

// === impl KubeObjects ===

impl KubeObjects {
    /// Follows objects through `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self(client)
    }
}

impl Objects for KubeObjects {
    fn follow(&self, key: &ObjectKey) -> BoxStream<'static, Sight> {
        let api: Api<DeserializeGuard<ExternalSecret>> =
            Api::namespaced(self.0.clone(), &key.namespace);
        let config = watcher::Config::default().fields(&format!("metadata.name={}", key.name));
        watcher(api, config)
            .default_backoff()
            .scan(false, |listed, event| {
                let sight = to_sight(listed, event);
                futures::future::ready(Some(stream::iter(sight)))
            })
            .flatten()
            .boxed()
    }
}

type GuardedEvent = Result<watcher::Event<DeserializeGuard<ExternalSecret>>, watcher::Error>;

/// `listed` remembers whether the list in progress has shown the object.
fn to_sight(listed: &mut bool, event: GuardedEvent) -> Option<Sight> {
    match event {
        Ok(watcher::Event::Init) => {
            *listed = false;
            None
        }
        Ok(watcher::Event::InitApply(guard)) => {
            *listed = true;
            Some(read(guard))
        }
        Ok(watcher::Event::InitDone) => (!*listed).then_some(Sight::Missing),
        Ok(watcher::Event::Apply(guard)) => Some(read(guard)),
        Ok(watcher::Event::Delete(_)) => Some(Sight::Missing),
        Err(error) => Some(Sight::Trouble(clip(&error.to_string()))),
    }
}

fn read(guard: DeserializeGuard<ExternalSecret>) -> Sight {
    match guard.0 {
        Ok(mut object) => {
            object.metadata.managed_fields = None;
            object.status = None;
            Sight::Present(Box::new(object))
        }
        Err(invalid) => Sight::Unreadable(clip(&invalid.error)),
    }
}

//! The identity of this agent, which may not exist yet when it starts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use latchkey_transport::{
    FileNames, FollowOptions, Identity, follow_directory, wait_for_directory,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroize as _;

use crate::complaints::{Told, describe_watch};

/// The agent's own identity towards providers. Clones share it.
///
/// One of [`OwnIdentity::follow_secret`] (role `sync`) and [`OwnIdentity::follow_directory`] (role `node` alone) must run.
#[derive(Clone)]
pub struct OwnIdentity(Arc<Shared>);

struct Shared {
    current: watch::Sender<Option<Arc<Identity>>>,
    origin: String,
}

impl OwnIdentity {
    /// No identity yet. `origin` says in messages where it will come from, as in `Secret latchkey/latchkey-client-tls`.
    #[must_use]
    pub fn new(origin: impl Into<String>) -> Self {
        Self(Arc::new(Shared {
            current: watch::Sender::new(None),
            origin: origin.into(),
        }))
    }

    /// The identity, once there is one.
    #[must_use]
    pub fn load(&self) -> Option<Arc<Identity>> {
        self.0.current.borrow().clone()
    }

    /// Where it comes from.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    /// Follows the identity; connections made with an older one are drained by the pool.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Option<Arc<Identity>>> {
        self.0.current.subscribe()
    }

    /// Sets the identity.
    pub fn set(&self, identity: Identity) {
        self.0.current.send_if_modified(|current| {
            let is_new = current.as_ref().is_none_or(|current| current.fingerprint() != identity.fingerprint());
            if is_new {
                tracing::info!(origin = self.0.origin, identity = ?identity, "own identity is in use");
                *current = Some(Arc::new(identity));
            }
            is_new
        });
    }

    /// Keeps the identity equal to a Secret until `cancel`. A missing or broken Secret leaves the last one in use.
    pub async fn follow_secret(
        &self,
        client: Client,
        namespace: &str,
        name: &str,
        cancel: CancellationToken,
    ) {
        let api: Api<Secret> = Api::namespaced(client, namespace);
        let mut objects = watcher::watch_object(api, name).default_backoff().boxed();
        let told = Told::default();
        loop {
            let next = tokio::select! {
                () = cancel.cancelled() => return,
                next = objects.next() => next,
            };
            if matches!(next, Some(Ok(_))) {
                told.works(&());
            }
            match next {
                Some(Ok(Some(mut secret))) => {
                    match identity_of(secret.data.get_or_insert_default(), &Keys::default()) {
                        Ok(identity) => self.set(identity),
                        Err(error) => {
                            tracing::warn!(origin = self.0.origin, error, "own identity is refused")
                        }
                    }
                }
                Some(Ok(None)) => {
                    tracing::warn!(origin = self.0.origin, "own identity does not exist")
                }
                Some(Err(error)) => {
                    // Texts of decoding errors could quote the Secret; these do not.
                    let text = describe_watch(&error);
                    if told.is_news((), &text) {
                        tracing::warn!(
                            origin = self.0.origin,
                            "failed to watch the own identity, trying again: {text}"
                        );
                    }
                }
                None => return cancel.cancelled().await,
            }
        }
    }

    /// Keeps the identity equal to the files `ca.crt`, `tls.crt` and `tls.key` of a directory until `cancel`.
    pub async fn follow_directory(&self, directory: PathBuf, cancel: CancellationToken) {
        let (names, options) = (FileNames::default(), FollowOptions::default());
        let Some(shared) = wait_for_directory(&directory, &names, &options, &cancel).await else {
            return;
        };
        self.set((*shared.load()).clone());
        let mut changes = shared.changes();
        let following = follow_directory(shared.clone(), directory, names, options, cancel);
        let forwarding = async {
            while changes.changed().await.is_ok() {
                self.set((*shared.load()).clone());
            }
        };
        tokio::select! {
            () = following => {}
            () = forwarding => {}
        }
    }
}

/// Names of the keys of a Secret, where they are given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Keys {
    pub(crate) authority: Option<String>,
    pub(crate) certificate: Option<String>,
    pub(crate) key: Option<String>,
}

impl Keys {
    /// The names to read, given which exist: `client.*` before `tls.*`, which in upstream's shared Secret is the server's
    /// (P-TLS-1).
    pub(crate) fn names(&self, has: impl Fn(&str) -> bool) -> FileNames {
        let mut names = if has("client.crt") && has("client.key") {
            FileNames::client()
        } else {
            FileNames::default()
        };
        for (given, name) in [
            (&self.authority, &mut names.authority),
            (&self.certificate, &mut names.certificate),
            (&self.key, &mut names.key),
        ] {
            if let Some(given) = given {
                name.clone_from(given);
            }
        }
        names
    }
}

/// Makes an identity of a Secret's data, and wipes the data.
pub(crate) fn identity_of(
    data: &mut BTreeMap<String, ByteString>,
    keys: &Keys,
) -> Result<Identity, String> {
    let names = keys.names(|key| data.get(key).is_some_and(|value| !value.0.is_empty()));
    let get = |name: &str| match data.get(name) {
        Some(value) if !value.0.is_empty() => Ok(value.0.as_slice()),
        _ => Err(format!("{name} not found or empty")),
    };
    let made = (|| {
        let (authority, certificate, key) = (
            get(&names.authority)?,
            get(&names.certificate)?,
            get(&names.key)?,
        );
        Identity::from_pem(authority, certificate, key).map_err(|error| error.to_string())
    })();
    for value in data.values_mut() {
        value.0.zeroize();
    }
    made
}

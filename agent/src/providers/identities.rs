//! Which identity is shown to which provider (P-TLS-1).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, WeakShared};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;
use latchkey_transport::Identity;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::own::{Keys, OwnIdentity, identity_of};
use crate::stores::{CertificateSource, Usable};

/// How long material is used before it is read again; a change takes effect within twice this time.
const FRESH: Duration = Duration::from_secs(30);

/// How long material is kept for the case that it cannot be read again, so that volumes outlive an outage of the API server.
const KEPT: Duration = Duration::from_secs(60 * 60);

/// Most Secrets that are remembered.
const LIMIT: usize = 1024;

/// Longest wait for the API server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Upstream's Secret beside its providers (provider-protocol.md 8.2).
const SHARED_SECRET: &str = "external-secrets-provider-tls";

/// Why there is no identity to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityProblem {
    /// The agent's own identity does not exist yet; it comes without anyone's doing.
    #[error("{0}")]
    Pending(String),
    /// Material that a store names is missing or wrong; someone must act.
    #[error("{0}")]
    Wrong(String),
    /// It could not be read; trying again helps.
    #[error("{0}")]
    Unread(String),
}

/// Finds identities: a store's own certificate, else upstream's shared one, else the agent's.
pub struct Identities {
    own: OwnIdentity,
    place: Place,
    known: Mutex<HashMap<Wanted, Known>>,
    /// Those that go on: after a start, many stores ask for the same Secret at once.
    lookups: Mutex<HashMap<Wanted, WeakShared<BoxFuture<'static, Answer>>>>,
}

/// `None`: there is no such Secret.
type Answer = Result<Option<Arc<Identity>>, IdentityProblem>;

/// Where material of stores is.
#[derive(Clone)]
enum Place {
    /// Secrets, through the API.
    Api(Client),
    /// Mounted directories, one per Secret of the release namespace.
    Files { root: PathBuf, namespace: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Wanted {
    namespace: String,
    name: String,
    keys: Keys,
}

struct Known {
    at: Instant,
    /// `None`: there is no such Secret.
    identity: Option<Arc<Identity>>,
}

impl Identities {
    /// For the role `sync`: reads Secrets through the API.
    #[must_use]
    pub fn through_api(own: OwnIdentity, client: Client) -> Self {
        Self {
            own,
            place: Place::Api(client),
            known: Mutex::default(),
            lookups: Mutex::default(),
        }
    }

    /// For the role `node` alone: reads `<root>/<secret name>/`, where the chart mounts Secrets of `namespace`, the release's.
    #[must_use]
    pub fn from_files(own: OwnIdentity, root: PathBuf, namespace: String) -> Self {
        Self {
            own,
            place: Place::Files { root, namespace },
            known: Mutex::default(),
            lookups: Mutex::default(),
        }
    }

    /// The agent's own identity.
    #[must_use]
    pub fn own(&self) -> &OwnIdentity {
        &self.own
    }

    /// The identity to show to the provider of a store.
    ///
    /// # Errors
    ///
    /// [`IdentityProblem`], with a text that names the Secret and what to do, never its content.
    pub async fn resolve(&self, store: &Usable) -> Result<Arc<Identity>, IdentityProblem> {
        if let Some(source) = &store.certificate {
            return self.explicit(source).await;
        }
        // Discovery reads only beside the address (SB-22); a node reads no Secrets at all.
        if matches!(self.place, Place::Api(_))
            && let Some(namespace) = store.address.service_namespace()
        {
            let wanted = Wanted {
                namespace: namespace.into(),
                name: SHARED_SECRET.into(),
                keys: Keys::default(),
            };
            if let Some(identity) = self.read(wanted).await? {
                return Ok(identity);
            }
        }
        self.own.load().ok_or_else(|| {
            IdentityProblem::Pending(format!(
                "the client certificate of the agent is not there yet ({})",
                self.own.origin()
            ))
        })
    }

    async fn explicit(&self, source: &CertificateSource) -> Result<Arc<Identity>, IdentityProblem> {
        let (namespace, name) = (&source.namespace, &source.name);
        if let Place::Files {
            namespace: release, ..
        } = &self.place
            && namespace != release
        {
            return Err(IdentityProblem::Wrong(format!(
                "the client certificate in Secret {namespace}/{name} cannot be used for volumes on a node without the role sync: \
                 only Secrets of namespace {release} can be mounted, by the chart value node.clientCertificates"
            )));
        }
        let keys = Keys {
            authority: source.ca_key.clone(),
            certificate: source.cert_key.clone(),
            key: source.key_key.clone(),
        };
        let wanted = Wanted {
            namespace: namespace.clone(),
            name: name.clone(),
            keys,
        };
        self.read(wanted).await?.ok_or_else(|| {
            IdentityProblem::Wrong(match &self.place {
                Place::Api(_) => format!("the client certificate Secret {namespace}/{name} does not exist"),
                Place::Files { .. } => format!(
                    "the client certificate Secret {namespace}/{name} is not mounted on this node: add \"{name}\" to the chart \
                     value node.clientCertificates"
                ),
            })
        })
    }

    async fn read(&self, wanted: Wanted) -> Answer {
        let now = Instant::now();
        if let Some(known) = self.known.lock().get(&wanted)
            && now.duration_since(known.at) < FRESH
        {
            return Ok(known.identity.clone());
        }
        let found = self.lookup(&wanted).await;
        let mut known = self.known.lock();
        let identity = match (found, known.get(&wanted)) {
            // The last answer serves until the API server answers again; it keeps its age and is asked for again next time.
            (Err(IdentityProblem::Unread(_)), Some(known)) => return Ok(known.identity.clone()),
            (found, _) => found?,
        };
        known.retain(|_, known| now.duration_since(known.at) < KEPT);
        if known.len() < LIMIT || known.contains_key(&wanted) {
            known.insert(
                wanted,
                Known {
                    at: now,
                    identity: identity.clone(),
                },
            );
        }
        Ok(identity)
    }

    /// The lookup of `wanted` that goes on, else a new one. It ends when nobody waits for it any more.
    fn lookup(&self, wanted: &Wanted) -> Shared<BoxFuture<'static, Answer>> {
        let mut lookups = self.lookups.lock();
        if let Some(lookup) = lookups.get(wanted).and_then(WeakShared::upgrade) {
            return lookup;
        }
        lookups.retain(|_, lookup| lookup.upgrade().is_some());
        let lookup = look_up(self.place.clone(), wanted.clone()).boxed().shared();
        if let Some(weak) = lookup.downgrade() {
            lookups.insert(wanted.clone(), weak);
        }
        lookup
    }
}

async fn look_up(place: Place, wanted: Wanted) -> Answer {
    let found = match place {
        Place::Api(client) => from_api(client, &wanted).await,
        Place::Files { root, .. } => from_directory(root.join(&wanted.name), &wanted).await,
    };
    found.map(|identity| identity.map(Arc::new))
}

async fn from_api(client: Client, wanted: &Wanted) -> Result<Option<Identity>, IdentityProblem> {
    let Wanted {
        namespace,
        name,
        keys,
    } = wanted;
    let api: Api<Secret> = Api::namespaced(client, namespace);
    let mut secret = match timeout(REQUEST_TIMEOUT, api.get_opt(name)).await {
        Ok(Ok(Some(secret))) => secret,
        Ok(Ok(None)) => return Ok(None),
        // Without the right to look, nothing was discovered.
        Ok(Err(kube::Error::Api(status))) if status.code == 403 && name == SHARED_SECRET => {
            return Ok(None);
        }
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            return Err(IdentityProblem::Wrong(format!(
                "failed to read Secret {namespace}/{name}: access is forbidden"
            )));
        }
        Ok(Err(kube::Error::Api(status))) => {
            return Err(IdentityProblem::Unread(format!(
                "failed to read Secret {namespace}/{name}: status {}",
                status.code
            )));
        }
        // Other texts could quote the Secret.
        Ok(Err(_)) => {
            return Err(IdentityProblem::Unread(format!(
                "failed to read Secret {namespace}/{name}"
            )));
        }
        Err(_) => {
            let limit = REQUEST_TIMEOUT.as_secs();
            return Err(IdentityProblem::Unread(format!(
                "reading Secret {namespace}/{name} took more than {limit} s"
            )));
        }
    };
    match identity_of(secret.data.get_or_insert_default(), keys) {
        Ok(identity) => Ok(Some(identity)),
        Err(error) => Err(IdentityProblem::Wrong(format!(
            "{error} in secret {namespace}/{name}"
        ))),
    }
}

async fn from_directory(
    directory: PathBuf,
    wanted: &Wanted,
) -> Result<Option<Identity>, IdentityProblem> {
    let Wanted {
        namespace,
        name,
        keys,
    } = wanted;
    // The name comes from an object and becomes a path.
    if Path::new(name).components().count() != 1 || name.starts_with('.') || name.contains('/') {
        return Err(IdentityProblem::Wrong(format!(
            "\"{name}\" is no name of a Secret"
        )));
    }
    let keys = keys.clone();
    let read = tokio::task::spawn_blocking(move || {
        if !directory.is_dir() {
            return Ok(None);
        }
        let names = keys.names(|key| directory.join(key).is_file());
        Identity::from_directory(&directory, &names)
            .map(Some)
            .map_err(|error| error.to_string())
    });
    match read.await {
        Ok(Ok(identity)) => Ok(identity),
        Ok(Err(error)) => Err(IdentityProblem::Wrong(format!(
            "{error} (mounted Secret {namespace}/{name})"
        ))),
        Err(_) => Err(IdentityProblem::Unread(format!(
            "failed to read the mounted Secret {namespace}/{name}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_who_ask_at_once_share_one_lookup_and_later_ones_look_again() {
        let root = tempfile::tempdir().unwrap();
        let own = OwnIdentity::new("none");
        let identities = Identities::from_files(own, root.path().to_owned(), "latchkey".into());
        let wanted = |name: &str| Wanted {
            namespace: "latchkey".into(),
            name: name.into(),
            keys: Keys::default(),
        };
        let (first, second) = (
            identities.lookup(&wanted("a")),
            identities.lookup(&wanted("a")),
        );
        assert!(first.ptr_eq(&second));
        assert!(!first.ptr_eq(&identities.lookup(&wanted("b"))));
        assert!(first.await.unwrap().is_none());
        drop(second);
        std::fs::create_dir(root.path().join("a")).unwrap();
        let later = identities.lookup(&wanted("a")).await;
        assert!(
            matches!(later, Err(IdentityProblem::Wrong(_))),
            "an empty folder is a wrong identity"
        );
        assert_eq!(
            identities.lookups.lock().len(),
            1,
            "those that ended are forgotten"
        );
    }
}

//! Which resource of the API server a kind is.

use std::collections::HashMap;

use kube::Client;
use kube::core::GroupVersionKind;
use kube::discovery::{self, ApiResource, Scope};
use kube::error::DiscoveryError;
use parking_lot::Mutex;

use super::super::target::{RequestError, bounded};
use super::Gvk;

/// The most kinds that are remembered.
const MOST_KINDS: usize = 256;

/// Resources by kind, asked for once each.
pub(in super::super) struct Kinds {
    client: Client,
    known: Mutex<HashMap<Gvk, ApiResource>>,
}

/// Why a kind is of no use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    /// The API server does not serve it, now.
    #[error("no matches for kind \"{}\" in version \"{}\"", .0.kind, .0.api_version())]
    Missing(Gvk),
    /// Its objects are in no namespace, so that an ExternalSecret has nothing to do with them.
    #[error("objects of kind \"{}\" in version \"{}\" are not in a namespace", .0.kind, .0.api_version())]
    InNoNamespace(Gvk),
    /// The API server did not tell.
    #[error(transparent)]
    Request(RequestError),
}

// === impl Kinds ===

impl Kinds {
    pub(in super::super) fn new(client: Client) -> Self {
        Self {
            client,
            known: Mutex::default(),
        }
    }

    /// The resource of a kind. One that is not served is asked for again each time.
    pub(super) async fn find(&self, gvk: &Gvk) -> Result<ApiResource, Error> {
        if let Some(known) = self.known.lock().get(gvk) {
            return Ok(known.clone());
        }
        if !gvk.is_plausible() {
            return Err(Error::Missing(gvk.clone()));
        }
        let wanted = GroupVersionKind::from(gvk);
        let request = async {
            match discovery::pinned_kind(&self.client, &wanted).await {
                Ok(found) => Ok(Some(found)),
                Err(kube::Error::Discovery(DiscoveryError::MissingKind(_))) => Ok(None),
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
                Err(error) => Err(error),
            }
        };
        match bounded(request).await.map_err(Error::Request)? {
            None => Err(Error::Missing(gvk.clone())),
            Some((_, capabilities)) if capabilities.scope == Scope::Cluster => {
                Err(Error::InNoNamespace(gvk.clone()))
            }
            Some((resource, _)) => {
                let mut known = self.known.lock();
                if known.len() >= MOST_KINDS {
                    known.clear();
                }
                known.insert(gvk.clone(), resource.clone());
                Ok(resource)
            }
        }
    }

    /// Has a kind asked for again: it may have gone.
    pub(super) fn forget(&self, gvk: &Gvk) {
        self.known.lock().remove(gvk);
    }
}

//! Where stores and the labels of namespaces come from.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, PartialObjectMeta};
use latchkey_crds::generator::{ClusterGenerator, Generator};
use latchkey_crds::secret_store::{ClusterSecretStore, SecretStore};

use super::model::{Store, StoreKey};
use crate::namespaces::WatchNamespaces;

/// Longest wait for one answer of the API server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Why an object could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is no such object.
    #[error("not found")]
    Missing,
    /// The object is there and cannot be understood.
    #[error("it cannot be decoded: {0}")]
    Malformed(String),
    /// It lies where this agent does not look.
    #[error("{0}")]
    OutOfReach(String),
    /// The API server did not answer, or refused.
    #[error("{0}")]
    Failed(String),
}

/// Why an agent that works in `namespaces` cannot read a store or generator, if it cannot: without a ClusterRole it has no permission
/// on what exists outside namespaces.
#[must_use]
pub fn unreachable(key: &StoreKey, namespaces: &WatchNamespaces) -> Option<String> {
    if namespaces.is_all() || !key.is_cluster() && namespaces.contains(&key.namespace) {
        return None;
    }
    let more = if key.is_cluster() {
        " and reads nothing outside namespaces"
    } else {
        ""
    };
    Some(format!(
        "{key} cannot be used: this agent works in {namespaces} only{more}"
    ))
}

/// Reads stores and namespaces.
pub trait StoreReader: Send + Sync + 'static {
    /// The store as it is now.
    ///
    /// # Errors
    ///
    /// [`ReadError::Missing`] only if it certainly does not exist.
    fn store(&self, key: &StoreKey) -> impl Future<Output = Result<Arc<Store>, ReadError>> + Send;

    /// The labels of a namespace as they are now (SB-08).
    ///
    /// # Errors
    ///
    /// As for [`StoreReader::store`].
    fn namespace_labels(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Arc<BTreeMap<String, String>>, ReadError>> + Send;
}

/// Reads with one GET each time. For the role `sync`, which asks once per pass.
#[derive(Clone)]
pub struct ApiReader {
    client: Client,
    namespaces: WatchNamespaces,
}

impl ApiReader {
    /// Reads through `client`, whatever there is.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            namespaces: WatchNamespaces::all(),
        }
    }

    /// Reads only what an agent that works in `namespaces` may read.
    #[must_use]
    pub fn limited_to(self, namespaces: WatchNamespaces) -> Self {
        Self { namespaces, ..self }
    }
}

impl StoreReader for ApiReader {
    async fn store(&self, key: &StoreKey) -> Result<Arc<Store>, ReadError> {
        if let Some(reason) = unreachable(key, &self.namespaces) {
            return Err(ReadError::OutOfReach(reason));
        }
        let client = self.client.clone();
        let store = match (key.is_generator(), key.is_cluster()) {
            (false, false) => {
                let api: Api<SecretStore> = Api::namespaced(client, &key.namespace);
                Store::from(&within(api.get(&key.name)).await?)
            }
            (false, true) => {
                let api: Api<ClusterSecretStore> = Api::all(client);
                Store::from(&within(api.get(&key.name)).await?)
            }
            (true, false) => {
                let api: Api<Generator> = Api::namespaced(client, &key.namespace);
                Store::from(&within(api.get(&key.name)).await?)
            }
            (true, true) => {
                let api: Api<ClusterGenerator> = Api::all(client);
                Store::from(&within(api.get(&key.name)).await?)
            }
        };
        Ok(Arc::new(store))
    }

    async fn namespace_labels(
        &self,
        name: &str,
    ) -> Result<Arc<BTreeMap<String, String>>, ReadError> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let found: PartialObjectMeta<Namespace> = within(api.get_metadata(name)).await?;
        Ok(Arc::new(found.metadata.labels.unwrap_or_default()))
    }
}

async fn within<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ReadError> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(Ok(object)) => Ok(object),
        Ok(Err(error)) => Err(read_error(&error)),
        Err(_) => Err(ReadError::Failed(format!(
            "no answer within {} s",
            REQUEST_TIMEOUT.as_secs()
        ))),
    }
}

/// Puts an error of the API into words. Stores and namespaces hold no secret values, so the texts may be shown.
pub(super) fn read_error(error: &kube::Error) -> ReadError {
    match error {
        kube::Error::Api(status) if status.code == 404 => ReadError::Missing,
        kube::Error::Api(status) => ReadError::Failed(status.message.clone()),
        kube::Error::SerdeError(error) => {
            ReadError::Malformed(error.to_string().chars().take(256).collect())
        }
        other => ReadError::Failed(other.to_string().chars().take(256).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_of_some_namespaces_reads_their_stores_and_nothing_outside_namespaces() {
        let some = WatchNamespaces::of(["a", "b"]);
        for (key, text) in [
            (StoreKey::namespaced("a", "s"), None),
            (StoreKey::generator("b", "g"), None),
            (
                StoreKey::namespaced("c", "s"),
                Some("SecretStore \"s\" cannot be used: this agent works in namespaces a, b only"),
            ),
            (
                StoreKey::cluster("s"),
                Some(
                    "ClusterSecretStore \"s\" cannot be used: this agent works in namespaces a, b only and reads nothing outside \
                     namespaces",
                ),
            ),
            (
                StoreKey::cluster_generator("g"),
                Some(
                    "ClusterGenerator \"g\" cannot be used: this agent works in namespaces a, b only and reads nothing outside \
                     namespaces",
                ),
            ),
        ] {
            assert_eq!(unreachable(&key, &some).as_deref(), text);
            assert_eq!(unreachable(&key, &WatchNamespaces::all()), None);
        }
    }
}

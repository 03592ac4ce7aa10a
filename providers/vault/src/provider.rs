//! The backend as a provider server's [`Provider`].

use latchkey_crds::provider_vault::HashicorpVault;
use latchkey_provider_sdk::{
    Capability, Cluster, Provider, RemoteRef, RequestContext, Result, ServedKind, Validation,
};
use latchkey_secret::{SecretData, SecretValue};

use crate::backend::{Backend, Store};
use crate::credentials::ClusterCredentials;
use crate::settings::Settings;

/// The kind that this server serves. Its ability is that of the kind (providers specification 2.9): a write is refused as
/// unimplemented until it is.
pub const KIND: ServedKind = ServedKind {
    api_version: "provider.secretstore.external-secrets.io/v2alpha1",
    kind: "HashicorpVault",
    capability: Capability::ReadWrite,
};

/// Serves HashicorpVault resources of the cluster.
pub struct VaultProvider {
    cluster: Cluster,
    backend: Backend,
}

// === impl VaultProvider ===

impl VaultProvider {
    /// Serves the resources that `cluster` has through `backend`.
    #[must_use]
    pub fn new(cluster: Cluster, backend: Backend) -> Self {
        Self { cluster, backend }
    }

    /// The store of a request. The resource is read for each request, so that a change counts with the next one.
    async fn store(&self, context: &RequestContext) -> Result<Store> {
        let vault = self.cluster.resource::<HashicorpVault>(context).await?;
        let reference = context.provider();
        Ok(Store {
            namespace: reference.namespace.clone(),
            name: reference.name.clone(),
            revision: format!(
                "{}/{}",
                vault.metadata.uid.as_deref().unwrap_or_default(),
                vault.metadata.generation.unwrap_or_default()
            ),
            settings: Settings::try_from_spec(&vault.spec)?,
        })
    }
}

impl Provider for VaultProvider {
    fn kinds(&self) -> &[ServedKind] {
        std::slice::from_ref(&KIND)
    }

    async fn get_secret(
        &self,
        context: &RequestContext,
        remote: &RemoteRef,
    ) -> Result<SecretValue> {
        let store = self.store(context).await?;
        let credentials = ClusterCredentials::new(&self.cluster, context);
        self.backend.get_secret(&store, &credentials, remote).await
    }

    async fn get_secret_map(
        &self,
        context: &RequestContext,
        remote: &RemoteRef,
    ) -> Result<SecretData> {
        let store = self.store(context).await?;
        let credentials = ClusterCredentials::new(&self.cluster, context);
        self.backend
            .get_secret_map(&store, &credentials, remote)
            .await
    }

    async fn validate(&self, context: &RequestContext) -> Result<Validation> {
        let store = self.store(context).await?;
        let credentials = ClusterCredentials::new(&self.cluster, context);
        self.backend.validate(&store, &credentials).await
    }

    async fn shutdown(&self) {
        self.backend.shutdown().await;
    }
}

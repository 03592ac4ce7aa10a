//! Where the references of a resource are looked up.

use std::future::Future;

use latchkey_provider_sdk::{
    CallerToken, Cluster, Credential, CredentialScope, ErrorClass, KeySelector, ProviderError,
    RequestContext, ServiceAccountSelector,
};
use latchkey_secret::SecretValue;

use crate::settings::KeyReference;

/// Token of the pod that this server runs in.
const OWN_TOKEN_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The cluster as one request sees it: lookups with the namespace rules of its store.
///
/// It is a trait so that the backend can be exercised against a real Vault without a cluster, with given values.
pub trait CredentialSource: Send + Sync {
    /// Where credentials are looked up by default; part of what distinguishes cached tokens.
    fn namespace(&self) -> &str;

    /// The reconcile that a read belongs to, if the caller names one: its reads share one fetch (providers specification 2.6).
    fn reconcile_id(&self) -> Option<&str> {
        None
    }

    /// The token of the pod that a read is for, if the agent sent one. Nobody has verified it.
    fn caller(&self) -> Option<&CallerToken> {
        None
    }

    /// Whether the store is cluster-wide, so that a reference may and sometimes must name its namespace.
    fn is_cluster_wide(&self) -> bool;

    /// Reads one key of a Secret.
    ///
    /// # Errors
    ///
    /// `CREDENTIALS_NOT_FOUND`, `INVALID_CONFIG` and the others of [`Cluster::secret_key`].
    fn secret_key(
        &self,
        selector: KeySelector<'_>,
    ) -> impl Future<Output = Result<Credential, ProviderError>> + Send;

    /// Reads one key of a ConfigMap.
    ///
    /// # Errors
    ///
    /// As for [`CredentialSource::secret_key`].
    fn config_map_key(
        &self,
        selector: KeySelector<'_>,
    ) -> impl Future<Output = Result<Credential, ProviderError>> + Send;

    /// Requests a token of a service account for ten minutes.
    ///
    /// # Errors
    ///
    /// As for [`CredentialSource::secret_key`].
    fn service_account_token(
        &self,
        selector: ServiceAccountSelector<'_>,
    ) -> impl Future<Output = Result<SecretValue, ProviderError>> + Send;

    /// Reads the token of this server's own pod.
    ///
    /// # Errors
    ///
    /// `CREDENTIALS_NOT_FOUND` outside of a pod or where its token is not mounted.
    fn own_pod_token(&self) -> impl Future<Output = Result<SecretValue, ProviderError>> + Send;
}

/// Lookups through the Kubernetes API.
pub struct ClusterCredentials<'a> {
    cluster: &'a Cluster,
    context: &'a RequestContext,
    scope: CredentialScope,
}

// === impl ClusterCredentials ===

impl<'a> ClusterCredentials<'a> {
    /// Lookups in `cluster` under the rules of the request `context`.
    #[must_use]
    pub fn new(cluster: &'a Cluster, context: &'a RequestContext) -> Self {
        Self {
            cluster,
            context,
            scope: context.credential_scope(),
        }
    }
}

impl CredentialSource for ClusterCredentials<'_> {
    fn namespace(&self) -> &str {
        self.scope.namespace()
    }

    fn reconcile_id(&self) -> Option<&str> {
        self.context.reconcile_id()
    }

    fn caller(&self) -> Option<&CallerToken> {
        self.context.caller()?.token.as_ref()
    }

    fn is_cluster_wide(&self) -> bool {
        self.scope.follows_foreign_namespaces()
    }

    async fn secret_key(&self, selector: KeySelector<'_>) -> Result<Credential, ProviderError> {
        self.cluster.secret_key(&self.scope, selector).await
    }

    async fn config_map_key(&self, selector: KeySelector<'_>) -> Result<Credential, ProviderError> {
        self.cluster.config_map_key(&self.scope, selector).await
    }

    async fn service_account_token(
        &self,
        selector: ServiceAccountSelector<'_>,
    ) -> Result<SecretValue, ProviderError> {
        let token = self
            .cluster
            .service_account_token(&self.scope, selector, &[], None)
            .await?;
        Ok(token.token)
    }

    async fn own_pod_token(&self) -> Result<SecretValue, ProviderError> {
        match tokio::fs::read(OWN_TOKEN_FILE).await {
            Ok(token) => Ok(SecretValue::new(token)),
            Err(error) => Err(ProviderError::new(
                ErrorClass::CredentialsNotFound,
                format!(
                    "failed to read the service account token of this pod: {}",
                    error.kind()
                ),
            )),
        }
    }
}

// === impl KeyReference ===

impl KeyReference {
    /// The reference in the form that lookups take.
    pub(crate) fn selector(&self) -> KeySelector<'_> {
        KeySelector {
            name: &self.name,
            namespace: self.namespace.as_deref(),
            key: &self.key,
        }
    }
}

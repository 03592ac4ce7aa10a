//! The server's window on its own Kubernetes cluster: the resource that configures a store, and the credentials it names.
//!
//! Reads `get` (and, where permitted, `watch`) of the served kinds, `get` of Secrets and ConfigMaps, `create` of
//! `serviceaccounts/token`; nothing is listed that holds secret bytes, and nothing is written.
//!
//! Every failure has a class of its own and none of them is "secret not found": a deleted credential must never look like a
//! deleted secret (P-04).
//!
//! Where there is no Kubernetes, the same objects are manifests in a directory ([`Cluster::of_manifests`]); that place has no
//! tokens of service accounts.

mod calls;
mod manifests;
mod watch;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use kube::api::{Api, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};
use latchkey_crds::selectors;
use latchkey_secret::SecretValue;
use serde::de::DeserializeOwned;

use self::calls::{Object, bounded, get};
use crate::error::{ErrorClass, ProviderError, Result};
use crate::request::{CredentialScope, RequestContext};

/// Default life of a requested service account token.
const TOKEN_LIFETIME: Duration = Duration::from_secs(600);

/// A value of a Secret or ConfigMap that a resource refers to, borrowed from that resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySelector<'a> {
    /// Name of the object.
    pub name: &'a str,
    /// Namespace, `None` or empty for that of the scope.
    pub namespace: Option<&'a str>,
    /// Key in the object's data.
    pub key: &'a str,
}

/// A service account that a resource refers to, borrowed from that resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceAccountSelector<'a> {
    /// Name of the account.
    pub name: &'a str,
    /// Namespace, `None` or empty for that of the scope.
    pub namespace: Option<&'a str>,
    /// Audiences that the resource asks for.
    pub audiences: &'a [String],
}

/// A credential with the version of the object it came from; the version takes part in cache keys, so that a rotated
/// credential takes effect with the next request (specification 2.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The bytes, exactly as stored.
    pub value: SecretValue,
    /// Namespace, name and resource version of the object, in one opaque string.
    pub version: String,
}

/// A token of a service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccountToken {
    /// The token.
    pub token: SecretValue,
    /// Namespace of the account.
    pub namespace: String,
    /// Name of the account.
    pub name: String,
    /// When it expires, in seconds since the Unix epoch; `None` if the API server did not say.
    pub expires_at: Option<i64>,
}

/// Access to the cluster with the server's own identity, or to manifests in its place.
#[derive(Clone)]
pub struct Cluster {
    place: Place,
    credential_namespaces: Arc<BTreeSet<String>>,
}

/// Where objects are.
#[derive(Clone)]
enum Place {
    /// At the API server.
    Api {
        client: Client,
        watches: Arc<watch::Watches>,
    },
    /// In files.
    Manifests(manifests::Manifests),
}

// === impl selectors ===

impl<'a> KeySelector<'a> {
    /// The value that a selector of a resource addresses; `default_key` stands in for a key that is not given.
    #[must_use]
    pub fn with_default_key(
        selector: &'a selectors::SecretKeySelector,
        default_key: &'a str,
    ) -> Self {
        Self {
            name: &selector.name,
            namespace: selector.namespace.as_deref(),
            key: selector.key.as_deref().unwrap_or(default_key),
        }
    }
}

impl<'a> From<&'a selectors::SecretKeySelector> for KeySelector<'a> {
    fn from(selector: &'a selectors::SecretKeySelector) -> Self {
        Self::with_default_key(selector, "")
    }
}

impl<'a> From<&'a selectors::ServiceAccountSelector> for ServiceAccountSelector<'a> {
    fn from(selector: &'a selectors::ServiceAccountSelector) -> Self {
        Self {
            name: &selector.name,
            namespace: selector.namespace.as_deref(),
            audiences: &selector.audiences,
        }
    }
}

// === impl Cluster ===

impl Cluster {
    /// Wraps a client. An empty `credential_namespaces` leaves the limit to RBAC (specification 2.2, rule 5).
    #[must_use]
    pub fn new(client: Client, credential_namespaces: impl IntoIterator<Item = String>) -> Self {
        Self {
            place: Place::Api {
                client,
                watches: Arc::default(),
            },
            credential_namespaces: Arc::new(credential_namespaces.into_iter().collect()),
        }
    }

    /// Reads the manifests of a directory (`*.yaml`, `*.yml`, `*.json`) in place of a cluster. Each file may hold several objects.
    /// A change takes effect with the next request.
    ///
    /// A file counts only if it and the directory belong to root or to the user of this process and nobody else may write them;
    /// one that holds a Secret must not be readable for others either.
    ///
    /// # Errors
    ///
    /// The directory cannot be read, or others may write it; the text names it.
    pub fn of_manifests(
        directory: PathBuf,
        credential_namespaces: impl IntoIterator<Item = String>,
    ) -> std::io::Result<Self> {
        Ok(Self {
            place: Place::Manifests(manifests::Manifests::open(directory)?),
            credential_namespaces: Arc::new(credential_namespaces.into_iter().collect()),
        })
    }

    /// Reads the resource that configures the store of a request, from a watched copy where there is one. A change takes the
    /// time of a watch event to arrive.
    ///
    /// # Errors
    ///
    /// - [`ErrorClass::ConfigNotFound`] if it does not exist;
    /// - [`ErrorClass::InvalidConfig`] if it cannot be read as `K`;
    /// - [`ErrorClass::PermissionDenied`] if this server may not read it;
    /// - [`ErrorClass::BackendUnavailable`] if the API server does not answer.
    pub async fn resource<K>(&self, context: &RequestContext) -> Result<Arc<K>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + Sync
            + 'static,
    {
        let reference = context.provider();
        if let Place::Api { client, watches } = &self.place
            && let Some(found) = watches.find::<K>(client, &reference.namespace, &reference.name)
        {
            return Ok(found);
        }
        let object = Object {
            kind: &K::kind(&()),
            namespace: &reference.namespace,
            name: &reference.name,
        };
        self.get::<K>(object, ErrorClass::ConfigNotFound)
            .await
            .map(Arc::new)
    }

    async fn get<K>(&self, object: Object<'_>, missing: ErrorClass) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + 'static,
    {
        match &self.place {
            Place::Api { client, .. } => {
                let api: Api<K> = Api::namespaced(client.clone(), object.namespace);
                get(&api, object, missing).await
            }
            Place::Manifests(manifests) => manifests.get(object, missing).await,
        }
    }

    /// Reads one key of a Secret.
    ///
    /// # Errors
    ///
    /// - [`ErrorClass::InvalidConfig`] for a namespace that the scope does not allow (P-03);
    /// - [`ErrorClass::CredentialNamespaceDenied`] for one that this server must not read;
    /// - [`ErrorClass::CredentialsNotFound`] if the Secret or the key does not exist.
    pub async fn secret_key(
        &self,
        scope: &CredentialScope,
        selector: KeySelector<'_>,
    ) -> Result<Credential> {
        let namespace = self.allowed(scope, selector.namespace)?;
        let object = Object {
            kind: "secret",
            namespace,
            name: selector.name,
        };
        let mut secret = self
            .get::<Secret>(object, ErrorClass::CredentialsNotFound)
            .await?;
        let value = secret
            .data
            .as_mut()
            .and_then(|data| data.remove(selector.key));
        let value = value
            .map(|bytes| SecretValue::new(bytes.0))
            .ok_or_else(|| missing_key(selector.key));
        wipe(secret.data.take());
        Ok(Credential {
            value: value?,
            version: object.version(secret.metadata.resource_version.as_deref()),
        })
    }

    /// Reads one key of a ConfigMap (text or binary).
    ///
    /// # Errors
    ///
    /// As for [`Cluster::secret_key`].
    pub async fn config_map_key(
        &self,
        scope: &CredentialScope,
        selector: KeySelector<'_>,
    ) -> Result<Credential> {
        let namespace = self.allowed(scope, selector.namespace)?;
        let object = Object {
            kind: "configmap",
            namespace,
            name: selector.name,
        };
        let mut map = self
            .get::<ConfigMap>(object, ErrorClass::CredentialsNotFound)
            .await?;
        let text = map
            .data
            .as_mut()
            .and_then(|data| data.remove(selector.key))
            .map(String::into_bytes);
        let binary = || {
            map.binary_data
                .as_mut()
                .and_then(|data| data.remove(selector.key))
                .map(|bytes| bytes.0)
        };
        let value = text
            .or_else(binary)
            .map(SecretValue::new)
            .ok_or_else(|| missing_key(selector.key))?;
        Ok(Credential {
            value,
            version: object.version(map.metadata.resource_version.as_deref()),
        })
    }

    /// Requests a token of a service account. Its audiences are those of the selector followed by `audiences`; with none at
    /// all the API server's own audience is used.
    ///
    /// # Errors
    ///
    /// As for [`Cluster::secret_key`], for the account.
    pub async fn service_account_token(
        &self,
        scope: &CredentialScope,
        selector: ServiceAccountSelector<'_>,
        audiences: &[String],
        lifetime: Option<Duration>,
    ) -> Result<ServiceAccountToken> {
        let namespace = self.allowed(scope, selector.namespace)?;
        let object = Object {
            kind: "service account",
            namespace,
            name: selector.name,
        };
        let mut wanted: Vec<String> = Vec::new();
        for audience in selector.audiences.iter().chain(audiences) {
            if !wanted.contains(audience) {
                wanted.push(audience.clone());
            }
        }
        let seconds = lifetime
            .unwrap_or(TOKEN_LIFETIME)
            .as_secs()
            .max(TOKEN_LIFETIME.as_secs());
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: wanted,
                expiration_seconds: Some(i64::try_from(seconds).unwrap_or(i64::MAX)),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let Place::Api { client, .. } = &self.place else {
            return Err(ProviderError::invalid_config(format!(
                "there are no tokens of {object} without Kubernetes: refer to a Secret instead"
            )));
        };
        let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
        let parameters = PostParams::default();
        let answer = bounded(object, ErrorClass::CredentialsNotFound, async {
            api.create_token_request(object.name, &parameters, &request)
                .await
                .map(Some)
        })
        .await?;
        let status = answer.status.ok_or_else(|| {
            ProviderError::internal(format!(
                "token request for {object} came back without a token"
            ))
        })?;
        Ok(ServiceAccountToken {
            token: SecretValue::from(status.token),
            namespace: namespace.to_owned(),
            name: selector.name.to_owned(),
            expires_at: Some(status.expiration_timestamp.0.as_second()),
        })
    }

    /// Applies the scope's rule and the server's allow list to a selector's namespace.
    fn allowed<'a>(
        &self,
        scope: &'a CredentialScope,
        selector_namespace: Option<&'a str>,
    ) -> Result<&'a str> {
        let namespace = scope.resolve(selector_namespace)?;
        if namespace.is_empty() {
            return Err(ProviderError::invalid_argument(
                "source namespace is required",
            ));
        }
        check_allow_list(&self.credential_namespaces, namespace)?;
        Ok(namespace)
    }
}

fn check_allow_list(allowed: &BTreeSet<String>, namespace: &str) -> Result<()> {
    if allowed.is_empty() || allowed.contains(namespace) {
        return Ok(());
    }
    Err(ProviderError::new(
        ErrorClass::CredentialNamespaceDenied,
        format!("this server may not read credentials of namespace \"{namespace}\""),
    ))
}

fn missing_key(key: &str) -> ProviderError {
    ProviderError::credentials_not_found(format!("cannot find secret data for key: \"{key}\""))
}

/// Wipes the values of a Secret that were not asked for.
fn wipe(data: Option<std::collections::BTreeMap<String, k8s_openapi::ByteString>>) {
    for value in data
        .into_iter()
        .flat_map(std::collections::BTreeMap::into_values)
    {
        drop(SecretValue::new(value.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allow_list_limits_credential_namespaces() {
        let allowed = BTreeSet::from(["a".to_owned()]);
        assert!(check_allow_list(&allowed, "a").is_ok());
        assert!(check_allow_list(&BTreeSet::new(), "anything").is_ok());
        let error = check_allow_list(&allowed, "b").unwrap_err();
        assert_eq!(error.class(), ErrorClass::CredentialNamespaceDenied);
        assert_eq!(error.code(), tonic::Code::PermissionDenied);
    }
}

//! ConfigMaps and Secrets that hold templates, read from the API server by name when an ExternalSecret is rendered.
//!
//! Nothing is watched, listed or kept: what `templateFrom` needs is read anew with each fetch, as upstream does.
//!
//! | object | verbs | who |
//! |---|---|---|
//! | ConfigMaps | get | both roles |
//! | Secrets | get | an agent with the role `sync`; one without it refuses |

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;
use kube::{Client, Resource};
use latchkey_engine::template::{ObjectError, ObjectKind, TemplateObjects};
use latchkey_secret::{SecretData, SecretValue};
use serde::de::DeserializeOwned;
use zeroize::Zeroize as _;

/// Longest wait for one answer of the API server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// [`TemplateObjects`] of a real API server.
pub struct ApiObjects {
    client: Client,
    reads_secrets: bool,
}

// === impl ApiObjects ===

impl ApiObjects {
    /// Objects read through `client`; Secrets only if this process has the role `sync` and so the right to.
    #[must_use]
    pub fn new(client: Client, reads_secrets: bool) -> Self {
        Self {
            client,
            reads_secrets,
        }
    }

    async fn config_map(
        &self,
        namespace: &str,
        name: &str,
        keys: &BTreeSet<&str>,
    ) -> Result<SecretData, ObjectError> {
        let object: ConfigMap = get(self.client.clone(), namespace, name, "ConfigMap").await?;
        let texts = object.data.unwrap_or_default().into_iter();
        Ok(texts
            .filter(|(key, _)| keys.contains(key.as_str()))
            .map(|(key, text)| (key, SecretValue::from(text)))
            .collect())
    }

    async fn secret(
        &self,
        namespace: &str,
        name: &str,
        keys: &BTreeSet<&str>,
    ) -> Result<SecretData, ObjectError> {
        if !self.reads_secrets {
            return Err(ObjectError::Refused(format!(
                "the template needs Secret {name}, and in the modes Deployment and Disabled of sync.mode the agents that show \
                 volumes may not read Secrets: use a ConfigMap or a literal, or let a Secret be made"
            )));
        }
        let object: Secret = get(self.client.clone(), namespace, name, "Secret").await?;
        let mut wanted = SecretData::new();
        for (key, ByteString(mut bytes)) in object.data.unwrap_or_default() {
            if keys.contains(key.as_str()) {
                wanted.insert(key, SecretValue::new(bytes));
            } else {
                bytes.zeroize();
            }
        }
        Ok(wanted)
    }
}

impl TemplateObjects for ApiObjects {
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        kind: ObjectKind,
        name: &'a str,
        keys: &'a BTreeSet<&'a str>,
    ) -> BoxFuture<'a, Result<SecretData, ObjectError>> {
        match kind {
            ObjectKind::ConfigMap => self.config_map(namespace, name, keys).boxed(),
            ObjectKind::Secret => self.secret(namespace, name, keys).boxed(),
        }
    }
}

async fn get<K>(client: Client, namespace: &str, name: &str, kind: &str) -> Result<K, ObjectError>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client, namespace);
    match tokio::time::timeout(REQUEST_TIMEOUT, api.get(name)).await {
        Ok(Ok(object)) => Ok(object),
        Ok(Err(kube::Error::Api(status))) => Err(match status.code {
            404 => ObjectError::Missing(status.message.clone()),
            403 => ObjectError::Refused(status.message.clone()),
            code if status.message.is_empty() => ObjectError::Unavailable(format!(
                "failed to read {kind} {name}: the API server answered {code}"
            )),
            _ => ObjectError::Unavailable(status.message.clone()),
        }),
        // Other texts could quote the object.
        Ok(Err(_)) => Err(ObjectError::Unavailable(format!(
            "failed to read {kind} {name}"
        ))),
        Err(_) => Err(ObjectError::Unavailable(format!(
            "failed to read {kind} {name}: no answer within {} s",
            REQUEST_TIMEOUT.as_secs()
        ))),
    }
}

//! Reading and writing one Secret, so that its values stay in the wiping type and nobody's change is lost.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Client;
use kube::api::{Api, PostParams};
use latchkey_secret::{SecretData, SecretValue};
use tokio::time::timeout;

use super::{COMPONENT, COMPONENT_LABEL, MANAGED_BY, MANAGED_BY_LABEL, authority};

/// Longest time one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Why something could not be done. Never quotes content.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("failed to {verb} {kind} {namespace}/{name}: {reason}")]
    Request {
        verb: &'static str,
        kind: &'static str,
        namespace: String,
        name: String,
        reason: String,
    },
    #[error("secret {namespace}/{name} is not ours and cannot be used: {reason}")]
    Foreign {
        namespace: String,
        name: String,
        reason: String,
    },
    #[error("failed to make a certificate for {namespace}/{name}: {source}")]
    Certificate {
        namespace: String,
        name: String,
        source: authority::Error,
    },
}

pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

/// A Secret as it was read: its values moved into the wiping type.
pub(super) struct Observed {
    pub(super) metadata: ObjectMeta,
    kind: Option<String>,
    pub(super) data: SecretData,
}

// === impl Observed ===

impl Observed {
    /// Whether it carries our label.
    pub(super) fn is_ours(&self) -> bool {
        self.metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(MANAGED_BY_LABEL))
            .is_some_and(|by| by == MANAGED_BY)
    }
}

/// Reads a Secret.
pub(super) async fn read(client: &Client, namespace: &str, name: &str) -> Result<Option<Observed>> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = request("get", "secret", namespace, name, api.get_opt(name)).await?;
    Ok(secret.map(|secret| Observed {
        metadata: secret.metadata,
        kind: secret.type_,
        data: secret
            .data
            .into_iter()
            .flatten()
            .map(|(key, value)| (key, SecretValue::new(value.0)))
            .collect(),
    }))
}

/// Creates the Secret, or replaces it if it is still as observed; the API server refuses both if someone was faster.
pub(super) async fn write(
    client: &Client,
    namespace: &str,
    name: &str,
    kind: &str,
    observed: Option<Observed>,
    data: SecretData,
    owner: Option<&OwnerReference>,
) -> Result<()> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let parameters = PostParams {
        field_manager: Some(String::from("latchkey-certificates")),
        ..PostParams::default()
    };
    let exists = observed.is_some();
    let (mut metadata, kind) = observed.map_or_else(
        || {
            (
                ObjectMeta {
                    name: Some(name.to_owned()),
                    ..ObjectMeta::default()
                },
                kind.to_owned(),
            )
        },
        // The type of a Secret cannot be changed.
        |observed| {
            (
                observed.metadata,
                observed.kind.unwrap_or_else(|| kind.to_owned()),
            )
        },
    );
    metadata.managed_fields = None;
    let labels = metadata.labels.get_or_insert_default();
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned());
    labels.insert(COMPONENT_LABEL.to_owned(), COMPONENT.to_owned());
    if let Some(owner) = owner {
        // An owner of the same kind and name but another uid is gone; the garbage collector would follow it.
        let owners = metadata.owner_references.get_or_insert_default();
        owners.retain(|other| (&other.kind, &other.name) != (&owner.kind, &owner.name));
        owners.push(owner.clone());
    }
    let data = data
        .into_iter()
        .map(|(key, value)| (key, ByteString(value.expose().to_vec())))
        .collect();
    let secret = Secret {
        metadata,
        type_: Some(kind),
        data: Some(data),
        ..Secret::default()
    };
    let written = if exists {
        request(
            "update",
            "secret",
            namespace,
            name,
            api.replace(name, &parameters, &secret),
        )
        .await
    } else {
        request(
            "create",
            "secret",
            namespace,
            name,
            api.create(&parameters, &secret),
        )
        .await
    };
    // The plain copies that the API types need are wiped here; what the HTTP client holds is beyond reach.
    for value in secret.data.into_iter().flatten().map(|(_, value)| value.0) {
        drop(SecretValue::new(value));
    }
    written.map(|secret| {
        for value in secret.data.into_iter().flatten().map(|(_, value)| value.0) {
            drop(SecretValue::new(value));
        }
    })
}

/// What an error of the API server is about, without any content.
pub(super) fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.reason, status.code),
        kube::Error::SerdeError(_) => String::from("the answer cannot be decoded"),
        kube::Error::Auth(_) => String::from("the service account's token cannot be used"),
        kube::Error::HyperError(_) | kube::Error::Service(_) => {
            String::from("the API server cannot be reached")
        }
        _ => String::from("the request failed"),
    }
}

/// Makes one bounded request.
pub(super) async fn request<T>(
    verb: &'static str,
    kind: &'static str,
    namespace: &str,
    name: &str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T> {
    let reason = match timeout(REQUEST_TIMEOUT, call).await {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => words(&error),
        Err(_) => String::from("no answer in time"),
    };
    Err(Error::Request {
        verb,
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        reason,
    })
}

/// A reference to an owner in the core group.
pub(super) fn reference(kind: &str, name: &str, uid: String) -> OwnerReference {
    OwnerReference {
        api_version: String::from("v1"),
        kind: kind.to_owned(),
        name: name.to_owned(),
        uid,
        ..OwnerReference::default()
    }
}

/// Whether the owner is named already, or none is wanted.
pub(super) fn is_owned(metadata: &ObjectMeta, owner: Option<&OwnerReference>) -> bool {
    owner.is_none_or(|owner| {
        metadata
            .owner_references
            .iter()
            .flatten()
            .any(|other| other.uid == owner.uid)
    })
}

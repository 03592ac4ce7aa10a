//! What the engine asks, in the words of the wire, and what cannot be asked.

use latchkey_crds::external_secret::{
    ConversionStrategy, Find, RemoteRef, SecretStoreRef, StoreApi, StoreKind,
};
use latchkey_engine::source::{Caller, FailureClass, FetchError};
use latchkey_proto::provider::v1::{ExternalSecretDataRemoteRef, ExternalSecretFind, FindName};

use crate::stores::{ReadError, StoreKey};

/// What a message calls it.
pub(super) fn noun(key: &StoreKey) -> &'static str {
    if key.is_generator() {
        "generator"
    } else {
        "store"
    }
}

/// Which store a reference means. A SecretStore is always that of the caller's namespace (SB-01).
pub(super) fn key_of(caller: &Caller, reference: &SecretStoreRef) -> Result<StoreKey, FetchError> {
    if caller.namespace.is_empty() {
        return Err(failed(
            FailureClass::Denied,
            "a caller without namespace cannot use a store",
        ));
    }
    let name = reference.name();
    match reference.api() {
        Ok(StoreApi::V2Alpha1) => {}
        Ok(StoreApi::V1) => {
            return Err(failed(
                FailureClass::Configuration,
                format!(
                    "store \"{name}\" of external-secrets.io/v1 is not supported yet: set secretStoreRef.apiVersion to \
                     secretstore.external-secrets.io/v2alpha1 for a store of that API"
                ),
            ));
        }
        Err(error) => return Err(failed(FailureClass::Configuration, error.to_string())),
    }
    if name.is_empty() {
        return Err(failed(
            FailureClass::Configuration,
            "secretStoreRef.name is required",
        ));
    }
    Ok(match reference.kind() {
        StoreKind::SecretStore => StoreKey::namespaced(&caller.namespace, name),
        StoreKind::ClusterSecretStore => StoreKey::cluster(name),
    })
}

pub(super) fn could_not_get(key: &StoreKey, error: &ReadError) -> FetchError {
    let class = match error {
        ReadError::Missing => FailureClass::StoreMissing,
        ReadError::Malformed(_) | ReadError::OutOfReach(_) => FailureClass::Configuration,
        ReadError::Failed(_) => FailureClass::Unavailable,
    };
    let reason = match error {
        ReadError::OutOfReach(reason) => return failed(class, reason),
        ReadError::Missing => format!("{}.{} \"{}\" not found", key.kind(), key.group(), key.name),
        error => error.to_string(),
    };
    failed(class, format!("could not get {key}, {reason}"))
}

/// Everything is sent as written; decoding is the engine's work (provider-protocol.md 13.2).
pub(super) fn remote_of(remote: &RemoteRef) -> ExternalSecretDataRemoteRef {
    ExternalSecretDataRemoteRef {
        key: remote.key.clone(),
        version: remote.version.clone().unwrap_or_default(),
        property: remote.property.clone().unwrap_or_default(),
        decoding_strategy: remote
            .decoding_strategy
            .map(|strategy| strategy.as_str().to_owned())
            .unwrap_or_default(),
        metadata_policy: remote
            .metadata_policy
            .map(|policy| policy.as_str().to_owned())
            .unwrap_or_default(),
    }
}

/// A path and a name only if they are set; an absent conversion strategy means `Default`, and an absent expression matches
/// every name (provider-protocol.md 1.5, 13.2; providers.md 2.1).
pub(super) fn find_of(find: &Find) -> ExternalSecretFind {
    ExternalSecretFind {
        path: find.path.clone().unwrap_or_default(),
        name: find.name.as_ref().map(|name| FindName {
            regexp: name.regexp.clone().unwrap_or_default(),
        }),
        tags: find.tags.clone(),
        conversion_strategy: find
            .conversion_strategy
            .unwrap_or(ConversionStrategy::Default)
            .as_str()
            .to_owned(),
        decoding_strategy: find
            .decoding_strategy
            .map(|strategy| strategy.as_str().to_owned())
            .unwrap_or_default(),
    }
}

pub(super) fn failed(class: FailureClass, message: impl Into<String>) -> FetchError {
    FetchError::Failed {
        class,
        message: message.into(),
        retry_after: None,
    }
}

//! The target Secret: reading and writing it without leaving its bytes behind.
//!
//! Values move between the API type and the wiping one without being copied; what the API type still holds after a request is
//! overwritten. Error texts never quote a body: the client's own would.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{
    Api, DeleteParams, ListParams, PartialObjectMeta, Patch, PatchParams, PostParams, Preconditions,
};
use kube::core::Status;
use latchkey_engine::hash;
use latchkey_secret::{SecretData, SecretValue};
use serde_json::json;
use zeroize::Zeroize as _;

use super::names;
pub(super) use crate::api_server::describe;

/// Longest time one request may take.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A Secret as it was read or shall be written.
#[derive(Clone, Debug)]
pub(super) struct TargetSecret {
    pub(super) metadata: ObjectMeta,
    pub(super) type_: Option<String>,
    pub(super) immutable: Option<bool>,
    pub(super) data: SecretData,
}

/// A request that failed, in words that are safe to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RequestError {
    /// The object is not what it was when it was read.
    #[error("{0}")]
    Conflict(String),
    /// There is an object of that name.
    #[error("{0}")]
    AlreadyExists(String),
    /// The API server refuses the object as it is.
    #[error("{text}")]
    Invalid {
        /// In its words, which may quote values.
        text: String,
        /// Which fields are wrong, without what is in them.
        fields: String,
    },
    /// The object is gone.
    #[error("the object does not exist")]
    NotFound,
    /// The answer is not of the expected form.
    #[error("{0}")]
    Undecodable(String),
    /// The API server has too much to do.
    #[error("{text}")]
    Busy {
        /// In its words.
        text: String,
        /// When it wants to be asked again.
        retry_after: Duration,
    },
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

// === impl RequestError ===

impl RequestError {
    /// How long the API server asked to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}

// === impl TargetSecret ===

impl TargetSecret {
    /// Whether it carries our label.
    pub(super) fn is_managed(&self) -> bool {
        self.metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(names::MANAGED_LABEL))
            .is_some_and(|value| value == "true")
    }

    /// Whether label and digest say that it is as we wrote it (2.10).
    pub(super) fn is_intact(&self) -> bool {
        let annotations = self.metadata.annotations.as_ref();
        let stored =
            annotations.and_then(|annotations| annotations.get(names::DATA_HASH_ANNOTATION));
        self.is_managed()
            && stored.is_some_and(|stored| *stored == hash::of_secret_data(&self.data))
    }

    fn to_api(&self) -> Secret {
        let data = self
            .data
            .iter()
            .map(|(key, value)| (key.clone(), ByteString(value.expose().to_vec())));
        Secret {
            // Who owns which field is the API server's to say.
            metadata: ObjectMeta {
                managed_fields: None,
                ..self.metadata.clone()
            },
            type_: self.type_.clone(),
            immutable: self.immutable,
            data: Some(data.collect()),
            string_data: None,
        }
    }
}

impl From<Secret> for TargetSecret {
    fn from(secret: Secret) -> Self {
        let data = secret.data.unwrap_or_default();
        Self {
            metadata: secret.metadata,
            type_: secret.type_,
            immutable: secret.immutable,
            data: data
                .into_iter()
                .map(|(key, ByteString(bytes))| (key, SecretValue::new(bytes)))
                .collect(),
        }
    }
}

/// Overwrites the values that an API type holds.
fn wipe(mut secret: Secret) {
    for ByteString(bytes) in secret.data.iter_mut().flat_map(|data| data.values_mut()) {
        bytes.zeroize();
    }
}

/// Reads a target.
pub(super) async fn read(
    secrets: &Api<Secret>,
    name: &str,
) -> Result<Option<TargetSecret>, RequestError> {
    Ok(bounded(secrets.get_opt(name))
        .await?
        .map(TargetSecret::from))
}

/// Reads the metadata of a target: its values stay where they are.
pub(super) async fn read_metadata(
    secrets: &Api<Secret>,
    name: &str,
) -> Result<Option<ObjectMeta>, RequestError> {
    Ok(bounded(secrets.get_metadata_opt(name))
        .await?
        .map(|secret| secret.metadata))
}

/// Creates a target and returns its resource version.
pub(super) async fn create(
    secrets: &Api<Secret>,
    target: &TargetSecret,
    manager: &str,
) -> Result<Option<String>, RequestError> {
    let secret = target.to_api();
    let result = bounded(secrets.create(&parameters(manager), &secret)).await;
    wipe(secret);
    result.map(|mut written| {
        let version = written.metadata.resource_version.take();
        wipe(written);
        version
    })
}

/// Replaces a target, provided that it still is the one that was read, and returns its resource version.
pub(super) async fn update(
    secrets: &Api<Secret>,
    target: &TargetSecret,
    manager: &str,
) -> Result<Option<String>, RequestError> {
    let secret = target.to_api();
    let name = target.metadata.name.as_deref().unwrap_or_default();
    let result = bounded(secrets.replace(name, &parameters(manager), &secret)).await;
    wipe(secret);
    result.map(|mut written| {
        let version = written.metadata.resource_version.take();
        wipe(written);
        version
    })
}

fn parameters(manager: &str) -> PostParams {
    PostParams {
        field_manager: Some(manager.to_owned()),
        ..PostParams::default()
    }
}

/// Puts our label on a Secret, and nothing else.
pub(super) async fn adopt(
    secrets: &Api<Secret>,
    name: &str,
    manager: &str,
) -> Result<(), RequestError> {
    let patch = json!({ "metadata": { "labels": { names::MANAGED_LABEL: "true" } } });
    let parameters = PatchParams {
        field_manager: Some(manager.to_owned()),
        ..PatchParams::default()
    };
    bounded(secrets.patch_metadata(name, &parameters, &Patch::Merge(patch)))
        .await
        .map(drop)
}

/// Metadata of the Secrets with our owner label of this value.
pub(super) async fn labelled(
    secrets: &Api<Secret>,
    owner: &str,
) -> Result<Vec<PartialObjectMeta<Secret>>, RequestError> {
    let parameters = ListParams::default().labels(&format!("{}={owner}", names::OWNER_LABEL));
    Ok(bounded(secrets.list_metadata(&parameters)).await?.items)
}

/// Deletes a Secret, provided that it still is the one that was seen. One that is gone already is a success.
pub(super) async fn delete(secrets: &Api<Secret>, seen: &ObjectMeta) -> Result<(), RequestError> {
    let parameters = DeleteParams {
        preconditions: Some(Preconditions {
            uid: seen.uid.clone(),
            resource_version: seen.resource_version.clone(),
        }),
        ..DeleteParams::default()
    };
    let name = seen.name.as_deref().unwrap_or_default();
    let request = async {
        match secrets.delete(name, &parameters).await {
            Ok(outcome) => {
                // What is deleted may come back in full.
                if let Some(secret) = outcome.left() {
                    wipe(secret);
                }
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    };
    bounded(request).await
}

/// Runs a request within [`REQUEST_TIMEOUT`].
pub(super) async fn bounded<T>(
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, RequestError> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 && status.reason == "Conflict" => {
            Err(RequestError::Conflict(status.message))
        }
        Ok(Err(kube::Error::Api(status)))
            if status.code == 409 && status.reason == "AlreadyExists" =>
        {
            Err(RequestError::AlreadyExists(status.message))
        }
        Ok(Err(kube::Error::Api(status))) if status.code == 404 && status.reason == "NotFound" => {
            Err(RequestError::NotFound)
        }
        Ok(Err(kube::Error::Api(status))) if status.code == 422 => Err(RequestError::Invalid {
            fields: wrong_fields(&status),
            text: status.message,
        }),
        Ok(Err(error @ kube::Error::SerdeError(_))) => {
            Err(RequestError::Undecodable(describe(&error)))
        }
        Ok(Err(error)) => Err(match asked_wait(&error) {
            Some(retry_after) => RequestError::Busy {
                text: describe(&error),
                retry_after,
            },
            None => RequestError::Other(describe(&error)),
        }),
        Err(_) => Err(RequestError::Other(format!(
            "the API server did not answer within {} s",
            REQUEST_TIMEOUT.as_secs()
        ))),
    }
}

/// How long the API server asks to wait, if it does.
fn asked_wait(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else {
        return None;
    };
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// What is wrong with an object, without quoting what a template may have rendered: labels, annotations, keys and values.
fn wrong_fields(status: &Status) -> String {
    let details = status.details.as_ref();
    let kind = details.map(|details| details.kind.as_str());
    let name = details.map(|details| details.name.as_str());
    let causes: Vec<String> = details
        .into_iter()
        .flat_map(|details| &details.causes)
        .map(|cause| {
            let may_quote = cause.reason != "FieldValueRequired"
                && ["metadata.labels", "metadata.annotations", "data"]
                    .iter()
                    .any(|field| cause.field.starts_with(field));
            if may_quote {
                let field = cause.field.split('[').next().unwrap_or_default();
                format!("{field}: invalid, the value is left out")
            } else {
                format!("{}: {}", cause.field, cause.message)
            }
        })
        .collect();
    format!(
        "{} \"{}\" is invalid: {}",
        kind.unwrap_or_default(),
        name.unwrap_or_default(),
        causes.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_busy_api_server_is_told_from_one_that_refuses() {
        let answer = |code: u16, details: serde_json::Value| {
            let status = json!({ "code": code, "message": "slow down", "details": details });
            let status: Status = serde_json::from_value(status).unwrap();
            async { Err::<(), _>(kube::Error::Api(status.boxed())) }
        };
        for (code, details, wanted) in [
            (429, json!({ "retryAfterSeconds": 40 }), Some(40)),
            (503, json!({ "retryAfterSeconds": 1 }), Some(1)),
            (403, json!({}), None),
        ] {
            let error = bounded(answer(code, details)).await.unwrap_err();
            assert_eq!(
                error.retry_after(),
                wanted.map(Duration::from_secs),
                "{code}"
            );
            assert_eq!(error.to_string(), "slow down");
        }
    }

    #[test]
    fn wrong_fields_are_named_without_what_may_have_been_rendered() {
        let cause = |field: &str, reason: &str, message: &str| json!({ "field": field, "reason": reason, "message": message });
        let status: Status = serde_json::from_value(json!({
            "code": 422, "reason": "Invalid", "message": "canary",
            "details": { "name": "web", "kind": "Secret", "causes": [
                cause("metadata.labels", "FieldValueInvalid", "Invalid value: \"canary\": a valid label must be"),
                cause("metadata.annotations", "FieldValueTooLong", "Too long: canary"),
                cause("data[canary]", "FieldValueInvalid", "Invalid value: \"canary\""),
                cause("data[tls.crt]", "FieldValueRequired", "Required value"),
                cause("type", "FieldValueInvalid", "Invalid value: \"Opaque\": field is immutable"),
            ] },
        }))
        .unwrap();
        assert_eq!(
            wrong_fields(&status),
            "Secret \"web\" is invalid: metadata.labels: invalid, the value is left out, \
             metadata.annotations: invalid, the value is left out, data: invalid, the value is left out, \
             data[tls.crt]: Required value, type: Invalid value: \"Opaque\": field is immutable"
        );
    }
}

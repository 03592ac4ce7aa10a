//! Calls to the API server: bounded in time, and classified when they fail.

use std::fmt::Debug;
use std::time::Duration;

use kube::api::Api;
use serde::de::DeserializeOwned;

use crate::error::{ErrorClass, ProviderError, Result};

/// Longest wait for one answer of the API server.
const API_TIMEOUT: Duration = Duration::from_secs(10);

/// What a message calls an object.
#[derive(Clone, Copy)]
pub(super) struct Object<'a> {
    pub(super) kind: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

// === impl Object ===

impl Object<'_> {
    pub(super) fn version(self, resource_version: Option<&str>) -> String {
        format!(
            "{}/{}/{}@{}",
            self.kind,
            self.namespace,
            self.name,
            resource_version.unwrap_or_default()
        )
    }

    /// The text for an absent object; for a Secret it is upstream's (specification 2.2).
    pub(super) fn missing(self) -> String {
        match self.kind {
            "secret" => format!(
                "cannot get Kubernetes secret \"{}\" from namespace \"{}\"",
                self.name, self.namespace
            ),
            _ => format!("{self} does not exist"),
        }
    }
}

impl std::fmt::Display for Object<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{} \"{}\" in namespace \"{}\"",
            self.kind, self.name, self.namespace
        )
    }
}

pub(super) async fn get<K>(api: &Api<K>, object: Object<'_>, missing: ErrorClass) -> Result<K>
where
    K: Clone + DeserializeOwned + Debug,
{
    if object.name.is_empty() {
        return Err(ProviderError::new(
            missing,
            format!("the reference to a {} has no name", object.kind),
        ));
    }
    bounded(object, missing, api.get_opt(object.name)).await
}

/// Bounds an API call and classifies its failure. `missing` is the class of an absent object.
pub(super) async fn bounded<T>(
    object: Object<'_>,
    missing: ErrorClass,
    call: impl Future<Output = std::result::Result<Option<T>, kube::Error>>,
) -> Result<T> {
    match tokio::time::timeout(API_TIMEOUT, call).await {
        Ok(Ok(Some(found))) => Ok(found),
        Ok(Ok(None)) => Err(ProviderError::new(missing, object.missing())),
        Ok(Err(error)) => Err(classify(&error, object, missing)),
        Err(_elapsed) => Err(ProviderError::new(
            ErrorClass::BackendUnavailable,
            format!("the Kubernetes API server did not answer in time for {object}"),
        )),
    }
}

/// Turns an API failure into one of ours. The text of the library is dropped where it may quote an object.
fn classify(error: &kube::Error, object: Object<'_>, missing: ErrorClass) -> ProviderError {
    match error {
        kube::Error::Api(status) if status.code == 404 => {
            ProviderError::new(missing, object.missing())
        }
        kube::Error::Api(status) if matches!(status.code, 401 | 403) => ProviderError::new(
            if missing == ErrorClass::CredentialsNotFound {
                ErrorClass::CredentialNamespaceDenied
            } else {
                ErrorClass::PermissionDenied
            },
            format!("this server is not permitted to read {object}"),
        ),
        kube::Error::Api(status) if status.code == 429 || status.code >= 500 => ProviderError::new(
            ErrorClass::BackendUnavailable,
            format!(
                "the Kubernetes API server answered {} for {object}",
                status.code
            ),
        ),
        kube::Error::Api(status) => ProviderError::new(
            ErrorClass::Internal,
            format!(
                "the Kubernetes API server answered {} for {object}",
                status.code
            ),
        ),
        kube::Error::SerdeError(_) => ProviderError::new(
            ErrorClass::InvalidConfig,
            format!("{object} does not have the expected shape"),
        ),
        _ => ProviderError::new(
            ErrorClass::BackendUnavailable,
            format!("the Kubernetes API server could not be reached for {object}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api_error(code: u16) -> kube::Error {
        kube::Error::Api(Box::new(kube::core::Status {
            code,
            ..kube::core::Status::default()
        }))
    }

    #[test]
    fn no_answer_of_the_api_server_means_a_missing_secret() {
        let object = Object {
            kind: "secret",
            namespace: "n",
            name: "s",
        };
        for missing in [ErrorClass::ConfigNotFound, ErrorClass::CredentialsNotFound] {
            for code in [400, 401, 403, 404, 409, 410, 422, 429, 500, 503] {
                let error = classify(&api_error(code), object, missing);
                assert_ne!(error.code(), tonic::Code::NotFound, "{code}");
                assert_eq!(error.class() == missing, code == 404, "{code}");
            }
        }
    }

    #[test]
    fn a_missing_secret_object_has_upstreams_text() {
        let object = Object {
            kind: "secret",
            namespace: "n",
            name: "s",
        };
        let error = classify(&api_error(404), object, ErrorClass::CredentialsNotFound);
        assert_eq!(
            error.message(),
            "cannot get Kubernetes secret \"s\" from namespace \"n\""
        );
    }
}

//! `provider.v1.SecretStoreProvider` in front of a [`Provider`]: checks requests, bounds calls, maps errors, counts;
//! [`GeneratorService`] does the same for `generator.v1.GeneratorProvider`.
//!
//! The order of checks is that of upstream's adapter (provider-protocol.md 2): operand, source namespace, reference, kind.

mod calls;
mod convert;
mod generators;

use std::sync::Arc;

use latchkey_proto::provider::v1 as wire;
use latchkey_proto::provider::v1::secret_store_provider_server::SecretStoreProvider;
use latchkey_secret::SecretValue;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::error::{ErrorClass, ProviderError, Result};
use crate::metrics::Metrics;
use crate::provider::Provider;
use crate::request::{
    Capability, METADATA_AUTH_NAMESPACE, METADATA_RECONCILE_ID, Operation, ProviderReference, Push,
    RequestContext, ServedKind, Validation,
};
pub(crate) use calls::Calls;
use convert::{exposed, find, never_not_found, push_remote_ref, remote_ref, text, verdict};
pub use generators::GeneratorService;

/// Bounds of the service.
#[derive(Clone, Copy, Debug)]
pub struct ServiceLimits {
    /// Calls in flight, all clients together.
    pub max_concurrent_requests: usize,
    /// Bytes of names and values in one answer.
    pub max_response_bytes: usize,
    /// Entries in one answer of a find.
    pub find_max_results: usize,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            max_concurrent_requests: 256,
            max_response_bytes: 4 << 20,
            find_max_results: 10_000,
        }
    }
}

/// The service.
pub struct StoreService<P> {
    provider: Arc<P>,
    calls: Calls,
}

// === impl StoreService ===

impl<P: Provider> StoreService<P> {
    /// Puts the service in front of `provider`.
    #[must_use]
    pub fn new(provider: Arc<P>, metrics: Metrics, limits: ServiceLimits) -> Self {
        Self::within(provider, Calls::new(metrics, limits))
    }

    /// The same within limits that other services of the process share.
    pub(crate) fn within(provider: Arc<P>, calls: Calls) -> Self {
        Self { provider, calls }
    }

    /// Checks what all requests have in common.
    fn context(
        &self,
        operation: Operation,
        metadata: &MetadataMap,
        reference: Option<wire::ProviderReference>,
        source_namespace: &str,
    ) -> Result<(RequestContext, ServedKind)> {
        if source_namespace.is_empty() && !operation.may_lack_source_namespace() {
            return Err(ProviderError::invalid_argument(
                "source namespace is required",
            ));
        }
        let reference = reference
            .ok_or_else(|| ProviderError::invalid_argument("provider reference is required"))?;
        let kind = self.kind(&reference)?;
        let provider = ProviderReference {
            api_version: reference.api_version,
            kind: reference.kind,
            name: reference.name,
            namespace: reference.namespace,
        };
        let auth_namespace = text(metadata, METADATA_AUTH_NAMESPACE)?;
        let caller = match operation {
            Operation::GetSecret | Operation::GetSecretMap | Operation::GetAllSecrets => {
                Caller::from_metadata(metadata)?
            }
            _ => None,
        };
        if let Some(caller) = &caller {
            caller.check_namespace(source_namespace)?;
        }
        let context = RequestContext::try_new(
            operation,
            provider,
            source_namespace,
            &reference.store_ref_kind,
            auth_namespace,
        )?
        .with_reconcile_id(text(metadata, METADATA_RECONCILE_ID)?)
        .with_caller(caller);
        if context.provider().name.is_empty() && operation != Operation::Capabilities {
            return Err(ProviderError::invalid_argument(
                "provider reference has no name",
            ));
        }
        Ok((context, kind))
    }

    fn kind(&self, reference: &wire::ProviderReference) -> Result<ServedKind> {
        let mut parts = reference.api_version.split('/');
        let (Some(group), Some(version), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(ProviderError::new(
                ErrorClass::UnsupportedKind,
                format!("invalid api version: {}", reference.api_version),
            ));
        };
        self.provider
            .kinds()
            .iter()
            .find(|kind| kind.api_version == reference.api_version && kind.kind == reference.kind)
            .cloned()
            .ok_or_else(|| {
                ProviderError::new(
                    ErrorClass::UnsupportedKind,
                    format!(
                        "resource mapping not found for \"{group}/{version}, Kind={}\"",
                        reference.kind
                    ),
                )
            })
    }
}

#[tonic::async_trait]
impl<P: Provider> SecretStoreProvider for StoreService<P> {
    async fn get_secret(
        &self,
        request: Request<wire::GetSecretRequest>,
    ) -> std::result::Result<Response<wire::GetSecretResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.calls
            .run(Operation::GetSecret, &metadata, async {
                let remote = remote_ref(request.remote_ref)?;
                let (context, _) = self.context(
                    Operation::GetSecret,
                    &metadata,
                    request.provider_ref,
                    &request.source_namespace,
                )?;
                let value = self.provider.get_secret(&context, &remote).await?;
                self.calls.fits(value.len())?;
                Ok(wire::GetSecretResponse {
                    value: value.expose().to_vec(),
                })
            })
            .await
    }

    async fn get_secret_map(
        &self,
        request: Request<wire::GetSecretMapRequest>,
    ) -> std::result::Result<Response<wire::GetSecretMapResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.calls
            .run(Operation::GetSecretMap, &metadata, async {
                let remote = remote_ref(request.remote_ref)?;
                let (context, _) = self.context(
                    Operation::GetSecretMap,
                    &metadata,
                    request.provider_ref,
                    &request.source_namespace,
                )?;
                let data = self.provider.get_secret_map(&context, &remote).await?;
                self.calls.map_fits(&data)?;
                Ok(wire::GetSecretMapResponse {
                    secrets: exposed(data),
                })
            })
            .await
    }

    async fn get_all_secrets(
        &self,
        request: Request<wire::GetAllSecretsRequest>,
    ) -> std::result::Result<Response<wire::GetAllSecretsResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.calls
            .run(Operation::GetAllSecrets, &metadata, async {
                let find = find(request.find)?;
                let (context, _) = self.context(
                    Operation::GetAllSecrets,
                    &metadata,
                    request.provider_ref,
                    &request.source_namespace,
                )?;
                let data = self
                    .provider
                    .get_all_secrets(&context, &find)
                    .await
                    .map_err(never_not_found)?;
                if data.len() > self.calls.limits.find_max_results {
                    return Err(ProviderError::new(
                        ErrorClass::ResultTooLarge,
                        format!(
                            "find has {} results, more than the limit of {}",
                            data.len(),
                            self.calls.limits.find_max_results
                        ),
                    ));
                }
                self.calls.map_fits(&data)?;
                Ok(wire::GetAllSecretsResponse {
                    secrets: exposed(data),
                })
            })
            .await
    }

    async fn push_secret(
        &self,
        request: Request<wire::PushSecretRequest>,
    ) -> std::result::Result<Response<wire::PushSecretResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.calls
            .run(Operation::PushSecret, &metadata, async {
                let data = request.push_secret_data.ok_or_else(|| {
                    ProviderError::invalid_argument("request or push secret data is nil")
                })?;
                let (context, _) = self.context(
                    Operation::PushSecret,
                    &metadata,
                    request.provider_ref,
                    &request.source_namespace,
                )?;
                let push = Push {
                    data: request
                        .secret_data
                        .into_iter()
                        .map(|(key, value)| (key, SecretValue::new(value)))
                        .collect(),
                    secret_type: request.secret_type,
                    labels: request.secret_labels,
                    annotations: request.secret_annotations,
                    secret_key: data.secret_key,
                    remote_key: data.remote_key,
                    property: data.property,
                    metadata: data.metadata,
                };
                self.provider
                    .push_secret(&context, &push)
                    .await
                    .map_err(never_not_found)?;
                Ok(wire::PushSecretResponse {})
            })
            .await
    }

    async fn delete_secret(
        &self,
        request: Request<wire::DeleteSecretRequest>,
    ) -> std::result::Result<Response<wire::DeleteSecretResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.calls
            .run(Operation::DeleteSecret, &metadata, async {
                let remote = push_remote_ref(&metadata, request.remote_ref)?;
                let (context, _) = self.context(
                    Operation::DeleteSecret,
                    &metadata,
                    request.provider_ref,
                    &request.source_namespace,
                )?;
                self.provider
                    .delete_secret(&context, &remote)
                    .await
                    .map_err(never_not_found)?;
                Ok(wire::DeleteSecretResponse {})
            })
            .await
    }

    async fn secret_exists(
        &self,
        request: Request<wire::SecretExistsRequest>,
    ) -> std::result::Result<Response<wire::SecretExistsResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.calls
            .run(Operation::SecretExists, &metadata, async {
                let remote = push_remote_ref(&metadata, request.remote_ref)?;
                let (context, _) = self.context(
                    Operation::SecretExists,
                    &metadata,
                    request.provider_ref,
                    &request.source_namespace,
                )?;
                let exists = self
                    .provider
                    .secret_exists(&context, &remote)
                    .await
                    .map_err(never_not_found)?;
                Ok(wire::SecretExistsResponse { exists })
            })
            .await
    }

    async fn validate(
        &self,
        request: Request<wire::ValidateRequest>,
    ) -> std::result::Result<Response<wire::ValidateResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.calls
            .run(Operation::Validate, &metadata, async {
                let (context, _) = self.context(
                    Operation::Validate,
                    &metadata,
                    request.provider_ref,
                    &request.source_namespace,
                )?;
                if context.lacks_namespace() {
                    return verdict(Ok(Validation::unknown(
                        "the namespace of the resource depends on the caller",
                    )));
                }
                verdict(
                    self.provider
                        .validate(&context)
                        .await
                        .map_err(never_not_found),
                )
            })
            .await
    }

    async fn capabilities(
        &self,
        request: Request<wire::CapabilitiesRequest>,
    ) -> std::result::Result<Response<wire::CapabilitiesResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.calls
            .run(Operation::Capabilities, &metadata, async {
                let (context, kind) = self.context(
                    Operation::Capabilities,
                    &metadata,
                    request.provider_ref,
                    &request.source_namespace,
                )?;
                let capability = match self
                    .provider
                    .capabilities(&context, &kind)
                    .await
                    .map_err(never_not_found)?
                {
                    Capability::ReadOnly => wire::SecretStoreCapabilities::ReadOnly,
                    Capability::WriteOnly => wire::SecretStoreCapabilities::WriteOnly,
                    Capability::ReadWrite => wire::SecretStoreCapabilities::ReadWrite,
                };
                Ok(wire::CapabilitiesResponse {
                    capabilities: capability.into(),
                })
            })
            .await
    }
}

#[cfg(test)]
#[path = "service/tests.rs"]
mod tests;

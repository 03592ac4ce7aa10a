//! `provider.v1.SecretStoreProvider` in front of a [`Provider`]: checks requests, bounds calls, maps errors, counts.
//!
//! The order of checks is that of upstream's adapter (provider-protocol.md 2): operand, source namespace, reference, kind.

mod convert;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use latchkey_proto::provider::v1 as wire;
use latchkey_proto::provider::v1::secret_store_provider_server::SecretStoreProvider;
use latchkey_secret::{SecretData, SecretValue};
use tokio::sync::Semaphore;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};

use crate::error::{ErrorClass, ProviderError, Result};
use crate::metrics::Metrics;
use crate::provider::Provider;
use crate::request::{
    Capability, METADATA_AUTH_NAMESPACE, METADATA_RECONCILE_ID, Operation, ProviderReference, Push,
    RequestContext, ServedKind, Validation,
};
use convert::{
    deadline, exposed, find, never_not_found, push_remote_ref, remote_ref, text, verdict,
};

/// Longest call when the caller sets no deadline.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(60);
/// How much earlier than the caller's deadline a call ends, so that its own answer arrives before the caller gives up;
/// a tenth of short deadlines.
const DEADLINE_MARGIN: Duration = Duration::from_millis(100);
/// What a caller should wait when this server is busy (specification 2.4).
const BUSY_DELAY: Duration = Duration::from_secs(1);
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
    metrics: Metrics,
    limits: ServiceLimits,
    permits: Semaphore,
}

/// Records the end of a call even when the client goes away.
struct Finish<'a> {
    metrics: &'a Metrics,
    operation: Operation,
    started: Instant,
    code: Code,
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.metrics
            .request(self.operation, self.code, self.started);
    }
}

// === impl StoreService ===

impl<P: Provider> StoreService<P> {
    /// Puts the service in front of `provider`.
    #[must_use]
    pub fn new(provider: Arc<P>, metrics: Metrics, limits: ServiceLimits) -> Self {
        Self {
            provider,
            metrics,
            limits,
            permits: Semaphore::new(limits.max_concurrent_requests),
        }
    }

    /// Runs one call within the limits.
    async fn run<T>(
        &self,
        operation: Operation,
        metadata: &MetadataMap,
        work: impl Future<Output = Result<T>> + Send,
    ) -> std::result::Result<Response<T>, Status> {
        let mut finish = Finish {
            metrics: &self.metrics,
            operation,
            started: Instant::now(),
            code: Code::Cancelled,
        };
        let result = self.bounded(metadata, work).await;
        match result {
            Ok(answer) => {
                finish.code = Code::Ok;
                Ok(Response::new(answer))
            }
            Err(error) => {
                finish.code = error.code();
                let level = if error.class() == ErrorClass::Internal {
                    "internal"
                } else {
                    "expected"
                };
                tracing::debug!(
                    operation = operation.name(),
                    class = error.class().reason(),
                    kind = level,
                    "request failed"
                );
                Err(error.to_status())
            }
        }
    }

    async fn bounded<T>(
        &self,
        metadata: &MetadataMap,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let _permit = self.permits.try_acquire().map_err(|_| {
            ProviderError::new(ErrorClass::ServerBusy, "too many requests in flight")
                .with_retry_after(BUSY_DELAY)
        })?;
        let deadline = deadline(metadata).unwrap_or(DEFAULT_DEADLINE);
        let deadline = deadline.saturating_sub(DEADLINE_MARGIN.min(deadline / 10));
        // A panic must not take other calls of the connection with it; its payload may hold anything and is dropped.
        match tokio::time::timeout(deadline, AssertUnwindSafe(work).catch_unwind()).await {
            Ok(Ok(result)) => result,
            Ok(Err(_panic)) => Err(ProviderError::internal(
                "the provider failed on this request",
            )),
            Err(_elapsed) => Err(ProviderError::new(
                ErrorClass::DeadlineExceeded,
                "deadline exceeded",
            )),
        }
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
        let context = RequestContext::try_new(
            operation,
            provider,
            source_namespace,
            &reference.store_ref_kind,
            auth_namespace,
        )?
        .with_reconcile_id(text(metadata, METADATA_RECONCILE_ID)?);
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

    /// Refuses an answer that a baseline client could not receive (specification 3.9).
    fn fits(&self, bytes: usize) -> Result<()> {
        if bytes > self.limits.max_response_bytes {
            return Err(ProviderError::new(
                ErrorClass::ResultTooLarge,
                format!(
                    "response larger than max ({bytes} vs. {})",
                    self.limits.max_response_bytes
                ),
            ));
        }
        Ok(())
    }

    fn map_fits(&self, data: &SecretData) -> Result<()> {
        self.fits(
            data.iter()
                .map(|(key, value)| key.len() + value.len())
                .sum(),
        )
    }
}

#[tonic::async_trait]
impl<P: Provider> SecretStoreProvider for StoreService<P> {
    async fn get_secret(
        &self,
        request: Request<wire::GetSecretRequest>,
    ) -> std::result::Result<Response<wire::GetSecretResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.run(Operation::GetSecret, &metadata, async {
            let remote = remote_ref(request.remote_ref)?;
            let (context, _) = self.context(
                Operation::GetSecret,
                &metadata,
                request.provider_ref,
                &request.source_namespace,
            )?;
            let value = self.provider.get_secret(&context, &remote).await?;
            self.fits(value.len())?;
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
        self.run(Operation::GetSecretMap, &metadata, async {
            let remote = remote_ref(request.remote_ref)?;
            let (context, _) = self.context(
                Operation::GetSecretMap,
                &metadata,
                request.provider_ref,
                &request.source_namespace,
            )?;
            let data = self.provider.get_secret_map(&context, &remote).await?;
            self.map_fits(&data)?;
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
        self.run(Operation::GetAllSecrets, &metadata, async {
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
            if data.len() > self.limits.find_max_results {
                return Err(ProviderError::new(
                    ErrorClass::ResultTooLarge,
                    format!(
                        "find has {} results, more than the limit of {}",
                        data.len(),
                        self.limits.find_max_results
                    ),
                ));
            }
            self.map_fits(&data)?;
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
        self.run(Operation::PushSecret, &metadata, async {
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
        self.run(Operation::DeleteSecret, &metadata, async {
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
        self.run(Operation::SecretExists, &metadata, async {
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
        self.run(Operation::Validate, &metadata, async {
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
        self.run(Operation::Capabilities, &metadata, async {
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

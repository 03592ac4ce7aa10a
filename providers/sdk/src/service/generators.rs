//! `generator.v1.GeneratorProvider` in front of a [`Provider`].
//!
//! Checks come in upstream's order (provider-protocol.md 2): reference, form of its API version, group, kind; then what this
//! project requires beyond: a source namespace and a name.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use latchkey_proto::generator::v1 as wire;
use latchkey_proto::generator::v1::generator_provider_server::GeneratorProvider;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::convert::{exposed, never_not_found, text};
use super::{Calls, ServiceLimits};
use crate::error::{ErrorClass, ProviderError, Result};
use crate::metrics::Metrics;
use crate::provider::Provider;
use crate::request::{
    Generated, GeneratorKind, METADATA_ATTEMPT_ID, Operation, ProviderReference, RequestContext,
};

/// Largest state, in bytes (generators.md 1.2).
const MAX_STATE_BYTES: usize = 4096;
/// How long a repeated attempt is answered with the first result (G-01).
const REPLAY_TIME: Duration = Duration::from_secs(600);
/// Most results that are kept for it; the oldest gives way.
const MAX_ATTEMPTS: usize = 1024;
/// How long the revocation of a result that cannot be handed out may take.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(5);

/// The service.
pub struct GeneratorService<P> {
    provider: Arc<P>,
    calls: Calls,
    attempts: Attempts,
}

/// Results of stateful kinds by attempt. Values in it are wiped when they are dropped.
#[derive(Default)]
struct Attempts(Mutex<HashMap<AttemptKey, Attempt>>);

/// The id and the resource, so that ids of different callers cannot meet.
type AttemptKey = (String, ProviderReference, String);

struct Attempt {
    began: Instant,
    result: Arc<OnceCell<Generated>>,
}

// === impl Attempts ===

impl Attempts {
    /// The place of the result of an attempt, new or known.
    fn of(&self, key: AttemptKey, now: Instant) -> Arc<OnceCell<Generated>> {
        let mut attempts = self.0.lock();
        attempts.retain(|_, attempt| now.duration_since(attempt.began) < REPLAY_TIME);
        if attempts.len() >= MAX_ATTEMPTS
            && !attempts.contains_key(&key)
            && let Some(oldest) = attempts
                .iter()
                .min_by_key(|(_, attempt)| attempt.began)
                .map(|(key, _)| key.clone())
        {
            attempts.remove(&oldest);
        }
        let attempt = attempts.entry(key).or_insert_with(|| Attempt {
            began: now,
            result: Arc::default(),
        });
        attempt.result.clone()
    }
}

// === impl GeneratorService ===

impl<P: Provider> GeneratorService<P> {
    /// Puts the service in front of `provider`.
    #[must_use]
    pub fn new(provider: Arc<P>, metrics: Metrics, limits: ServiceLimits) -> Self {
        Self::within(provider, Calls::new(metrics, limits))
    }

    /// The same within limits that other services of the process share.
    pub(crate) fn within(provider: Arc<P>, calls: Calls) -> Self {
        Self {
            provider,
            calls,
            attempts: Attempts::default(),
        }
    }

    fn context(
        &self,
        operation: Operation,
        reference: Option<wire::GeneratorRef>,
        source_namespace: &str,
    ) -> Result<(RequestContext, &GeneratorKind)> {
        let reference = reference
            .ok_or_else(|| ProviderError::invalid_argument("request or generator ref is nil"))?;
        let kind = self.kind(&reference)?;
        if reference.name.is_empty() {
            return Err(ProviderError::invalid_argument(
                "failed to get generator: the reference has no name",
            ));
        }
        let provider = ProviderReference {
            api_version: reference.api_version,
            kind: reference.kind,
            name: reference.name,
            namespace: reference.namespace,
        };
        let context = RequestContext::try_for_generator(operation, provider, source_namespace)?;
        Ok((context, kind))
    }

    fn kind(&self, reference: &wire::GeneratorRef) -> Result<&GeneratorKind> {
        let unsupported = |text: String| {
            ProviderError::new(
                ErrorClass::UnsupportedKind,
                format!("failed to get generator: {text}"),
            )
        };
        let mut parts = reference.api_version.split('/');
        let (Some(group), Some(version), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(unsupported(format!(
                "invalid api version: {}",
                reference.api_version
            )));
        };
        let kinds = self.provider.generator_kinds();
        let is_served = |kind: &GeneratorKind| {
            kind.api_version
                .split_once('/')
                .is_some_and(|(served, _)| served == group)
        };
        if !kinds.iter().any(is_served) {
            return Err(unsupported(format!(
                "generatorRef may only reference the generators group, but got {group}"
            )));
        }
        kinds
            .iter()
            .find(|kind| kind.api_version == reference.api_version && kind.kind == reference.kind)
            .ok_or_else(|| {
                unsupported(format!(
                    "generator mapping not found for \"{group}/{version}, Kind={}\"",
                    reference.kind
                ))
            })
    }

    /// Runs the generator and checks its state. What cannot be handed out is revoked.
    async fn generated(&self, context: &RequestContext) -> Result<Generated> {
        let generated = self
            .provider
            .generate(context)
            .await
            .map_err(never_not_found)?;
        let checked = self
            .calls
            .map_fits(&generated.data)
            .and_then(|()| check_state(generated.state.as_deref().unwrap_or_default()));
        let Err(error) = checked else {
            return Ok(generated);
        };
        if let Some(state) = &generated.state {
            let revoked = self.provider.cleanup(context, state);
            if !matches!(
                tokio::time::timeout(REVOKE_TIMEOUT, revoked).await,
                Ok(Ok(()))
            ) {
                tracing::warn!("values that could not be handed out were not revoked");
            }
        }
        Err(error)
    }
}

/// An empty state is none.
fn check_state(state: &[u8]) -> Result<()> {
    let is_json = || serde_json::from_slice::<serde::de::IgnoredAny>(state).is_ok();
    if state.is_empty() || (state.len() <= MAX_STATE_BYTES && is_json()) {
        return Ok(());
    }
    Err(ProviderError::internal(
        "the generator left a state that is not JSON of at most 4 KiB",
    ))
}

#[tonic::async_trait]
impl<P: Provider> GeneratorProvider for GeneratorService<P> {
    async fn generate(
        &self,
        request: Request<wire::GenerateRequest>,
    ) -> std::result::Result<Response<wire::GenerateResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.calls
            .run(Operation::Generate, &metadata, async {
                let (context, kind) = self.context(
                    Operation::Generate,
                    request.generator_ref,
                    &request.source_namespace,
                )?;
                let attempt = text(&metadata, METADATA_ATTEMPT_ID)?
                    .filter(|id| !id.is_empty() && kind.is_stateful);
                let generated = match attempt {
                    None => self.generated(&context).await?,
                    Some(id) => {
                        let key = (
                            id,
                            context.provider().clone(),
                            context.source_namespace().to_owned(),
                        );
                        let result = self.attempts.of(key, Instant::now());
                        result
                            .get_or_try_init(|| self.generated(&context))
                            .await?
                            .clone()
                    }
                };
                Ok(wire::GenerateResponse {
                    secrets: exposed(generated.data),
                    state: generated.state.unwrap_or_default(),
                })
            })
            .await
    }

    async fn cleanup(
        &self,
        request: Request<wire::CleanupRequest>,
    ) -> std::result::Result<Response<wire::CleanupResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.calls
            .run(Operation::Cleanup, &metadata, async {
                let (context, _) = self.context(
                    Operation::Cleanup,
                    request.generator_ref,
                    &request.source_namespace,
                )?;
                // Nothing was left, so there is nothing to revoke (E246).
                if request.state.is_empty() {
                    return Ok(wire::CleanupResponse {});
                }
                self.provider
                    .cleanup(&context, &request.state)
                    .await
                    .map_err(never_not_found)?;
                Ok(wire::CleanupResponse {})
            })
            .await
    }
}

#[cfg(test)]
#[path = "generators/tests.rs"]
mod tests;

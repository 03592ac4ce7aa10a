//! Calls to one provider on behalf of one store.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use latchkey_proto::generator::v1 as generator;
use latchkey_proto::provider::v1 as wire;
use latchkey_secret::{SecretData, SecretValue};
use latchkey_transport::{Connection, MAX_MESSAGE_BYTES};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::answers::{Capability, Health, Validation};
use super::breaker::BreakerState;
use super::error::{CallError, Cause, Method};
use super::pods::CallerProof;
use super::pool::Pooled;
use super::retry::RetryPolicy;
use super::text::sanitise;
use super::tokens::Bearer;
use crate::stores::wire::{GeneratorTarget, Target};

/// Longest wait for an answer about health (provider-protocol.md 7).
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// Request metadata: id of one Generate, by which a stateful provider recognises a repetition (generators.md 1.2).
const ATTEMPT_ID: &str = "eso-attempt-id";

/// Most warnings of a validation that are kept (provider-protocol.md 4).
const MAX_WARNINGS: usize = 5;

/// A provider as one store sees it: the connection, and how patient to be.
#[derive(Clone)]
pub struct Client {
    pooled: Arc<Pooled>,
    timeout: Duration,
    retry: RetryPolicy,
    /// The token that accompanies every call, if the store names one.
    bearer: Option<Bearer>,
    /// The pod that the values are for, if the store is read under its identity.
    caller: Option<CallerProof>,
}

impl Client {
    pub(crate) fn new(
        pooled: Arc<Pooled>,
        timeout: Duration,
        retry: RetryPolicy,
        bearer: Option<Bearer>,
    ) -> Self {
        Self {
            pooled,
            timeout,
            retry,
            bearer,
            caller: None,
        }
    }

    /// Shows whose pod the values are for (provider-protocol.md 13.3).
    #[must_use]
    pub(crate) fn on_behalf_of(self, caller: CallerProof) -> Self {
        Self {
            caller: Some(caller),
            ..self
        }
    }

    /// Whether a pod's identity is shown.
    pub(crate) const fn has_caller(&self) -> bool {
        self.caller.is_some()
    }

    /// Reads one value.
    ///
    /// # Errors
    ///
    /// [`Cause::NoSecret`] exactly if the provider answers NOT_FOUND.
    pub async fn get_secret(
        &self,
        target: &Target,
        remote: wire::ExternalSecretDataRemoteRef,
    ) -> Result<SecretValue, CallError> {
        let request = wire::GetSecretRequest {
            remote_ref: Some(remote),
            provider_ref: Some(target.provider_ref.clone()),
            source_namespace: target.source_namespace.clone(),
        };
        let call = |connection: Connection, request| async move {
            connection.store_client().get_secret(request).await
        };
        self.call(Method::GetSecret, request, call)
            .await
            .map(|answer| SecretValue::new(answer.value))
    }

    /// Reads one remote secret as a map. A provider without GetSecretMap is asked for the value, which must then be a JSON
    /// object (P-ERR-2).
    ///
    /// # Errors
    ///
    /// As for [`Client::get_secret`].
    pub async fn get_secret_map(
        &self,
        target: &Target,
        remote: wire::ExternalSecretDataRemoteRef,
    ) -> Result<SecretData, CallError> {
        if !self.pooled.lacks_map.load(Ordering::Relaxed) {
            let request = wire::GetSecretMapRequest {
                remote_ref: Some(remote.clone()),
                provider_ref: Some(target.provider_ref.clone()),
                source_namespace: target.source_namespace.clone(),
            };
            let call = |connection: Connection, request| async move {
                connection.store_client().get_secret_map(request).await
            };
            match self.call(Method::GetSecretMap, request, call).await {
                Ok(answer) => return Ok(secret_data(answer.secrets)),
                // With details it is the operation of this kind that is missing, and the provider knows better than we.
                Err(CallError {
                    cause:
                        Cause::Status {
                            code: Code::Unimplemented,
                            reason: None,
                        },
                    ..
                }) => {
                    if !self.pooled.lacks_map.swap(true, Ordering::Relaxed) {
                        tracing::info!(
                            provider = self.pooled.target,
                            "provider has no GetSecretMap, reading values as JSON"
                        );
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let value = self.get_secret(target, remote).await?;
        json_map(&value).ok_or_else(|| CallError {
            method: Method::GetSecretMap,
            cause: Cause::Status {
                code: Code::FailedPrecondition,
                reason: None,
            },
            text: "the value is not a JSON object".into(),
            retry_after: None,
        })
    }

    /// Reads all remote secrets that match, each as one value under its name.
    ///
    /// # Errors
    ///
    /// A [`CallError`], but never [`Cause::NoSecret`]: no match is an empty answer.
    pub async fn get_all_secrets(
        &self,
        target: &Target,
        find: wire::ExternalSecretFind,
    ) -> Result<SecretData, CallError> {
        let request = wire::GetAllSecretsRequest {
            provider_ref: Some(target.provider_ref.clone()),
            find: Some(find),
            source_namespace: target.source_namespace.clone(),
        };
        let call = |connection: Connection, request| async move {
            connection.store_client().get_all_secrets(request).await
        };
        let answer = self.call(Method::GetAllSecrets, request, call).await?;
        Ok(secret_data(answer.secrets))
    }

    /// Asks whether the configuration object can be used.
    ///
    /// # Errors
    ///
    /// A [`CallError`] if the provider could not say.
    pub async fn validate(&self, target: &Target) -> Result<Validation, CallError> {
        let request = wire::ValidateRequest {
            provider_ref: Some(target.provider_ref.clone()),
            source_namespace: target.source_namespace.clone(),
        };
        let call = |connection: Connection, request| async move {
            connection.store_client().validate(request).await
        };
        let answer = self.call(Method::Validate, request, call).await?;
        let error = (!answer.valid).then(|| match sanitise(&answer.error) {
            text if text.is_empty() => "provider validation failed without error message".into(),
            text => format!("provider validation failed: {text}"),
        });
        let warnings = answer
            .warnings
            .iter()
            .take(MAX_WARNINGS)
            .map(|warning| sanitise(warning))
            .collect();
        Ok(Validation { error, warnings })
    }

    /// Asks what the kind of configuration object supports. The object itself need not exist.
    ///
    /// # Errors
    ///
    /// A [`CallError`] if the provider could not say.
    pub async fn capabilities(&self, target: &Target) -> Result<Capability, CallError> {
        let request = wire::CapabilitiesRequest {
            provider_ref: Some(target.provider_ref.clone()),
            source_namespace: target.source_namespace.clone(),
        };
        let call = |connection: Connection, request| async move {
            connection.store_client().capabilities(request).await
        };
        let answer = self.call(Method::Capabilities, request, call).await?;
        Ok(
            match wire::SecretStoreCapabilities::try_from(answer.capabilities) {
                Ok(wire::SecretStoreCapabilities::ReadOnly) => Capability::ReadOnly,
                Ok(wire::SecretStoreCapabilities::WriteOnly) => Capability::WriteOnly,
                Ok(wire::SecretStoreCapabilities::ReadWrite) => Capability::ReadWrite,
                Err(_) => Capability::Unknown(answer.capabilities),
            },
        )
    }

    /// Has new values made, and returns them with what it takes to revoke them. Sent exactly once, whatever the store's retries
    /// are: an answer that was lost may have made something (P-RT-2, PC-27).
    ///
    /// # Errors
    ///
    /// A [`CallError`], but never [`Cause::NoSecret`].
    pub async fn generate(
        &self,
        target: &GeneratorTarget,
    ) -> Result<(SecretData, Vec<u8>), CallError> {
        let once = Self {
            retry: RetryPolicy::once(),
            ..self.clone()
        };
        let request = generator::GenerateRequest {
            generator_ref: Some(target.generator_ref.clone()),
            source_namespace: target.source_namespace.clone(),
        };
        let attempt = format!("{:032x}", rand::random::<u128>());
        let call = |connection: Connection, mut request: Request<generator::GenerateRequest>| {
            if let Ok(attempt) = attempt.parse() {
                request.metadata_mut().insert(ATTEMPT_ID, attempt);
            }
            async move { connection.generator_client().generate(request).await }
        };
        let answer = once.call(Method::Generate, request, call).await?;
        Ok((secret_data(answer.secrets), answer.state))
    }

    /// Has values revoked by what Generate left. May be repeated.
    ///
    /// # Errors
    ///
    /// A [`CallError`], but never [`Cause::NoSecret`].
    pub async fn cleanup(&self, target: &GeneratorTarget, state: Vec<u8>) -> Result<(), CallError> {
        let request = generator::CleanupRequest {
            generator_ref: Some(target.generator_ref.clone()),
            state,
            source_namespace: target.source_namespace.clone(),
        };
        let call = |connection: Connection, request| async move {
            connection.generator_client().cleanup(request).await
        };
        self.call(Method::Cleanup, request, call).await.map(drop)
    }

    /// Asks the provider how it is, with an empty service name (provider-protocol.md 7).
    ///
    /// The breaker neither refuses this call nor counts it: a provider that has not started yet must not be waited for longer
    /// than it takes, and one that says it is well while its calls hang is not.
    ///
    /// # Errors
    ///
    /// A [`CallError`] if it could not be asked.
    pub async fn health(&self) -> Result<Health, CallError> {
        let brief = Self {
            timeout: self.timeout.min(HEALTH_TIMEOUT),
            ..self.clone()
        };
        let call = |connection: Connection, request: Request<HealthCheckRequest>| async move {
            let answer: Result<Response<HealthCheckResponse>, Status> =
                HealthClient::new(connection.channel())
                    .max_decoding_message_size(MAX_MESSAGE_BYTES)
                    .check(request)
                    .await;
            answer
        };
        let start = Instant::now();
        let request = HealthCheckRequest::default();
        let result = brief.attempts(Method::Check, &request, call, start).await;
        let Pooled {
            metrics, target, ..
        } = &*self.pooled;
        metrics.observe(
            target,
            Method::Check,
            start.elapsed(),
            result.as_ref().err(),
        );
        match result {
            Ok(answer) if answer.status == ServingStatus::Serving as i32 => Ok(Health::Serving),
            Ok(_) => Ok(Health::NotServing),
            Err(CallError {
                cause:
                    Cause::Status {
                        code: Code::Unimplemented,
                        ..
                    },
                ..
            }) => Ok(Health::Unspoken),
            Err(error) => Err(error),
        }
    }

    /// One call with its deadline, its retries and the breaker. Calls that are not idempotent come without retries (P-RT-2).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future resets the stream, so that the provider sees the cancellation (P-CL-3).
    async fn call<Q, A, F>(
        &self,
        method: Method,
        request: Q,
        attempt: impl Fn(Connection, Request<Q>) -> F,
    ) -> Result<A, CallError>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let Pooled {
            breaker,
            metrics,
            target,
            ..
        } = &*self.pooled;
        let start = Instant::now();
        let permit = match breaker.admit(start) {
            Ok(permit) => permit,
            Err(refusal) => {
                let error = CallError::breaker_open(method, refusal);
                metrics.observe(target, method, Duration::ZERO, Some(&error));
                return Err(error);
            }
        };
        let result = self.attempts(method, &request, attempt, start).await;
        let now = Instant::now();
        let error = result.as_ref().err();
        let before = breaker.state();
        let failure = error
            .filter(|error| !error.is_reached())
            .map(|error| &*error.text);
        permit.report(failure, now);
        let after = breaker.state();
        if before != after {
            tracing::warn!(provider = target, ?before, ?after, "breaker changed");
            // From open to half-open and back is no news to anyone.
            let count = |changes: &watch::Sender<u64>| {
                changes.send_modify(|count| *count = count.wrapping_add(1));
            };
            if before == BreakerState::Closed || after == BreakerState::Closed {
                count(&self.pooled.changes);
            }
            if after == BreakerState::Closed {
                count(&self.pooled.recoveries);
            }
        }
        metrics.breaker(target, after);
        metrics.observe(target, method, now - start, error);
        result
    }

    async fn attempts<Q, A, F>(
        &self,
        method: Method,
        request: &Q,
        attempt: impl Fn(Connection, Request<Q>) -> F,
        start: Instant,
    ) -> Result<A, CallError>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let end = start + self.retry.budget(self.timeout);
        let mut number = 1;
        let mut before: Option<CallError> = None;
        loop {
            let deadline = end.min(Instant::now() + self.timeout);
            let mut request = Request::new(request.clone());
            let connection = self.pooled.connection.clone();
            let made = async {
                self.sign(method, &mut request).await?;
                request.set_timeout(deadline.saturating_duration_since(Instant::now()));
                let answer = attempt(connection, request).await;
                answer.map_err(|status| self.failure(method, &status))
            };
            let error = match timeout_at(deadline, made).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(error)) => error,
                // What the attempt before said tells more than that the rest of the time was too short.
                Err(_) => before.unwrap_or_else(|| CallError::timeout(method, self.timeout)),
            };
            let pause = self
                .retry
                .random_pause(number)
                .max(error.retry_after.unwrap_or_default());
            if number >= self.retry.attempts
                || !error.is_retryable()
                || Instant::now() + pause >= end
            {
                return Err(error);
            }
            number += 1;
            before = Some(error);
            self.pooled.metrics.retried(&self.pooled.target, method);
            sleep(pause).await;
        }
    }

    /// Adds the tokens that the store wants. The connection sends nothing before it knows the provider (SB-28, SB-29).
    async fn sign<Q>(&self, method: Method, request: &mut Request<Q>) -> Result<(), CallError> {
        if let Some(caller) = &self.caller {
            caller.sign(request.metadata_mut());
        }
        let Some(bearer) = &self.bearer else {
            return Ok(());
        };
        let signed = bearer.sign(request.metadata_mut()).await;
        signed.map_err(|problem| CallError::no_token(method, &problem))
    }

    fn failure(&self, method: Method, status: &Status) -> CallError {
        let error = CallError::from_status(method, status, &self.pooled.connection);
        let is_unknown = matches!(
            error.cause,
            Cause::Status {
                code: Code::Unauthenticated,
                ..
            }
        );
        if let Some(bearer) = self.bearer.as_ref().filter(|_| is_unknown) {
            bearer.refused();
        }
        error
    }
}

fn secret_data(secrets: BTreeMap<String, Vec<u8>>) -> SecretData {
    secrets
        .into_iter()
        .map(|(key, value)| (key, SecretValue::new(value)))
        .collect()
}

/// The members of a JSON object: strings as their text, others as their JSON text.
fn json_map(value: &SecretValue) -> Option<SecretData> {
    // The error of the parser would quote the value.
    let members: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(value.expose()).ok()?;
    let text = |member| match member {
        serde_json::Value::String(text) => SecretValue::from(text),
        other => SecretValue::from(other.to_string()),
    };
    Some(
        members
            .into_iter()
            .map(|(key, member)| (key, text(member)))
            .collect(),
    )
}

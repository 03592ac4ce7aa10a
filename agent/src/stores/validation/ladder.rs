//! The steps from an address to a valid store; the first that fails names the reason (provider-protocol.md 14).

use std::time::Duration;

use latchkey_crds::conditions::{ConditionStatus, store_reasons};
use latchkey_crds::secret_store::Capabilities;
use tonic::Code;

use crate::providers::{CallError, Capability, Cause, Client, Health, Providers, Unreachable};
use crate::stores::{Store, Usable, wire};

/// What was found out about a store.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Status of the condition `Ready`.
    pub status: ConditionStatus,
    /// Its reason.
    pub reason: &'static str,
    /// Its message.
    pub message: String,
    /// What the provider supports; `None` leaves what was known (provider-protocol.md 10).
    pub capabilities: Option<Capabilities>,
    /// What the provider warns of, one event each.
    pub warnings: Vec<String>,
    /// When asking again makes sense, if that is known.
    pub retry_after: Option<Duration>,
    /// Whether it may pass without anyone's doing, so that asking again soon is worth it.
    pub is_transient: bool,
}

impl Finding {
    fn new(status: ConditionStatus, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            reason,
            message: message.into(),
            capabilities: None,
            warnings: Vec::new(),
            retry_after: None,
            is_transient: false,
        }
    }

    fn failed(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(ConditionStatus::False, reason, message)
    }

    fn transient(mut self) -> Self {
        self.is_transient = true;
        self
    }
}

/// Climbs the ladder for `store`.
pub async fn examine(providers: &Providers, store: &Store) -> Finding {
    // 1. The address, and whatever else the store itself says.
    let usable = match providers.policy.check(store) {
        Ok(usable) => usable,
        Err(error) => return Finding::failed(error.reason, error.message),
    };
    // 2. TLS material, and the token where the store wants one. Whoever validates has a pace of its own, so the store's retries do not apply.
    let usable = Usable {
        retry: None,
        ..usable
    };
    let client = match providers.client(&usable).await {
        Ok(client) => client,
        Err(Unreachable::Token(problem)) => return no_token(&problem.to_string()),
        Err(error) => {
            return Finding::failed(store_reasons::TLS_CONFIG_FAILED, error.to_string())
                .transient();
        }
    };
    // 3. and 4. The connection, and the provider's health.
    let mut is_healthy = false;
    match client.health().await {
        Ok(Health::Serving) => is_healthy = true,
        Ok(Health::Unspoken) => {}
        Ok(Health::NotServing) => {
            let message = "provider runtime is not serving: NOT_SERVING";
            return Finding::failed(store_reasons::PROVIDER_NOT_SERVING, message).transient();
        }
        Err(error) => match connection_problem(&error) {
            Some(finding) => return finding,
            // It answered, if not with its health; the next steps tell more.
            None => {
                tracing::debug!(store = %store.key, %error, "provider does not tell its health")
            }
        },
    }
    // Generators are not asked for more: there is no call for it (pushsecret-and-stores.md B6).
    if store.key.is_generator() {
        return generator_finding(is_healthy);
    }
    // 6. The kind. (5, Describe, belongs to an extension that is not spoken yet.)
    let capabilities = match client.capabilities(&wire::for_capabilities(store)).await {
        Ok(capability) => Ok(capability),
        Err(error) => match kind_problem(store, &error) {
            Some(finding) => return finding,
            None => Err(error),
        },
    };
    // 7. The provider's own opinion.
    let mut finding = validate(&client, store).await;
    match capabilities {
        Ok(Capability::ReadOnly) => finding.capabilities = Some(Capabilities::ReadOnly),
        Ok(Capability::WriteOnly) => finding.capabilities = Some(Capabilities::WriteOnly),
        Ok(Capability::ReadWrite) => finding.capabilities = Some(Capabilities::ReadWrite),
        Ok(Capability::Unknown(number)) => {
            finding
                .message
                .push_str(&format!(" (unsupported provider capabilities {number})"));
        }
        Err(error) => finding.message.push_str(&format!(" ({error})")),
    }
    finding
}

/// How a provider made with our SDK says that it cannot tell; the contract has no field for it (provider-protocol.md 2).
const UNKNOWN_WARNING: &str = "validation unknown: ";

async fn validate(client: &Client, store: &Store) -> Finding {
    let Some(target) = wire::for_validation(store) else {
        return unknown();
    };
    match client.validate(&target).await {
        Ok(validation) => {
            let is_unknown = validation
                .warnings
                .first()
                .is_some_and(|warning| warning.starts_with(UNKNOWN_WARNING));
            if is_unknown && validation.error.is_none() {
                return Finding {
                    warnings: validation.warnings,
                    ..unknown()
                };
            }
            let mut finding = match validation.error {
                None => Finding::new(
                    ConditionStatus::True,
                    store_reasons::VALID,
                    "store validated",
                ),
                Some(error) => Finding::failed(
                    store_reasons::INVALID_PROVIDER_CONFIG,
                    format!("unable to validate store: {error}"),
                ),
            };
            if !validation.warnings.is_empty() {
                finding
                    .message
                    .push_str(&format!(" (warnings: {})", validation.warnings.join("; ")));
            }
            finding.warnings = validation.warnings;
            finding
        }
        Err(error) => connection_problem(&error).unwrap_or_else(|| match &error.cause {
            // It serves the kind and cannot say whether an object of it is valid.
            Cause::Status {
                code: Code::Unimplemented,
                ..
            } => unknown(),
            cause => {
                let finding = Finding::failed(
                    store_reasons::INVALID_PROVIDER_CONFIG,
                    format!("unable to create client: {}", error.text),
                );
                let is_transient = matches!(
                    cause,
                    Cause::Status {
                        code: Code::Unavailable
                            | Code::ResourceExhausted
                            | Code::Aborted
                            | Code::DeadlineExceeded,
                        ..
                    }
                );
                if is_transient {
                    Finding {
                        retry_after: error.retry_after,
                        ..finding.transient()
                    }
                } else {
                    finding
                }
            }
        }),
    }
}

fn generator_finding(is_healthy: bool) -> Finding {
    if is_healthy {
        let message = "generator validated";
        return Finding::new(ConditionStatus::True, store_reasons::VALID, message);
    }
    unknown()
}

fn unknown() -> Finding {
    let message = "could not determine validation status";
    Finding::new(
        ConditionStatus::True,
        store_reasons::VALIDATION_UNKNOWN,
        message,
    )
}

/// Nothing else could be found out without it.
fn no_token(problem: &str) -> Finding {
    let message = format!("unable to create client: {problem}");
    Finding::failed(store_reasons::INVALID_PROVIDER_CONFIG, message).transient()
}

/// The finding if the provider could not be reached, or not be understood.
fn connection_problem(error: &CallError) -> Option<Finding> {
    match &error.cause {
        Cause::Connect(_) | Cause::Lost | Cause::Timeout => {
            Some(Finding::failed(store_reasons::PROVIDER_UNREACHABLE, &*error.text).transient())
        }
        // The same words as before it opened, so that the condition stays as it is.
        Cause::BreakerOpen { last_failure } => {
            let finding = Finding::failed(store_reasons::PROVIDER_UNREACHABLE, &**last_failure);
            Some(Finding {
                retry_after: error.retry_after,
                ..finding.transient()
            })
        }
        // From the server, but with no word about a backend: it is the one who is away.
        Cause::Status {
            code: Code::Unavailable,
            reason: None,
        } => Some(Finding::failed(store_reasons::PROVIDER_UNREACHABLE, &*error.text).transient()),
        Cause::NoToken { .. } => Some(no_token(&error.text)),
        Cause::Undecodable => Some(Finding::failed(
            store_reasons::INCOMPATIBLE_PROVIDER,
            "the provider answers with messages that this agent cannot decode",
        )),
        Cause::NoSecret | Cause::Status { .. } => None,
    }
}

fn kind_problem(store: &Store, error: &CallError) -> Option<Finding> {
    if let Some(finding) = connection_problem(error) {
        return Some(finding);
    }
    let Cause::Status { code, reason } = &error.cause else {
        return None;
    };
    let reference = &store.provider.provider_ref;
    // Upstream's providers have no details, so here the text decides (provider-protocol.md 14).
    if reason.as_deref() == Some("UNSUPPORTED_KIND")
        || error.text.contains("resource mapping not found")
    {
        return Some(Finding::failed(
            store_reasons::PROVIDER_KIND_UNSUPPORTED,
            format!(
                "the provider does not serve {}, kind {}",
                reference.api_version(),
                reference.kind
            ),
        ));
    }
    (*code == Code::Unimplemented).then(|| {
        Finding::failed(
            store_reasons::INCOMPATIBLE_PROVIDER,
            "the server does not speak provider.v1.SecretStoreProvider",
        )
    })
}

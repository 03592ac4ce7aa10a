//! Why a call failed, and what that means to whoever made it.

use std::time::Duration;

use latchkey_engine::source::{FailureClass, FetchError};
use latchkey_proto::code_name;
use latchkey_transport::{CertificateProblem, ConnectError, Connection};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::breaker::Refusal;
use super::text::sanitise;
use super::tokens::TokenProblem;

/// Longest wait that a provider may ask for. Its answer may name any number of seconds, and clocks end.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// What servers built on tonic answer, with CANCELLED, once the deadline that travelled with the call has passed (P-CL-3).
const DEADLINE_TEXT: &str = "Timeout expired";

/// `domain` of the `google.rpc.ErrorInfo` that a provider may attach (provider-protocol.md 13.3).
const ERROR_DOMAIN: &str = "provider.external-secrets.io";

/// The calls that are made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// `provider.v1.SecretStoreProvider/GetSecret`.
    GetSecret,
    /// `provider.v1.SecretStoreProvider/GetSecretMap`.
    GetSecretMap,
    /// `provider.v1.SecretStoreProvider/GetAllSecrets`.
    GetAllSecrets,
    /// `provider.v1.SecretStoreProvider/Validate`.
    Validate,
    /// `provider.v1.SecretStoreProvider/Capabilities`.
    Capabilities,
    /// `generator.v1.GeneratorProvider/Generate`.
    Generate,
    /// `generator.v1.GeneratorProvider/Cleanup`.
    Cleanup,
    /// `grpc.health.v1.Health/Check`.
    Check,
}

impl Method {
    /// Short name, as in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::GetSecret => "GetSecret",
            Self::GetSecretMap => "GetSecretMap",
            Self::GetAllSecrets => "GetAllSecrets",
            Self::Validate => "Validate",
            Self::Capabilities => "Capabilities",
            Self::Generate => "Generate",
            Self::Cleanup => "Cleanup",
            Self::Check => "Check",
        }
    }

    /// What failed, in upstream's words (provider-protocol.md 4).
    const fn failure(self) -> &'static str {
        match self {
            Self::GetSecret => "failed to get secret via gRPC",
            Self::GetSecretMap => "failed to get secret map via gRPC",
            Self::GetAllSecrets => "failed to get all secrets via gRPC",
            Self::Validate => "failed to validate provider via gRPC",
            Self::Capabilities => "failed to get capabilities via gRPC",
            Self::Generate => "failed to generate secrets via gRPC",
            Self::Cleanup => "failed to clean up generator resources via gRPC",
            Self::Check => "failed to check the provider's health",
        }
    }
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// The provider says that the remote secret does not exist (P-ERR-1).
    NoSecret,
    /// The breaker is open: nothing was sent.
    BreakerOpen {
        /// The failure that was seen last.
        last_failure: String,
    },
    /// There is no token for the account that the store names: nothing was sent.
    NoToken {
        /// Whether it may come without anyone's doing.
        is_transient: bool,
    },
    /// No connection could be made, or it was refused.
    Connect(ConnectError),
    /// The connection broke.
    Lost,
    /// The time was up.
    Timeout,
    /// The answer could not be decoded.
    Undecodable,
    /// The provider answered with an error.
    Status {
        /// Its code.
        code: Code,
        /// The reason of its `google.rpc.ErrorInfo`, if it attached one.
        reason: Option<String>,
    },
}

/// A failed call. The text is fit for conditions and events.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}: {text}", method.failure())]
pub struct CallError {
    /// Which call.
    pub method: Method,
    /// Why.
    pub cause: Cause,
    /// The cause in words: one line, at most 1 KiB.
    pub text: String,
    /// How long to wait before another try, if that is known.
    pub retry_after: Option<Duration>,
}

/// What servers say of a message above their limit: gRPC for Go, and tonic behind this project's servers.
const TOO_LARGE: [&str; 2] = ["larger than max", "message length too large"];

// === impl CallError ===

impl CallError {
    pub(crate) fn breaker_open(method: Method, refusal: Refusal) -> Self {
        let Refusal {
            retry_after,
            last_failure,
        } = refusal;
        Self {
            method,
            text: format!("circuit breaker is open: {last_failure}"),
            cause: Cause::BreakerOpen { last_failure },
            retry_after: Some(retry_after),
        }
    }

    pub(crate) fn no_token(method: Method, problem: &TokenProblem) -> Self {
        let is_transient = matches!(problem, TokenProblem::Unread(_));
        Self {
            method,
            cause: Cause::NoToken { is_transient },
            text: sanitise(&problem.to_string()),
            retry_after: None,
        }
    }

    pub(crate) fn timeout(method: Method, limit: Duration) -> Self {
        let text = format!("no answer within {:.1} s", limit.as_secs_f64());
        Self {
            method,
            cause: Cause::Timeout,
            text,
            retry_after: None,
        }
    }

    pub(crate) fn from_status(method: Method, status: &Status, connection: &Connection) -> Self {
        if Connection::is_local(status) {
            // The channel's own timer, a moment before ours.
            if status.code() == Code::Cancelled {
                let text = "the time was up".into();
                return Self {
                    method,
                    cause: Cause::Timeout,
                    text,
                    retry_after: None,
                };
            }
            let (cause, text) = match connection.explain(status) {
                Some(error) => {
                    let text = error.to_string();
                    (Cause::Connect(error), text)
                }
                None => (Cause::Lost, "the connection to the provider broke".into()),
            };
            return Self {
                method,
                cause,
                text,
                retry_after: None,
            };
        }
        let info = status
            .get_details_error_info()
            .filter(|info| info.domain == ERROR_DOMAIN);
        let reason = info.map(|info| info.reason);
        let cause = match status.code() {
            Code::NotFound if matches!(method, Method::GetSecret | Method::GetSecretMap) => {
                Cause::NoSecret
            }
            Code::Cancelled if status.message() == DEADLINE_TEXT => Cause::Timeout,
            // Made by the codec on this side: a provider's own INTERNAL looks the same but for the details that ours attach.
            Code::Internal if reason.is_none() && is_codec_text(status.message()) => {
                Cause::Undecodable
            }
            code => Cause::Status { code, reason },
        };
        let text = match (&cause, sanitise(status.message())) {
            (Cause::NoSecret, _) => "Secret does not exist".into(),
            (Cause::Timeout, _) => "the time was up".into(),
            (Cause::Undecodable, _) => "the answer cannot be decoded".into(),
            (_, text) if text.is_empty() => format!("{:?}", status.code()),
            (_, text) => text,
        };
        let retry_after = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay)
            .map(|delay| delay.min(LONGEST_RETRY_AFTER));
        Self {
            method,
            cause,
            text,
            retry_after,
        }
    }

    /// Whether another attempt of the same call may succeed at once (P-RT-1).
    pub(crate) fn is_retryable(&self) -> bool {
        match &self.cause {
            Cause::Lost => true,
            // A certificate or a protocol does not change within a second.
            Cause::Connect(error) => !matches!(
                error,
                ConnectError::ServerCertificate { .. }
                    | ConnectError::ClientCertificate { .. }
                    | ConnectError::NoHttp2 { .. }
                    | ConnectError::Handshake { .. }
            ),
            Cause::Status {
                code: Code::ResourceExhausted,
                reason,
            } => {
                !TOO_LARGE.iter().any(|text| self.text.contains(text))
                    && reason.as_deref() != Some("RESULT_TOO_LARGE")
            }
            Cause::Status { code, .. } => {
                matches!(
                    code,
                    Code::Unavailable | Code::Aborted | Code::DeadlineExceeded
                )
            }
            Cause::Timeout => true,
            Cause::NoSecret
            | Cause::BreakerOpen { .. }
            | Cause::NoToken { .. }
            | Cause::Undecodable => false,
        }
    }

    /// Whether the provider itself was reached, so that the breaker must not count the failure (P-RT-4).
    ///
    /// A provider that says of itself that only a store's backend is away was reached: the other stores behind it are well.
    pub(crate) fn is_reached(&self) -> bool {
        match &self.cause {
            Cause::Connect(_) | Cause::Lost | Cause::Timeout => false,
            Cause::Status {
                code: Code::Unavailable,
                reason,
            } => {
                matches!(reason.as_deref(), Some("BACKEND_UNAVAILABLE" | "TLS_ERROR"))
            }
            Cause::Status {
                code: Code::DeadlineExceeded,
                ..
            } => false,
            // Without a token nobody asked it, so that nothing is known of the provider.
            Cause::NoSecret
            | Cause::BreakerOpen { .. }
            | Cause::NoToken { .. }
            | Cause::Undecodable
            | Cause::Status { .. } => true,
        }
    }

    /// The kind of failure, for whoever decides what to do next.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match &self.cause {
            Cause::BreakerOpen { .. } | Cause::Connect(_) | Cause::Lost => {
                FailureClass::Unavailable
            }
            Cause::Timeout => FailureClass::Timeout,
            Cause::NoToken { is_transient: true } => FailureClass::Unavailable,
            Cause::NoToken {
                is_transient: false,
            }
            | Cause::Undecodable => FailureClass::Configuration,
            Cause::NoSecret => FailureClass::Provider,
            Cause::Status { code, .. } => match code {
                Code::Unauthenticated | Code::PermissionDenied => FailureClass::Unauthorized,
                Code::Unavailable | Code::ResourceExhausted | Code::Aborted => {
                    FailureClass::Unavailable
                }
                Code::DeadlineExceeded => FailureClass::Timeout,
                Code::FailedPrecondition | Code::InvalidArgument | Code::Unimplemented => {
                    FailureClass::Configuration
                }
                Code::Ok
                | Code::Cancelled
                | Code::Unknown
                | Code::NotFound
                | Code::AlreadyExists
                | Code::OutOfRange
                | Code::Internal
                | Code::DataLoss => FailureClass::Provider,
            },
        }
    }

    /// Code for metrics, in the spelling of the gRPC specification.
    pub(crate) fn grpc_code(&self) -> &'static str {
        match &self.cause {
            Cause::NoSecret => "NOT_FOUND",
            Cause::BreakerOpen { .. } | Cause::Connect(_) | Cause::Lost => "UNAVAILABLE",
            Cause::NoToken { .. } => "UNAUTHENTICATED",
            Cause::Timeout => "DEADLINE_EXCEEDED",
            Cause::Undecodable => "INTERNAL",
            Cause::Status { code, .. } => code_name(*code),
        }
    }

    /// `error_type` of `grpc_client_request_errors_total` (provider-protocol.md 11), by cause instead of by text.
    pub(crate) fn error_type(&self) -> &'static str {
        match &self.cause {
            Cause::Timeout => "timeout",
            Cause::Connect(ConnectError::Refused { .. }) => "connection_refused",
            Cause::Connect(ConnectError::ClientCertificate { problem, .. })
                if *problem != CertificateProblem::Invalid =>
            {
                "unauthorized"
            }
            Cause::BreakerOpen { .. } | Cause::Connect(_) | Cause::Lost => "unavailable",
            Cause::Status { code, .. } => match code {
                Code::DeadlineExceeded => "timeout",
                Code::Unavailable => "unavailable",
                Code::PermissionDenied => "forbidden",
                Code::NotFound => "not_found",
                Code::Unauthenticated => "unauthorized",
                _ => "unknown",
            },
            Cause::NoToken { .. } => "unauthorized",
            Cause::NoSecret | Cause::Undecodable => "unknown",
        }
    }
}

impl From<CallError> for FetchError {
    fn from(error: CallError) -> Self {
        if error.cause == Cause::NoSecret {
            return Self::NoSecret;
        }
        Self::Failed {
            class: error.class(),
            message: error.to_string(),
            retry_after: error.retry_after,
        }
    }
}

fn is_codec_text(text: &str) -> bool {
    text.contains("failed to decode Protobuf")
        || text.starts_with("protocol error")
        || text.contains("invalid compression")
}

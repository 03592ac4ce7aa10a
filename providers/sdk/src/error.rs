//! What can go wrong in a provider server, and how it leaves the process.
//!
//! An agent decides by gRPC code and by the class (the reason of `google.rpc.ErrorInfo`), never by text. The classes are
//! those of the provider specification, section 2.5; [`ErrorClass::code`] is the only mapping to codes.
//!
//! The class [`ErrorClass::SecretNotFound`] is special: it alone becomes `NOT_FOUND`, and an agent may delete a user's Secret
//! on it. A Kubernetes 404 must therefore never be turned into it (P-04).

use std::collections::HashMap;
use std::time::Duration;

use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt};

/// `domain` of the `google.rpc.ErrorInfo` that every error carries.
pub const ERROR_DOMAIN: &str = "provider.external-secrets.io";

/// Longest error message that leaves the process, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 1024;

/// Result of a provider operation.
pub type Result<T, E = ProviderError> = std::result::Result<T, E>;

/// Class of a failure; its name is the `reason` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The addressed remote object or version is absent or deleted. The only class that drives `deletionPolicy`.
    SecretNotFound,
    /// The object is there, the property (or tag, or label) is not.
    PropertyNotFound,
    /// The object is there but is not JSON, not an object or not a certificate where that is needed.
    InvalidPayload,
    /// The request is malformed: bad regular expression, version syntax, find operator or metadata.
    InvalidArgument,
    /// The provider's own resource is invalid.
    InvalidConfig,
    /// The provider's own resource does not exist (it may appear).
    ConfigNotFound,
    /// A referenced Secret, ConfigMap, ServiceAccount or key does not exist.
    CredentialsNotFound,
    /// The backend rejects the credentials, or a login or token exchange fails.
    Unauthenticated,
    /// The backend refuses the operation.
    PermissionDenied,
    /// A namespaced store names a resource of another namespace.
    NamespaceMismatch,
    /// A credential lies outside the namespaces that this server may read.
    CredentialNamespaceDenied,
    /// A push was refused because the object exists without the ownership mark.
    NotManaged,
    /// A concurrent writer won, or the name is still pending deletion.
    Conflict,
    /// The backend asks to slow down.
    Throttled,
    /// This server has too many requests in flight.
    ServerBusy,
    /// The answer would exceed a limit of this server (results or bytes).
    ResultTooLarge,
    /// The backend cannot be reached or answers with a server error.
    BackendUnavailable,
    /// The certificate of the backend did not verify.
    TlsError,
    /// The backend says that nothing changed; the caller keeps its data.
    NotModified,
    /// The kind does not support the operation.
    Unimplemented,
    /// This server does not serve the apiVersion and kind.
    UnsupportedKind,
    /// The request needs a protocol feature that this server does not have.
    VersionSkew,
    /// The caller's deadline passed.
    DeadlineExceeded,
    /// Anything else, panics included.
    Internal,
}

/// A failed operation: class, a text without secret material, and when to try again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    class: ErrorClass,
    message: String,
    retry_after: Option<Duration>,
    code: Option<Code>,
}

// === impl ErrorClass ===

impl ErrorClass {
    /// Every class, in the order of the specification.
    pub const ALL: [Self; 24] = [
        Self::SecretNotFound,
        Self::PropertyNotFound,
        Self::InvalidPayload,
        Self::InvalidArgument,
        Self::InvalidConfig,
        Self::ConfigNotFound,
        Self::CredentialsNotFound,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::NamespaceMismatch,
        Self::CredentialNamespaceDenied,
        Self::NotManaged,
        Self::Conflict,
        Self::Throttled,
        Self::ServerBusy,
        Self::ResultTooLarge,
        Self::BackendUnavailable,
        Self::TlsError,
        Self::NotModified,
        Self::Unimplemented,
        Self::UnsupportedKind,
        Self::VersionSkew,
        Self::DeadlineExceeded,
        Self::Internal,
    ];

    /// The name on the wire (`google.rpc.ErrorInfo.reason`).
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::SecretNotFound => "SECRET_NOT_FOUND",
            Self::PropertyNotFound => "PROPERTY_NOT_FOUND",
            Self::InvalidPayload => "INVALID_PAYLOAD",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::InvalidConfig => "INVALID_CONFIG",
            Self::ConfigNotFound => "CONFIG_NOT_FOUND",
            Self::CredentialsNotFound => "CREDENTIALS_NOT_FOUND",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::NamespaceMismatch => "NAMESPACE_MISMATCH",
            Self::CredentialNamespaceDenied => "CREDENTIAL_NAMESPACE_DENIED",
            Self::NotManaged => "NOT_MANAGED",
            Self::Conflict => "CONFLICT",
            Self::Throttled => "THROTTLED",
            Self::ServerBusy => "SERVER_BUSY",
            Self::ResultTooLarge => "RESULT_TOO_LARGE",
            Self::BackendUnavailable => "BACKEND_UNAVAILABLE",
            Self::TlsError => "TLS_ERROR",
            Self::NotModified => "NOT_MODIFIED",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::UnsupportedKind => "UNSUPPORTED_KIND",
            Self::VersionSkew => "VERSION_SKEW",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Internal => "INTERNAL",
        }
    }

    /// The gRPC code of this class (provider specification 2.5, provider protocol P-ERR-3).
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::SecretNotFound => Code::NotFound,
            Self::PropertyNotFound
            | Self::InvalidPayload
            | Self::InvalidConfig
            | Self::ConfigNotFound
            | Self::CredentialsNotFound
            | Self::NotManaged
            | Self::NotModified
            | Self::VersionSkew => Code::FailedPrecondition,
            Self::InvalidArgument | Self::UnsupportedKind => Code::InvalidArgument,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::PermissionDenied | Self::NamespaceMismatch | Self::CredentialNamespaceDenied => {
                Code::PermissionDenied
            }
            Self::Conflict => Code::Aborted,
            Self::Throttled | Self::ServerBusy | Self::ResultTooLarge => Code::ResourceExhausted,
            Self::BackendUnavailable | Self::TlsError => Code::Unavailable,
            Self::Unimplemented => Code::Unimplemented,
            Self::DeadlineExceeded => Code::DeadlineExceeded,
            Self::Internal => Code::Internal,
        }
    }

    /// The class whose name on the wire is `reason`.
    #[must_use]
    pub fn from_reason(reason: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.reason() == reason)
    }

    /// Whether a failure of this class belongs into the answer of `Validate` (`valid=false`) instead of failing the call:
    /// someone must change an object before the store can work.
    #[must_use]
    pub const fn is_verdict(self) -> bool {
        matches!(
            self,
            Self::InvalidConfig
                | Self::CredentialsNotFound
                | Self::Unauthenticated
                | Self::PermissionDenied
        )
    }
}

// === impl ProviderError ===

impl ProviderError {
    /// An error of `class`. `message` must hold no payload, token or decoder snippet, and must be the same for every
    /// repetition of the same failure (no request ids).
    #[must_use]
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            retry_after: None,
            code: None,
        }
    }

    /// The one error that means "the remote secret does not exist".
    #[must_use]
    pub fn secret_not_found() -> Self {
        Self::new(ErrorClass::SecretNotFound, "Secret does not exist")
    }

    /// The remote object exists but has no such property.
    #[must_use]
    pub fn property_not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::PropertyNotFound, message)
    }

    /// The remote object does not hold what the request needs.
    #[must_use]
    pub fn invalid_payload(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::InvalidPayload, message)
    }

    /// The request is malformed.
    #[must_use]
    pub fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::InvalidArgument, message)
    }

    /// The provider's own resource is invalid.
    #[must_use]
    pub fn invalid_config(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::InvalidConfig, message)
    }

    /// A referenced credential does not exist.
    #[must_use]
    pub fn credentials_not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::CredentialsNotFound, message)
    }

    /// The operation is not supported by the kind.
    #[must_use]
    pub fn unimplemented(operation: &str) -> Self {
        Self::new(
            ErrorClass::Unimplemented,
            format!("{operation} is not supported by this provider"),
        )
    }

    /// A bug or an answer nobody expected.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Internal, message)
    }

    /// Tells the caller how long to wait (`google.rpc.RetryInfo`).
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Answers with another gRPC code than the class has. Only for servers that simulate foreign ones.
    #[must_use]
    pub fn with_code(mut self, code: Code) -> Self {
        self.code = Some(code);
        self
    }

    /// The class.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        self.class
    }

    /// The text, as given.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// How long the caller should wait.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The gRPC code that this error is answered with.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code.unwrap_or_else(|| self.class.code())
    }

    /// The status that leaves the process: code, sanitised text, `ErrorInfo` and, where known, `RetryInfo`.
    #[must_use]
    pub fn to_status(&self) -> tonic::Status {
        let mut details =
            ErrorDetails::with_error_info(self.class.reason(), ERROR_DOMAIN, HashMap::new());
        if let Some(delay) = self.retry_after {
            details.set_retry_info(Some(delay));
        }
        tonic::Status::with_error_details(self.code(), sanitise(&self.message), details)
    }
}

/// Cuts `text` to [`MAX_MESSAGE_BYTES`] at a character border and replaces control characters by blanks.
#[must_use]
pub fn sanitise(text: &str) -> String {
    let mut clean = String::with_capacity(text.len().min(MAX_MESSAGE_BYTES));
    for character in text.chars() {
        if clean.len() + character.len_utf8() > MAX_MESSAGE_BYTES {
            break;
        }
        clean.push(if character.is_control() {
            ' '
        } else {
            character
        });
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_secret_is_not_found() {
        for class in ErrorClass::ALL {
            assert_eq!(
                class.code() == Code::NotFound,
                class == ErrorClass::SecretNotFound,
                "{class:?}"
            );
            assert_ne!(class.code(), Code::Unknown, "{class:?}");
        }
    }

    #[test]
    fn reasons_are_distinct_and_read_back() {
        for class in ErrorClass::ALL {
            assert_eq!(ErrorClass::from_reason(class.reason()), Some(class));
        }
        assert_eq!(ErrorClass::from_reason("AUTH_FAILED"), None);
    }

    #[test]
    fn a_status_carries_error_info_and_retry_info() {
        let status = ProviderError::new(ErrorClass::Throttled, "slow\ndown")
            .with_retry_after(Duration::from_secs(3))
            .to_status();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "slow down");
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!(
            (info.domain.as_str(), info.reason.as_str()),
            (ERROR_DOMAIN, "THROTTLED")
        );
        assert_eq!(
            details.retry_info().unwrap().retry_delay,
            Some(Duration::from_secs(3))
        );
    }

    #[test]
    fn long_messages_are_cut_at_a_character_border() {
        let text = "é".repeat(MAX_MESSAGE_BYTES);
        let clean = sanitise(&text);
        assert_eq!(clean.len(), MAX_MESSAGE_BYTES);
        assert!(clean.chars().all(|character| character == 'é'));
    }
}

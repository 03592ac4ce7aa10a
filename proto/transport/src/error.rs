//! Why a connection could not be made, in the words that a store's condition shows (P-TLS-3).

use std::error::Error as _;
use std::io;

use rustls::{AlertDescription, CertificateError, Error as TlsError};

/// A step of connecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Looking up the host.
    Resolve,
    /// Opening the TCP connection.
    Connect,
    /// The TLS handshake.
    Handshake,
}

impl std::fmt::Display for Step {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Resolve => "looking up the host",
            Self::Connect => "connecting",
            Self::Handshake => "the TLS handshake",
        })
    }
}

/// Why a connection to a provider could not be made or was refused. Never holds key material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The host has no address.
    #[error("failed to look up {address}")]
    Resolve {
        /// The provider's address.
        address: String,
    },
    /// Nothing listens there.
    #[error("connection to {address} was refused")]
    Refused {
        /// The provider's address.
        address: String,
    },
    /// The connection could not be made, or broke, for another reason.
    #[error("failed to reach {address}: {kind}")]
    Network {
        /// The provider's address.
        address: String,
        /// What the system reported.
        kind: io::ErrorKind,
    },
    /// It took too long.
    #[error("timed out while {step} ({address})")]
    TimedOut {
        /// The provider's address.
        address: String,
        /// Where the time went.
        step: Step,
    },
    /// We do not accept the server's certificate.
    #[error("certificate of {address} is not accepted: {problem}")]
    ServerCertificate {
        /// The provider's address.
        address: String,
        /// Which check failed.
        problem: CertificateProblem,
    },
    /// The server does not accept our certificate.
    #[error("{address} does not accept the client certificate: {problem}")]
    ClientCertificate {
        /// The provider's address.
        address: String,
        /// Which check failed, as far as the server tells.
        problem: CertificateProblem,
    },
    /// The server does not speak HTTP/2 over this connection.
    #[error("{address} did not agree to HTTP/2")]
    NoHttp2 {
        /// The provider's address.
        address: String,
    },
    /// The server does not speak TLS, or no version or cipher in common.
    #[error("TLS handshake with {address} failed: {reason}")]
    Handshake {
        /// The provider's address.
        address: String,
        /// What went wrong.
        reason: String,
    },
}

/// Which check of a certificate failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// It is past its end.
    #[error("it has expired")]
    Expired,
    /// It is before its beginning.
    #[error("it is not valid yet")]
    NotYetValid,
    /// It was not issued by the authority that the other side trusts.
    #[error("it was issued by an unknown authority")]
    UnknownAuthority,
    /// It is not valid for the host of the address.
    #[error("it is not valid for this host name")]
    NameMismatch,
    /// It may not be used for this end of a connection.
    #[error("it is not meant for this use")]
    Purpose,
    /// There is none.
    #[error("there is none")]
    Missing,
    /// Anything else, a bad signature for example.
    #[error("it is not valid")]
    Invalid,
}

// === impl ConnectError ===

impl ConnectError {
    /// Finds the reason in the sources of `error`, which is usually a [`tonic::Status`].
    #[must_use]
    pub fn find<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }

    /// Explains an I/O error of `step`.
    pub(crate) fn from_io(address: &str, step: Step, error: &io::Error) -> Self {
        let address = address.to_owned();
        if let Some(error) = tls_cause(error) {
            return Self::from_tls(address, error);
        }
        match (step, error.kind()) {
            (Step::Resolve, _) => Self::Resolve { address },
            (Step::Connect, io::ErrorKind::ConnectionRefused) => Self::Refused { address },
            (Step::Connect, io::ErrorKind::TimedOut) => Self::TimedOut { address, step },
            (Step::Handshake, io::ErrorKind::UnexpectedEof) => Self::Handshake {
                address,
                reason: "the server closed the connection".into(),
            },
            (_, kind) => Self::Network { address, kind },
        }
    }

    fn from_tls(address: String, error: &TlsError) -> Self {
        match error {
            TlsError::InvalidCertificate(error) => Self::ServerCertificate {
                address,
                problem: CertificateProblem::from(error),
            },
            TlsError::UnsupportedNameType => Self::ServerCertificate {
                address,
                problem: CertificateProblem::NameMismatch,
            },
            TlsError::AlertReceived(alert) => match CertificateProblem::from_alert(*alert) {
                Some(problem) => Self::ClientCertificate { address, problem },
                None if *alert == AlertDescription::NoApplicationProtocol => {
                    Self::NoHttp2 { address }
                }
                None => Self::Handshake {
                    address,
                    reason: format!("the server sent the alert {alert:?}"),
                },
            },
            TlsError::NoApplicationProtocol => Self::NoHttp2 { address },
            TlsError::InvalidMessage(_) => Self::Handshake {
                address,
                reason: "the server does not speak TLS".into(),
            },
            // Its other texts name protocol states, not contents; keep them short all the same.
            other => Self::Handshake {
                address,
                reason: other.to_string().chars().take(200).collect(),
            },
        }
    }
}

/// The TLS error inside an I/O error, which `source` would step over.
fn tls_cause(error: &io::Error) -> Option<&TlsError> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = match error.get_ref() {
        Some(inner) => Some(inner),
        None => error.source(),
    };
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<TlsError>() {
            return Some(found);
        }
        next = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

// === impl CertificateProblem ===

impl CertificateProblem {
    /// What a server's alert says about our certificate. Implementations differ (provider-protocol.md 8.1), so alerts that
    /// can only be about it count, and the rest stay unexplained.
    fn from_alert(alert: AlertDescription) -> Option<Self> {
        match alert {
            AlertDescription::CertificateExpired => Some(Self::Expired),
            AlertDescription::UnknownCA => Some(Self::UnknownAuthority),
            AlertDescription::CertificateRequired => Some(Self::Missing),
            AlertDescription::UnsupportedCertificate => Some(Self::Purpose),
            AlertDescription::BadCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError => Some(Self::Invalid),
            _ => None,
        }
    }
}

impl From<&CertificateError> for CertificateProblem {
    fn from(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            CertificateError::UnknownIssuer => Self::UnknownAuthority,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::NameMismatch
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::Purpose
            }
            _ => Self::Invalid,
        }
    }
}

//! What an answer, or the lack of one, means (providers specification 2.5, 2.7 and 8.5).

use std::error::Error as _;
use std::time::Duration;

use http::StatusCode;
use latchkey_provider_sdk::{ErrorClass, ProviderError};
use latchkey_secret::SecretValue;
use zeroize::Zeroizing;

use crate::body::Value;

/// Longest text of the server that a message repeats, in bytes.
const MAX_SERVER_TEXT: usize = 256;

/// An answer of the server. Its body may hold secrets: it is wiped on drop and there is no `Debug`.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Where the server redirects to, if it does.
    pub(super) location: Option<String>,
    /// The pause that the server asks for.
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// A failed attempt.
pub(super) struct Failure {
    pub(super) error: ProviderError,
    /// Whether another attempt may help.
    pub(super) is_transient: bool,
}

// === impl Answer ===

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    ///
    /// `BACKEND_UNAVAILABLE` if it is something else: what answers is not Vault but, say, a proxy without a backend.
    pub(crate) fn json(&self) -> Result<Value<'_>, ProviderError> {
        Value::try_new(&self.body).ok_or_else(|| {
            ProviderError::new(
                ErrorClass::BackendUnavailable,
                format!(
                    "the answer with status {} is not one of vault",
                    self.status.as_u16()
                ),
            )
        })
    }

    /// The `errors` of the body in one line, cut and without any of `secrets`; empty if there are none.
    pub(crate) fn error_text(&self, secrets: &[&SecretValue]) -> String {
        Value::try_new(&self.body)
            .map(|body| error_text(body, secrets))
            .unwrap_or_default()
    }
}

/// The `errors` of a body in one line, cut and without any of `secrets`.
pub(crate) fn error_text(body: Value<'_>, secrets: &[&SecretValue]) -> String {
    let mut text = body.messages("errors").join("; ");
    for secret in secrets
        .iter()
        .filter_map(|secret| std::str::from_utf8(secret.expose()).ok())
    {
        if !secret.is_empty() {
            text = text.replace(secret, "<redacted>");
        }
    }
    // Vault prints a list as "1 error occurred:\n\t* permission denied\n\n".
    let words: Vec<&str> = text
        .split_whitespace()
        .filter(|word| *word != "*")
        .collect();
    let line = words.join(" ");
    let line = line.strip_prefix("1 error occurred: ").unwrap_or(&line);
    let mut end = line.len().min(MAX_SERVER_TEXT);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line[..end].to_owned()
}

// === impl Failure ===

impl Failure {
    /// A failure that no further attempt will mend.
    pub(super) fn final_(error: ProviderError) -> Self {
        Self {
            error,
            is_transient: false,
        }
    }

    /// A failure that may pass.
    fn transient(error: ProviderError) -> Self {
        Self {
            error,
            is_transient: true,
        }
    }
}

/// The failure that a status stands for, if the server could not deal with the request at all. The text of a server error is
/// dropped: it is written for operators of the server and may differ from one attempt to the next.
pub(super) fn server_failure(answer: &Answer, origin: &str) -> Option<Failure> {
    let status = answer.status.as_u16();
    let (class, text) = match status {
        412 => (
            ErrorClass::BackendUnavailable,
            format!("vault server {origin} does not have the required state yet"),
        ),
        429 => (
            ErrorClass::Throttled,
            format!("vault server {origin} asks to slow down"),
        ),
        // 472 and 473 are a standby's ways to say that it does not serve requests.
        472 | 473 => (
            ErrorClass::BackendUnavailable,
            format!("vault server {origin} is a standby"),
        ),
        503 if answer.error_text(&[]).contains("sealed") => (
            ErrorClass::BackendUnavailable,
            format!("vault server {origin} is sealed"),
        ),
        500..=599 => (
            ErrorClass::BackendUnavailable,
            format!("vault server {origin} answered with status {status}"),
        ),
        _ => return None,
    };
    let mut error = ProviderError::new(class, text);
    if let Some(delay) = answer.retry_after {
        error = error.with_retry_after(delay);
    }
    // 501 says that the server is not initialised, which only an operator changes.
    Some(if status == 501 {
        Failure::final_(error)
    } else {
        Failure::transient(error)
    })
}

/// The failure behind an error of the HTTP library. The library's own text names the full address and is dropped.
pub(super) fn transport_failure(error: &reqwest::Error, origin: &str) -> Failure {
    let unavailable = |text: &str| {
        ProviderError::new(
            ErrorClass::BackendUnavailable,
            format!("{text} vault server {origin}"),
        )
    };
    if let Some(reason) = find_tls_error(error) {
        let text = format!(
            "TLS with vault server {origin} failed: {}",
            tls_reason(reason)
        );
        return Failure::final_(ProviderError::new(ErrorClass::TlsError, text));
    }
    // An alert after the handshake, such as the refusal of a client certificate in TLS 1.3, arrives as text alone.
    let alert = chain(error)
        .map(ToString::to_string)
        .find(|text| text.starts_with("received fatal alert"));
    if let Some(alert) = alert {
        let text = format!("TLS with vault server {origin} failed: {alert}");
        return Failure::final_(ProviderError::new(ErrorClass::TlsError, text));
    }
    if error.is_timeout() {
        // Not tried again: the caller's own deadline would pass before a second attempt ends.
        return Failure::final_(unavailable("no answer in time from"));
    }
    if error.is_builder() {
        return Failure::final_(ProviderError::internal(
            "failed to build a request to vault",
        ));
    }
    let io = chain(error).find_map(|cause| cause.downcast_ref::<std::io::Error>());
    let cause = match io.map(std::io::Error::kind) {
        Some(std::io::ErrorKind::ConnectionRefused) => ": connection refused",
        Some(std::io::ErrorKind::ConnectionReset) => ": connection reset",
        _ if chain(error)
            .any(|cause| cause.to_string().starts_with("failed to lookup address")) =>
        {
            ": name not resolved"
        }
        _ => "",
    };
    let step = if error.is_connect() {
        "cannot connect to"
    } else {
        "connection lost to"
    };
    Failure::transient(ProviderError::new(
        ErrorClass::BackendUnavailable,
        format!("{step} vault server {origin}{cause}"),
    ))
}

/// The causes behind an error of the HTTP library, those inside of an `io::Error` included: such an error hides what it was
/// made of from `source`.
fn chain<'a>(
    error: &'a reqwest::Error,
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(
        error.source(),
        |cause: &&'a (dyn std::error::Error + 'static)| {
            let inner = cause
                .downcast_ref::<std::io::Error>()
                .and_then(std::io::Error::get_ref);
            inner
                .map(|inner| -> &'a (dyn std::error::Error + 'static) { inner })
                .or_else(|| (*cause).source())
        },
    )
}

fn find_tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    chain(error).find_map(|cause| cause.downcast_ref::<rustls::Error>())
}

/// The reason in words that are the same for each attempt: some of the library's texts hold the current time.
fn tls_reason(error: &rustls::Error) -> String {
    use rustls::{CertificateError, Error};
    match error {
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "the server certificate has expired".to_owned(),
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "the server certificate is not valid yet".to_owned(),
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the server certificate is not signed by a trusted authority".to_owned()
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the server certificate is not valid for this host name".to_owned(),
        Error::AlertReceived(alert) => format!("the server refused the connection ({alert:?})"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str, retry_after: Option<u64>) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            location: None,
            retry_after: retry_after.map(Duration::from_secs),
            body: Zeroizing::new(body.as_bytes().to_vec()),
        }
    }

    #[test]
    fn server_failures_are_classified_by_status() {
        for (status, body, class, is_transient) in [
            (412, "", ErrorClass::BackendUnavailable, true),
            (429, "", ErrorClass::Throttled, true),
            (472, "", ErrorClass::BackendUnavailable, true),
            (
                500,
                r#"{"errors":["request 1f2e failed"]}"#,
                ErrorClass::BackendUnavailable,
                true,
            ),
            (501, "", ErrorClass::BackendUnavailable, false),
            (502, "<html>", ErrorClass::BackendUnavailable, true),
            (
                503,
                r#"{"errors":["Vault is sealed"]}"#,
                ErrorClass::BackendUnavailable,
                true,
            ),
        ] {
            let failure = server_failure(&answer(status, body, Some(7)), "https://v").unwrap();
            assert_eq!(
                (failure.error.class(), failure.is_transient),
                (class, is_transient),
                "{status}"
            );
            assert_eq!(failure.error.retry_after(), Some(Duration::from_secs(7)));
            assert!(!failure.error.message().contains("1f2e"));
            assert_eq!(failure.error.message().contains("sealed"), status == 503);
        }
        for status in [200, 204, 400, 403, 404, 405] {
            assert!(
                server_failure(&answer(status, "", None), "https://v").is_none(),
                "{status}"
            );
        }
    }

    #[test]
    fn error_texts_are_one_line_cut_and_redacted() {
        let token = SecretValue::from("hvs.canary".to_owned());
        for (body, expected) in [
            (
                r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#,
                "permission denied",
            ),
            (
                r#"{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}"#,
                "2 errors occurred: permission denied invalid token",
            ),
            (
                r#"{"errors":["bad token hvs.canary","again"]}"#,
                "bad token <redacted>; again",
            ),
            (r#"{"errors":[]}"#, ""),
            (r#"{"errors":"text"}"#, ""),
            ("<html>", ""),
        ] {
            assert_eq!(answer(403, body, None).error_text(&[&token]), expected);
        }
        let long = format!(r#"{{"errors":["{}"]}}"#, "é".repeat(1000));
        assert_eq!(
            answer(403, &long, None).error_text(&[]).len(),
            MAX_SERVER_TEXT
        );
    }

    #[test]
    fn a_body_that_is_not_json_is_not_quoted() {
        let error = answer(200, "canary", None).json().err().unwrap();
        assert_eq!(error.class(), ErrorClass::BackendUnavailable);
        assert!(!error.message().contains("canary"));
    }
}

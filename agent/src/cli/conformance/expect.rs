//! What the contract says of an answer, and how what came is told.

use latchkey_proto::code_name;
use latchkey_secret::SecretValue;
use serde_json::Value;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::suite::Suite;
use crate::providers::{CallError, Cause, Method};

/// What came, if it is what was expected.
pub(super) type Found = Result<String, Mismatch>;

/// Something else came.
#[derive(Debug)]
pub(super) struct Mismatch {
    pub(super) expected: String,
    pub(super) came: String,
}

/// How the contract refuses.
pub(super) struct Refusal {
    /// A part of upstream's text, whose code is UNKNOWN; empty where there is none to rely on.
    pub(super) text: &'static str,
    /// The codes of the situation (P-ERR-3).
    pub(super) codes: &'static [Code],
    /// The reason of an `ErrorInfo` that says the same as the text.
    pub(super) reason: &'static str,
}

/// Domain of this contract's `ErrorInfo` (provider-protocol.md 13.3).
const DOMAIN: &str = "provider.external-secrets.io";

// === impl Mismatch ===

impl Mismatch {
    pub(super) fn new(expected: impl Into<String>, came: impl Into<String>) -> Self {
        Self {
            expected: expected.into(),
            came: came.into(),
        }
    }
}

// === impl Refusal ===

impl Refusal {
    /// A refusal of what is asked, whatever it is said with.
    pub(super) const fn of_argument(text: &'static str) -> Self {
        Self {
            text,
            codes: &[Code::InvalidArgument],
            reason: "INVALID_ARGUMENT",
        }
    }

    /// A refusal of a kind that the server does not serve.
    pub(super) const fn of_kind(text: &'static str) -> Self {
        Self {
            text,
            codes: &[Code::InvalidArgument],
            reason: "UNSUPPORTED_KIND",
        }
    }

    /// A refusal by one of `codes`, or by UNKNOWN with whatever text.
    pub(super) const fn by(codes: &'static [Code]) -> Self {
        Self {
            text: "",
            codes,
            reason: "",
        }
    }

    fn is_met_by(&self, status: &Status) -> bool {
        let says = status.message().contains(self.text);
        if status.code() == Code::Unknown {
            return says;
        }
        let info = status.get_details_error_info();
        let explains = info.is_some_and(|info| info.domain == DOMAIN && info.reason == self.reason);
        self.codes.contains(&status.code()) && (says || explains)
    }

    fn told(&self) -> String {
        let mut codes = vec![code_name(Code::Unknown)];
        codes.extend(self.codes.iter().map(|code| code_name(*code)));
        let codes = codes.join(" or ");
        match self.text {
            "" => codes,
            text => format!("{codes}, \"{text}\""),
        }
    }
}

impl Suite {
    /// An answer of any content.
    pub(super) fn answered<T>(&self, result: Result<T, Status>) -> Result<T, Mismatch> {
        result.map_err(|status| Mismatch::new("an answer", self.tell(&status)))
    }

    /// A refusal.
    pub(super) fn refused<T>(&self, result: Result<T, Status>, refusal: &Refusal) -> Found {
        match result {
            Ok(_) => Err(Mismatch::new(refusal.told(), "an answer")),
            // Made on this side: the server said nothing.
            Err(status) if latchkey_transport::Connection::is_local(&status) => {
                Err(Mismatch::new(refusal.told(), self.tell(&status)))
            }
            Err(status) if refusal.is_met_by(&status) => Ok(self.tell(&status)),
            Err(status) => Err(Mismatch::new(refusal.told(), self.tell(&status))),
        }
    }

    /// NOT_FOUND, which the agent takes for a missing secret.
    pub(super) fn missing<T>(&self, method: Method, result: Result<T, Status>) -> Found {
        let expected = "NOT_FOUND";
        match result {
            Ok(_) => Err(Mismatch::new(expected, "an answer")),
            Err(status) => {
                let seen = CallError::from_status(method, &status, &self.connection);
                if seen.cause == Cause::NoSecret {
                    Ok(self.tell(&status))
                } else {
                    Err(Mismatch::new(expected, self.tell(&status)))
                }
            }
        }
    }

    /// A value, byte for byte.
    pub(super) fn value(&self, result: Result<SecretValue, Status>, expected: &[u8]) -> Found {
        match self.answered(result)? {
            came if came.expose() == expected => Ok(size(came.expose())),
            came => Err(different(expected, came.expose())),
        }
    }

    /// The text of a string, or the JSON text of anything else.
    pub(super) fn member(&self, result: Result<SecretValue, Status>, expected: &Value) -> Found {
        let came = self.answered(result)?;
        member(expected, came.expose())
    }
}

/// Compares what came with the member of a JSON object: strings are their text, others their JSON text, and null may be nothing.
pub(super) fn member(expected: &Value, came: &[u8]) -> Found {
    let is_equal = match expected {
        Value::String(text) => text.as_bytes() == came,
        Value::Null if came.is_empty() => true,
        other => serde_json::from_slice::<Value>(came).is_ok_and(|came| came == *other),
    };
    if is_equal {
        Ok(size(came))
    } else {
        let kind = match expected {
            Value::String(_) => "the text of a string, without quotes",
            Value::Null => "null, or nothing",
            Value::Bool(_) => "a boolean as its JSON text",
            Value::Number(_) => "a number as its JSON text",
            Value::Array(_) => "an array as its JSON text",
            Value::Object(_) => "an object as its JSON text",
        };
        Err(Mismatch::new(kind, format!("{}, different", size(came))))
    }
}

/// Says how two values differ without saying what they are.
pub(super) fn different(expected: &[u8], came: &[u8]) -> Mismatch {
    let came = if expected.len() == came.len() {
        format!("other {}", size(came))
    } else {
        size(came)
    };
    Mismatch::new(size(expected), came)
}

/// How long a value is.
pub(super) fn size(value: &[u8]) -> String {
    match value.len() {
        1 => String::from("1 byte"),
        length => format!("{length} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn a_refusal_is_upstreams_text_or_the_code_with_a_reason() {
        let refusal = Refusal::of_kind("mapping not found");
        let detailed = |code, domain: &str, reason: &str| {
            let details = ErrorDetails::with_error_info(reason, domain, []);
            Status::with_error_details(code, "nothing known", details)
        };
        for (status, is_met) in [
            (Status::unknown("resource mapping not found for x"), true),
            (Status::unknown("something else"), false),
            (Status::invalid_argument("resource mapping not found"), true),
            (Status::invalid_argument("something else"), false),
            (
                detailed(Code::InvalidArgument, DOMAIN, "UNSUPPORTED_KIND"),
                true,
            ),
            (
                detailed(Code::InvalidArgument, DOMAIN, "INVALID_ARGUMENT"),
                false,
            ),
            (
                detailed(Code::InvalidArgument, "example.com", "UNSUPPORTED_KIND"),
                false,
            ),
            (detailed(Code::NotFound, DOMAIN, "UNSUPPORTED_KIND"), false),
            (Status::not_found("resource mapping not found"), false),
            (Status::unavailable("resource mapping not found"), false),
        ] {
            assert_eq!(refusal.is_met_by(&status), is_met, "{status:?}");
        }
        let any = Refusal::by(&[Code::FailedPrecondition]);
        assert!(any.is_met_by(&Status::unknown("")));
        assert!(any.is_met_by(&Status::failed_precondition("")));
        assert!(!any.is_met_by(&Status::not_found("")));
    }

    #[test]
    fn members_are_compared_by_their_kind_and_never_shown() {
        for (expected, came, is_equal) in [
            (json!("a"), &b"a"[..], true),
            (json!("a"), b"\"a\"", false),
            (json!(null), b"", true),
            (json!(null), b"null", true),
            (json!(1.5), b"1.50", true),
            (json!(1), b"2", false),
            (json!({"a": [1]}), b"{ \"a\":[1] }", true),
            (json!(true), b"", false),
        ] {
            let found = member(&expected, came);
            assert_eq!(found.is_ok(), is_equal, "{expected} {found:?}");
        }
        let told = format!("{:?}", member(&json!("canary"), b"canary-2"));
        assert!(!told.contains("canary"), "{told}");
        let told = format!("{:?}", different(b"canary", b"parrot"));
        assert!(
            !told.contains("canary") && told.contains("other 6 bytes"),
            "{told}"
        );
    }
}

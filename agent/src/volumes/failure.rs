//! What went wrong while getting content, in the terms of csi.md 1.6, and how patient to be about it.

use std::time::Duration;

use latchkey_csi::backend::{Failure, FailureClass};
use latchkey_engine::source::{self, CallerScope, FetchError};
use latchkey_engine::template::{ObjectError, TemplateError};

/// Longest message shown to a user, in bytes (csi.md 1.2).
const MAX_MESSAGE_BYTES: usize = 512;

/// Whether waiting helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Patience {
    /// The provider may answer later; wait inside the RPC and retry soon.
    Later,
    /// An object may appear later (things are applied in any order); wait a bounded time for it.
    Appears,
    /// Someone must change something; answer at once and retry now and then.
    Never,
    /// The next publish of kubelet may bring a token; wait inside the RPC, and try when it does.
    Token,
    /// The credentials were refused; retrying quickly may lock an account.
    Credentials,
}

/// One failed attempt to get content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// Decides the gRPC code.
    pub(super) class: FailureClass,
    /// Decides when to try again.
    pub(super) patience: Patience,
    /// One line, safe to show.
    pub(super) message: String,
    /// How long the provider asked to wait.
    pub(super) retry_after: Option<Duration>,
    /// By whom it is to be asked for instead, if it is asked for under too wide an identity.
    pub(super) wanted: CallerScope,
}

// === impl Failed ===

impl Failed {
    /// A failure without a wish of the provider's.
    pub(super) fn new(class: FailureClass, patience: Patience, message: impl AsRef<str>) -> Self {
        Self {
            class,
            patience,
            message: clip(message.as_ref()),
            retry_after: None,
            wanted: CallerScope::Store,
        }
    }

    /// The failure of content that is not shared as widely as it was asked for: whoever waits asks for it as `wanted`.
    pub(super) fn too_wide(object: &str, wanted: CallerScope) -> Self {
        let text = format!("{object} is read by each pod for itself");
        Self {
            wanted,
            ..Self::new(FailureClass::FailedPrecondition, Patience::Never, text)
        }
    }

    /// The failure of a fetch, `text` being the engine's own words for it.
    pub(super) fn of_fetch(error: &FetchError, text: &str) -> Self {
        let (class, patience, advice) = match error {
            FetchError::NoSecret => (
                FailureClass::NotFound,
                Patience::Never,
                "create the remote secret or correct the key",
            ),
            FetchError::Failed { class, .. } => of_class(*class),
        };
        let retry_after = match error {
            FetchError::NoSecret => None,
            FetchError::Failed { retry_after, .. } => *retry_after,
        };
        let message = with_advice(text, advice);
        Self {
            class,
            patience,
            message,
            retry_after,
            wanted: CallerScope::Store,
        }
    }

    /// The failure of a template of `object`.
    pub(super) fn of_template(error: &TemplateError, object: &str) -> Self {
        let (class, patience, advice) = match error.object_error() {
            Some(ObjectError::Missing(_)) => (
                FailureClass::NotFound,
                Patience::Appears,
                "create it or correct templateFrom",
            ),
            Some(ObjectError::Unavailable(_)) => (
                FailureClass::Unavailable,
                Patience::Later,
                "it is tried again by itself",
            ),
            _ => (
                FailureClass::FailedPrecondition,
                Patience::Never,
                "correct it",
            ),
        };
        Self {
            class,
            patience,
            message: with_advice(&format!("{object}: {}", error.brief()), advice),
            retry_after: None,
            wanted: CallerScope::Store,
        }
    }

    /// What kubelet is told.
    pub(super) fn to_failure(&self) -> Failure {
        Failure {
            class: self.class,
            message: self.message.clone(),
            retry_after: self.retry_after,
        }
    }
}

/// The one mapping from the engine's kinds to those of csi.md 1.6. A provider's own status never becomes ours as it is.
fn of_class(class: source::FailureClass) -> (FailureClass, Patience, &'static str) {
    use source::FailureClass as Fetch;
    match class {
        Fetch::StoreMissing => (
            FailureClass::NotFound,
            Patience::Appears,
            "create the store or correct secretStoreRef",
        ),
        Fetch::StoreNotReady | Fetch::StoreNotValidated => (
            FailureClass::Unavailable,
            Patience::Later,
            "see the conditions of the store",
        ),
        Fetch::Denied => (
            FailureClass::PermissionDenied,
            Patience::Never,
            "the store must admit this namespace",
        ),
        Fetch::Reference => (
            FailureClass::FailedPrecondition,
            Patience::Never,
            "correct the reference",
        ),
        Fetch::Configuration => (
            FailureClass::FailedPrecondition,
            Patience::Never,
            "correct the named object",
        ),
        Fetch::Unauthorized => (
            FailureClass::Unauthenticated,
            Patience::Credentials,
            "correct the credentials of the store",
        ),
        Fetch::PodOnly | Fetch::NoToken => (
            FailureClass::Unavailable,
            Patience::Token,
            "it is tried again by itself",
        ),
        Fetch::CallerRefused => (
            FailureClass::PermissionDenied,
            Patience::Credentials,
            "grant it to the pod's service account at the backend",
        ),
        Fetch::Unavailable | Fetch::Timeout | Fetch::Provider => (
            FailureClass::Unavailable,
            Patience::Later,
            "it is tried again by itself",
        ),
    }
}

/// `text`, then what to do, within the limit: the advice survives a long text.
pub(super) fn with_advice(text: &str, advice: &str) -> String {
    let room = MAX_MESSAGE_BYTES.saturating_sub(advice.len() + 2);
    format!("{}; {advice}", clip_to(text, room))
}

/// `text` as one line of at most 512 bytes without control characters.
pub(super) fn clip(text: &str) -> String {
    clip_to(text, MAX_MESSAGE_BYTES)
}

fn clip_to(text: &str, limit: usize) -> String {
    const DOTS: &str = "...";
    let line: String = text
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if line.len() <= limit {
        return line;
    }
    let mut end = limit.saturating_sub(DOTS.len());
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{DOTS}", &line[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_fetch_failure_has_its_code_of_csi_md_1_6() {
        use source::FailureClass as Fetch;
        for (class, code, patience) in [
            (
                Fetch::StoreMissing,
                FailureClass::NotFound,
                Patience::Appears,
            ),
            (
                Fetch::StoreNotReady,
                FailureClass::Unavailable,
                Patience::Later,
            ),
            (
                Fetch::Denied,
                FailureClass::PermissionDenied,
                Patience::Never,
            ),
            (
                Fetch::Configuration,
                FailureClass::FailedPrecondition,
                Patience::Never,
            ),
            (
                Fetch::Unauthorized,
                FailureClass::Unauthenticated,
                Patience::Credentials,
            ),
            (
                Fetch::Unavailable,
                FailureClass::Unavailable,
                Patience::Later,
            ),
            (Fetch::Timeout, FailureClass::Unavailable, Patience::Later),
            (Fetch::Provider, FailureClass::Unavailable, Patience::Later),
        ] {
            let error = FetchError::Failed {
                class,
                message: String::from("m"),
                retry_after: Some(Duration::from_secs(3)),
            };
            let failed = Failed::of_fetch(&error, "m");
            assert_eq!(
                (failed.class, failed.patience),
                (code, patience),
                "{class:?}"
            );
            assert_eq!(failed.retry_after, Some(Duration::from_secs(3)));
            assert!(failed.message.starts_with("m; "), "{}", failed.message);
        }
        assert_eq!(
            Failed::of_fetch(&FetchError::NoSecret, "x").class,
            FailureClass::NotFound
        );
    }

    #[test]
    fn messages_are_one_line_of_at_most_512_bytes_and_keep_the_advice() {
        let failed = Failed::of_fetch(&FetchError::NoSecret, &"\u{e9}\n".repeat(600));
        assert!(failed.message.len() <= 512, "{}", failed.message.len());
        assert!(!failed.message.contains('\n'));
        assert!(
            failed
                .message
                .ends_with("...; create the remote secret or correct the key")
        );
    }
}

//! The border between the engine and whatever reaches providers.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use latchkey_crds::external_secret::{Find, RemoteRef, SecretStoreRef};
use latchkey_secret::{SecretData, SecretValue};

/// On whose behalf a value is fetched. Providers and stores decide by it; it is part of every cache key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Namespace of the ExternalSecret, never empty.
    pub namespace: String,
    /// Name of the ExternalSecret.
    pub name: String,
    /// UID of the ExternalSecret.
    pub uid: String,
}

/// A way to fetch values. The agent implements it over gRPC; tests implement it over a map.
pub trait Source: Send + Sync {
    /// Fetches one value, as stored at the provider (decoding is the engine's work).
    ///
    /// # Errors
    ///
    /// [`FetchError::NoSecret`] only if the provider says that the remote secret does not exist.
    fn secret(
        &self,
        caller: &Caller,
        store: &SecretStoreRef,
        remote: &RemoteRef,
    ) -> impl Future<Output = Result<SecretValue, FetchError>> + Send;

    /// Fetches one remote secret as a map of its fields.
    ///
    /// # Errors
    ///
    /// As for [`Source::secret`].
    fn secret_map(
        &self,
        caller: &Caller,
        store: &SecretStoreRef,
        remote: &RemoteRef,
    ) -> impl Future<Output = Result<BTreeMap<String, SecretValue>, FetchError>> + Send;

    /// Fetches all remote secrets that match, each as one value under its name. Whether names are converted before is the
    /// provider's own rule (`externalsecret.md` 3.2); the engine converts them again where nothing rewrites them.
    ///
    /// No match is an empty map and no error.
    ///
    /// # Errors
    ///
    /// As for [`Source::secret`].
    fn find(
        &self,
        caller: &Caller,
        store: &SecretStoreRef,
        find: &Find,
    ) -> impl Future<Output = Result<SecretData, FetchError>> + Send;
}

/// Why a fetch failed. Messages are safe to show: they name stores, never values or tokens.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// The provider says that the remote secret does not exist. Drives `deletionPolicy`.
    #[error("Secret does not exist")]
    NoSecret,
    /// Anything else.
    #[error("{message}")]
    Failed {
        /// What kind of failure; callers retry by it, never by the text.
        class: FailureClass,
        /// One line, at most 1 KiB, without control characters.
        message: String,
        /// How long the provider asked to wait.
        retry_after: Option<Duration>,
    },
}

impl FetchError {
    /// Whether the store was the reason, so that its provider was not even asked.
    #[must_use]
    pub fn is_of_store(&self) -> bool {
        match self {
            Self::NoSecret => false,
            Self::Failed { class, .. } => matches!(
                class,
                FailureClass::StoreMissing | FailureClass::StoreNotReady | FailureClass::Denied
            ),
        }
    }
}

/// The kinds of failure that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// The referenced store does not exist.
    StoreMissing,
    /// The store exists but is not ready (gate), so nothing was asked.
    StoreNotReady,
    /// The store does not admit this caller, or the reference is not allowed.
    Denied,
    /// The store, its TLS material or the request is wrong; someone must change an object.
    Configuration,
    /// The provider refused the credentials (UNAUTHENTICATED, PERMISSION_DENIED).
    Unauthorized,
    /// The provider cannot be reached or asks to wait; trying again helps.
    Unavailable,
    /// The deadline passed.
    Timeout,
    /// The provider reported another error.
    Provider,
}

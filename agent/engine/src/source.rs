//! The border between the engine and whatever reaches providers.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use latchkey_crds::external_secret::{Find, GeneratorRef, RemoteRef, SecretStoreRef};
use latchkey_secret::{SecretData, SecretValue};
use serde_json::Value;

/// On whose behalf a value is fetched. Providers and stores decide by it; it is part of every cache key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Namespace of the ExternalSecret, never empty.
    pub namespace: String,
    /// Name of the ExternalSecret.
    pub name: String,
    /// UID of the ExternalSecret.
    pub uid: String,
    /// For whose pods the values are, where that matters; `None` if they are for everybody who may read the object.
    pub pod: Option<PodCaller>,
}

/// The identity of pods under which values are fetched (csi.md 9.2). Whatever is fetched under one is for nobody else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodCaller {
    /// Service account of the pods, in the namespace of the ExternalSecret.
    pub service_account: String,
    /// UID of the one pod that the values are for; `None` for all pods of the service account.
    pub pod_uid: Option<String>,
    /// Audience of the token, if the volume names one.
    pub audience: Option<String>,
}

/// Under whose identity a store is read. What is later in the order is shared by fewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallerScope {
    /// The store's own: all callers see the same values.
    #[default]
    Store,
    /// That of the pod's service account.
    ServiceAccount,
    /// That of the pod alone.
    Pod,
}

/// What a store wants to know of the pod that its values are for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CallerNeeds {
    /// Under whose identity it is read.
    pub scope: CallerScope,
    /// Audience of the token that it wants to see, if it names one.
    pub audience: Option<String>,
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

    /// What values of these stores rest on: the stores as they are now, provided that `caller` may use them. Whoever keeps values
    /// asks before fetching them, and again before handing them out, and fetches anew where the answer is another
    /// (`pushsecret-and-stores.md` SB-26). Nothing is asked of a provider. Sources whose stores do not change all stand alike.
    ///
    /// # Errors
    ///
    /// A store is gone, denies the caller, or cannot be used; never [`FetchError::NoSecret`].
    fn standing(
        &self,
        caller: &Caller,
        stores: &[&SecretStoreRef],
    ) -> impl Future<Output = Result<Standing, FetchError>> + Send {
        let _ = (caller, stores);
        std::future::ready(Ok(Standing::default()))
    }

    /// As [`Source::standing`], of generators.
    ///
    /// # Errors
    ///
    /// As for [`Source::standing`].
    fn generators_standing(
        &self,
        caller: &Caller,
        generators: &[&GeneratorRef],
    ) -> impl Future<Output = Result<Standing, FetchError>> + Send {
        let _ = (caller, generators);
        std::future::ready(Ok(Standing::default()))
    }

    /// Has new values made for `spec.dataFrom[entry]`. Each call makes others, so a source never repeats one by itself, and the
    /// engine asks once for each entry (P-RT-2). Sources without generators refuse.
    ///
    /// # Errors
    ///
    /// [`GenerateError`]; never [`FetchError::NoSecret`].
    fn generate(
        &self,
        caller: &Caller,
        entry: usize,
        generator: &GeneratorRef,
    ) -> impl Future<Output = Result<Generated, GenerateError>> + Send {
        let _ = (caller, entry, generator);
        std::future::ready(Err(GenerateError::Get(FetchError::Failed {
            class: FailureClass::Reference,
            message: "generators are not available here".to_owned(),
            retry_after: None,
        })))
    }

    /// Has the values revoked that left `state`, on behalf of an object in `namespace`. May be repeated. Sources without
    /// generators have nothing to revoke.
    ///
    /// # Errors
    ///
    /// The provider could not be told, or refused.
    fn revoke(
        &self,
        namespace: &str,
        state: &GeneratedState,
    ) -> impl Future<Output = Result<(), FetchError>> + Send {
        let _ = (namespace, state);
        std::future::ready(Ok(()))
    }
}

/// What values rest on: the mark of each store, in the order of the question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing(pub Vec<StoreMark>);

/// One store at one moment, as far as values depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreMark {
    /// UID of the object.
    pub uid: String,
    /// Its `metadata.generation`.
    pub generation: Option<i64>,
    /// What it wants to know of pods; an annotation says so, which no generation counts.
    pub caller: CallerNeeds,
}

// === impl PodCaller ===

impl PodCaller {
    /// By how many such values may be shared.
    #[must_use]
    pub const fn scope(&self) -> CallerScope {
        match self.pod_uid {
            Some(_) => CallerScope::Pod,
            None => CallerScope::ServiceAccount,
        }
    }
}

// === impl Standing ===

impl Standing {
    /// The narrowest scope that one of the stores wants.
    #[must_use]
    pub fn caller_scope(&self) -> CallerScope {
        let scopes = self.0.iter().map(|mark| mark.caller.scope);
        scopes.max().unwrap_or_default()
    }
}

/// What a generator made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generated {
    /// The values.
    pub data: SecretData,
    /// What it takes to revoke them; `None` if there is nothing to revoke.
    pub state: Option<GeneratedState>,
}

/// What it takes to revoke generated values (`externalsecret.md` 7.3). Holds no values and no credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeneratedState {
    /// The generator as it was when it made them.
    pub resource: Value,
    /// What the provider left; only the provider knows its form.
    pub state: Value,
}

/// Why no values were generated.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GenerateError {
    /// Nothing was asked: the reference is wrong, or the generator cannot be used.
    #[error("unable to get generator: {0}")]
    Get(FetchError),
    /// The provider was asked, and failed.
    #[error("error using generator: {0}")]
    Use(FetchError),
}

// === impl GenerateError ===

impl GenerateError {
    /// What failed.
    #[must_use]
    pub fn cause(&self) -> &FetchError {
        match self {
            Self::Get(cause) | Self::Use(cause) => cause,
        }
    }
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
                FailureClass::StoreMissing
                    | FailureClass::StoreNotReady
                    | FailureClass::StoreNotValidated
                    | FailureClass::Denied
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
    /// As [`Self::StoreNotReady`], because nobody has looked at the store yet: the next seconds will tell.
    StoreNotValidated,
    /// The store does not admit this caller, or the reference is not allowed.
    Denied,
    /// The reference itself cannot be honoured, whatever else exists: only a change of the ExternalSecret helps.
    Reference,
    /// The store, its TLS material or the request is wrong; someone must change an object.
    Configuration,
    /// The provider refused the credentials (UNAUTHENTICATED, PERMISSION_DENIED).
    Unauthorized,
    /// The store is read under the identity of a pod, and nobody speaks for one here.
    PodOnly,
    /// The store wants a token of the pod and there is none at the moment; kubelet brings the next one by itself.
    NoToken,
    /// The provider or its backend refused the pod, whose identity was shown (PERMISSION_DENIED).
    CallerRefused,
    /// The provider cannot be reached or asks to wait; trying again helps.
    Unavailable,
    /// The deadline passed.
    Timeout,
    /// The provider reported another error.
    Provider,
}

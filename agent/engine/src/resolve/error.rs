//! What can go wrong between a spec and its data.

use std::time::Duration;

use latchkey_crds::external_secret::{ConversionStrategy, DecodingStrategy};

use crate::decode::{IllegalBase64, NullBytes, UndecodableKey};
use crate::keys::{InvalidKey, KeyCollision};
use crate::rewrite::RewriteError;
use crate::source::{FailureClass, FetchError, GenerateError};

/// An entry of the spec that failed, as it reads in events.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ResolveError {
    /// `spec.dataFrom[index].find`.
    #[error("error processing spec.dataFrom[{index}].find, err: {cause}")]
    Find {
        /// Position in `spec.dataFrom`.
        index: usize,
        /// What failed.
        cause: EntryError,
    },
    /// `spec.dataFrom[index].extract`.
    #[error("error processing spec.dataFrom[{index}].extract, err: {cause}")]
    Extract {
        /// Position in `spec.dataFrom`.
        index: usize,
        /// What failed.
        cause: EntryError,
    },
    /// `spec.dataFrom[index].sourceRef.generatorRef`.
    #[error("error processing spec.dataFrom[{index}].sourceRef.generatorRef, err: {cause}")]
    Generator {
        /// Position in `spec.dataFrom`.
        index: usize,
        /// What failed.
        cause: EntryError,
    },
    /// `spec.data[index]`.
    #[error("error processing spec.data[{index}] (key: {key}), err: {cause}")]
    Data {
        /// Position in `spec.data`.
        index: usize,
        /// The remote key.
        key: String,
        /// What failed.
        cause: EntryError,
    },
}

/// What failed within one entry.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EntryError {
    /// The value could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The provider could not say what it has.
    #[error("error getting all secrets: {0}")]
    Find(FetchError),
    /// No values were generated.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// Keys could not be rewritten.
    #[error("error applying rewrite to keys: {0}")]
    Rewrite(#[from] RewriteError),
    /// Converted keys collide. An absent strategy leaves a gap, as upstream does.
    #[error("error applying conversion strategy {} to keys: {cause}", strategy.map_or("", ConversionStrategy::as_str))]
    Conversion {
        /// The strategy of the entry.
        strategy: Option<ConversionStrategy>,
        /// The collision.
        cause: KeyCollision,
    },
    /// A key cannot be used.
    #[error("invalid secret keys (TIP: use rewrite or conversionStrategy to change keys): {0}")]
    InvalidKey(#[from] InvalidKey),
    /// One value could not be decoded.
    #[error("error applying decoding strategy {} to data: {cause}", strategy.map_or("None", DecodingStrategy::as_str))]
    Decode {
        /// The strategy of the entry.
        strategy: Option<DecodingStrategy>,
        /// The offending byte.
        cause: IllegalBase64,
    },
    /// One value of a map could not be decoded.
    #[error("error applying decoding strategy {} to data: {cause}", strategy.map_or("None", DecodingStrategy::as_str))]
    DecodeMap {
        /// The strategy of the entry.
        strategy: Option<DecodingStrategy>,
        /// The offending value.
        cause: UndecodableKey,
    },
    /// A value contains zero bytes.
    #[error(transparent)]
    NullBytes(#[from] NullBytes),
}

// === impl EntryError ===

impl EntryError {
    /// The failed fetch; `None` for what failed after it.
    #[must_use]
    pub fn fetch(&self) -> Option<&FetchError> {
        match self {
            Self::Fetch(error) | Self::Find(error) => Some(error),
            Self::Generate(error) => Some(error.cause()),
            Self::Rewrite(_)
            | Self::Conversion { .. }
            | Self::InvalidKey(_)
            | Self::Decode { .. }
            | Self::DecodeMap { .. }
            | Self::NullBytes(_) => None,
        }
    }
}

// === impl ResolveError ===

impl ResolveError {
    /// What failed within the entry.
    #[must_use]
    pub fn cause(&self) -> &EntryError {
        match self {
            Self::Find { cause, .. }
            | Self::Extract { cause, .. }
            | Self::Generator { cause, .. }
            | Self::Data { cause, .. } => cause,
        }
    }

    /// Whether the provider says that the remote secret does not exist.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self.cause().fetch(), Some(FetchError::NoSecret))
    }

    /// The class of a failed fetch; `None` for a missing secret and for what failed after the fetch.
    #[must_use]
    pub fn class(&self) -> Option<FailureClass> {
        match self.cause().fetch()? {
            FetchError::Failed { class, .. } => Some(*class),
            FetchError::NoSecret => None,
        }
    }

    /// How long the provider asked to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.cause().fetch()? {
            FetchError::Failed { retry_after, .. } => *retry_after,
            FetchError::NoSecret => None,
        }
    }
}

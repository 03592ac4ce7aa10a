//! How much of an object is wanted, and what found names become.

use std::sync::LazyLock;

use latchkey_secret::SecretData;

use crate::error::{ProviderError, Result};

/// What a key of a Secret cannot hold: anything but letters and numbers (general categories L and N), `-`, `.` and `_`.
#[expect(
    clippy::unwrap_used,
    reason = "the pattern is a constant that a test compiles"
)]
static ILLEGAL_IN_KEYS: LazyLock<regex::Regex> =
    LazyLock::new(|| regex::Regex::new(r"[^\p{L}\p{N}\-._]").unwrap());

/// How much of a remote object is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MetadataPolicy {
    /// The value.
    #[default]
    None,
    /// Its labels, tags or annotations as JSON ("fetch mode").
    Fetch,
}

/// How found names become keys of a Secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConversionStrategy {
    /// Every character that a Secret key cannot hold becomes `_`.
    #[default]
    Default,
    /// Such characters become `_U<hex>_`.
    Unicode,
    /// Names stay as they are; only for a strategy that this server does not know.
    None,
}

// === impl MetadataPolicy, ConversionStrategy ===

impl MetadataPolicy {
    /// Reads the wire value; anything but `Fetch` is [`MetadataPolicy::None`].
    #[must_use]
    pub fn from_wire(text: &str) -> Self {
        if text == "Fetch" {
            Self::Fetch
        } else {
            Self::None
        }
    }
}

impl ConversionStrategy {
    /// Reads the wire value; an empty one counts as `Default` (P-02).
    #[must_use]
    pub fn from_wire(text: &str) -> Self {
        match text {
            "" | "Default" => Self::Default,
            "Unicode" => Self::Unicode,
            _ => Self::None,
        }
    }

    /// Converts one found name. Letters and numbers of any script, `-`, `.` and `_` stay; every other character becomes `_`,
    /// or `_U<hexadecimal code point>_` of at least four digits.
    #[must_use]
    pub fn convert(self, name: &str) -> String {
        match self {
            Self::None => name.to_owned(),
            Self::Default => ILLEGAL_IN_KEYS.replace_all(name, "_").into_owned(),
            Self::Unicode => ILLEGAL_IN_KEYS
                .replace_all(name, |captures: &regex::Captures<'_>| {
                    captures[0]
                        .chars()
                        .map(|character| format!("_U{:04x}_", u32::from(character)))
                        .collect::<String>()
                })
                .into_owned(),
        }
    }

    /// Converts the keys of a find result.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorClass::InvalidArgument`] if two names become the same key.
    pub fn convert_keys(self, found: SecretData) -> Result<SecretData> {
        let mut converted = SecretData::new();
        for (name, value) in found {
            let key = self.convert(&name);
            if converted.contains_key(&key) {
                return Err(ProviderError::invalid_argument(format!(
                    "secret name collision during conversion: {key}"
                )));
            }
            converted.insert(key, value);
        }
        Ok(converted)
    }
}

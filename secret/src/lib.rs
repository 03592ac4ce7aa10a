//! The one type that secret bytes live in.
//!
//! Every room of Latchkey that touches a secret value (the engine, the deliveries, the providers) passes it as a
//! [`SecretValue`]: its bytes are wiped when the last owner drops it, it cannot be printed or serialised, and the only way to
//! its bytes is [`SecretValue::expose`], which is easy to search for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

/// The keys and values of one secret, ordered by key so that hashes, files and logs are deterministic.
pub type SecretData = BTreeMap<String, SecretValue>;

/// The bytes of one secret value; need not be UTF-8 and may be empty.
///
/// Clones share the same bytes. They are overwritten when the last clone is dropped. `Debug` shows the length only, and
/// equality takes the same time wherever two values of one length differ.
#[derive(Clone, Default)]
pub struct SecretValue(Arc<Zeroizing<Vec<u8>>>);

// === impl SecretValue ===

impl SecretValue {
    /// Takes ownership of `bytes` without copying them.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }

    /// The bytes themselves. Call it only where bytes leave the program: a file, a request body, a digest.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes. An empty value is a legal secret.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<u8>> for SecretValue {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl From<String> for SecretValue {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SecretValue({} bytes)", self.len())
    }
}

impl PartialEq for SecretValue {
    fn eq(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.expose(), other.expose()).is_ok()
    }
}

impl Eq for SecretValue {}

#[cfg(test)]
mod tests {
    use super::SecretValue;

    #[test]
    fn debug_shows_the_length_and_never_the_bytes() {
        let value = SecretValue::from(String::from("hunter2"));
        assert_eq!(format!("{value:?}"), "SecretValue(7 bytes)");
    }

    #[test]
    fn equality_compares_bytes() {
        let value = SecretValue::new(vec![1, 2, 3]);
        assert_eq!(value, value.clone());
        assert_eq!(value, SecretValue::new(vec![1, 2, 3]));
        assert_ne!(value, SecretValue::new(vec![1, 2, 4]));
        assert_ne!(value, SecretValue::new(vec![1, 2]));
        assert_eq!(SecretValue::default(), SecretValue::new(Vec::new()));
    }
}

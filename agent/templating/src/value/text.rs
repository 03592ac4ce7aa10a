//! Byte strings.

use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::fmt;
use std::rc::Rc;

use latchkey_secret::SecretValue;
use zeroize::{Zeroize, Zeroizing};

/// A byte string that need not be UTF-8. Clones share the bytes, which never change and are wiped with the last of them.
#[derive(Clone)]
pub(crate) struct Text(Bytes);

/// Where the bytes of a [`Text`] are.
#[derive(Clone)]
enum Bytes {
    /// In this program.
    Word(&'static str),
    /// In a place of just their length, together with the count of clones.
    Exact(Exact),
    /// Where they grew.
    Grown(Rc<Zeroizing<Vec<u8>>>),
    /// From one offset to another in longer ones. Half as wide as `usize`, since a value must stay small.
    Part(Rc<Zeroizing<Vec<u8>>>, u32, u32),
    /// Those of a provider's value.
    Secret(SecretValue),
}

/// Bytes that are wiped with the last clone.
#[derive(Clone)]
struct Exact(Rc<[u8]>);

/// The longest bytes that move to a place of just their length: for longer ones that takes more memory than it gives back.
const SHORT: usize = 24;

// === impl Text ===

impl Text {
    /// Takes `bytes` over, or wipes them once they are copied.
    pub(crate) fn new(mut bytes: Vec<u8>) -> Self {
        if bytes.len() > SHORT {
            return Self::whole(bytes);
        }
        let text = Self::copy(&bytes);
        bytes.zeroize();
        text
    }

    /// Takes `bytes` over, for others to be a [`Self::part`] of.
    pub(crate) fn whole(bytes: Vec<u8>) -> Self {
        Self(Bytes::Grown(Rc::new(Zeroizing::new(bytes))))
    }

    /// A copy of `bytes`.
    pub(crate) fn copy(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::default();
        }
        Self(Bytes::Exact(Exact(bytes.into())))
    }

    /// A literal of this program.
    pub(crate) const fn word(word: &'static str) -> Self {
        Self(Bytes::Word(word))
    }

    /// The bytes of `value`, shared.
    pub(crate) fn secret(value: SecretValue) -> Self {
        Self(Bytes::Secret(value))
    }

    /// The bytes from `start` to `end`, shared if these are [`Self::whole`]. Empty where there are none.
    pub(crate) fn part(&self, start: usize, end: usize) -> Self {
        if let Bytes::Grown(bytes) = &self.0
            && let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(end))
        {
            return Self(Bytes::Part(Rc::clone(bytes), start, end));
        }
        Self::copy(self.bytes().get(start..end).unwrap_or_default())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Word(word) => word.as_bytes(),
            Bytes::Exact(Exact(bytes)) => bytes,
            Bytes::Grown(bytes) => bytes,
            Bytes::Part(bytes, start, end) => bytes
                .get(*start as usize..*end as usize)
                .unwrap_or_default(),
            Bytes::Secret(value) => value.expose(),
        }
    }

    /// For error texts only: each byte that is not UTF-8 becomes U+FFFD.
    pub(crate) fn to_lossy(&self) -> Cow<'_, str> {
        match std::str::from_utf8(self.bytes()) {
            Ok(text) => text.into(),
            Err(_) => crate::unicode::runes(self.bytes())
                .collect::<String>()
                .into(),
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::word("")
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::copy(text.as_bytes())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        Self::copy(bytes)
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl Borrow<[u8]> for Text {
    fn borrow(&self) -> &[u8] {
        self.bytes()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Text({} bytes)", self.bytes().len())
    }
}

// === impl Exact ===

impl Drop for Exact {
    fn drop(&mut self) {
        // Only the last clone gets them.
        if let Some(bytes) = Rc::get_mut(&mut self.0) {
            bytes.zeroize();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::{Bytes, Text};

    #[test]
    fn a_text_is_three_words_wide() {
        assert_eq!(size_of::<Text>(), 24);
    }

    #[test]
    fn bytes_are_the_same_wherever_they_are() {
        for length in [0, 1, 24, 25, 1_000] {
            let bytes = vec![b'x'; length];
            let text = Text::new(bytes.clone());
            assert_eq!(text.bytes(), bytes);
            assert_eq!(text, Text::copy(&bytes));
            assert_eq!(text, Text::whole(bytes));
        }
    }

    #[test]
    fn parts_are_cut_out_of_what_is_there() {
        for text in [Text::whole(b"abcdef".to_vec()), Text::copy(b"abcdef")] {
            assert_eq!(text.part(1, 3).bytes(), b"bc");
            assert_eq!(text.part(0, 6).bytes(), b"abcdef");
            assert_eq!(text.part(3, 3).bytes(), b"");
            assert_eq!(text.part(3, 1).bytes(), b"");
            assert_eq!(text.part(3, 7).bytes(), b"");
        }
    }

    #[test]
    fn bytes_stay_while_a_clone_needs_them() {
        let text = Text::copy(b"secret");
        let clone = text.clone();
        drop(text);
        assert_eq!(clone.bytes(), b"secret");
    }

    #[test]
    fn the_last_clone_may_wipe_the_bytes() {
        let text = Text::copy(b"secret");
        let clone = text.clone();
        let Bytes::Exact(mut exact) = text.0 else {
            panic!("the bytes are elsewhere");
        };
        assert!(Rc::get_mut(&mut exact.0).is_none());
        drop(clone);
        assert!(Rc::get_mut(&mut exact.0).is_some());
    }
}

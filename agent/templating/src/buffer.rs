//! Bytes that grow without leaving copies behind.

use std::ops::Deref;

use zeroize::{Zeroize, Zeroizing};

/// A growing byte string whose memory is wiped: when it is dropped, and also each time it moves to a larger place, which `Vec`
/// alone does not do.
#[derive(Default)]
pub(crate) struct Buffer(Zeroizing<Vec<u8>>);

/// Makes place for `additional` bytes behind `bytes`; wipes the old place if that takes a new one.
pub(crate) fn reserve(bytes: &mut Vec<u8>, additional: usize) {
    if bytes.capacity() - bytes.len() < additional {
        grow(bytes, additional);
    }
}

/// Appends `more` to `bytes`; wipes the old place if that takes a new one.
pub(crate) fn extend(bytes: &mut Vec<u8>, more: &[u8]) {
    reserve(bytes, more.len());
    bytes.extend_from_slice(more);
}

#[cold]
fn grow(bytes: &mut Vec<u8>, additional: usize) {
    let needed = bytes.len().saturating_add(additional);
    let doubled = bytes.capacity().saturating_mul(2);
    let mut larger = Vec::with_capacity(needed.max(doubled).max(64));
    larger.extend_from_slice(bytes);
    std::mem::replace(bytes, larger).zeroize();
}

// === impl Buffer ===

impl Buffer {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    pub(crate) fn push(&mut self, byte: u8) {
        self.reserve(1);
        self.0.push(byte);
    }

    pub(crate) fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// Makes place for `additional` bytes.
    pub(crate) fn reserve(&mut self, additional: usize) {
        reserve(&mut self.0, additional);
    }

    /// Forgets and wipes what it holds, but keeps the place.
    pub(crate) fn clear(&mut self) {
        self.0.as_mut_slice().zeroize();
        self.0.clear();
    }

    /// The bytes, for [`extend`] and what is built on it.
    pub(crate) fn as_vec_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// The bytes, for a type that wipes them.
    pub(crate) fn into_vec(mut self) -> Vec<u8> {
        std::mem::take(&mut *self.0)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Extend<u8> for Buffer {
    fn extend<T: IntoIterator<Item = u8>>(&mut self, bytes: T) {
        for byte in bytes {
            self.push(byte);
        }
    }
}

impl std::fmt::Write for Buffer {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Buffer;

    #[test]
    fn keeps_what_was_written_while_it_grows() {
        let mut buffer = Buffer::default();
        let mut expected = Vec::new();
        for round in 0..300_u32 {
            let piece = round.to_le_bytes();
            buffer.extend_from_slice(&piece);
            buffer.push(b'-');
            expected.extend_from_slice(&piece);
            expected.push(b'-');
        }
        assert_eq!(&*buffer, &*expected);
        assert_eq!(buffer.into_vec(), expected);
    }

    #[test]
    fn a_cleared_buffer_is_empty() {
        let mut buffer = Buffer::with_capacity(8);
        buffer.extend_from_slice(b"secret");
        buffer.clear();
        assert!(buffer.is_empty());
    }
}

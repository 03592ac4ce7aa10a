//! A growing byte buffer that never leaves secret bytes behind.

use zeroize::{Zeroize, Zeroizing};

/// Bytes that are wiped when dropped and, unlike those of a plain `Vec`, also when the buffer grows.
#[derive(Default)]
pub(crate) struct WipingBuffer(Zeroizing<Vec<u8>>);

// === impl WipingBuffer ===

impl WipingBuffer {
    /// An empty buffer with room for `capacity` bytes.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    /// Appends `bytes`. When the room does not suffice the content moves to a larger place and the old one is wiped.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut larger = Vec::with_capacity(needed.max(self.0.capacity() * 2));
            larger.extend_from_slice(&self.0);
            // The assignment drops the old `Zeroizing`, which wipes its whole capacity.
            self.0 = Zeroizing::new(larger);
        }
        self.0.extend_from_slice(bytes);
    }

    /// The number of bytes written so far.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Hands the bytes over without copying them; they stay wiped on drop.
    pub(crate) fn into_zeroizing(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

/// Overwrites the bytes of a chunk that came from the network when nobody else shares its memory, which is the best that can
/// be done for a buffer that the HTTP library owns.
pub(crate) fn wipe_chunk(chunk: bytes::Bytes) {
    if let Ok(mut owned) = chunk.try_into_mut() {
        owned.as_mut().zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::WipingBuffer;

    #[test]
    fn growth_keeps_the_content() {
        let mut buffer = WipingBuffer::with_capacity(1);
        for index in 0..100u8 {
            buffer.extend(&[index]);
        }
        buffer.extend(&[200, 201]);
        assert_eq!(buffer.len(), 102);
        let expected: Vec<u8> = (0..100).chain([200, 201]).collect();
        assert_eq!(*buffer.into_zeroizing(), expected);
    }
}

//! Text that a function writes piece by piece, paid for as it grows.

use zeroize::Zeroizing;

use crate::context::Context;
use crate::failure::Result;
use crate::value::Text;

/// A growing byte string that pays before it takes memory and wipes each place that it leaves.
///
/// Writers call [`Self::room`] for what they are about to push. Memory is taken by doubling, so it pays at most twice the length.
#[derive(Default)]
pub(crate) struct Output(Zeroizing<Vec<u8>>);

// === impl Output ===

impl Output {
    /// An empty one.
    pub(crate) fn new(cx: &mut Context) -> Self {
        Self(cx.scratch())
    }

    /// Makes place for `length` more bytes.
    #[inline]
    pub(crate) fn room(&mut self, cx: &mut Context, length: usize) -> Result<()> {
        if self.0.capacity() - self.0.len() < length {
            self.grow(cx, length)?;
        }
        Ok(())
    }

    #[cold]
    fn grow(&mut self, cx: &mut Context, length: usize) -> Result<()> {
        let needed = self.0.len().saturating_add(length);
        let capacity = needed.max(self.0.capacity().saturating_mul(2)).max(64);
        cx.allocate(capacity - self.0.capacity())?;
        let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
        larger.extend_from_slice(&self.0);
        self.0 = larger;
        Ok(())
    }

    /// Appends a byte for which there is room.
    #[inline]
    pub(crate) fn push(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// Appends bytes for which there is room.
    #[inline]
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Makes room for `bytes` and appends them.
    #[inline]
    pub(crate) fn write(&mut self, cx: &mut Context, bytes: &[u8]) -> Result<()> {
        self.room(cx, bytes.len())?;
        self.extend(bytes);
        Ok(())
    }

    /// Makes room for `count` times `byte` and appends them.
    pub(crate) fn fill(&mut self, cx: &mut Context, byte: u8, count: usize) -> Result<()> {
        self.room(cx, count)?;
        let length = self.0.len() + count;
        self.0.resize(length, byte);
        Ok(())
    }

    /// Appends a number as `Display` has it; room is made for 64 bytes.
    pub(crate) fn number(
        &mut self,
        cx: &mut Context,
        number: impl std::fmt::Display,
    ) -> Result<()> {
        use std::io::Write;
        self.room(cx, 64)?;
        // Writing to a vector cannot fail.
        let _ = write!(*self.0, "{number}");
        Ok(())
    }

    /// What was written.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What was written but for a suffix, if it ends in that.
    pub(crate) fn into_text_without(mut self, cx: &mut Context, suffix: &[u8]) -> Result<Text> {
        if self.0.ends_with(suffix) {
            let length = self.0.len() - suffix.len();
            self.0.truncate(length);
        }
        self.into_text(cx)
    }

    /// What was written, as a value that is paid for.
    pub(crate) fn into_text(self, cx: &mut Context) -> Result<Text> {
        cx.written(self.0)
    }
}

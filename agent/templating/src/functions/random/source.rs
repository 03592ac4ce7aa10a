//! Random bytes and numbers from the operating system's generator, through aws-lc.

use zeroize::Zeroizing;

use crate::failure::{Failure, Result};

/// Random bytes, fetched some at a time.
pub(super) struct Source {
    buffer: Zeroizing<[u8; 64]>,
    used: usize,
}

/// Fills `bytes` with random ones.
pub(super) fn fill(bytes: &mut [u8]) -> Result<()> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| Failure::plain("no random bytes to be had"))
}

// === impl Source ===

impl Source {
    pub(super) fn new() -> Self {
        Self {
            buffer: Zeroizing::new([0; 64]),
            used: 64,
        }
    }

    fn byte(&mut self) -> Result<u8> {
        if self.used >= self.buffer.len() {
            fill(self.buffer.as_mut())?;
            self.used = 0;
        }
        let byte = self.buffer.get(self.used).copied();
        self.used += 1;
        byte.ok_or_else(Failure::unexpected_type)
    }

    /// A number below `limit`, which is not zero, each with the same chance.
    pub(super) fn below(&mut self, limit: u64) -> Result<u64> {
        let largest = limit.saturating_sub(1);
        let mask = u64::MAX.checked_shr(largest.leading_zeros()).unwrap_or(0);
        let bytes = (u64::BITS - largest.leading_zeros()).div_ceil(8);
        loop {
            let mut number = 0;
            for _ in 0..bytes {
                number = number << 8 | u64::from(self.byte()?);
            }
            // More than every second number passes.
            let number = number & mask;
            if number <= largest {
                return Ok(number);
            }
        }
    }
}

//! Integers in text.

/// Digits of the bases up to 16, and the letter of the prefix of base 16.
pub(crate) const LOWER: &[u8; 17] = b"0123456789abcdefx";
/// [`LOWER`] in capitals.
pub(crate) const UPPER: &[u8; 17] = b"0123456789ABCDEFX";

/// The digits of a number, written from the right. Room for base 2.
pub(crate) struct Digits {
    buffer: [u8; 64],
    start: usize,
}

/// Appends a signed integer in decimal.
pub(crate) fn signed(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    unsigned(value.unsigned_abs(), out);
}

/// Appends an unsigned integer in decimal.
pub(crate) fn unsigned(value: u64, out: &mut Vec<u8>) {
    if value < 10 {
        out.push(b'0' + value as u8);
        return;
    }
    out.extend_from_slice(Digits::decimal(value).as_bytes());
}

// === impl Digits ===

impl Digits {
    /// The digits of `value` in base 10.
    pub(crate) fn decimal(mut value: u64) -> Self {
        let mut this = Self::empty();
        loop {
            this.push(b'0' + (value % 10) as u8);
            value /= 10;
            if value == 0 {
                return this;
            }
        }
    }

    /// The digits of `value` in the base that is two to the power of `bits`, which is at most 4.
    pub(crate) fn binary(mut value: u64, bits: u32, digits: &[u8; 17]) -> Self {
        let mask = (1 << bits) - 1;
        let mut this = Self::empty();
        loop {
            this.push(digits[(value & mask) as usize]);
            value >>= bits;
            if value == 0 {
                return this;
            }
        }
    }

    fn empty() -> Self {
        Self {
            buffer: [0; 64],
            start: 64,
        }
    }

    fn push(&mut self, digit: u8) {
        self.start -= 1;
        self.buffer[self.start] = digit;
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

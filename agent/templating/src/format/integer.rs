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
    out.extend_from_slice(Digits::new(value, 10, LOWER).as_bytes());
}

// === impl Digits ===

impl Digits {
    /// The digits of `value` in a base from 2 to 16.
    pub(crate) fn new(mut value: u64, base: u64, digits: &[u8; 17]) -> Self {
        let mut this = Self {
            buffer: [0; 64],
            start: 64,
        };
        loop {
            this.start -= 1;
            this.buffer[this.start] = digits[(value % base) as usize];
            value /= base;
            if value == 0 {
                return this;
            }
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

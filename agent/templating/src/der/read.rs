//! Reading as Go's `cryptobyte` does: every failure is the same, the caller knows what it wanted.

use super::tag;

/// What is left to read.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

/// An element with its header.
#[derive(Clone, Copy)]
pub(crate) struct Any<'a> {
    pub(crate) tag: u8,
    /// Header and contents.
    pub(crate) full: &'a [u8],
    pub(crate) contents: &'a [u8],
}

/// A BIT STRING's bytes and how many bits at its end do not count.
#[derive(Clone, Copy)]
pub(crate) struct Bits<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) unused: u8,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the next element's first byte is `tag`.
    pub(crate) fn peek(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// The next element. Tags above 30 are not read.
    pub(crate) fn any(&mut self) -> Option<Any<'a>> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (header, length) = if first & 0x80 == 0 {
            (2, usize::from(first))
        } else {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 {
                return None;
            }
            (2 + count, long_length(rest.get(..count)?)?)
        };
        let end = header.checked_add(length)?;
        let full = self.0.get(..end)?;
        self.0 = self.0.get(end..)?;
        Some(Any {
            tag,
            full,
            contents: full.get(header..)?,
        })
    }

    /// The contents of the next element, which must have this tag.
    pub(crate) fn element(&mut self, tag: u8) -> Option<Reader<'a>> {
        let any = self.any()?;
        (any.tag == tag).then_some(Reader(any.contents))
    }

    /// The next element with its header; it must have this tag.
    pub(crate) fn full(&mut self, tag: u8) -> Option<&'a [u8]> {
        let any = self.any()?;
        (any.tag == tag).then_some(any.full)
    }

    /// The contents of the next element if it has this tag. `None` only if it is broken.
    pub(crate) fn optional(&mut self, tag: u8) -> Option<Option<Reader<'a>>> {
        if !self.peek(tag) {
            return Some(None);
        }
        self.element(tag).map(Some)
    }

    /// All that is left.
    pub(crate) fn bytes(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn boolean(&mut self) -> Option<bool> {
        match self.element(tag::BOOLEAN)?.bytes() {
            [0] => Some(false),
            [0xff] => Some(true),
            _ => None,
        }
    }

    /// The bytes of an INTEGER in two's complement.
    pub(crate) fn integer(&mut self) -> Option<&'a [u8]> {
        self.integer_tagged(tag::INTEGER)
    }

    pub(crate) fn integer_tagged(&mut self, tag: u8) -> Option<&'a [u8]> {
        let bytes = self.element(tag)?.bytes();
        is_minimal(bytes).then_some(bytes)
    }

    /// An INTEGER that fits.
    pub(crate) fn small_integer(&mut self) -> Option<i64> {
        signed(self.integer()?)
    }

    pub(crate) fn bit_string(&mut self) -> Option<Bits<'a>> {
        let (unused, bytes) = self.element(tag::BIT_STRING)?.bytes().split_first()?;
        let fits = match bytes.last() {
            None => *unused == 0,
            Some(last) => *unused <= 7 && last & ((1u8 << unused) - 1) == 0,
        };
        fits.then_some(Bits {
            bytes,
            unused: *unused,
        })
    }

    /// The bytes of an OBJECT IDENTIFIER whose arcs fit 31 bits.
    pub(crate) fn object(&mut self) -> Option<&'a [u8]> {
        let bytes = self.element(tag::OBJECT_IDENTIFIER)?.bytes();
        are_arcs(bytes).then_some(bytes)
    }
}

/// Whether an INTEGER has bytes and none too many.
pub(crate) fn is_minimal(bytes: &[u8]) -> bool {
    match bytes {
        [] => false,
        [0, second, ..] => second & 0x80 != 0,
        [0xff, second, ..] => second & 0x80 == 0,
        _ => true,
    }
}

/// The value of an INTEGER of at most eight bytes.
pub(crate) fn signed(bytes: &[u8]) -> Option<i64> {
    if bytes.len() > 8 {
        return None;
    }
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let start = if negative { -1 } else { 0 };
    Some(
        bytes
            .iter()
            .fold(start, |value, byte| value << 8 | i64::from(*byte)),
    )
}

/// The value of an INTEGER below 2^64 that is not negative.
pub(crate) fn unsigned(bytes: &[u8]) -> Option<u64> {
    let first = *bytes.first()?;
    if first & 0x80 != 0 || bytes.len() > 9 || (bytes.len() == 9 && first != 0) {
        return None;
    }
    Some(
        bytes
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)),
    )
}

fn long_length(bytes: &[u8]) -> Option<usize> {
    let length = bytes
        .iter()
        .fold(0usize, |length, byte| length << 8 | usize::from(*byte));
    // Lengths below 128 have a shorter form, and so has one with a leading zero.
    (length >= 128 && bytes.first() != Some(&0) && u32::try_from(length).is_ok()).then_some(length)
}

fn are_arcs(bytes: &[u8]) -> bool {
    let mut value = 0u64;
    let mut count = 0;
    for byte in bytes {
        if count == 5 || value >= 1 << 24 || (count == 0 && *byte == 0x80) {
            return false;
        }
        value = value << 7 | u64::from(byte & 0x7f);
        count += 1;
        if byte & 0x80 == 0 {
            value = 0;
            count = 0;
        }
    }
    !bytes.is_empty() && count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_must_be_minimal_and_lengths_must_fit() {
        let read = |bytes: &[u8]| Reader::new(bytes).any().map(|any| any.contents.len());
        assert_eq!(read(&[4, 0]), Some(0));
        assert_eq!(read(&[4, 1]), None);
        assert_eq!(read(&[4]), None);
        assert_eq!(read(&[0x1f, 0]), None);
        assert_eq!(read(&[4, 0x80]), None);
        assert_eq!(read(&[4, 0x81, 1, 0]), None);
        assert_eq!(read(&[4, 0x82, 0, 128]), None);
        assert_eq!(read(&[4, 0x85, 1, 1, 1, 1, 1]), None);
        let mut long = vec![4, 0x81, 128];
        long.resize(131, 0);
        assert_eq!(read(&long), Some(128));
    }

    #[test]
    fn integers_are_checked() {
        let small = |bytes: &[u8]| Reader::new(bytes).small_integer();
        assert_eq!(small(&[2, 1, 5]), Some(5));
        assert_eq!(small(&[2, 1, 0xff]), Some(-1));
        assert_eq!(small(&[2, 2, 0, 0x80]), Some(128));
        assert_eq!(small(&[2, 2, 0, 0x7f]), None);
        assert_eq!(small(&[2, 2, 0xff, 0x80]), None);
        assert_eq!(small(&[2, 0]), None);
        assert_eq!(small(&[2, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(unsigned(&[0, 0xff, 0, 0, 0, 0, 0, 0, 0]), Some(0xff << 56));
        assert_eq!(unsigned(&[0xff]), None);
        assert_eq!(unsigned(&[0, 0x80]), Some(128));
    }

    #[test]
    fn identifiers_are_checked() {
        let object = |bytes: &[u8]| Reader::new(bytes).object().is_some();
        assert!(object(&[6, 3, 0x55, 4, 3]));
        assert!(!object(&[6, 0]));
        assert!(!object(&[6, 2, 0x55, 0x84]));
        assert!(!object(&[6, 2, 0x80, 1]));
        assert!(!object(&[6, 6, 0x2a, 0x8f, 0xff, 0xff, 0xff, 0xff]));
        assert!(object(&[6, 6, 0x2a, 0x87, 0xff, 0xff, 0xff, 0x7f]));
    }

    #[test]
    fn bits_that_do_not_count_are_zero() {
        assert!(Reader::new(&[3, 2, 4, 0xf0]).bit_string().is_some());
        assert!(Reader::new(&[3, 2, 4, 0xf8]).bit_string().is_none());
        assert!(Reader::new(&[3, 1, 1]).bit_string().is_none());
        assert!(Reader::new(&[3, 1, 0]).bit_string().is_some());
        assert!(Reader::new(&[3, 0]).bit_string().is_none());
    }
}

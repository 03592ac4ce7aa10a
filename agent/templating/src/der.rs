//! DER: a small writer, and two readers that refuse what Go's two readers refuse.
//!
//! [`read`] is as strict and as silent as `cryptobyte`, which Go reads certificates with. [`unmarshal`] follows `encoding/asn1`, whose
//! error texts reach the user.

pub(crate) mod oid;
pub(crate) mod read;
pub(crate) mod unmarshal;

use zeroize::Zeroizing;

/// The first byte of an element: its tag with class and form.
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const NULL: u8 = 0x05;
    pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const NUMERIC_STRING: u8 = 0x12;
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    pub(crate) const T61_STRING: u8 = 0x14;
    pub(crate) const IA5_STRING: u8 = 0x16;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const BMP_STRING: u8 = 0x1e;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;

    /// Context-specific and primitive.
    pub(crate) const fn context(number: u8) -> u8 {
        0x80 | number
    }

    /// Context-specific and constructed.
    pub(crate) const fn explicit(number: u8) -> u8 {
        0xa0 | number
    }
}

/// An encoded element, which may hold a key.
pub(crate) type Element = Zeroizing<Vec<u8>>;

/// An element of `parts`, one after the other.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Element {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(length + 6));
    out.push(tag);
    push_length(length, &mut out);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

pub(crate) fn sequence(parts: &[&[u8]]) -> Element {
    element(tag::SEQUENCE, parts)
}

/// An INTEGER that is not negative, from its big-endian bytes.
pub(crate) fn integer(bytes: &[u8]) -> Element {
    let bytes = strip_zeros(bytes);
    match bytes.first() {
        None => element(tag::INTEGER, &[&[0]]),
        Some(first) if first & 0x80 != 0 => element(tag::INTEGER, &[&[0], bytes]),
        Some(_) => element(tag::INTEGER, &[bytes]),
    }
}

pub(crate) fn small_integer(value: u64) -> Element {
    integer(&value.to_be_bytes())
}

/// An INTEGER that may be negative.
pub(crate) fn signed_integer(value: i64) -> Element {
    let bytes = value.to_be_bytes();
    // Bytes that repeat the sign are too many.
    let sign = if value < 0 { 0xff } else { 0 };
    let extra = bytes
        .windows(2)
        .take_while(|pair| matches!(pair, [first, second] if *first == sign && (first ^ second) & 0x80 == 0))
        .count();
    element(tag::INTEGER, &[bytes.get(extra..).unwrap_or_default()])
}

pub(crate) fn octets(bytes: &[u8]) -> Element {
    element(tag::OCTET_STRING, &[bytes])
}

/// A BIT STRING of whole bytes.
pub(crate) fn bits(bytes: &[u8]) -> Element {
    element(tag::BIT_STRING, &[&[0], bytes])
}

/// An OBJECT IDENTIFIER from its encoded arcs.
pub(crate) fn object(oid: &[u8]) -> Element {
    element(tag::OBJECT_IDENTIFIER, &[oid])
}

/// An AlgorithmIdentifier; `parameters` is an encoded element or nothing.
pub(crate) fn algorithm(oid: &[u8], parameters: &[u8]) -> Element {
    sequence(&[&object(oid), parameters])
}

/// A NULL.
pub(crate) const NULL: &[u8] = &[tag::NULL, 0];

/// Big-endian bytes without leading zeros.
pub(crate) fn strip_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

fn push_length(length: usize, out: &mut Vec<u8>) {
    if length < 0x80 {
        out.push(length as u8);
        return;
    }
    let bytes = length.to_be_bytes();
    let bytes = strip_zeros(&bytes);
    out.push(0x80 | bytes.len() as u8);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_as_few_bytes_as_possible() {
        let header = |length: usize| {
            let element = element(tag::OCTET_STRING, &[&vec![0; length]]);
            element[..element.len() - length].to_vec()
        };
        assert_eq!(header(0), [4, 0]);
        assert_eq!(header(127), [4, 127]);
        assert_eq!(header(128), [4, 0x81, 128]);
        assert_eq!(header(256), [4, 0x82, 1, 0]);
        assert_eq!(header(65_536), [4, 0x83, 1, 0, 0]);
    }

    #[test]
    fn integers_are_minimal_and_not_negative() {
        assert_eq!(integer(&[]).as_slice(), [2, 1, 0]);
        assert_eq!(integer(&[0, 0, 1]).as_slice(), [2, 1, 1]);
        assert_eq!(integer(&[0x80]).as_slice(), [2, 2, 0, 0x80]);
        assert_eq!(small_integer(65_537).as_slice(), [2, 3, 1, 0, 1]);
        let signed = |value: i64| signed_integer(value).to_vec();
        assert_eq!(signed(0), [2, 1, 0]);
        assert_eq!(signed(128), [2, 2, 0, 128]);
        assert_eq!(signed(-1), [2, 1, 0xff]);
        assert_eq!(signed(-129), [2, 2, 0xff, 0x7f]);
        assert_eq!(signed(i64::MIN), [2, 8, 0x80, 0, 0, 0, 0, 0, 0, 0]);
    }
}

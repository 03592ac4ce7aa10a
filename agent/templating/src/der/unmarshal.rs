//! Reading as Go's `encoding/asn1` does, with its error texts.
//!
//! Go reads by the fields of a struct type; here the caller asks for one [`Field`] after the other and Go's rules decide whether
//! an element fits it.

use super::tag;
use crate::failure::{Failure, Result};

/// Go's name of the context-specific class.
const CONTEXT: u8 = 2;

/// What Go would read into one field of a struct.
#[derive(Clone, Copy)]
pub(crate) struct Field {
    kind: Kind,
    /// The Go type's name, as error texts show it.
    name: &'static str,
    optional: bool,
    explicit: bool,
    tag: Option<u32>,
    set: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `asn1.RawValue`
    Any,
    /// `int` or `*big.Int`
    Integer,
    /// `[]byte`
    Octets,
    /// `asn1.ObjectIdentifier`
    Object,
    /// `asn1.BitString`
    Bits,
    /// A struct or a slice of structs.
    Constructed,
}

/// An element that fits its field.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    pub(crate) tag: u32,
    pub(crate) contents: &'a [u8],
    /// Header, with that of an explicit tag around it, and contents.
    pub(crate) full: &'a [u8],
}

/// The contents of a SEQUENCE, read from the front.
#[derive(Clone)]
pub(crate) struct Sequence<'a> {
    bytes: &'a [u8],
    offset: usize,
}

/// Tag and length of an element.
struct Header {
    class: u8,
    tag: u32,
    length: usize,
    compound: bool,
}

// === impl Field ===

impl Field {
    const fn new(kind: Kind, name: &'static str) -> Self {
        Self {
            kind,
            name,
            optional: false,
            explicit: false,
            tag: None,
            set: false,
        }
    }

    pub(crate) const ANY: Self = Self::new(Kind::Any, "RawValue");
    pub(crate) const INTEGER: Self = Self::new(Kind::Integer, "int");
    pub(crate) const BIG_INTEGER: Self = Self::new(Kind::Integer, "");
    pub(crate) const OCTETS: Self = Self::new(Kind::Octets, "");
    pub(crate) const OBJECT: Self = Self::new(Kind::Object, "ObjectIdentifier");
    pub(crate) const BITS: Self = Self::new(Kind::Bits, "BitString");
    pub(crate) const SLICE: Self = Self::new(Kind::Constructed, "");

    /// A struct of this name.
    pub(crate) const fn structure(name: &'static str) -> Self {
        Self::new(Kind::Constructed, name)
    }

    pub(crate) const fn optional(self) -> Self {
        Self {
            optional: true,
            ..self
        }
    }

    /// With a tag of its own around it.
    pub(crate) const fn explicit(self, tag: u32) -> Self {
        Self {
            explicit: true,
            tag: Some(tag),
            ..self
        }
    }

    /// With a tag of its own in place of the type's.
    pub(crate) const fn implicit(self, tag: u32) -> Self {
        Self {
            tag: Some(tag),
            ..self
        }
    }

    pub(crate) const fn set(self) -> Self {
        Self { set: true, ..self }
    }

    /// Class (0 universal, 2 context-specific) and tag that an element must have; `None` for any.
    fn expected(&self) -> Option<(u8, u32)> {
        if let (Some(tag), false) = (self.tag, self.explicit) {
            return Some((CONTEXT, tag));
        }
        let universal = match self.kind {
            Kind::Any => return None,
            _ if self.set => tag::SET & 0x1f,
            Kind::Integer => tag::INTEGER,
            Kind::Octets => tag::OCTET_STRING,
            Kind::Object => tag::OBJECT_IDENTIFIER,
            Kind::Bits => tag::BIT_STRING,
            Kind::Constructed => tag::SEQUENCE & 0x1f,
        };
        Some((0, u32::from(universal)))
    }

    fn fits(&self, header: &Header) -> bool {
        self.expected()
            .is_none_or(|expected| expected == (header.class, header.tag))
            && (self.kind == Kind::Any || header.compound == (self.kind == Kind::Constructed))
    }

    /// Go's text for an element of another type.
    fn mismatch(&self, header: &Header, offset: usize) -> Failure {
        let expected = self.expected().map_or(-1, |(_, tag)| i64::from(tag));
        // Go prints the address of a tag.
        let own = self.tag.map_or("<nil>", |_| "0xc000000000");
        let Header {
            class,
            tag,
            length,
            compound,
        } = header;
        structure(format!(
            "tags don't match ({expected} vs {{class:{class} tag:{tag} length:{length} isCompound:{compound}}}) \
             {{optional:{} explicit:{} application:false private:false defaultValue:<nil> tag:{own} stringType:0 timeType:0 \
             set:{} omitEmpty:false}} {} @{offset}",
            self.optional, self.explicit, self.set, self.name
        ))
    }
}

// === impl Value ===

impl<'a> Value<'a> {
    /// The fields of a struct.
    pub(crate) fn fields(&self) -> Sequence<'a> {
        Sequence::new(self.contents)
    }

    /// An `int`.
    pub(crate) fn int(&self) -> Result<i64> {
        let bytes = self.big()?;
        super::read::signed(bytes).ok_or_else(|| structure("integer too large"))
    }

    /// The bytes of a `*big.Int` in two's complement.
    pub(crate) fn big(&self) -> Result<&'a [u8]> {
        if self.contents.is_empty() {
            return Err(structure("empty integer"));
        }
        if !super::read::is_minimal(self.contents) {
            return Err(structure("integer not minimally-encoded"));
        }
        Ok(self.contents)
    }

    /// The arcs of an OBJECT IDENTIFIER.
    pub(crate) fn object(&self) -> Result<&'a [u8]> {
        if self.contents.is_empty() {
            return Err(syntax("zero length OBJECT IDENTIFIER"));
        }
        let mut offset = 0;
        while offset < self.contents.len() {
            base128(self.contents, &mut offset)?;
        }
        Ok(self.contents)
    }

    /// The bytes of a BIT STRING.
    pub(crate) fn bits(&self) -> Result<&'a [u8]> {
        let Some((unused, bytes)) = self.contents.split_first() else {
            return Err(syntax("zero length BIT STRING"));
        };
        let fits = match bytes.last() {
            None => *unused == 0,
            Some(last) => *unused <= 7 && last & ((1u8 << unused) - 1) == 0,
        };
        if !fits {
            return Err(syntax("invalid padding bits in BIT STRING"));
        }
        Ok(bytes)
    }

    /// The elements of a slice of `element`, all of which must have its tag.
    pub(crate) fn elements(&self, element: &Field) -> Result<Sequence<'a>> {
        let mut offset = 0;
        while offset < self.contents.len() {
            let header = header(self.contents, &mut offset)?;
            if !element.fits(&header) {
                return Err(structure("sequence tag mismatch"));
            }
            offset = match offset.checked_add(header.length) {
                Some(end) if end <= self.contents.len() => end,
                _ => return Err(syntax("truncated sequence")),
            };
        }
        Ok(self.fields())
    }
}

// === impl Sequence ===

impl<'a> Sequence<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.offset >= self.bytes.len()
    }

    /// What has not been read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.offset..).unwrap_or_default()
    }

    /// The next element, which must fit.
    pub(crate) fn field(&mut self, field: &Field) -> Result<Value<'a>> {
        match self.optional(field)? {
            Some(value) => Ok(value),
            None => Err(syntax("sequence truncated")),
        }
    }

    /// The next element if it fits; `None` if it does not and the field is optional.
    pub(crate) fn optional(&mut self, field: &Field) -> Result<Option<Value<'a>>> {
        let start = self.offset;
        if start >= self.bytes.len() {
            return if field.optional {
                Ok(None)
            } else {
                Err(syntax("sequence truncated"))
            };
        }
        let mut offset = start;
        let mut header = header(self.bytes, &mut offset)?;
        if field.explicit {
            if offset == self.bytes.len() {
                return Err(structure("explicit tag has no child"));
            }
            let fits = header.class == CONTEXT
                && Some(header.tag) == field.tag
                && (header.length == 0 || header.compound);
            if !fits && field.optional {
                return Ok(None);
            }
            if !fits {
                return Err(structure("explicitly tagged member didn't match"));
            }
            if field.kind != Kind::Any {
                if header.length == 0 {
                    return Err(structure("zero length explicit tag was not an asn1.Flag"));
                }
                header = self::header(self.bytes, &mut offset)?;
            }
        }
        if !field.fits(&header) {
            return if field.optional {
                Ok(None)
            } else {
                Err(field.mismatch(&header, offset))
            };
        }
        let contents = offset
            .checked_add(header.length)
            .and_then(|end| self.bytes.get(offset..end));
        let Some(contents) = contents else {
            return Err(syntax("data truncated"));
        };
        self.offset = offset + header.length;
        Ok(Some(Value {
            tag: header.tag,
            contents,
            full: self.bytes.get(start..self.offset).unwrap_or_default(),
        }))
    }
}

/// Reads the header at `offset` and moves behind it.
fn header(bytes: &[u8], offset: &mut usize) -> Result<Header> {
    let first = next(bytes, offset)?;
    let mut header = Header {
        class: first >> 6,
        tag: u32::from(first & 0x1f),
        length: 0,
        compound: first & 0x20 != 0,
    };
    if header.tag == 0x1f {
        header.tag = base128(bytes, offset)?;
        if header.tag < 0x1f {
            return Err(syntax("non-minimal tag"));
        }
    }
    let first = next(bytes, offset)?;
    if first & 0x80 == 0 {
        header.length = usize::from(first);
        return Ok(header);
    }
    if first == 0x80 {
        return Err(syntax("indefinite length found (not DER)"));
    }
    for _ in 0..first & 0x7f {
        let byte = next(bytes, offset)?;
        if header.length >= 1 << 23 {
            return Err(structure("length too large"));
        }
        header.length = header.length << 8 | usize::from(byte);
        if header.length == 0 {
            return Err(structure("superfluous leading zeros in length"));
        }
    }
    if header.length < 0x80 {
        return Err(structure("non-minimal length"));
    }
    Ok(header)
}

fn next(bytes: &[u8], offset: &mut usize) -> Result<u8> {
    let Some(byte) = bytes.get(*offset) else {
        return Err(syntax("truncated tag or length"));
    };
    *offset += 1;
    Ok(*byte)
}

/// An integer in groups of seven bits.
fn base128(bytes: &[u8], offset: &mut usize) -> Result<u32> {
    let mut value = 0u64;
    let mut count = 0;
    while let Some(byte) = bytes.get(*offset) {
        if count == 5 {
            return Err(structure("base 128 integer too large"));
        }
        if count == 0 && *byte == 0x80 {
            return Err(syntax("integer is not minimally encoded"));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        *offset += 1;
        count += 1;
        if byte & 0x80 == 0 {
            return match u32::try_from(value) {
                Ok(value) if value <= i32::MAX as u32 => Ok(value),
                _ => Err(structure("base 128 integer too large")),
            };
        }
    }
    Err(syntax("truncated base 128 integer"))
}

/// Numbers in these texts come from bytes that may be anything, a password given in the wrong place too.
fn structure(text: impl std::fmt::Display) -> Failure {
    Failure::showing_data(format!("asn1: structure error: {text}"))
}

/// Fixed words.
fn syntax(text: &str) -> Failure {
    Failure::plain(format!("asn1: syntax error: {text}"))
}

/// Go's complaint about bytes behind an element.
pub(crate) fn trailing_data() -> Failure {
    syntax("trailing data")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(bytes: &[u8], field: &Field) -> String {
        match Sequence::new(bytes).field(field) {
            Ok(_) => "none".to_owned(),
            Err(failure) => failure.text().to_owned(),
        }
    }

    #[test]
    fn mismatches_read_as_in_go() {
        let pfx = Field::structure("pfxPdu");
        assert_eq!(error(b"", &pfx), "asn1: syntax error: sequence truncated");
        assert_eq!(
            error(b"not a file", &pfx),
            "asn1: structure error: tags don't match (16 vs {class:1 tag:14 length:111 isCompound:true}) \
             {optional:false explicit:false application:false private:false defaultValue:<nil> tag:<nil> stringType:0 \
             timeType:0 set:false omitEmpty:false} pfxPdu @2"
        );
        assert_eq!(
            error(b"0", &pfx),
            "asn1: syntax error: truncated tag or length"
        );
        assert_eq!(
            error(b"\x30\x80", &pfx),
            "asn1: syntax error: indefinite length found (not DER)"
        );
        assert_eq!(
            error(b"\x30\x05", &pfx),
            "asn1: syntax error: data truncated"
        );
        assert_eq!(
            error(b"\x30\x81\x05", &pfx),
            "asn1: structure error: non-minimal length"
        );
    }

    #[test]
    fn optional_fields_that_do_not_fit_are_absent() {
        let bytes = [2, 1, 7, 0xa1, 3, 2, 1, 8];
        let mut sequence = Sequence::new(&bytes);
        let absent = sequence.optional(&Field::OBJECT.optional()).unwrap();
        assert!(absent.is_none());
        let value = sequence.field(&Field::INTEGER).unwrap();
        assert_eq!(value.int().unwrap(), 7);
        let wrong = Field::INTEGER.optional().explicit(0);
        assert!(sequence.optional(&wrong).unwrap().is_none());
        let value = sequence.field(&Field::INTEGER.explicit(1)).unwrap();
        assert_eq!(value.int().unwrap(), 8);
        assert_eq!(value.full, [0xa1, 3, 2, 1, 8]);
        assert!(sequence.is_empty());
    }
}

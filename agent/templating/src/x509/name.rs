//! Distinguished names.

use super::extensions::hex;
use crate::der::read::Reader;
use crate::der::{self, oid, tag};
use crate::failure::{Failure, Result};

/// The last arc of `2.5.4.n` of attributes with a short name, in the order in which Go writes them, and the name.
const KNOWN: [(u8, &str); 9] = [
    (6, "C"),
    (8, "ST"),
    (7, "L"),
    (9, "STREET"),
    (17, "POSTALCODE"),
    (10, "O"),
    (11, "OU"),
    (3, "CN"),
    (5, "SERIALNUMBER"),
];

/// The attributes of a name, the sets that hold them laid flat.
pub(crate) struct Name<'a> {
    attributes: Vec<Attribute<'a>>,
}

struct Attribute<'a> {
    object: &'a [u8],
    value: String,
}

impl<'a> Name<'a> {
    /// Go's `parseName`.
    pub(crate) fn parse(raw: &'a [u8]) -> Result<Self> {
        let mut sets = Reader::new(raw)
            .element(tag::SEQUENCE)
            .ok_or_else(|| invalid(""))?;
        let mut attributes = Vec::new();
        while !sets.is_empty() {
            let mut set = sets.element(tag::SET).ok_or_else(|| invalid(""))?;
            while !set.is_empty() {
                let contents = set
                    .element(tag::SEQUENCE)
                    .ok_or_else(|| invalid(": invalid attribute"))?;
                attributes.push(Attribute::parse(contents)?);
            }
        }
        Ok(Self { attributes })
    }

    /// The name roughly as RFC 2253 has it: Go's `pkix.Name.String`.
    ///
    /// Known attributes stand in a fixed order, those of one kind joined by a plus, unknown ones behind them.
    pub(crate) fn rfc2253(&self) -> String {
        // From the last to the first.
        let mut sets: Vec<String> = Vec::new();
        for attribute in &self.attributes {
            if attribute.known().is_none() {
                sets.push(format!(
                    "{}=#{}",
                    oid::dotted(attribute.object),
                    hex(&marshal(&attribute.value))
                ));
            }
        }
        for (arc, name) in KNOWN {
            let values = self
                .attributes
                .iter()
                .filter(|attribute| attribute.known() == Some(arc))
                .map(|attribute| format!("{name}={}", escape(&attribute.value)));
            let set = match arc {
                // Only the last of these is kept, unless it is empty.
                3 | 5 => self
                    .last(arc)
                    .filter(|value| !value.is_empty())
                    .map(|value| format!("{name}={}", escape(value))),
                _ => Some(values.collect::<Vec<_>>().join("+")),
            };
            sets.extend(set.filter(|set| !set.is_empty()));
        }
        sets.reverse();
        sets.join(",")
    }

    fn last(&self, arc: u8) -> Option<&str> {
        let attribute = self.attributes.iter().rfind(|a| a.known() == Some(arc))?;
        Some(&attribute.value)
    }
}

impl<'a> Attribute<'a> {
    fn parse(mut contents: Reader<'a>) -> Result<Self> {
        let object = contents
            .object()
            .ok_or_else(|| invalid(": invalid attribute type"))?;
        let value = contents
            .any()
            .ok_or_else(|| invalid(": invalid attribute value"))?;
        match string(value.tag, value.contents) {
            Ok(value) => Ok(Self { object, value }),
            Err(text) => Err(invalid(&format!(": invalid attribute value: {text}"))),
        }
    }

    /// The last arc, if the attribute has a short name.
    fn known(&self) -> Option<u8> {
        match self.object {
            [0x55, 4, arc] => KNOWN.iter().map(|known| known.0).find(|known| known == arc),
            _ => None,
        }
    }
}

fn invalid(rest: &str) -> Failure {
    Failure::plain(format!("x509: invalid RDNSequence{rest}"))
}

/// Go's `parseASN1String`.
fn string(tag: u8, value: &[u8]) -> Result<String, String> {
    let text = || String::from_utf8_lossy(value).into_owned();
    let (valid, name) = match tag {
        tag::T61_STRING => return Ok(value.iter().map(|byte| char::from(*byte)).collect()),
        tag::BMP_STRING => return bmp(value).ok_or_else(|| "invalid BMPString".to_owned()),
        tag::PRINTABLE_STRING => (
            value.iter().all(|b| is_printable(*b, true)),
            "PrintableString",
        ),
        tag::UTF8_STRING => (std::str::from_utf8(value).is_ok(), "UTF-8 string"),
        tag::IA5_STRING => (value.is_ascii(), "IA5String"),
        tag::NUMERIC_STRING => (
            value.iter().all(|b| matches!(b, b'0'..=b'9' | b' ')),
            "NumericString",
        ),
        _ => return Err(format!("unsupported string type: {tag}")),
    };
    if valid {
        Ok(text())
    } else {
        Err(format!("invalid {name}"))
    }
}

/// The characters of a BMPString without its terminator.
fn bmp(value: &[u8]) -> Option<String> {
    if !value.len().is_multiple_of(2) {
        return None;
    }
    let value = value.strip_suffix(&[0, 0]).unwrap_or(value);
    value
        .chunks(2)
        .map(|pair| {
            let point = pair
                .iter()
                .fold(0, |point, byte| point << 8 | u32::from(*byte));
            let reserved = matches!(point, 0xfdd0..=0xfdef | 0xfffe | 0xffff);
            char::from_u32(point).filter(|_| !reserved)
        })
        .collect()
}

/// The characters of a PrintableString; Go reads two more than it writes.
fn is_printable(byte: u8, lenient: bool) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'\''..=b')' | b'+'..=b'/' | b' ' | b':' | b'=' | b'?')
        || (lenient && matches!(byte, b'*' | b'&'))
}

/// A text as Go's `asn1.Marshal` writes it.
pub(crate) fn marshal(text: &str) -> der::Element {
    let printable = text.bytes().all(|byte| is_printable(byte, false));
    let tag = if printable {
        tag::PRINTABLE_STRING
    } else {
        tag::UTF8_STRING
    };
    der::element(tag, &[text.as_bytes()])
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        let special = match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            ' ' => at == 0 || at == text.len() - 1,
            '#' => at == 0,
            _ => false,
        };
        if special {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(attributes: &[(&'static [u8], &str)]) -> String {
        let attributes = attributes.iter().map(|(object, value)| Attribute {
            object,
            value: (*value).to_owned(),
        });
        let name = Name {
            attributes: attributes.collect(),
        };
        name.rfc2253()
    }

    #[test]
    fn names_are_written_as_go_writes_them() {
        let (cn, o, c) = (&[0x55, 4, 3], &[0x55, 4, 10], &[0x55, 4, 6]);
        assert_eq!(name(&[]), "");
        assert_eq!(name(&[(cn, "a"), (o, "b"), (c, "DE")]), "CN=a,O=b,C=DE");
        assert_eq!(
            name(&[(o, "b"), (o, "c"), (cn, "x"), (cn, "y")]),
            "CN=y,O=b+O=c"
        );
        assert_eq!(name(&[(cn, " a,b#\u{e9} ")]), "CN=\\ a\\,b#\u{e9}\\ ");
        // emailAddress: 1.2.840.113549.1.9.1
        let email: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01";
        assert_eq!(
            name(&[(email, "a@b"), (cn, "x")]),
            "CN=x,1.2.840.113549.1.9.1=#0c0361 4062".replace(' ', "")
        );
    }

    #[test]
    fn strings_are_read_by_their_type() {
        assert_eq!(string(tag::T61_STRING, b"\xe9").unwrap(), "\u{e9}");
        assert_eq!(
            string(tag::BMP_STRING, b"\0a\x20\xac\0\0").unwrap(),
            "a\u{20ac}"
        );
        assert_eq!(
            string(tag::BMP_STRING, b"\xd8\x00").unwrap_err(),
            "invalid BMPString"
        );
        assert_eq!(
            string(tag::PRINTABLE_STRING, b"a_b").unwrap_err(),
            "invalid PrintableString"
        );
        assert_eq!(string(tag::PRINTABLE_STRING, b"*&").unwrap(), "*&");
        assert_eq!(
            string(tag::UTF8_STRING, b"\xff").unwrap_err(),
            "invalid UTF-8 string"
        );
        assert_eq!(string(4, b"").unwrap_err(), "unsupported string type: 4");
    }
}

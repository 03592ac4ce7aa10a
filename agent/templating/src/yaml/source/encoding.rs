//! Bytes to characters: UTF-8, or UTF-16 with a byte order mark, and no control characters.

use zeroize::Zeroizing;

use super::width;

/// How many bytes Go decodes before it looks at any.
const CHUNK: usize = 512;

const INCOMPLETE: &str = "incomplete UTF-8 octet sequence";
const CONTROL: &str = "control characters are not allowed";

/// A text that can be read as far as Go decodes it.
pub(in crate::yaml) struct Decoded<'a> {
    text: &'a [u8],
    /// The text again, if it was UTF-16.
    converted: Option<Zeroizing<Vec<u8>>>,
    broken: Option<(usize, &'static str)>,
}

// === impl Decoded ===

impl<'a> Decoded<'a> {
    /// Looks at the first bytes to know the encoding.
    pub(in crate::yaml) fn new(text: &'a [u8]) -> Self {
        match text {
            [0xff, 0xfe, rest @ ..] => Self::from_utf16(rest, u16::from_le_bytes),
            [0xfe, 0xff, rest @ ..] => Self::from_utf16(rest, u16::from_be_bytes),
            [0xef, 0xbb, 0xbf, rest @ ..] => Self::from_utf8(rest, CHUNK - 3),
            // Go reads an empty text as an empty line.
            [] => Self::from_utf8(b"\n", CHUNK),
            _ => Self::from_utf8(text, CHUNK),
        }
    }

    fn from_utf8(text: &'a [u8], first_chunk: usize) -> Self {
        let broken = if is_harmless(text) {
            None
        } else {
            find_broken(text, first_chunk)
        };
        Self {
            text,
            converted: None,
            broken,
        }
    }

    fn from_utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Self {
        let pairs = bytes.chunks_exact(2);
        let is_odd = !pairs.remainder().is_empty();
        let count = pairs.len();
        let units = pairs.map(|pair| unit([pair[0], pair[1]]));
        let mut text = Zeroizing::new(Vec::with_capacity(count * 3));
        let mut broken = None;
        let mut read = 0;
        for decoded in char::decode_utf16(units) {
            let problem = match decoded {
                Ok(character) if is_allowed(character) => {
                    read += character.len_utf16();
                    let mut buffer = [0; 4];
                    text.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
                    continue;
                }
                Ok(_) => CONTROL,
                Err(error) if error.unpaired_surrogate() >= 0xdc00 => {
                    "unexpected low surrogate area"
                }
                Err(_) if read + 1 == count => {
                    broken = Some((text.len(), "incomplete UTF-16 surrogate pair"));
                    break;
                }
                Err(_) => "expected low surrogate area",
            };
            broken = Some((0, problem));
            break;
        }
        if is_odd && broken.is_none() {
            broken = Some((text.len(), "incomplete UTF-16 character"));
        }
        Self {
            text: &[],
            broken,
            converted: Some(text),
        }
    }

    pub(super) fn text(&self) -> &[u8] {
        match &self.converted {
            Some(text) => text,
            None => self.text,
        }
    }

    /// Where the part begins whose decoding fails, and why.
    pub(super) fn broken(&self) -> Option<(usize, &'static str)> {
        self.broken
    }
}

/// Whether a text is printable ASCII and line breaks: the usual case.
fn is_harmless(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~'))
}

fn is_allowed(character: char) -> bool {
    matches!(
        character,
        '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..
    )
}

/// Goes through the text in the portions in which Go decodes it. A failure in one counts from its beginning on; that the last
/// character is incomplete Go finds out when it wants more.
fn find_broken(text: &[u8], first_chunk: usize) -> Option<(usize, &'static str)> {
    let mut start = 0;
    let mut size = first_chunk;
    while start < text.len() {
        let end = start.saturating_add(size).min(text.len());
        let mut position = start;
        while position < end {
            let rest = text.get(position..end).unwrap_or_default();
            match decode(rest) {
                Ok(length) => position += length,
                Err(INCOMPLETE) if end < text.len() => break,
                Err(INCOMPLETE) => return Some((position, INCOMPLETE)),
                Err(problem) => return Some((start, problem)),
            }
        }
        start = position;
        size = CHUNK;
    }
    None
}

/// The length of the character that a byte promises; `None` if it promises none.
fn leading_width(rest: &[u8]) -> Option<usize> {
    match rest.first() {
        Some(&byte @ (0..0x80 | 0xc0..0xf8)) => Some(width(byte)),
        _ => None,
    }
}

/// The length of the first character, or what is wrong with it.
fn decode(rest: &[u8]) -> Result<usize, &'static str> {
    let length = leading_width(rest).ok_or("invalid leading UTF-8 octet")?;
    let bytes = rest.get(..length).ok_or(INCOMPLETE)?;
    let (first, trailing) = bytes.split_first().ok_or(INCOMPLETE)?;
    let mut value = match length {
        1 => u32::from(*first),
        _ => u32::from(*first) & (0x7f >> length),
    };
    for byte in trailing {
        if byte & 0xc0 != 0x80 {
            return Err("invalid trailing UTF-8 octet");
        }
        value = value << 6 | u32::from(byte & 0x3f);
    }
    let least = match length {
        1 => 0,
        2 => 0x80,
        3 => 0x800,
        _ => 0x10000,
    };
    if value < least {
        return Err("invalid length of a UTF-8 sequence");
    }
    match char::from_u32(value) {
        Some(character) if is_allowed(character) => Ok(length),
        Some(_) => Err(CONTROL),
        None => Err("invalid Unicode character"),
    }
}

//! Bytes to characters: UTF-8, or UTF-16 with a byte order mark, and no control characters.

use zeroize::Zeroizing;

use super::width;

/// How many bytes Go decodes before it looks at any.
const CHUNK: usize = 512;

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
        let incomplete = !pairs.remainder().is_empty();
        let units = pairs.map(|pair| unit([pair[0], pair[1]]));
        let mut text = Zeroizing::new(Vec::with_capacity(bytes.len() / 2 * 3 + 1));
        let mut problem = incomplete.then_some("incomplete UTF-16 character");
        for decoded in char::decode_utf16(units) {
            match decoded {
                Ok(character) if is_allowed(character) => {
                    let mut buffer = [0; 4];
                    text.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
                }
                Ok(_) => {
                    problem = Some(CONTROL);
                    break;
                }
                Err(error) if error.unpaired_surrogate() >= 0xdc00 => {
                    problem = Some("unexpected low surrogate area");
                    break;
                }
                Err(_) => {
                    problem = Some("expected low surrogate area");
                    break;
                }
            }
        }
        Self {
            text: &[],
            broken: problem.map(|problem| (0, problem)),
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

/// Goes through the text in the portions in which Go decodes it. A failure in one counts from its beginning on.
fn find_broken(text: &[u8], first_chunk: usize) -> Option<(usize, &'static str)> {
    let mut start = 0;
    let mut size = first_chunk;
    while start < text.len() {
        let end = start.saturating_add(size).min(text.len());
        let mut position = start;
        while position < end {
            let rest = text.get(position..).unwrap_or_default();
            let length = match decode(rest) {
                Ok(length) => length,
                Err(problem) => match leading_width(rest) {
                    // The rest of the character comes with the next portion.
                    Some(length) if position + length > end && end < text.len() => break,
                    _ => return Some((start, problem)),
                },
            };
            if position + length > end {
                break;
            }
            position += length;
        }
        if position == start {
            return None;
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
    let bytes = rest
        .get(..length)
        .ok_or("incomplete UTF-8 octet sequence")?;
    let (first, trailing) = bytes
        .split_first()
        .ok_or("incomplete UTF-8 octet sequence")?;
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

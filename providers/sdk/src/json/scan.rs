//! Finding the parts of a JSON text. Tolerant: on text that is not JSON it stops early and never panics.

use serde::de::IgnoredAny;
use zeroize::Zeroizing;

/// Kind of a value, told from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    False,
    True,
    Number,
    String,
    Object,
    Array,
}

/// A member of an object: the key with its quotes, and the value's text.
#[derive(Clone, Copy)]
pub(crate) struct Member<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// Whether the text is one JSON value and nothing else.
#[must_use]
pub fn is_valid(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

/// The kind of the first value in `text`.
pub(crate) fn kind(text: &[u8]) -> Option<Kind> {
    match text.get(skip_blanks(text, 0))? {
        b'{' => Some(Kind::Object),
        b'[' => Some(Kind::Array),
        b'"' => Some(Kind::String),
        b't' => Some(Kind::True),
        b'f' => Some(Kind::False),
        b'n' => Some(Kind::Null),
        b'-' | b'+' | b'0'..=b'9' => Some(Kind::Number),
        _ => None,
    }
}

pub(crate) const fn is_blank(byte: u8) -> bool {
    byte <= b' '
}

/// Index of the first byte at or after `from` that is not blank.
pub(crate) fn skip_blanks(text: &[u8], from: usize) -> usize {
    text.get(from..)
        .unwrap_or_default()
        .iter()
        .position(|byte| !is_blank(*byte))
        .map_or(text.len(), |offset| from + offset)
}

/// Index behind the string that starts at `start` (a quote); the end of the text if it is not closed.
pub(crate) fn string_end(text: &[u8], start: usize) -> usize {
    let mut index = start + 1;
    while let Some(byte) = text.get(index) {
        match byte {
            b'\\' => index += 2,
            b'"' => return index + 1,
            _ => index += 1,
        }
    }
    text.len()
}

/// Index behind the value that starts at `start`.
pub(crate) fn value_end(text: &[u8], start: usize) -> usize {
    match text.get(start) {
        None => text.len(),
        Some(b'"') => string_end(text, start),
        Some(b'{' | b'[') => container_end(text, start),
        Some(_) => text
            .get(start..)
            .unwrap_or_default()
            .iter()
            .position(|byte| is_blank(*byte) || matches!(byte, b',' | b'}' | b']' | b':'))
            .map_or(text.len(), |offset| start + offset),
    }
}

fn container_end(text: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut index = start;
    while let Some(byte) = text.get(index) {
        match byte {
            b'"' => {
                index = string_end(text, index);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return index + 1;
                }
            }
            _ => {}
        }
        index += 1;
    }
    text.len()
}

/// The members of the object that `text` starts with.
pub(crate) fn members(text: &[u8]) -> impl Iterator<Item = Member<'_>> {
    let mut index = skip_blanks(text, 0) + 1;
    std::iter::from_fn(move || {
        // The next key, or the end of the object.
        loop {
            match text.get(index)? {
                b'"' => break,
                b'}' => return None,
                _ => index += 1,
            }
        }
        let key_end = string_end(text, index);
        let key = text.get(index..key_end)?;
        let colon = skip_blanks(text, key_end);
        if text.get(colon) != Some(&b':') {
            return None;
        }
        let start = skip_blanks(text, colon + 1);
        let end = value_end(text, start);
        if end == start {
            return None;
        }
        index = end;
        Some(Member {
            key,
            value: text.get(start..end)?,
        })
    })
}

/// The elements of the array that `text` starts with.
pub(crate) fn elements(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    values(text, skip_blanks(text, 0) + 1)
}

/// The values of a text that is a sequence of them, such as JSON lines.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    values(text, 0)
}

/// The values from `from` to the end of the text or an unmatched `]`, separated by blanks or commas.
fn values(text: &[u8], from: usize) -> impl Iterator<Item = &[u8]> {
    let mut index = from;
    std::iter::from_fn(move || {
        loop {
            match text.get(index)? {
                b']' | b'}' => return None,
                b',' | b':' => index += 1,
                byte if is_blank(*byte) => index += 1,
                _ => break,
            }
        }
        let start = index;
        index = value_end(text, start).max(start + 1);
        text.get(start..index)
    })
}

/// The content of a string in its quotes, unescaped. A lone surrogate becomes U+FFFD; bytes that are not UTF-8 stay.
#[must_use]
pub fn unescape(quoted: &[u8]) -> Zeroizing<Vec<u8>> {
    let inner = quoted.strip_prefix(b"\"").unwrap_or(quoted);
    let inner = inner.strip_suffix(b"\"").unwrap_or(inner);
    let mut out = Zeroizing::new(Vec::with_capacity(inner.len()));
    let mut index = 0;
    while let Some(&byte) = inner.get(index) {
        index += 1;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let Some(&escaped) = inner.get(index) else {
            break;
        };
        index += 1;
        match escaped {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let (character, used) = unicode_escape(inner.get(index..).unwrap_or_default());
                index += used;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other => out.push(other),
        }
    }
    out
}

/// The character of the escape whose text behind `\u` is given, and how much of that text it takes.
fn unicode_escape(text: &[u8]) -> (char, usize) {
    let Some(first) = hexadecimal(text) else {
        return (char::REPLACEMENT_CHARACTER, text.len().min(4));
    };
    if !(0xd800..0xe000).contains(&first) {
        return (
            char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER),
            4,
        );
    }
    if first < 0xdc00
        && let Some(low) = text
            .get(4..)
            .and_then(|rest| rest.strip_prefix(b"\\u"))
            .and_then(hexadecimal)
        && (0xdc00..0xe000).contains(&low)
        && let Some(pair) = char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (low - 0xdc00))
    {
        return (pair, 10);
    }
    (char::REPLACEMENT_CHARACTER, 4)
}

fn hexadecimal(text: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(text.get(..4)?).ok()?;
    digits
        .bytes()
        .all(|digit| digit.is_ascii_hexdigit())
        .then(|| u32::from_str_radix(digits, 16).ok())?
}

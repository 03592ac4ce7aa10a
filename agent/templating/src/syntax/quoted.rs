//! Quoted strings and characters: Go's `strconv.Unquote` and what error texts show of them.

use std::borrow::Cow;

use crate::unicode::{first_rune, is_print, runes};

/// What a character constant or an escape stands for.
pub(super) enum Unquoted {
    /// A byte: ASCII, or written as `\x41` or `\101`.
    Byte(u8),
    /// A character that is written as itself or as `\u00e9`.
    Character(char),
}

/// Whether a quoted or raw string stands for the very bytes between its quotes.
pub(super) fn is_plain(source: &[u8]) -> bool {
    match source {
        [b'`', inside @ .., b'`'] => !inside.contains(&b'\r'),
        [b'"', inside @ .., b'"'] => {
            !inside.contains(&b'\\') && std::str::from_utf8(inside).is_ok()
        }
        _ => false,
    }
}

/// The bytes that a quoted or raw string stands for; `None` if its escapes are wrong.
pub(super) fn unquote(source: &[u8]) -> Option<Vec<u8>> {
    let (&quote, rest) = source.split_first()?;
    let inside = rest.strip_suffix(&[quote])?;
    if quote == b'`' {
        return Some(
            inside
                .iter()
                .copied()
                .filter(|byte| *byte != b'\r')
                .collect(),
        );
    }
    let mut bytes = Vec::with_capacity(inside.len());
    let mut rest = inside;
    while !rest.is_empty() {
        let (unquoted, tail) = unquote_character(rest, quote)?;
        match unquoted {
            Unquoted::Byte(byte) => bytes.push(byte),
            Unquoted::Character(character) => {
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        rest = tail;
    }
    Some(bytes)
}

/// The first character or escape between two `quote`s, and what follows it; `None` if it is none.
pub(super) fn unquote_character(text: &[u8], quote: u8) -> Option<(Unquoted, &[u8])> {
    let (character, length) = first_rune(text)?;
    if !character.is_ascii() {
        return Some((Unquoted::Character(character), &text[length..]));
    }
    let (&first, rest) = text.split_first()?;
    if first == quote {
        return None;
    }
    if first != b'\\' {
        return Some((Unquoted::Byte(first), rest));
    }
    escape(rest, quote)
}

/// The escape whose backslash was before `text`.
fn escape(text: &[u8], quote: u8) -> Option<(Unquoted, &[u8])> {
    let (&letter, rest) = text.split_first()?;
    let byte = match letter {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0C,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0B,
        b'\\' => b'\\',
        b'\'' | b'"' if letter == quote => letter,
        b'x' => {
            let (code, rest) = digits(rest, 2, 16)?;
            return Some((Unquoted::Byte(u8::try_from(code).ok()?), rest));
        }
        b'0'..=b'7' => {
            let (code, rest) = digits(text, 3, 8)?;
            return Some((Unquoted::Byte(u8::try_from(code).ok()?), rest));
        }
        b'u' | b'U' => {
            let (code, rest) = digits(rest, if letter == b'u' { 4 } else { 8 }, 16)?;
            return Some((Unquoted::Character(char::from_u32(code)?), rest));
        }
        _ => return None,
    };
    Some((Unquoted::Byte(byte), rest))
}

/// A number of exactly `count` digits, at most eight.
fn digits(text: &[u8], count: usize, base: u32) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(count)?;
    let mut number: u32 = 0;
    for digit in digits {
        number = number.wrapping_mul(base) + char::from(*digit).to_digit(base)?;
    }
    Some((number, rest))
}

/// `bytes` as text: each one that is not UTF-8 is U+FFFD, as Go's encoders have it.
pub(super) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(runes(bytes).collect()),
    }
}

/// `bytes` in Go's double quotes, as `%q` prints a string.
pub(super) fn quote(bytes: &[u8]) -> String {
    let mut quoted = Vec::with_capacity(bytes.len() + 2);
    crate::format::quote(bytes, &mut quoted);
    String::from_utf8_lossy(&quoted).into_owned()
}

/// As `%#U` prints a character.
pub(super) fn describe_character(character: char) -> String {
    let code = u32::from(character);
    if is_print(character) {
        format!("U+{code:04X} '{character}'")
    } else {
        format!("U+{code:04X}")
    }
}

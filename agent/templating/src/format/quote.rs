//! Go's quoted strings and characters.

use super::integer::LOWER;
use crate::buffer;
use crate::context::Context;
use crate::failure::Result;
use crate::unicode::{self, is_print};

/// Characters with a form of their own that are written for one step.
const SPECIAL_PER_STEP: u64 = 4;
/// The longest form of a character: `\U0001f600`.
const LONGEST: usize = 10;

/// Pays for what [`quote`] takes beyond copying: it writes some characters on their own.
pub(crate) fn pay(cx: &mut Context, bytes: &[u8]) -> Result<()> {
    let special = bytes.iter().filter(|byte| needs_care(**byte)).count();
    cx.work(bytes.len() as u64 / 32 + special as u64 / SPECIAL_PER_STEP)
}

/// Appends `bytes` in Go's double quotes: `%q`. Takes up to 4 bytes for each and 2 more, which the caller has paid for.
pub(crate) fn quote(bytes: &[u8], out: &mut Vec<u8>) {
    quote_with(bytes, false, out);
}

/// Appends `bytes` in Go's double quotes with all but ASCII escaped: `%+q`. Takes up to 4 bytes for each and 2 more.
pub(crate) fn quote_ascii(bytes: &[u8], out: &mut Vec<u8>) {
    quote_with(bytes, true, out);
}

/// Appends a character in Go's single quotes.
pub(super) fn quote_character(character: char, ascii: bool, out: &mut Vec<u8>) {
    out.push(b'\'');
    escape(character, '\'', ascii, out);
    out.push(b'\'');
}

/// Whether Go writes `bytes` in backquotes: one line without control characters other than tab, without backquotes and byte
/// order marks.
pub(crate) fn can_backquote(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| {
        text.chars().all(|character| match character {
            '\t' => true,
            '`' | '\u{7f}' | '\u{feff}' => false,
            other => other >= ' ',
        })
    })
}

fn quote_with(bytes: &[u8], ascii: bool, out: &mut Vec<u8>) {
    buffer::reserve(out, bytes.len().saturating_add(2));
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.bytes().position(needs_care) {
            let (plain, special) = rest.split_at(at);
            buffer::extend(out, plain.as_bytes());
            let mut characters = special.chars();
            if let Some(character) = characters.next() {
                buffer::reserve(out, LONGEST);
                escape(character, '"', ascii, out);
            }
            rest = characters.as_str();
        }
        buffer::extend(out, rest.as_bytes());
        buffer::reserve(out, chunk.invalid().len() * 4 + 1);
        for byte in chunk.invalid() {
            escape_byte(*byte, out);
        }
    }
    out.push(b'"');
}

/// Anything but printable ASCII without quotes and backslashes. Continuation bytes are never reached.
fn needs_care(byte: u8) -> bool {
    !(b' '..0x7f).contains(&byte) || byte == b'"' || byte == b'\\'
}

fn escape(character: char, quote: char, ascii: bool, out: &mut Vec<u8>) {
    let code = u32::from(character);
    match character {
        '\\' => out.extend_from_slice(b"\\\\"),
        _ if character == quote => out.extend_from_slice(&[b'\\', code as u8]),
        _ if is_print(character) && (character.is_ascii() || !ascii) => {
            unicode::push(out, character)
        }
        '\u{7}' => out.extend_from_slice(b"\\a"),
        '\u{8}' => out.extend_from_slice(b"\\b"),
        '\u{c}' => out.extend_from_slice(b"\\f"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        '\u{b}' => out.extend_from_slice(b"\\v"),
        '\0'..' ' | '\u{7f}' => escape_byte(code as u8, out),
        '\u{80}'..='\u{ffff}' => {
            out.extend_from_slice(b"\\u");
            hexadecimal(code, 4, out);
        }
        _ => {
            out.extend_from_slice(b"\\U");
            hexadecimal(code, 8, out);
        }
    }
}

fn escape_byte(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\x");
    hexadecimal(u32::from(byte), 2, out);
}

fn hexadecimal(code: u32, digits: u32, out: &mut Vec<u8>) {
    for place in (0..digits).rev() {
        out.push(LOWER[(code >> (4 * place) & 15) as usize]);
    }
}

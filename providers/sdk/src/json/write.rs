//! Writing JSON text.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::scan::{self, Kind};
use super::{InvalidJson, lossy};

/// Deepest nesting that is written; deeper text is refused instead of risking the stack.
const MAX_DEPTH: usize = 512;

/// Which characters are escaped beside those that must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// `JSON(x)`: none.
    Plain,
    /// `JSONH(x)`: `<`, `>` and `&`.
    Html,
}

/// Appends `bytes` as a JSON string; bytes that are not UTF-8 become the text `\ufffd`.
pub fn write_string(out: &mut Vec<u8>, bytes: &[u8], escape: Escape) {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\u{8}' => out.extend_from_slice(b"\\b"),
                '\u{c}' => out.extend_from_slice(b"\\f"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                '<' | '>' | '&' if escape == Escape::Html => write_escape(out, character),
                '\0'..='\u{1f}' | '\u{2028}' | '\u{2029}' => write_escape(out, character),
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for _invalid in chunk.invalid() {
            write_escape(out, char::REPLACEMENT_CHARACTER);
        }
    }
    out.push(b'"');
}

fn write_escape(out: &mut Vec<u8>, character: char) {
    out.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes());
}

/// `JSON(x)` or `JSONH(x)` of a map of texts.
#[must_use]
pub fn from_texts<'a>(
    texts: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    escape: Escape,
) -> Zeroizing<Vec<u8>> {
    let sorted: BTreeMap<&str, &[u8]> = texts.into_iter().collect();
    let mut out = Zeroizing::new(vec![b'{']);
    for (index, (key, text)) in sorted.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(&mut out, key.as_bytes(), escape);
        out.push(b':');
        write_string(&mut out, text, escape);
    }
    out.push(b'}');
    out
}

/// Appends the value that valid JSON `text` starts with.
pub(super) fn canonical(
    out: &mut Vec<u8>,
    text: &[u8],
    escape: Escape,
    depth: usize,
) -> Result<(), InvalidJson> {
    if depth > MAX_DEPTH {
        return Err(InvalidJson);
    }
    match scan::kind(text) {
        Some(Kind::Object) => {
            let sorted: BTreeMap<String, &[u8]> = scan::members(text)
                .map(|member| (lossy(&scan::unescape(member.key)), member.value))
                .collect();
            out.push(b'{');
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(out, key.as_bytes(), escape);
                out.push(b':');
                canonical(out, value, escape, depth + 1)?;
            }
            out.push(b'}');
        }
        Some(Kind::Array) => {
            out.push(b'[');
            for (index, value) in scan::elements(text).enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                canonical(out, value, escape, depth + 1)?;
            }
            out.push(b']');
        }
        Some(Kind::String) => write_string(out, &scan::unescape(super::trim(text)), escape),
        Some(_) => out.extend_from_slice(super::trim(text)),
        None => return Err(InvalidJson),
    }
    Ok(())
}

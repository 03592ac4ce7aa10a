//! JSON as text: scanning, unescaping and writing without a tree.
//!
//! Values of secrets keep their text (number formats, blanks, order of keys), which a parsed tree would lose; integers of any
//! size keep their digits; errors hold nothing of the input. Two writers differ in one point that users can see
//! (specification, section 0): [`Escape::Plain`] is `JSON(x)`, [`Escape::Html`] is `JSONH(x)`, which also escapes `<`, `>` and
//! `&`.

mod scan;
mod write;

use latchkey_secret::SecretData;
use zeroize::Zeroizing;

pub(crate) use scan::{
    Kind, elements, is_blank, kind, lines, members, skip_blanks, string_end, value_end,
};
pub use scan::{is_valid, unescape};
pub use write::{Escape, from_texts, write_string};

/// The text is not JSON, or not of the shape that is needed. Says nothing of the input on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON object")]
pub struct InvalidJson;

/// The raw text of the last member named `key` of an object; `None` if the text is not an object or has no such member.
#[must_use]
pub fn member<'a>(object: &'a [u8], key: &str) -> Option<&'a [u8]> {
    if kind(object) != Some(Kind::Object) {
        return None;
    }
    members(object)
        .filter(|member| lossy(&unescape(member.key)) == key)
        .map(|member| member.value)
        .last()
}

/// `JSON(x)` or `JSONH(x)` of a JSON text: compact, object keys sorted bytewise, the last of duplicate keys, strings escaped
/// anew, numbers as written.
///
/// # Errors
///
/// [`InvalidJson`] if the text is not JSON or nests too deep.
pub fn canonical(text: &[u8], escape: Escape) -> Result<Zeroizing<Vec<u8>>, InvalidJson> {
    if !is_valid(text) {
        return Err(InvalidJson);
    }
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    write::canonical(&mut out, text, escape, 0)?;
    Ok(out)
}

/// Conversion A (specification 3.3): the members of an object as bytes. Strings are unescaped, `null` is empty, everything
/// else keeps its text. The last of duplicate keys wins.
///
/// # Errors
///
/// [`InvalidJson`] if the text is not a JSON object.
pub fn raw_map(text: &[u8]) -> Result<SecretData, InvalidJson> {
    convert(text, |value| {
        Ok(match kind(value) {
            Some(Kind::String) => lossy(&unescape(value)).into_bytes(),
            Some(Kind::Null) | None => Vec::new(),
            Some(_) => value.to_vec(),
        })
    })
}

/// Conversion B (specification 3.4): the members of an object as bytes, typed. Strings are unescaped, `null` is empty, numbers
/// become plain decimals, objects and arrays become `JSONH(x)`. The last of duplicate keys wins.
///
/// # Errors
///
/// [`InvalidJson`] if the text is not a JSON object.
pub fn typed_map(text: &[u8]) -> Result<SecretData, InvalidJson> {
    convert(text, typed_bytes)
}

/// One value converted as [`typed_map`] converts members.
///
/// # Errors
///
/// [`InvalidJson`] if the text is not JSON.
pub fn typed_value(text: &[u8]) -> Result<latchkey_secret::SecretValue, InvalidJson> {
    if !is_valid(text) {
        return Err(InvalidJson);
    }
    typed_bytes(trim(text)).map(Into::into)
}

fn typed_bytes(value: &[u8]) -> Result<Vec<u8>, InvalidJson> {
    Ok(match kind(value) {
        Some(Kind::String) => lossy(&unescape(value)).into_bytes(),
        Some(Kind::Null) | None => Vec::new(),
        Some(Kind::True | Kind::False) => value.to_vec(),
        Some(Kind::Number) => plain_number(value),
        Some(Kind::Object | Kind::Array) => {
            let mut out = Zeroizing::new(Vec::with_capacity(value.len()));
            write::canonical(&mut out, value, Escape::Html, 0)?;
            std::mem::take(&mut *out)
        }
    })
}

fn convert(
    text: &[u8],
    convert_value: impl Fn(&[u8]) -> Result<Vec<u8>, InvalidJson>,
) -> Result<SecretData, InvalidJson> {
    if kind(text) != Some(Kind::Object) || !is_valid(text) {
        return Err(InvalidJson);
    }
    members(text)
        .map(|member| {
            Ok((
                lossy(&unescape(member.key)),
                convert_value(member.value)?.into(),
            ))
        })
        .collect()
}

/// A number as plain decimal: digits stay as they are, anything else is the shortest text that reads back as the same double,
/// without exponent.
pub(crate) fn plain_number(text: &[u8]) -> Vec<u8> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
        return text.to_vec();
    }
    let parsed = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse::<f64>().ok());
    match parsed {
        Some(number) if number.is_finite() => number.to_string().into_bytes(),
        _ => text.to_vec(),
    }
}

/// Bytes as text; each invalid byte becomes U+FFFD, as Go's decoder does.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(std::iter::repeat_n(
            char::REPLACEMENT_CHARACTER,
            chunk.invalid().len(),
        ));
    }
    text
}

/// Cuts blanks from both ends.
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    let start = skip_blanks(text, 0);
    let end = text
        .iter()
        .rposition(|byte| !is_blank(*byte))
        .map_or(start, |last| last + 1);
    text.get(start..end.max(start)).unwrap_or_default()
}

#[cfg(test)]
#[path = "json/tests.rs"]
mod tests;

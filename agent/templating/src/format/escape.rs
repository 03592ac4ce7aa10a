//! The escapers that Go's templates have built in: `html`, `js`, `urlquery`.

use zeroize::Zeroizing;

use super::integer::UPPER;
use crate::buffer;
use crate::context::Context;
use crate::failure::Result;
use crate::unicode::{self, is_print};
use crate::value::Value;

/// Characters with a form of their own that are written for one step.
const SPECIAL_PER_STEP: u64 = 2;

/// Appends the text of `arguments`, escaped for HTML.
pub(crate) fn html(cx: &mut Context, arguments: &[Value], out: &mut Vec<u8>) -> Result<()> {
    with_text(cx, arguments, |cx, text| {
        escape(cx, text, out, |byte| {
            Some(match byte {
                b'"' => "&#34;",
                b'\'' => "&#39;",
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                0 => "\u{fffd}",
                _ => return None,
            })
        })
    })
}

/// Appends the text of `arguments`, escaped for a JavaScript string.
pub(crate) fn js(cx: &mut Context, arguments: &[Value], out: &mut Vec<u8>) -> Result<()> {
    with_text(cx, arguments, |cx, text| {
        // A control character takes six bytes, the most.
        let plain = text.iter().filter(|byte| !is_special_in_js(**byte)).count();
        let special = text.len() - plain;
        cx.work(text.len() as u64 / 16 + special as u64 / SPECIAL_PER_STEP)?;
        let size = plain.saturating_add(special.saturating_mul(6));
        cx.allocate(size)?;
        buffer::reserve(out, size);
        for chunk in text.utf8_chunks() {
            let mut rest = chunk.valid();
            while let Some(at) = rest.bytes().position(is_special_in_js) {
                let (plain, special) = rest.split_at(at);
                out.extend_from_slice(plain.as_bytes());
                let mut characters = special.chars();
                characters
                    .by_ref()
                    .take(1)
                    .for_each(|character| escape_js(character, out));
                rest = characters.as_str();
            }
            out.extend_from_slice(rest.as_bytes());
            // Bytes that are not UTF-8 count as U+FFFD, which is printable, and stay what they are.
            out.extend_from_slice(chunk.invalid());
        }
        Ok(())
    })
}

/// Appends the text of `arguments`, escaped for the query of a URL.
pub(crate) fn urlquery(cx: &mut Context, arguments: &[Value], out: &mut Vec<u8>) -> Result<()> {
    with_text(cx, arguments, |cx, text| {
        let plain = text.iter().filter(|byte| is_unreserved(**byte)).count();
        let special = text.len() - plain;
        cx.work(text.len() as u64 / 16 + special as u64 / SPECIAL_PER_STEP)?;
        let size = plain.saturating_add(special.saturating_mul(3));
        cx.allocate(size)?;
        buffer::reserve(out, size);
        let mut rest = text;
        while let Some(at) = rest.iter().position(|byte| !is_unreserved(*byte)) {
            let (plain, special) = rest.split_at(at);
            out.extend_from_slice(plain);
            let (first, behind) = special.split_at(1);
            for byte in first {
                if *byte == b' ' {
                    out.push(b'+');
                } else {
                    let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                    out.extend_from_slice(&[b'%', UPPER[high], UPPER[low]]);
                }
            }
            rest = behind;
        }
        out.extend_from_slice(rest);
        Ok(())
    })
}

/// Calls `escape` with what `print` makes of `arguments`, except that nil counts as the string `<no value>`.
fn with_text(
    cx: &mut Context,
    arguments: &[Value],
    escape: impl FnOnce(&mut Context, &[u8]) -> Result<()>,
) -> Result<()> {
    if let [Value::Text(text)] = arguments {
        return escape(cx, text.bytes());
    }
    let mut text = Zeroizing::new(Vec::new());
    if arguments.iter().any(|value| matches!(value, Value::Nil)) {
        let present: Vec<Value> = arguments.iter().map(present).collect();
        super::print(cx, &present, &mut text)?;
    } else {
        super::print(cx, arguments, &mut text)?;
    }
    escape(cx, &text)
}

fn present(value: &Value) -> Value {
    match value {
        Value::Nil => Value::of("<no value>"),
        other => other.clone(),
    }
}

/// Copies `text` with some bytes replaced.
fn escape(
    cx: &mut Context,
    text: &[u8],
    out: &mut Vec<u8>,
    replacement: impl Fn(u8) -> Option<&'static str>,
) -> Result<()> {
    cx.allocate(text.len())?;
    cx.work(text.len() as u64 / 32)?;
    let mut start = 0;
    let mut replaced = 0_u64;
    for (index, byte) in text.iter().enumerate() {
        if let Some(replacement) = replacement(*byte) {
            cx.allocate(replacement.len())?;
            replaced += 1;
            if replaced.is_multiple_of(SPECIAL_PER_STEP) {
                cx.work(1)?;
            }
            buffer::extend(out, &text[start..index]);
            buffer::extend(out, replacement.as_bytes());
            start = index + 1;
        }
    }
    buffer::extend(out, &text[start..]);
    Ok(())
}

fn is_special_in_js(byte: u8) -> bool {
    matches!(
        byte,
        b'\\' | b'\'' | b'"' | b'<' | b'>' | b'&' | b'=' | 0..b' ' | 0x80..
    )
}

fn escape_js(character: char, out: &mut Vec<u8>) {
    match character {
        '\\' => out.extend_from_slice(b"\\\\"),
        '\'' => out.extend_from_slice(b"\\'"),
        '"' => out.extend_from_slice(b"\\\""),
        '<' | '>' | '&' | '=' | '\0'..' ' => escape_code(character, out),
        '\u{80}'.. if !is_print(character) => escape_code(character, out),
        _ => unicode::push(out, character),
    }
}

/// Four digits, more above U+FFFF.
fn escape_code(character: char, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\u");
    let code = u32::from(character);
    let digits = ((35 - code.leading_zeros()) / 4).max(4);
    for place in (0..digits).rev() {
        out.push(UPPER[(code >> (4 * place) & 15) as usize]);
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~')
}

//! `@ugly` and `@pretty`.

use std::collections::BTreeMap;

use crate::json::{self, Kind, lossy};

/// Deepest nesting that is laid out.
const MAX_DEPTH: usize = 512;

/// The text without blanks between tokens.
pub(super) fn ugly(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut index = 0;
    while let Some(&byte) = text.get(index) {
        if byte == b'"' {
            let end = json::string_end(text, index);
            out.extend_from_slice(text.get(index..end).unwrap_or_default());
            index = end;
            continue;
        }
        if !json::is_blank(byte) {
            out.push(byte);
        }
        index += 1;
    }
    out
}

struct Style {
    indent: Vec<u8>,
    prefix: Vec<u8>,
    sorted: bool,
    width: usize,
}

/// The text on several lines. The argument is an object with `indent`, `prefix`, `sortKeys` and `width` (default 80).
pub(super) fn pretty(text: &[u8], argument: &str) -> Option<Vec<u8>> {
    let argument = argument.as_bytes();
    let text_of = |name| json::member(argument, name).map(|value| json::unescape(value).to_vec());
    let style = Style {
        indent: text_of("indent").unwrap_or_else(|| b"  ".to_vec()),
        prefix: text_of("prefix").unwrap_or_default(),
        sorted: json::member(argument, "sortKeys").is_some_and(|value| value == b"true"),
        width: json::member(argument, "width")
            .and_then(|value| std::str::from_utf8(value).ok()?.parse().ok())
            .unwrap_or(80),
    };
    let mut out = style.prefix.clone();
    write(&mut out, text, &style, 0)?;
    out.push(b'\n');
    Some(out)
}

fn write(out: &mut Vec<u8>, text: &[u8], style: &Style, depth: usize) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    match json::kind(text) {
        Some(Kind::Object) => {
            let mut members: Vec<_> = json::members(text).collect();
            if style.sorted {
                let sorted: BTreeMap<String, _> = members
                    .into_iter()
                    .map(|member| (lossy(&json::unescape(member.key)), member))
                    .collect();
                members = sorted.into_values().collect();
            }
            if members.is_empty() {
                out.extend_from_slice(b"{}");
                return Some(());
            }
            out.push(b'{');
            for (index, member) in members.iter().enumerate() {
                separate(out, index, style, depth + 1);
                out.extend_from_slice(member.key);
                out.extend_from_slice(b": ");
                write(out, member.value, style, depth + 1)?;
            }
            line(out, style, depth);
            out.push(b'}');
        }
        Some(Kind::Array) => {
            if let Some(single) = on_one_line(text, out, style) {
                out.extend_from_slice(&single);
                return Some(());
            }
            out.push(b'[');
            for (index, element) in json::elements(text).enumerate() {
                separate(out, index, style, depth + 1);
                write(out, element, style, depth + 1)?;
            }
            line(out, style, depth);
            out.push(b']');
        }
        _ => out.extend_from_slice(json::trim(text)),
    }
    Some(())
}

/// An array of scalars that fits on the line.
fn on_one_line(text: &[u8], before: &[u8], style: &Style) -> Option<Vec<u8>> {
    let elements: Vec<&[u8]> = json::elements(text).collect();
    if elements
        .iter()
        .any(|element| matches!(json::kind(element), Some(Kind::Object | Kind::Array)))
    {
        return None;
    }
    let mut single = vec![b'['];
    single.extend_from_slice(&elements.join(b", ".as_slice()));
    single.push(b']');
    let column = before
        .iter()
        .rev()
        .take_while(|byte| **byte != b'\n')
        .count();
    (elements.is_empty() || column + single.len() <= style.width).then_some(single)
}

fn separate(out: &mut Vec<u8>, index: usize, style: &Style, depth: usize) {
    if index > 0 {
        out.push(b',');
    }
    line(out, style, depth);
}

fn line(out: &mut Vec<u8>, style: &Style, depth: usize) {
    out.push(b'\n');
    out.extend_from_slice(&style.prefix);
    for _ in 0..depth {
        out.extend_from_slice(&style.indent);
    }
}

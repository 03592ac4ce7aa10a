//! Percent signs.

use crate::format;

/// A part of a URL. They differ in what needs no escape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Path,
    /// User or password.
    User,
    Host,
    /// The zone of an IPv6 address.
    Zone,
    Fragment,
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Whether a byte must be escaped in a part.
fn is_special(byte: u8, part: Part) -> bool {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => false,
        _ if matches!(part, Part::Host | Part::Zone) => !b"!$&'()*+,;=:[]<>\"".contains(&byte),
        b'$' | b'&' | b'+' | b',' | b';' | b'=' => false,
        b'/' | b':' | b'?' | b'@' => match part {
            Part::Path => byte == b'?',
            Part::User => true,
            _ => false,
        },
        b'!' | b'(' | b')' | b'*' => part != Part::Fragment,
        _ => true,
    }
}

/// Gives the pieces of the escaped form, which is up to three times as long.
pub(super) fn escape(text: &[u8], part: Part, mut write: impl FnMut(&[u8])) {
    let mut rest = text;
    while let Some(length) = rest.iter().position(|&byte| is_special(byte, part)) {
        let (plain, tail) = rest.split_at(length);
        write(plain);
        let Some((&byte, tail)) = tail.split_first() else {
            return;
        };
        let [high, low] = [byte >> 4, byte & 15].map(|digit| HEX[usize::from(digit)]);
        write(&[b'%', high, low]);
        rest = tail;
    }
    write(rest);
}

/// The unescaped form of a part, or what is wrong with it.
pub(super) fn unescape(text: &[u8], part: Part) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            out.push(escaped(rest, part)?);
            rest = rest.get(3..).unwrap_or_default();
            continue;
        }
        let in_host = matches!(part, Part::Host | Part::Zone);
        if in_host && byte.is_ascii() && is_special(byte, part) {
            return Err(format!(
                "invalid character {} in host name",
                quoted(&[byte])
            ));
        }
        out.push(byte);
        rest = tail;
    }
    Ok(out)
}

/// The byte that the escape at the beginning stands for.
fn escaped(rest: &[u8], part: Part) -> Result<u8, String> {
    let shown = rest.get(..3).unwrap_or(rest);
    let problem = || format!("invalid URL escape {}", quoted(shown));
    let digit = |index: usize| char::from(rest.get(index).copied().unwrap_or(0)).to_digit(16);
    let (Some(high), Some(low)) = (digit(1), digit(2)) else {
        return Err(problem());
    };
    let byte = (high * 16 + low) as u8;
    let allowed = match part {
        // RFC 3986 wants other characters as they are, RFC 6874 allows the percent sign before a zone.
        Part::Host => !byte.is_ascii() || shown == b"%25",
        Part::Zone => shown == b"%25" || byte == b' ' || !is_special(byte, Part::Host),
        _ => true,
    };
    if allowed { Ok(byte) } else { Err(problem()) }
}

/// Bytes as Go's `%q` shows them.
pub(super) fn quoted(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    format::quote(bytes, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

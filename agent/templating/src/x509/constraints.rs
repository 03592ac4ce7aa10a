//! Name constraints. Nothing here applies them, but Go refuses certificates whose constraints it cannot read.

use super::extensions::{ascii, hex};
use crate::der::read::Reader;
use crate::der::tag;
use crate::failure::{Failure, Result};

/// Go's `parseNameConstraintsExtension`.
pub(super) fn check(value: Reader) -> Result<()> {
    let [permitted, excluded] = subtrees(value).ok_or_else(invalid)?;
    let is_empty = |subtrees: &Option<Reader>| subtrees.is_none_or(|subtrees| subtrees.is_empty());
    if is_empty(&permitted) && is_empty(&excluded) {
        return Err(Failure::plain("x509: empty name constraints extension"));
    }
    for mut subtrees in [permitted, excluded].into_iter().flatten() {
        while !subtrees.is_empty() {
            let base = subtrees
                .element(tag::SEQUENCE)
                .and_then(|mut subtree| subtree.any())
                .ok_or_else(invalid)?;
            base_name(base.tag, base.contents)?;
        }
    }
    Ok(())
}

fn subtrees(mut value: Reader<'_>) -> Option<[Option<Reader<'_>>; 2]> {
    let mut contents = value.element(tag::SEQUENCE)?;
    if !value.is_empty() {
        return None;
    }
    let permitted = contents.optional(tag::explicit(0))?;
    let excluded = contents.optional(tag::explicit(1))?;
    contents.is_empty().then_some([permitted, excluded])
}

fn invalid() -> Failure {
    Failure::plain("x509: invalid NameConstraints extension")
}

fn base_name(tag: u8, value: &[u8]) -> Result<()> {
    const EMAIL: u8 = tag::context(1);
    const DNS: u8 = tag::context(2);
    const URI: u8 = tag::context(6);
    const IP: u8 = tag::context(7);
    match tag {
        DNS => {
            let domain = text(value)?;
            if !is_domain(domain, true) {
                return Err(failed("dnsName", domain, ""));
            }
        }
        EMAIL => {
            let name = text(value)?;
            let fits = if name.contains('@') {
                is_mailbox(name)
            } else {
                is_domain(name, true)
            };
            if !fits {
                return Err(failed("rfc822Name", name, ""));
            }
        }
        URI => {
            let domain = text(value)?;
            if crate::ip::parse(domain).is_some() {
                return Err(failed("URI", domain, ": cannot be IP address"));
            }
            if !is_domain(domain, true) {
                return Err(failed("URI", domain, ""));
            }
        }
        IP => ip_range(value)?,
        _ => {}
    }
    Ok(())
}

fn ip_range(value: &[u8]) -> Result<()> {
    let mask = match value.len() {
        8 | 32 => value.get(value.len() / 2..).unwrap_or_default(),
        length => {
            return Err(Failure::plain(format!(
                "x509: IP constraint contained value of length {length}"
            )));
        }
    };
    let ones = mask.iter().take_while(|byte| **byte == 0xff).count();
    let mut rest = mask.iter().skip(ones);
    let first = rest.next().copied().unwrap_or(0);
    if first.leading_ones() + first.trailing_zeros().min(8) < 8 || rest.any(|byte| *byte != 0) {
        return Err(Failure::plain(format!(
            "x509: IP constraint contained invalid mask {}",
            hex(mask)
        )));
    }
    Ok(())
}

fn text(value: &[u8]) -> Result<&str> {
    ascii(value).ok_or_else(|| {
        Failure::plain(format!(
            "x509: invalid constraint value: x509: {} cannot be encoded as an IA5String",
            quoted(value)
        ))
    })
}

fn failed(kind: &str, name: &str, why: &str) -> Failure {
    Failure::plain(format!(
        "x509: failed to parse {kind} constraint {}{why}",
        quoted(name.as_bytes())
    ))
}

/// In Go's double quotes.
pub(super) fn quoted(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    crate::format::quote(bytes, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Go's `domainNameValid`.
pub(super) fn is_domain(name: &str, constraint: bool) -> bool {
    if name.is_empty() {
        return true;
    }
    let labels = match name.strip_prefix('.') {
        Some(rest) if constraint => rest,
        _ => name,
    };
    !name.ends_with('.')
        && labels
            .split('.')
            .all(|label| !label.is_empty() && label.bytes().all(|byte| (33..=126).contains(&byte)))
}

/// Go's `parseRFC2821Mailbox`.
fn is_mailbox(name: &str) -> bool {
    let rest = match name.as_bytes().split_first() {
        Some((b'"', quoted)) => quoted_local_part(quoted),
        _ => local_part(name.as_bytes()),
    };
    let domain = rest.and_then(|rest| rest.strip_prefix(b"@"));
    domain.is_some_and(|domain| {
        domain.is_empty()
            || domain.split(|byte| *byte == b'.').all(|label| {
                !label.is_empty() && label.iter().all(|byte| (33..=126).contains(byte))
            })
    })
}

/// What follows a quoted local part, the first quote of which has been read.
fn quoted_local_part(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        let (byte, rest) = text.split_first()?;
        text = rest;
        match byte {
            b'"' => return Some(text),
            b'\\' => {
                let (escaped, rest) = text.split_first()?;
                if !matches!(escaped, 1..=9 | 11 | 12 | 14..=127) {
                    return None;
                }
                text = rest;
            }
            1..=8 | 11 | 12 | 14..=33 | 35..=91 | 93..=127 => {}
            _ => return None,
        }
    }
}

/// What follows words joined by dots.
fn local_part(text: &[u8]) -> Option<&[u8]> {
    let mut part = Vec::new();
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        match byte {
            b'\\' => {
                let (escaped, after) = after.split_first()?;
                part.push(*escaped);
                rest = after;
            }
            byte if byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(byte) => {
                part.push(*byte);
                rest = after;
            }
            _ => break,
        }
    }
    let words = part
        .split(|byte| *byte == b'.')
        .all(|word| !word.is_empty());
    words.then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_have_labels() {
        for name in ["", "a", "a.b", ".a.b", "*.a", "a_b"] {
            assert!(is_domain(name, true), "{name}");
        }
        for name in [".", "a.", "a..b", "a b", "..a", "\u{7f}"] {
            assert!(!is_domain(name, true), "{name}");
        }
        assert!(!is_domain(".a", false));
    }

    #[test]
    fn mailboxes_are_those_of_rfc_2821() {
        for name in ["a@b", "a.b@c.d", "\"a b\"@c", "a\\@b@c", "\"\"@x", "a@"] {
            assert!(is_mailbox(name), "{name}");
        }
        for name in [
            "@b", ".a@b", "a.@b", "a..b@c", "a@b.", "a@.b", "a b@c", "\"a", "a",
        ] {
            assert!(!is_mailbox(name), "{name}");
        }
    }

    #[test]
    fn masks_are_ones_then_zeros() {
        let range = |mask: [u8; 4]| {
            let mut value = vec![0; 4];
            value.extend(mask);
            ip_range(&value).is_ok()
        };
        assert!(range([255, 255, 255, 255]));
        assert!(range([0, 0, 0, 0]));
        assert!(range([255, 254, 0, 0]));
        assert!(!range([255, 253, 0, 0]));
        assert!(!range([255, 0, 255, 0]));
        assert!(!range([254, 0, 1, 0]));
        assert!(ip_range(&[0; 5]).is_err());
    }
}

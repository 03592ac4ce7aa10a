//! URLs as Go writes them again after it has read them.

use super::escape::{Part, escape};
use super::parse::{cut, parse, scheme};

/// A URL that Go can read.
pub(crate) struct Normal {
    /// What Go's `URL.String` makes of it.
    pub(crate) text: Vec<u8>,
    /// With the port.
    pub(crate) host: Vec<u8>,
}

/// Reads a URL and writes it: what is well escaped stays as it is, the scheme turns to lower case.
///
/// # Errors
///
/// Go's text for what is no URL.
pub(crate) fn normal(raw: &[u8]) -> Result<Normal, String> {
    let url = parse(raw)?;
    let (text, fragment) = cut(raw, b'#');
    let (_, rest) = scheme(text)?;
    let (rest, query) = cut(rest, b'?');
    let mut out = Vec::with_capacity(raw.len());
    if !url.scheme.is_empty() {
        out.extend_from_slice(&url.scheme);
        out.push(b':');
    }
    if url.opaque.is_empty() {
        let has_scheme = !url.scheme.is_empty();
        let authority = rest
            .strip_prefix(b"//")
            .filter(|_| has_scheme || !rest.starts_with(b"///"));
        let path = match authority {
            Some(rest) => {
                let slash = rest.iter().position(|&byte| byte == b'/');
                rest.get(slash.unwrap_or(rest.len())..).unwrap_or_default()
            }
            None => rest,
        };
        let has_host = !url.host.is_empty() || url.user.is_some();
        let is_shown = has_host || (has_scheme && authority.is_some() && !path.is_empty());
        if is_shown {
            out.extend_from_slice(b"//");
        }
        if let Some(user) = &url.user {
            out.extend_from_slice(&user.encoded());
            out.push(b'@');
        }
        escape(&url.host, Part::Host, |bytes| out.extend_from_slice(bytes));
        // A colon in the first segment would make that a scheme.
        let segment = cut(path, b'/').0;
        if out.is_empty() && segment.contains(&b':') {
            out.extend_from_slice(b"./");
        }
        write(path, &url.path, Part::Path, &mut out);
    } else {
        out.extend_from_slice(&url.opaque);
    }
    if let Some(query) = query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    if !url.fragment.is_empty() {
        out.push(b'#');
        let fragment = fragment.unwrap_or_default();
        write(fragment, &url.fragment, Part::Fragment, &mut out);
    }
    Ok(Normal {
        text: out,
        host: url.host,
    })
}

/// The part as it was if that is well escaped, else escaped again.
fn write(raw: &[u8], plain: &[u8], part: Part, out: &mut Vec<u8>) {
    let is_allowed = |byte: &u8| {
        let mut is_kept = b"!$&'()*+,;=:@[]%".contains(byte);
        // A byte that Go writes as it is.
        escape(&[*byte], part, |bytes| is_kept |= bytes == [*byte]);
        is_kept
    };
    if raw.iter().all(is_allowed) {
        out.extend_from_slice(raw);
    } else {
        escape(plain, part, |bytes| out.extend_from_slice(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_written_as_go_writes_them() {
        let cases = [
            ("https://u.test/a%20b?x=1#f", "https://u.test/a%20b?x=1#f"),
            ("HTTPS://U.test/ä", "https://U.test/%C3%A4"),
            ("https://", "https:"),
            ("file:///etc", "file:///etc"),
            ("file:/etc", "file:/etc"),
            ("urn:a:b", "urn:a:b"),
            ("http://h?", "http://h?"),
            ("http://u:p%40@h:1/*", "http://u:p%40@h:1/*"),
            ("a b", "a%20b"),
            ("http://h/a\"b", "http://h/a%22b"),
            ("x#", "x"),
        ];
        for (raw, expected) in cases {
            let text = normal(raw.as_bytes()).map(|normal| normal.text);
            assert_eq!(text.as_deref(), Ok(expected.as_bytes()), "{raw}");
        }
    }
}

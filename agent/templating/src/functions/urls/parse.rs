//! URLs to their parts.

use super::address::check_address;
use super::escape::{Part, escape, quoted, unescape};

/// The parts of a URL.
#[derive(Default)]
pub(super) struct Url {
    pub(super) scheme: Vec<u8>,
    /// What follows the scheme if that is not a slash.
    pub(super) opaque: Vec<u8>,
    pub(super) user: Option<User>,
    /// With the port.
    pub(super) host: Vec<u8>,
    pub(super) path: Vec<u8>,
    pub(super) query: Vec<u8>,
    pub(super) fragment: Vec<u8>,
}

/// User and password of a URL.
pub(super) struct User {
    name: Vec<u8>,
    password: Option<Vec<u8>>,
}

/// Go's `url.Parse`.
pub(super) fn parse(raw: &[u8]) -> Result<Url, String> {
    let (text, fragment) = cut(raw, b'#');
    let mut url =
        parse_reference(text).map_err(|problem| format!("parse {}: {problem}", quoted(text)))?;
    url.fragment = unescape(fragment.unwrap_or_default(), Part::Fragment)
        .map_err(|problem| format!("parse {}: {problem}", quoted(raw)))?;
    Ok(url)
}

/// What stands before the first `separator`, and behind it.
pub(super) fn cut(text: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|&byte| byte == separator) {
        Some(position) => {
            let (before, behind) = text.split_at(position);
            (before, behind.get(1..))
        }
        None => (text, None),
    }
}

/// A URL without a fragment.
fn parse_reference(text: &[u8]) -> Result<Url, String> {
    if text.iter().any(u8::is_ascii_control) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    let mut url = Url::default();
    if text == b"*" {
        url.path = text.to_vec();
        return Ok(url);
    }
    let (scheme, rest) = scheme(text)?;
    url.scheme = scheme.to_ascii_lowercase();
    let (rest, query) = cut(rest, b'?');
    url.query = query.unwrap_or_default().to_vec();
    if !rest.starts_with(b"/") {
        if !url.scheme.is_empty() {
            url.opaque = rest.to_vec();
            return Ok(url);
        }
        if cut(rest, b'/').0.contains(&b':') {
            return Err("first path segment in URL cannot contain colon".to_owned());
        }
    }
    let has_authority = !url.scheme.is_empty() || !rest.starts_with(b"///");
    let path = match rest.strip_prefix(b"//").filter(|_| has_authority) {
        Some(rest) => {
            let slash = rest.iter().position(|&byte| byte == b'/');
            let (authority, path) = rest.split_at(slash.unwrap_or(rest.len()));
            (url.user, url.host) = parse_authority(&url.scheme, authority)?;
            path
        }
        None => rest,
    };
    url.path = unescape(path, Part::Path)?;
    Ok(url)
}

/// The scheme, empty if there is none, and what follows.
pub(super) fn scheme(text: &[u8]) -> Result<(&[u8], &[u8]), String> {
    for (index, byte) in text.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if index > 0 => {}
            b':' if index == 0 => return Err("missing protocol scheme".to_owned()),
            b':' => {
                let (scheme, rest) = text.split_at(index);
                return Ok((scheme, rest.get(1..).unwrap_or_default()));
            }
            _ => break,
        }
    }
    Ok((&[], text))
}

fn parse_authority(scheme: &[u8], authority: &[u8]) -> Result<(Option<User>, Vec<u8>), String> {
    let Some(at) = authority.iter().rposition(|&byte| byte == b'@') else {
        return Ok((None, parse_host(scheme, authority)?));
    };
    let (userinfo, host) = authority.split_at(at);
    let host = parse_host(scheme, host.get(1..).unwrap_or_default())?;
    let is_valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(byte);
    if !userinfo.iter().all(is_valid) {
        return Err("net/url: invalid userinfo".to_owned());
    }
    let (name, password) = cut(userinfo, b':');
    let name = unescape(name, Part::User)?;
    let password = password
        .map(|password| unescape(password, Part::User))
        .transpose()?;
    Ok((Some(User { name, password }), host))
}

/// The host with its port, unescaped.
fn parse_host(scheme: &[u8], host: &[u8]) -> Result<Vec<u8>, String> {
    match host.iter().rposition(|&byte| byte == b'[') {
        Some(0) => return parse_address_host(host),
        Some(_) => return Err("invalid IP-literal".to_owned()),
        None => {}
    }
    // Other schemes than these allow several hosts, each with a port.
    let colon = if matches!(scheme, b"http" | b"https") {
        host.iter().position(|&byte| byte == b':')
    } else {
        host.iter().rposition(|&byte| byte == b':')
    };
    if let Some(colon) = colon {
        check_port(host.get(colon..).unwrap_or_default())?;
    }
    unescape(host, Part::Host)
}

/// A host that is an IPv6 address in brackets.
fn parse_address_host(host: &[u8]) -> Result<Vec<u8>, String> {
    let Some(end) = host.iter().rposition(|&byte| byte == b']') else {
        return Err("missing ']' in host".to_owned());
    };
    let (name, port) = host.split_at(end);
    let name = name.get(1..).unwrap_or_default();
    let port = port.get(1..).unwrap_or_default();
    check_port(port)?;
    let zone = name.windows(3).position(|window| window == b"%25");
    let (address, zone) = name.split_at(zone.unwrap_or(name.len()));
    let mut unescaped = unescape(address, Part::Host)?;
    unescaped.extend(unescape(zone, Part::Zone)?);
    let is_version_6 =
        check_address(&unescaped).map_err(|problem| format!("invalid host: {problem}"))?;
    if !is_version_6 {
        return Err("invalid IP-literal".to_owned());
    }
    let unescaped_port = unescape(port, Part::Host)?;
    Ok([b"[", unescaped.as_slice(), b"]", &unescaped_port].concat())
}

fn check_port(port: &[u8]) -> Result<(), String> {
    if is_optional_port(port) {
        return Ok(());
    }
    Err(format!("invalid port {} after host", quoted(port)))
}

/// Whether a text is empty or a colon and digits.
fn is_optional_port(text: &[u8]) -> bool {
    match text.split_first() {
        None => true,
        Some((first, digits)) => *first == b':' && digits.iter().all(u8::is_ascii_digit),
    }
}

// === impl Url ===

impl Url {
    /// The host without port and brackets.
    pub(super) fn hostname(&self) -> &[u8] {
        let mut host = self.host.as_slice();
        if let Some(colon) = host.iter().rposition(|&byte| byte == b':') {
            let (name, port) = host.split_at(colon);
            if is_optional_port(port) {
                host = name;
            }
        }
        let inner = host
            .strip_prefix(b"[")
            .and_then(|host| host.strip_suffix(b"]"));
        inner.unwrap_or(host)
    }
}

// === impl User ===

impl User {
    /// As it stands in a URL.
    pub(super) fn encoded(&self) -> Vec<u8> {
        let mut out = Vec::new();
        escape(&self.name, Part::User, |bytes| out.extend_from_slice(bytes));
        if let Some(password) = &self.password {
            out.push(b':');
            escape(password, Part::User, |bytes| out.extend_from_slice(bytes));
        }
        out
    }
}

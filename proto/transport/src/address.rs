//! Where a provider listens.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// Prefixes that say nothing but "a gRPC server over TLS" and are dropped.
const ACCEPTED_PREFIXES: [&str; 3] = ["https://", "grpcs://", "dns:///"];

/// Longest host name (RFC 1035 2.3.4), in bytes.
const MAX_HOST: usize = 253;

/// Host and port of a provider: `host:port`, optionally after `https://`, `grpcs://` or `dns:///`
/// (pushsecret-and-stores.md B2).
///
/// The host is kept in lower case and without a trailing dot; IPv6 addresses are written in brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    host: String,
    port: u16,
}

/// Why a text is no address of a provider. The text itself is not repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The scheme is not one of a gRPC server over TLS: `http`, `unix` and `http+unix` are refused on purpose.
    #[error("scheme {scheme:?} is not supported, use host:port of a provider that serves TLS")]
    Scheme {
        /// What stood before the colon, at most 32 bytes.
        scheme: String,
    },
    /// There is no port, or it is not a number from 1 to 65535.
    #[error("the port must be a number from 1 to 65535, as in host:port")]
    Port,
    /// The host is empty, too long, or neither a DNS name nor an IP address.
    #[error("the host must be a DNS name or an IP address")]
    Host,
    /// There is something beside host and port: a path, a query, a user.
    #[error("only host:port is allowed, without user, path or query")]
    Extra,
}

// === impl Address ===

impl Address {
    /// The host without brackets. The server's certificate must be valid for it.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, never 0.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The namespace of the Service that the host names: the second label if the third is `svc`
    /// (provider-protocol.md 8.2).
    #[must_use]
    pub fn service_namespace(&self) -> Option<&str> {
        let mut labels = self.host.split('.');
        let (_, namespace, svc) = (labels.next()?, labels.next()?, labels.next()?);
        (svc == "svc" && !namespace.is_empty()).then_some(namespace)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = strip_prefix(text)?;
        if rest.contains(['/', '?', '#', '@', '\\']) {
            return Err(AddressError::Extra);
        }
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once("]:").ok_or(AddressError::Port)?;
                let address: Ipv6Addr = host.parse().map_err(|_| AddressError::Host)?;
                (address.to_string(), port)
            }
            None => {
                let (host, port) = rest.rsplit_once(':').ok_or(AddressError::Port)?;
                (dns_name(host)?, port)
            }
        };
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AddressError::Port);
        }
        match port.parse() {
            Ok(port) if port > 0 => Ok(Self { host, port }),
            _ => Err(AddressError::Port),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

fn strip_prefix(text: &str) -> Result<&str, AddressError> {
    for prefix in ACCEPTED_PREFIXES {
        if text
            .get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        {
            return Ok(&text[prefix.len()..]);
        }
    }
    // `unix:/path` has no slashes of its own, `host:port` has no letter after the colon.
    let scheme = match text.split_once(':') {
        Some((scheme, rest)) if !rest.starts_with(|first: char| first.is_ascii_digit()) => scheme,
        _ => return Ok(text),
    };
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        && text[scheme.len() + 1..].starts_with('/');
    if is_scheme || scheme.eq_ignore_ascii_case("unix") {
        let scheme = scheme
            .chars()
            .take(32)
            .collect::<String>()
            .to_ascii_lowercase();
        return Err(AddressError::Scheme { scheme });
    }
    Ok(text)
}

fn dns_name(host: &str) -> Result<String, AddressError> {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let label = |label: &str| {
        let body = label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        body && !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.is_empty() || host.len() > MAX_HOST || !host.split('.').all(label) {
        return Err(AddressError::Host);
    }
    Ok(host)
}

#[cfg(test)]
mod tests {
    use super::{Address, AddressError};

    #[test]
    fn host_and_port_are_taken_with_and_without_prefix() {
        let cases = [
            (
                "provider-bao.secrets.svc:8080",
                "provider-bao.secrets.svc",
                8080,
            ),
            (
                "https://provider-bao.secrets.svc:8080",
                "provider-bao.secrets.svc",
                8080,
            ),
            ("grpcs://Provider.example.COM.:1", "provider.example.com", 1),
            (
                "dns:///p.a.svc.cluster.local:65535",
                "p.a.svc.cluster.local",
                65535,
            ),
            ("127.0.0.1:9443", "127.0.0.1", 9443),
            ("[::1]:9443", "::1", 9443),
            ("localhost:80", "localhost", 80),
        ];
        for (text, host, port) in cases {
            let address: Address = text
                .parse()
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((address.host(), address.port()), (host, port), "{text}");
        }
        let text = "https://[::1]:9443"
            .parse::<Address>()
            .map(|address| address.to_string());
        assert_eq!(text.as_deref(), Ok("[::1]:9443"));
    }

    #[test]
    fn anything_else_is_refused_with_its_cause() {
        let scheme = |scheme: &str| AddressError::Scheme {
            scheme: scheme.into(),
        };
        let cases = [
            // AMB-01: unix addresses and plaintext are refused by name.
            ("unix:///run/p.sock", scheme("unix")),
            ("unix:run/p.sock", scheme("unix")),
            ("unix:/run/p.sock", scheme("unix")),
            ("http+unix://%2Frun%2Fp.sock", scheme("http+unix")),
            ("http://provider.a.svc:8080", scheme("http")), // SB-23
            ("HTTP://provider.a.svc:8080", scheme("http")),
            ("dns://8.8.8.8/p:1", scheme("dns")),
            ("ftp://p:1", scheme("ftp")),
            ("", AddressError::Port),
            ("provider.a.svc", AddressError::Port),
            ("https://provider.a.svc", AddressError::Port),
            ("provider.a.svc:", AddressError::Port),
            ("provider.a.svc:http", AddressError::Port),
            ("provider.a.svc:0", AddressError::Port),
            ("provider.a.svc:65536", AddressError::Port),
            ("provider.a.svc:+80", AddressError::Port),
            ("[::1]", AddressError::Port),
            (":8080", AddressError::Host),
            ("a b:80", AddressError::Host),
            ("a..b:80", AddressError::Host),
            ("-a:80", AddressError::Host),
            ("::1:80", AddressError::Host),
            ("[fe80::1%eth0]:80", AddressError::Host),
            ("p.a.svc:80/path", AddressError::Extra),
            ("https://p.a.svc:80/", AddressError::Extra),
            ("https://u:p@p.a.svc:80", AddressError::Extra),
            ("p.a.svc:80?x=1", AddressError::Extra),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Address>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn service_namespace_is_the_label_before_svc() {
        //
        let cases = [
            ("provider.team-a.svc:9443", Some("team-a")),
            ("provider.team-b.svc.cluster.local:9443", Some("team-b")),
            ("127.0.0.1:9443", None),
            ("provider.example.com:9443", None),
            ("provider:9443", None),
            ("svc.a:9443", None),
        ];
        for (text, expected) in cases {
            let address: Address = text
                .parse()
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(address.service_namespace(), expected, "{text}");
        }
    }
}

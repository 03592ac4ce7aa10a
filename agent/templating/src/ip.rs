//! IP addresses as Go's `net` reads and writes them.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Go's `net.ParseIP`: 4 bytes for IPv4 (also if written as IPv6), else 16. No zones.
pub(crate) fn parse(text: &str) -> Option<Vec<u8>> {
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Some(address.octets().to_vec());
    }
    let address = text.parse::<Ipv6Addr>().ok()?;
    Some(match address.to_ipv4_mapped() {
        Some(address) => address.octets().to_vec(),
        None => address.octets().to_vec(),
    })
}

/// Go's `net.IP.String` for 4 or 16 bytes.
pub(crate) fn text(bytes: &[u8]) -> String {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Ipv4Addr::from(bytes).to_string();
    }
    let Ok(bytes) = <[u8; 16]>::try_from(bytes) else {
        return "?".to_owned();
    };
    let address = Ipv6Addr::from(bytes);
    match address.to_ipv4_mapped() {
        Some(address) => address.to_string(),
        None => plain_ipv6(address),
    }
}

/// Without the dotted form that Rust gives to addresses such as `::1.2.3.4`.
fn plain_ipv6(address: Ipv6Addr) -> String {
    let groups = address.segments();
    let (start, end) = longest_zeros(&groups);
    let join = |groups: &[u16]| {
        let groups: Vec<_> = groups.iter().map(|group| format!("{group:x}")).collect();
        groups.join(":")
    };
    if end - start < 2 {
        return join(&groups);
    }
    let before = groups.get(..start).unwrap_or_default();
    let after = groups.get(end..).unwrap_or_default();
    format!("{}::{}", join(before), join(after))
}

/// The first of the longest runs of zeros.
fn longest_zeros(groups: &[u16; 8]) -> (usize, usize) {
    let mut longest = (0, 0);
    let mut start = 0;
    for (at, group) in groups.iter().enumerate() {
        if *group != 0 {
            start = at + 1;
        } else if at + 1 - start > longest.1 - longest.0 {
            longest = (start, at + 1);
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_go_writes_them() {
        let cases = [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:DB8::5", "2001:db8::5"),
            ("::", "::"),
            ("::1", "::1"),
            ("1::", "1::"),
            ("::1.2.3.4", "::102:304"),
            ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"),
            ("1:0:0:2:0:0:3:4", "1::2:0:0:3:4"),
        ];
        for (text, expected) in cases {
            assert_eq!(super::text(&parse(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for text in [
            "",
            "1.2.3",
            "01.2.3.4",
            "1.2.3.256",
            "fe80::1%eth0",
            "::g",
            "1.2.3.4 ",
        ] {
            assert!(parse(text).is_none(), "{text:?}");
        }
    }
}

//! Synthetic values: the keys `synthetic/<n>` of a resource with `spec.simulation.payload`.

use latchkey_crds::provider_fake::{Payload, PayloadKind};
use latchkey_secret::SecretValue;

/// Prefix of the keys.
const PREFIX: &str = "synthetic/";
/// Largest value, in bytes.
const MAX_BYTES: usize = 16 << 20;
/// Deepest nesting of a deep document; deeper ones are as long, with a string inside.
const MAX_DEPTH: usize = 5000;

/// The value of `key`, if it is a synthetic one. Its first bytes differ from key to key where its kind allows.
#[must_use]
pub fn value(payload: &Payload, key: &str) -> Option<SecretValue> {
    let number: u64 = key.strip_prefix(PREFIX)?.parse().ok()?;
    let size = usize::try_from(payload.size).unwrap_or(0).min(MAX_BYTES);
    let label = number.to_string();
    let filled = |alphabet: &[u8]| -> Vec<u8> {
        label
            .bytes()
            .chain(alphabet.iter().copied().cycle())
            .take(size)
            .collect()
    };
    Some(SecretValue::new(
        match payload.kind.unwrap_or(PayloadKind::Text) {
            PayloadKind::Text => filled(b"abcdefghijklmnopqrstuvwxyz"),
            PayloadKind::Binary => filled(&(0..=255).collect::<Vec<u8>>()),
            PayloadKind::NulBytes => filled(b"\0a\0b"),
            PayloadKind::InvalidUtf8 => filled(b"\xff\xfe\xc3("),
            PayloadKind::DeepJson => deep(size),
            PayloadKind::HugeMap => huge(size, &label),
        },
    ))
}

fn deep(size: usize) -> Vec<u8> {
    let depth = (size / 2).saturating_sub(1).min(MAX_DEPTH);
    let inner = size.saturating_sub(2 * depth + 2);
    [
        vec![b'['; depth],
        vec![b'"'],
        vec![b'd'; inner],
        vec![b'"'],
        vec![b']'; depth],
    ]
    .concat()
}

fn huge(size: usize, label: &str) -> Vec<u8> {
    let mut text = format!("{{\"n\":\"{label}\"");
    let mut index = 0_u32;
    while text.len() + 1 < size {
        text.push_str(&format!(",\"k{index}\":\"v\""));
        index += 1;
    }
    text.push('}');
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_size_and_kind() {
        let make = |kind, size| {
            let payload = Payload {
                size,
                kind: Some(kind),
            };
            value(&payload, "synthetic/7").unwrap().expose().to_vec()
        };
        assert_eq!(make(PayloadKind::Text, 5), b"7abcd");
        assert_eq!(make(PayloadKind::Binary, 300).len(), 300);
        assert!(make(PayloadKind::NulBytes, 10).contains(&0));
        assert!(std::str::from_utf8(&make(PayloadKind::InvalidUtf8, 10)).is_err());
        for size in [20, 1000, 50_000] {
            let deep = make(PayloadKind::DeepJson, size);
            assert_eq!(deep.len(), usize::try_from(size).unwrap());
            assert!(latchkey_provider_sdk::json::is_valid(&deep));
            let huge = make(PayloadKind::HugeMap, size);
            assert!(
                latchkey_provider_sdk::json::raw_map(&huge)
                    .unwrap()
                    .contains_key("n")
            );
        }
        let payload = Payload {
            size: 5,
            kind: None,
        };
        for key in ["synthetic/", "synthetic/x", "other"] {
            assert!(value(&payload, key).is_none());
        }
    }
}

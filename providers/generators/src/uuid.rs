//! UUIDs of version 4 (RFC 9562 section 5.4), lower case with hyphens.

use latchkey_provider_sdk::Result;
use latchkey_secret::SecretValue;
use zeroize::Zeroizing;

use crate::random::Random;

/// Key of the result.
pub const KEY: &str = "uuid";
const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// Positions in the bytes before which a hyphen is written.
const HYPHENS: [usize; 4] = [4, 6, 8, 10];

/// A new UUID.
///
/// # Errors
///
/// There are no random numbers.
pub fn generate(random: &mut impl Random) -> Result<SecretValue> {
    let mut bytes = Zeroizing::new([0_u8; 16]);
    random.fill(&mut *bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = Vec::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if HYPHENS.contains(&index) {
            text.push(b'-');
        }
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 0x0f)]);
    }
    Ok(SecretValue::new(text))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::random::System;

    #[test]
    fn a_hundred_thousand_are_of_version_4_and_all_different() {
        // E237, generators.md 7.
        let mut random = System::default();
        let mut seen = HashSet::new();
        for _ in 0..100_000 {
            let value = generate(&mut random).unwrap();
            let text = std::str::from_utf8(value.expose()).unwrap().to_owned();
            let hyphens: Vec<usize> = text.match_indices('-').map(|(at, _)| at).collect();
            assert_eq!((text.len(), hyphens), (36, vec![8, 13, 18, 23]), "{text}");
            assert_eq!(&text[14..15], "4", "{text}");
            assert!(matches!(&text[19..20], "8" | "9" | "a" | "b"), "{text}");
            assert_eq!(text, text.to_lowercase());
            assert!(seen.insert(text));
        }
    }
}

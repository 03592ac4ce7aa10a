//! Key conversion and validation (`externalsecret.md` 3.5).
//!
//! Legal characters are letters (Unicode category L), numbers (N), `-`, `.` and `_`. `char::is_alphabetic` is wider than
//! category L, therefore the categories come from regular expressions.

use std::collections::btree_map::Entry;
use std::sync::LazyLock;

use latchkey_crds::external_secret::ConversionStrategy;
use latchkey_secret::SecretData;
use regex::{Captures, Regex};

/// The longest key, in bytes.
pub const MAXIMUM_LENGTH: usize = 253;

static ILLEGAL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[^\p{L}\p{N}\-._]").expect("the pattern is a constant that a test compiles")
});

/// Two keys become the same by conversion.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("secret name collision during conversion: {0}")]
pub struct KeyCollision(
    /// What both become.
    pub String,
);

/// A key that no target can hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// It is longer than [`MAXIMUM_LENGTH`].
    #[error(
        "key has length {length} but max is {MAXIMUM_LENGTH}: (following is truncated): {start}"
    )]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// Its first 253 bytes, or a few less where a character would be cut.
        start: String,
    },
    /// It contains a character that is not allowed.
    #[error(
        "key has invalid character {character}, only alphanumeric, '-', '.' and '_' are allowed: {key}"
    )]
    IllegalCharacter {
        /// The first such character.
        character: char,
        /// The key.
        key: String,
    },
}

/// Converts one key. Absence of a strategy means `Default`.
#[must_use]
pub fn convert_key(strategy: Option<ConversionStrategy>, key: &str) -> String {
    let replacement = |captures: &Captures<'_>| match strategy {
        None | Some(ConversionStrategy::Default) => "_".to_owned(),
        Some(ConversionStrategy::Unicode) => captures[0]
            .chars()
            .map(|character| format!("_U{:04x}_", u32::from(character)))
            .collect(),
    };
    ILLEGAL.replace_all(key, replacement).into_owned()
}

/// Converts the keys of a map.
///
/// # Errors
///
/// Two keys become the same.
pub fn convert_keys(
    strategy: Option<ConversionStrategy>,
    data: SecretData,
) -> Result<SecretData, KeyCollision> {
    let mut converted = SecretData::new();
    for (key, value) in data {
        match converted.entry(convert_key(strategy, &key)) {
            Entry::Occupied(entry) => return Err(KeyCollision(entry.key().clone())),
            Entry::Vacant(entry) => entry.insert(value),
        };
    }
    Ok(converted)
}

/// Checks the keys of a map, in ascending order, and drops an empty one.
///
/// # Errors
///
/// The first key that no target can hold.
pub fn validate_keys(mut data: SecretData) -> Result<SecretData, InvalidKey> {
    data.remove("");
    for key in data.keys() {
        validate_key(key)?;
    }
    Ok(data)
}

fn validate_key(key: &str) -> Result<(), InvalidKey> {
    if key.len() > MAXIMUM_LENGTH {
        let start = key[..key.floor_char_boundary(MAXIMUM_LENGTH)].to_owned();
        return Err(InvalidKey::TooLong {
            length: key.len(),
            start,
        });
    }
    if let Some(found) = ILLEGAL.find(key) {
        let character = found
            .as_str()
            .chars()
            .next()
            .unwrap_or(char::REPLACEMENT_CHARACTER);
        return Err(InvalidKey::IllegalCharacter {
            character,
            key: key.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use latchkey_secret::SecretValue;

    use super::*;

    fn map(keys: &[&str]) -> SecretData {
        keys.iter()
            .map(|key| ((*key).to_owned(), SecretValue::from((*key).to_owned())))
            .collect()
    }

    fn keys(data: &SecretData) -> Vec<&str> {
        data.keys().map(String::as_str).collect()
    }

    #[test]
    fn illegal_characters_are_replaced() {
        // externalsecret.md 3.5, E152, E155, E156; categories of U+24D0 (So), U+0345 (Mn), U+2160 (Nl), U+00B2 (No)
        let default = Some(ConversionStrategy::Default);
        let unicode = Some(ConversionStrategy::Unicode);
        for (strategy, key, expected) in [
            (default, "a$b%c*d", "a_b_c_d"),
            (None, "a$b%c*d", "a_b_c_d"),
            (default, "a-b.c_d9", "a-b.c_d9"),
            (default, "größe/日本", "größe_日本"),
            (default, "x\u{24d0}y\u{345}", "x_y_"),
            (default, "\u{2160}\u{b2}", "\u{2160}\u{b2}"),
            (unicode, "😀x", "_U1f600_x"),
            (unicode, "a/b", "a_U002f_b"),
            (unicode, "//", "_U002f__U002f_"),
            (default, "", ""),
        ] {
            assert_eq!(convert_key(strategy, key), expected, "{key}");
        }
    }

    #[test]
    fn keys_that_become_the_same_are_an_error() {
        // externalsecret.md 3.5, E153, E154
        let error = convert_keys(None, map(&["a$b", "a%b"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "secret name collision during conversion: a_b"
        );
        assert_eq!(
            keys(&convert_keys(None, map(&["/a/b", "a/b/"])).unwrap()),
            ["_a_b", "a_b_"]
        );
    }

    #[test]
    fn keys_are_checked_for_length_and_characters() {
        // externalsecret.md 3.5, X15, X16; SB-37
        assert_eq!(
            keys(&validate_keys(map(&["", "a", "ü-._1"])).unwrap()),
            ["a", "ü-._1"]
        );
        let longest = "k".repeat(253);
        assert!(validate_keys(map(&[&longest])).is_ok());
        let error = validate_keys(map(&[&format!("{longest}k")])).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("key has length 254 but max is 253: (following is truncated): {longest}")
        );
        let wide = format!("{}ü", "k".repeat(252));
        assert_eq!(
            validate_keys(map(&[&wide])).unwrap_err(),
            InvalidKey::TooLong {
                length: 254,
                start: "k".repeat(252)
            }
        );
        assert_eq!(
            validate_keys(map(&["ok", "a b/c"]))
                .unwrap_err()
                .to_string(),
            "key has invalid character  , only alphanumeric, '-', '.' and '_' are allowed: a b/c"
        );
    }
}

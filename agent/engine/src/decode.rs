//! Decoding of fetched values (`externalsecret.md` 3.7) and the check for zero bytes (3.8).
//!
//! The decoder is our own because users match the error's offset in events, and because the rules are looser than those of the
//! usual crates: line breaks are skipped anywhere and the unused bits of the last character may be set.

use latchkey_crds::external_secret::{DecodingStrategy, NullBytePolicy};
use latchkey_secret::{SecretData, SecretValue};

/// The value is not in the encoding that was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("illegal base64 data at input byte {0}")]
pub struct IllegalBase64(
    /// Offset of the offending byte, from 0.
    pub usize,
);

/// One value of a map could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failure decoding key {key}: {cause}")]
pub struct UndecodableKey {
    /// Key of the value.
    pub key: String,
    /// What is wrong with it.
    pub cause: IllegalBase64,
}

/// A value contains a zero byte and the policy forbids that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "fetched secret value for key \"{0}\" contains null bytes; use a text-safe format such as PEM/base64 or leave nullBytePolicy unset for intentional binary data"
)]
pub struct NullBytes(
    /// Key of the value.
    pub String,
);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Alphabet {
    Standard,
    UrlSafe,
}

/// Decodes one value. Absence of a strategy means `None`, which changes nothing; `Auto` never fails.
///
/// # Errors
///
/// `Base64` and `Base64URL` name the first offending byte.
pub fn decode(
    strategy: Option<DecodingStrategy>,
    value: SecretValue,
) -> Result<SecretValue, IllegalBase64> {
    match strategy {
        None | Some(DecodingStrategy::None) => Ok(value),
        Some(DecodingStrategy::Base64) => base64(value.expose(), Alphabet::Standard),
        Some(DecodingStrategy::Base64Url) => base64(value.expose(), Alphabet::UrlSafe),
        Some(DecodingStrategy::Auto) => Ok(base64(value.expose(), Alphabet::Standard)
            .or_else(|_| base64(value.expose(), Alphabet::UrlSafe))
            .unwrap_or(value)),
    }
}

/// Decodes every value of a map, in ascending order of keys.
///
/// # Errors
///
/// The first value that cannot be decoded.
pub fn decode_map(
    strategy: Option<DecodingStrategy>,
    data: SecretData,
) -> Result<SecretData, UndecodableKey> {
    data.into_iter()
        .map(|(key, value)| match decode(strategy, value) {
            Ok(value) => Ok((key, value)),
            Err(cause) => Err(UndecodableKey { key, cause }),
        })
        .collect()
}

/// Checks one value for zero bytes, if the policy asks for it.
///
/// # Errors
///
/// The policy is `Fail` and there is one.
pub fn check_null_bytes(
    policy: Option<NullBytePolicy>,
    key: &str,
    value: &SecretValue,
) -> Result<(), NullBytes> {
    if policy == Some(NullBytePolicy::Fail) && value.expose().contains(&0) {
        return Err(NullBytes(key.to_owned()));
    }
    Ok(())
}

fn base64(input: &[u8], alphabet: Alphabet) -> Result<SecretValue, IllegalBase64> {
    // Reserved in full, so that no growth leaves a copy of the bytes behind.
    let mut output = Vec::with_capacity(input.len() / 4 * 3 + 3);
    match decode_groups(input, alphabet, &mut output) {
        Ok(()) => Ok(SecretValue::new(output)),
        Err(error) => {
            // Wipes what was decoded so far.
            drop(SecretValue::new(output));
            Err(error)
        }
    }
}

fn decode_groups(
    input: &[u8],
    alphabet: Alphabet,
    output: &mut Vec<u8>,
) -> Result<(), IllegalBase64> {
    let mut group = [0_u8; 4];
    let mut filled = 0;
    let mut position = 0;
    while let Some(&byte) = input.get(position) {
        position += 1;
        if is_line_break(byte) {
            continue;
        }
        if byte == b'=' {
            return finish(input, position, group, filled, output);
        }
        group[filled] = sextet(byte, alphabet).ok_or(IllegalBase64(position - 1))?;
        filled += 1;
        if filled == 4 {
            push(group, 3, output);
            filled = 0;
        }
    }
    if filled == 0 {
        Ok(())
    } else {
        Err(IllegalBase64(position - filled))
    }
}

/// Ends the input at its first `=`, which lies before `position`: checks the padding and that nothing follows it.
fn finish(
    input: &[u8],
    mut position: usize,
    mut group: [u8; 4],
    filled: usize,
    output: &mut Vec<u8>,
) -> Result<(), IllegalBase64> {
    let skip_line_breaks = |position: &mut usize| {
        while input.get(*position).copied().is_some_and(is_line_break) {
            *position += 1;
        }
    };
    if filled < 2 {
        return Err(IllegalBase64(position - 1));
    }
    if filled == 2 {
        skip_line_breaks(&mut position);
        match input.get(position) {
            None => return Err(IllegalBase64(input.len())),
            Some(b'=') => position += 1,
            Some(_) => return Err(IllegalBase64(position - 1)),
        }
    }
    skip_line_breaks(&mut position);
    if position < input.len() {
        return Err(IllegalBase64(position));
    }
    group[filled..].fill(0);
    push(group, filled - 1, output);
    Ok(())
}

/// Appends the first `count` bytes of a group.
fn push(group: [u8; 4], count: usize, output: &mut Vec<u8>) {
    let [a, b, c, d] = group;
    let bytes = [a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d];
    output.extend_from_slice(&bytes[..count]);
}

const fn is_line_break(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// RFC 4648 tables 1 and 2.
fn sextet(byte: u8, alphabet: Alphabet) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' if alphabet == Alphabet::Standard => 62,
        b'/' if alphabet == Alphabet::Standard => 63,
        b'-' if alphabet == Alphabet::UrlSafe => 62,
        b'_' if alphabet == Alphabet::UrlSafe => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;

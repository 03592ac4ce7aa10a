//! Decoders that say where they stopped as Go's do.

use base64::Engine;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use crate::unicode;

/// Go's `StdEncoding`: padding is required, unused bits may be set.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Go's `base64.StdEncoding.DecodeString`.
pub(crate) fn base64_decode(encoded: &[u8]) -> Result<Vec<u8>, String> {
    if let Ok(bytes) = BASE64.decode(encoded) {
        return Ok(bytes);
    }
    // With line breaks, which the library refuses, or broken.
    slow_base64_decode(encoded)
        .map_err(|offset| format!("illegal base64 data at input byte {offset}"))
}

/// What follows a digit of base64.
enum Quantum {
    /// Four digits.
    Full,
    /// The end of the input instead of a first digit.
    End,
    /// This many digits and padding, which end the input.
    Padded(usize),
}

fn slow_base64_decode(encoded: &[u8]) -> Result<Vec<u8>, usize> {
    let mut out = Zeroizing::new(Vec::with_capacity(encoded.len() / 4 * 3 + 3));
    let mut position = 0;
    loop {
        let mut digits = [0; 4];
        let quantum = base64_quantum(encoded, &mut position, &mut digits)?;
        let bits = digits
            .iter()
            .fold(0, |bits, &digit| bits << 6 | u32::from(digit));
        let [_, bytes @ ..] = bits.to_be_bytes();
        let count = match quantum {
            Quantum::Full => 3,
            Quantum::End => return Ok(std::mem::take(&mut *out)),
            Quantum::Padded(digits) => digits - 1,
        };
        out.extend(bytes.iter().take(count));
    }
}

/// Reads the next four digits. Fails with the offset that Go names.
fn base64_quantum(
    encoded: &[u8],
    position: &mut usize,
    digits: &mut [u8; 4],
) -> Result<Quantum, usize> {
    for (count, digit) in digits.iter_mut().enumerate() {
        let byte = loop {
            match encoded.get(*position) {
                Some(b'\r' | b'\n') => *position += 1,
                Some(&byte) => break byte,
                None if count == 0 => return Ok(Quantum::End),
                None => return Err(*position - count),
            }
        };
        *position += 1;
        match base64_digit(byte) {
            Some(value) => *digit = value,
            None if byte == b'=' && count >= 2 => {
                return base64_padding(encoded, position, count);
            }
            None => return Err(*position - 1),
        }
    }
    Ok(Quantum::Full)
}

/// Reads on behind a first `=` that follows `count` digits.
fn base64_padding(encoded: &[u8], position: &mut usize, count: usize) -> Result<Quantum, usize> {
    skip_breaks(encoded, position);
    if count == 2 {
        match encoded.get(*position) {
            None => return Err(encoded.len()),
            Some(b'=') => *position += 1,
            Some(_) => return Err(*position - 1),
        }
        skip_breaks(encoded, position);
    }
    if *position < encoded.len() {
        return Err(*position);
    }
    Ok(Quantum::Padded(count))
}

fn skip_breaks(encoded: &[u8], position: &mut usize) {
    while let Some(b'\r' | b'\n') = encoded.get(*position) {
        *position += 1;
    }
}

fn base64_digit(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Go's `base32.StdEncoding.DecodeString`, whose offsets do not count line breaks.
pub(super) fn base32_decode(encoded: &[u8]) -> Result<Vec<u8>, String> {
    let digits = encoded.iter().copied();
    let digits: Zeroizing<Vec<u8>> = Zeroizing::new(
        digits
            .filter(|byte| !matches!(byte, b'\r' | b'\n'))
            .collect(),
    );
    let mut out = Zeroizing::new(Vec::with_capacity(digits.len() / 8 * 5 + 5));
    let mut start = 0;
    while start < digits.len() {
        let rest = digits.get(start..).unwrap_or_default();
        let (bits, count) = base32_quantum(rest)
            .map_err(|offset| format!("illegal base32 data at input byte {}", start + offset))?;
        let [_, _, _, bytes @ ..] = bits.to_be_bytes();
        out.extend(bytes.iter().take(count * 5 / 8));
        if count < 8 {
            break;
        }
        start += 8;
    }
    Ok(std::mem::take(&mut *out))
}

/// The bits of the next 8 digits, 40 of them, and how many digits there were. Fails with the offset that Go names.
fn base32_quantum(rest: &[u8]) -> Result<(u64, usize), usize> {
    let mut bits = 0;
    for count in 0..8 {
        let Some(&byte) = rest.get(count) else {
            // Without padding: Go names the start of the quantum.
            return Err(0);
        };
        if byte == b'=' && count >= 2 && rest.len() <= count + 8 {
            base32_padding(rest, count)?;
            return Ok((bits << (5 * (8 - count)), count));
        }
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'2'..=b'7' => byte - b'2' + 26,
            _ => return Err(count),
        };
        bits = bits << 5 | u64::from(digit);
    }
    Ok((bits, 8))
}

/// Checks the padding that begins behind `count` digits.
fn base32_padding(rest: &[u8], count: usize) -> Result<(), usize> {
    if rest.len() < 8 {
        return Err(rest.len());
    }
    let wrong = (count + 1..8).find(|&index| rest.get(index).is_some_and(|&byte| byte != b'='));
    if let Some(wrong) = wrong {
        return Err(wrong - 1);
    }
    if matches!(count, 3 | 6) {
        return Err(count);
    }
    Ok(())
}

/// Go's `hex.DecodeString`.
pub(super) fn hex_decode(encoded: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Zeroizing::new(Vec::with_capacity(encoded.len() / 2));
    for pair in encoded.chunks(2) {
        let mut value = 0;
        for &byte in pair {
            value = value << 4 | hex_digit(byte)?;
        }
        if pair.len() < 2 {
            return Err("encoding/hex: odd length hex string".to_owned());
        }
        out.push(value);
    }
    Ok(std::mem::take(&mut *out))
}

fn hex_digit(byte: u8) -> Result<u8, String> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => {
            let mut message = format!("encoding/hex: invalid byte: U+{byte:04X}");
            let character = char::from(byte);
            if unicode::is_print(character) {
                message.push_str(" '");
                message.push(character);
                message.push('\'');
            }
            Err(message)
        }
    }
}

//! Go's syntax of integers.

use super::NumberError;

/// A sign and what [`parse_uint`] takes; a value of `bits` bits, two's complement.
pub(crate) fn parse_int(text: &[u8], base: u32, bits: u32) -> Result<i64, NumberError> {
    let (negative, magnitude) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let magnitude = parse_uint(magnitude, base, 64)?;
    let limit = 1_u64 << (bits.clamp(1, 64) - 1);
    match (negative, magnitude) {
        (true, _) if magnitude <= limit => Ok((magnitude as i64).wrapping_neg()),
        (false, _) if magnitude < limit => Ok(magnitude as i64),
        _ => Err(NumberError::Range),
    }
}

/// Digits of `base`, from 2 to 36. With base 0 the prefixes `0x`, `0o`, `0b` and a leading `0` say which, and underscores may
/// stand between digits.
pub(crate) fn parse_uint(text: &[u8], base: u32, bits: u32) -> Result<u64, NumberError> {
    let (radix, digits) = match (base, text) {
        (_, []) => return Err(NumberError::Syntax),
        (0, [b'0', b'b' | b'B', digits @ ..]) if !digits.is_empty() => (2, digits),
        (0, [b'0', b'o' | b'O', digits @ ..]) if !digits.is_empty() => (8, digits),
        (0, [b'0', b'x' | b'X', digits @ ..]) if !digits.is_empty() => (16, digits),
        (0, [b'0', digits @ ..]) => (8, digits),
        (0, digits) => (10, digits),
        (base, digits) => (base, digits),
    };
    let limit = u64::MAX >> (64 - bits.clamp(1, 64));
    let mut number: u64 = 0;
    let mut underscores = false;
    for byte in digits {
        if *byte == b'_' && base == 0 {
            underscores = true;
            continue;
        }
        let digit = char::from(*byte).to_digit(36);
        let digit = digit.filter(|digit| *digit < radix);
        let digit = u64::from(digit.ok_or(NumberError::Syntax)?);
        // A number that is too large is so whatever follows it.
        number = number
            .checked_mul(u64::from(radix))
            .and_then(|number| number.checked_add(digit))
            .filter(|number| *number <= limit)
            .ok_or(NumberError::Range)?;
    }
    if underscores && !are_underscores_fine(text) {
        return Err(NumberError::Syntax);
    }
    Ok(number)
}

/// Whether each underscore stands between digits, or between the prefix of a base and a digit. `text` may have a sign.
pub(super) fn are_underscores_fine(text: &[u8]) -> bool {
    let unsigned = match text {
        [b'+' | b'-', rest @ ..] => rest,
        rest => rest,
    };
    let (hexadecimal, mut after_digit, digits) = match unsigned {
        [b'0', b'x' | b'X', rest @ ..] => (true, true, rest),
        [b'0', b'b' | b'B' | b'o' | b'O', rest @ ..] => (false, true, rest),
        rest => (false, false, rest),
    };
    let mut after_underscore = false;
    for byte in digits {
        let is_digit = byte.is_ascii_digit() || hexadecimal && byte.is_ascii_hexdigit();
        let is_underscore = *byte == b'_';
        if is_underscore && !after_digit || after_underscore && !is_digit {
            return false;
        }
        (after_digit, after_underscore) = (is_digit, is_underscore);
    }
    !after_underscore
}

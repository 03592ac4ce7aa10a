//! Go's syntax of floats.

use super::NumberError;
use super::integers::are_underscores_fine;

/// Bits of the mantissa that are stored.
const MANTISSA: u32 = 52;
/// Exponents are not counted on beyond this: nothing so large or small is a float, whatever the mantissa.
const EXPONENT_LIMIT: i64 = 1 << 40;

/// The parts of a float's text.
struct Parts<'a> {
    negative: bool,
    hexadecimal: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

/// Decimal and hexadecimal floats, `inf`, `infinity` and `nan` in any case; underscores between digits after the prefix of a
/// base or, as upstream's converters want it, between any digits.
pub(crate) fn parse_float(text: &[u8]) -> Result<f64, NumberError> {
    if let Some(special) = special(text) {
        return Ok(special);
    }
    let parts = Parts::read(text).ok_or(NumberError::Syntax)?;
    if text.contains(&b'_') && !are_underscores_fine(text) {
        return Err(NumberError::Syntax);
    }
    let value = if parts.hexadecimal {
        parts.hexadecimal_value()
    } else {
        decimal_value(text)?
    };
    if value.is_infinite() {
        return Err(NumberError::Range);
    }
    Ok(if parts.hexadecimal && parts.negative {
        -value
    } else {
        value
    })
}

fn special(text: &[u8]) -> Option<f64> {
    let (sign, word) = match text {
        [b'-', rest @ ..] => (-1.0, rest),
        [b'+', rest @ ..] => (1.0, rest),
        rest => (1.0, rest),
    };
    if word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"infinity") {
        return Some(sign * f64::INFINITY);
    }
    // Go knows no sign here.
    text.eq_ignore_ascii_case(b"nan").then_some(f64::NAN)
}

/// The value of a text of which the syntax has been checked.
fn decimal_value(text: &[u8]) -> Result<f64, NumberError> {
    let plain: std::borrow::Cow<'_, [u8]> = if text.contains(&b'_') {
        let digits = text.iter().copied().filter(|byte| *byte != b'_');
        digits.collect::<Vec<u8>>().into()
    } else {
        text.into()
    };
    std::str::from_utf8(&plain)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(NumberError::Syntax)
}

// === impl Parts ===

impl<'a> Parts<'a> {
    /// `None` for what is no float. Underscores are not checked.
    fn read(text: &'a [u8]) -> Option<Self> {
        let (negative, rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let (hexadecimal, rest) = match rest {
            [b'0', b'x' | b'X', rest @ ..] if !rest.is_empty() => (true, rest),
            rest => (false, rest),
        };
        let is_digit = |byte: &u8| {
            byte.is_ascii_digit() || *byte == b'_' || hexadecimal && byte.is_ascii_hexdigit()
        };
        let end = rest.iter().position(|byte| !is_digit(byte));
        let (whole, rest) = rest.split_at(end.unwrap_or(rest.len()));
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => {
                let end = rest.iter().position(|byte| !is_digit(byte));
                rest.split_at(end.unwrap_or(rest.len()))
            }
            rest => (&rest[..0], rest),
        };
        let has_digits = whole.iter().chain(fraction).any(|byte| *byte != b'_');
        let exponent = match (rest, hexadecimal) {
            ([], false) => 0,
            ([b'e' | b'E', exponent @ ..], false) | ([b'p' | b'P', exponent @ ..], true) => {
                read_exponent(exponent)?
            }
            _ => return None,
        };
        has_digits.then_some(Self {
            negative,
            hexadecimal,
            whole,
            fraction,
            exponent,
        })
    }

    /// The magnitude, rounded half to even.
    fn hexadecimal_value(&self) -> f64 {
        let mut mantissa: u64 = 0;
        let mut exponent = self.exponent;
        let mut lost = false;
        let digits = |bytes: &'a [u8]| {
            let digits = bytes.iter().filter(|byte| **byte != b'_');
            digits.map(|byte| u64::from(char::from(*byte).to_digit(16).unwrap_or(0)))
        };
        let whole = digits(self.whole).map(|digit| (digit, 4, 0));
        let fraction = digits(self.fraction).map(|digit| (digit, 0, 4));
        for (digit, gained, spent) in whole.chain(fraction) {
            if mantissa >> 60 == 0 {
                mantissa = mantissa << 4 | digit;
                exponent -= spent;
            } else {
                lost |= digit != 0;
                exponent += gained;
            }
        }
        compose(mantissa, exponent, lost)
    }
}

/// Digits after an optional sign; a leading digit is needed, further ones may be underscores.
fn read_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if !digits.first()?.is_ascii_digit() {
        return None;
    }
    let mut exponent: i64 = 0;
    for byte in digits {
        match byte {
            b'0'..=b'9' => {
                let next = exponent * 10 + i64::from(byte - b'0');
                exponent = next.min(EXPONENT_LIMIT);
            }
            b'_' => {}
            _ => return None,
        }
    }
    Some(if negative { -exponent } else { exponent })
}

/// The float nearest to `mantissa` times two to the power of `exponent`; `lost` if the true mantissa is a bit larger.
fn compose(mantissa: u64, exponent: i64, lost: bool) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    let shift = mantissa.leading_zeros();
    let mantissa = mantissa << shift;
    // The value is 1.m times two to the power of `top`.
    let top = exponent - i64::from(shift) + 63;
    if top > 1023 {
        return f64::INFINITY;
    }
    // Below -1022 bits are lost one by one.
    let dropped = 63 - i64::from(MANTISSA) + (-1022 - top).max(0);
    let biased = (top + 1023).max(1) as u64;
    let (kept, rest, half) = match dropped {
        0..64 => (
            mantissa >> dropped,
            mantissa & ((1 << dropped) - 1),
            1 << (dropped - 1),
        ),
        64 => (0, mantissa, 1 << 63),
        _ => return 0.0,
    };
    let up = rest > half || rest == half && (lost || kept & 1 == 1);
    // A carry out of the mantissa raises the exponent, as it should, up to infinity.
    let bits = kept + u64::from(up) + ((biased - 1) << MANTISSA);
    f64::from_bits(bits)
}

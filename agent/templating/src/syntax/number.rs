//! Numeric constants: Go's `parse.NumberNode`.

use super::ast::Number;
use super::quoted::{Unquoted, lossy, quote, unquote_character};
use super::token::Kind;

/// Bits of a double's mantissa without the leading one.
const MANTISSA_BITS: i32 = 52;
/// Exponent of the smallest normal double.
const MINIMUM_EXPONENT: i32 = -1022;
/// Exponent of the largest double.
const MAXIMUM_EXPONENT: i32 = 1023;

/// Why a text is no float.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FloatError {
    Syntax,
    Range,
}

/// The number that a token stands for, or what is wrong with it.
pub(super) fn parse(kind: Kind, source: &[u8]) -> Result<Number, String> {
    let mut number = Number {
        int: None,
        uint: None,
        float: None,
        complex: (0.0, 0.0),
        is_complex: false,
        is_character: false,
    };
    match kind {
        Kind::CharacterConstant => number.set_character(source)?,
        Kind::Complex => number.set_complex(complex(source)?),
        _ => number.set_plain(source)?,
    }
    if !number.is_complex {
        number.complex = (number.float.unwrap_or(0.0), 0.0);
    }
    Ok(number)
}

// === impl Number ===

impl Number {
    fn set_character(&mut self, source: &[u8]) -> Result<(), String> {
        let inside = source.get(1..).unwrap_or_default();
        let Some((unquoted, tail)) = unquote_character(inside, b'\'') else {
            return Err("invalid syntax".to_owned());
        };
        if tail != b"'" {
            let source = lossy(source);
            return Err(format!("malformed character constant: {source}"));
        }
        let code = match unquoted {
            Unquoted::Byte(byte) => u32::from(byte),
            Unquoted::Character(character) => u32::from(character),
        };
        self.is_character = true;
        self.int = Some(code.into());
        self.uint = Some(code.into());
        self.float = Some(code.into());
        Ok(())
    }

    /// Takes the value, and that of other types if the imaginary part is zero.
    fn set_complex(&mut self, value: (f64, f64)) {
        self.is_complex = true;
        self.complex = value;
        if value.1 == 0.0 {
            self.float = Some(value.0);
            self.int = exact_int(value.0);
            self.uint = exact_uint(value.0);
        }
    }

    fn set_plain(&mut self, source: &[u8]) -> Result<(), String> {
        if let Some(real) = source.strip_suffix(b"i")
            && let Ok(imaginary) = float(real)
        {
            self.set_complex((0.0, imaginary));
            return Ok(());
        }
        self.uint = unsigned(source);
        self.int = signed(source);
        if self.int == Some(0) {
            // Also for -0, which is written with a sign.
            self.uint = Some(0);
        }
        self.float = match (self.int, self.uint) {
            (Some(int), _) => Some(int as f64),
            (None, Some(uint)) => Some(uint as f64),
            (None, None) => None,
        };
        if self.float.is_some() {
            return Ok(());
        }
        let Ok(value) = float(source) else {
            return Err(format!("illegal number syntax: {}", quote(source)));
        };
        // What reads as a float but looks like an integer is one too large, or octal with wrong digits.
        if !source.iter().any(|byte| b".eEpP".contains(byte)) {
            return Err(format!("integer overflow: {}", quote(source)));
        }
        self.float = Some(value);
        self.int = exact_int(value);
        self.uint = exact_uint(value);
        Ok(())
    }
}

/// The int that equals `value`.
fn exact_int(value: f64) -> Option<i64> {
    let is_exact = value.trunc() == value && (-TWO_TO_63..TWO_TO_63).contains(&value);
    is_exact.then_some(value as i64)
}

/// The unsigned integer that equals `value`.
fn exact_uint(value: f64) -> Option<u64> {
    let is_exact = value.trunc() == value && (0.0..TWO_TO_63 * 2.0).contains(&value);
    is_exact.then_some(value as u64)
}

const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

/// Go's `strconv.ParseInt` with the base of the prefix.
fn signed(source: &[u8]) -> Option<i64> {
    let (is_negative, digits) = split_sign(source);
    let magnitude = unsigned(digits)?;
    if is_negative {
        0_i64.checked_sub_unsigned(magnitude)
    } else {
        i64::try_from(magnitude).ok()
    }
}

/// Go's `strconv.ParseUint` with the base of the prefix.
fn unsigned(source: &[u8]) -> Option<u64> {
    let (base, digits) = match source {
        [b'0', b'x' | b'X', digits @ ..] if !digits.is_empty() => (16, digits),
        [b'0', b'o' | b'O', digits @ ..] if !digits.is_empty() => (8, digits),
        [b'0', b'b' | b'B', digits @ ..] if !digits.is_empty() => (2, digits),
        [b'0', digits @ ..] => (8, digits),
        [] => return None,
        digits => (10, digits),
    };
    let mut value: u64 = 0;
    for byte in digits.iter().filter(|byte| **byte != b'_') {
        let digit = char::from(*byte).to_digit(base)?;
        value = value.checked_mul(base.into())?.checked_add(digit.into())?;
    }
    are_underscores_fine(source).then_some(value)
}

/// Whether a minus is before the digits, and the digits.
fn split_sign(source: &[u8]) -> (bool, &[u8]) {
    match source {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    }
}

/// Whether underscores stand only between digits, or between a base prefix and a digit.
fn are_underscores_fine(source: &[u8]) -> bool {
    if !source.contains(&b'_') {
        return true;
    }
    let (_, digits) = split_sign(source);
    // A prefix counts as a digit.
    let (is_hex, mut after_digit, digits) = match digits {
        [b'0', prefix, digits @ ..] if b"bBoOxX".contains(prefix) => {
            (prefix.eq_ignore_ascii_case(&b'x'), true, digits)
        }
        digits => (false, false, digits),
    };
    let mut after_underscore = false;
    for byte in digits {
        let is_digit = byte.is_ascii_digit() || is_hex && byte.is_ascii_hexdigit();
        let is_underscore = *byte == b'_';
        if is_underscore && !after_digit || after_underscore && !is_digit {
            return false;
        }
        (after_digit, after_underscore) = (is_digit, is_underscore);
    }
    !after_underscore
}

/// Go's `strconv.ParseFloat` of a text that is neither an infinity nor NaN.
pub(super) fn float(source: &[u8]) -> Result<f64, FloatError> {
    if !are_underscores_fine(source) {
        return Err(FloatError::Syntax);
    }
    let (is_negative, digits) = split_sign(source);
    let magnitude = match digits {
        [b'0', b'x' | b'X', digits @ ..] if !digits.is_empty() => hex_float(digits),
        digits => decimal_float(digits),
    }?;
    if magnitude.is_infinite() {
        return Err(FloatError::Range);
    }
    Ok(if is_negative { -magnitude } else { magnitude })
}

fn decimal_float(digits: &[u8]) -> Result<f64, FloatError> {
    let text: String = digits
        .iter()
        .filter(|byte| **byte != b'_')
        .map(|byte| char::from(*byte))
        .collect();
    // No sign (it is gone), and no `inf` or `nan`.
    let is_number = text.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    match text.parse() {
        Ok(value) if is_number => Ok(value),
        _ => Err(FloatError::Syntax),
    }
}

/// The digits after `0x`, which must have an exponent.
fn hex_float(digits: &[u8]) -> Result<f64, FloatError> {
    let split = digits
        .iter()
        .position(|byte| matches!(byte, b'p' | b'P'))
        .ok_or(FloatError::Syntax)?;
    let mut mantissa: u64 = 0;
    let mut exponent: i32 = 0;
    let (mut has_digit, mut after_point, mut is_inexact) = (false, false, false);
    for byte in digits[..split].iter().filter(|byte| **byte != b'_') {
        if *byte == b'.' && !after_point {
            after_point = true;
            continue;
        }
        let digit = char::from(*byte).to_digit(16).ok_or(FloatError::Syntax)?;
        has_digit = true;
        if mantissa >> 60 == 0 {
            mantissa = mantissa << 4 | u64::from(digit);
            exponent = exponent.saturating_sub(if after_point { 4 } else { 0 });
        } else {
            is_inexact |= digit != 0;
            exponent = exponent.saturating_add(if after_point { 0 } else { 4 });
        }
    }
    if !has_digit {
        return Err(FloatError::Syntax);
    }
    let power = hex_exponent(&digits[split + 1..]).ok_or(FloatError::Syntax)?;
    Ok(scale(mantissa, exponent.saturating_add(power), is_inexact))
}

/// The decimal exponent of a hexadecimal float, as far as it matters.
fn hex_exponent(source: &[u8]) -> Option<i32> {
    let (is_negative, digits) = split_sign(source);
    if !digits.first()?.is_ascii_digit() {
        return None;
    }
    let mut value: i32 = 0;
    for byte in digits.iter().filter(|byte| **byte != b'_') {
        if !byte.is_ascii_digit() {
            return None;
        }
        if value < 10_000 {
            value = value * 10 + i32::from(byte - b'0');
        }
    }
    Some(if is_negative { -value } else { value })
}

/// `mantissa` times two to the `exponent`, rounded half to even; `is_inexact` if there is more below the mantissa.
fn scale(mantissa: u64, exponent: i32, is_inexact: bool) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    // Exponent of the leading one, and of the last bit that a double of that size has.
    let length = 64 - mantissa.leading_zeros() as i32;
    let leading = exponent.saturating_add(length - 1);
    if leading > MAXIMUM_EXPONENT {
        return f64::INFINITY;
    }
    let last = leading.max(MINIMUM_EXPONENT) - MANTISSA_BITS;
    let shift = last.saturating_sub(exponent);
    let rounded = if shift <= 0 {
        mantissa << (-shift).min(63)
    } else if shift > 64 {
        0
    } else {
        let wide = u128::from(mantissa);
        let half = 1_u128 << (shift - 1);
        let below = wide & ((half << 1) - 1);
        let floor = (wide >> shift) as u64;
        let is_up = below > half || below == half && (is_inexact || floor & 1 == 1);
        floor + u64::from(is_up)
    };
    // Both factors are exact, and so is the product, for the last bit fits.
    rounded as f64
        * 2_f64.powi(last.max(MINIMUM_EXPONENT))
        * 2_f64.powi(last.min(MINIMUM_EXPONENT) - MINIMUM_EXPONENT)
}

/// A complex constant as Go's `fmt.Sscan` reads one.
fn complex(source: &[u8]) -> Result<(f64, f64), String> {
    const WRONG: &str = "syntax error scanning complex number";
    let real = float_token(source);
    let (real, rest) = source.split_at(real);
    let sign = usize::from(matches!(rest.first(), Some(b'+' | b'-')));
    let imaginary = sign + float_token(&rest[sign..]);
    let (imaginary, rest) = rest.split_at(imaginary);
    if sign == 0 || rest.first() != Some(&b'i') {
        return Err(WRONG.to_owned());
    }
    Ok((scanned(real)?, scanned(imaginary)?))
}

/// Length of what `fmt.Sscan` takes for a float.
fn float_token(text: &[u8]) -> usize {
    let mut length = 0;
    let mut accept = |bytes: &[u8]| {
        let accepts = text.get(length).is_some_and(|byte| bytes.contains(byte));
        length += usize::from(accepts);
        accepts
    };
    accept(b"+-");
    // The beginning of an infinity is taken even if it is none.
    accept(b"iI");
    let (digits, exponent): (&[u8], &[u8]) = if accept(b"0") && accept(b"xX") {
        (b"0123456789aAbBcCdDeEfF_", b"pP")
    } else {
        (b"0123456789_", b"eEpP")
    };
    while accept(digits) {}
    if accept(b".") {
        while accept(digits) {}
    }
    if accept(exponent) {
        accept(b"+-");
        while accept(b"0123456789_") {}
    }
    length
}

fn scanned(source: &[u8]) -> Result<f64, String> {
    float(source).map_err(|error| {
        let reason = match error {
            FloatError::Syntax => "invalid syntax",
            FloatError::Range => "value out of range",
        };
        format!("strconv.ParseFloat: parsing {}: {reason}", quote(source))
    })
}

//! Floats in text, as Go's `strconv.FormatFloat` writes them.
//!
//! The digits come from the standard library, whose shortest and exact forms are correctly rounded like Go's; this file puts
//! them into Go's shapes.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use super::integer;

/// A float has no more significant digits than this; further ones are zeros.
const SIGNIFICANT: usize = 767;
/// A float has no more decimals than this; further ones are zeros.
const DECIMALS: usize = 1_074;
/// Bits of the mantissa that are stored.
const MANTISSA: u32 = 52;

/// The decimal digits of a positive float: 0.DIGITS times ten to the power of `point`. No trailing zeros; zero has no digits.
///
/// The standard library writes its `{:e}` form into it.
struct Digits<const N: usize> {
    bytes: [u8; N],
    length: usize,
    exponent: i32,
    in_exponent: bool,
    negative_exponent: bool,
}

/// Room for the digits of any shortest form.
type Shortest = Digits<20>;
/// Room for all digits of any float.
type Exact = Digits<{ SIGNIFICANT + 1 }>;

/// Appends `value` in the format `verb`, one of `b e E f g G x X`. No precision means the shortest digits that read back the
/// same. The caller has paid for the precision and about 350 bytes.
pub(crate) fn append(value: f64, verb: u8, precision: Option<usize>, out: &mut Vec<u8>) {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
        return;
    }
    if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
        return;
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let value = value.abs();
    match (verb, precision) {
        (b'b', _) => binary(value, out),
        (b'x' | b'X', _) => hexadecimal(value, verb, precision, out),
        (b'f', Some(precision)) => fixed(value, precision, out),
        (b'f', None) => {
            let digits = Shortest::shortest(value);
            let precision = digits.length as i32 - digits.point();
            positional(
                digits.significant(),
                digits.point(),
                at_least_0(precision),
                out,
            );
        }
        (b'e' | b'E', Some(precision)) => {
            let digits = Exact::exact(value, precision.saturating_add(1));
            scientific(digits.significant(), digits.point(), precision, verb, out);
        }
        (b'e' | b'E', None) => {
            let digits = Shortest::shortest(value);
            let precision = digits.length.saturating_sub(1);
            scientific(digits.significant(), digits.point(), precision, verb, out);
        }
        (_, Some(precision)) => {
            let precision = precision.max(1);
            let digits = Exact::exact(value, precision);
            general(
                digits.significant(),
                digits.point(),
                Some(precision),
                verb,
                out,
            );
        }
        // Small whole numbers, the most frequent ones, are their own digits.
        (_, None) if value < 1e6 && value.trunc() == value => integer::unsigned(value as u64, out),
        (_, None) => {
            let digits = Shortest::shortest(value);
            general(digits.significant(), digits.point(), None, verb, out);
        }
    }
}

/// Appends a 32-bit float as `%v` does: the shortest digits that read back as the same 32-bit float.
pub(crate) fn append_32(value: f32, out: &mut Vec<u8>) {
    if !value.is_finite() {
        append(f64::from(value), b'g', None, out);
        return;
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let digits = Shortest::shortest_32(value.abs());
    general(digits.significant(), digits.point(), None, b'g', out);
}

/// The shortest digits that read back as `value`, which is finite, and the place of the decimal point: 0.DIGITS times ten to
/// that power. Zero has no digits; the sign is left out.
pub(crate) fn shortest_digits(value: f64) -> (u64, i32) {
    let digits = Shortest::shortest(value.abs());
    let number = digits.significant().iter().fold(0, |number: u64, digit| {
        number * 10 + u64::from(digit - b'0')
    });
    (number, digits.point() - digits.length as i32)
}

fn at_least_0(value: i32) -> usize {
    usize::try_from(value).unwrap_or(0)
}

/// `%g`: with an exponent if that is below -4 or not below the precision.
fn general(digits: &[u8], point: i32, precision: Option<usize>, verb: u8, out: &mut Vec<u8>) {
    let count = digits.len();
    let limit = match precision {
        None => 6,
        // Trailing zeros of an integer's digits are not there to be counted.
        Some(precision) if precision > count && count as i32 >= point => count,
        Some(precision) => precision,
    };
    let precision = precision.unwrap_or(count);
    let exponent = i64::from(point) - 1;
    if exponent < -4 || exponent >= limit as i64 {
        let precision = precision.min(count).saturating_sub(1);
        let letter = if verb == b'G' { b'E' } else { b'e' };
        return scientific(digits, point, precision, letter, out);
    }
    let precision = if precision as i64 > i64::from(point) {
        count
    } else {
        precision
    };
    let decimals = (precision as i64 - i64::from(point)).max(0) as usize;
    positional(digits, point, decimals, out);
}

/// `%e`: one digit before the point, `precision` behind it, an exponent of two digits or more.
fn scientific(digits: &[u8], point: i32, precision: usize, letter: u8, out: &mut Vec<u8>) {
    out.push(digits.first().copied().unwrap_or(b'0'));
    if precision > 0 {
        out.push(b'.');
        let more = digits.get(1..).unwrap_or_default();
        let more = &more[..more.len().min(precision)];
        out.extend_from_slice(more);
        zeros(precision - more.len(), out);
    }
    let exponent = if digits.is_empty() { 0 } else { point - 1 };
    exponent_of_two_digits(exponent, letter, out);
}

/// `%f`: `decimals` digits behind the point, none of them rounded.
fn positional(digits: &[u8], point: i32, decimals: usize, out: &mut Vec<u8>) {
    let before = at_least_0(point);
    if before == 0 {
        out.push(b'0');
    } else {
        let whole = &digits[..digits.len().min(before)];
        out.extend_from_slice(whole);
        zeros(before - whole.len(), out);
    }
    if decimals == 0 {
        return;
    }
    out.push(b'.');
    let leading = at_least_0(-point).min(decimals);
    zeros(leading, out);
    let rest = digits.get(before..).unwrap_or_default();
    let rest = &rest[..rest.len().min(decimals - leading)];
    out.extend_from_slice(rest);
    zeros(decimals - leading - rest.len(), out);
}

/// `%f` with a precision, rounded exactly.
fn fixed(value: f64, precision: usize, out: &mut Vec<u8>) {
    let written = write!(out, "{value:.*}", precision.min(DECIMALS));
    debug_assert!(written.is_ok(), "a vector takes everything");
    zeros(precision.saturating_sub(DECIMALS), out);
}

/// `%b`: the mantissa as an integer and the power of two.
fn binary(value: f64, out: &mut Vec<u8>) {
    let (mantissa, exponent) = parts(value);
    let exponent = exponent - MANTISSA as i32;
    integer::unsigned(mantissa, out);
    out.push(b'p');
    if exponent >= 0 {
        out.push(b'+');
    }
    integer::signed(i64::from(exponent), out);
}

/// `%x`: hexadecimal mantissa and the power of two.
fn hexadecimal(value: f64, verb: u8, precision: Option<usize>, out: &mut Vec<u8>) {
    let digits = if verb == b'X' {
        integer::UPPER
    } else {
        integer::LOWER
    };
    let (mantissa, exponent) = parts(value);
    let (mut mantissa, mut exponent) = if mantissa == 0 {
        (0, 0)
    } else {
        // The leading 1 goes to bit 60.
        let shift = mantissa.leading_zeros() - 3;
        let moved = shift as i32 - (60 - MANTISSA as i32);
        (mantissa << shift, exponent - moved)
    };
    if let Some(precision) = precision.filter(|precision| *precision < 15) {
        mantissa = round_hexadecimal(mantissa, precision as u32 * 4);
        if mantissa & (1 << 61) != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    out.extend_from_slice(&[b'0', verb, b'0' + (mantissa >> 60) as u8]);
    // The leading digit falls off.
    mantissa <<= 4;
    if precision.map_or(mantissa != 0, |precision| precision > 0) {
        out.push(b'.');
        let mut left = precision.unwrap_or(16);
        while left > 0 && (mantissa != 0 || precision.is_some()) {
            out.push(digits[(mantissa >> 60) as usize]);
            mantissa <<= 4;
            left -= 1;
        }
    }
    exponent_of_two_digits(exponent, verb - b'X' + b'P', out);
}

/// Rounds the digits below bit 60 to `bits` bits, half to even.
fn round_hexadecimal(mantissa: u64, bits: u32) -> u64 {
    let extra = (mantissa << bits) & ((1 << 60) - 1);
    let mut kept = mantissa >> (60 - bits);
    if extra | (kept & 1) > 1 << 59 {
        kept += 1;
    }
    kept << (60 - bits)
}

/// The mantissa as an integer, and the exponent of its bit 52.
fn parts(value: f64) -> (u64, i32) {
    let bits = value.to_bits();
    let exponent = ((bits >> MANTISSA) & 0x7ff) as i32;
    let mantissa = bits & ((1 << MANTISSA) - 1);
    if exponent == 0 {
        (mantissa, -1022)
    } else {
        (mantissa | 1 << MANTISSA, exponent - 1023)
    }
}

fn exponent_of_two_digits(exponent: i32, letter: u8, out: &mut Vec<u8>) {
    out.push(letter);
    out.push(if exponent < 0 { b'-' } else { b'+' });
    let exponent = exponent.unsigned_abs();
    if exponent < 10 {
        out.push(b'0');
    }
    integer::unsigned(u64::from(exponent), out);
}

fn zeros(count: usize, out: &mut Vec<u8>) {
    out.resize(out.len() + count, b'0');
}

// === impl Digits ===

impl<const N: usize> Digits<N> {
    fn shortest(value: f64) -> Self {
        let mut digits = Self::collect(|digits| write!(digits, "{value:e}"));
        digits.settle_tie(value, |text| text.parse() == Ok(value));
        digits
    }

    fn shortest_32(value: f32) -> Self {
        let mut digits = Self::collect(|digits| write!(digits, "{value:e}"));
        digits.settle_tie(f64::from(value), |text| text.parse() == Ok(value));
        digits
    }

    /// Where `value` lies in the middle between two shortest forms, the standard library takes the upper, Go the even one.
    fn settle_tie(&mut self, value: f64, reads_back: impl FnOnce(&str) -> bool) {
        let (mantissa, exponent) = parts(value);
        let decimals = MANTISSA as i32 - exponent - mantissa.trailing_zeros() as i32;
        // So many decimals the value has, the last of them a 5. In the middle it has just one digit more than the short form.
        let is_tie = decimals > 0 && decimals == self.length as i32 + 1 - self.point();
        let Some(last) = self.length.checked_sub(1).filter(|_| is_tie) else {
            return;
        };
        if self.bytes[last].is_multiple_of(2) {
            return;
        }
        self.bytes[last] -= 1;
        let digits = String::from_utf8_lossy(self.significant());
        let exponent = self.point() - self.length as i32;
        // Below a power of two the lower form may belong to another float.
        if !reads_back(&format!("{digits}e{exponent}")) {
            self.bytes[last] += 1;
        }
    }

    /// `count` digits, rounded half to even where they are not exact.
    fn exact(value: f64, count: usize) -> Self {
        let decimals = count.clamp(1, SIGNIFICANT) - 1;
        Self::collect(|digits| write!(digits, "{value:.decimals$e}"))
    }

    fn collect(write: impl FnOnce(&mut Self) -> fmt::Result) -> Self {
        let mut digits = Self {
            bytes: [0; N],
            length: 0,
            exponent: 0,
            in_exponent: false,
            negative_exponent: false,
        };
        let written = write(&mut digits);
        debug_assert!(written.is_ok(), "there is room for all digits");
        while digits.length > 0 && digits.bytes[digits.length - 1] == b'0' {
            digits.length -= 1;
        }
        digits
    }

    fn significant(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn point(&self) -> i32 {
        if self.length == 0 {
            return 0;
        }
        let sign = if self.negative_exponent { -1 } else { 1 };
        sign * self.exponent + 1
    }
}

impl<const N: usize> fmt::Write for Digits<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            match byte {
                b'e' => self.in_exponent = true,
                b'-' => self.negative_exponent = true,
                b'0'..=b'9' if self.in_exponent => {
                    self.exponent = self.exponent * 10 + i32::from(byte - b'0');
                }
                b'0'..=b'9' => {
                    *self.bytes.get_mut(self.length).ok_or(fmt::Error)? = byte;
                    self.length += 1;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

//! What fills a directive of `printf`: text, integers and floats with flags, width and precision.

use zeroize::Zeroizing;

use super::integer::{self, Digits};
use super::quote;
use super::{append, fill, float};
use crate::buffer;
use crate::context::Context;
use crate::failure::Result;
use crate::unicode::{self, is_print};

/// What a float takes beside its precision.
const FLOAT: usize = 350;

/// The flags, width and precision of a directive.
#[derive(Clone, Copy, Default)]
pub(super) struct Flags {
    pub(super) width: Option<usize>,
    pub(super) precision: Option<usize>,
    pub(super) minus: bool,
    pub(super) plus: bool,
    pub(super) sharp: bool,
    pub(super) space: bool,
    pub(super) zero: bool,
    /// `%+v`: fields of structs have names.
    pub(super) plus_v: bool,
    /// `%#v`: Go syntax.
    pub(super) sharp_v: bool,
}

/// How an integer is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    Binary,
    Octal,
    /// Octal with `0o` in front.
    OctalPrefixed,
    Decimal,
    Hexadecimal,
    HexadecimalUpper,
}

// === impl Flags ===

impl Flags {
    /// Appends `bytes` filled up to the width, which counts characters.
    pub(super) fn pad(&self, cx: &mut Context, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let padding = match self.width {
            None | Some(0) => 0,
            Some(width) => {
                cx.work(bytes.len() as u64 / 8)?;
                width.saturating_sub(count_characters(bytes))
            }
        };
        if !self.minus {
            self.padding(cx, padding, out)?;
        }
        append(cx, bytes, out)?;
        if self.minus {
            self.padding(cx, padding, out)?;
        }
        Ok(())
    }

    /// `%s`: text, cut to the precision, which counts characters.
    pub(super) fn text(&self, cx: &mut Context, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.pad(cx, self.truncate(bytes), out)
    }

    /// `%q`: text in quotes.
    pub(super) fn quoted(&self, cx: &mut Context, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let bytes = self.truncate(bytes);
        cx.allocate(bytes.len().saturating_mul(4).saturating_add(2))?;
        quote::pay(cx, bytes)?;
        if self.width.unwrap_or(0) == 0 {
            self.quote(bytes, out);
            return Ok(());
        }
        let mut quoted = Zeroizing::new(Vec::new());
        self.quote(bytes, &mut quoted);
        self.pad(cx, &quoted, out)
    }

    /// In backquotes if the sharp flag asks for them and they can be, else in double quotes.
    fn quote(&self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.sharp && quote::can_backquote(bytes) {
            buffer::reserve(out, bytes.len().saturating_add(2));
            out.push(b'`');
            out.extend_from_slice(bytes);
            out.push(b'`');
        } else if self.plus {
            quote::quote_ascii(bytes, out);
        } else {
            quote::quote(bytes, out);
        }
    }

    /// `%x` and `%X` of text.
    pub(super) fn hexadecimal(
        &self,
        cx: &mut Context,
        bytes: &[u8],
        digits: &[u8; 17],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let length = self.precision.unwrap_or(usize::MAX).min(bytes.len());
        let bytes = &bytes[..length];
        let width = match (length, self.space, self.sharp) {
            (0, _, _) => 0,
            (_, true, true) => length.saturating_mul(5) - 1,
            (_, true, false) => length.saturating_mul(3) - 1,
            (_, false, true) => length.saturating_mul(2) + 2,
            (_, false, false) => length.saturating_mul(2),
        };
        let padding = self.width.unwrap_or(0).saturating_sub(width);
        if !self.minus {
            self.padding(cx, padding, out)?;
        }
        cx.allocate(width)?;
        cx.work(length as u64 / 8)?;
        buffer::reserve(out, width);
        for (index, byte) in bytes.iter().enumerate() {
            if index > 0 && self.space {
                out.push(b' ');
            }
            if self.sharp && (index == 0 || self.space) {
                out.extend_from_slice(&[b'0', digits[16]]);
            }
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            out.extend_from_slice(&[digits[high], digits[low]]);
        }
        if self.minus {
            self.padding(cx, padding, out)?;
        }
        Ok(())
    }

    /// Integers: the magnitude, and whether it is negative.
    pub(super) fn integer(
        &self,
        cx: &mut Context,
        (magnitude, negative): (u64, bool),
        base: Base,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let unfilled = Self {
            zero: false,
            ..*self
        };
        if self.precision == Some(0) && magnitude == 0 {
            return unfilled.padding(cx, self.width.unwrap_or(0), out);
        }
        let number = match base {
            Base::Binary => Digits::binary(magnitude, 1, integer::LOWER),
            Base::Octal | Base::OctalPrefixed => Digits::binary(magnitude, 3, integer::LOWER),
            Base::Decimal => Digits::decimal(magnitude),
            Base::Hexadecimal => Digits::binary(magnitude, 4, integer::LOWER),
            Base::HexadecimalUpper => Digits::binary(magnitude, 4, integer::UPPER),
        };
        let number = number.as_bytes();
        let sign = self.sign(negative);
        let zeros = self
            .least_digits(sign.is_some())
            .saturating_sub(number.len());
        let starts_with_zero = zeros > 0 || magnitude == 0;
        let prefix: &[u8] = match base {
            Base::Binary if self.sharp => b"0b",
            Base::Octal if self.sharp && !starts_with_zero => b"0",
            Base::OctalPrefixed if self.sharp && !starts_with_zero => b"0o0",
            Base::OctalPrefixed => b"0o",
            Base::Hexadecimal if self.sharp => b"0x",
            Base::HexadecimalUpper if self.sharp => b"0X",
            _ => b"",
        };
        let length = usize::from(sign.is_some()) + prefix.len() + zeros + number.len();
        let padding = self.width.unwrap_or(0).saturating_sub(length);
        if !self.minus {
            unfilled.padding(cx, padding, out)?;
        }
        cx.allocate(length)?;
        buffer::reserve(out, length);
        out.extend(sign);
        out.extend_from_slice(prefix);
        out.resize(out.len() + zeros, b'0');
        out.extend_from_slice(number);
        if self.minus {
            unfilled.padding(cx, padding, out)?;
        }
        Ok(())
    }

    /// `%U`: `U+0078`, with the sharp flag `U+0078 'x'`.
    pub(super) fn unicode(&self, cx: &mut Context, code: u64, out: &mut Vec<u8>) -> Result<()> {
        let digits = Digits::binary(code, 4, integer::UPPER);
        let digits = digits.as_bytes();
        let zeros = self
            .precision
            .unwrap_or(0)
            .max(4)
            .saturating_sub(digits.len());
        cx.allocate(zeros.saturating_add(32))?;
        let mut text = Vec::with_capacity(zeros + 32);
        text.extend_from_slice(b"U+");
        text.resize(2 + zeros, b'0');
        text.extend_from_slice(digits);
        let character = u32::try_from(code).ok().and_then(char::from_u32);
        let character = character.filter(|character| self.sharp && is_print(*character));
        if let Some(character) = character {
            text.extend_from_slice(b" '");
            unicode::push(&mut text, character);
            text.push(b'\'');
        }
        let unfilled = Self {
            zero: false,
            ..*self
        };
        unfilled.pad(cx, &text, out)
    }

    /// `%c`: the character of a code point.
    pub(super) fn character(&self, cx: &mut Context, code: u64, out: &mut Vec<u8>) -> Result<()> {
        let mut buffer = [0; 4];
        let text = character_of(code).encode_utf8(&mut buffer);
        self.pad(cx, text.as_bytes(), out)
    }

    /// `%q` of an integer.
    pub(super) fn quoted_character(
        &self,
        cx: &mut Context,
        code: u64,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let mut text = Vec::with_capacity(12);
        quote::quote_character(character_of(code), self.plus, &mut text);
        self.pad(cx, &text, out)
    }

    /// Floats, in a format of [`float::append`] or `v`, with the precision that the verb has if the directive has none.
    pub(super) fn float(
        &self,
        cx: &mut Context,
        value: f64,
        verb: u8,
        precision: Option<usize>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let precision = self.precision.or(precision);
        cx.allocate(precision.unwrap_or(0).saturating_add(FLOAT))?;
        let format = if verb == b'v' { b'g' } else { verb };
        let is_plain = self.width.is_none() && !self.plus && !self.space && !self.sharp;
        if is_plain {
            buffer::reserve(out, precision.unwrap_or(0).saturating_add(FLOAT));
            float::append(value, format, precision, out);
            return Ok(());
        }
        let mut number = Zeroizing::new(Vec::with_capacity(32));
        float::append(value.abs(), format, precision, &mut number);
        let negative = value.is_sign_negative() && !value.is_nan();
        if !value.is_finite() {
            return self.special_float(cx, value, out);
        }
        if self.sharp && verb != b'b' {
            restore_zeros(&mut number, verb, precision);
        }
        let sign = self.sign(negative);
        if let Some(sign) = sign {
            let zeros = self.width.unwrap_or(0).saturating_sub(number.len() + 1);
            if self.zero && !self.minus && zeros > 0 {
                append(cx, &[sign], out)?;
                self.padding(cx, zeros, out)?;
                return append(cx, &number, out);
            }
            number.insert(0, sign);
        }
        self.pad(cx, &number, out)
    }

    /// Infinities and what is no number: never filled with zeros; a sign only where asked for or negative.
    fn special_float(&self, cx: &mut Context, value: f64, out: &mut Vec<u8>) -> Result<()> {
        let unfilled = Self {
            zero: false,
            ..*self
        };
        let text: &[u8] = match (value.is_nan(), self.plus, self.space) {
            (true, true, _) => b"+NaN",
            (true, false, true) => b" NaN",
            (true, false, false) => b"NaN",
            _ if value < 0.0 => b"-Inf",
            (false, true, _) => b"+Inf",
            (false, false, true) => b" Inf",
            (false, false, false) => b"+Inf",
        };
        unfilled.pad(cx, text, out)
    }

    fn sign(&self, negative: bool) -> Option<u8> {
        if negative {
            Some(b'-')
        } else if self.plus {
            Some(b'+')
        } else {
            self.space.then_some(b' ')
        }
    }

    /// How many digits an integer has at least: by its precision, else by the zero flag.
    fn least_digits(&self, signed: bool) -> usize {
        match (self.precision, self.width) {
            (Some(precision), _) => precision,
            (None, Some(width)) if self.zero && !self.minus => {
                width.saturating_sub(usize::from(signed))
            }
            _ => 0,
        }
    }

    /// Fills with blanks, or with zeros on the left if the flag asks for them.
    fn padding(&self, cx: &mut Context, count: usize, out: &mut Vec<u8>) -> Result<()> {
        let filler = if self.zero && !self.minus { b'0' } else { b' ' };
        fill(cx, filler, count, out)
    }

    /// The first characters of `bytes`, as many as the precision says.
    fn truncate<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(mut left) = self.precision.filter(|count| *count < bytes.len()) else {
            return bytes;
        };
        let mut end = 0;
        for chunk in bytes.utf8_chunks() {
            for character in chunk.valid().chars() {
                if left == 0 {
                    return &bytes[..end];
                }
                left -= 1;
                end += character.len_utf8();
            }
            let broken = chunk.invalid().len().min(left);
            left -= broken;
            end += broken;
        }
        &bytes[..end]
    }
}

/// How many characters Go counts: each byte that is not UTF-8 is one.
fn count_characters(bytes: &[u8]) -> usize {
    if bytes.is_ascii() {
        return bytes.len();
    }
    bytes
        .utf8_chunks()
        .map(|chunk| chunk.valid().chars().count() + chunk.invalid().len())
        .sum()
}

/// The character of a code point; U+FFFD if there is none.
fn character_of(code: u64) -> char {
    u32::try_from(code)
        .ok()
        .and_then(char::from_u32)
        .unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The sharp flag: a decimal point always, and trailing zeros up to the precision for `g` and `x`.
fn restore_zeros(number: &mut Vec<u8>, verb: u8, precision: Option<usize>) {
    let hexadecimal = matches!(verb, b'x' | b'X');
    let tail = number
        .iter()
        .position(|byte| match byte {
            b'e' | b'E' => !hexadecimal,
            b'p' | b'P' => true,
            _ => false,
        })
        .unwrap_or(number.len());
    let tail = number.split_off(tail);
    let mut missing = match verb {
        b'v' | b'g' | b'G' | b'x' => precision.unwrap_or(6) as i64,
        _ => 0,
    };
    // The digits are counted from the first that is no zero. The x of a prefix counts as one.
    let significant = number
        .iter()
        .filter(|byte| **byte != b'.')
        .skip_while(|byte| **byte == b'0')
        .count();
    missing -= significant as i64;
    if !number.contains(&b'.') {
        if number.as_slice() == b"0" {
            missing -= 1;
        }
        number.push(b'.');
    }
    let missing = usize::try_from(missing).unwrap_or(0);
    number.resize(number.len() + missing, b'0');
    number.extend_from_slice(&tail);
}

//! Runes and escapes of a pattern.

use super::Mistake;
use super::class::MAX_RUNE;
use crate::unicode;

pub(super) const INVALID_ESCAPE: &str = "invalid escape sequence";

/// Where the reading of a pattern is.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub(super) text: &'a [u8],
    pub(super) position: usize,
}

// === impl Cursor ===

impl<'a> Cursor<'a> {
    pub(super) fn rest(&self) -> &'a [u8] {
        self.text.get(self.position..).unwrap_or_default()
    }

    /// What lies between an earlier position and this one.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        self.text.get(start..self.position).unwrap_or_default()
    }

    pub(super) fn at(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.position + ahead).copied()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.position >= self.text.len()
    }

    /// Takes one rune off; U+FFFD at the end, as Go's decoder has it.
    pub(super) fn rune(&mut self) -> Result<u32, Mistake> {
        let Some((rune, width)) = unicode::first_rune(self.rest()) else {
            return Ok(u32::from(char::REPLACEMENT_CHARACTER));
        };
        if rune == char::REPLACEMENT_CHARACTER && width == 1 {
            return Err(Mistake::new("invalid UTF-8", self.rest()));
        }
        self.position += width;
        Ok(u32::from(rune))
    }

    /// Takes an escape of one rune off, backslash included.
    pub(super) fn escape(&mut self) -> Result<u32, Mistake> {
        let start = self.position;
        self.position += 1;
        if self.is_at_end() {
            return Err(Mistake::new("trailing backslash at end of expression", b""));
        }
        let rune = self.rune()?;
        let escaped = match u8::try_from(rune).unwrap_or(u8::MAX) {
            b'0' => self.octal(rune),
            b'1'..=b'7' if matches!(self.at(0), Some(b'0'..=b'7')) => self.octal(rune),
            b'x' => self.hexadecimal()?,
            b'a' => Some(0x07),
            b'f' => Some(0x0c),
            b'n' => Some(0x0a),
            b'r' => Some(0x0d),
            b't' => Some(0x09),
            b'v' => Some(0x0b),
            byte if byte.is_ascii() && !byte.is_ascii_alphanumeric() => Some(rune),
            _ => None,
        };
        escaped.ok_or_else(|| Mistake::new(INVALID_ESCAPE, self.since(start)))
    }

    /// Up to three octal digits, of which the first has been taken.
    fn octal(&mut self, first: u32) -> Option<u32> {
        let mut rune = first - u32::from(b'0');
        for _ in 0..2 {
            let Some(digit @ b'0'..=b'7') = self.at(0) else {
                break;
            };
            rune = rune * 8 + u32::from(digit - b'0');
            self.position += 1;
        }
        Some(rune)
    }

    /// Two digits, or any number in braces.
    fn hexadecimal(&mut self) -> Result<Option<u32>, Mistake> {
        let digit = |rune: u32| char::from_u32(rune).and_then(|digit| digit.to_digit(16));
        if self.is_at_end() {
            return Ok(None);
        }
        let first = self.rune()?;
        if first != u32::from(b'{') {
            let second = self.rune()?;
            return Ok(digit(first)
                .zip(digit(second))
                .map(|(high, low)| high * 16 + low));
        }
        let mut rune = None;
        loop {
            if self.is_at_end() {
                return Ok(None);
            }
            let next = self.rune()?;
            if next == u32::from(b'}') {
                return Ok(rune);
            }
            let Some(digit) = digit(next) else {
                return Ok(None);
            };
            let longer = rune.unwrap_or(0) * 16 + digit;
            if longer > MAX_RUNE {
                return Ok(None);
            }
            rune = Some(longer);
        }
    }
}

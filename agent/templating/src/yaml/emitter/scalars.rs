//! The text of scalars.

use super::style::{is_break, is_printable};
use super::{Emitter, INDENT, WIDTH};
use crate::context::Context;
use crate::failure::Result;
use crate::unicode;
use crate::yaml::source::width;

const HEX: &[u8; 16] = b"0123456789ABCDEF";

// === impl Emitter ===

impl Emitter {
    /// Writes the first character and returns what follows.
    fn copy<'a>(&mut self, cx: &mut Context, rest: &'a [u8]) -> Result<&'a [u8]> {
        let length = rest.first().map_or(0, |&byte| width(byte));
        let (character, rest) = rest.split_at(length.min(rest.len()));
        self.out.write(cx, character)?;
        self.column += 1;
        Ok(rest)
    }

    /// Writes what needs no look at each character, up to a blank or another byte that `stops`, and returns what follows.
    fn copy_run<'a>(&mut self, cx: &mut Context, rest: &'a [u8], stops: u8) -> Result<&'a [u8]> {
        let run = rest
            .iter()
            .position(|&byte| !matches!(byte, b'!'..=b'~') || byte == stops);
        let (run, rest) = rest.split_at(run.unwrap_or(rest.len()));
        self.put(cx, run)?;
        Ok(rest)
    }

    /// Writes the line break at the beginning and returns what follows.
    fn copy_break<'a>(&mut self, cx: &mut Context, rest: &'a [u8]) -> Result<&'a [u8]> {
        let rest = self.copy(cx, rest)?;
        self.column = 0;
        Ok(rest)
    }

    pub(super) fn plain(&mut self, cx: &mut Context, value: &[u8], may_break: bool) -> Result<()> {
        // Go writes the blank even before an empty one.
        if !self.after_space {
            self.put(cx, b" ")?;
        }
        let mut rest = value;
        let mut after_space = false;
        while let Some(&byte) = rest.first() {
            if byte == b' ' {
                let single = !after_space && rest.get(1) != Some(&b' ');
                rest = self.space(cx, rest, may_break && single)?;
                after_space = true;
            } else {
                rest = self.copy_run(cx, rest, b' ')?;
                if rest
                    .first()
                    .is_some_and(|&byte| !matches!(byte, b' '..=b'~'))
                {
                    rest = self.copy(cx, rest)?;
                }
                self.in_indentation = false;
                after_space = false;
            }
        }
        self.after_space = false;
        self.in_indentation = false;
        Ok(())
    }

    /// Writes a blank, or a line break for it where the line is full.
    fn space<'a>(&mut self, cx: &mut Context, rest: &'a [u8], may_break: bool) -> Result<&'a [u8]> {
        if may_break && self.column > WIDTH {
            self.line(cx)?;
        } else {
            self.put(cx, b" ")?;
        }
        Ok(rest.get(1..).unwrap_or_default())
    }

    pub(super) fn single_quoted(
        &mut self,
        cx: &mut Context,
        value: &[u8],
        may_break: bool,
    ) -> Result<()> {
        self.indicator(cx, b"'", true, false, false)?;
        let mut rest = value;
        let (mut after_space, mut after_break) = (false, false);
        while let Some(&byte) = rest.first() {
            if byte == b' ' {
                let inside = rest.len() < value.len() && rest.len() > 1;
                let single = !after_space && rest.get(1) != Some(&b' ');
                rest = self.space(cx, rest, may_break && inside && single)?;
                after_space = true;
            } else if is_break(rest) {
                if !after_break && byte == b'\n' {
                    self.line_break(cx)?;
                }
                rest = self.copy_break(cx, rest)?;
                self.in_indentation = true;
                after_break = true;
            } else {
                if after_break {
                    self.line(cx)?;
                }
                if byte == b'\'' {
                    self.put(cx, b"'")?;
                }
                rest = self.copy(cx, rest)?;
                rest = self.copy_run(cx, rest, b'\'')?;
                self.in_indentation = false;
                (after_space, after_break) = (false, false);
            }
        }
        self.indicator(cx, b"'", false, false, false)?;
        self.after_space = false;
        self.in_indentation = false;
        Ok(())
    }

    pub(super) fn double_quoted(
        &mut self,
        cx: &mut Context,
        value: &[u8],
        may_break: bool,
    ) -> Result<()> {
        self.indicator(cx, b"\"", true, false, false)?;
        // As in libyaml, a byte order mark at the beginning makes everything special.
        let escapes_all = value.starts_with(b"\xef\xbb\xbf");
        let mut rest = value;
        let mut after_space = false;
        while let Some(&byte) = rest.first() {
            if escapes_all || !is_printable(rest) || is_break(rest) || matches!(byte, b'"' | b'\\')
            {
                rest = self.escape(cx, rest)?;
                after_space = false;
            } else if byte == b' ' {
                let inside = rest.len() < value.len() && rest.len() > 1;
                if may_break && !after_space && inside && self.column > WIDTH {
                    self.line(cx)?;
                    if rest.get(1) == Some(&b' ') {
                        self.put(cx, b"\\")?;
                    }
                    rest = rest.get(1..).unwrap_or_default();
                } else {
                    rest = self.space(cx, rest, false)?;
                }
                after_space = true;
            } else {
                rest = self.copy(cx, rest)?;
                after_space = false;
            }
        }
        self.indicator(cx, b"\"", false, false, false)?;
        self.after_space = false;
        self.in_indentation = false;
        Ok(())
    }

    /// Writes the escape sequence of the first character and returns what follows.
    fn escape<'a>(&mut self, cx: &mut Context, rest: &'a [u8]) -> Result<&'a [u8]> {
        let Some((character, length)) = unicode::first_rune(rest) else {
            return Ok(&[]);
        };
        let short = match character {
            '\0' => b'0',
            '\x07' => b'a',
            '\x08' => b'b',
            '\t' => b't',
            '\n' => b'n',
            '\x0b' => b'v',
            '\x0c' => b'f',
            '\r' => b'r',
            '\x1b' => b'e',
            '"' => b'"',
            '\\' => b'\\',
            '\u{85}' => b'N',
            '\u{a0}' => b'_',
            '\u{2028}' => b'L',
            '\u{2029}' => b'P',
            _ => {
                self.numeric_escape(cx, u32::from(character))?;
                return Ok(rest.get(length..).unwrap_or_default());
            }
        };
        self.put(cx, &[b'\\', short])?;
        Ok(rest.get(length..).unwrap_or_default())
    }

    fn numeric_escape(&mut self, cx: &mut Context, value: u32) -> Result<()> {
        let (letter, digits) = match value {
            0..0x100 => (b'x', 2),
            0x100..0x1_0000 => (b'u', 4),
            _ => (b'U', 8),
        };
        self.put(cx, &[b'\\', letter])?;
        for position in (0..digits).rev() {
            let digit = (value >> (4 * position)) & 15;
            self.put(cx, &[HEX[digit as usize]])?;
        }
        Ok(())
    }

    pub(super) fn literal(&mut self, cx: &mut Context, value: &[u8]) -> Result<()> {
        self.indicator(cx, b"|", true, false, false)?;
        if value.starts_with(b" ") || is_break(value) {
            let hint = [b'0' + INDENT as u8];
            self.indicator(cx, &hint, false, false, false)?;
        }
        if let Some(chomping) = chomping(value) {
            self.indicator(cx, &[chomping], false, false, false)?;
        }
        self.line_break(cx)?;
        self.in_indentation = true;
        self.after_space = true;
        let mut after_break = true;
        let mut rest = value;
        while !rest.is_empty() {
            if is_break(rest) {
                rest = self.copy_break(cx, rest)?;
                self.in_indentation = true;
                after_break = true;
            } else {
                if after_break {
                    self.line(cx)?;
                }
                rest = self.copy(cx, rest)?;
                rest = self.copy_run(cx, rest, 0)?;
                self.in_indentation = false;
                after_break = false;
            }
        }
        Ok(())
    }
}

/// What says how many of the line breaks at the end of a literal count: nothing for one.
fn chomping(value: &[u8]) -> Option<u8> {
    let (before, last) = last_character(value);
    if !is_break(last) {
        return Some(b'-');
    }
    let (_, last) = last_character(before);
    (last.is_empty() || is_break(last)).then_some(b'+')
}

/// What stands before the last character, and that.
fn last_character(value: &[u8]) -> (&[u8], &[u8]) {
    let start = value.iter().rposition(|byte| byte & 0xc0 != 0x80);
    value.split_at(start.unwrap_or(0))
}

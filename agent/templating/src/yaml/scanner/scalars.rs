//! Block scalars, quoted scalars and plain ones.

use super::Scanner;
use crate::buffer::Buffer;
use crate::value::Text;
use crate::yaml::fault::Fault;
use crate::yaml::source::Mark;
use crate::yaml::token::Kind;

/// What follows the text of a block scalar.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chomping {
    /// No line break.
    Strip,
    /// The last line's break.
    Clip,
    /// All of them.
    Keep,
}

/// Line breaks and blanks between two parts of a scalar, until it is known what becomes of them.
#[derive(Default)]
struct Gap {
    /// Blanks before a line break, or without any.
    blanks: Buffer,
    first_break: Buffer,
    more_breaks: Buffer,
}

// === impl Gap ===

impl Gap {
    /// Moves the breaks of a quoted or plain scalar: one becomes a blank, of several the first goes.
    fn fold(&mut self, out: &mut Buffer) {
        if self.first_break.first() != Some(&b'\n') {
            out.extend_from_slice(&self.first_break);
            out.extend_from_slice(&self.more_breaks);
        } else if self.more_breaks.is_empty() {
            out.push(b' ');
        } else {
            out.extend_from_slice(&self.more_breaks);
        }
        self.first_break.clear();
        self.more_breaks.clear();
    }
}

// === impl Scanner ===

impl Scanner<'_> {
    pub(super) fn fetch_block_scalar(&mut self, literal: bool) -> Result<(), Fault> {
        self.forget_key()?;
        self.key_allowed = true;
        let mark = self.source.mark();
        let text = self.block_scalar(literal)?;
        self.push_scalar(text, false, mark);
        Ok(())
    }

    pub(super) fn fetch_quoted(&mut self, single: bool) -> Result<(), Fault> {
        self.save_key()?;
        self.key_allowed = false;
        let mark = self.source.mark();
        let text = self.quoted(single)?;
        self.push_scalar(text, false, mark);
        Ok(())
    }

    pub(super) fn fetch_plain(&mut self) -> Result<(), Fault> {
        self.save_key()?;
        self.key_allowed = false;
        let mark = self.source.mark();
        let text = self.plain()?;
        self.push_scalar(text, true, mark);
        Ok(())
    }

    fn push_scalar(&mut self, text: Buffer, plain: bool, mark: Mark) {
        let value = Text::new(text.into_vec());
        self.push(Kind::Scalar { value, plain }, mark);
    }

    fn block_scalar(&mut self, literal: bool) -> Result<Buffer, Fault> {
        self.source.skip();
        self.source.require(1)?;
        let (chomping, increment) = self.block_header()?;
        let mut indent = match increment {
            0 => 0,
            _ => usize::try_from(self.indent).unwrap_or(0) + increment,
        };
        let mut text = Buffer::default();
        let mut gap = Gap::default();
        self.block_breaks(&mut indent, &mut gap.more_breaks)?;
        self.source.require(1)?;
        let mut after_blank = false;
        while self.source.column() == indent && !self.source.is_end() {
            let before_blank = self.source.is_blank();
            let folds = !literal && !after_blank && !before_blank;
            if folds && gap.first_break.first() == Some(&b'\n') {
                if gap.more_breaks.is_empty() {
                    text.push(b' ');
                }
            } else {
                text.extend_from_slice(&gap.first_break);
            }
            text.extend_from_slice(&gap.more_breaks);
            gap.first_break.clear();
            gap.more_breaks.clear();
            after_blank = before_blank;
            self.rest_of_line(&mut text)?;
            self.source.require(2)?;
            self.source.read_line(&mut gap.first_break);
            self.block_breaks(&mut indent, &mut gap.more_breaks)?;
        }
        if chomping != Chomping::Strip {
            text.extend_from_slice(&gap.first_break);
        }
        if chomping == Chomping::Keep {
            text.extend_from_slice(&gap.more_breaks);
        }
        Ok(text)
    }

    /// Reads up to the line break.
    fn rest_of_line(&mut self, text: &mut Buffer) -> Result<(), Fault> {
        loop {
            let run = self.source.run(|byte| matches!(byte, b'\t' | b' '..=b'~'));
            self.source.read_run(run, text);
            self.source.require(1)?;
            if self.source.is_break_or_end() {
                return Ok(());
            }
            self.source.read(text);
            self.source.require(1)?;
        }
    }

    /// What stands behind `|` or `>`: chomping and the increment of the indentation, 0 if it is to be found out.
    fn block_header(&mut self) -> Result<(Chomping, usize), Fault> {
        let mut chomping = self.chomping()?;
        let increment = self.increment()?;
        if chomping.is_none() && increment > 0 {
            chomping = self.chomping()?;
        }
        self.finish_line()?;
        Ok((chomping.unwrap_or(Chomping::Clip), increment))
    }

    fn chomping(&mut self) -> Result<Option<Chomping>, Fault> {
        let chomping = match self.source.byte(0) {
            b'+' => Chomping::Keep,
            b'-' => Chomping::Strip,
            _ => return Ok(None),
        };
        self.source.skip();
        self.source.require(1)?;
        Ok(Some(chomping))
    }

    fn increment(&mut self) -> Result<usize, Fault> {
        let digit = self.source.byte(0);
        match digit {
            b'0' => Err(self
                .source
                .fault("found an indentation indicator equal to 0")),
            b'1'..=b'9' => {
                self.source.skip();
                self.source.require(1)?;
                Ok(usize::from(digit - b'0'))
            }
            _ => Ok(0),
        }
    }

    /// Goes over blanks and a comment to the next line; nothing else may stand there.
    pub(super) fn finish_line(&mut self) -> Result<(), Fault> {
        self.source.require(1)?;
        while self.source.is_blank() {
            self.source.skip();
            self.source.require(1)?;
        }
        if self.source.is_at(b'#') {
            while !self.source.is_break_or_end() {
                self.source.skip();
                self.source.require(1)?;
            }
        }
        if !self.source.is_break_or_end() {
            let problem = "did not find expected comment or line break";
            return Err(self.source.fault(problem));
        }
        if self.source.is_break() {
            self.source.require(2)?;
            self.source.skip_line();
        }
        Ok(())
    }

    /// Goes over empty lines and the indentation. Where that is 0, the deepest of these lines sets it.
    fn block_breaks(&mut self, indent: &mut usize, breaks: &mut Buffer) -> Result<(), Fault> {
        let mut deepest = 0;
        loop {
            self.source.require(1)?;
            while (*indent == 0 || self.source.column() < *indent) && self.source.is_at(b' ') {
                self.source.skip();
                self.source.require(1)?;
            }
            deepest = deepest.max(self.source.column());
            if (*indent == 0 || self.source.column() < *indent) && self.source.is_at(b'\t') {
                let problem = "found a tab character where an indentation space is expected";
                return Err(self.source.fault(problem));
            }
            if !self.source.is_break() {
                break;
            }
            self.source.require(2)?;
            self.source.read_line(breaks);
        }
        if *indent == 0 {
            let outer = usize::try_from(self.indent + 1).unwrap_or(0);
            *indent = deepest.max(outer).max(1);
        }
        Ok(())
    }

    fn quoted(&mut self, single: bool) -> Result<Buffer, Fault> {
        let quote = if single { b'\'' } else { b'"' };
        self.source.skip();
        let mut text = Buffer::default();
        let mut gap = Gap::default();
        loop {
            self.source.require(4)?;
            if self.source.is_document_indicator() {
                return Err(self.source.fault("found unexpected document indicator"));
            }
            if self.source.is_end() {
                return Err(self.source.fault("found unexpected end of stream"));
            }
            let mut after_break = self.quoted_part(single, &mut text)?;
            self.source.require(1)?;
            if self.source.is_at(quote) {
                self.source.skip();
                return Ok(text);
            }
            self.gap(&mut gap, &mut after_break, None)?;
            if after_break {
                gap.fold(&mut text);
            } else {
                text.extend_from_slice(&gap.blanks);
                gap.blanks.clear();
            }
        }
    }

    /// Reads up to a blank, a line break or the closing quote. Returns whether an escaped line break ended it.
    fn quoted_part(&mut self, single: bool, text: &mut Buffer) -> Result<bool, Fault> {
        loop {
            let run = self
                .source
                .run(|byte| matches!(byte, b'!'..=b'~') && !matches!(byte, b'\'' | b'"' | b'\\'));
            self.source.read_run(run, text);
            self.source.require(2)?;
            if self.source.is_space() {
                return Ok(false);
            }
            match self.source.byte(0) {
                b'\'' if single && self.source.byte(1) == b'\'' => {
                    text.push(b'\'');
                    self.source.skip();
                    self.source.skip();
                }
                b'\'' if single => return Ok(false),
                b'"' if !single => return Ok(false),
                b'\\' if !single && self.source.is_break_at(1) => {
                    self.source.require(3)?;
                    self.source.skip();
                    self.source.skip_line();
                    return Ok(true);
                }
                b'\\' if !single => self.escape(text)?,
                _ => self.source.read(text),
            }
        }
    }

    /// Reads an escape sequence.
    fn escape(&mut self, text: &mut Buffer) -> Result<(), Fault> {
        let character = match self.source.byte(1) {
            b'0' => '\0',
            b'a' => '\x07',
            b'b' => '\x08',
            b't' | b'\t' => '\t',
            b'n' => '\n',
            b'v' => '\x0b',
            b'f' => '\x0c',
            b'r' => '\r',
            b'e' => '\x1b',
            b' ' => ' ',
            b'"' => '"',
            b'\'' => '\'',
            b'\\' => '\\',
            b'N' => '\u{85}',
            b'_' => '\u{a0}',
            b'L' => '\u{2028}',
            b'P' => '\u{2029}',
            b'x' => return self.numeric_escape(2, text),
            b'u' => return self.numeric_escape(4, text),
            b'U' => return self.numeric_escape(8, text),
            _ => return Err(self.source.fault("found unknown escape character")),
        };
        self.source.skip();
        self.source.skip();
        push(text, character);
        Ok(())
    }

    fn numeric_escape(&mut self, digits: usize, text: &mut Buffer) -> Result<(), Fault> {
        self.source.skip();
        self.source.skip();
        self.source.require(digits)?;
        let mut value = 0;
        for offset in 0..digits {
            let digit = char::from(self.source.byte(offset)).to_digit(16);
            let problem = "did not find expected hexdecimal number";
            let digit = digit.ok_or_else(|| self.source.fault(problem))?;
            value = value << 4 | digit;
        }
        let problem = "found invalid Unicode character escape code";
        let character = char::from_u32(value).ok_or_else(|| self.source.fault(problem))?;
        push(text, character);
        for _ in 0..digits {
            self.source.skip();
        }
        Ok(())
    }

    /// Reads blanks and line breaks. With `indent`, a tab behind a break must not stand before that column.
    fn gap(
        &mut self,
        gap: &mut Gap,
        after_break: &mut bool,
        indent: Option<usize>,
    ) -> Result<(), Fault> {
        loop {
            if self.source.is_blank() {
                let too_early = indent.is_some_and(|indent| self.source.column() < indent);
                if *after_break && too_early && self.source.is_at(b'\t') {
                    let problem = "found a tab character that violates indentation";
                    return Err(self.source.fault(problem));
                }
                if *after_break {
                    self.source.skip();
                } else {
                    self.source.read(&mut gap.blanks);
                }
            } else if self.source.is_break() {
                self.source.require(2)?;
                if *after_break {
                    self.source.read_line(&mut gap.more_breaks);
                } else {
                    gap.blanks.clear();
                    self.source.read_line(&mut gap.first_break);
                    *after_break = true;
                }
            } else {
                return Ok(());
            }
            self.source.require(1)?;
        }
    }

    fn plain(&mut self) -> Result<Buffer, Fault> {
        let indent = usize::try_from(self.indent + 1).unwrap_or(0);
        let mut text = Buffer::default();
        let mut gap = Gap::default();
        let mut after_break = false;
        loop {
            self.source.require(4)?;
            if self.source.is_document_indicator() || self.source.is_at(b'#') {
                break;
            }
            self.plain_part(&mut gap, &mut after_break, &mut text)?;
            if !self.source.is_blank() && !self.source.is_break() {
                break;
            }
            self.source.require(1)?;
            self.gap(&mut gap, &mut after_break, Some(indent))?;
            if !self.in_brackets() && self.source.column() < indent {
                break;
            }
        }
        if after_break {
            self.key_allowed = true;
        }
        Ok(text)
    }

    /// Reads up to a blank, a line break or an indicator that ends the scalar, after the gap before it.
    fn plain_part(
        &mut self,
        gap: &mut Gap,
        after_break: &mut bool,
        text: &mut Buffer,
    ) -> Result<(), Fault> {
        while !self.source.is_space() && !self.ends_plain() {
            if *after_break {
                gap.fold(text);
                *after_break = false;
            } else if !gap.blanks.is_empty() {
                text.extend_from_slice(&gap.blanks);
                gap.blanks.clear();
            }
            match self.source.words(is_plain) {
                0 => self.source.read(text),
                run => self.source.read_run(run, text),
            }
            self.source.require(2)?;
        }
        Ok(())
    }

    /// Whether the indicator that is here ends a plain scalar.
    fn ends_plain(&self) -> bool {
        match self.source.byte(0) {
            b':' => self.source.is_space_at(1),
            b',' | b'?' | b'[' | b']' | b'{' | b'}' => self.in_brackets(),
            _ => false,
        }
    }
}

/// Whether a byte never ends a plain scalar.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !matches!(byte, b':' | b',' | b'?' | b'[' | b']' | b'{' | b'}')
}

fn push(text: &mut Buffer, character: char) {
    text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

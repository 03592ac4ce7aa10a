//! The characters of a YAML text, one after the other, with their places.

mod encoding;

use super::fault::Fault;
use crate::buffer::Buffer;

pub(super) use self::encoding::Decoded;

/// A place in the text. All from 0.
#[derive(Clone, Copy, Default)]
pub(super) struct Mark {
    /// Characters before it.
    pub(super) index: usize,
    pub(super) line: usize,
    /// Characters before it in its line.
    pub(super) column: usize,
}

/// The text and how much of it is read. At its end are endless NULs, which occur nowhere else.
pub(super) struct Source<'a> {
    text: &'a [u8],
    position: usize,
    mark: Mark,
    /// Where the part begins that Go fails to decode, if it does.
    broken: Option<(usize, &'static str)>,
}

// === impl Mark ===

impl Mark {
    /// The line that a message of the scanner names: the first line is never named.
    pub(super) fn scanner_line(self) -> Option<usize> {
        (self.line > 0).then_some(self.line + 1)
    }
}

// === impl Source ===

impl<'a> Source<'a> {
    pub(super) fn new(decoded: &'a Decoded<'a>) -> Self {
        Self {
            text: decoded.text(),
            position: 0,
            mark: Mark::default(),
            broken: decoded.broken(),
        }
    }

    pub(super) fn mark(&self) -> Mark {
        self.mark
    }

    #[inline]
    pub(super) fn column(&self) -> usize {
        self.mark.column
    }

    /// A fault of the scanner at this place.
    pub(super) fn fault(&self, problem: &str) -> Fault {
        Fault::at(self.mark.scanner_line(), problem)
    }

    /// Looks whether so many characters can be decoded, the end counting for any number.
    #[inline]
    pub(super) fn require(&self, characters: usize) -> Result<(), Fault> {
        match self.broken {
            None => Ok(()),
            Some((limit, problem)) => self.require_before(characters, limit, problem),
        }
    }

    #[cold]
    fn require_before(
        &self,
        characters: usize,
        limit: usize,
        problem: &'static str,
    ) -> Result<(), Fault> {
        let mut position = self.position;
        for _ in 0..characters {
            if position >= limit {
                return Err(Fault::at(None, problem));
            }
            position += width(self.text.get(position).copied().unwrap_or(0));
        }
        Ok(())
    }

    /// The byte `offset` bytes ahead.
    #[inline]
    pub(super) fn byte(&self, offset: usize) -> u8 {
        let index = self.position.saturating_add(offset);
        self.text.get(index).copied().unwrap_or(0)
    }

    #[inline]
    pub(super) fn is_at(&self, byte: u8) -> bool {
        self.byte(0) == byte
    }

    #[inline]
    pub(super) fn is_end(&self) -> bool {
        self.is_at(0)
    }

    /// Whether a blank or tab is here.
    #[inline]
    pub(super) fn is_blank(&self) -> bool {
        matches!(self.byte(0), b' ' | b'\t')
    }

    /// Whether a line break is `offset` bytes ahead.
    #[inline]
    pub(super) fn is_break_at(&self, offset: usize) -> bool {
        match self.byte(offset) {
            b'\r' | b'\n' => true,
            0xc2 => self.byte(offset + 1) == 0x85,
            0xe2 => self.byte(offset + 1) == 0x80 && matches!(self.byte(offset + 2), 0xa8 | 0xa9),
            _ => false,
        }
    }

    #[inline]
    pub(super) fn is_break(&self) -> bool {
        self.is_break_at(0)
    }

    #[inline]
    pub(super) fn is_break_or_end(&self) -> bool {
        self.is_end() || self.is_break()
    }

    /// Whether a blank, tab, line break or the end is `offset` bytes ahead.
    #[inline]
    pub(super) fn is_space_at(&self, offset: usize) -> bool {
        matches!(self.byte(offset), 0 | b' ' | b'\t') || self.is_break_at(offset)
    }

    #[inline]
    pub(super) fn is_space(&self) -> bool {
        self.is_space_at(0)
    }

    /// Whether a letter, digit, `_` or `-` is here.
    #[inline]
    pub(super) fn is_word(&self) -> bool {
        matches!(self.byte(0), b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'-')
    }

    /// Whether this is the first column and `---` or `...` stands here on its own.
    pub(super) fn is_document_indicator(&self) -> bool {
        self.mark.column == 0
            && matches!(
                (self.byte(0), self.byte(1), self.byte(2)),
                (b'-', b'-', b'-') | (b'.', b'.', b'.')
            )
            && self.is_space_at(3)
    }

    /// Whether the text begins with a byte order mark and nothing was read.
    pub(super) fn is_order_mark(&self) -> bool {
        self.position == 0 && self.text.starts_with(b"\xef\xbb\xbf")
    }

    /// Goes on by a character that is no line break.
    #[inline]
    pub(super) fn skip(&mut self) {
        self.position += width(self.byte(0));
        self.mark.index += 1;
        self.mark.column += 1;
    }

    /// Goes on by a character and appends it.
    pub(super) fn read(&mut self, out: &mut Buffer) {
        let end = self.position + width(self.byte(0));
        out.extend_from_slice(self.text.get(self.position..end).unwrap_or_default());
        self.skip();
    }

    /// Goes on by characters of one byte, none of them a line break, and appends them.
    pub(super) fn read_run(&mut self, length: usize, out: &mut Buffer) {
        let end = self.position + length;
        out.extend_from_slice(self.text.get(self.position..end).unwrap_or_default());
        self.position = end;
        self.mark.index += length;
        self.mark.column += length;
    }

    /// How many bytes from here on satisfy a test. None may be part of a longer character, and the part that cannot be
    /// decoded is left out.
    pub(super) fn run(&self, mut test: impl FnMut(u8) -> bool) -> usize {
        let end = self.broken.map_or(self.text.len(), |(limit, _)| limit);
        let rest = self.text.get(self.position..end).unwrap_or_default();
        let run = rest.iter().position(|&byte| !test(byte));
        run.unwrap_or(rest.len())
    }

    /// The same over bytes that satisfy a test and blanks between them; a `#` behind a blank ends it before that.
    pub(super) fn words(&self, mut test: impl FnMut(u8) -> bool) -> usize {
        let end = self.broken.map_or(self.text.len(), |(limit, _)| limit);
        let rest = self.text.get(self.position..end).unwrap_or_default();
        let mut length = 0;
        let mut after_blank = false;
        for (index, &byte) in rest.iter().enumerate() {
            if byte == b' ' {
                after_blank = true;
            } else if !test(byte) || (after_blank && byte == b'#') {
                break;
            } else {
                after_blank = false;
                length = index + 1;
            }
        }
        length
    }

    /// Goes on by a line break, if one is here.
    pub(super) fn skip_line(&mut self) {
        if self.byte(0) == b'\r' && self.byte(1) == b'\n' {
            self.position += 2;
            self.mark.index += 2;
        } else if self.is_break() {
            self.position += width(self.byte(0));
            self.mark.index += 1;
        } else {
            return;
        }
        self.mark.column = 0;
        self.mark.line += 1;
    }

    /// Goes on by a line break, if one is here, and appends what it stands for: a newline, or the Unicode separator it is.
    pub(super) fn read_line(&mut self, out: &mut Buffer) {
        match self.byte(0) {
            0xe2 if self.is_break() => {
                let end = self.position + 3;
                out.extend_from_slice(self.text.get(self.position..end).unwrap_or_default());
            }
            _ if self.is_break() => out.push(b'\n'),
            _ => return,
        }
        self.skip_line();
    }

    /// Counts the end of the text as that of its last line.
    pub(super) fn end_line(&mut self) {
        if self.mark.column != 0 {
            self.mark.column = 0;
            self.mark.line += 1;
        }
    }
}

/// The length of the character that begins with a byte.
pub(super) fn width(byte: u8) -> usize {
    match byte {
        0..0xc0 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    }
}

//! Brackets and backslashes of a pattern: the parser's part that makes classes.

use super::Mistake;
use super::class::{self, Builder};
use super::escape::{Cursor, INVALID_ESCAPE};
use super::parse::{Outcome, Parser, check_utf8};
use super::tree::Look;

const INVALID_RANGE: &str = "invalid character class range";

// === impl Parser ===

impl<'a> Parser<'a, '_> {
    /// Everything that begins with a backslash, outside of brackets.
    pub(super) fn backslash(&mut self) -> Outcome<()> {
        let start = self.cursor.position;
        match self.cursor.at(1) {
            Some(b'A') => return self.look(2, Look::TextStart),
            Some(b'z') => return self.look(2, Look::TextEnd),
            Some(b'b') => return self.look(2, Look::WordBoundary),
            Some(b'B') => return self.look(2, Look::NoWordBoundary),
            Some(b'C') => {
                self.cursor.position += 2;
                return Err(Mistake::new(INVALID_ESCAPE, self.cursor.since(start)).into());
            }
            Some(b'Q') => return self.quoted(),
            _ => {}
        }
        let mut class = Builder::default();
        if self.class_escape(&mut class)? {
            return self.push_class(class, false);
        }
        let rune = self.cursor.escape()?;
        self.literal(rune)
    }

    /// `\Q...\E`
    fn quoted(&mut self) -> Outcome<()> {
        self.cursor.position += 2;
        let rest = self.cursor.rest();
        let length = rest.windows(2).position(|pair| pair == br"\E");
        let end = self.cursor.position + length.unwrap_or(rest.len());
        let literal = self.cursor.text.get(..end).unwrap_or_default();
        let mut cursor = Cursor {
            text: literal,
            ..self.cursor
        };
        while !cursor.is_at_end() {
            let rune = cursor.rune()?;
            self.literal(rune)?;
        }
        self.cursor.position = end + length.map_or(0, |_| 2);
        Ok(())
    }

    /// Takes `\d` and its like, `\pL` or `\p{Greek}` off and adds it to `class`; `false` where none is next.
    fn class_escape(&mut self, class: &mut Builder) -> Outcome<bool> {
        if self.cursor.at(0) != Some(b'\\') {
            return Ok(false);
        }
        let (group, is_negated) = match self.cursor.at(1) {
            Some(b'p' | b'P') => return self.unicode_class(class).map(|()| true),
            Some(b'd') => (class::DIGIT, false),
            Some(b'D') => (class::DIGIT, true),
            Some(b's') => (class::SPACE, false),
            Some(b'S') => (class::SPACE, true),
            Some(b'w') => (class::WORD, false),
            Some(b'W') => (class::WORD, true),
            _ => return Ok(false),
        };
        self.cursor.position += 2;
        class.add_group(self.cx, group, self.flags.is_folded, is_negated)?;
        Ok(true)
    }

    fn unicode_class(&mut self, class: &mut Builder) -> Outcome<()> {
        let start = self.cursor.position;
        let rest = self.cursor.rest();
        let mut is_negated = self.cursor.at(1) == Some(b'P');
        self.cursor.position += 2;
        let name = if self.cursor.rune()? == u32::from(b'{') {
            let Some(end) = rest.iter().position(|byte| *byte == b'}') else {
                check_utf8(rest)?;
                return Err(Mistake::new(INVALID_RANGE, rest).into());
            };
            self.cursor.position = start + end + 1;
            let name = rest.get(3..end).unwrap_or_default();
            check_utf8(name)?;
            name
        } else {
            self.cursor.since(start + 2)
        };
        let name = match name {
            [b'^', name @ ..] => {
                is_negated = !is_negated;
                name
            }
            name => name,
        };
        let Some(ranges) = class::unicode(self.cx, name)? else {
            return Err(Mistake::new(INVALID_RANGE, self.cursor.since(start)).into());
        };
        class.add_group(self.cx, &ranges, self.flags.is_folded, is_negated)?;
        Ok(())
    }

    /// `[...]`
    pub(super) fn class(&mut self) -> Outcome<()> {
        let whole = self.cursor.rest();
        self.cursor.position += 1;
        let is_negated = self.cursor.at(0) == Some(b'^');
        self.cursor.position += usize::from(is_negated);
        let mut class = Builder::default();
        let mut is_first = true;
        while is_first || self.cursor.at(0) != Some(b']') {
            is_first = false;
            self.cx.allocate(8)?;
            if self.posix_class(&mut class)? || self.class_escape(&mut class)? {
                continue;
            }
            self.range(&mut class, whole)?;
        }
        self.cursor.position += 1;
        self.push_class(class, is_negated)
    }

    /// `[:alpha:]`
    fn posix_class(&mut self, class: &mut Builder) -> Outcome<bool> {
        let [b'[', b':', behind @ ..] = self.cursor.rest() else {
            return Ok(false);
        };
        let Some(length) = behind.windows(2).position(|pair| pair == b":]") else {
            // What is looked through in vain may be looked through again.
            self.cx.work(behind.len() as u64 / 64)?;
            return Ok(false);
        };
        let start = self.cursor.position;
        self.cursor.position += length + 4;
        let name = behind.get(..length).unwrap_or_default();
        let Some((group, is_negated)) = class::posix(name) else {
            return Err(Mistake::new(INVALID_RANGE, self.cursor.since(start)).into());
        };
        class.add_group(self.cx, group, self.flags.is_folded, is_negated)?;
        Ok(true)
    }

    /// One rune of a class or a range of them.
    fn range(&mut self, class: &mut Builder, whole: &'a [u8]) -> Outcome<()> {
        let start = self.cursor.position;
        let low = self.class_rune(whole)?;
        let mut high = low;
        let is_range =
            self.cursor.at(0) == Some(b'-') && self.cursor.at(1).is_some_and(|next| next != b']');
        if is_range {
            self.cursor.position += 1;
            high = self.class_rune(whole)?;
            if high < low {
                return Err(Mistake::new(INVALID_RANGE, self.cursor.since(start)).into());
            }
        }
        if self.flags.is_folded {
            class.add_folded(self.cx, low, high)?;
        } else {
            class.add(low, high);
        }
        Ok(())
    }

    fn class_rune(&mut self, whole: &'a [u8]) -> Result<u32, Mistake> {
        match self.cursor.at(0) {
            None => Err(Mistake::new("missing closing ]", whole)),
            Some(b'\\') => self.cursor.escape(),
            Some(_) => self.cursor.rune(),
        }
    }
}

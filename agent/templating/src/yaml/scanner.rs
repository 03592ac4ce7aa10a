//! YAML text to tokens: indentation to brackets, and which scalars are keys.
//!
//! YAML tells a key only by the `:` behind it, so tokens wait in a queue as long as the first of them could be one. Rules,
//! limits and messages are those of libyaml, which every YAML library of Go descends from.

mod properties;
mod scalars;

use std::collections::VecDeque;

use super::fault::Fault;
use super::source::{Mark, Source};
use super::token::{Kind, Token};

/// How many characters a key may have up to its `:` if it has no `?`.
const KEY_LENGTH: usize = 1024;

/// How deep indentation may go in libyaml. The limit of nesting comes earlier.
const MAX_INDENTS: usize = 10_000;

pub(super) struct Scanner<'a> {
    source: Source<'a>,
    queue: VecDeque<Token>,
    /// How many tokens have left the queue.
    taken: usize,
    /// Whether the first token of the queue is final.
    ready: bool,
    /// The column of the block that is being read; -1 outside any.
    indent: isize,
    /// Those of the blocks around it.
    indents: Vec<isize>,
    /// A possible key for each level of brackets, the first for none.
    keys: Vec<PossibleKey>,
    /// Numbers of tokens that may begin a key, ascending, each with its level of brackets. As in libyaml's port to Go they may
    /// be behind [`Self::keys`]; what is read ahead, and so which fault is found first, hangs on it.
    key_levels: VecDeque<(usize, usize)>,
    /// Whether a key may begin here.
    key_allowed: bool,
}

/// A token that may turn out to begin a key.
#[derive(Clone, Copy, Default)]
struct PossibleKey {
    possible: bool,
    /// Whether it must be one, because in a block mapping nothing else may stand there.
    required: bool,
    /// The token's number.
    token: usize,
    mark: Mark,
}

// === impl Scanner ===

impl<'a> Scanner<'a> {
    pub(super) fn new(source: Source<'a>) -> Self {
        Self {
            source,
            queue: VecDeque::new(),
            taken: 0,
            ready: false,
            indent: -1,
            indents: Vec::new(),
            keys: vec![PossibleKey::default()],
            key_levels: VecDeque::new(),
            key_allowed: true,
        }
    }

    /// The next token. Stays the end of the stream once that is reached.
    pub(super) fn peek(&mut self) -> Result<&Token, Fault> {
        if !self.ready {
            while self.queue.is_empty() || self.first_may_be_key()? {
                self.fetch()?;
            }
            self.ready = true;
        }
        // The queue holds a token now.
        self.queue
            .front()
            .ok_or_else(|| Fault::at(None, "no token"))
    }

    /// Takes the token that was peeked.
    pub(super) fn take(&mut self) -> Option<Token> {
        self.ready = false;
        self.taken += 1;
        self.queue.pop_front()
    }

    fn in_brackets(&self) -> bool {
        self.keys.len() > 1
    }

    fn first_may_be_key(&mut self) -> Result<bool, Fault> {
        while let Some(&(token, level)) = self.key_levels.front() {
            if token > self.taken {
                return Ok(false);
            }
            if token == self.taken {
                return self.is_key_possible(level);
            }
            self.key_levels.pop_front();
        }
        Ok(false)
    }

    /// No longer looks for a key at a token.
    fn drop_level(&mut self, token: usize) {
        // Mostly it is the last one.
        let levels = self.key_levels.iter().rev();
        let behind = levels.take_while(|(known, _)| *known > token).count();
        let index = self.key_levels.len().checked_sub(behind + 1);
        let found = index.and_then(|index| self.key_levels.get(index));
        if let (Some(index), Some((known, _))) = (index, found)
            && *known == token
        {
            self.key_levels.remove(index);
        }
    }

    /// Whether the possible key of a level still is one. Forgets it if not.
    fn is_key_possible(&mut self, level: usize) -> Result<bool, Fault> {
        let here = self.source.mark();
        let Some(key) = self.keys.get_mut(level) else {
            return Ok(false);
        };
        if !key.possible {
            return Ok(false);
        }
        if key.mark.line >= here.line && key.mark.index + KEY_LENGTH >= here.index {
            return Ok(true);
        }
        if key.required {
            return Err(self.source.fault("could not find expected ':'"));
        }
        key.possible = false;
        Ok(false)
    }

    /// Notes that the token that begins here may be a key.
    fn save_key(&mut self) -> Result<(), Fault> {
        if !self.key_allowed {
            return Ok(());
        }
        let required = !self.in_brackets() && self.indent == self.column();
        let key = PossibleKey {
            possible: true,
            required,
            token: self.taken + self.queue.len(),
            mark: self.source.mark(),
        };
        self.forget_key()?;
        if let Some(last) = self.keys.last_mut() {
            *last = key;
        }
        self.drop_level(key.token);
        self.key_levels.push_back((key.token, self.keys.len() - 1));
        Ok(())
    }

    /// Gives up the possible key of this level.
    fn forget_key(&mut self) -> Result<(), Fault> {
        let Some(key) = self.keys.last_mut() else {
            return Ok(());
        };
        if key.possible && key.required {
            return Err(self.source.fault("could not find expected ':'"));
        }
        if key.possible {
            key.possible = false;
            let token = key.token;
            self.drop_level(token);
        }
        Ok(())
    }

    fn column(&self) -> isize {
        isize::try_from(self.source.column()).unwrap_or(isize::MAX)
    }

    fn push(&mut self, kind: Kind, mark: Mark) {
        self.queue.push_back(Token { kind, mark });
    }

    /// Opens a block at a column that is deeper than the one around; its token goes before number `before` or to the end.
    fn roll_indent(
        &mut self,
        column: isize,
        before: Option<usize>,
        kind: Kind,
        mark: Mark,
    ) -> Result<(), Fault> {
        if self.in_brackets() || self.indent >= column {
            return Ok(());
        }
        self.indents.push(self.indent);
        self.indent = column;
        if self.indents.len() > MAX_INDENTS {
            return Err(self.source.fault("exceeded max depth of 10000"));
        }
        match before {
            Some(number) => self.insert(number, kind, mark),
            None => self.push(kind, mark),
        }
        Ok(())
    }

    /// Puts a token before number `before`, or to the end if that has left the queue.
    fn insert(&mut self, before: usize, kind: Kind, mark: Mark) {
        let index = before.checked_sub(self.taken);
        let index = index.map_or(self.queue.len(), |index| index.min(self.queue.len()));
        self.queue.insert(index, Token { kind, mark });
    }

    /// Closes the blocks that are deeper than a column.
    fn unroll_indent(&mut self, column: isize) {
        if self.in_brackets() {
            return;
        }
        while self.indent > column {
            self.push(Kind::BlockEnd, self.source.mark());
            self.indent = self.indents.pop().unwrap_or(-1);
        }
    }

    /// Reads one more token, or more.
    fn fetch(&mut self) -> Result<(), Fault> {
        self.source.require(1)?;
        self.skip_to_token()?;
        self.unroll_indent(self.column());
        self.source.require(4)?;
        if self.source.is_end() {
            return self.fetch_stream_end();
        }
        let mark = self.source.mark();
        if mark.column == 0 && self.source.is_at(b'%') {
            return self.fetch_directive();
        }
        if self.source.is_document_indicator() {
            return self.fetch_document_indicator();
        }
        let spaced = self.source.is_space_at(1);
        match self.source.byte(0) {
            b'[' => self.fetch_opening(Kind::FlowSequenceStart),
            b'{' => self.fetch_opening(Kind::FlowMappingStart),
            b']' => self.fetch_closing(Kind::FlowSequenceEnd),
            b'}' => self.fetch_closing(Kind::FlowMappingEnd),
            b',' => self.fetch_flow_entry(),
            b'-' if spaced => self.fetch_block_entry(),
            b'?' if spaced || self.in_brackets() => self.fetch_key(),
            b':' if spaced || self.in_brackets() => self.fetch_value(),
            b'*' => self.fetch_anchor(Kind::Alias),
            b'&' => self.fetch_anchor(Kind::Anchor),
            b'!' => self.fetch_tag(),
            b'|' if !self.in_brackets() => self.fetch_block_scalar(true),
            b'>' if !self.in_brackets() => self.fetch_block_scalar(false),
            b'\'' => self.fetch_quoted(true),
            b'"' => self.fetch_quoted(false),
            byte if self.may_begin_plain(byte) => self.fetch_plain(),
            _ => Err(self
                .source
                .fault("found character that cannot start any token")),
        }
    }

    /// Whether a byte that begins no other token may begin a scalar without quotes.
    fn may_begin_plain(&self, byte: u8) -> bool {
        match byte {
            // Behind the end or a line break it was taken for an entry before.
            b'-' => !matches!(self.source.byte(1), b' ' | b'\t'),
            b'?' | b':' => !self.in_brackets() && !self.source.is_space_at(1),
            b'#' | b'|' | b'>' | b'%' | b'@' | b'`' => false,
            _ => !self.source.is_space(),
        }
    }

    /// Goes over blanks, comments and line breaks.
    fn skip_to_token(&mut self) -> Result<(), Fault> {
        loop {
            self.source.require(1)?;
            if self.source.is_order_mark() {
                self.source.skip();
            }
            self.source.require(1)?;
            // A tab may not indent, so not stand where a block key could begin.
            while self.source.is_at(b' ')
                || (self.source.is_at(b'\t') && (self.in_brackets() || !self.key_allowed))
            {
                self.source.skip();
                self.source.require(1)?;
            }
            if self.source.is_at(b'#') {
                while !self.source.is_break_or_end() {
                    self.source.skip();
                    self.source.require(1)?;
                }
            }
            if !self.source.is_break() {
                return Ok(());
            }
            self.source.require(2)?;
            self.source.skip_line();
            if !self.in_brackets() {
                self.key_allowed = true;
            }
        }
    }

    fn fetch_stream_end(&mut self) -> Result<(), Fault> {
        self.source.end_line();
        self.unroll_indent(-1);
        self.forget_key()?;
        self.key_allowed = false;
        self.push(Kind::StreamEnd, self.source.mark());
        Ok(())
    }

    fn fetch_document_indicator(&mut self) -> Result<(), Fault> {
        self.unroll_indent(-1);
        self.forget_key()?;
        self.key_allowed = false;
        let mark = self.source.mark();
        let kind = if self.source.is_at(b'-') {
            Kind::DocumentStart
        } else {
            Kind::DocumentEnd
        };
        for _ in 0..3 {
            self.source.skip();
        }
        self.push(kind, mark);
        Ok(())
    }

    fn fetch_opening(&mut self, kind: Kind) -> Result<(), Fault> {
        self.save_key()?;
        self.keys.push(PossibleKey {
            token: self.taken + self.queue.len(),
            ..PossibleKey::default()
        });
        if self.keys.len() > MAX_INDENTS {
            return Err(self.source.fault("exceeded max depth of 10000"));
        }
        self.key_allowed = true;
        self.push_indicator(kind);
        Ok(())
    }

    fn fetch_closing(&mut self, kind: Kind) -> Result<(), Fault> {
        self.forget_key()?;
        // The lowest level is that of no brackets.
        if let (true, Some(key)) = (self.in_brackets(), self.keys.last().copied()) {
            // For empty brackets that is the number of the opening one.
            self.drop_level(key.token);
            self.keys.pop();
        }
        self.key_allowed = false;
        self.push_indicator(kind);
        Ok(())
    }

    /// Takes a character as a token.
    fn push_indicator(&mut self, kind: Kind) {
        let mark = self.source.mark();
        self.source.skip();
        self.push(kind, mark);
    }

    fn fetch_flow_entry(&mut self) -> Result<(), Fault> {
        self.forget_key()?;
        self.key_allowed = true;
        self.push_indicator(Kind::FlowEntry);
        Ok(())
    }

    fn fetch_block_entry(&mut self) -> Result<(), Fault> {
        if !self.in_brackets() {
            if !self.key_allowed {
                let problem = "block sequence entries are not allowed in this context";
                return Err(self.source.fault(problem));
            }
            let mark = self.source.mark();
            self.roll_indent(self.column(), None, Kind::BlockSequenceStart, mark)?;
        }
        self.forget_key()?;
        self.key_allowed = true;
        self.push_indicator(Kind::BlockEntry);
        Ok(())
    }

    fn fetch_key(&mut self) -> Result<(), Fault> {
        if !self.in_brackets() {
            if !self.key_allowed {
                let problem = "mapping keys are not allowed in this context";
                return Err(self.source.fault(problem));
            }
            let mark = self.source.mark();
            self.roll_indent(self.column(), None, Kind::BlockMappingStart, mark)?;
        }
        self.forget_key()?;
        self.key_allowed = !self.in_brackets();
        self.push_indicator(Kind::Key);
        Ok(())
    }

    fn fetch_value(&mut self) -> Result<(), Fault> {
        let level = self.keys.len() - 1;
        if self.is_key_possible(level)? {
            let key = self.keys.get(level).copied().unwrap_or_default();
            self.insert(key.token, Kind::Key, key.mark);
            let column = isize::try_from(key.mark.column).unwrap_or(isize::MAX);
            self.roll_indent(column, Some(key.token), Kind::BlockMappingStart, key.mark)?;
            if let Some(key) = self.keys.get_mut(level) {
                key.possible = false;
            }
            self.drop_level(key.token);
            self.key_allowed = false;
        } else {
            // Behind a key with `?`, or without any.
            if !self.in_brackets() {
                if !self.key_allowed {
                    let problem = "mapping values are not allowed in this context";
                    return Err(self.source.fault(problem));
                }
                let mark = self.source.mark();
                self.roll_indent(self.column(), None, Kind::BlockMappingStart, mark)?;
            }
            self.key_allowed = !self.in_brackets();
        }
        self.push_indicator(Kind::Value);
        Ok(())
    }
}

//! A pattern's text becomes its tree, by Go's syntax and with Go's complaints.

use super::class::Builder;
use super::escape::Cursor;
use super::tree::{Id, Kind, Look, Repeat, Tree};
use super::{Mistake, Trouble};
use crate::context::Context;

const INVALID_NAME: &str = "invalid named capture";
const INVALID_PERL: &str = "invalid or unsupported Perl syntax";
const INVALID_REPEAT: &str = "invalid repeat count";
const MISSING_PARENTHESIS: &str = "missing closing )";
const NOTHING_TO_REPEAT: &str = "missing argument to repetition operator";

/// The most that a count in braces, and a product of nested ones, can be.
const MAX_REPEAT: u32 = 1_000;
/// How high the tree can be.
const MAX_HEIGHT: u32 = 1_000;

/// What a node is charged for: bytes.
const NODE: usize = 96;

pub(super) type Outcome<T> = Result<T, Trouble>;

/// What `(?ims U)` sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// `i`
    pub(super) is_folded: bool,
    /// `m`
    is_multiline: bool,
    /// `s`
    takes_newline: bool,
    /// `U`
    is_lazy: bool,
}

/// What has been read and is not yet part of something greater.
enum Item {
    Node(Id),
    /// `|`
    Bar,
    /// `(`: the number if it captures, and the flags outside.
    Parenthesis(Option<u32>, Flags),
}

pub(super) struct Parser<'a, 'c> {
    pub(super) cx: &'c mut Context,
    pub(super) cursor: Cursor<'a>,
    tree: Tree,
    stack: Vec<Item>,
    pub(super) flags: Flags,
    /// Where the repetition operator begins that has just been read.
    last_repeat: Option<usize>,
}

/// Reads a pattern.
pub(super) fn parse(cx: &mut Context, text: &[u8]) -> Outcome<Tree> {
    let mut parser = Parser {
        cx,
        cursor: Cursor { text, position: 0 },
        tree: Tree::new(),
        stack: Vec::new(),
        flags: Flags::default(),
        last_repeat: None,
    };
    while !parser.cursor.is_at_end() {
        parser.last_repeat = parser.step()?;
    }
    parser.finish()
}

// === impl Parser ===

impl<'a> Parser<'a, '_> {
    /// Reads the next piece; gives where it begins if it is a repetition operator.
    fn step(&mut self) -> Outcome<Option<usize>> {
        let start = self.cursor.position;
        let Some(byte) = self.cursor.at(0) else {
            return Ok(None);
        };
        match byte {
            b'(' if self.cursor.at(1) == Some(b'?') => self.open_special()?,
            b'(' => {
                self.cursor.position += 1;
                self.open_group(Vec::new());
            }
            b'|' => self.single(Item::Bar),
            b')' => self.close()?,
            b'^' if self.flags.is_multiline => self.look(1, Look::LineStart)?,
            b'^' => self.look(1, Look::TextStart)?,
            b'$' if self.flags.is_multiline => self.look(1, Look::LineEnd)?,
            b'$' => self.look(1, Look::TextEnd)?,
            b'.' => {
                self.cursor.position += 1;
                let kind = if self.flags.takes_newline {
                    Kind::Any
                } else {
                    Kind::AnyButNewline
                };
                self.push(kind)?;
            }
            b'[' => self.class()?,
            b'*' | b'+' | b'?' => {
                self.cursor.position += 1;
                let (least, most) = match byte {
                    b'*' => (0, None),
                    b'+' => (1, None),
                    _ => (0, Some(1)),
                };
                self.repeat(start, least, most, false)?;
                return Ok(Some(start));
            }
            b'{' => return self.counted(),
            b'\\' => self.backslash()?,
            _ => {
                let rune = self.cursor.rune()?;
                self.literal(rune)?;
            }
        }
        Ok(None)
    }

    fn single(&mut self, item: Item) {
        self.cursor.position += 1;
        self.stack.push(item);
    }

    pub(super) fn look(&mut self, length: usize, look: Look) -> Outcome<()> {
        self.cursor.position += length;
        self.push(Kind::Look(look))
    }

    fn push(&mut self, kind: Kind) -> Outcome<()> {
        let id = self.tree.add(kind);
        self.stack.push(Item::Node(id));
        self.check(id)
    }

    /// Looks at the height of a new node and pays for it.
    fn check(&mut self, id: Id) -> Outcome<()> {
        if self.tree.height(id) > MAX_HEIGHT {
            let whole = self.cursor.text;
            return Err(Mistake::new("expression nests too deeply", whole).into());
        }
        self.cx.allocate(NODE)?;
        Ok(())
    }

    pub(super) fn literal(&mut self, rune: u32) -> Outcome<()> {
        if !self.flags.is_folded {
            return self.push(Kind::Rune(rune));
        }
        let mut class = Builder::default();
        class.add_folded(self.cx, rune, rune)?;
        self.push_class(class, false)
    }

    pub(super) fn push_class(&mut self, class: Builder, is_negated: bool) -> Outcome<()> {
        let class = class.finish(is_negated);
        if let [(low, high)] = *class.0
            && low == high
        {
            return self.push(Kind::Rune(low));
        }
        self.cx.allocate(class.0.len() * 8)?;
        let index = self.tree.classes.len();
        self.tree.classes.push(class);
        self.push(Kind::Class(index))
    }

    // --- groups

    fn open_group(&mut self, name: Vec<u8>) {
        let number = self.tree.names.len() as u32;
        self.tree.names.push(name);
        let item = Item::Parenthesis(Some(number), self.flags);
        self.stack.push(item);
    }

    /// `(?`: a named group, flags, or a group that does not capture.
    fn open_special(&mut self) -> Outcome<()> {
        let start = self.cursor.position;
        let rest = self.cursor.rest();
        let name_at = match rest {
            [_, _, b'P', b'<', _, ..] => Some(4),
            [_, _, b'<', _, ..] => Some(3),
            _ => None,
        };
        match name_at {
            Some(name_at) => self.named_group(name_at),
            None => self.flags(start),
        }
    }

    fn named_group(&mut self, name_at: usize) -> Outcome<()> {
        let rest = self.cursor.rest();
        let Some(end) = rest.iter().position(|byte| *byte == b'>') else {
            check_utf8(rest)?;
            return Err(Mistake::new(INVALID_NAME, rest).into());
        };
        let name = rest.get(name_at..end).unwrap_or_default();
        check_utf8(name)?;
        let is_word = |byte: &u8| *byte == b'_' || byte.is_ascii_alphanumeric();
        if name.is_empty() || !name.iter().all(is_word) {
            let written = rest.get(..=end).unwrap_or_default();
            return Err(Mistake::new(INVALID_NAME, written).into());
        }
        self.cursor.position += end + 1;
        self.open_group(name.to_vec());
        Ok(())
    }

    /// `(?i-s)` and `(?i-s:`
    fn flags(&mut self, start: usize) -> Outcome<()> {
        self.cursor.position += 2;
        let mut flags = self.flags;
        let mut value = true;
        let mut has_flag = false;
        while !self.cursor.is_at_end() {
            let rune = self.cursor.rune()?;
            match u8::try_from(rune).unwrap_or(0) {
                b'i' => flags.is_folded = value,
                b'm' => flags.is_multiline = value,
                b's' => flags.takes_newline = value,
                b'U' => flags.is_lazy = value,
                b'-' if value => {
                    value = false;
                    has_flag = false;
                    continue;
                }
                end @ (b':' | b')') if value || has_flag => {
                    if end == b':' {
                        self.stack.push(Item::Parenthesis(None, self.flags));
                    }
                    self.flags = flags;
                    return Ok(());
                }
                _ => break,
            }
            has_flag = true;
        }
        Err(Mistake::new(INVALID_PERL, self.cursor.since(start)).into())
    }

    /// `)`
    fn close(&mut self) -> Outcome<()> {
        let inner = self.collect()?;
        let Some(Item::Parenthesis(number, flags)) = self.stack.pop() else {
            return Err(Mistake::new("unexpected )", self.cursor.text).into());
        };
        self.cursor.position += 1;
        self.flags = flags;
        match number {
            Some(number) => self.push(Kind::Group(number, inner)),
            None => {
                self.stack.push(Item::Node(inner));
                Ok(())
            }
        }
    }

    /// Takes everything down to the innermost open parenthesis off the stack and makes one node of it.
    fn collect(&mut self) -> Outcome<Id> {
        let is_open = |item: &Item| matches!(item, Item::Parenthesis(..));
        let from = self.stack.iter().rposition(is_open).map_or(0, |at| at + 1);
        let items = self.stack.split_off(from);
        let mut choices = Vec::new();
        for alternative in items.split(|item| matches!(item, Item::Bar)) {
            let nodes: Vec<Id> = alternative
                .iter()
                .filter_map(|item| match item {
                    Item::Node(id) => Some(*id),
                    _ => None,
                })
                .collect();
            let sequence = self.tree.add_sequence(&nodes);
            self.check(sequence)?;
            choices.push(sequence);
        }
        let choice = self.tree.add_choice(&choices);
        self.check(choice)?;
        Ok(choice)
    }

    fn finish(mut self) -> Outcome<Tree> {
        let root = self.collect()?;
        if !self.stack.is_empty() {
            return Err(Mistake::new(MISSING_PARENTHESIS, self.cursor.text).into());
        }
        self.tree.root = root;
        Ok(self.tree)
    }

    // --- repetitions

    /// Repeats the last node. The operator begins at `start`; the cursor stands behind it.
    fn repeat(
        &mut self,
        start: usize,
        least: u32,
        most: Option<u32>,
        is_counted: bool,
    ) -> Outcome<()> {
        let mut is_lazy = self.flags.is_lazy;
        if self.cursor.at(0) == Some(b'?') {
            self.cursor.position += 1;
            is_lazy = !is_lazy;
        }
        if let Some(last) = self.last_repeat {
            let both = self.cursor.since(last);
            return Err(Mistake::new("invalid nested repetition operator", both).into());
        }
        let Some(Item::Node(inner)) = self.stack.last() else {
            let operator = self.cursor.since(start);
            return Err(Mistake::new(NOTHING_TO_REPEAT, operator).into());
        };
        let repeat = Repeat {
            inner: *inner,
            least,
            most,
            is_greedy: !is_lazy,
            is_counted,
        };
        self.stack.pop();
        self.push(Kind::Repeat(repeat))?;
        let is_large = is_counted && (least >= 2 || most.is_some_and(|most| most >= 2));
        let id = self.tree.last();
        if is_large && self.tree.copies(id) > MAX_REPEAT {
            let operator = self.cursor.since(start);
            return Err(Mistake::new(INVALID_REPEAT, operator).into());
        }
        Ok(())
    }

    /// `{2}`, `{2,}`, `{2,5}`; any other brace is literal.
    fn counted(&mut self) -> Outcome<Option<usize>> {
        let start = self.cursor.position;
        let Some((least, most, length)) = read_counts(self.cursor.rest()) else {
            self.cursor.position += 1;
            self.literal(u32::from(b'{'))?;
            return Ok(None);
        };
        self.cursor.position += length;
        let is_wrong =
            least > MAX_REPEAT || most.is_some_and(|most| most > MAX_REPEAT || most < least);
        if is_wrong {
            return Err(Mistake::new(INVALID_REPEAT, self.cursor.since(start)).into());
        }
        self.repeat(start, least, most, true)?;
        Ok(Some(start))
    }
}

/// Fails where `text` is not UTF-8, with what follows from there on.
pub(super) fn check_utf8(text: &[u8]) -> Result<(), Mistake> {
    match std::str::from_utf8(text) {
        Ok(_) => Ok(()),
        Err(error) => {
            let rest = text.get(error.valid_up_to()..).unwrap_or_default();
            Err(Mistake::new("invalid UTF-8", rest))
        }
    }
}

/// Least, most and length of a count in braces; [`u32::MAX`] is too many.
fn read_counts(text: &[u8]) -> Option<(u32, Option<u32>, usize)> {
    let rest = text.strip_prefix(b"{")?;
    let (least, rest) = read_count(rest)?;
    let (least, most, rest) = match rest {
        [b',', b'}', ..] => (least, None, rest.get(1..)?),
        [b',', rest @ ..] => {
            let (most, rest) = read_count(rest)?;
            (least, Some(most), rest)
        }
        rest => (least, Some(least), rest),
    };
    let rest = rest.strip_prefix(b"}")?;
    Some((least, most, text.len() - rest.len()))
}

/// A number without leading zeros.
fn read_count(text: &[u8]) -> Option<(u32, &[u8])> {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(length);
    match digits {
        [] | [b'0', _, ..] => None,
        digits => {
            let number = digits.iter().fold(0_u32, |number, digit| {
                number
                    .saturating_mul(10)
                    .saturating_add(u32::from(digit - b'0'))
            });
            Some((number, rest))
        }
    }
}

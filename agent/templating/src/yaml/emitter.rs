//! YAML text in block style, with the line breaks and quotes of libyaml.

mod scalars;
mod style;

use self::style::{Analysis, Style};
use crate::context::Context;
use crate::failure::Result;
use crate::output::Output;
use crate::value::Text;

/// How much deeper a mapping is than what it is in.
const INDENT: usize = 2;
/// The column behind which a blank becomes a line break.
const WIDTH: usize = 80;
/// The longest key, in bytes, that needs no `?`.
const SIMPLE_KEY: usize = 128;

/// Where a node stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Root,
    /// Behind `-`.
    Item,
    /// A key, or what belongs to one.
    Entry,
}

/// What a scalar without quotes may be taken for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain {
    /// The scalar is a number, a word or a string that reads as itself.
    Fits,
    /// It is a string that would read as something else.
    Misleads,
}

/// Writes one document.
#[derive(Default)]
pub(super) struct Emitter {
    out: Output,
    /// Characters in the line so far.
    column: usize,
    /// The column of the block that is being written; none outside any.
    indent: Option<usize>,
    /// Whether a blank or the beginning of a line was written last.
    after_space: bool,
    /// Whether the line has nothing but indentation and indicators so far.
    in_indentation: bool,
}

/// What [`Emitter::leave`] goes back to.
pub(super) struct Outer(Option<usize>);

// === impl Emitter ===

impl Emitter {
    pub(super) fn new() -> Self {
        Self {
            after_space: true,
            in_indentation: true,
            ..Self::default()
        }
    }

    /// The text, without the line break at its end.
    pub(super) fn finish(mut self, cx: &mut Context) -> Result<Text> {
        self.line(cx)?;
        self.out.into_text_without(cx, b"\n")
    }

    /// Begins a mapping that has entries.
    pub(super) fn enter_mapping(&mut self) -> Outer {
        let outer = Outer(self.indent);
        self.indent = Some(self.indent.map_or(0, |indent| indent + INDENT));
        outer
    }

    /// Begins a sequence that has items. Behind a key it is as far left as that.
    pub(super) fn enter_sequence(&mut self, place: Place) -> Outer {
        let outer = Outer(self.indent);
        let indentless = place == Place::Entry && !self.in_indentation;
        self.indent = match self.indent {
            None => Some(0),
            same if indentless => same,
            Some(indent) => Some(indent + INDENT),
        };
        outer
    }

    pub(super) fn leave(&mut self, outer: Outer) {
        self.indent = outer.0;
    }

    /// What stands before an item of a sequence.
    pub(super) fn item(&mut self, cx: &mut Context) -> Result<()> {
        self.line(cx)?;
        self.indicator(cx, b"-", true, false, true)
    }

    /// A key and the `:` behind it.
    pub(super) fn key(&mut self, cx: &mut Context, key: &[u8], plain: Plain) -> Result<()> {
        self.line(cx)?;
        let analysis = Analysis::new(key);
        if !analysis.multiline && key.len() <= SIMPLE_KEY {
            self.analysed(cx, key, &analysis, plain, true)?;
            return self.indicator(cx, b":", false, false, false);
        }
        self.indicator(cx, b"?", true, false, true)?;
        self.analysed(cx, key, &analysis, plain, false)?;
        self.line(cx)?;
        self.indicator(cx, b":", true, false, true)
    }

    /// `[]` or `{}`.
    pub(super) fn empty(&mut self, cx: &mut Context, brackets: &[u8; 2]) -> Result<()> {
        let [open, close] = brackets;
        self.indicator(cx, &[*open], true, true, false)?;
        self.indicator(cx, &[*close], false, false, false)
    }

    /// A scalar that is no key.
    pub(super) fn scalar(&mut self, cx: &mut Context, value: &[u8], plain: Plain) -> Result<()> {
        self.analysed(cx, value, &Analysis::new(value), plain, false)
    }

    fn analysed(
        &mut self,
        cx: &mut Context,
        value: &[u8],
        analysis: &Analysis,
        plain: Plain,
        simple_key: bool,
    ) -> Result<()> {
        let outer = self.indent;
        self.indent = Some(outer.map_or(INDENT, |indent| indent + INDENT));
        let may_break = !simple_key;
        match Style::choose(value, analysis, plain, simple_key) {
            Style::Plain => self.plain(cx, value, may_break),
            Style::Single => self.single_quoted(cx, value, may_break),
            Style::Double => self.double_quoted(cx, value, may_break),
            Style::Literal => self.literal(cx, value),
        }?;
        self.indent = outer;
        Ok(())
    }

    /// Begins a new line at the indentation, unless this one is there and has nothing else.
    fn line(&mut self, cx: &mut Context) -> Result<()> {
        let indent = self.indent.unwrap_or(0);
        let is_there = self.column < indent || (self.column == indent && self.after_space);
        if !self.in_indentation || !is_there {
            self.line_break(cx)?;
        }
        let missing = indent.saturating_sub(self.column);
        self.out.fill(cx, b' ', missing)?;
        self.column += missing;
        self.after_space = true;
        self.in_indentation = true;
        Ok(())
    }

    fn line_break(&mut self, cx: &mut Context) -> Result<()> {
        self.out.write(cx, b"\n")?;
        self.column = 0;
        Ok(())
    }

    /// Writes a character or several of one byte each.
    fn put(&mut self, cx: &mut Context, ascii: &[u8]) -> Result<()> {
        self.out.write(cx, ascii)?;
        self.column += ascii.len();
        Ok(())
    }

    fn indicator(
        &mut self,
        cx: &mut Context,
        indicator: &[u8],
        needs_space: bool,
        is_space: bool,
        is_indentation: bool,
    ) -> Result<()> {
        if needs_space && !self.after_space {
            self.put(cx, b" ")?;
        }
        self.put(cx, indicator)?;
        self.after_space = is_space;
        self.in_indentation &= is_indentation;
        Ok(())
    }
}

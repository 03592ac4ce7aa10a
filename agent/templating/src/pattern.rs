//! Regular expressions: Go's `regexp`.
//!
//! A template compiles a pattern for one short text and throws it away. The `regex` crate is made for the opposite and takes ten
//! times as long as Go to compile; it also differs in syntax, in error texts and in what it makes of bytes that are not UTF-8. So
//! this is a small engine of its own over runes, with Go's rules: leftmost match, first alternative, linear time.
//!
//! ```text
//! text ─> parse (brackets, escape, class) ─> tree ─> compile ─> program ─> backtrack   short texts
//!                                                            └─> threads     long ones
//! ```
//!
//! Every step pays: a pattern's program may take [`crate::limits::Limits::pattern`] bytes, a search costs steps by the states it
//! visits, of which there are at most as many as program times text.

mod backtrack;
mod brackets;
mod class;
mod compile;
mod escape;
mod parse;
mod program;
mod replace;
mod search;
mod threads;
mod tree;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::rc::Rc;

use crate::context::Context;
use crate::failure::Failure;
use crate::value::Text;

pub(crate) use self::replace::Replacement;
pub(crate) use self::search::Search;

use self::program::Program;

/// A compiled pattern.
pub(crate) struct Pattern {
    program: Program,
    /// The names of the groups, from the whole match on; empty for one without.
    names: Vec<Vec<u8>>,
}

/// Why there is no pattern.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The text is none: Go's words.
    Syntax(String),
    /// A limit of the render.
    Failure(Failure),
}

/// A syntax error: Go's word for it and the part of the pattern that is wrong.
#[derive(Debug, PartialEq, Eq)]
struct Mistake {
    code: &'static str,
    part: Vec<u8>,
}

/// The patterns that a render used last: a loop compiles its pattern once.
#[derive(Default)]
pub(crate) struct Cache(VecDeque<(Text, Rc<Pattern>)>);

/// How many patterns are kept.
const KEPT: usize = 8;

// === impl Pattern ===

impl Pattern {
    /// `regexp.Compile`.
    ///
    /// # Errors
    ///
    /// Where `text` is no pattern, and where the program takes more than the render's limit.
    pub(crate) fn new(cx: &mut Context, text: &[u8]) -> Result<Self, Trouble> {
        let mut tree = parse::parse(cx, text)?;
        let program = compile::compile(cx, &mut tree)?;
        Ok(Self {
            program,
            names: tree.names,
        })
    }

    /// How many groups there are, the whole match included.
    fn groups(&self) -> usize {
        self.names.len()
    }
}

// === impl Cache ===

impl Cache {
    pub(crate) fn get(&self, text: &Text) -> Option<Rc<Pattern>> {
        let mut patterns = self.0.iter();
        let (_, pattern) = patterns.find(|(known, _)| known == text)?;
        Some(Rc::clone(pattern))
    }

    /// Keeps a pattern, and drops the oldest if there are too many.
    pub(crate) fn add(&mut self, text: Text, pattern: Rc<Pattern>) {
        self.0.truncate(KEPT - 1);
        self.0.push_front((text, pattern));
    }
}

// === impl Trouble ===

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Mistake> for Trouble {
    fn from(mistake: Mistake) -> Self {
        let part = String::from_utf8_lossy(&mistake.part);
        let code = mistake.code;
        Self::Syntax(format!("error parsing regexp: {code}: `{part}`"))
    }
}

// === impl Mistake ===

impl Mistake {
    fn new(code: &'static str, part: &[u8]) -> Self {
        Self {
            code,
            part: part.to_vec(),
        }
    }
}

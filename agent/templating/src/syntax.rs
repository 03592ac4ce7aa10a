//! From a template's text to its tree.

pub(crate) mod ast;

mod lexer;
mod number;
mod parser;
mod print;
mod quoted;
mod token;

pub(crate) use print::Shown;

use crate::error::ParseError;
use crate::limits::Limits;
use crate::template::Delimiters;

/// Stack that must be left before a nested step, in bytes.
const RED_ZONE: usize = 128 << 10;
/// Stack that is added when less is left, in bytes.
const STACK: usize = 1 << 20;

/// Parses `text`; `name` is the template's.
pub(crate) fn parse(
    name: &str,
    text: &[u8],
    delimiters: &Delimiters,
    limits: &Limits,
) -> Result<ast::Forest, ParseError> {
    parser::parse(name, text, delimiters, limits)
}

/// Runs one level of a recursion over the tree, on more stack if need be.
fn on_enough_stack<T>(step: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(RED_ZONE, STACK, step)
}

#[cfg(test)]
mod tests;

//! From a template's text to its tree.

pub(crate) mod ast;

mod print;

use crate::error::ParseError;
use crate::limits::Limits;
use crate::template::Delimiters;

/// Stack that must be left before a nested step, in bytes.
const RED_ZONE: usize = 128 << 10;
/// Stack that is added when less is left, in bytes.
const STACK: usize = 1 << 20;

/// Parses `text`; `name` is the template's.
pub(crate) fn parse(
    _name: &str,
    _text: &[u8],
    _delimiters: &Delimiters,
    _limits: &Limits,
) -> Result<ast::Forest, ParseError> {
    unimplemented!()
}

/// Runs one level of a recursion over the tree, on more stack if need be.
fn on_enough_stack<T>(step: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(RED_ZONE, STACK, step)
}

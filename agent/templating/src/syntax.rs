//! From a template's text to its tree.

pub(crate) mod ast;

use crate::error::ParseError;
use crate::limits::Limits;
use crate::template::Delimiters;

/// Parses `text`; `name` is the template's.
pub(crate) fn parse(
    _name: &str,
    _text: &[u8],
    _delimiters: &Delimiters,
    _limits: &Limits,
) -> Result<ast::Forest, ParseError> {
    unimplemented!()
}

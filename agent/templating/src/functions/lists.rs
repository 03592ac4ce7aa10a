//! Lists and what they hold. A list of any type is taken; results are lists of any values.

pub(super) mod choice;

pub(super) mod ends;
pub(super) mod select;
#[cfg(test)]
mod tests;

use crate::failure::{Failure, Result};
use crate::value::{List, Value};

/// The list that a function was given. Anything else fails with `words` and the kind of it.
fn list_or<'a>(value: &'a Value, words: &str) -> Result<&'a List> {
    match value {
        Value::List(list) => Ok(list),
        Value::Nil => Err(Failure::nil_pointer()),
        other => Err(Failure::plain(format!("{words} {}", other.kind_name()))),
    }
}

//! JSON text of values and back, as Go's `encoding/json` has it.

mod read;
mod write;

pub(crate) use self::read::read;
pub(crate) use self::write::{Style, float, write};

#[cfg(test)]
mod tests;

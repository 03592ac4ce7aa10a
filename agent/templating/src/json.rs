//! JSON text of values and back, as Go's `encoding/json` has it.

mod read;
mod write;

pub(crate) use self::read::{First, Member, read, read_first};
pub(crate) use self::write::{Style, float, write};

#[cfg(test)]
mod tests;

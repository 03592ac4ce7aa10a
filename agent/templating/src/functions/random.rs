//! Random values, from the operating system's generator.

use super::Function;

pub(super) const FUNCTIONS: &[Function] = &[];

//! Regular expressions in RE2 syntax.

use super::Function;

pub(super) const FUNCTIONS: &[Function] = &[];

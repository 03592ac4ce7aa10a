//! JSON Web Keys.

use super::Function;

pub(super) const FUNCTIONS: &[Function] = &[];

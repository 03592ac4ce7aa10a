//! YAML 1.1.

use super::Function;

pub(super) const FUNCTIONS: &[Function] = &[];

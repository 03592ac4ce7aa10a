//! PEM blocks and chains.

use super::Function;

pub(super) const FUNCTIONS: &[Function] = &[];

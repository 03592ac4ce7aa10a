//! X.509 certificates that a template makes.

use super::Function;

pub(super) const FUNCTIONS: &[Function] = &[];

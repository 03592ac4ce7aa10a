//! Base64, base32, hex and digests.

use super::Function;

pub(super) const FUNCTIONS: &[Function] = &[];

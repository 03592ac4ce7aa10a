//! PKCS#12 files.

use super::Function;

pub(super) const FUNCTIONS: &[Function] = &[];

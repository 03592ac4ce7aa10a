//! Passwords, ciphers and keys.

use super::Function;

pub(super) const FUNCTIONS: &[Function] = &[];

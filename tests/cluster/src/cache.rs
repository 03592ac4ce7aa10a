//! Where build outputs live: outside the checkout, shared by all checkouts of a user.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// The cache folder: `LATCHKEY_CACHE`, else `$XDG_CACHE_HOME/latchkey`, else `~/.cache/latchkey`.
///
/// # Errors
/// When none of the three is set to something usable.
pub fn folder() -> Result<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("LATCHKEY_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|home| home.join("latchkey")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/latchkey")))
        .context("no cache folder: set LATCHKEY_CACHE")
}

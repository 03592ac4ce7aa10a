//! Semantic versions as `github.com/Masterminds/semver` v3 has them.

/// A version.
pub(crate) struct Version {}

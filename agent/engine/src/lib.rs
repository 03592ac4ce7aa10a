//! An ExternalSecret and a way to reach providers become the data to deliver.
//!
//! The engine has no Kubernetes client, no network and no clock: it asks a [`source::Source`] for values, decodes them, converts
//! and checks keys, and hands back one map. Every delivery calls it, so a volume and a Secret always show the same bytes.
//!
//! ```text
//! spec ──> resolve ──> Source (dataFrom in order, then data) ──> keys ──> decode ──> null bytes ──> SecretData
//!            └── unsupported: the first field that is not honoured yet, so that nothing is silently ignored
//! ```
//!
//! [`hash`] holds the digests that deliveries write down to recognise their own work.

pub mod decode;
pub mod hash;
pub mod keys;
pub mod resolve;
pub mod source;
pub mod unsupported;

pub use resolve::{Resolution, ResolveError, resolve};

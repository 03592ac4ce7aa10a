//! An ExternalSecret and a way to reach providers become the data to deliver.
//!
//! The engine has no Kubernetes client, no network and no clock: it asks a [`source::Source`] for values, decodes them, rewrites,
//! converts and checks keys, and hands back one map, of which a [`template::Renderer`] makes what a target holds. Every delivery
//! calls both, so a volume and a Secret always show the same bytes.
//!
//! ```text
//! spec ──> resolve ──> Source (dataFrom in order, then data) ──> rewrite or convert keys ──> decode ──> null bytes
//!                └─> generators, last and one by one ──> rewrite keys               │
//!                                                                SecretData <───────────┘
//!                                                                    └──> template ──> Rendered: data, labels, annotations
//! ```
//!
//! [`hash`] holds the digests that deliveries write down to recognise their own work.

pub mod decode;
pub mod hash;
pub mod keys;
pub mod resolve;
mod rewrite;
pub mod source;
pub mod template;

pub use latchkey_templating::tree;
pub use resolve::{Available, Resolution, ResolveError, resolve, resolve_available};
pub use rewrite::{MergeError, RewriteError};

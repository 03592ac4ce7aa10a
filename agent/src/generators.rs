//! Generators: values that a provider makes anew for each sync (`externalsecret.md` 7, pushsecret-and-stores.md B6).
//!
//! A Generator or ClusterGenerator is read and checked like a store ([`crate::stores`]); what differs is here:
//!
//! - [`key_of`]: which generator a reference means, and which references are none;
//! - `calls`: one Generate per entry and sync, never repeated, and the revocation by snapshot;
//! - [`snapshot`]: a generator as it is kept for its revocation;
//! - [`Recording`]: what was made in one sync;
//! - [`states`]: GeneratorStates, which outlive the sync, and their end.
//!
//! Only the agent that syncs an object has values made for it. Volumes refuse generators: each node would get values of its own.

mod calls;
mod recording;
mod reference;
pub mod snapshot;
pub mod states;

pub use recording::{Made, Recording};
pub use reference::key_of;

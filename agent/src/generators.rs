//! Generators: values that a provider makes anew for each sync (`externalsecret.md` 7, pushsecret-and-stores.md B6).
//!
//! A Generator or ClusterGenerator is read and checked like a store ([`crate::stores`]); what differs is here:
//!
//! - [`key_of`]: which generator a reference means, and which references are none;
//! - `calls`: one Generate per entry and sync, never repeated, and the revocation by snapshot;
//! - [`snapshot`]: a generator as it is kept for its revocation;
//! - [`Recording`]: what was made in one sync;
//! - [`states`]: GeneratorStates, which outlive the sync, and their end;
//! - [`journal`]: the same for volumes, on the disk of their node.
//!
//! For a Secret the agent alone that syncs it has values made. For volumes each node has its own made, once for all of its volumes
//! (`crate::volumes`).

mod calls;
pub mod journal;
mod recording;
mod reference;
pub mod snapshot;
pub mod states;

pub use recording::{Made, Recording};
pub use reference::key_of;

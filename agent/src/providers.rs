//! Calls to providers: one connection per address and identity, deadlines, retries, a breaker, and errors fit for a condition.
//!
//! [`ProviderSource`] is the way of the engine to its values. A fetch goes through the rules of [`crate::stores`] first, then
//! finds the [`Identities`] to show, takes the connection out of the [`Pool`], and makes the call as a [`Client`] (wire:
//! provider-protocol.md 1; behaviour: 4 to 6).
//!
//! RBAC of the role `sync`: `get` on Secrets (clients' certificates of stores, upstream's shared one), `get`, `list`, `watch` on
//! the one Secret with the agent's own identity, and `create` on `serviceaccounts/token` of the accounts that the administrator
//! lists, for stores with `auth.serviceAccountRef` ([`Tokens`]). The role `node` needs none: its identities are mounted files, it mints
//! no tokens, and those of pods ([`PodTokens`]) come from kubelet.

mod answers;
mod breaker;
mod client;
mod error;
mod identities;
mod metrics;
mod own;
mod pods;
mod pool;
mod retry;
mod source;
mod text;
mod tokens;

#[cfg(test)]
mod tests;

pub use answers::{Capability, Health, Validation};
pub use breaker::{BreakerState, FAILURES_TO_OPEN, OPEN_TIME};
pub use client::Client;
pub use error::{CallError, Cause, Method};
pub use identities::{Identities, IdentityProblem};
pub use metrics::ProviderMetrics;
pub use own::OwnIdentity;
pub use pods::{NoProof, PodTokens, PodVolume};
pub use pool::{Pool, PoolSettings};
pub use retry::RetryPolicy;
pub use source::{ProviderSource, Providers, Unreachable};
pub(crate) use text::sanitise;
pub use tokens::{TokenProblem, Tokens};

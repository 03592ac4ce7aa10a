//! Secret stores and generators: one internal model, the rules for using one, and where it is read from.
//!
//! SecretStore and ClusterSecretStore of `secretstore.external-secrets.io/v2alpha1`, Generator and ClusterGenerator of
//! `generator.external-secrets.io/v2alpha1` become one [`Store`]. Before anything is
//! asked of a provider, these questions are answered in this order, each in its own module and without I/O:
//!
//! 1. [`Policy::manages`]: is it ours (`spec.controller`)?
//! 2. [`conditions`]: may the caller's namespace use it (externalsecret.md 2.14)?
//! 3. [`Policy::check`]: can it be used at all: address, host, namespaces, unsupported fields?
//! 4. [`Policy::gate`]: is it ready (pushsecret-and-stores.md B4)?
//! 5. [`wire`]: which namespaces and which kind travel to the provider (provider-protocol.md 9.3)?
//!
//! [`StoreReader`] reads stores: [`CachedReader`] from a [`StoreCache`] of all of them for the role `sync`, and what that does not know
//! through GETs; [`WatchReader`] through watches of single objects by name for the role `node`, so that a node knows only the stores
//! in use on it. [`objects`] follows what stores name. [`validation`] writes their status.
//!
//! RBAC: `get`, `list` and `watch` on `secretstores`, `clustersecretstores`, `generators`, `clustergenerators` and `namespaces`;
//! a [`WatchReader`] needs no `get`. The role `sync` also needs
//! `list` and `watch` on the kinds of providers, for their metadata.

mod accounts;
mod cache;
mod callers;
pub mod conditions;
mod hosts;
mod model;
pub mod objects;
mod policy;
mod reader;
pub mod validation;
mod watching;
pub mod wire;

pub use accounts::TokenSource;
pub use cache::{CachedReader, StoreCache};
pub use callers::{CALLER_AUDIENCE, CALLER_IDENTITY, CallerAnnotations};
pub use hosts::AllowedHosts;
#[cfg(test)]
pub(crate) use model::fixtures;
pub use model::{Store, StoreKey};
pub use policy::{CertificateSource, Policy, RetryOverride, Unusable, Usable};
pub use reader::{ApiReader, ReadError, StoreReader, unreachable};
pub use watching::{WatchReader, WatchSettings};

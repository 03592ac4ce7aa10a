//! Validation of stores and generators: the one place that asks providers about them and writes their status.
//!
//! Run by the elected leader of the role `sync` alone (provider-protocol.md 10). `ladder` asks and judges; `controller`
//! watches all four kinds, writes what changed and decides when to ask again: at the store's interval, and at once when the store, the
//! object that it names, the agent's identity or a breaker changes (`pushsecret-and-stores.md` B2).
//!
//! | kind | verbs |
//! |---|---|
//! | `secretstores`, `clustersecretstores`, `generators`, `clustergenerators` | get, list, watch |
//! | their `status` | patch |
//! | kinds of providers; metadata | list, watch |
//! | `events.events.k8s.io` | create, patch |

mod controller;
mod decide;
mod kinds;
mod ladder;
mod metrics;

pub use controller::{Settings, Validator};
pub use ladder::{Finding, examine};
pub use metrics::StoreMetrics;

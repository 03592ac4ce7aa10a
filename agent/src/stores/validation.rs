//! Validation of stores and generators: the one place that asks providers about them and writes their status.
//!
//! Run by the elected leader of the role `sync` alone (provider-protocol.md 10). `ladder` asks and judges; `controller`
//! watches all four kinds, writes what changed and decides when to ask again.
//!
//! | kind | verbs |
//! |---|---|
//! | `secretstores`, `clustersecretstores`, `generators`, `clustergenerators` | get, list, watch |
//! | their `status` | patch |
//! | `events.events.k8s.io` | create, patch |

mod controller;
mod decide;
mod ladder;
mod metrics;

pub use controller::{Settings, Validator};
pub use ladder::{Finding, examine};
pub use metrics::StoreMetrics;

//! ExternalSecrets while something fails: the API server refuses, vanishes and forgets, the provider dies and throttles, a node is
//! lost. Afterwards every Secret is right, and was written as often as its value changed and not once more.
//!
//! Nothing here imitates Kubernetes. The API server refuses because an admission webhook, its own flow control or its own check
//! of versions says so; it restarts because it is killed. Writes are counted in etcd, where each key carries their number, and in
//! the audit log, which names who asked.

#[path = "sync_faults/admission.rs"]
mod admission;
#[path = "sync_faults/agents.rs"]
mod agents;
#[path = "sync_faults/conflicts.rs"]
mod conflicts;
#[path = "sync_faults/nodes.rs"]
mod nodes;
#[path = "sync_faults/pipe.rs"]
mod pipe;
#[path = "sync_faults/provider.rs"]
mod provider;
#[path = "sync_faults/providers.rs"]
mod providers;
#[path = "sync_faults/restarts.rs"]
mod restarts;
#[path = "sync_faults/tally.rs"]
mod tally;
#[path = "sync_faults/throttling.rs"]
mod throttling;
#[path = "sync_faults/world.rs"]
mod world;

/// The service account of an agent that is alone.
const AGENT: &str = "agent";

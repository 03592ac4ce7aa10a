//! The node path on the real kubelet: ExternalSecrets as files in pods, with the agent from its chart on two nodes and the
//! provider `fake`. Tests cite the scenarios of cluster.md 7 by their numbers, and the rows of csi-peers.md by their identifiers.

mod attributes;
mod charts;
mod citations;
mod crowd;
mod disturbances;
mod election;
mod failures;
mod faults;
mod identity;
mod kills;
mod mounts;
mod namespaced;
mod nodes;
mod operations;
mod outages;
mod peers;
mod pods;
mod roots;
mod support;
mod templates;
mod vault;

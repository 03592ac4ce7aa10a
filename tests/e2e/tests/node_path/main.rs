//! The node path on the real kubelet: ExternalSecrets as files in pods, with the agent from its chart on two nodes and the
//! provider `fake`. Numbers are those of the scenarios that the rig must serve.

mod attributes;
mod charts;
mod disturbances;
mod election;
mod faults;
mod mounts;
mod operations;
mod support;
mod templates;

//! `latchkey files` as a process beside a real provider server, on a machine without Kubernetes: nothing here talks to an API
//! server.

mod delivery;
mod faults;
mod rig;
mod settings;
mod vault;

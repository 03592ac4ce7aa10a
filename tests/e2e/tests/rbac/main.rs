//! What the charts' service accounts may do, and the agent with Roles only, on a real API server.
//!
//! The expectations are the tables of `docs/rbac.md`.

mod account;
mod agent;
mod judge;
mod matrix;
mod missing;
mod namespaced;
mod rendered;
mod table;
mod world;

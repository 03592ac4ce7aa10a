//! The Latchkey node agent.

pub mod admin;
pub mod api_server;
pub mod args;
pub mod certificates;
pub mod cli;
pub mod cluster_external_secrets;
mod complaints;
#[cfg(test)]
#[path = "../../tests/documented.rs"]
mod documented;
#[cfg(test)]
mod exposition;
pub mod files;
pub mod generators;
pub mod leader;
pub mod logging;
pub mod namespaces;
mod object_labels;
pub mod passes;
pub mod providers;
pub mod runtime;
pub mod schedule;
pub mod shards;
mod stable_hash;
pub mod stores;
pub mod sync;
pub mod templates;
pub mod volumes;

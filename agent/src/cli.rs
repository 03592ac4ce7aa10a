//! Commands for the terminal. They need no cluster.

pub mod conformance;
pub mod template;

//! Commands for the terminal. They ask no API server.

pub mod conformance;
pub mod node;
pub mod template;

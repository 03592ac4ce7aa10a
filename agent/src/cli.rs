//! Commands for the terminal. They need no cluster.

pub mod template;

//! Runs a tree.

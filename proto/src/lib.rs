//! The wire contracts and their generated types.

//! Mutual TLS for both ends of a provider contract.

//! The contract of a provider server, held by the built `provider-fake` against a real API server, over mutual TLS.
//!
//! `PC-nn` are the lines of provider-protocol.md 15 and `P-nn` those of providers.md 15. Where a line also binds upstream's
//! server, which answers UNKNOWN to everything but a missing secret, this project's servers answer with the code of
//! providers.md 2.5 and the same text (P-ERR-3).

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests may")]

mod contract;
mod control;
mod idle;
mod process;
mod reads;
mod requests;
mod rig;
mod suite;
mod writes;

/// The server that the rig starts.
mod served {
    /// Its name: the program is `provider-<name>`.
    pub(crate) const NAME: &str = "fake";
    /// Group of its kinds.
    pub(crate) const GROUP: &str = "provider.secretstore.external-secrets.io";
    /// Their plurals.
    pub(crate) const RESOURCES: &[&str] = &["fakes"];
    /// Its own arguments; `{port}` is a free port.
    pub(crate) const ARGUMENTS: &[&str] =
        &["--enable-control", "--control-address=127.0.0.1:{port}"];
}

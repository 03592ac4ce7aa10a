//! A provider server on real sockets, with real certificates.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests may")]

mod calls;
#[path = "../../../../tests/documented.rs"]
mod documented;
mod life;
mod pki;
mod requests;
mod rig;

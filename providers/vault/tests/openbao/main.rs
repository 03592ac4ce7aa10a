//! The backend against a real OpenBao, which speaks Vault's protocol.
//!
//! Needs the binary that `tests/tools/openbao.sh` puts into the tool cache (or `LATCHKEY_BAO`); without it the tests fail with
//! one line that says so. Most tests share one server; those that seal it or need TLS start their own.
//!
//! Logins are exercised without a cluster: OpenBao's `jwt` method takes the same request as its `kubernetes` method, so a
//! `jwt` method mounted at `kubernetes` stands for it. What only a cluster shows (token review, audiences) is tested end to end.

#![expect(
    clippy::unwrap_used,
    reason = "helpers outside of test functions fail the test the same way"
)]

mod callers;
mod faults;
mod hygiene;
mod login;
mod reads;
mod server;
mod store;
mod tls;
mod validate;

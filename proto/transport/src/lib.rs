//! Mutual TLS for both ends of a provider contract.
//!
//! Agent and provider trust exactly one certificate authority (or an overlap of two while it is being replaced) and present a
//! certificate each. There is no plaintext, no system trust store and no way to skip a check (provider-protocol.md 8).
//!
//! - [`Identity`]: authority, certificate chain and key, checked once and never printed.
//! - [`SharedIdentity`]: an identity that is replaced while connections are open: new handshakes use the new one.
//!   [`follow_directory`] keeps it equal to mounted files.
//! - [`Incoming`]: the server's end, a stream for `tonic`'s `serve_with_incoming`.
//! - [`Connection`]: the client's end, a `tonic` channel with its own connector.
//!
//! ```no_run
//! # async fn example(identity: latchkey_transport::SharedIdentity) -> Result<(), Box<dyn std::error::Error>> {
//! use latchkey_transport::{Address, ClientOptions, Connection};
//!
//! let address: Address = "provider-bao.secrets.svc:8080".parse()?;
//! let connection = Connection::open(&address, identity, &ClientOptions::default())?;
//! let mut client = connection.store_client();
//! # let _ = &mut client; Ok(()) }
//! ```

mod address;
mod client;
mod error;
mod follow;
mod identity;
mod server;

pub use address::{Address, AddressError};
pub use client::{ClientOptions, Connection, MAX_MESSAGE_BYTES, OpenError};
pub use error::{CertificateProblem, ConnectError, Step};
pub use follow::{FollowOptions, follow_directory, wait_for_directory};
pub use identity::{
    Expiry, FileNames, Fingerprint, Identity, IdentityError, ReloadCounts, SharedIdentity,
};
pub use server::{CountsReader, Incoming, ServerCounts, ServerOptions};

/// The one protocol that is negotiated (RFC 9113 3.2).
const ALPN_H2: &[u8] = b"h2";

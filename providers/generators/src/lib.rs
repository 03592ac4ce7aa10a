//! The provider server that makes values without any backend: Password, UUID and Fake of
//! `provider.generator.external-secrets.io/v2alpha1` (generators.md 2).
//!
//! Everything random comes from the operating system ([`random`]), and what it was made in is wiped.

pub mod encoding;
pub mod password;
pub mod provider;
pub mod random;
pub mod uuid;

use latchkey_provider_sdk::{ServerArgs, ServerError, run_server};

pub use provider::Generators;

/// The provider server that makes values.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "provider-generators", version)]
pub struct Args {
    /// What all provider servers have.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Runs the server until it is told to stop.
///
/// # Errors
///
/// [`ServerError`] says which part could not start, or ended.
pub fn run(args: Args) -> Result<(), ServerError> {
    run_server(
        "provider-generators",
        env!("CARGO_PKG_VERSION"),
        args.server,
        |context| Generators::new(context.cluster.clone()),
    )
}

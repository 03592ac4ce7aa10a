//! The Fake provider server: values from its own resource, for tests, benchmarks and demos.
//!
//! `provider.secretstore.external-secrets.io/v2alpha1 Fake` holds the values in clear and, under `spec.simulation`, the
//! troubles that a real backend would make. Pushed values live in the memory of one process: run one replica.
//!
//! The provider is also a library: [`FakeProvider::fixed`] serves resources given as structs, without Kubernetes.

pub mod payload;
pub mod provider;
pub mod resources;
pub mod simulation;
pub mod values;

use latchkey_provider_sdk::{ServerArgs, ServerError, run_server};

pub use provider::FakeProvider;
pub use resources::{FixedResources, Resources};

/// The Fake provider server.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "provider-fake", version)]
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
        "provider-fake",
        env!("CARGO_PKG_VERSION"),
        args.server,
        |context| FakeProvider::new(context.cluster.clone()),
    )
}

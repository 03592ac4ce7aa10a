//! The Fake provider server: values from its own resource, for tests, benchmarks and demos.
//!
//! `provider.secretstore.external-secrets.io/v2alpha1 Fake` holds the values in clear and, under `spec.simulation`, the
//! troubles that a real backend would make. Pushed values live in the memory of one process: run one replica.
//!
//! With `--enable-control` tests steer and watch a running server through [`control`].
//!
//! The provider is also a library: [`FakeProvider::fixed`] serves resources given as structs, without Kubernetes.

pub mod control;
pub mod overlay;
pub mod payload;
pub mod provider;
pub mod resources;
pub mod simulation;
pub mod values;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use latchkey_provider_sdk::{ServerArgs, ServerError, run_server};
use tokio_util::sync::CancellationToken;

pub use overlay::Overlays;
pub use provider::FakeProvider;
pub use resources::{FixedResources, Resources};

/// The Fake provider server.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "provider-fake", version)]
pub struct Args {
    /// What all provider servers have.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Serve `fake.v1.Control`, which changes values and shows requests. For tests: there is no access control
    #[arg(long)]
    pub enable_control: bool,
    /// Loopback address of the control service
    #[arg(long, default_value = "127.0.0.1:8082")]
    pub control_address: SocketAddr,
}

/// Runs the server until it is told to stop.
///
/// # Errors
///
/// [`ServerError`] says which part could not start, or ended.
pub fn run(args: Args) -> Result<(), ServerError> {
    let control = match args.enable_control {
        true => Some(control::bind(args.control_address)?),
        false => None,
    };
    run_server(
        "provider-fake",
        env!("CARGO_PKG_VERSION"),
        args.server,
        |context| {
            let provider = FakeProvider::new(context.cluster.clone());
            match control {
                Some(listener) => provider.with_overlays(start_control(listener, &context.stop)),
                None => provider,
            }
        },
    )
}

/// Serves the control service beside the provider until `stop`. Its end ends the process.
fn start_control(listener: TcpListener, stop: &CancellationToken) -> Arc<Overlays> {
    let overlays = Arc::new(Overlays::default());
    let (served, stop) = (overlays.clone(), stop.clone());
    tokio::spawn(async move {
        if let Err(error) = control::serve(listener, served, stop.cancelled()).await {
            tracing::error!(%error, "the control service ended");
        }
        stop.cancel();
    });
    overlays
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::Args;

    #[test]
    fn control_is_off_by_default() {
        assert!(!Args::parse_from(["provider-fake"]).enable_control);
    }
}

//! Wires the roles of the agent together and owns their life.
//!
//! Everything is started here and joined here: a part that ends although it should live ends the process with a reason, and a
//! signal ends all parts within [`DRAIN`].

use std::net::SocketAddr;
use std::time::Duration;

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admin::{self, Health, Scope};
use crate::args::{AgentArgs, Role};
use crate::leader;

/// How long parts may take to end after a signal. The chart gives the pod 10 s.
pub const DRAIN: Duration = Duration::from_secs(8);

/// Why the agent ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong; starting again does not help.
    #[error("{0}")]
    Configuration(String),
    /// Health and metrics cannot be served.
    #[error(transparent)]
    Admin(#[from] admin::Error),
    /// There is no way to the API server.
    #[error("failed to set up the connection to the API server: {0}")]
    Client(String),
    /// A part that must live ended.
    #[error("{part} ended: {reason}")]
    Ended {
        /// Name of the part.
        part: &'static str,
        /// Its own error.
        reason: String,
    },
}

// === impl Error ===

impl Error {
    /// Whether someone must change the configuration.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Configuration(_))
    }
}

/// The parts that run. A part returns an error in words, or ends well only after `stop`.
struct Parts {
    stop: CancellationToken,
    running: JoinSet<(&'static str, Result<(), String>)>,
}

// === impl Parts ===

impl Parts {
    fn spawn(
        &mut self,
        name: &'static str,
        part: impl Future<Output = Result<(), String>> + Send + 'static,
    ) {
        self.running.spawn(async move { (name, part.await) });
    }

    /// Waits for the signal or for the first part that ends, then for all others within the deadline.
    async fn join(mut self) -> Result<(), Error> {
        let first = tokio::select! {
            () = self.stop.cancelled() => None,
            ended = self.running.join_next() => ended,
        };
        let mut result = first.map_or(Ok(()), |ended| Err(ended_early(ended)));
        let signalled = result.is_ok();
        self.stop.cancel();
        let drained = tokio::time::timeout(DRAIN, async {
            while let Some(ended) = self.running.join_next().await {
                match ended {
                    Ok((_, Ok(()))) => {}
                    other if signalled => result = Err(ended_early(other)),
                    _ => {}
                }
            }
        });
        if drained.await.is_err() {
            warn!("not everything ended within {} s", DRAIN.as_secs());
        }
        result
    }
}

fn ended_early(ended: Result<(&'static str, Result<(), String>), JoinError>) -> Error {
    match ended {
        Ok((part, Ok(()))) => Error::Ended {
            part,
            reason: String::from("it had nothing left to do"),
        },
        Ok((part, Err(reason))) => Error::Ended { part, reason },
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Error::Ended {
            part: "a task",
            reason: String::from("it was aborted"),
        },
    }
}

/// Runs the agent until `stop` is cancelled or a part fails.
///
/// # Errors
///
/// [`Error`] says which part failed.
pub async fn run(args: AgentArgs, stop: CancellationToken) -> Result<(), Error> {
    let roles = args.roles.clone();
    let AgentArgs { admin_address, .. } = args;
    let mut registry = Registry::default();
    let health = Health::default();
    registry.register(
        "latchkey_build",
        "Version of this agent",
        Info::new([("version", env!("CARGO_PKG_VERSION"))]),
    );
    let leader_metrics = leader::Metrics::default();
    if roles.contains(&Role::Sync) {
        leader_metrics.register(&mut registry);
    }
    let ready = health.register(Scope::Ready, "agent");
    let mut parts = Parts {
        stop: stop.clone(),
        running: JoinSet::new(),
    };
    start_admin(&mut parts, admin_address, health, registry).await?;
    ready.ok();
    info!(?roles, version = env!("CARGO_PKG_VERSION"), "agent started");
    parts.join().await
}

async fn start_admin(
    parts: &mut Parts,
    address: SocketAddr,
    health: Health,
    registry: Registry,
) -> Result<(), Error> {
    let server = admin::Server::bind(address, health, registry).await?;
    let stop = parts.stop.clone();
    parts.spawn("the admin server", async move {
        server.serve(stop).await.map_err(|error| error.to_string())
    });
    Ok(())
}

//! Wires the roles of the agent together and owns their life.
//!
//! Everything is started here and joined here: a part that ends although it should live ends the process with a reason, and a
//! signal ends all parts within [`DRAIN`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admin::{self, Health, Scope};
use crate::args::{AgentArgs, CertificateMode, Role};
use crate::certificates;
use crate::leader::{self, Election};

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
        let mut result = match first {
            None => Ok(()),
            // It ended because it was told to, a moment before this task was.
            Some(Ok((_, Ok(())))) if self.stop.is_cancelled() => Ok(()),
            Some(ended) => Err(ended_early(ended)),
        };
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
    let AgentArgs {
        roles,
        node_name,
        namespace,
        kubelet_root: _,
        csi_driver_name: _,
        admin_address,
        client_identity_secret,
        client_identity_dir: _,
        ca_secret,
        store_identities_dir: _,
        certificates,
        certificate_namespaces,
        owner_service_account,
        cluster_domain,
        allowed_provider_hosts: _,
        controller_class: _,
        enable_flood_gate: _,
        store_requeue_interval: _,
        provider_timeout: _,
        sync_lease,
        log_level: _,
    } = args;
    let client = connect().await?;
    let mut registry = Registry::default();
    let health = Health::default();
    registry.register(
        "latchkey_build",
        "Version of this agent",
        Info::new([("version", env!("CARGO_PKG_VERSION"))]),
    );
    let ready = health.register(Scope::Ready, "agent");
    let mut parts = Parts {
        stop: stop.clone(),
        running: JoinSet::new(),
    };

    if roles.contains(&Role::Sync) {
        let leader_metrics = leader::Metrics::default();
        leader_metrics.register(&mut registry);
        let election = Election::new(
            client.clone(),
            &namespace,
            &sync_lease,
            identity(node_name.as_deref()),
            leader_metrics,
        );
        let certificates = (certificates == CertificateMode::Managed).then(|| {
            let metrics = certificates::Metrics::default();
            metrics.register(&mut registry);
            let namespaces = if certificate_namespaces.is_empty() {
                vec![namespace.clone()]
            } else {
                certificate_namespaces
            };
            let settings = certificates::Settings {
                release_namespace: namespace.clone(),
                ca_secret,
                client_secret: client_identity_secret,
                namespaces: namespaces.into_iter().collect(),
                cluster_domain,
                owner_service_account,
            };
            Arc::new(certificates::Controller::new(
                client.clone(),
                settings,
                metrics,
            ))
        });
        let stop = stop.clone();
        parts.spawn("the sync leader", async move {
            let led = election
                .run(&stop, |leading| lead(leading, certificates.clone()))
                .await;
            led.unwrap_or(Ok(()))
        });
    }
    start_admin(&mut parts, admin_address, health, registry).await?;
    ready.ok();
    info!(?roles, version = env!("CARGO_PKG_VERSION"), "agent started");
    parts.join().await
}

/// What only the leader does, until `leading` is cancelled. Dropping it ends all of it.
async fn lead(
    leading: CancellationToken,
    certificates: Option<Arc<certificates::Controller>>,
) -> Result<(), String> {
    let mut parts = Parts {
        stop: leading.clone(),
        running: JoinSet::new(),
    };
    if let Some(controller) = certificates {
        parts.spawn("the certificate controller", async move {
            controller.run(leading).await;
            Ok(())
        });
    }
    parts.join().await.map_err(|error| error.to_string())
}

async fn connect() -> Result<kube::Client, Error> {
    let config = kube::Config::infer()
        .await
        .map_err(|error| Error::Client(error.to_string()))?;
    kube::Client::try_from(config).map_err(|error| Error::Client(error.to_string()))
}

/// The name of this process in the election: readable, and new with every start.
fn identity(node_name: Option<&str>) -> String {
    let place = node_name.map_or_else(
        || std::env::var("HOSTNAME").unwrap_or_else(|_| String::from("agent")),
        str::to_owned,
    );
    format!("{place}_{:08x}", rand::random::<u32>())
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

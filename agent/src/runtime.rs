//! Wires the roles of the agent together and owns their life.
//!
//! Everything is started here and joined here: a part that ends although it should live ends the process with a reason, and a
//! signal ends all parts within [`DRAIN`].

mod access;
mod driver;
mod node;
mod settings;
mod sync;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use latchkey_engine::template::{self, Renderer};
use latchkey_templating::Delimiters;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::settings::Settings;
use crate::admin::{self, Health, Scope};
use crate::api_server;
use crate::args::AgentArgs;
use crate::providers::OwnIdentity;
use crate::templates::ApiObjects;

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
    /// Signals cannot be received.
    #[error("failed to listen for signals")]
    Signals(#[source] std::io::Error),
    /// There is no way to the API server.
    #[error("failed to set up the connection to the API server")]
    Client(#[from] api_server::ConnectError),
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

/// Runs the agent until SIGTERM, SIGINT or the failure of a part.
///
/// # Errors
///
/// [`Error`] says which part failed.
pub async fn run_until_signal(args: AgentArgs) -> Result<(), Error> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let told = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("told to stop");
        stop.cancel();
        // The other branch ends the race.
        std::future::pending().await
    };
    tokio::select! {
        result = run(args, stop.clone()) => result,
        never = told => never,
    }
}

/// Runs the agent until `stop` is cancelled or a part fails.
///
/// # Errors
///
/// [`Error`] says which part failed.
pub async fn run(args: AgentArgs, stop: CancellationToken) -> Result<(), Error> {
    let settings = Settings::try_new(args)?;
    if !settings.namespaces.is_all() {
        info!(
            "working in {} only: ClusterSecretStores, ClusterGenerators and ClusterExternalSecrets are not handled",
            settings.namespaces
        );
    }
    let client = api_server::connect().await?;
    let mut registry = Registry::default();
    let health = Health::default();
    register_build(&mut registry);

    let origin = settings.access.identities.clone();
    let own_identity = OwnIdentity::new(origin.to_string());
    let access = settings.access;
    let providers = Arc::new(access.open(own_identity.clone(), &client, &mut registry));
    let renderer = renderer(settings.delimiters, &client, settings.sync.is_some());
    let node = settings.node.map(|settings| {
        let (client, providers) = (client.clone(), Arc::clone(&providers));
        let renderer = Arc::clone(&renderer);
        node::Node::new(
            client,
            settings,
            providers,
            renderer,
            &mut registry,
            &health,
        )
    });
    let sync = settings.sync.map(|settings| {
        let (client, providers) = (client.clone(), Arc::clone(&providers));
        sync::Sync::new(client, settings, providers, renderer, &mut registry)
    });

    let started = health.register(Scope::Ready, "agent");
    let server = admin::Server::bind(settings.admin_address, health, registry).await?;
    let mut parts = Parts {
        stop: stop.clone(),
        running: JoinSet::new(),
    };
    let admin_stop = stop.clone();
    parts.spawn("the admin server", async move {
        server
            .serve(admin_stop)
            .await
            .map_err(|error| chain(&error))
    });
    let pool_stop = stop.clone();
    parts.spawn("the connection pool", async move {
        providers.pool.maintain(pool_stop).await;
        Ok(())
    });
    parts.spawn("the client identity", async move {
        origin.follow(&own_identity, client, stop).await;
        Ok(())
    });
    if let Some(node) = node {
        node.start(&mut parts);
    }
    if let Some(sync) = sync {
        sync.start(&mut parts);
    }
    started.ok();
    info!(roles = ?settings.roles, version = env!("CARGO_PKG_VERSION"), "agent started");
    parts.join().await
}

/// The one renderer of both deliveries. Only an agent of the role `sync` reads Secrets that templates come from.
fn renderer(delimiters: Delimiters, client: &Client, reads_secrets: bool) -> Arc<Renderer> {
    let settings = template::Settings {
        delimiters,
        ..template::Settings::default()
    };
    let objects = ApiObjects::new(client.clone(), reads_secrets);
    Arc::new(Renderer::new(settings, Arc::new(objects)))
}

/// Registers the series that tells which version this is.
pub(crate) fn register_build(registry: &mut Registry) {
    registry.register(
        "latchkey_build",
        "Version of this agent",
        Info::new([("version", env!("CARGO_PKG_VERSION"))]),
    );
}

/// An error and what caused it, on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

//! Wires the roles of the agent together and owns their life.
//!
//! Everything is started here and joined here: a part that ends although it should live ends the process with a reason, and a
//! signal ends all parts within [`DRAIN`].

mod driver;
mod node;
mod sync;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use latchkey_engine::template::{self, Renderer};
use latchkey_templating::Delimiters;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admin::{self, Health, Scope};
use crate::api_server;
use crate::args::{AgentArgs, CertificateMode, Role};
use crate::certificates;
use crate::namespaces::WatchNamespaces;
use crate::providers::{
    Identities, OwnIdentity, Pool, PoolSettings, ProviderMetrics, Providers, Tokens,
};
use crate::stores::{AllowedHosts, Policy};
use crate::templates::ApiObjects;
use crate::volumes::Rules;

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
    let has_sync = args.has(Role::Sync);
    let has_node = args.has(Role::Node);
    // In full, so that a flag without effect does not compile.
    let AgentArgs {
        roles,
        node_name,
        namespace,
        watch_namespaces,
        kubelet_root,
        csi_driver_name,
        csi_allowed_namespaces,
        csi_inline_data,
        csi_min_refresh,
        csi_max_total_bytes,
        csi_generation_grace,
        csi_selinux,
        csi_require_noswap,
        csi_rotation_events,
        csi_metrics_per_volume,
        admin_address,
        client_identity_secret,
        client_identity_dir,
        ca_secret,
        store_identities_dir,
        certificates,
        certificate_namespaces,
        owner_service_account,
        cluster_domain,
        allowed_provider_hosts,
        controller_class,
        enable_flood_gate,
        enable_cluster_store_reconciler,
        enable_extended_metric_labels,
        enable_cluster_external_secret_reconciler,
        enable_generator_state,
        unsafe_allow_generic_targets,
        generator_gc_grace_period,
        store_requeue_interval,
        provider_timeout,
        template_left_delimiter,
        template_right_delimiter,
        sync_lease,
        sync_shards,
        sync_concurrency,
        sync_store_concurrency,
        log_level: _,
    } = args;
    let namespaces = WatchNamespaces::of(watch_namespaces);
    if !namespaces.is_all() {
        info!(
            "working in {namespaces} only: ClusterSecretStores, ClusterGenerators and ClusterExternalSecrets are not handled"
        );
    }
    let client = api_server::connect().await?;
    let mut registry = Registry::default();
    let health = Health::default();
    register_build(&mut registry);
    let identity = process_identity(node_name.as_deref());
    let mut parts = Parts {
        stop: stop.clone(),
        running: JoinSet::new(),
    };

    let own = if has_sync {
        IdentityOrigin::Secret {
            client: client.clone(),
            namespace: namespace.clone(),
            name: client_identity_secret.clone(),
        }
    } else {
        IdentityOrigin::Directory(client_identity_dir)
    };
    let own_identity = OwnIdentity::new(own.to_string());
    let identities = if has_sync {
        Identities::through_api(own_identity.clone(), client.clone())
    } else {
        Identities::from_files(
            own_identity.clone(),
            store_identities_dir,
            namespace.clone(),
        )
    };
    let tokens = if has_sync {
        Tokens::through_api(client.clone())
    } else {
        Tokens::none()
    };
    let provider_metrics = ProviderMetrics::default();
    provider_metrics.register(&mut registry);
    let class = controller_class.clone();
    let providers = Arc::new(Providers {
        policy: Policy {
            controller_class,
            allowed_hosts: AllowedHosts::new(allowed_provider_hosts),
            flood_gate: enable_flood_gate,
        },
        identities,
        tokens: Arc::new(tokens),
        pool: Pool::new(PoolSettings::default(), provider_metrics),
        timeout: provider_timeout,
    });

    let renderer = Arc::new(Renderer::new(
        template::Settings {
            delimiters: Delimiters {
                left: template_left_delimiter,
                right: template_right_delimiter,
            },
            ..template::Settings::default()
        },
        Arc::new(ApiObjects::new(client.clone(), has_sync)),
    ));

    let node = match node_name {
        Some(node_name) if has_node => {
            let settings = node::Settings {
                node_name,
                kubelet_root,
                driver_name: csi_driver_name,
                allowed_namespaces: csi_allowed_namespaces,
                namespaces: namespaces.clone(),
                selinux: csi_selinux,
                require_noswap: csi_require_noswap,
                max_total_bytes: csi_max_total_bytes,
                generation_grace: csi_generation_grace,
                rotation_events: csi_rotation_events,
                generator_grace: enable_generator_state.then_some(generator_gc_grace_period),
                metrics_per_volume: csi_metrics_per_volume,
                rules: Rules {
                    inline_data: csi_inline_data,
                    min_refresh: csi_min_refresh,
                    ..Rules::default()
                },
            };
            Some(node::Node::new(
                client.clone(),
                settings,
                Arc::clone(&providers),
                Arc::clone(&renderer),
                &mut registry,
                &health,
            ))
        }
        None if has_node => {
            return Err(Error::Configuration(String::from(
                "the role node needs --node-name",
            )));
        }
        _ => None,
    };
    let sync = has_sync.then(|| {
        let certificates =
            (certificates == CertificateMode::Managed).then(|| certificates::Settings {
                release_namespace: namespace.clone(),
                ca_secret,
                client_secret: client_identity_secret,
                namespaces: if certificate_namespaces.is_empty() {
                    BTreeSet::from([namespace.clone()])
                } else {
                    certificate_namespaces.into_iter().collect()
                },
                cluster_domain,
                owner_service_account,
            });
        let settings = sync::Settings {
            namespace,
            namespaces,
            lease: sync_lease,
            shards: sync_shards,
            identity,
            certificates,
            store_requeue_interval,
            generator_grace: enable_generator_state.then_some(generator_gc_grace_period),
            controller_class: class,
            cluster_stores: enable_cluster_store_reconciler,
            extended_metric_labels: enable_extended_metric_labels,
            cluster_external_secrets: enable_cluster_external_secret_reconciler,
            concurrency: sync_concurrency,
            store_concurrency: sync_store_concurrency,
            generic_targets: unsafe_allow_generic_targets,
        };
        sync::Sync::new(
            client,
            settings,
            Arc::clone(&providers),
            renderer,
            &mut registry,
        )
    });

    let started = health.register(Scope::Ready, "agent");
    let server = admin::Server::bind(admin_address, health, registry).await?;
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
        own.follow(&own_identity, stop).await;
        Ok(())
    });
    if let Some(node) = node {
        node.start(&mut parts);
    }
    if let Some(sync) = sync {
        sync.start(&mut parts);
    }
    started.ok();
    info!(?roles, version = env!("CARGO_PKG_VERSION"), "agent started");
    parts.join().await
}

/// Registers the series that tells which version this is.
pub(crate) fn register_build(registry: &mut Registry) {
    registry.register(
        "latchkey_build",
        "Version of this agent",
        Info::new([("version", env!("CARGO_PKG_VERSION"))]),
    );
}

/// Where the agent's own identity comes from.
enum IdentityOrigin {
    Secret {
        client: kube::Client,
        namespace: String,
        name: String,
    },
    Directory(PathBuf),
}

// === impl IdentityOrigin ===

impl IdentityOrigin {
    async fn follow(self, own: &OwnIdentity, stop: CancellationToken) {
        match self {
            Self::Secret {
                client,
                namespace,
                name,
            } => own.follow_secret(client, &namespace, &name, stop).await,
            Self::Directory(directory) => own.follow_directory(directory, stop).await,
        }
    }
}

impl fmt::Display for IdentityOrigin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret {
                namespace, name, ..
            } => write!(formatter, "Secret {namespace}/{name}"),
            Self::Directory(directory) => write!(formatter, "directory {}", directory.display()),
        }
    }
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

/// The name of this process in the election: readable, and new with every start.
fn process_identity(node_name: Option<&str>) -> String {
    let place = node_name.map_or_else(
        || std::env::var("HOSTNAME").unwrap_or_else(|_| String::from("agent")),
        str::to_owned,
    );
    format!("{place}_{:08x}", rand::random::<u32>())
}

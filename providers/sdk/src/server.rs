//! The process around a provider: listeners, identity, health, metrics, drain.
//!
//! On SIGTERM or SIGINT the server stops accepting, tells clients to go elsewhere (HTTP/2 GOAWAY), lets requests in flight
//! finish within the drain time, and gives the provider a moment to revoke its tokens.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use latchkey_proto::generator::v1::generator_provider_server::GeneratorProviderServer;
use latchkey_proto::provider::v1::secret_store_provider_server::SecretStoreProviderServer;
use latchkey_transport::{
    FollowOptions, Incoming, ServerOptions, SharedIdentity, follow_directory, wait_for_directory,
};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::codegen::http::HeaderValue;

use crate::admin::Admin;
use crate::args::ServerArgs;
use crate::cluster::Cluster;
use crate::logging;
use crate::metrics::{Metrics, TransportCollector};
use crate::provider::Provider;
use crate::service::{Calls, GeneratorService, ServiceLimits, StoreService};

/// Age at which a connection is told to go (provider-protocol.md 6); 10 % of it are spread over servers.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(30 * 60);
/// How long requests on such a connection may still take.
const MAX_CONNECTION_AGE_GRACE: Duration = Duration::from_secs(5 * 60);
/// Time between pings of the server, and how long it waits for the answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5 * 60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a provider may take to revoke its tokens.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// Status codes as header values.
const OUT_OF_RANGE: &[u8] = b"11";
const RESOURCE_EXHAUSTED: HeaderValue = HeaderValue::from_static("8");

/// Why a server could not start or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The log filter is malformed.
    #[error(transparent)]
    Logging(#[from] logging::InvalidFilter),
    /// An address cannot be listened on.
    #[error("failed to listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no usable Kubernetes configuration.
    #[error("failed to read the Kubernetes configuration")]
    Configuration(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The directory of manifests cannot be used.
    #[error("failed to read the directory of --objects")]
    Objects(#[source] std::io::Error),
    /// A signal handler cannot be installed, or the runtime cannot be started.
    #[error("failed to start the process")]
    Process(#[source] std::io::Error),
    /// The gRPC server failed.
    #[error("the gRPC server failed")]
    Grpc(#[source] tonic::transport::Error),
    /// The admin server failed.
    #[error("the admin server failed")]
    Admin(#[source] std::io::Error),
    /// A part of the server that must live ended.
    #[error("a task of the server ended: {0}")]
    Task(&'static str),
}

/// What a provider is built from.
#[derive(Clone)]
pub struct ServerContext {
    /// Access to the cluster.
    pub cluster: Cluster,
    /// The series of this process.
    pub metrics: Metrics,
    /// The settings.
    pub args: ServerArgs,
    /// Cancelled when the process is told to stop; tasks of the provider end with it.
    pub stop: CancellationToken,
}

/// A provider with its sockets still to come; [`run_server`] is the way for programs, this one for tests.
pub struct Server<P> {
    /// The provider.
    pub provider: Arc<P>,
    /// The series.
    pub metrics: Metrics,
    /// Where they are registered.
    pub registry: Registry,
    /// The bounds of the service.
    pub limits: ServiceLimits,
    /// How long requests in flight may take after the stop.
    pub drain_timeout: Duration,
}

/// Runs a provider server until it is told to stop: logs, identity, Kubernetes client, both listeners. The whole of a thin
/// `main` behind the parsing of arguments.
///
/// # Errors
///
/// [`ServerError`] says which part could not start, or ended.
pub fn run_server<P: Provider>(
    name: &'static str,
    version: &'static str,
    args: ServerArgs,
    build: impl FnOnce(&ServerContext) -> P,
) -> Result<(), ServerError> {
    logging::install(&args.log_level)?;
    logging::install_panic_hook();
    // Only the first installation of a process counts; another one of the same provider is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(ServerError::Process)?;
    runtime.block_on(async {
        tracing::info!(server = name, version, listen = %args.listen_address, "starting");
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(cancel_on_signal(stop.clone())?);
        let result = Box::pin(serve_with_args(args, build, &stop, &mut tasks)).await;
        stop.cancel();
        tasks.shutdown().await;
        tracing::info!(server = name, "stopped");
        result
    })
}

async fn serve_with_args<P: Provider>(
    args: ServerArgs,
    build: impl FnOnce(&ServerContext) -> P,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<(), ServerError> {
    let admin = listen(args.admin_address).await?;
    let grpc = listen(args.listen_address).await?;
    let cluster = cluster(&args).await?;
    let mut registry = Registry::default();
    let context = ServerContext {
        cluster,
        metrics: Metrics::register(&mut registry),
        args,
        stop: stop.clone(),
    };
    let server = Server {
        provider: Arc::new(build(&context)),
        metrics: context.metrics.clone(),
        registry,
        limits: context.args.limits(),
        drain_timeout: context.args.drain_timeout,
    };
    let (directory, names) = (context.args.tls_cert_dir.clone(), context.args.file_names());
    let follow = FollowOptions::default();
    let identity = async {
        let identity = wait_for_directory(&directory, &names, &follow, stop).await?;
        tasks.spawn(follow_directory(
            identity.clone(),
            directory.clone(),
            names.clone(),
            follow.clone(),
            stop.clone(),
        ));
        Some(identity)
    };
    server.serve(grpc, admin, identity, stop).await
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServerError::Listen { address, source })
}

/// The objects of the cluster, or those of a directory.
async fn cluster(args: &ServerArgs) -> Result<Cluster, ServerError> {
    let namespaces = args.credential_namespaces.iter().cloned();
    match &args.objects {
        Some(directory) => {
            Cluster::of_manifests(directory.clone(), namespaces).map_err(ServerError::Objects)
        }
        None => Ok(Cluster::new(kube_client(args).await?, namespaces)),
    }
}

async fn kube_client(args: &ServerArgs) -> Result<kube::Client, ServerError> {
    let failed =
        |error: Box<dyn std::error::Error + Send + Sync>| ServerError::Configuration(error);
    let config = match &args.kubeconfig {
        Some(path) => {
            let file =
                kube::config::Kubeconfig::read_from(path).map_err(|error| failed(error.into()))?;
            kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default())
                .await
                .map_err(|error| failed(error.into()))?
        }
        None => kube::Config::infer()
            .await
            .map_err(|error| failed(error.into()))?,
    };
    kube::Client::try_from(config).map_err(|error| failed(error.into()))
}

/// Cancels `stop` on SIGTERM or SIGINT.
fn cancel_on_signal(stop: CancellationToken) -> Result<impl Future<Output = ()>, ServerError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(ServerError::Process)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServerError::Process)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = stop.cancelled() => {}
        }
        stop.cancel();
    })
}

// === impl Server ===

impl<P: Provider> Server<P> {
    /// Serves both listeners until `stop`, then drains. `identity` is awaited with the admin server already up; `None` from it
    /// means that the stop came first.
    ///
    /// # Errors
    ///
    /// [`ServerError::Grpc`] or [`ServerError::Admin`] if a server fails.
    pub async fn serve(
        self,
        grpc: TcpListener,
        admin_listener: TcpListener,
        identity: impl Future<Output = Option<SharedIdentity>>,
        stop: &CancellationToken,
    ) -> Result<(), ServerError> {
        let admin = Admin::new(self.registry);
        let admin_stop = CancellationToken::new();
        let _stop_admin = admin_stop.clone().drop_guard();
        let mut admin_server = JoinSet::new();
        admin_server.spawn(admin.clone().serve(admin_listener, admin_stop));
        let grpc_server = async {
            let Some(identity) = identity.await else {
                return Ok(());
            };
            let accepting = CancellationToken::new();
            let incoming = Incoming::new(
                grpc,
                identity.clone(),
                &ServerOptions::default(),
                &accepting,
            );
            admin.register(Box::new(TransportCollector {
                identity,
                handshakes: incoming.counts_reader(),
            }));
            let (_health, health_service) = tonic_health::server::health_reporter();
            let calls = Calls::new(self.metrics, self.limits);
            let provider = &self.provider;
            let stores = (!provider.kinds().is_empty())
                .then(|| StoreService::within(provider.clone(), calls.clone()));
            let generators = (!provider.generator_kinds().is_empty())
                .then(|| GeneratorService::within(provider.clone(), calls.clone()));
            let router = tonic::transport::Server::builder()
                .layer(tower::util::MapResponseLayer::new(too_large_is_exhausted))
                .max_connection_age(spread(MAX_CONNECTION_AGE))
                .max_connection_age_grace(MAX_CONNECTION_AGE_GRACE)
                .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
                .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
                .add_service(health_service)
                .add_optional_service(stores.map(SecretStoreProviderServer::new))
                .add_optional_service(generators.map(GeneratorProviderServer::new));
            admin.set_ready(true);
            let serving = router.serve_with_incoming_shutdown(incoming, stop.cancelled());
            let drained = async {
                stop.cancelled().await;
                admin.set_ready(false);
                tokio::time::sleep(self.drain_timeout).await;
            };
            tokio::select! {
                result = serving => result.map_err(ServerError::Grpc)?,
                () = drained => tracing::warn!("requests in flight did not finish within the drain time"),
            }
            // Also when the server ended by itself: nobody else revokes what the provider holds.
            if tokio::time::timeout(SHUTDOWN_TIMEOUT, self.provider.shutdown())
                .await
                .is_err()
            {
                tracing::warn!("the provider did not revoke its tokens in time");
            }
            Ok(())
        };
        tokio::select! {
            result = grpc_server => result,
            Some(ended) = admin_server.join_next() => match ended {
                Ok(Err(error)) => Err(ServerError::Admin(error)),
                _ => Err(ServerError::Task("admin server")),
            },
        }
    }
}

/// tonic answers a request above the receive limit with OUT_OF_RANGE; clients expect RESOURCE_EXHAUSTED
/// (provider-protocol.md 3). Nothing here answers OUT_OF_RANGE otherwise.
fn too_large_is_exhausted<B>(mut response: http::Response<B>) -> http::Response<B> {
    if let Some(status) = response.headers_mut().get_mut("grpc-status")
        && status.as_bytes() == OUT_OF_RANGE
    {
        *status = RESOURCE_EXHAUSTED;
    }
    response
}

/// Plus or minus 10 %, so that the connections of a whole fleet do not end together.
fn spread(age: Duration) -> Duration {
    let mut byte = [127_u8];
    // Without randomness the age is merely not spread.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    age.mul_f64(0.9 + 0.2 * f64::from(byte[0]) / 255.0)
}

//! The agent's client of the API server.
//!
//! kube's own stack, with two settings of the socket that it does not offer: small requests go out at once (Nagle's algorithm and
//! a delayed acknowledgement together cost 40 ms on each new connection, and a watch takes a new one), and a peer that vanished
//! is noticed.

use std::time::Duration;

use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::retry::RetryPolicy;
use kube::client::{ClientBuilder, ConfigExt};
use kube::{Client, Config};
use tower::ServiceBuilder;
use tower::retry::RetryLayer;

/// Idle time of a connection after which the kernel probes the peer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// A client for the cluster that the pod runs in, or the current context of a kubeconfig.
///
/// # Errors
///
/// Where neither is found or its certificates or tokens cannot be read.
pub async fn connect() -> Result<Client, ConnectError> {
    let config = Config::infer().await?;
    Ok(client(config)?)
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither a service account of a pod nor a kubeconfig.
    #[error(transparent)]
    Config(#[from] kube::config::InferConfigError),
    /// Certificates or tokens cannot be used.
    #[error(transparent)]
    Client(#[from] kube::Error),
}

/// The same for a given configuration.
///
/// Requests that the API server answers with 429, 503 or 504 are repeated, after the time that it asks for.
///
/// # Errors
///
/// Where certificates or tokens cannot be used.
pub fn client(config: Config) -> kube::Result<Client> {
    if config.proxy_url.is_some() {
        // Rare, and never in a pod: kube says what it can do about proxies.
        return Client::try_from(config);
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_keepalive(Some(KEEP_ALIVE));
    connector.set_connect_timeout(config.connect_timeout);
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let transport: legacy::Client<_, kube::client::Body> =
        legacy::Builder::new(TokioExecutor::new()).build(connector);
    let retry = config
        .default_retry
        .then(|| RetryLayer::new(RetryPolicy::server_retry()));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(retry)
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(tower::BoxError::from)
        .service(transport);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

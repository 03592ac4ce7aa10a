//! The HTTP server for health and metrics.
//!
//! | path | answer |
//! |---|---|
//! | `GET /livez` | 200 while every live check holds, else 503 with one line per failing check |
//! | `GET /readyz` | the same for the ready checks |
//! | `GET /metrics` | all series in the OpenMetrics text format |
//!
//! A component registers a check under its name and keeps a small handle to report with; nothing is asked of it when the kubelet
//! probes. What cannot be reported (a socket that another process replaced) is registered as a question instead.

use std::fmt::Write as _;
use std::future::IntoFuture as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::future::BoxFuture;
use http::{StatusCode, header};
use parking_lot::{Mutex, RwLock};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long a question to a component may take. Less than the kubelet's probe time-out, which the chart sets to 3 s.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(1);

/// How long open connections may keep the server after it was told to stop.
const DRAIN: Duration = Duration::from_secs(1);

/// Media type of `/metrics`.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen for health and metrics on {address}")]
pub struct Error {
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// Which endpoint a check counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `/livez`: the process must be restarted if it fails.
    Live,
    /// `/readyz`: the process is not (yet) doing its work.
    Ready,
}

type Question = Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

enum Check {
    Reported(Arc<Mutex<Result<(), String>>>),
    Asked(Question),
}

struct Entry {
    scope: Scope,
    name: &'static str,
    check: Check,
}

/// All checks of this process. Clones share them.
#[derive(Clone, Default)]
pub struct Health {
    entries: Arc<RwLock<Vec<Arc<Entry>>>>,
}

/// Reports the state of one component. Clones report the same check.
#[derive(Clone, Debug)]
pub struct HealthHandle(Arc<Mutex<Result<(), String>>>);

// === impl Health ===

impl Health {
    /// Adds a check that a component reports itself. It fails with `starting` until the first report.
    #[must_use]
    pub fn register(&self, scope: Scope, name: &'static str) -> HealthHandle {
        let state = Arc::new(Mutex::new(Err(String::from("starting"))));
        self.add(scope, name, Check::Reported(Arc::clone(&state)));
        HealthHandle(state)
    }

    /// Adds a check that is asked at each probe; an answer that takes longer than a second fails it.
    pub fn register_question<F>(&self, scope: Scope, name: &'static str, question: F)
    where
        F: Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync + 'static,
    {
        self.add(scope, name, Check::Asked(Box::new(question)));
    }

    fn add(&self, scope: Scope, name: &'static str, check: Check) {
        self.entries
            .write()
            .push(Arc::new(Entry { scope, name, check }));
    }

    /// The failing checks of `scope`, one line each; empty if all hold.
    pub async fn failures(&self, scope: Scope) -> Vec<String> {
        let entries: Vec<_> = self
            .entries
            .read()
            .iter()
            .filter(|entry| entry.scope == scope)
            .cloned()
            .collect();
        let answers = entries.iter().map(|entry| async move {
            let result = match &entry.check {
                Check::Reported(state) => state.lock().clone(),
                Check::Asked(question) => tokio::time::timeout(QUESTION_TIMEOUT, question())
                    .await
                    .unwrap_or_else(|_| Err(String::from("no answer within a second"))),
            };
            result
                .err()
                .map(|reason| format!("{}: {reason}", entry.name))
        });
        futures::future::join_all(answers)
            .await
            .into_iter()
            .flatten()
            .collect()
    }
}

// === impl HealthHandle ===

impl HealthHandle {
    /// The component works.
    pub fn ok(&self) {
        *self.0.lock() = Ok(());
    }

    /// The component does not work, for a reason that is safe to show.
    pub fn failed(&self, reason: impl Into<String>) {
        *self.0.lock() = Err(reason.into());
    }
}

#[derive(Clone)]
struct Shared {
    health: Health,
    registry: Arc<Registry>,
}

/// A server that is bound but does not answer yet.
pub struct Server {
    listener: TcpListener,
    shared: Shared,
}

// === impl Server ===

impl Server {
    /// Binds `address`, so that a port in use is found before anything else starts.
    ///
    /// # Errors
    ///
    /// [`Error`] if the address cannot be bound.
    pub async fn bind(
        address: SocketAddr,
        health: Health,
        registry: Registry,
    ) -> Result<Self, Error> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| Error { address, source })?;
        Ok(Self {
            listener,
            shared: Shared {
                health,
                registry: Arc::new(registry),
            },
        })
    }

    /// The address that was bound; differs from the one asked for if its port was 0.
    ///
    /// # Errors
    ///
    /// The kernel's error if the socket is gone.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop` is cancelled, then lets open requests end for at most a second.
    ///
    /// # Errors
    ///
    /// The kernel's error if the listener failed for good.
    pub async fn serve(self, stop: CancellationToken) -> std::io::Result<()> {
        let router = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self.shared);
        let drained = stop.clone();
        let server = axum::serve(self.listener, router)
            .with_graceful_shutdown(async move { stop.cancelled().await });
        tokio::select! {
            result = server.into_future() => result,
            () = async { drained.cancelled().await; tokio::time::sleep(DRAIN).await; } => Ok(()),
        }
    }
}

async fn livez(State(shared): State<Shared>) -> Response {
    answer(&shared, Scope::Live).await
}

async fn readyz(State(shared): State<Shared>) -> Response {
    answer(&shared, Scope::Ready).await
}

async fn answer(shared: &Shared, scope: Scope) -> Response {
    let failures = shared.health.failures(scope).await;
    if failures.is_empty() {
        return (StatusCode::OK, "ok\n").into_response();
    }
    let mut body = String::new();
    for failure in failures {
        let _ = writeln!(body, "{failure}");
    }
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let mut body = String::new();
    match prometheus_client::encoding::text::encode(&mut body, &shared.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], body).into_response(),
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "failed to encode metrics\n",
        )
            .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream
            .write_all(
                format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes(),
            )
            .await
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        (status, text.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    #[tokio::test]
    async fn probes_follow_the_reports_and_questions_of_components() {
        let health = Health::default();
        let mut registry = Registry::default();
        let counter: Counter = Counter::default();
        registry.register("latchkey_test", "A test", counter.clone());
        counter.inc();
        let ready = health.register(Scope::Ready, "csi");
        health.register_question(Scope::Live, "socket", || futures::future::pending().boxed());
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), health, registry)
            .await
            .unwrap();
        let address = server.local_address().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.serve(stop.clone()));

        assert_eq!(
            get(address, "/readyz").await,
            (503, String::from("csi: starting\n"))
        );
        ready.ok();
        assert_eq!(get(address, "/readyz").await.0, 200);
        ready.failed("kubelet forgot us");
        assert!(
            get(address, "/readyz")
                .await
                .1
                .contains("csi: kubelet forgot us")
        );
        assert!(
            get(address, "/livez")
                .await
                .1
                .contains("socket: no answer within a second")
        );
        assert!(
            get(address, "/metrics")
                .await
                .1
                .contains("latchkey_test_total 1")
        );

        stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error_that_names_it() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = Server::bind(address, Health::default(), Registry::default())
            .await
            .map(|_| ())
            .unwrap_err();
        assert!(error.to_string().contains(&address.to_string()));
    }
}

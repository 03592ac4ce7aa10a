//! The agent's client of the API server.
//!
//! kube's own stack, with three settings that it does not offer. Small requests go out at once: Nagle's algorithm and a delayed
//! acknowledgement together cost 40 ms on each new connection, and a watch takes a new one. A peer that vanished is noticed. And
//! watches have a pool of connections of their own: each takes one for minutes, and would take the idle one that the next request
//! needs, which then waits for a handshake while a pod waits for it.
//!
//! A server that asks for a long wait is not waited for here: whoever asked hears how long it is to be, and does something else
//! meanwhile.

use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::retry::RetryPolicy;
use kube::client::{ClientBuilder, ConfigExt};
use kube::{Client, Config};
use serde_json::json;
use tower::retry::{Policy, RetryLayer};
use tower::{BoxError, Service, ServiceBuilder};

/// Idle time of a connection after which the kernel probes the peer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Pause between two probes. The kernel's own is 75 s, and nine of them: a watch would be deaf for twelve minutes.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// Probes without an answer after which the connection is given up: a minute after the peer was heard last.
const PROBES: u32 = 3;

/// Longest wait that a request makes up for by itself.
const SHORT_WAIT: Duration = Duration::from_secs(5);

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
/// Requests that the API server answers with 429, 503 or 504 are repeated, after the time that it asks for; where that is more than
/// a few seconds the answer says how long it is to be.
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
    connector.set_keepalive_interval(Some(PROBE_INTERVAL));
    connector.set_keepalive_retries(Some(PROBES));
    connector.set_connect_timeout(config.connect_timeout);
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let transport = Transport {
        requests: legacy::Builder::new(TokioExecutor::new()).build(connector.clone()),
        watches: legacy::Builder::new(TokioExecutor::new()).build(connector),
    };
    let retry = config
        .default_retry
        .then(|| RetryLayer::new(Brief(RetryPolicy::server_retry())));
    let service = ServiceBuilder::new()
        .map_response(tell_wait)
        .layer(config.base_uri_layer())
        .option_layer(retry)
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(tower::BoxError::from)
        .service(transport);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

/// Two pools of connections.
#[derive(Clone)]
struct Transport<C> {
    requests: legacy::Client<C, kube::client::Body>,
    watches: legacy::Client<C, kube::client::Body>,
}

impl<C> Service<Request<kube::client::Body>> for Transport<C>
where
    C: legacy::connect::Connect + Clone + Send + Sync + 'static,
{
    type Response =
        <legacy::Client<C, kube::client::Body> as Service<Request<kube::client::Body>>>::Response;
    type Error = legacy::Error;
    type Future = legacy::ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // A client connects when it is called, and always takes a call.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        if is_watch(request.uri()) {
            self.watches.request(request)
        } else {
            self.requests.request(request)
        }
    }
}

/// Whether the answer to a request lasts: kube asks so for a watch.
fn is_watch(uri: &http::Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    query.split('&').any(|part| part == "watch=true")
}

/// kube's way to try a request again, unless the server asks for more than [`SHORT_WAIT`].
#[derive(Clone)]
struct Brief(RetryPolicy);

impl<B> Policy<Request<kube::client::Body>, Response<B>, BoxError> for Brief {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        request: &mut Request<kube::client::Body>,
        result: &mut Result<Response<B>, BoxError>,
    ) -> Option<Self::Future> {
        let asked = result.as_ref().ok().and_then(asked_wait);
        if asked.is_some_and(|wait| wait > SHORT_WAIT) {
            return None;
        }
        self.0.retry(request, result)
    }

    fn clone_request(
        &mut self,
        request: &Request<kube::client::Body>,
    ) -> Option<Request<kube::client::Body>> {
        Policy::<_, Response<B>, BoxError>::clone_request(&mut self.0, request)
    }
}

/// How long a server that has too much to do asks to wait.
fn asked_wait<B>(response: &Response<B>) -> Option<Duration> {
    if response.status() != StatusCode::TOO_MANY_REQUESTS {
        return None;
    }
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// Puts the wait that a header asks for where kube looks for it: into the answer itself.
fn tell_wait<B>(response: Response<B>) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    let Some(wait) = asked_wait(&response) else {
        return response.map(Body::new);
    };
    let status = json!({
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "code": 429,
        "reason": "TooManyRequests",
        "message": format!("the API server has too much to do and asks to wait for {} s", wait.as_secs()),
        "details": { "retryAfterSeconds": u32::try_from(wait.as_secs()).unwrap_or(u32::MAX) },
    });
    let mut told = Response::new(Body::from(status.to_string()));
    *told.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    let json = http::HeaderValue::from_static("application/json");
    told.headers_mut().insert(CONTENT_TYPE, json);
    told
}

/// An error of the client in words that quote no body: decoders' own texts do.
pub(crate) fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Api(status) => format!("the API server answered {}", status.code),
        kube::Error::SerdeError(error) => {
            format!(
                "the API server's answer cannot be read at line {} column {}",
                error.line(),
                error.column()
            )
        }
        kube::Error::HyperError(_) | kube::Error::Service(_) => {
            String::from("the API server cannot be reached")
        }
        _ => String::from("the request failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(seconds: &'static str) -> Response<Body> {
        let response = Response::builder().status(429).header(RETRY_AFTER, seconds);
        response.body(Body::from("Too many requests")).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn short_waits_are_waited_for_and_long_ones_are_told() {
        let mut request = Request::new(kube::client::Body::empty());
        for (seconds, is_tried_again) in [("1", true), ("5", true), ("6", false), ("3600", false)] {
            let mut policy = Brief(RetryPolicy::server_retry());
            let again = policy.retry(&mut request, &mut Ok(busy(seconds)));
            assert_eq!(again.is_some(), is_tried_again, "{seconds}");
        }
        let mut fine = Ok(Response::new(Body::empty()));
        let mut policy = Brief(RetryPolicy::server_retry());
        assert!(policy.retry(&mut request, &mut fine).is_none());
    }

    #[test]
    fn watches_are_told_from_other_requests() {
        let params = kube::api::WatchParams::default().fields("metadata.name=a");
        let watch = kube::core::Request::new("/api/v1/pods").watch(&params, "7");
        assert!(is_watch(watch.unwrap().uri()));
        let params = kube::api::ListParams::default().fields("metadata.name=watch=true");
        let list = kube::core::Request::new("/api/v1/pods").list(&params);
        assert!(!is_watch(list.unwrap().uri()));
        let get = kube::core::Request::new("/api/v1/pods").get("a", &Default::default());
        assert!(!is_watch(get.unwrap().uri()));
    }

    #[tokio::test]
    async fn the_wait_of_a_header_is_told_in_the_answer_and_others_are_left_alone() {
        let read = async |response: Response<Body>| {
            let body = axum::body::to_bytes(response.into_body(), 4096).await;
            body.unwrap()
        };
        let body = read(tell_wait(busy("40"))).await;
        let status: kube::core::Status = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (status.code, status.details.unwrap().retry_after_seconds),
            (429, 40)
        );
        for response in [busy("soon"), Response::new(Body::from("Too many requests"))] {
            assert_eq!(read(tell_wait(response)).await, "Too many requests");
        }
    }
}

//! A thin HTTP client for the part of Vault's API that a provider needs.
//!
//! It is deliberately deaf to its environment: no proxy, no `VAULT_*` variable and no configuration file takes part (P-29).
//! One [`VaultClient`] belongs to one configured store, because the trusted roots, the client certificate, the namespace and
//! the consistency state belong to it.

pub(crate) mod answer;
pub(crate) mod tls;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use http::{Method, StatusCode};
use latchkey_provider_sdk::{ErrorClass, Metrics, ProviderError};
use latchkey_secret::SecretValue;
use parking_lot::Mutex;
use reqwest::Url;
use zeroize::Zeroizing;

use crate::buffer::{WipingBuffer, wipe_chunk};
use crate::paths::ApiPath;
pub(crate) use answer::Answer;

/// Longest wait for a TCP and TLS connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Most idle connections of one store.
const IDLE_CONNECTIONS: usize = 8;
/// Largest answer that is read, in bytes. An entry of the key-value engine is at most 1 MiB by default.
const MAX_ANSWER_BYTES: usize = 8 << 20;
/// First pause before a retry; it doubles with each attempt and half of it is jitter.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause before a retry. A server that asks for a longer one gets no retry; the wish is passed to the caller instead.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(2);

/// What metrics call this backend (providers specification 2.8).
const PROVIDER: &str = "HashiCorp/Vault";

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");
const INDEX: HeaderName = HeaderName::from_static("x-vault-index");
const INCONSISTENT: HeaderName = HeaderName::from_static("x-vault-inconsistent");

/// What distinguishes the client of one store from that of another.
pub(crate) struct ClientOptions {
    /// Base address, checked by [`crate::settings`].
    pub(crate) server: Url,
    /// Headers of the user's own for each call.
    pub(crate) headers: HeaderMap,
    /// Trusted roots and client certificate.
    pub(crate) tls: Arc<rustls::ClientConfig>,
    /// Which consistency headers are used (8.6).
    pub(crate) consistency: Consistency,
    /// Bounds of a call.
    pub(crate) limits: Limits,
    /// Where calls are counted.
    pub(crate) metrics: Metrics,
}

/// Bounds of the calls to a backend; the same for all stores.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest duration of one attempt, connection included. Default 30 s.
    pub timeout: Duration,
    /// Most attempts of one call, at least 1. Default 3.
    pub attempts: u32,
}

/// Consistency of Vault Enterprise clusters (8.6).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Consistency {
    /// Remember the index of logins and send it with later calls.
    pub(crate) remember_index: bool,
    /// Ask a standby to forward a call that it cannot answer consistently.
    pub(crate) forward_to_active: bool,
}

/// A token as it travels: wiped on drop, sensitive as a header, without `Debug`.
#[derive(Clone)]
pub(crate) struct Token {
    header: HeaderValue,
    text: SecretValue,
}

/// One call: everything but whose it is.
pub(crate) struct Call {
    /// What logs and metrics call it, such as `ReadSecretData` (providers specification 14.2).
    pub(crate) name: &'static str,
    pub(crate) method: Method,
    pub(crate) path: ApiPath,
    /// `?name=value`.
    pub(crate) query: Option<(&'static str, String)>,
    /// JSON in memory that is wiped when the last holder drops it.
    pub(crate) body: Option<Bytes>,
}

/// On whose behalf a call is made.
#[derive(Clone, Copy, Default)]
pub(crate) struct Caller<'a> {
    /// Value of `X-Vault-Namespace`.
    pub(crate) namespace: Option<&'a str>,
    pub(crate) token: Option<&'a Token>,
}

/// A client for one store.
pub(crate) struct VaultClient {
    http: reqwest::Client,
    options: ClientOptions,
    /// Latest `X-Vault-Index`, if it is remembered.
    index: Mutex<Option<HeaderValue>>,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            attempts: 3,
        }
    }
}

// === impl Token ===

impl Token {
    /// Wraps the text of a token.
    ///
    /// # Errors
    ///
    /// `UNAUTHENTICATED` for a text that no HTTP header can carry, typically one with a line end behind it.
    pub(crate) fn try_new(text: SecretValue) -> Result<Self, ProviderError> {
        // The header shares wiping memory instead of copying the bytes into memory that is only freed.
        let shared = Bytes::from_owner(Zeroizing::new(text.expose().to_vec()));
        let header = HeaderValue::from_maybe_shared(shared)
            .ok()
            .filter(|header| !header.is_empty());
        let mut header = header.ok_or_else(|| {
            ProviderError::new(
                ErrorClass::Unauthenticated,
                "the vault token is empty or contains characters that cannot be sent, such as a line end",
            )
        })?;
        header.set_sensitive(true);
        Ok(Self { header, text })
    }

    /// The bytes, to keep them out of messages.
    pub(crate) fn text(&self) -> &SecretValue {
        &self.text
    }
}

// === impl Call ===

impl Call {
    /// A read of `path`.
    pub(crate) fn get(name: &'static str, path: ApiPath) -> Self {
        Self {
            name,
            method: Method::GET,
            path,
            query: None,
            body: None,
        }
    }

    /// A write to `path` with an optional JSON body.
    pub(crate) fn post(
        name: &'static str,
        path: ApiPath,
        body: Option<Zeroizing<Vec<u8>>>,
    ) -> Self {
        let body = body.map(Bytes::from_owner);
        Self {
            name,
            method: Method::POST,
            path,
            query: None,
            body,
        }
    }
}

// === impl VaultClient ===

impl VaultClient {
    /// Builds a client; no connection is made.
    ///
    /// # Errors
    ///
    /// `INTERNAL` if the HTTP library refuses the settings.
    pub(crate) fn try_new(options: ClientOptions) -> Result<Self, ProviderError> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(rustls::ClientConfig::clone(&options.tls))
            .no_proxy()
            .referer(false)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(options.limits.timeout)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .user_agent(concat!(
                "latchkey-provider-vault/",
                env!("CARGO_PKG_VERSION")
            ))
            .build()
            .map_err(|_error| {
                ProviderError::internal("failed to build the HTTP client for vault")
            })?;
        Ok(Self {
            http,
            options,
            index: Mutex::new(None),
        })
    }

    /// Scheme, host and port, for messages.
    pub(crate) fn origin(&self) -> String {
        self.options.server.origin().ascii_serialization()
    }

    /// Performs a call with retries and returns any answer that is the server's own word on the request: 2xx and the 4xx that
    /// say so.
    ///
    /// # Errors
    ///
    /// - `BACKEND_UNAVAILABLE`: no connection, no answer in time, a server error, sealed or standby;
    /// - `TLS_ERROR`: the server's certificate did not verify;
    /// - `THROTTLED`: 429;
    /// - `INVALID_CONFIG`: a redirect that is not followed;
    /// - `RESULT_TOO_LARGE`: an answer above 8 MiB.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the exchange; nothing else is kept.
    pub(crate) async fn send(
        &self,
        call: &Call,
        caller: Caller<'_>,
    ) -> Result<Answer, ProviderError> {
        // For the series a refused call is an error, for the caller it is an answer.
        let mut refused = None;
        let work = async {
            let answer = self.send_until_answered(call, caller).await?;
            if answer.status.is_success() || answer.status == StatusCode::NOT_FOUND {
                return Ok(answer);
            }
            refused = Some(answer);
            Err(ProviderError::internal("refused"))
        };
        let result = self
            .options
            .metrics
            .api_call(PROVIDER, call.name, work)
            .await;
        refused.map_or(result, Ok)
    }

    async fn send_until_answered(
        &self,
        call: &Call,
        caller: Caller<'_>,
    ) -> Result<Answer, ProviderError> {
        let mut attempt = 1;
        loop {
            let failure = match self.attempt(call, caller).await {
                Ok(answer) => match answer::server_failure(&answer, &self.origin()) {
                    None => return Ok(answer),
                    Some(failure) => failure,
                },
                Err(failure) => failure,
            };
            let pause = failure
                .error
                .retry_after()
                .unwrap_or_else(|| backoff(attempt));
            if !failure.is_transient
                || attempt >= self.options.limits.attempts
                || pause > MAX_RETRY_PAUSE
            {
                return Err(failure.error);
            }
            tracing::debug!(call = call.name, attempt, reason = %failure.error, "vault call will be tried again");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    /// One exchange, with at most one redirect from a standby to the active node.
    async fn attempt(&self, call: &Call, caller: Caller<'_>) -> Result<Answer, answer::Failure> {
        let url = self.url(call);
        let answer = self.exchange(call, caller, url.clone()).await?;
        let Some(location) = answer.location.as_deref() else {
            return Ok(answer);
        };
        // Vault's own client follows a standby's redirect once and never from TLS to plain text.
        let target = url.join(location).ok().filter(|target| {
            matches!(target.scheme(), "http" | "https")
                && !(url.scheme() == "https" && target.scheme() == "http")
        });
        let Some(target) = target else {
            return Err(answer::Failure::final_(ProviderError::invalid_config(
                format!(
                    "vault server {} redirects to an address that is not followed",
                    self.origin()
                ),
            )));
        };
        let answer = self.exchange(call, caller, target).await?;
        if answer.location.is_some() {
            return Err(answer::Failure::final_(ProviderError::invalid_config(
                format!("vault server {} redirects more than once", self.origin()),
            )));
        }
        Ok(answer)
    }

    async fn exchange(
        &self,
        call: &Call,
        caller: Caller<'_>,
        url: Url,
    ) -> Result<Answer, answer::Failure> {
        let failed = |error: reqwest::Error| answer::transport_failure(&error, &self.origin());
        let mut request = self
            .http
            .request(call.method.clone(), url)
            .headers(self.headers(caller));
        if let Some(body) = &call.body {
            request = request
                .header(http::header::CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        let mut response = request.send().await.map_err(failed)?;
        if self.options.consistency.remember_index
            && let Some(index) = response.headers().get(INDEX)
        {
            *self.index.lock() = Some(index.clone());
        }
        let status = response.status();
        let location = match status {
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => Some(
                text_of(response.headers().get(LOCATION))
                    .unwrap_or_default()
                    .to_owned(),
            ),
            _ => None,
        };
        let retry_after =
            text_of(response.headers().get(RETRY_AFTER)).and_then(|text| text.trim().parse().ok());
        let expected = response
            .content_length()
            .and_then(|length| usize::try_from(length).ok())
            .unwrap_or(0);
        let mut body = WipingBuffer::with_capacity(expected.min(MAX_ANSWER_BYTES));
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(answer::Failure::final_(ProviderError::new(
                    ErrorClass::ResultTooLarge,
                    format!(
                        "the answer of vault server {} exceeds {MAX_ANSWER_BYTES} bytes",
                        self.origin()
                    ),
                )));
            }
            body.extend(&chunk);
            wipe_chunk(chunk);
        }
        Ok(Answer {
            status,
            location,
            retry_after: retry_after.map(Duration::from_secs),
            body: body.into_zeroizing(),
        })
    }

    fn url(&self, call: &Call) -> Url {
        let mut url = self.options.server.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            // Each segment is percent-encoded; a base path (a Vault behind a path of a proxy) stays in front.
            segments
                .pop_if_empty()
                .push("v1")
                .extend(call.path.segments());
        }
        if let Some((name, value)) = &call.query {
            url.query_pairs_mut().append_pair(name, value);
        }
        url
    }

    fn headers(&self, caller: Caller<'_>) -> HeaderMap {
        // The user's headers first: they cannot replace what this client sets.
        let mut headers = self.options.headers.clone();
        headers.insert(REQUEST, HeaderValue::from_static("true"));
        if let Some(namespace) = caller
            .namespace
            .and_then(|namespace| HeaderValue::from_str(namespace).ok())
        {
            headers.insert(NAMESPACE, namespace);
        }
        if let Some(token) = caller.token {
            headers.insert(TOKEN, token.header.clone());
        }
        if let Some(index) = self.index.lock().clone() {
            headers.insert(INDEX, index);
        }
        if self.options.consistency.forward_to_active {
            headers.insert(
                INCONSISTENT,
                HeaderValue::from_static("forward-active-node"),
            );
        }
        headers
    }
}

fn text_of(header: Option<&HeaderValue>) -> Option<&str> {
    header.and_then(|value| value.to_str().ok())
}

/// The pause before attempt `attempt + 1`: doubled each time, capped, half of it random so that many clients do not return at
/// the same moment.
fn backoff(attempt: u32) -> Duration {
    let full = RETRY_PAUSE
        .saturating_mul(1 << attempt.saturating_sub(1).min(8))
        .min(MAX_RETRY_PAUSE);
    full.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

#[cfg(test)]
mod tests;

//! The series of a provider server (specification 2.8).
//!
//! | series | labels |
//! |---|---|
//! | `provider_grpc_requests_total` | `method`, `code` |
//! | `provider_grpc_request_duration_seconds` | `method` |
//! | `externalsecret_provider_api_calls_count` | `provider`, `call`, `status` (`success`, `error`) |
//! | `externalsecret_provider_api_call_duration_seconds` | the same |
//! | `provider_read_cache_hits_total`, `provider_token_cache_{hits,misses,evictions}_total` | |
//! | `provider_tls_handshakes_total` | `result` |
//! | `eso_provider_certificate_expiry_seconds`, `eso_ca_certificate_expiry_seconds` | seconds left, negative when expired |
//! | `eso_provider_certificate_hot_reload_total`, `eso_provider_certificate_hot_reload_failures_total` | |

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::{Instant, SystemTime};

use latchkey_proto::code_name;
use latchkey_transport::{CountsReader, SharedIdentity};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;
use tonic::Code;

use crate::error::Result;
use crate::request::Operation;

/// Upper bounds of duration buckets, in seconds.
const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0,
];

/// The series of this process. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<MethodLabels, Histogram, fn() -> Histogram>,
    calls: Family<CallLabels, CallCount>,
    call_durations: Family<CallLabels, Histogram, fn() -> Histogram>,
    /// Reads answered from the read cache.
    pub read_cache_hits: Counter,
    /// Backend calls made with a cached token.
    pub token_cache_hits: Counter,
    /// Backend calls that needed a new token.
    pub token_cache_misses: Counter,
    /// Tokens given up before their end.
    pub token_cache_evictions: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    provider: &'static str,
    call: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

/// A counter whose name does not end in `_total`, because upstream's does not.
#[derive(Clone, Debug, Default)]
struct CallCount(Counter<u64, AtomicU64>);

/// Reads what the transport counts at each scrape.
pub(crate) struct TransportCollector {
    pub(crate) identity: SharedIdentity,
    pub(crate) handshakes: CountsReader,
}

// === impl Metrics ===

impl Metrics {
    /// Makes the series and registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        let metrics = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(histogram),
            calls: Family::default(),
            call_durations: Family::new_with_constructor(histogram),
            read_cache_hits: Counter::default(),
            token_cache_hits: Counter::default(),
            token_cache_misses: Counter::default(),
            token_cache_evictions: Counter::default(),
        };
        for operation in Operation::ALL {
            let method = operation.name();
            drop(metrics.requests.get_or_create(&RequestLabels {
                method,
                code: code_name(Code::Ok),
            }));
            drop(metrics.durations.get_or_create(&MethodLabels { method }));
        }
        registry.register(
            "provider_grpc_requests",
            "Requests answered",
            metrics.requests.clone(),
        );
        registry.register(
            "provider_grpc_request_duration_seconds",
            "Time from request to answer",
            metrics.durations.clone(),
        );
        registry.register(
            "externalsecret_provider_api_calls_count",
            "Calls to the backend",
            metrics.calls.clone(),
        );
        registry.register(
            "externalsecret_provider_api_call_duration_seconds",
            "Time of calls to the backend",
            metrics.call_durations.clone(),
        );
        for (name, help, counter) in [
            (
                "provider_read_cache_hits",
                "Reads answered from the read cache",
                &metrics.read_cache_hits,
            ),
            (
                "provider_token_cache_hits",
                "Backend calls made with a cached token",
                &metrics.token_cache_hits,
            ),
            (
                "provider_token_cache_misses",
                "Backend calls that needed a new token",
                &metrics.token_cache_misses,
            ),
            (
                "provider_token_cache_evictions",
                "Tokens given up before their end",
                &metrics.token_cache_evictions,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        metrics
    }

    /// Counts a call to the backend and measures it. `provider` and `call` are upstream's label values (specification 2.8
    /// and 14).
    ///
    /// # Errors
    ///
    /// Those of `work`.
    pub async fn api_call<T>(
        &self,
        provider: &'static str,
        call: &'static str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let started = Instant::now();
        let result = work.await;
        let status = if result.is_ok() { "success" } else { "error" };
        let labels = CallLabels {
            provider,
            call,
            status,
        };
        self.calls.get_or_create(&labels).0.inc();
        self.call_durations
            .get_or_create(&labels)
            .observe(started.elapsed().as_secs_f64());
        result
    }

    /// How many requests of `operation` were answered with `code`.
    #[must_use]
    pub fn requests(&self, operation: Operation, code: Code) -> u64 {
        let labels = RequestLabels {
            method: operation.name(),
            code: code_name(code),
        };
        self.requests
            .get(&labels)
            .map_or(0, |counter| counter.get())
    }

    pub(crate) fn request(&self, operation: Operation, code: Code, started: Instant) {
        let method = operation.name();
        self.requests
            .get_or_create(&RequestLabels {
                method,
                code: code_name(code),
            })
            .inc();
        self.durations
            .get_or_create(&MethodLabels { method })
            .observe(started.elapsed().as_secs_f64());
    }
}

// === impl CallCount ===

impl EncodeMetric for CallCount {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&i64::try_from(self.0.get()).unwrap_or(i64::MAX))
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for CallCount {
    const TYPE: MetricType = MetricType::Unknown;
}

// === impl TransportCollector ===

impl fmt::Debug for TransportCollector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TransportCollector")
    }
}

impl Collector for TransportCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let expiry = self.identity.load().expiry();
        for (name, help, end) in [
            (
                "eso_provider_certificate_expiry_seconds",
                "Seconds until the server certificate ends",
                expiry.certificate,
            ),
            (
                "eso_ca_certificate_expiry_seconds",
                "Seconds until the trusted authority ends",
                expiry.authority,
            ),
        ] {
            let gauge = ConstGauge::new(seconds_until(end));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let reloads = self.identity.counts();
        for (name, help, count) in [
            (
                "eso_provider_certificate_hot_reload",
                "Identities replaced without restart",
                reloads.reloads,
            ),
            (
                "eso_provider_certificate_hot_reload_failures",
                "Identities refused",
                reloads.failures,
            ),
        ] {
            let counter = ConstCounter::new(count);
            counter.encode(encoder.encode_descriptor(
                name,
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        let handshakes = self.handshakes.get();
        let mut family = encoder.encode_descriptor(
            "provider_tls_handshakes",
            "Handshakes ended",
            None,
            MetricType::Counter,
        )?;
        for (result, count) in [
            ("accepted", handshakes.accepted),
            ("refused", handshakes.refused),
            ("abandoned", handshakes.abandoned),
        ] {
            ConstCounter::new(count).encode(family.encode_family(&ResultLabels { result })?)?;
        }
        Ok(())
    }
}

/// Negative for a moment in the past.
fn seconds_until(moment: SystemTime) -> f64 {
    match moment.duration_since(SystemTime::now()) {
        Ok(left) => left.as_secs_f64().floor(),
        Err(passed) => -passed.duration().as_secs_f64().ceil(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ProviderError;

    #[tokio::test]
    async fn backend_calls_keep_upstreams_series_name() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics
            .api_call("HashiCorp/Vault", "Login", async { Ok(()) })
            .await
            .unwrap();
        metrics
            .api_call("HashiCorp/Vault", "Login", async {
                Err::<(), _>(ProviderError::internal("x"))
            })
            .await
            .unwrap_err();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"externalsecret_provider_api_calls_count{provider="HashiCorp/Vault",call="Login",status="success"} 1"#,
            r#"externalsecret_provider_api_calls_count{provider="HashiCorp/Vault",call="Login",status="error"} 1"#,
            r#"provider_grpc_requests_total{method="GetSecret",code="OK"} 0"#,
            "provider_read_cache_hits_total 0",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    }
}

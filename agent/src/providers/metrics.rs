//! Series about calls and connections. Names and labels are upstream's where upstream has them (provider-protocol.md 11).

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::breaker::BreakerState;
use super::error::{CallError, Method};

/// Bounds of the duration histogram, in seconds.
const DURATIONS: [f64; 9] = [0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

/// Bounds of the ages of connections, in seconds.
const AGES: [f64; 6] = [60.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0];

/// Bounds of the times without use, in seconds.
const IDLE_TIMES: [f64; 6] = [30.0, 60.0, 120.0, 300.0, 600.0, 900.0];

/// All series. Clones share them.
#[derive(Clone)]
pub struct ProviderMetrics {
    durations: Family<CallLabels, Histogram, fn() -> Histogram>,
    requests: Family<CallLabels, Counter>,
    errors: Family<ErrorLabels, Counter>,
    codes: Family<CodeLabels, Counter>,
    retries: Family<RetryLabels, Counter>,
    breakers: Family<ProviderLabels, Gauge>,
    expiry: Family<ExpiryLabels, Gauge>,
    pub(crate) active: Family<PoolLabels, Gauge>,
    pub(crate) idle: Family<PoolLabels, Gauge>,
    pub(crate) total: Family<PoolLabels, Gauge>,
    pub(crate) hits: Family<PoolLabels, Counter>,
    pub(crate) misses: Family<PoolLabels, Counter>,
    pub(crate) connection_errors: Family<PoolLabels, Counter>,
    pub(crate) evictions: Family<EvictionLabels, Counter>,
    ages: Family<PoolLabels, Histogram, fn() -> Histogram>,
    idle_times: Family<PoolLabels, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    method: &'static str,
    target: String,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    method: &'static str,
    target: String,
    error_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    provider: String,
    method: &'static str,
    grpc_code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RetryLabels {
    provider: String,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProviderLabels {
    provider: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExpiryLabels {
    provider: String,
    cert: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PoolLabels {
    address: String,
    tls_enabled: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct EvictionLabels {
    address: String,
    tls_enabled: &'static str,
    eviction_reason: &'static str,
}

impl Default for ProviderMetrics {
    fn default() -> Self {
        Self {
            durations: Family::new_with_constructor(|| Histogram::new(DURATIONS)),
            requests: Family::default(),
            errors: Family::default(),
            codes: Family::default(),
            retries: Family::default(),
            breakers: Family::default(),
            expiry: Family::default(),
            active: Family::default(),
            idle: Family::default(),
            total: Family::default(),
            hits: Family::default(),
            misses: Family::default(),
            connection_errors: Family::default(),
            evictions: Family::default(),
            ages: Family::new_with_constructor(|| Histogram::new(AGES)),
            idle_times: Family::new_with_constructor(|| Histogram::new(IDLE_TIMES)),
        }
    }
}

impl ProviderMetrics {
    /// Registers the series.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "grpc_client_request_duration_seconds",
            "Time of calls to providers, with all attempts",
            self.durations.clone(),
        );
        registry.register(
            "grpc_client_requests",
            "Calls to providers",
            self.requests.clone(),
        );
        registry.register(
            "grpc_client_request_errors",
            "Failed calls to providers by cause",
            self.errors.clone(),
        );
        registry.register(
            "eso_agent_provider_rpc",
            "Calls to providers by gRPC code",
            self.codes.clone(),
        );
        registry.register(
            "eso_agent_provider_retries",
            "Attempts after the first",
            self.retries.clone(),
        );
        registry.register(
            "eso_agent_provider_breaker_state",
            "State of the breaker: 0 closed, 1 open, 2 half-open",
            self.breakers.clone(),
        );
        registry.register(
            "eso_agent_provider_tls_expiry_seconds",
            "Seconds from the epoch to the end of the certificate shown to a provider and of the authority it is checked with",
            self.expiry.clone(),
        );
        registry.register(
            "grpc_pool_connections_active",
            "Pooled connections in use",
            self.active.clone(),
        );
        registry.register(
            "grpc_pool_connections_idle",
            "Pooled connections not in use",
            self.idle.clone(),
        );
        registry.register(
            "grpc_pool_connections_total",
            "Pooled connections",
            self.total.clone(),
        );
        registry.register(
            "grpc_pool_hits",
            "Uses of a pooled connection",
            self.hits.clone(),
        );
        registry.register(
            "grpc_pool_misses",
            "Uses that made a connection",
            self.misses.clone(),
        );
        registry.register(
            "grpc_pool_connection_errors",
            "Connections that could not be prepared",
            self.connection_errors.clone(),
        );
        registry.register(
            "grpc_pool_evictions",
            "Connections that left the pool",
            self.evictions.clone(),
        );
        registry.register(
            "grpc_connection_age_seconds",
            "Ages of the pooled connections, sampled at each round of maintenance",
            self.ages.clone(),
        );
        registry.register(
            "grpc_connection_idle_seconds",
            "Times since the last use of the pooled connections, sampled at each round of maintenance",
            self.idle_times.clone(),
        );
    }

    pub(crate) fn observe(
        &self,
        target: &str,
        method: Method,
        time: Duration,
        error: Option<&CallError>,
    ) {
        let method = method.name();
        let status = if error.is_some() { "error" } else { "success" };
        let labels = CallLabels {
            method,
            target: target.to_owned(),
            status,
        };
        self.durations
            .get_or_create(&labels)
            .observe(time.as_secs_f64());
        self.requests.get_or_create(&labels).inc();
        let grpc_code = error.map_or("OK", CallError::grpc_code);
        self.codes
            .get_or_create(&CodeLabels {
                provider: target.to_owned(),
                method,
                grpc_code,
            })
            .inc();
        if let Some(error) = error {
            let labels = ErrorLabels {
                method,
                target: target.to_owned(),
                error_type: error.error_type(),
            };
            self.errors.get_or_create(&labels).inc();
        }
    }

    pub(crate) fn retried(&self, target: &str, method: Method) {
        self.retries
            .get_or_create(&RetryLabels {
                provider: target.to_owned(),
                method: method.name(),
            })
            .inc();
    }

    pub(crate) fn breaker(&self, target: &str, state: BreakerState) {
        self.breakers
            .get_or_create(&ProviderLabels {
                provider: target.to_owned(),
            })
            .set(state.as_number());
    }

    /// A connection was seen in a round of maintenance.
    pub(crate) fn sampled(&self, target: &str, age: Duration, unused: Duration) {
        let labels = PoolLabels::of(target);
        self.ages.get_or_create(&labels).observe(age.as_secs_f64());
        self.idle_times
            .get_or_create(&labels)
            .observe(unused.as_secs_f64());
    }

    pub(crate) fn expiry(&self, target: &str, expiry: latchkey_transport::Expiry) {
        for (cert, end) in [("ca", expiry.authority), ("client", expiry.certificate)] {
            let seconds = end
                .duration_since(std::time::SystemTime::UNIX_EPOCH)
                .map_or(0, |time| time.as_secs());
            let labels = ExpiryLabels {
                provider: target.to_owned(),
                cert,
            };
            self.expiry
                .get_or_create(&labels)
                .set(i64::try_from(seconds).unwrap_or(i64::MAX));
        }
    }

    /// Has one series of each name.
    #[cfg(test)]
    pub(crate) fn show_all(&self) {
        use super::error::Cause;
        let target = "p.a.svc:8080";
        let error = CallError {
            method: Method::GetSecret,
            cause: Cause::Timeout,
            text: String::new(),
            retry_after: None,
        };
        self.observe(target, Method::GetSecret, Duration::ZERO, Some(&error));
        self.retried(target, Method::GetSecret);
        self.breaker(target, BreakerState::Closed);
        let end = std::time::SystemTime::UNIX_EPOCH;
        self.expiry(
            target,
            latchkey_transport::Expiry {
                certificate: end,
                authority: end,
            },
        );
        for gauge in [&self.active, &self.idle, &self.total] {
            drop(gauge.get_or_create(&PoolLabels::of(target)));
        }
        for counter in [&self.hits, &self.misses, &self.connection_errors] {
            drop(counter.get_or_create(&PoolLabels::of(target)));
        }
        self.sampled(target, Duration::ZERO, Duration::ZERO);
        drop(
            self.evictions
                .get_or_create(&EvictionLabels::of(target, "idle_timeout")),
        );
    }

    /// Forgets the gauges of a provider that nothing connects to any more.
    pub(crate) fn forget(&self, target: &str) {
        self.breakers.remove(&ProviderLabels {
            provider: target.to_owned(),
        });
        for cert in ["ca", "client"] {
            self.expiry.remove(&ExpiryLabels {
                provider: target.to_owned(),
                cert,
            });
        }
        for family in [&self.active, &self.idle, &self.total] {
            family.remove(&PoolLabels::of(target));
        }
    }
}

impl PoolLabels {
    pub(crate) fn of(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            tls_enabled: "true",
        }
    }
}

impl EvictionLabels {
    pub(crate) fn of(address: &str, reason: &'static str) -> Self {
        Self {
            address: address.to_owned(),
            tls_enabled: "true",
            eviction_reason: reason,
        }
    }
}

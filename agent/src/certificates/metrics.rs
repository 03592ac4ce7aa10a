//! The series of provider-protocol.md 8.4.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::decide::Reason;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Owner {
    namespace: String,
    service: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rotation {
    namespace: String,
    service: String,
    reason: String,
}

/// The series about certificates.
///
/// Expiry is a point in time, in seconds since the Unix epoch. The label `service` names the Service, or for the agents' own
/// identity its Secret. Both labels are bounded by the namespaces that the chart allows.
#[derive(Clone, Default)]
pub struct Metrics {
    ca_expiry: Gauge,
    expiry: Family<Owner, Gauge>,
    rotations: Family<Rotation, Counter>,
    failures: Family<Owner, Counter>,
}

// === impl Metrics ===

impl Metrics {
    /// Registers the series.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "eso_ca_certificate_expiry_seconds",
            "When the issuing CA ends, in seconds since the epoch; 0 while unknown",
            self.ca_expiry.clone(),
        );
        registry.register(
            "eso_provider_certificate_expiry_seconds",
            "When a certificate ends, in seconds since the epoch",
            self.expiry.clone(),
        );
        registry.register(
            "eso_provider_certificate_rotation",
            "Certificates and trust bundles written, by reason",
            self.rotations.clone(),
        );
        registry.register(
            "eso_provider_certificate_rotation_failures",
            "Certificates that could not be read or written",
            self.failures.clone(),
        );
    }

    pub(super) fn ca_ends(&self, second: i64) {
        self.ca_expiry.set(second);
    }

    pub(super) fn ends(&self, namespace: &str, service: &str, second: i64) {
        self.expiry
            .get_or_create(&owner(namespace, service))
            .set(second);
    }

    pub(super) fn rotated(&self, namespace: &str, service: &str, reason: Reason) {
        let labels = Rotation {
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            reason: reason.to_string(),
        };
        self.rotations.get_or_create(&labels).inc();
    }

    pub(super) fn failed(&self, namespace: &str, service: &str) {
        self.failures
            .get_or_create(&owner(namespace, service))
            .inc();
    }

    /// Forgets a Service that is gone.
    pub(super) fn forget(&self, namespace: &str, service: &str) {
        self.expiry.remove(&owner(namespace, service));
    }

    /// Has one series of each name.
    #[cfg(test)]
    pub(crate) fn show_all(&self) {
        self.ends("a", "x", 1);
        self.rotated("a", "x", Reason::Created);
        self.failed("a", "x");
    }

    /// Forgets all ends, when another process takes over.
    pub(super) fn clear(&self) {
        self.ca_expiry.set(0);
        self.expiry.clear();
    }
}

fn owner(namespace: &str, service: &str) -> Owner {
    Owner {
        namespace: namespace.to_owned(),
        service: service.to_owned(),
    }
}

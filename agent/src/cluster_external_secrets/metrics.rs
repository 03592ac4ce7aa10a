//! The series of `externalsecret.md` 8.1 that concern ClusterExternalSecrets.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Object {
    name: String,
    namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Condition {
    name: String,
    namespace: String,
    condition: &'static str,
    status: &'static str,
}

/// The series about ClusterExternalSecrets. Their labels name the object, as upstream's do; the namespace is empty.
#[derive(Clone, Default)]
pub struct Metrics {
    conditions: Family<Condition, Gauge>,
    duration: Family<Object, Gauge>,
}

// === impl Metrics ===

impl Metrics {
    /// Registers the series.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "clusterexternalsecret_status_condition",
            "1 for the condition that a ClusterExternalSecret has, 0 for its opposite",
            self.conditions.clone(),
        );
        registry.register(
            "clusterexternalsecret_reconcile_duration",
            "Duration of the last pass over a ClusterExternalSecret in nanoseconds",
            self.duration.clone(),
        );
    }

    /// The Ready condition that an object has. Unlike upstream's, the series tell failures too (D-14).
    pub(super) fn ready(&self, name: &str, ready: bool) {
        for (status, holds) in [("True", ready), ("False", !ready)] {
            self.conditions
                .get_or_create(&condition(name, status))
                .set(i64::from(holds));
        }
    }

    pub(super) fn took(&self, name: &str, duration: Duration) {
        let nanoseconds = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        self.duration.get_or_create(&object(name)).set(nanoseconds);
    }

    /// Forgets an object that is gone.
    pub(super) fn gone(&self, name: &str) {
        for status in ["True", "False"] {
            self.conditions.remove(&condition(name, status));
        }
        self.duration.remove(&object(name));
    }

    /// Forgets all objects when the result is dropped: another replica may lead from then on, and what this one says is old.
    pub(super) fn while_leading(&self) -> WhileLeading {
        WhileLeading(self.clone())
    }
}

/// See [`Metrics::while_leading`].
pub(super) struct WhileLeading(Metrics);

impl Drop for WhileLeading {
    fn drop(&mut self) {
        self.0.conditions.clear();
        self.0.duration.clear();
    }
}

fn object(name: &str) -> Object {
    Object {
        name: name.to_owned(),
        namespace: String::new(),
    }
}

fn condition(name: &str, status: &'static str) -> Condition {
    Condition {
        name: name.to_owned(),
        namespace: String::new(),
        condition: "Ready",
        status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_have_the_names_of_upstream_and_vanish_with_their_object() {
        // externalsecret.md 8.1, E232, D-14
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        let text = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        let ready = |status: &str, value: u8| {
            format!(
                "clusterexternalsecret_status_condition{{name=\"x\",namespace=\"\",condition=\"Ready\",status=\"{status}\"}} {value}\n"
            )
        };
        metrics.took("x", Duration::from_micros(3));
        metrics.ready("x", true);
        assert!(text().contains(&ready("True", 1)) && text().contains(&ready("False", 0)));
        assert!(text().contains(
            "clusterexternalsecret_reconcile_duration{name=\"x\",namespace=\"\"} 3000\n"
        ));
        metrics.ready("x", false);
        assert!(text().contains(&ready("True", 0)) && text().contains(&ready("False", 1)));
        metrics.gone("x");
        assert!(!text().contains("name=\"x\""), "{}", text());
        let leading = metrics.while_leading();
        metrics.ready("x", true);
        drop(leading);
        assert!(!text().contains("name=\"x\""), "{}", text());
    }
}

//! The series of `externalsecret.md` 8.1 that concern ExternalSecrets.

use std::time::Duration;

use latchkey_crds::conditions::ConditionStatus;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
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

/// The series about ExternalSecrets. Their labels name the object, as upstream's do.
#[derive(Clone, Default)]
pub struct Metrics {
    calls: Family<Object, Counter>,
    // A gauge that only rises: a counter would get the suffix `_total`, which upstream's series of this name does not have.
    errors: Family<Object, Gauge>,
    conditions: Family<Condition, Gauge>,
    duration: Family<Object, Gauge>,
    usable: Gauge,
}

// === impl Metrics ===

impl Metrics {
    /// Registers the series.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "externalsecret_sync_calls",
            "Passes over an ExternalSecret, those with nothing to do included",
            self.calls.clone(),
        );
        registry.register(
            "externalsecret_sync_calls_error",
            "Passes over an ExternalSecret that failed",
            self.errors.clone(),
        );
        registry.register(
            "externalsecret_status_condition",
            "1 for the condition that an ExternalSecret has, 0 for its opposite",
            self.conditions.clone(),
        );
        registry.register(
            "externalsecret_reconcile_duration",
            "Duration of the last pass over an ExternalSecret in nanoseconds",
            self.duration.clone(),
        );
        registry.register(
            "latchkey_external_secret_definition_usable",
            "1 if the installed ExternalSecret can be served, 0 if it lacks fields or is not there",
            self.usable.clone(),
        );
    }

    pub(super) fn usable(&self, usable: bool) {
        self.usable.set(i64::from(usable));
    }

    pub(super) fn called(&self, namespace: &str, name: &str) {
        self.calls.get_or_create(&object(namespace, name)).inc();
    }

    pub(super) fn failed(&self, namespace: &str, name: &str) {
        self.errors.get_or_create(&object(namespace, name)).inc();
    }

    pub(super) fn took(&self, namespace: &str, name: &str, duration: Duration) {
        let nanoseconds = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        self.duration
            .get_or_create(&object(namespace, name))
            .set(nanoseconds);
    }

    /// The Ready condition that an object has, or none.
    pub(super) fn ready(&self, namespace: &str, name: &str, status: Option<ConditionStatus>) {
        for (value, label) in [
            (ConditionStatus::True, "True"),
            (ConditionStatus::False, "False"),
        ] {
            self.conditions
                .get_or_create(&condition(namespace, name, "Ready", label))
                .set(i64::from(status == Some(value)));
        }
        if status == Some(ConditionStatus::True) {
            self.conditions
                .remove(&condition(namespace, name, "Deleted", "False"));
        }
    }

    /// Forgets all objects when the result is dropped: another replica may lead from then on, and what this one says is old.
    pub(super) fn while_leading(&self) -> WhileLeading {
        WhileLeading(self.clone())
    }

    /// Forgets an object that another replica looks after from now on.
    pub(super) fn left(&self, namespace: &str, name: &str) {
        self.gone(namespace, name);
        self.conditions
            .remove(&condition(namespace, name, "Deleted", "False"));
    }

    /// Forgets an object that is gone. One that this replica never looked at leaves no trace.
    pub(super) fn gone(&self, namespace: &str, name: &str) {
        if self.calls.get(&object(namespace, name)).is_none() {
            return;
        }
        for status in ["True", "False"] {
            self.conditions
                .remove(&condition(namespace, name, "Ready", status));
        }
        self.conditions
            .get_or_create(&condition(namespace, name, "Deleted", "False"))
            .set(1);
        let object = object(namespace, name);
        self.calls.remove(&object);
        self.errors.remove(&object);
        self.duration.remove(&object);
    }
}

/// See [`Metrics::while_leading`].
pub(super) struct WhileLeading(Metrics);

impl Drop for WhileLeading {
    fn drop(&mut self) {
        self.0.calls.clear();
        self.0.errors.clear();
        self.0.conditions.clear();
        self.0.duration.clear();
    }
}

fn object(namespace: &str, name: &str) -> Object {
    Object {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
    }
}

fn condition(
    namespace: &str,
    name: &str,
    condition: &'static str,
    status: &'static str,
) -> Condition {
    Condition {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        condition,
        status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_have_the_names_and_values_of_upstream() {
        // externalsecret.md 8.1, E232
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        metrics.called("a", "x");
        metrics.failed("a", "x");
        metrics.took("a", "x", Duration::from_micros(3));
        metrics.ready("a", "x", Some(ConditionStatus::False));
        metrics.ready("a", "x", Some(ConditionStatus::True));
        let text = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        for line in [
            "externalsecret_sync_calls_total{name=\"x\",namespace=\"a\"} 1",
            "externalsecret_sync_calls_error{name=\"x\",namespace=\"a\"} 1",
            "externalsecret_status_condition{name=\"x\",namespace=\"a\",condition=\"Ready\",status=\"True\"} 1",
            "externalsecret_status_condition{name=\"x\",namespace=\"a\",condition=\"Ready\",status=\"False\"} 0",
            "externalsecret_reconcile_duration{name=\"x\",namespace=\"a\"} 3000",
        ] {
            assert!(
                text().lines().any(|found| found == line),
                "{line} in\n{}",
                text()
            );
        }
        metrics.gone("a", "x");
        assert!(!text().contains("condition=\"Ready\""));
        assert!(text().contains("condition=\"Deleted\",status=\"False\"} 1"));
        metrics.ready("a", "x", Some(ConditionStatus::True));
        assert!(!text().contains("Deleted"));
    }

    #[test]
    fn a_former_leader_says_nothing_about_objects() {
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        let leading = metrics.while_leading();
        metrics.called("a", "x");
        metrics.failed("a", "x");
        metrics.took("a", "x", Duration::from_micros(3));
        metrics.ready("a", "x", Some(ConditionStatus::True));
        drop(leading);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(!text.contains("name=\"x\""), "{text}");
    }
}

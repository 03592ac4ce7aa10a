//! The series of `externalsecret.md` 8.1 that concern ClusterExternalSecrets.

use std::collections::BTreeMap;
use std::time::Duration;

use latchkey_crds::conditions::{ConditionStatus, READY};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::object_labels::{ConditionLabels, ObjectLabeler, ObjectLabels, STATES};
use crate::passes::{Pass, Passes};

/// Their label `namespace` is empty.
const NOWHERE: &str = "";

/// The series about ClusterExternalSecrets. Their labels name the object, as upstream's do; the namespace is empty.
#[derive(Clone, Default)]
pub struct Metrics {
    conditions: Family<ConditionLabels, Gauge>,
    duration: Family<ObjectLabels, Gauge>,
    labels: ObjectLabeler,
    passes: Passes,
}

// === impl Metrics ===

impl Metrics {
    /// Series whose labels are the extended sets, if `extended`. Passes are counted in `passes`, too, which the caller registers.
    #[must_use]
    pub fn new(extended: bool, passes: Passes) -> Self {
        Self {
            labels: ObjectLabeler::new(extended),
            passes,
            ..Self::default()
        }
    }

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

    /// Takes note of the object's labels, before a pass over it. Series with outdated ones go.
    pub(super) fn describe(&self, name: &str, labels: Option<&BTreeMap<String, String>>) {
        self.labels
            .describe(NOWHERE, name, labels, || self.remove(name));
    }

    /// A pass begins.
    pub(super) fn begin(&self) -> Pass<'_> {
        self.passes.begin("clusterexternalsecret")
    }

    /// The Ready condition that an object has. Unlike upstream's, the series tell failures too (D-14).
    pub(super) fn ready(&self, name: &str, ready: bool) {
        for state in STATES {
            self.conditions
                .get_or_create(&self.labels.condition(NOWHERE, name, READY, state))
                .set(i64::from(ready == (state == ConditionStatus::True)));
        }
    }

    pub(super) fn took(&self, name: &str, duration: Duration) {
        let nanoseconds = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        self.duration
            .get_or_create(&self.labels.object(NOWHERE, name))
            .set(nanoseconds);
    }

    /// Forgets an object that is gone.
    pub(super) fn gone(&self, name: &str) {
        self.remove(name);
        self.labels.forget(NOWHERE, name);
    }

    fn remove(&self, name: &str) {
        for state in STATES {
            self.conditions
                .remove(&self.labels.condition(NOWHERE, name, READY, state));
        }
        self.duration.remove(&self.labels.object(NOWHERE, name));
    }

    /// Forgets all objects when the result is dropped: another replica may lead from then on, and what this one says is old.
    pub(super) fn while_leading(&self) -> WhileLeading {
        WhileLeading(self.clone())
    }

    /// Has one series of each name.
    #[cfg(test)]
    pub(crate) fn show_all(&self) {
        self.took("x", Duration::from_millis(1));
        self.ready("x", true);
    }
}

/// See [`Metrics::while_leading`].
pub(super) struct WhileLeading(Metrics);

impl Drop for WhileLeading {
    fn drop(&mut self) {
        self.0.conditions.clear();
        self.0.duration.clear();
        self.0.labels.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(metrics: &Metrics) -> Vec<String> {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        crate::exposition::series(&registry)
    }

    #[test]
    fn series_have_the_names_of_upstream_and_vanish_with_their_object() {
        // externalsecret.md 8.1, E232, D-14
        let metrics = Metrics::default();
        let duration =
            r#"clusterexternalsecret_reconcile_duration{name="x",namespace=""} 3000"#.to_owned();
        let ready = |status: &str, value: u8| {
            format!(
                "clusterexternalsecret_status_condition{{name=\"x\",namespace=\"\",condition=\"Ready\",status=\"{status}\"}} {value}"
            )
        };
        metrics.took("x", Duration::from_micros(3));
        assert_eq!(shown(&metrics), std::slice::from_ref(&duration));
        for (is_ready, when_true, when_false) in [(true, 1, 0), (false, 0, 1)] {
            metrics.ready("x", is_ready);
            let expected = [
                duration.clone(),
                ready("False", when_false),
                ready("True", when_true),
            ];
            assert_eq!(shown(&metrics), expected, "{is_ready}");
        }
        metrics.gone("x");
        assert_eq!(shown(&metrics), [""; 0]);
        let leading = metrics.while_leading();
        metrics.show_all();
        drop(leading);
        assert_eq!(shown(&metrics), [""; 0]);
    }

    #[test]
    fn series_have_the_labels_of_their_object_if_wanted() {
        // externalsecret.md 8.1, E230, E231
        let metrics = Metrics::new(true, Passes::default());
        let labels = |value: &str| {
            BTreeMap::from([("app.kubernetes.io/part-of".to_owned(), value.to_owned())])
        };
        let of = |value: &str| {
            let label = format!("app_kubernetes_io_part_of=\"{value}\"");
            let lines = shown(&metrics).into_iter();
            lines.filter(|line| line.contains(&label)).count()
        };
        metrics.describe("x", Some(&labels("one")));
        metrics.show_all();
        assert_eq!((of("one"), shown(&metrics).len()), (3, 3));
        metrics.describe("x", Some(&labels("two")));
        metrics.show_all();
        assert_eq!((of("two"), shown(&metrics).len()), (3, 3));
        metrics.gone("x");
        assert_eq!(shown(&metrics), [""; 0]);
    }
}

//! The series of `externalsecret.md` 8.1 that concern ExternalSecrets.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use latchkey_crds::conditions::{ConditionStatus, READY};
use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

use crate::object_labels::{ConditionLabels, ObjectLabeler, ObjectLabels, STATES};
use crate::passes::{Pass, Passes};
use crate::schedule::meter::Meter;

/// The condition that only series tell: the object is gone (`externalsecret.md` 1.2).
const DELETED: &str = "Deleted";

/// The series about ExternalSecrets. Their labels name the object, as upstream's do.
#[derive(Clone, Default)]
pub struct Metrics {
    calls: Family<ObjectLabels, Counter>,
    errors: Family<ObjectLabels, PlainCount>,
    conditions: Family<ConditionLabels, Gauge>,
    duration: Family<ObjectLabels, Gauge>,
    usable: Gauge,
    labels: ObjectLabeler,
    passes: Passes,
}

/// A counter whose name does not end in `_total`, because upstream's does not.
#[derive(Clone, Debug, Default)]
struct PlainCount(Counter<u64, AtomicU64>);

// === impl PlainCount ===

impl EncodeMetric for PlainCount {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&i64::try_from(self.0.get()).unwrap_or(i64::MAX))
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for PlainCount {
    const TYPE: MetricType = MetricType::Unknown;
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

    /// Takes note of the object's labels, before a pass over it. Series with outdated ones go; that of an object that was gone
    /// stays until the new one is ready.
    pub(super) fn describe(
        &self,
        namespace: &str,
        name: &str,
        labels: Option<&BTreeMap<String, String>>,
    ) {
        let mut was_gone = false;
        self.labels.describe(namespace, name, labels, || {
            self.remove(namespace, name);
            was_gone = self.conditions.remove(&self.deleted(namespace, name));
        });
        if was_gone {
            self.conditions
                .get_or_create(&self.deleted(namespace, name))
                .set(1);
        }
    }

    /// A pass begins.
    pub(super) fn begin(&self) -> Pass<'_> {
        self.passes.begin("externalsecret")
    }

    /// What the queue tells.
    pub(super) fn meter(&self) -> Meter {
        self.passes.meter("externalsecret")
    }

    pub(super) fn called(&self, namespace: &str, name: &str) {
        self.calls
            .get_or_create(&self.labels.object(namespace, name))
            .inc();
    }

    pub(super) fn failed(&self, namespace: &str, name: &str) {
        self.errors
            .get_or_create(&self.labels.object(namespace, name))
            .0
            .inc();
    }

    pub(super) fn took(&self, namespace: &str, name: &str, duration: Duration) {
        let nanoseconds = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        self.duration
            .get_or_create(&self.labels.object(namespace, name))
            .set(nanoseconds);
    }

    /// The Ready condition that an object has, or none.
    pub(super) fn ready(&self, namespace: &str, name: &str, status: Option<ConditionStatus>) {
        for state in STATES {
            self.conditions
                .get_or_create(&self.labels.condition(namespace, name, READY, state))
                .set(i64::from(status == Some(state)));
        }
        if status == Some(ConditionStatus::True) {
            self.conditions.remove(&self.deleted(namespace, name));
        }
    }

    /// Forgets all objects when the result is dropped: another replica may lead from then on, and what this one says is old.
    pub(super) fn while_leading(&self) -> WhileLeading {
        WhileLeading(self.clone())
    }

    /// Forgets an object that another replica looks after from now on.
    pub(super) fn left(&self, namespace: &str, name: &str) {
        self.gone(namespace, name);
        self.conditions.remove(&self.deleted(namespace, name));
        self.labels.forget(namespace, name);
    }

    /// Forgets an object that is gone. One that this replica never looked at leaves no trace.
    pub(super) fn gone(&self, namespace: &str, name: &str) {
        let object = self.labels.object(namespace, name);
        if self.calls.get(&object).is_none() {
            return;
        }
        self.remove(namespace, name);
        self.conditions
            .get_or_create(&self.deleted(namespace, name))
            .set(1);
    }

    /// Removes all series of an object but the one that tells that it is gone.
    fn remove(&self, namespace: &str, name: &str) {
        for state in STATES {
            self.conditions
                .remove(&self.labels.condition(namespace, name, READY, state));
        }
        let object = self.labels.object(namespace, name);
        self.calls.remove(&object);
        self.errors.remove(&object);
        self.duration.remove(&object);
    }

    fn deleted(&self, namespace: &str, name: &str) -> ConditionLabels {
        self.labels
            .condition(namespace, name, DELETED, ConditionStatus::False)
    }

    /// Has one series of each name.
    #[cfg(test)]
    pub(crate) fn show_all(&self) {
        self.called("a", "x");
        self.failed("a", "x");
        self.took("a", "x", Duration::from_millis(1));
        self.ready("a", "x", Some(ConditionStatus::True));
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
        self.0.labels.clear();
    }
}

#[cfg(test)]
mod tests;

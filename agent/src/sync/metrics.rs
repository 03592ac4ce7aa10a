//! The series of `externalsecret.md` 8.1 that concern ExternalSecrets.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use latchkey_crds::conditions::ConditionStatus;
use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabel as _, EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::backoff::Key;

/// Labels that the extended sets have beside the object's identity, which wins over all of them (D-05).
const EXTENDED: [&str; 6] = [
    "app_kubernetes_io_name",
    "app_kubernetes_io_instance",
    "app_kubernetes_io_version",
    "app_kubernetes_io_component",
    "app_kubernetes_io_part_of",
    "app_kubernetes_io_managed_by",
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Object {
    name: String,
    namespace: String,
    #[prometheus(flatten)]
    extended: Extended,
}

/// Values of [`EXTENDED`], if they are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Extended(Option<Arc<[String; EXTENDED.len()]>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Condition {
    name: String,
    namespace: String,
    condition: &'static str,
    status: &'static str,
    #[prometheus(flatten)]
    extended: Extended,
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
    /// The extended labels of objects by namespace and name; `None` if they are not wanted.
    extended: Option<Arc<Mutex<HashMap<Key, Extended>>>>,
}

// === impl Extended ===

impl Extended {
    /// Labels of an object whose names, with runs of other characters than letters, digits and spaces replaced, are known.
    fn of(labels: Option<&BTreeMap<String, String>>) -> Self {
        let mut values: [String; EXTENDED.len()] = Default::default();
        for (key, value) in labels.into_iter().flatten() {
            let key = normalized(key);
            if let Some(position) = EXTENDED.iter().position(|known| *known == key) {
                values[position].clone_from(value);
            }
        }
        Self(Some(Arc::new(values)))
    }
}

impl EncodeLabelSet for Extended {
    fn encode(&self, encoder: &mut LabelSetEncoder) -> fmt::Result {
        let values = self.0.iter().flat_map(|values| values.iter());
        for (key, value) in EXTENDED.into_iter().zip(values) {
            (key, value.as_str()).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

fn normalized(key: &str) -> String {
    let mut normalized = String::with_capacity(key.len());
    for character in key.chars() {
        if character.is_ascii_alphanumeric() || character == ' ' {
            normalized.push(character);
        } else if !normalized.ends_with('_') {
            normalized.push('_');
        }
    }
    normalized
}

// === impl Metrics ===

impl Metrics {
    /// Series whose labels are the extended sets, if `extended`.
    #[must_use]
    pub fn new(extended: bool) -> Self {
        Self {
            extended: extended.then(Arc::default),
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

    /// Takes note of the object's labels, before a pass over it. Series with outdated ones go.
    pub(super) fn describe(
        &self,
        namespace: &str,
        name: &str,
        labels: Option<&BTreeMap<String, String>>,
    ) {
        let Some(known) = &self.extended else {
            return;
        };
        let key = (namespace.to_owned(), name.to_owned());
        let new = Extended::of(labels);
        let is_outdated = known.lock().get(&key).is_some_and(|old| *old != new);
        if is_outdated {
            self.remove(namespace, name);
        }
        known.lock().insert(key, new);
    }

    fn extended(&self, namespace: &str, name: &str) -> Extended {
        let Some(known) = &self.extended else {
            return Extended::default();
        };
        let key = (namespace.to_owned(), name.to_owned());
        let known = known.lock().get(&key).cloned();
        known.unwrap_or_else(|| Extended::of(None))
    }

    fn object(&self, namespace: &str, name: &str) -> Object {
        Object {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            extended: self.extended(namespace, name),
        }
    }

    fn condition(
        &self,
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
            extended: self.extended(namespace, name),
        }
    }

    pub(super) fn called(&self, namespace: &str, name: &str) {
        self.calls
            .get_or_create(&self.object(namespace, name))
            .inc();
    }

    pub(super) fn failed(&self, namespace: &str, name: &str) {
        self.errors
            .get_or_create(&self.object(namespace, name))
            .inc();
    }

    pub(super) fn took(&self, namespace: &str, name: &str, duration: Duration) {
        let nanoseconds = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        self.duration
            .get_or_create(&self.object(namespace, name))
            .set(nanoseconds);
    }

    /// The Ready condition that an object has, or none.
    pub(super) fn ready(&self, namespace: &str, name: &str, status: Option<ConditionStatus>) {
        for (value, label) in [
            (ConditionStatus::True, "True"),
            (ConditionStatus::False, "False"),
        ] {
            self.conditions
                .get_or_create(&self.condition(namespace, name, "Ready", label))
                .set(i64::from(status == Some(value)));
        }
        if status == Some(ConditionStatus::True) {
            self.conditions
                .remove(&self.condition(namespace, name, "Deleted", "False"));
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
            .remove(&self.condition(namespace, name, "Deleted", "False"));
    }

    /// Forgets an object that is gone. One that this replica never looked at leaves no trace.
    pub(super) fn gone(&self, namespace: &str, name: &str) {
        if self.calls.get(&self.object(namespace, name)).is_none() {
            return;
        }
        self.remove(namespace, name);
        self.conditions
            .get_or_create(&self.condition(namespace, name, "Deleted", "False"))
            .set(1);
    }

    /// Removes all series of an object but the one that tells that it is gone.
    fn remove(&self, namespace: &str, name: &str) {
        for status in ["True", "False"] {
            self.conditions
                .remove(&self.condition(namespace, name, "Ready", status));
        }
        let object = self.object(namespace, name);
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
        if let Some(known) = &self.0.extended {
            known.lock().clear();
        }
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
    fn extended_labels_come_from_labels_of_the_object_and_never_hide_who_it_is() {
        // externalsecret.md 8.1, E230, E231, D-05
        let (metrics, mut registry) = (Metrics::new(true), Registry::default());
        metrics.register(&mut registry);
        let text = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        let line = |name: &str, version: &str| {
            format!(
                "externalsecret_sync_calls_total{{name=\"x\",namespace=\"a\",app_kubernetes_io_name=\"{name}\",\
                 app_kubernetes_io_instance=\"\",app_kubernetes_io_version=\"{version}\",app_kubernetes_io_component=\"\",\
                 app_kubernetes_io_part_of=\"\",app_kubernetes_io_managed_by=\"\"}} 1"
            )
        };
        let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        metrics.describe("a", "x", None);
        metrics.called("a", "x");
        assert!(text().contains(&line("", "")), "{}", text());
        metrics.ready("a", "x", Some(ConditionStatus::False));
        let named = labels(&[
            ("app.kubernetes.io/name", "web"),
            ("app@kubernetes..io-version", "7"),
            ("name", "liar"),
            ("status", "liar"),
            ("other", "liar"),
        ]);
        metrics.describe("a", "x", Some(&named));
        metrics.called("a", "x");
        metrics.ready("a", "x", Some(ConditionStatus::True));
        assert!(text().contains(&line("web", "7")), "{}", text());
        assert!(!text().contains(&line("", "")), "outdated: {}", text());
        assert!(!text().contains("liar"), "{}", text());
        assert_eq!(text().matches("condition=\"Ready\"").count(), 2);
        metrics.gone("a", "x");
        assert!(!text().contains("Ready") && text().contains("Deleted"));
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

//! Series about stores and generators, under upstream's names (externalsecret.md 8.1).

use std::collections::BTreeMap;
use std::time::Duration;

use latchkey_crds::conditions::{ConditionStatus, READY};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::object_labels::{ConditionLabels, ObjectLabeler, ObjectLabels, STATES};
use crate::passes::{Pass, Passes};
use crate::stores::StoreKey;

/// All series. Clones share them.
#[derive(Clone, Default)]
pub struct StoreMetrics {
    namespaced: Series,
    cluster: Series,
    generator: Series,
    cluster_generator: Series,
    passes: Passes,
}

/// The series of one kind.
#[derive(Clone, Default)]
struct Series {
    condition: Family<ConditionLabels, Gauge>,
    duration: Family<ObjectLabels, Gauge>,
    labels: ObjectLabeler,
}

// === impl StoreMetrics ===

impl StoreMetrics {
    /// Series whose labels are the extended sets, if `extended`. Passes are counted in `passes`, too, which the caller registers.
    #[must_use]
    pub fn new(extended: bool, passes: Passes) -> Self {
        Self {
            passes,
            namespaced: Series::new(extended),
            cluster: Series::new(extended),
            generator: Series::new(extended),
            cluster_generator: Series::new(extended),
        }
    }

    /// Registers the series.
    pub fn register(&self, registry: &mut Registry) {
        for (prefix, series) in self.by_prefix() {
            registry.register(
                format!("{prefix}_status_condition"),
                "1 for the condition that a store or generator has, 0 for its opposite",
                series.condition.clone(),
            );
            registry.register(
                format!("{prefix}_reconcile_duration"),
                "Duration of the last pass over a store or generator in nanoseconds",
                series.duration.clone(),
            );
        }
    }

    /// Takes note of the object's labels, before what was found is set. Series with outdated ones go.
    pub(super) fn describe(&self, key: &StoreKey, labels: Option<&BTreeMap<String, String>>) {
        let series = self.of(key);
        series
            .labels
            .describe(&key.namespace, &key.name, labels, || series.remove(key));
    }

    /// A pass over a store or generator begins.
    pub(super) fn begin(&self, key: &StoreKey) -> Pass<'_> {
        self.passes
            .begin(match (key.is_generator(), key.is_cluster()) {
                (false, false) => "secretstore",
                (false, true) => "clustersecretstore",
                (true, false) => "generator",
                (true, true) => "clustergenerator",
            })
    }

    pub(super) fn set(&self, key: &StoreKey, status: ConditionStatus, time: Duration) {
        let Series {
            condition,
            duration,
            labels,
        } = self.of(key);
        let (namespace, name) = (&*key.namespace, &*key.name);
        for state in STATES {
            condition
                .get_or_create(&labels.condition(namespace, name, READY, state))
                .set(i64::from(state == status));
        }
        let nanoseconds = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        duration
            .get_or_create(&labels.object(namespace, name))
            .set(nanoseconds);
    }

    pub(super) fn forget(&self, key: &StoreKey) {
        let series = self.of(key);
        series.remove(key);
        series.labels.forget(&key.namespace, &key.name);
    }

    /// Another replica may lead from here on.
    pub(super) fn clear(&self) {
        for (_, series) in self.by_prefix() {
            series.condition.clear();
            series.duration.clear();
            series.labels.clear();
        }
    }

    fn by_prefix(&self) -> [(&'static str, &Series); 4] {
        [
            ("secretstore", &self.namespaced),
            ("clustersecretstore", &self.cluster),
            ("generator", &self.generator),
            ("clustergenerator", &self.cluster_generator),
        ]
    }

    fn of(&self, key: &StoreKey) -> &Series {
        match (key.is_generator(), key.is_cluster()) {
            (false, false) => &self.namespaced,
            (false, true) => &self.cluster,
            (true, false) => &self.generator,
            (true, true) => &self.cluster_generator,
        }
    }

    /// Has one series of each name.
    #[cfg(test)]
    pub(crate) fn show_all(&self) {
        for key in [
            StoreKey::namespaced("a", "x"),
            StoreKey::cluster("x"),
            StoreKey::generator("a", "x"),
            StoreKey::cluster_generator("x"),
        ] {
            self.set(&key, ConditionStatus::True, Duration::from_millis(1));
        }
    }
}

// === impl Series ===

impl Series {
    fn new(extended: bool) -> Self {
        Self {
            labels: ObjectLabeler::new(extended),
            ..Self::default()
        }
    }

    fn remove(&self, key: &StoreKey) {
        let (namespace, name) = (&*key.namespace, &*key.name);
        for state in STATES {
            let labels = self.labels.condition(namespace, name, READY, state);
            self.condition.remove(&labels);
        }
        self.duration.remove(&self.labels.object(namespace, name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(metrics: &StoreMetrics) -> Vec<String> {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        crate::exposition::series(&registry)
    }

    /// The kinds, their prefixes, and the namespace that the series of each have.
    fn kinds() -> [(StoreKey, &'static str, &'static str); 4] {
        [
            (StoreKey::namespaced("a", "x"), "secretstore", "a"),
            (StoreKey::cluster("x"), "clustersecretstore", ""),
            (StoreKey::generator("a", "x"), "generator", "a"),
            (StoreKey::cluster_generator("x"), "clustergenerator", ""),
        ]
    }

    #[test]
    fn series_follow_the_condition_and_go_with_the_store() {
        // externalsecret.md 8.1, E233
        let metrics = StoreMetrics::default();
        for (key, prefix, namespace) in kinds() {
            for (status, when_true, when_false) in [
                (ConditionStatus::True, 1, 0),
                (ConditionStatus::False, 0, 1),
                (ConditionStatus::True, 1, 0),
            ] {
                metrics.set(&key, status, Duration::from_millis(2));
                let object = format!("name=\"x\",namespace=\"{namespace}\"");
                let condition = |status: &str, value: u8| {
                    format!(
                        "{prefix}_status_condition{{{object},condition=\"Ready\",status=\"{status}\"}} {value}"
                    )
                };
                let expected = [
                    format!("{prefix}_reconcile_duration{{{object}}} 2000000"),
                    condition("False", when_false),
                    condition("True", when_true),
                ];
                assert_eq!(shown(&metrics), expected, "{key} {status:?}");
            }
            metrics.forget(&key);
            assert_eq!(shown(&metrics), [""; 0], "{key}");
        }
        metrics.show_all();
        metrics.clear();
        assert_eq!(shown(&metrics), [""; 0]);
    }

    #[test]
    fn series_have_the_labels_of_their_object_if_wanted() {
        // externalsecret.md 8.1, E230, E231
        let metrics = StoreMetrics::new(true, Passes::default());
        let labels =
            |value: &str| BTreeMap::from([("app.kubernetes.io/name".to_owned(), value.to_owned())]);
        let of = |value: &str| {
            let label = format!("app_kubernetes_io_name=\"{value}\"");
            let lines = shown(&metrics).into_iter();
            lines.filter(|line| line.contains(&label)).count()
        };
        for (key, prefix, _) in kinds() {
            for value in ["one", "two"] {
                metrics.describe(&key, Some(&labels(value)));
                metrics.set(&key, ConditionStatus::False, Duration::ZERO);
                let lines = shown(&metrics);
                assert_eq!((of(value), lines.len()), (3, 3), "{key}: {lines:?}");
                let own = |line: &String| line.starts_with(&format!("{prefix}_"));
                assert!(lines.iter().all(own), "{lines:?}");
            }
            metrics.forget(&key);
            assert_eq!(shown(&metrics), [""; 0], "{key}");
        }
    }
}

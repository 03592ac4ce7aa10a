//! Series about stores and generators, under upstream's names (externalsecret.md 8.1).

use std::time::Duration;

use latchkey_crds::conditions::ConditionStatus;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::stores::StoreKey;

/// All series. Clones share them.
#[derive(Clone, Default)]
pub struct StoreMetrics {
    namespaced: Series,
    cluster: Series,
    generator: Series,
    cluster_generator: Series,
}

#[derive(Clone, Default)]
struct Series {
    condition: Family<ConditionLabels, Gauge>,
    duration: Family<StoreLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StoreLabels {
    name: String,
    namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionLabels {
    name: String,
    namespace: String,
    condition: &'static str,
    status: &'static str,
}

impl StoreMetrics {
    /// Registers the series.
    pub fn register(&self, registry: &mut Registry) {
        for (prefix, series) in [
            ("secretstore", &self.namespaced),
            ("clustersecretstore", &self.cluster),
            ("generator", &self.generator),
            ("clustergenerator", &self.cluster_generator),
        ] {
            registry.register(
                format!("{prefix}_status_condition"),
                "The condition that a store has now is 1",
                series.condition.clone(),
            );
            registry.register(
                format!("{prefix}_reconcile_duration"),
                "Nanoseconds that the last pass took",
                series.duration.clone(),
            );
        }
    }

    pub(super) fn set(&self, key: &StoreKey, status: ConditionStatus, time: Duration) {
        let series = self.of(key);
        for other in [ConditionStatus::True, ConditionStatus::False] {
            let gauge = series.condition.get_or_create_owned(&condition(key, other));
            gauge.set(i64::from(other == status));
        }
        let nanoseconds = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        series
            .duration
            .get_or_create_owned(&labels(key))
            .set(nanoseconds);
    }

    pub(super) fn forget(&self, key: &StoreKey) {
        let series = self.of(key);
        for status in [ConditionStatus::True, ConditionStatus::False] {
            series.condition.remove(&condition(key, status));
        }
        series.duration.remove(&labels(key));
    }

    /// Another replica may lead from here on.
    pub(super) fn clear(&self) {
        for series in [
            &self.namespaced,
            &self.cluster,
            &self.generator,
            &self.cluster_generator,
        ] {
            series.condition.clear();
            series.duration.clear();
        }
    }

    fn of(&self, key: &StoreKey) -> &Series {
        match (key.is_generator(), key.is_cluster()) {
            (false, false) => &self.namespaced,
            (false, true) => &self.cluster,
            (true, false) => &self.generator,
            (true, true) => &self.cluster_generator,
        }
    }
}

fn labels(key: &StoreKey) -> StoreLabels {
    StoreLabels {
        name: key.name.clone(),
        namespace: key.namespace.clone(),
    }
}

fn condition(key: &StoreKey, status: ConditionStatus) -> ConditionLabels {
    ConditionLabels {
        name: key.name.clone(),
        namespace: key.namespace.clone(),
        condition: latchkey_crds::conditions::READY,
        status: status.as_str(),
    }
}

//! The series of `latchkey files`.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// All series. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Metrics {
    current: Family<EntryLabels, Gauge>,
    refreshed: Family<EntryLabels, Gauge>,
    changes: Family<EntryLabels, Counter>,
    actions: Family<ActionLabels, Counter>,
    reloads: Family<ResultLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EntryLabels {
    entry: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActionLabels {
    entry: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

// === impl Metrics ===

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "latchkey_files_entry_current",
            "1 if the files of the entry are what the provider had at the last refresh, 0 if they are older or not there",
            self.current.clone(),
        );
        registry.register(
            "latchkey_files_entry_refreshed_timestamp_seconds",
            "When the entry was last refreshed with success, in seconds from the epoch",
            self.refreshed.clone(),
        );
        registry.register(
            "latchkey_files_changes",
            "Switches to other files",
            self.changes.clone(),
        );
        registry.register(
            "latchkey_files_actions",
            "Commands and signals after a change",
            self.actions.clone(),
        );
        registry.register(
            "latchkey_files_config_reloads",
            "Attempts to take over a changed configuration",
            self.reloads.clone(),
        );
        for ok in [true, false] {
            let _ = self
                .reloads
                .get_or_create(&ResultLabels { result: word(ok) });
        }
    }

    /// The entry exists; nothing is known of its files yet.
    pub(super) fn begin(&self, entry: &str) {
        self.current.get_or_create(&labels(entry)).set(0);
        let _ = self.changes.get_or_create(&labels(entry));
    }

    pub(super) fn refreshed(&self, entry: &str) {
        self.current.get_or_create(&labels(entry)).set(1);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        self.refreshed.get_or_create(&labels(entry)).set(seconds);
    }

    pub(super) fn stale(&self, entry: &str) {
        self.current.get_or_create(&labels(entry)).set(0);
    }

    pub(super) fn changed(&self, entry: &str) {
        self.changes.get_or_create(&labels(entry)).inc();
    }

    pub(super) fn acted(&self, entry: &str, ok: bool) {
        let labels = ActionLabels {
            entry: entry.to_owned(),
            result: word(ok),
        };
        self.actions.get_or_create(&labels).inc();
    }

    pub(super) fn reloaded(&self, ok: bool) {
        self.reloads
            .get_or_create(&ResultLabels { result: word(ok) })
            .inc();
    }

    /// The entry is gone.
    pub(super) fn forget(&self, entry: &str) {
        self.current.remove(&labels(entry));
        self.refreshed.remove(&labels(entry));
        self.changes.remove(&labels(entry));
        for ok in [true, false] {
            let _ = self.actions.remove(&ActionLabels {
                entry: entry.to_owned(),
                result: word(ok),
            });
        }
    }
}

fn labels(entry: &str) -> EntryLabels {
    EntryLabels {
        entry: entry.to_owned(),
    }
}

const fn word(ok: bool) -> &'static str {
    if ok { "ok" } else { "error" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_documented() {
        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        metrics.begin("db");
        metrics.refreshed("db");
        metrics.acted("db", true);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        crate::documented::assert_documented("Standalone files", &text);
        metrics.forget("db");
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(!text.contains("\"db\""), "{text}");
    }
}

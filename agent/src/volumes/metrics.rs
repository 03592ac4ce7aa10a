//! Series of the volumes; none of them names an object.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Why a provider was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saved {
    /// Another volume with the same source had the content.
    Source,
    /// The same read ran.
    InFlight,
    /// The same read had ended a moment ago.
    Recent,
}

/// What volumes count. Clones share it.
#[derive(Clone, Debug)]
pub struct Metrics {
    saved: Family<[(&'static str, &'static str); 1], Counter>,
}

// === impl Saved ===

impl Saved {
    const ALL: [Self; 3] = [Self::Source, Self::InFlight, Self::Recent];

    fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::InFlight => "in_flight",
            Self::Recent => "recent",
        }
    }
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        let saved = Family::<_, Counter>::default();
        for by in Saved::ALL {
            drop(saved.get_or_create(&[("by", by.as_str())]));
        }
        Self { saved }
    }
}

impl Metrics {
    /// Registers all series.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "latchkey_volume_fetches_saved",
            "Calls to providers that volumes were spared",
            self.saved.clone(),
        );
    }

    pub(super) fn saved(&self, by: Saved) {
        self.saved.get_or_create(&[("by", by.as_str())]).inc();
    }

    #[cfg(test)]
    pub(super) fn count(&self, by: Saved) -> u64 {
        self.saved.get_or_create(&[("by", by.as_str())]).get()
    }
}

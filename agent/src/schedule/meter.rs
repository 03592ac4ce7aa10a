//! What waits in a queue, under the names that the controllers of Kubernetes usually have for it (`externalsecret.md` 8.1).
//!
//! These controllers know two urgencies; our lanes are shown as them.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Lane;

/// Bounds of durations in queues and at work, in seconds: those of these controllers, from 10 ns to 1000 s.
pub(crate) const DURATIONS: [f64; 12] = [
    1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0,
];

/// The series of all queues. Clones share them.
#[derive(Clone)]
pub(crate) struct QueueMetrics {
    depth: Family<DepthLabels, Gauge>,
    adds: Family<QueueLabels, Counter>,
    waited: Family<QueueLabels, Histogram, fn() -> Histogram>,
}

/// The series of one queue.
#[derive(Clone)]
pub(crate) struct Meter {
    depths: [Gauge; 2],
    adds: Counter,
    waited: Histogram,
}

/// A queue has the name of its controller.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct QueueLabels {
    name: &'static str,
    controller: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DepthLabels {
    name: &'static str,
    controller: &'static str,
    priority: &'static str,
}

// === impl QueueLabels ===

impl QueueLabels {
    pub(crate) const fn of(controller: &'static str) -> Self {
        Self {
            name: controller,
            controller,
        }
    }
}

// === impl QueueMetrics ===

impl Default for QueueMetrics {
    fn default() -> Self {
        Self {
            depth: Family::default(),
            adds: Family::default(),
            waited: Family::new_with_constructor(|| Histogram::new(DURATIONS)),
        }
    }
}

impl QueueMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "workqueue_depth",
            "Objects that wait for their pass",
            self.depth.clone(),
        );
        registry.register(
            "workqueue_adds",
            "Times that an object began to wait for a pass",
            self.adds.clone(),
        );
        registry.register(
            "workqueue_queue_duration_seconds",
            "Time that objects waited for their pass",
            self.waited.clone(),
        );
    }

    /// What the queue of a controller tells.
    pub(crate) fn meter(&self, controller: &'static str) -> Meter {
        let labels = QueueLabels::of(controller);
        let depth = |priority| {
            let labels = DepthLabels {
                name: controller,
                controller,
                priority,
            };
            self.depth.get_or_create_owned(&labels)
        };
        Meter {
            depths: [Lane::First, Lane::Refresh].map(|lane| depth(priority(lane))),
            adds: self.adds.get_or_create_owned(&labels),
            waited: self.waited.get_or_create_owned(&labels),
        }
    }
}

/// What these controllers call the usual urgency, and that of what can wait.
const fn priority(lane: Lane) -> &'static str {
    match lane {
        Lane::First => "0",
        Lane::Refresh => "-100",
    }
}

// === impl Meter ===

impl Meter {
    /// An object waits in `lane`; a new one did not wait in another until now.
    pub(super) fn entered(&self, lane: Lane, is_new: bool) {
        self.depths[lane as usize].inc();
        if is_new {
            self.adds.inc();
        }
    }

    /// So many objects do not wait in `lane` any more.
    pub(super) fn left(&self, lane: Lane, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.depths[lane as usize].dec_by(count);
    }

    /// An object waited so long for the pass that begins.
    pub(super) fn waited(&self, time: Duration) {
        self.waited.observe(time.as_secs_f64());
    }
}

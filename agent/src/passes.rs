//! Passes of all controllers, under the names that the controllers of Kubernetes usually have for them (`externalsecret.md` 8.1).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::schedule::meter::{self, Meter, QueueLabels, QueueMetrics};

/// Bounds of the durations, in seconds: those that dashboards expect.
const DURATIONS: [f64; 23] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0,
    5.0, 10.0, 15.0, 20.0, 30.0, 60.0,
];

/// The series about passes. Clones share them; a process registers them once.
#[derive(Clone)]
pub struct Passes {
    ended: Family<ResultLabels, Counter>,
    errors: Family<ControllerLabels, Counter>,
    durations: Family<ControllerLabels, Histogram, fn() -> Histogram>,
    running: Family<ControllerLabels, Gauge>,
    retries: Family<QueueLabels, Counter>,
    work: Family<QueueLabels, Histogram, fn() -> Histogram>,
    unfinished: Unfinished,
    queues: QueueMetrics,
}

/// When the passes began that run, by their controllers and numbers of their own.
#[derive(Clone, Debug, Default)]
struct Unfinished(Arc<Mutex<BTreeMap<&'static str, BTreeMap<u64, Instant>>>>);

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PassResult {
    /// Well, and nothing is due before something changes.
    Success,
    /// Well, and the next one is due after a while.
    RequeueAfter,
    /// Not well.
    Error {
        /// Whether another one is due after a while.
        is_repeated: bool,
    },
}

/// A pass that runs. Dropped before its end it was cut off, and does not count.
pub(crate) struct Pass<'a> {
    passes: &'a Passes,
    controller: ControllerLabels,
    number: u64,
    begin: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    controller: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ControllerLabels {
    controller: &'static str,
}

// === impl Passes ===

impl Default for Passes {
    fn default() -> Self {
        Self {
            ended: Family::default(),
            errors: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATIONS)),
            running: Family::default(),
            retries: Family::default(),
            work: Family::new_with_constructor(|| Histogram::new(meter::DURATIONS)),
            unfinished: Unfinished::default(),
            queues: QueueMetrics::default(),
        }
    }
}

impl Passes {
    /// Registers the series.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "controller_runtime_reconcile",
            "Passes that ended, by result",
            self.ended.clone(),
        );
        registry.register(
            "controller_runtime_reconcile_errors",
            "Passes that did not end well",
            self.errors.clone(),
        );
        registry.register(
            "controller_runtime_reconcile_time_seconds",
            "Duration of passes",
            self.durations.clone(),
        );
        registry.register(
            "controller_runtime_active_workers",
            "Passes that run",
            self.running.clone(),
        );
        self.queues.register(registry);
        registry.register(
            "workqueue_retries",
            "Passes that did not end well and are repeated",
            self.retries.clone(),
        );
        registry.register(
            "workqueue_work_duration_seconds",
            "Duration of passes",
            self.work.clone(),
        );
        registry.register_collector(Box::new(self.unfinished.clone()));
    }

    /// What the queue of a controller tells, if it is one of ours.
    pub(crate) fn meter(&self, controller: &'static str) -> Meter {
        self.queues.meter(controller)
    }

    /// A pass of a controller, which has the name of its kind in lower case, begins.
    pub(crate) fn begin(&self, controller: &'static str) -> Pass<'_> {
        let begin = Instant::now();
        let number = self.unfinished.begin(controller, begin);
        let controller = ControllerLabels { controller };
        self.running.get_or_create(&controller).inc();
        Pass {
            passes: self,
            controller,
            number,
            begin,
        }
    }

    /// Has one series of each name.
    #[cfg(test)]
    pub(crate) fn show_all(&self) {
        let _meter = self.meter("externalsecret");
        let failed = PassResult::Error { is_repeated: true };
        self.begin("externalsecret").end(failed);
    }
}

// === impl PassResult ===

impl PassResult {
    /// Of a pass that failed or not, and after which another one is due without a change or not.
    pub(crate) fn of(has_failed: bool, is_due_again: bool) -> Self {
        match (has_failed, is_due_again) {
            (true, is_repeated) => Self::Error { is_repeated },
            (false, true) => Self::RequeueAfter,
            (false, false) => Self::Success,
        }
    }
}

// === impl Pass ===

impl Pass<'_> {
    /// The pass ended.
    pub(crate) fn end(self, result: PassResult) {
        let ControllerLabels { controller } = self.controller;
        let queue = QueueLabels::of(controller);
        let result = match result {
            PassResult::Success => "success",
            PassResult::RequeueAfter => "requeue_after",
            PassResult::Error { is_repeated } => {
                self.passes.errors.get_or_create(&self.controller).inc();
                if is_repeated {
                    self.passes.retries.get_or_create(&queue).inc();
                }
                "error"
            }
        };
        self.passes
            .ended
            .get_or_create(&ResultLabels { controller, result })
            .inc();
        let seconds = self.begin.elapsed().as_secs_f64();
        let durations = self.passes.durations.get_or_create(&self.controller);
        durations.observe(seconds);
        self.passes.work.get_or_create(&queue).observe(seconds);
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.passes.running.get_or_create(&self.controller).dec();
        let ControllerLabels { controller } = self.controller;
        self.passes.unfinished.end(controller, self.number);
    }
}

// === impl Unfinished ===

impl Unfinished {
    /// Takes note of a pass, and answers its number.
    fn begin(&self, controller: &'static str, now: Instant) -> u64 {
        let mut all = self.0.lock();
        let running = all.entry(controller).or_default();
        let number = running.last_key_value().map_or(0, |(last, _)| last + 1);
        running.insert(number, now);
        number
    }

    fn end(&self, controller: &'static str, number: u64) {
        if let Some(running) = self.0.lock().get_mut(controller) {
            running.remove(&number);
        }
    }

    /// How long all passes that run have run together, and the longest of them, by controller.
    fn times(&self, now: Instant) -> BTreeMap<&'static str, (Duration, Duration)> {
        let all = self.0.lock();
        let times = all.iter().map(|(controller, running)| {
            let times = running
                .values()
                .map(|begin| now.saturating_duration_since(*begin));
            let longest = times.clone().max().unwrap_or_default();
            (*controller, (times.sum(), longest))
        });
        times.collect()
    }
}

impl Collector for Unfinished {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let times = self.times(Instant::now());
        type Show = fn(&(Duration, Duration)) -> Duration;
        let shown: [(_, _, Show); 2] = [
            (
                "workqueue_unfinished_work_seconds",
                "Time that the passes that run have run, together",
                |(sum, _)| *sum,
            ),
            (
                "workqueue_longest_running_processor_seconds",
                "Time that the longest of the passes that run has run",
                |(_, longest)| *longest,
            ),
        ];
        for (name, help, show) in shown {
            let mut series = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (controller, times) in &times {
                let labels = QueueLabels::of(controller);
                let gauge = ConstGauge::new(show(times).as_secs_f64());
                gauge.encode(series.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_are_counted_by_result_and_those_that_run_for_themselves() {
        // externalsecret.md 8.1, last sentence
        let passes = Passes::default();
        let mut registry = Registry::default();
        passes.register(&mut registry);
        let shown = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        let running = passes.begin("externalsecret");
        for (has_failed, is_due_again) in
            [(false, false), (false, true), (true, true), (true, false)]
        {
            let pass = passes.begin("externalsecret");
            pass.end(PassResult::of(has_failed, is_due_again));
        }
        drop(passes.begin("secretstore"));
        let text = shown();
        for line in [
            r#"controller_runtime_reconcile_total{controller="externalsecret",result="success"} 1"#,
            r#"controller_runtime_reconcile_total{controller="externalsecret",result="requeue_after"} 1"#,
            r#"controller_runtime_reconcile_total{controller="externalsecret",result="error"} 2"#,
            r#"controller_runtime_reconcile_errors_total{controller="externalsecret"} 2"#,
            r#"controller_runtime_reconcile_time_seconds_count{controller="externalsecret"} 4"#,
            r#"controller_runtime_active_workers{controller="externalsecret"} 1"#,
            r#"controller_runtime_active_workers{controller="secretstore"} 0"#,
            r#"workqueue_retries_total{name="externalsecret",controller="externalsecret"} 1"#,
            r#"workqueue_work_duration_seconds_count{name="externalsecret",controller="externalsecret"} 4"#,
            r#"workqueue_unfinished_work_seconds{name="secretstore",controller="secretstore"} 0.0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        let cut_off = r#"controller_runtime_reconcile_total{controller="secretstore""#;
        assert!(!text.contains(cut_off));
        drop(running);
        let rest = r#"controller_runtime_active_workers{controller="externalsecret"} 0"#;
        assert!(shown().contains(rest));
    }

    #[test]
    fn work_that_is_not_finished_is_told_while_it_runs() {
        // externalsecret.md 8.1, last sentence
        let (unfinished, begin) = (Unfinished::default(), Instant::now());
        let after = |seconds| begin + Duration::from_secs(seconds);
        let first = unfinished.begin("externalsecret", begin);
        let second = unfinished.begin("externalsecret", after(3));
        let other = unfinished.begin("secretstore", after(4));
        let seconds = |now| -> Vec<(&'static str, u64, u64)> {
            let times = unfinished.times(now).into_iter();
            let seconds = times.map(|(name, (sum, most))| (name, sum.as_secs(), most.as_secs()));
            seconds.collect()
        };
        let expected = [("externalsecret", 17, 10), ("secretstore", 6, 6)];
        assert_eq!(seconds(after(10)), expected);
        unfinished.end("externalsecret", first);
        // The number of a pass that ended is free again; that of one that runs is not.
        let third = unfinished.begin("externalsecret", after(10));
        assert_ne!(third, second);
        unfinished.end("secretstore", other);
        let expected = [("externalsecret", 7, 7), ("secretstore", 0, 0)];
        assert_eq!(seconds(after(10)), expected);
    }
}

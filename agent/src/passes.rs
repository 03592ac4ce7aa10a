//! Passes of all controllers, under the names that the controllers of Kubernetes usually have for them (`externalsecret.md` 8.1).

use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

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
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PassResult {
    /// Well, and nothing is due before something changes.
    Success,
    /// Well, and the next one is due after a while.
    RequeueAfter,
    /// Not well.
    Error,
}

/// A pass that runs. Dropped before its end it was cut off, and does not count.
pub(crate) struct Pass<'a> {
    passes: &'a Passes,
    controller: ControllerLabels,
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
    }

    /// A pass of a controller, which has the name of its kind in lower case, begins.
    pub(crate) fn begin(&self, controller: &'static str) -> Pass<'_> {
        let controller = ControllerLabels { controller };
        self.running.get_or_create(&controller).inc();
        Pass {
            passes: self,
            controller,
            begin: Instant::now(),
        }
    }

    /// Has one series of each name.
    #[cfg(test)]
    pub(crate) fn show_all(&self) {
        self.begin("externalsecret").end(PassResult::Error);
    }
}

// === impl PassResult ===

impl PassResult {
    /// Of a pass that failed or not, and after which another one is due without a change or not.
    pub(crate) fn of(has_failed: bool, is_due_again: bool) -> Self {
        match (has_failed, is_due_again) {
            (true, _) => Self::Error,
            (false, true) => Self::RequeueAfter,
            (false, false) => Self::Success,
        }
    }
}

// === impl Pass ===

impl Pass<'_> {
    /// The pass ended.
    pub(crate) fn end(self, result: PassResult) {
        let result = match result {
            PassResult::Success => "success",
            PassResult::RequeueAfter => "requeue_after",
            PassResult::Error => {
                self.passes.errors.get_or_create(&self.controller).inc();
                "error"
            }
        };
        let ControllerLabels { controller } = self.controller;
        self.passes
            .ended
            .get_or_create(&ResultLabels { controller, result })
            .inc();
        self.passes
            .durations
            .get_or_create(&self.controller)
            .observe(self.begin.elapsed().as_secs_f64());
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.passes.running.get_or_create(&self.controller).dec();
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
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        let cut_off = r#"controller_runtime_reconcile_total{controller="secretstore""#;
        assert!(!text.contains(cut_off));
        drop(running);
        let rest = r#"controller_runtime_active_workers{controller="externalsecret"} 0"#;
        assert!(shown().contains(rest));
    }
}

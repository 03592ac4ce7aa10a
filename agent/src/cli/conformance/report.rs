//! What came of the checks.

use std::fmt;
use std::io::{self, Write as _};

use latchkey_transport::Address;
use serde::Serialize;

use super::Format;
use super::checks::Check;
use super::expect::Found;

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Address of the server.
    pub address: String,
    /// The checks, in the order of their numbers.
    pub checks: Vec<Checked>,
}

/// What came of one check.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// Line of provider-protocol.md 15, as in `PC-04`.
    pub number: String,
    /// What the contract says.
    pub title: &'static str,
    /// Flags without which it, or a part of it, is not run.
    pub needs: &'static str,
    /// Whether the server does so.
    pub verdict: Verdict,
    /// What was asked, in order.
    pub steps: Vec<Step>,
}

/// Whether a check is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// At least one step was run, and each that was is passed.
    Passed,
    /// A step failed.
    Failed,
    /// No step could be run.
    NotRun,
}

/// One question to the server.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// What must hold.
    pub what: String,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a step. No text holds a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It holds.
    Passed {
        /// What the server answered.
        came: String,
    },
    /// It does not hold.
    Failed {
        /// What the contract says.
        expected: String,
        /// What the server answered.
        came: String,
    },
    /// It was not tried.
    NotRun {
        /// The flag that is missing.
        needs: String,
    },
}

/// Collects the steps of one check.
#[derive(Default)]
pub(super) struct Steps(Vec<Step>);

// === impl Steps ===

impl Steps {
    /// Notes what a question brought.
    pub(super) fn note(&mut self, what: impl Into<String>, found: Found) {
        let outcome = match found {
            Ok(came) => Outcome::Passed { came },
            Err(mismatch) => Outcome::Failed {
                expected: mismatch.expected,
                came: mismatch.came,
            },
        };
        self.add(what, outcome);
    }

    /// Notes a question that could not be asked.
    pub(super) fn skip(&mut self, what: impl Into<String>, needs: &str) {
        let needs = needs.to_owned();
        self.add(what, Outcome::NotRun { needs });
    }

    fn add(&mut self, what: impl Into<String>, outcome: Outcome) {
        self.0.push(Step {
            what: what.into(),
            outcome,
        });
    }

    pub(super) fn checked(self, check: &Check) -> Checked {
        let any = |is: fn(&Outcome) -> bool| self.0.iter().any(|step| is(&step.outcome));
        let verdict = if any(|outcome| matches!(outcome, Outcome::Failed { .. })) {
            Verdict::Failed
        } else if any(|outcome| matches!(outcome, Outcome::Passed { .. })) {
            Verdict::Passed
        } else {
            Verdict::NotRun
        };
        Checked {
            number: format!("PC-{:02}", check.number),
            title: check.title,
            needs: check.needs,
            verdict,
            steps: self.0,
        }
    }
}

// === impl Report ===

impl Report {
    pub(super) fn new(address: &Address) -> Self {
        Self {
            address: address.to_string(),
            checks: Vec::new(),
        }
    }

    /// Whether at least one check was run and none failed.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.count(Verdict::Failed) == 0 && self.count(Verdict::Passed) > 0
    }

    /// Numbers of the checks with this verdict.
    #[must_use]
    pub fn numbers(&self, verdict: Verdict) -> Vec<&str> {
        let with = self.checks.iter().filter(|check| check.verdict == verdict);
        with.map(|check| check.number.as_str()).collect()
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.numbers(verdict).len()
    }

    pub(super) fn print(&self, format: Format) -> io::Result<()> {
        let mut output = io::stdout().lock();
        match format {
            Format::Text => write!(output, "{self}")?,
            Format::Json => {
                serde_json::to_writer_pretty(&mut output, self)?;
                writeln!(output)?;
            }
        }
        output.flush()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "provider contract, {}\n", self.address)?;
        for check in &self.checks {
            write!(formatter, "{check}")?;
        }
        writeln!(
            formatter,
            "\n{} passed, {} failed, {} not run",
            self.count(Verdict::Passed),
            self.count(Verdict::Failed),
            self.count(Verdict::NotRun)
        )
    }
}

impl fmt::Display for Checked {
    /// The verdict, and below it each step that needs words: what failed, and what was not tried.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Passed => "passed",
            Verdict::Failed => "FAILED",
            Verdict::NotRun => "not run",
        };
        writeln!(formatter, "{}  {verdict:<7}  {}", self.number, self.title)?;
        for Step { what, outcome } in &self.steps {
            match outcome {
                Outcome::Passed { .. } => {}
                Outcome::Failed { expected, came } => writeln!(
                    formatter,
                    "         {what}\n           expected: {expected}\n           came:     {came}"
                )?,
                Outcome::NotRun { needs } => {
                    writeln!(formatter, "         not run: {what} (needs {needs})")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::conformance::checks::TABLE;
    use crate::cli::conformance::expect::Mismatch;

    fn checked(steps: impl FnOnce(&mut Steps)) -> Checked {
        let mut collected = Steps::default();
        steps(&mut collected);
        Checked {
            title: "the title",
            ..collected.checked(&TABLE[3])
        }
    }

    fn wrong() -> Found {
        Err(Mismatch::new("NOT_FOUND", "UNKNOWN"))
    }

    #[test]
    fn a_check_is_passed_only_by_steps_that_were_run() {
        fn passed(steps: &mut Steps) {
            steps.note("a", Ok("b".into()));
        }
        fn skipped(steps: &mut Steps) {
            steps.skip("c", "--existing");
        }
        fn failed(steps: &mut Steps) {
            steps.note("d", wrong());
        }
        type Part = fn(&mut Steps);
        let all: [(Verdict, &[Part]); 5] = [
            (Verdict::NotRun, &[]),
            (Verdict::NotRun, &[skipped]),
            (Verdict::Passed, &[passed, skipped]),
            (Verdict::Failed, &[passed, failed, skipped]),
            (Verdict::Failed, &[skipped, failed]),
        ];
        for (verdict, parts) in all {
            let check = checked(|steps| parts.iter().for_each(|part| part(steps)));
            assert_eq!(check.verdict, verdict, "{check}");
        }
    }

    #[test]
    fn a_report_without_a_check_that_ran_is_not_passed() {
        let mut report = Report::new(&"localhost:1".parse().unwrap());
        assert!(!report.is_passed());
        report
            .checks
            .push(checked(|steps| steps.skip("c", "--existing")));
        assert!(!report.is_passed());
        report
            .checks
            .push(checked(|steps| steps.note("a", Ok("b".into()))));
        assert!(report.is_passed());
        report
            .checks
            .push(checked(|steps| steps.note("a", wrong())));
        assert!(!report.is_passed());
        assert_eq!(
            report.to_string(),
            "provider contract, localhost:1\n\n\
             PC-04  not run  the title\n         not run: c (needs --existing)\n\
             PC-04  passed   the title\n\
             PC-04  FAILED   the title\n         a\n           expected: NOT_FOUND\n           came:     UNKNOWN\n\
             \n1 passed, 1 failed, 1 not run\n"
        );
        let shown = serde_json::to_value(&report).unwrap();
        assert_eq!(shown["checks"][0]["verdict"], "not-run");
        assert_eq!(
            shown["checks"][2]["steps"][0],
            serde_json::json!({"what": "a", "outcome": "failed", "expected": "NOT_FOUND", "came": "UNKNOWN"})
        );
    }
}

//! The little of JUnit's XML that csi-sanity writes.

/// How a spec ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It ran and passed.
    Passed,
    /// It did not run.
    Skipped,
    /// It failed, panicked, timed out or was interrupted.
    Failed,
}

/// One spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    /// All its headings.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// All specs of a report; set-up and tear-down nodes only if they failed.
pub(crate) fn parse(report: &str) -> Vec<Spec> {
    let cases = report.split("<testcase ").skip(1);
    let specs = cases.filter_map(|case| {
        let name = attribute(case, "name")?;
        let outcome = match attribute(case, "status")?.as_str() {
            "passed" => Outcome::Passed,
            "skipped" | "pending" => Outcome::Skipped,
            _ => Outcome::Failed,
        };
        Some(Spec { name, outcome })
    });
    specs
        .filter(|spec| spec.name.starts_with("[It]") || spec.outcome == Outcome::Failed)
        .collect()
}

/// One line per spec, for an error text.
pub(crate) fn list(specs: &[Spec]) -> String {
    let line = |spec: &Spec| format!("{:?}: {}\n", spec.outcome, spec.name);
    specs.iter().map(line).collect()
}

fn attribute(element: &str, key: &str) -> Option<String> {
    let (_, rest) = element.split_once(&format!("{key}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(
        value
            .replace("&#34;", "\"")
            .replace("&#39;", "'")
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&"),
    )
}

#[test]
fn reports_of_ginkgo_are_understood() {
    let report = r#"<testsuites><testsuite name="CSI Driver Test Suite">
      <testcase name="[BeforeSuite]" classname="x" status="passed" time="0.1"></testcase>
      <testcase name="[It] Identity Service Probe should &#34;work&#34;" classname="x" status="passed" time="0.1"></testcase>
      <testcase name="[It] Node Service a" classname="x" status="skipped" time="0"><skipped message="why"></skipped></testcase>
      <testcase name="[It] Node Service b" classname="x" status="panicked" time="0"></testcase>
    </testsuite></testsuites>"#;
    let specs = parse(report);
    let outcomes = specs.iter().map(|spec| spec.outcome).collect::<Vec<_>>();
    assert_eq!(
        outcomes,
        [Outcome::Passed, Outcome::Skipped, Outcome::Failed]
    );
    assert!(specs[0].name.ends_with("should \"work\""));
}

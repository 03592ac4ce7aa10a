//! The whole checklist of provider-protocol.md 15 by `latchkey conformance`.

use anyhow::Result;
use latchkey::cli::conformance::{Outcome, Verdict};
use serde_json::json;

use crate::rig::{Provider, with_provider};
use crate::suite::run;

const CANARY: &str = "canary-41c9e0";

async fn objects(provider: &Provider) -> Result<()> {
    let document = r#"{"a":{"b":"deep","n":1.50},"list":[1, 2],"none":null,"text":"q\"uote"}"#;
    let data = json!([
        {"key": "user", "value": CANARY},
        {"key": "json", "value": document},
        {"key": "db", "value": "ten", "version": "v10"},
        {"key": "db", "value": "two", "version": "v2"},
    ]);
    provider.fake("tide", &json!({"data": data})).await?;
    for (name, result) in [("broken", 2), ("unsure", 1)] {
        let spec = json!({"data": [], "validationResult": result});
        provider.fake(name, &spec).await?;
    }
    Ok(())
}

#[test]
fn pc_01_to_31_are_kept_as_the_command_for_providers_sees_it() -> Result<()> {
    with_provider(async |provider| {
        objects(provider).await?;
        let arguments = [
            format!("--provider-ref=Fake/{}/tide", provider.cx.namespace()),
            format!("--existing=user={CANARY}"),
            "--json=json".into(),
            "--find-regexp=^(user|db)$".into(),
            "--found=db=two".into(),
            "--invalid-ref=Fake/broken".into(),
            "--unsure-ref=Fake/unsure".into(),
            "--write".into(),
            "--protected=user".into(),
        ];
        let report = run(provider, &arguments).await?;
        let passed = [
            "PC-01", "PC-02", "PC-03", "PC-04", "PC-05", "PC-06", "PC-07", "PC-08", "PC-09",
            "PC-10", "PC-11", "PC-12", "PC-13", "PC-14", "PC-15", "PC-16", "PC-18", "PC-31",
        ];
        assert_eq!(report.numbers(Verdict::Passed), passed, "{report}");
        assert_eq!(
            report.numbers(Verdict::NotRun),
            ["PC-17", "PC-26", "PC-27"],
            "{report}"
        );
        // Not one question of those was left out.
        let mut steps = report.checks.iter().flat_map(|check| &check.steps);
        let is_left = |outcome: &Outcome| matches!(outcome, Outcome::NotRun { .. });
        assert!(
            steps.all(|step| !is_left(&step.outcome) || step.what == "all of it"),
            "{report}"
        );
        let shown = format!("{report}{}", serde_json::to_string(&report)?);
        assert!(!shown.contains(CANARY), "a value is in the report");
        Ok(())
    })
}

#[test]
fn pc_17_an_idle_connection_is_kept_while_it_is_pinged() -> Result<()> {
    // 25 s of the two minutes: two pings of a good client, twelve of a hasty one, of which upstream's server bears three. The whole
    // of them, on a clock that is faster, is in `idle`.
    with_provider(async |provider| {
        objects(provider).await?;
        let arguments = [
            format!("--provider-ref=Fake/{}/tide", provider.cx.namespace()),
            "--only=PC-17".into(),
            "--slow".into(),
            "--slow-time=25".into(),
        ];
        let report = run(provider, &arguments).await?;
        assert_eq!(report.numbers(Verdict::Passed), ["PC-17"], "{report}");
        Ok(())
    })
}

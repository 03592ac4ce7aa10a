//! Every case of the corpus renders to the bytes, or fails with the text, that the Go engine gave.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use latchkey_secret::{SecretData, SecretValue};
use latchkey_templating::{Options, Template};
use serde_json::Value;

/// Environment variable that narrows the run to some groups: `LATCHKEY_CORPUS_GROUPS=fmt,fn-string`. For development.
const GROUPS: &str = "LATCHKEY_CORPUS_GROUPS";

#[test]
fn every_case_of_the_corpus_equals_the_go_engine() {
    let groups = std::env::var(GROUPS).ok();
    let mut failures = Vec::new();
    let mut count = 0;
    for line in include_str!("corpus/templates.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let group = case["group"].as_str().unwrap();
        if groups
            .as_ref()
            .is_some_and(|groups| !groups.split(',').any(|wanted| wanted == group))
        {
            continue;
        }
        count += 1;
        let (expected, got) = (expected(&case), render(&case));
        if expected != got {
            failures.push(format!(
                "{}\n  template {}\n  expected {}\n  got      {}",
                case["id"],
                case["template"],
                show(&expected),
                show(&got)
            ));
        }
    }
    assert!(count > 0, "no case was run");
    assert!(
        failures.is_empty(),
        "{} of {count} cases differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

type Outcome = Result<Vec<u8>, String>;

fn expected(case: &Value) -> Outcome {
    if let Some(error) = case["err"].as_str() {
        return Err(error.to_owned());
    }
    Ok(match case["out"].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => STANDARD
            .decode(case["out_base64"].as_str().unwrap())
            .unwrap(),
    })
}

fn render(case: &Value) -> Outcome {
    let id = case["id"].as_str().unwrap();
    let data: SecretData = case["data"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| {
            (
                key.clone(),
                SecretValue::from(value.as_str().unwrap().to_owned()),
            )
        })
        .collect();
    let options = Options::new(Timestamp::now());
    let template = Template::parse(id, case["template"].as_str().unwrap(), &options)
        .map_err(|error| format!("unable to parse template at key {id}: {error}"))?;
    template
        .render(&data, &options)
        .map(|out| out.expose().to_vec())
        .map_err(|error| {
            format!(
                "unable to execute template at key {id}: {}",
                error.full_text()
            )
        })
}

fn show(outcome: &Outcome) -> String {
    match outcome {
        Ok(bytes) => format!("out {:?}", String::from_utf8_lossy(bytes)),
        Err(error) => format!("err {error:?}"),
    }
}

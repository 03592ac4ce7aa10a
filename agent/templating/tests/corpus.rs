//! Every case of the corpus renders to the bytes, or fails with the text, that the Go engine gave.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: the corpus is well formed"
)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use latchkey_secret::{SecretData, SecretValue};
use latchkey_templating::{Limit, Limits, Options, Template};
use serde_json::Value;

/// Environment variable that narrows the run to some groups: `LATCHKEY_CORPUS_GROUPS=fmt,fn-string`. For development.
const GROUPS: &str = "LATCHKEY_CORPUS_GROUPS";

/// Groups whose honest cases are expensive cryptography, and so come closer to that limit than others do.
const EXPENSIVE: &[&str] = &["fn-crypto", "fn-p12", "fn-random-shape"];

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

#[test]
fn honest_templates_stay_below_a_tenth_of_each_limit() {
    let Limits {
        steps,
        memory,
        output,
        nesting,
        pattern,
        cryptography,
    } = Limits::default();
    let limits = Limits {
        steps: steps / 10,
        memory: memory / 10,
        output: output / 10,
        nesting: nesting / 10,
        pattern: pattern / 10,
        cryptography,
    };
    let options = Options {
        limits,
        ..Options::new(Timestamp::now())
    };
    let mut reached = Vec::new();
    for line in include_str!("corpus/templates.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        // A recursion without an end reaches Go's limit, too.
        let is_endless = case["err"]
            .as_str()
            .is_some_and(|error| error.contains("exceeded maximum template depth"));
        let group = case["group"].as_str().unwrap();
        if is_endless || EXPENSIVE.contains(&group) {
            continue;
        }
        if let Err(Failed {
            limit: Some(limit), ..
        }) = render_with(&case, &options)
        {
            reached.push(format!("{} reaches a tenth of {limit}", case["id"]));
        }
    }
    assert!(reached.is_empty(), "{}", reached.join("\n"));
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
    let options = Options::new(Timestamp::now());
    render_with(case, &options).map_err(|failed| failed.text)
}

/// Why a case did not render.
struct Failed {
    text: String,
    limit: Option<Limit>,
}

fn render_with(case: &Value, options: &Options) -> Result<Vec<u8>, Failed> {
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
    let text = case["template"].as_str().unwrap();
    let template = Template::parse(id, text, options).map_err(|error| Failed {
        text: format!("unable to parse template at key {id}: {error}"),
        limit: None,
    })?;
    let rendered = template.render(&data, options);
    rendered
        .map(|out| out.expose().to_vec())
        .map_err(|error| Failed {
            text: format!(
                "unable to execute template at key {id}: {}",
                error.full_text()
            ),
            limit: error.limit(),
        })
}

fn show(outcome: &Outcome) -> String {
    match outcome {
        Ok(bytes) => format!("out {:?}", String::from_utf8_lossy(bytes)),
        Err(error) => format!("err {error:?}"),
    }
}

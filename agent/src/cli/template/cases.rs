//! Many templates at once: JSON lines in, JSON lines out.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

use latchkey_secret::{SecretData, SecretValue};
use latchkey_templating::{Options, Template};
use serde::Deserialize;
use serde_json::{Value, json};

use super::output::text_or_base64;
use super::{Failure, exit};

/// The most bad lines that are told one by one.
const MOST_TOLD: usize = 10;

/// One line of the input.
#[derive(Deserialize)]
struct Case {
    /// Also the template's name.
    id: Id,
    #[serde(default)]
    data: BTreeMap<String, String>,
    template: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(serde_json::Number),
}

/// Renders each line of `input` and answers it at once. Lines that are no cases are told at the end.
pub(super) fn run(input: &mut dyn Read, options: &Options) -> Result<(), Failure> {
    let mut input = BufReader::new(input);
    let mut output = io::stdout().lock();
    let mut wrong = Vec::new();
    let mut line = Vec::new();
    for number in 1_usize.. {
        line.clear();
        match input.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) if line.trim_ascii().is_empty() => continue,
            Ok(_) => {}
            Err(error) => {
                let text = format!("failed to read line {number}: {error}");
                return Err(Failure::new(exit::NO_INPUT, text));
            }
        }
        match serde_json::from_slice::<Case>(&line) {
            Ok(case) => {
                let mut answer = answer(&case, options).to_string();
                answer.push('\n');
                output
                    .write_all(answer.as_bytes())
                    .and_then(|()| output.flush())
                    .map_err(|error| {
                        Failure::new(exit::OUTPUT, format!("failed to write an answer: {error}"))
                    })?;
            }
            Err(error) => wrong.push(format!("line {number}: {error}")),
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let told = wrong.iter().take(MOST_TOLD).cloned().collect::<Vec<_>>();
    let more = if wrong.len() > MOST_TOLD { "; ..." } else { "" };
    Err(Failure::data(format!(
        "{} lines are no cases: {}{more}",
        wrong.len(),
        told.join("; ")
    )))
}

fn answer(case: &Case, options: &Options) -> Value {
    let id = match &case.id {
        Id::Text(text) => text.clone(),
        Id::Number(number) => number.to_string(),
    };
    // A defect must not take the other cases with it.
    let outcome = catch_unwind(AssertUnwindSafe(|| render(&id, case, options)))
        .unwrap_or_else(|_| Err("internal error".to_owned()));
    let mut answer = match outcome {
        Ok(value) => text_or_base64(&value),
        Err(text) => json!({ "err": text }),
    };
    answer["id"] = json!(id);
    answer
}

/// Upstream's text for one key.
fn render(id: &str, case: &Case, options: &Options) -> Result<SecretValue, String> {
    let data: SecretData = case
        .data
        .iter()
        .map(|(key, value)| (key.clone(), SecretValue::from(value.clone())))
        .collect();
    let template = Template::parse(id, &case.template, options)
        .map_err(|error| format!("unable to parse template at key {id}: {error}"))?;
    template.render(&data, options).map_err(|error| {
        format!(
            "unable to execute template at key {id}: {}",
            error.full_text()
        )
    })
}

//! Renders cases: JSON lines `{id, data, template}`, with `left` and `right` for other delimiters and
//! `template_base64` for one that is not UTF-8, in,
//! `{id, out | out_base64 | err}` out.
#![expect(clippy::print_stdout, reason = "a filter for the terminal")]

use std::collections::BTreeMap;
use std::io::BufRead;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use latchkey_secret::SecretValue;
use latchkey_templating::{Options, Template};
use serde_json::{Value, json};

fn main() -> std::io::Result<()> {
    for line in std::io::stdin().lock().lines() {
        let case: Value = serde_json::from_str(&line?)?;
        println!("{}", render(&case));
    }
    Ok(())
}

fn render(case: &Value) -> Value {
    let id = case["id"].as_str().unwrap_or_default();
    let text = match case["template_base64"].as_str() {
        Some(text) => STANDARD.decode(text).unwrap_or_default(),
        None => case["template"].as_str().unwrap_or_default().into(),
    };
    let data: BTreeMap<String, SecretValue> = case["data"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| {
            let value = value.as_str().unwrap_or_default().to_owned();
            (key.clone(), SecretValue::from(value))
        })
        .collect();
    let mut options = Options::new(Timestamp::now());
    let delimiters = &mut options.delimiters;
    for (delimiter, key) in [
        (&mut delimiters.left, "left"),
        (&mut delimiters.right, "right"),
    ] {
        if let Some(text) = case[key].as_str() {
            text.clone_into(delimiter);
        }
    }
    let template = match Template::parse_bytes(id, &text, &options) {
        Ok(template) => template,
        Err(error) => {
            return json!({ "id": id, "err": format!("unable to parse template at key {id}: {error}") });
        }
    };
    match template.render(&data, &options) {
        Ok(out) => match std::str::from_utf8(out.expose()) {
            Ok(text) => json!({ "id": id, "out": text }),
            Err(_) => json!({ "id": id, "out_base64": STANDARD.encode(out.expose()) }),
        },
        Err(error) => json!({
            "id": id,
            "err": format!("unable to execute template at key {id}: {}", error.full_text()),
        }),
    }
}

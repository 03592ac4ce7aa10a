//! The result, as YAML, JSON or bare bytes.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum as _;
use latchkey_engine::tree::Tree;
use latchkey_secret::{SecretData, SecretValue};
use serde_json::{Map, Value, json};

use super::{Failure, Format, exit};

/// What was rendered.
pub(super) enum Rendered {
    /// The text of one template.
    Text(SecretValue),
    /// A Secret.
    Object(Object),
    /// An object of another kind.
    Manifest(Tree),
}

/// A Secret.
pub(super) struct Object {
    pub(super) metadata: Map<String, Value>,
    pub(super) type_: Option<String>,
    pub(super) immutable: bool,
    pub(super) data: SecretData,
}

/// Where the result goes, and how.
pub(super) struct Output {
    format: Option<Format>,
    file: Option<PathBuf>,
    key: Option<String>,
}

// === impl Output ===

impl Output {
    pub(super) fn new(format: Option<Format>, file: Option<PathBuf>, key: Option<String>) -> Self {
        // For the habit of other programs, in which --output is the format.
        let word = file
            .as_ref()
            .and_then(|file| Format::from_str(file.to_str()?, false).ok());
        match word {
            Some(word) => Self {
                format: format.or(Some(word)),
                file: None,
                key,
            },
            None => Self { format, file, key },
        }
    }

    /// Writes the result.
    pub(super) fn write(&self, rendered: &Rendered) -> Result<(), Failure> {
        let bytes = match (rendered, self.format) {
            (Rendered::Text(text), None | Some(Format::Raw)) => text.expose().to_vec(),
            (Rendered::Text(text), Some(format)) => print(format, &text_or_base64(text))?,
            (Rendered::Object(object), None) => print(Format::Yaml, &object.manifest())?,
            (Rendered::Object(object), Some(Format::Raw)) => self.pick(object)?.expose().to_vec(),
            (Rendered::Object(object), Some(format)) => print(format, &object.manifest())?,
            (Rendered::Manifest(_), Some(Format::Raw)) => {
                return Err(Failure::usage("raw prints a value of a Secret"));
            }
            (Rendered::Manifest(tree), format) => {
                print(format.unwrap_or(Format::Yaml), &tree.to_json())?
            }
        };
        let outcome = match &self.file {
            None => io::stdout().lock().write_all(&bytes),
            Some(path) => OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(path)
                .and_then(|mut file| file.write_all(&bytes)),
        };
        outcome.map_err(|error| {
            let place = self.file.as_ref().map_or_else(
                || "the result".to_owned(),
                |path| path.display().to_string(),
            );
            Failure::new(exit::OUTPUT, format!("failed to write {place}: {error}"))
        })
    }

    /// The one value that `raw` prints.
    fn pick<'a>(&self, object: &'a Object) -> Result<&'a SecretValue, Failure> {
        let keys = || {
            let keys: Vec<&str> = object.data.keys().map(String::as_str).collect();
            keys.join(", ")
        };
        match &self.key {
            Some(key) => object.data.get(key).ok_or_else(|| {
                Failure::usage(format!("the result has no key {key}, but {}", keys()))
            }),
            None => {
                let mut values = object.data.values();
                match (values.next(), values.next()) {
                    (Some(value), None) => Ok(value),
                    _ => Err(Failure::usage(format!(
                        "choose with --key what raw prints, of: {}",
                        keys()
                    ))),
                }
            }
        }
    }
}

// === impl Object ===

impl Object {
    fn manifest(&self) -> Value {
        let data: Map<String, Value> = self
            .data
            .iter()
            .map(|(key, value)| (key.clone(), json!(STANDARD.encode(value.expose()))))
            .collect();
        let mut manifest = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": self.metadata, "data": data,
        });
        if let Some(type_) = &self.type_ {
            manifest["type"] = json!(type_);
        }
        if self.immutable {
            manifest["immutable"] = json!(true);
        }
        manifest
    }
}

/// A result as JSON tells it: text, or base64 of what is none.
pub(super) fn text_or_base64(value: &SecretValue) -> Value {
    match std::str::from_utf8(value.expose()) {
        Ok(text) => json!({ "out": text }),
        Err(_) => json!({ "out_base64": STANDARD.encode(value.expose()) }),
    }
}

fn print(format: Format, value: &Value) -> Result<Vec<u8>, Failure> {
    let text = match format {
        Format::Json => serde_json::to_string_pretty(value).map_err(|error| error.to_string()),
        Format::Yaml | Format::Raw => {
            serde_saphyr::to_string(value).map_err(|error| error.to_string())
        }
    };
    let mut text = text.map_err(|error| {
        Failure::new(exit::OUTPUT, format!("failed to print the result: {error}"))
    })?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text.into_bytes())
}

//! What the command reads: templates, values, and objects that hold templates.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use latchkey_engine::template::{ObjectError, ObjectKind, TemplateObjects};
use latchkey_secret::{SecretData, SecretValue};
use serde_json::Value;

use super::{Failure, TemplateArgs, exit};

/// Everything that was read.
#[derive(Default)]
pub(super) struct Inputs {
    /// Name and text of a single template.
    pub(super) template: Option<(String, Vec<u8>)>,
    /// The manifest that holds templates.
    pub(super) manifest: Option<Value>,
    /// ConfigMaps and Secrets by name.
    pub(super) objects: Objects,
    /// Values, or names of Secrets with values, in the order in which they were given.
    values: Vec<Values>,
    /// Values of flags, over all others.
    flags: SecretData,
}

/// ConfigMaps and Secrets from files.
#[derive(Default)]
pub(super) struct Objects {
    by_name: BTreeMap<(ObjectKind, String), SecretData>,
    /// For every other name.
    others: BTreeMap<ObjectKind, SecretData>,
}

enum Values {
    Secret(String),
    Map(SecretData),
}

/// What a file was given for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Manifest,
    Objects,
    /// The kind that stands for all names.
    Others(ObjectKind),
}

/// Reads a file, or standard input for `-`.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    open(path)?
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(path, &error))?;
    Ok(bytes)
}

/// Opens a file, or standard input for `-`.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read>, Failure> {
    if is_stdin(path) {
        return Ok(Box::new(io::stdin()));
    }
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    Ok(Box::new(file))
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let text = format!("failed to read {}: {error}", path.display());
    Failure::new(exit::NO_INPUT, text)
}

// === impl Inputs ===

impl Inputs {
    /// Reads all that `args` name.
    pub(super) fn read(args: &TemplateArgs) -> Result<Self, Failure> {
        check_stdin(args)?;
        let mut inputs = Self::default();
        if let Some(text) = &args.template {
            inputs.template = Some(("template".to_owned(), text.clone().into_bytes()));
        }
        if let Some(path) = &args.template_file {
            let name = path.file_name().map_or_else(
                || "template".to_owned(),
                |name| name.to_string_lossy().into_owned(),
            );
            inputs.template = Some((name, read(path)?));
        }
        if let Some(path) = args.manifest.as_ref().or(args.file.as_ref()) {
            inputs.take_file(path, Role::Manifest)?;
            if inputs.manifest.is_none() {
                return Err(Failure::data(format!(
                    "{} holds no ExternalSecret, ClusterExternalSecret or PushSecret",
                    path.display()
                )));
            }
        }
        for path in args.secret_file.iter().chain(&args.configmap_file) {
            inputs.take_file(path, Role::Objects)?;
        }
        for (kind, path) in [
            (ObjectKind::ConfigMap, &args.template_from_config_map),
            (ObjectKind::Secret, &args.template_from_secret),
        ] {
            if let Some(path) = path {
                inputs.take_file(path, Role::Others(kind))?;
            }
        }
        for (key, path) in &args.data_file {
            let bytes = read(Path::new(path))?;
            inputs.flags.insert(key.clone(), SecretValue::new(bytes));
        }
        for (key, value) in &args.data {
            inputs
                .flags
                .insert(key.clone(), SecretValue::from(value.clone()));
        }
        Ok(inputs)
    }

    /// The values that a provider would have: those of maps and Secrets in their order, then those of flags. The Secrets `named`
    /// hold templates and no values.
    pub(super) fn values(&self, named: &BTreeSet<&str>) -> SecretData {
        let mut all = SecretData::new();
        for values in &self.values {
            match values {
                Values::Map(map) => all.extend(map.clone()),
                Values::Secret(name) if named.contains(name.as_str()) => {}
                Values::Secret(name) => {
                    let found = self
                        .objects
                        .by_name
                        .get(&(ObjectKind::Secret, name.clone()));
                    all.extend(found.cloned().unwrap_or_default());
                }
            }
        }
        all.extend(self.flags.clone());
        all
    }

    fn take_file(&mut self, path: &Path, role: Role) -> Result<(), Failure> {
        let wrong = |text: String| Failure::data(format!("{}: {text}", path.display()));
        let bytes = read(path)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong("not UTF-8".to_owned()))?;
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(text).map_err(|error| wrong(error.to_string()))?;
        for document in documents {
            self.take(document, role).map_err(wrong)?;
        }
        Ok(())
    }

    fn take(&mut self, document: Value, role: Role) -> Result<(), String> {
        let kind = document["kind"].as_str().map(str::to_owned);
        match kind.as_deref() {
            Some("List") => {
                let Some(Value::Array(items)) = document.get("items").cloned() else {
                    return Err("a List without items".to_owned());
                };
                items.into_iter().try_for_each(|item| self.take(item, role))
            }
            Some("Secret") => {
                self.take_object(ObjectKind::Secret, secret(&document)?, &document, role)
            }
            Some("ConfigMap") => {
                let data = texts(&document["data"])?;
                self.take_object(ObjectKind::ConfigMap, data, &document, role)
            }
            Some("ExternalSecret" | "ClusterExternalSecret" | "PushSecret")
                if role == Role::Manifest =>
            {
                if self.manifest.replace(document).is_some() {
                    return Err("more than one manifest with a template".to_owned());
                }
                Ok(())
            }
            // Stores and the like are often kept in the same file.
            Some(_) if role == Role::Manifest => Ok(()),
            Some(kind) => Err(format!("{kind} is neither a Secret nor a ConfigMap")),
            None if role == Role::Objects => {
                self.values.push(Values::Map(encoded(&document)?));
                Ok(())
            }
            None => Err("a document without kind".to_owned()),
        }
    }

    fn take_object(
        &mut self,
        kind: ObjectKind,
        data: SecretData,
        document: &Value,
        role: Role,
    ) -> Result<(), String> {
        let name = document["metadata"]["name"].as_str().unwrap_or_default();
        if let Role::Others(wanted) = role {
            if kind != wanted {
                return Err(format!("not a {wanted:?}"));
            }
            self.objects.others.insert(kind, data);
            return Ok(());
        }
        if kind == ObjectKind::Secret {
            self.values.push(Values::Secret(name.to_owned()));
        }
        let key = (kind, name.to_owned());
        if self.objects.by_name.insert(key, data).is_some() {
            return Err(format!("more than one {kind:?} \"{name}\""));
        }
        Ok(())
    }
}

/// Standard input can be read once.
fn check_stdin(args: &TemplateArgs) -> Result<(), Failure> {
    let paths = [
        &args.manifest,
        &args.file,
        &args.template_file,
        &args.template_from_secret,
        &args.template_from_config_map,
    ];
    let paths = paths
        .into_iter()
        .flatten()
        .chain(&args.secret_file)
        .chain(&args.configmap_file)
        .map(|path| path.as_path());
    let pairs = args.data_file.iter().map(|(_, path)| Path::new(path));
    if paths.chain(pairs).filter(|path| is_stdin(path)).count() > 1 {
        return Err(Failure::usage("standard input (-) can be read once only"));
    }
    Ok(())
}

/// The values of a Secret: `data`, and `stringData` over it.
fn secret(document: &Value) -> Result<SecretData, String> {
    let mut data = encoded(&document["data"])?;
    data.extend(texts(&document["stringData"])?);
    Ok(data)
}

fn encoded(map: &Value) -> Result<SecretData, String> {
    pairs(map, |key, text| {
        STANDARD
            .decode(text.split_ascii_whitespace().collect::<String>())
            .map(SecretValue::new)
            .map_err(|_| format!("key {key} is not base64"))
    })
}

fn texts(map: &Value) -> Result<SecretData, String> {
    pairs(map, |_, text| Ok(SecretValue::from(text.to_owned())))
}

fn pairs(
    map: &Value,
    read: impl Fn(&str, &str) -> Result<SecretValue, String>,
) -> Result<SecretData, String> {
    let map = match map {
        Value::Null => return Ok(SecretData::new()),
        Value::Object(map) => map,
        _ => return Err("not a map of keys to texts".to_owned()),
    };
    map.iter()
        .map(|(key, value)| match value {
            Value::String(text) => Ok((key.clone(), read(key, text)?)),
            Value::Null => Ok((key.clone(), SecretValue::default())),
            _ => Err(format!("key {key} is not a text: put it in quotes")),
        })
        .collect()
}

// === impl Objects ===

impl TemplateObjects for Objects {
    fn read<'a>(
        &'a self,
        _: &'a str,
        kind: ObjectKind,
        name: &'a str,
        _: &'a BTreeSet<&'a str>,
    ) -> BoxFuture<'a, Result<SecretData, ObjectError>> {
        let found = self
            .by_name
            .get(&(kind, name.to_owned()))
            .or_else(|| self.others.get(&kind))
            .cloned();
        ready(found.ok_or_else(|| {
            let flag = match kind {
                ObjectKind::ConfigMap => "--configmap-file",
                ObjectKind::Secret => "--secret-file",
            };
            ObjectError::Missing(format!(
                "{kind:?} \"{name}\" is in none of the files ({flag})"
            ))
        }))
        .boxed()
    }
}

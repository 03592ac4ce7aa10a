//! The ExternalSecret part of an entry, held against the schema of the CRD so that every mistake has its path.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt as _;
use latchkey_crds::external_secret::{
    ExternalSecret, ExternalSecretSpec, STORE_API_VERSION_V2, rules,
};
use serde_json::Value;

use super::document::{Document, join, unknown};
use crate::volumes::attributes::quoted;

/// Parts of a spec that mean nothing to files. A path ends at each name; `[]` stands for every item.
const NOT_FOR_FILES: [(&[&str], &str); 9] = [
    (&["target", "name"], "the directory is the target"),
    (&["target", "creationPolicy"], "the directory is the target"),
    (&["target", "deletionPolicy"], "files are never deleted"),
    (&["target", "immutable"], "files follow the provider"),
    (&["target", "manifest"], "the directory is the target"),
    (&["target", "template", "type"], "files have no type"),
    (
        &["target", "template", "metadata"],
        "files have no metadata",
    ),
    (&["syncWindows"], "use refreshInterval"),
    (
        &["target", "template", "templateFrom", "[]", "target"],
        "a template can only fill files",
    ),
];

static SCHEMA: LazyLock<Option<JSONSchemaProps>> = LazyLock::new(|| {
    let version = ExternalSecret::crd().spec.versions.into_iter().next()?;
    let mut object = version.schema?.open_api_v3_schema?;
    object.properties.as_mut()?.remove("spec")
});

/// The spec at `path`, with references to stores as the engine wants them; mistakes are noted in `document`.
pub(super) fn read(document: &Document, path: &str, value: &Value) -> Option<ExternalSecretSpec> {
    let before = document.count();
    if let Some(schema) = SCHEMA.as_ref() {
        check(document, path, value, schema);
    }
    for (parts, reason) in NOT_FOR_FILES {
        refuse(document, path, value, parts, reason);
    }
    let from = &value["target"]["template"]["templateFrom"];
    for (index, item) in from.as_array().into_iter().flatten().enumerate() {
        for key in ["configMap", "secret"] {
            if item.get(key).is_some() {
                document.wrong(
                    &format!("{path}.target.template.templateFrom[{index}].{key}"),
                    "there are no such objects without Kubernetes; use literal",
                );
            }
        }
    }
    if document.count() > before {
        return None;
    }
    let mut spec: ExternalSecretSpec = match serde_json::from_value(value.clone()) {
        Ok(spec) => spec,
        Err(error) => {
            document.wrong(path, format!("cannot be read: {error}"));
            return None;
        }
    };
    for violation in rules::violations(&spec) {
        document.wrong(path, violation);
    }
    if let Err(error) = spec.refresh_interval() {
        document.wrong(&join(path, "refreshInterval"), error.to_string());
    }
    for (index, entry) in spec.data_from.iter().enumerate() {
        let source = entry.source_ref.as_ref();
        if source.is_some_and(|source| source.generator_ref.is_some()) {
            document.wrong(
                &format!("{path}.dataFrom[{index}].sourceRef.generatorRef"),
                "generators are not for files",
            );
        }
    }
    prepare(&mut spec);
    (document.count() == before).then_some(spec)
}

/// There are no stores of the older API here, so an absent `apiVersion` means the one that there is.
fn prepare(spec: &mut ExternalSecretSpec) {
    let data = spec
        .data
        .iter_mut()
        .filter_map(|entry| entry.source_ref.as_mut()?.store_ref.as_mut());
    let data_from = spec
        .data_from
        .iter_mut()
        .filter_map(|entry| entry.source_ref.as_mut()?.store_ref.as_mut());
    for reference in spec
        .secret_store_ref
        .iter_mut()
        .chain(data)
        .chain(data_from)
    {
        reference.api_version = Some(STORE_API_VERSION_V2.to_owned());
    }
}

fn refuse(document: &Document, path: &str, value: &Value, parts: &[&str], reason: &str) {
    match parts {
        [] => document.wrong(path, format!("is not for files: {reason}; remove it")),
        ["[]", rest @ ..] => {
            for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                refuse(document, &format!("{path}[{index}]"), item, rest, reason);
            }
        }
        [key, rest @ ..] => {
            if let Some(below) = value.get(key).filter(|below| !below.is_null()) {
                refuse(document, &join(path, key), below, rest, reason);
            }
        }
    }
}

/// Types, known keys, required keys and enumerations; what is left is the business of the types.
fn check(document: &Document, path: &str, value: &Value, schema: &JSONSchemaProps) {
    if value.is_null() {
        return;
    }
    if let Some(expected) = schema.type_.as_deref()
        && !has_type(value, expected)
    {
        let hint = match (expected, value) {
            ("string", Value::Number(_) | Value::Bool(_)) => "text; put it in quotes",
            ("string", _) => "text",
            ("object", _) => "a map",
            ("array", _) => "a list",
            (other, _) => other,
        };
        document.wrong(path, format!("must be {hint}"));
        return;
    }
    if let Some(allowed) = &schema.enum_
        && !allowed.iter().any(|allowed| allowed.0 == *value)
    {
        let names: Vec<&str> = allowed.iter().filter_map(|one| one.0.as_str()).collect();
        let found = value.as_str().unwrap_or_default();
        document.wrong(
            path,
            format!("is {}; it may be {}", quoted(found), names.join(", ")),
        );
    }
    match value {
        Value::Array(items) => {
            if let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    check(document, &format!("{path}[{index}]"), item, schema);
                }
            }
        }
        Value::Object(map) => {
            for key in schema.required.iter().flatten() {
                if !map.contains_key(key) {
                    document.wrong(path, format!("lacks {key}, which is required"));
                }
            }
            let known = schema.properties.as_ref();
            for (key, below) in map {
                let at = join(path, key);
                match (
                    known.and_then(|known| known.get(key)),
                    &schema.additional_properties,
                ) {
                    (Some(schema), _) => check(document, &at, below, schema),
                    (None, Some(JSONSchemaPropsOrBool::Schema(schema))) => {
                        check(document, &at, below, schema);
                    }
                    (None, Some(JSONSchemaPropsOrBool::Bool(true))) => {}
                    (None, _) => {
                        let names = known.into_iter().flatten().map(|(name, _)| name.as_str());
                        document.wrong(&at, unknown(key, names));
                    }
                }
            }
        }
        _ => {}
    }
}

fn has_type(value: &Value, expected: &str) -> bool {
    match expected {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

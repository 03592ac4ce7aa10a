//! What an ExternalSecret may ask for that is not honoured yet.
//!
//! Such an object fails with a message that names the field: nothing is silently ignored. Whoever adds a feature removes its
//! lines here.

use latchkey_crds::external_secret::{
    CreationPolicy, DataFrom, DeletionPolicy, ExternalSecretSpec, RefreshPolicy,
};

/// The first field of `spec`, in the order of the manifest's reference, that is not supported yet, as a message such as
/// `spec.target.manifest is not supported yet`.
#[must_use]
pub fn first_unsupported_field(spec: &ExternalSecretSpec) -> Option<String> {
    let field = target(spec)
        .or_else(|| match spec.refresh_policy() {
            RefreshPolicy::Periodic => None,
            other => Some(format!("spec.refreshPolicy={other}")),
        })
        .or_else(|| {
            spec.sync_windows
                .as_ref()
                .map(|_| "spec.syncWindows".to_owned())
        })
        .or_else(|| {
            spec.data_from
                .iter()
                .enumerate()
                .find_map(|(index, entry)| {
                    Some(format!("spec.dataFrom[{index}].{}", data_from(entry)?))
                })
        })?;
    Some(format!("{field} is not supported yet"))
}

fn target(spec: &ExternalSecretSpec) -> Option<String> {
    let target = &spec.target;
    if !matches!(
        target.creation_policy(),
        CreationPolicy::Owner | CreationPolicy::None
    ) {
        return Some(format!(
            "spec.target.creationPolicy={}",
            target.creation_policy()
        ));
    }
    if target.deletion_policy() != DeletionPolicy::Retain {
        return Some(format!(
            "spec.target.deletionPolicy={}",
            target.deletion_policy()
        ));
    }
    if target.immutable == Some(true) {
        return Some("spec.target.immutable".to_owned());
    }
    target
        .manifest
        .as_ref()
        .map(|_| "spec.target.manifest".to_owned())
}

fn data_from(entry: &DataFrom) -> Option<String> {
    entry
        .source_ref
        .as_ref()?
        .generator_ref
        .as_ref()
        .map(|_| "sourceRef.generatorRef".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_unsupported_field_is_named() {
        for (spec, expected) in [
            (
                json!({ "dataFrom": [{ "extract": { "key": "k" } }], "data": [{ "secretKey": "a", "remoteRef": { "key": "k" } }] }),
                None,
            ),
            (
                json!({ "target": { "creationPolicy": "None", "deletionPolicy": "Retain", "immutable": false }, "refreshPolicy": "Periodic" }),
                None,
            ),
            (
                json!({ "dataFrom": [{ "extract": { "key": "k" }, "sourceRef": { "storeRef": { "name": "s" } } }] }),
                None,
            ),
            (
                json!({ "target": { "creationPolicy": "Merge" } }),
                Some("spec.target.creationPolicy=Merge"),
            ),
            (
                json!({ "target": { "creationPolicy": "Orphan" } }),
                Some("spec.target.creationPolicy=Orphan"),
            ),
            (
                json!({ "target": { "deletionPolicy": "Delete" } }),
                Some("spec.target.deletionPolicy=Delete"),
            ),
            (
                json!({ "target": { "immutable": true } }),
                Some("spec.target.immutable"),
            ),
            (
                json!({ "target": { "manifest": { "apiVersion": "v1", "kind": "ConfigMap" } } }),
                Some("spec.target.manifest"),
            ),
            (
                json!({ "target": { "template": { "data": { "a": "{{ .a }}" } } } }),
                None,
            ),
            (
                json!({ "refreshPolicy": "OnChange" }),
                Some("spec.refreshPolicy=OnChange"),
            ),
            (
                json!({ "syncWindows": { "kind": "deny", "windows": [{ "schedule": "@daily", "duration": "1h" }] } }),
                Some("spec.syncWindows"),
            ),
            (
                json!({ "data": [{ "secretKey": "a", "remoteRef": { "key": "k" }, "sourceRef": { "generatorRef": { "kind": "UUID", "name": "u" } } }] }),
                None,
            ),
            (
                json!({ "dataFrom": [{ "extract": { "key": "k" } }, { "find": {} }] }),
                None,
            ),
            (
                json!({ "dataFrom": [{ "extract": { "key": "k" }, "rewrite": [{ "transform": { "template": "x" } }] }] }),
                None,
            ),
            (
                json!({ "dataFrom": [{ "extract": { "key": "k" }, "rewrite": [{ "regexp": { "source": "a", "target": "b" } }, { "merge": {} }] }] }),
                None,
            ),
            (
                json!({ "dataFrom": [{ "sourceRef": { "generatorRef": { "kind": "UUID", "name": "u" } } }] }),
                Some("spec.dataFrom[0].sourceRef.generatorRef"),
            ),
        ] {
            let message = first_unsupported_field(&serde_json::from_value(spec.clone()).unwrap());
            assert_eq!(
                message,
                expected.map(|field| format!("{field} is not supported yet")),
                "{spec}"
            );
        }
    }
}

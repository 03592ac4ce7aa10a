//! What an ExternalSecret may ask for that is not honoured yet.
//!
//! Such an object fails with a message that names the field: nothing is silently ignored. Whoever adds a feature removes its
//! lines here.

use latchkey_crds::external_secret::{DataFrom, ExternalSecretSpec};

/// The first field of `spec`, in the order of the manifest's reference, that is not supported yet, as a message such as
/// `spec.dataFrom[0].sourceRef.generatorRef is not supported yet`.
#[must_use]
pub fn first_unsupported_field(spec: &ExternalSecretSpec) -> Option<String> {
    let field = spec
        .data_from
        .iter()
        .enumerate()
        .find_map(|(index, entry)| Some(format!("spec.dataFrom[{index}].{}", data_from(entry)?)))?;
    Some(format!("{field} is not supported yet"))
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
                json!({ "target": { "creationPolicy": "Orphan", "deletionPolicy": "Delete", "immutable": true }, "refreshPolicy": "OnChange" }),
                None,
            ),
            (
                json!({ "dataFrom": [{ "extract": { "key": "k" }, "sourceRef": { "storeRef": { "name": "s" } } }] }),
                None,
            ),
            (
                json!({ "target": { "template": { "data": { "a": "{{ .a }}" } } } }),
                None,
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

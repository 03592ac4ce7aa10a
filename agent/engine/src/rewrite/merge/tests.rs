use latchkey_secret::SecretValue;
use latchkey_templating::Limits;
use serde_json::json;

use super::*;

fn data(entries: &[(&str, &str)]) -> SecretData {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), SecretValue::from((*value).to_owned())))
        .collect()
}

fn run(operation: serde_json::Value, entries: &[(&str, &str)]) -> Result<SecretData, String> {
    let operation: RewriteMerge = serde_json::from_value(operation).unwrap();
    let mut budget = Budget::new(Limits::default());
    merge(&operation, data(entries), &mut budget).map_err(|error| error.to_string())
}

const THREE: &[(&str, &str)] = &[
    ("m-a", r#"{"k":"a","a":"1"}"#),
    ("m-b", r#"{"k":"b","b":"1"}"#),
    ("m-c", r#"{"k":"c","c":"1"}"#),
];

#[test]
fn objects_become_one_map_of_fields() {
    // externalsecret.md 3.4, E164, E165, E167; the corpus scenarios rw-merge-conflict and rw-merge-not-object.
    let with_k = |k: &'static str| data(&[("a", "1"), ("b", "1"), ("c", "1"), ("k", k)]);
    for (operation, entries, expected) in [
        (
            json!({}),
            &[("one", r#"{"a":1,"b":"x"}"#), ("two", r#"{"c":[1, 2]}"#)][..],
            data(&[("a", "1"), ("b", "x"), ("c", "[1,2]")]),
        ),
        (json!({ "conflictPolicy": "Ignore" }), THREE, with_k("c")),
        (
            json!({ "conflictPolicy": "Ignore", "priority": ["m-c", "m-a"] }),
            THREE,
            with_k("a"),
        ),
        (
            json!({ "conflictPolicy": "Ignore", "priority": ["m-b"] }),
            THREE,
            with_k("b"),
        ),
        (
            json!({ "conflictPolicy": "Ignore", "priority": ["lost", "m-a", "away"], "priorityPolicy": "IgnoreNotFound" }),
            THREE,
            with_k("a"),
        ),
        (
            json!({ "strategy": "Extract", "into": "ignored" }),
            &[("m-a", r#"{"k":"a"}"#), ("m-n", "null")],
            data(&[("k", "a")]),
        ),
        (json!({}), &[], data(&[])),
    ] {
        assert_eq!(run(operation.clone(), entries), Ok(expected), "{operation}");
    }
}

#[test]
fn the_merged_object_can_go_into_one_key() {
    // externalsecret.md 3.4, E169
    let operation = json!({ "strategy": "JSON", "into": "all", "conflictPolicy": "Ignore" });
    let entries = [
        ("all", r#"{"z":"<&>"}"#),
        ("b", r#"{"a":{"y":1.0,"x":null},"z":"last"}"#),
    ];
    assert_eq!(
        run(operation.clone(), &entries),
        Ok(data(&[
            ("all", r#"{"a":{"x":null,"y":1},"z":"last"}"#),
            entries[1]
        ]))
    );
    assert_eq!(
        run(operation, &[("x", r#"{"h":"<&>"}"#)]),
        Ok(data(&[("all", r#"{"h":"<&>"}"#), ("x", r#"{"h":"<&>"}"#)]))
    );
}

#[test]
fn failures_name_keys_and_fields() {
    // externalsecret.md 3.4, E166, E168, E170, E171
    for (operation, entries, expected) in [
        (json!({}), THREE, "conflicts: k, k"),
        (json!({}), &THREE[..2], "conflicts: k"),
        // Priority does not lift a conflict.
        (
            json!({ "priority": ["m-b"], "strategy": "Extract" }),
            THREE,
            "conflicts: k, k",
        ),
        (
            json!({ "conflictPolicy": "Error" }),
            &[
                ("a", r#"{"z":1,"b":1}"#),
                ("b", r#"{"b":1,"z":1}"#),
                ("c", r#"{"z":1}"#),
            ],
            "conflicts: b, z, z",
        ),
        (
            json!({ "priority": ["lost"] }),
            &THREE[..1],
            "key \"lost\" not found in input map",
        ),
        (
            json!({ "priority": ["lost"], "priorityPolicy": "Strict" }),
            &[],
            "key \"lost\" not found in input map",
        ),
        (
            json!({ "strategy": "JSON" }),
            &THREE[..1],
            "missing 'into' field",
        ),
        // Conflicts come first.
        (json!({ "strategy": "JSON" }), THREE, "conflicts: k, k"),
        (
            json!({}),
            &[("l", "[1]")],
            "failed to unmarshal JSON: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (
            json!({}),
            &[("t", "")],
            "failed to unmarshal JSON: unexpected end of JSON input",
        ),
    ] {
        assert_eq!(
            run(operation.clone(), entries),
            Err(expected.to_owned()),
            "{operation}"
        );
    }
}

#[test]
fn a_broken_value_is_not_shown() {
    // externalsecret.md 3.4, E171
    for value in [
        "canary",
        "{\"a\":canary}",
        "{\"a\":1e999}",
        "{\"canary\":1} x",
    ] {
        let error = run(json!({}), &[("k", value)]).unwrap_err();
        assert_eq!(
            error,
            "failed to unmarshal JSON: the value is not valid JSON; the reason could show a part of it and is left out"
        );
    }
}

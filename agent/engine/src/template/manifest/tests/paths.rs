//! Target paths (`externalsecret.md` 5.4).

use serde_json::{Value, json};

use super::{from, item, literal};

#[tokio::test]
async fn indexes_make_lists_and_grow_them_by_nulls() {
    // externalsecret.md 5.4, E199
    for (target, base, expected) in [
        (
            "spec.rules[0].from[0].source.blocks",
            json!({}),
            json!({ "spec": { "rules": [{ "from": [{ "source": { "blocks": { "a": 1 } } }] }] } }),
        ),
        (
            "spec.rules[0].to",
            json!({ "spec": { "rules": [{ "from": 1, "to": { "b": 2 } }] } }),
            json!({ "spec": { "rules": [{ "from": 1, "to": { "a": 1, "b": 2 } }] } }),
        ),
        (
            "spec.c[1].image",
            json!({}),
            json!({ "spec": { "c": [null, { "image": { "a": 1 } }] } }),
        ),
        (
            "spec.c[2].image",
            json!({ "spec": { "c": [{ "x": 1 }] } }),
            json!({ "spec": { "c": [{ "x": 1 }, null, { "image": { "a": 1 } }] } }),
        ),
        (
            "spec.m[1][0]",
            json!({}),
            json!({ "spec": { "m": [null, [{ "a": 1 }]] } }),
        ),
        ("spec[0]", json!({}), json!({ "spec": [{ "a": 1 }] })),
    ] {
        assert_eq!(
            from(json!([literal(target, "a: 1")]), base, &[]).await,
            Ok(expected),
            "{target}"
        );
    }
}

#[tokio::test]
async fn applying_again_changes_nothing() {
    // externalsecret.md 5.4, E201
    for entries in [
        json!([literal("spec.rules[0].from[1].blocks", "[a, b]")]),
        json!([literal("spec.slack", "{ a: 1, b: { c: 2 } }")]),
        json!([
            literal("spec.c[3].image", "a: 1"),
            item("spec.c[3].n", "n", "Values")
        ]),
        json!([
            literal("spec", "a: 1"),
            literal("data", "b: 2"),
            item("spec.late", "n", "Values")
        ]),
    ] {
        let apply = async |base: Value| {
            from(entries.clone(), base, &[("n", "3"), ("k", "k")])
                .await
                .unwrap()
        };
        let once = apply(json!({ "spec": { "x": true } })).await;
        let twice = apply(once.clone()).await;
        assert_eq!(twice, once, "{entries}");
        assert_eq!(apply(twice).await, once, "{entries}");
    }
}

#[tokio::test]
async fn what_is_no_path_or_leads_nowhere_is_told_in_upstream_s_words() {
    // externalsecret.md 5.4, E200; templates.md 1.2
    let deep = vec!["a"; 200].join(".");
    for (target, expected) in [
        (
            "rules[abc]",
            "invalid path \"rules[abc]\": bad index \"abc\"",
        ),
        ("rules[]", "invalid path \"rules[]\": bad index \"\""),
        ("rules[-1]", "invalid path \"rules[-1]\": negative index -1"),
        (
            "rules[10001]",
            "invalid path \"rules[10001]\": index 10001 exceeds maximum (10000)",
        ),
        (
            "rules[99999999999999999999]",
            "invalid path \"rules[99999999999999999999]\": bad index \"99999999999999999999\"",
        ),
        ("rules[1", "invalid path \"rules[1\": unterminated '['"),
        (
            "rules[1]x",
            "invalid path \"rules[1]x\": expected '[' near \"x\"",
        ),
        ("[0]", "invalid path \"[0]\": path must start with a key"),
        (
            "[0].x",
            "invalid path \"[0].x\": path must start with a key",
        ),
        ("a..b", "invalid path \"a..b\": empty segment"),
        ("a.", "invalid path \"a.\": empty segment"),
        (".a", "invalid path \".a\": empty segment"),
        (
            "spec.text.x",
            "failed to set path spec.text.x: expected map at key \"x\" but found string",
        ),
        (
            "spec.text[0]",
            "failed to set path spec.text[0]: expected array at index 0 but found string",
        ),
        (
            "spec[0]",
            "failed to set path spec[0]: expected array at index 0 but found map[string]interface {}",
        ),
        (
            "spec.list.x",
            "failed to set path spec.list.x: expected map at key \"x\" but found []interface {}",
        ),
        (
            "spec.n.x",
            "failed to set path spec.n.x: expected map at key \"x\" but found int64",
        ),
        (&deep, "more than 128 steps"),
    ] {
        let base = || json!({ "spec": { "text": "t", "list": [], "n": 1 } });
        let error = from(json!([literal(target, "a: 1")]), base(), &[])
            .await
            .unwrap_err();
        let step = "failed to execute literal template: ";
        assert!(
            error.starts_with(step) && error.ends_with(expected),
            "{target}: {error}"
        );
        let error = from(json!([item(target, "n", "Values")]), base(), &[("n", "1")])
            .await
            .unwrap_err();
        let step = "failed to merge configmap template: failed to apply to target: ";
        assert!(
            error.starts_with(step) && error.ends_with(expected),
            "{target}: {error}"
        );
    }
}

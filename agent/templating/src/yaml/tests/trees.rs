//! Texts that become part of an object.

use serde_json::json;

use super::super::tree;
use crate::limits::{Limit, Limits};

#[test]
fn a_tree_has_the_types_of_its_scalars() {
    // externalsecret.md E202; templates.md 1.2
    let read = |text: &str| {
        let tree = tree(text.as_bytes(), &Limits::default());
        tree.map(|tree| tree.to_json())
            .map_err(|error| error.full_text().to_owned())
    };
    for (text, expected) in [
        ("3", json!(3)),
        ("-9007199254740993", json!(-9_007_199_254_740_993_i64)),
        ("0x1F", json!(31)),
        ("1.0", json!(1)),
        ("1.5", json!(1.5)),
        ("1e3", json!(1000)),
        ("18446744073709551615", json!(18446744073709552000.0)),
        ("true", json!(true)),
        ("off", json!(false)),
        ("plain text", json!("plain text")),
        ("2024-01-02", json!("2024-01-02")),
        ("'3'", json!("3")),
        ("!!binary aGk=", json!("hi")),
        ("", json!(null)),
        ("~", json!(null)),
        ("[1, a, {b: [2]}]", json!([1, "a", { "b": [2] }])),
        (
            "a: &x {c: 1}\nb: *x\n2: c\non: d",
            json!({ "a": { "c": 1 }, "b": { "c": 1 }, "2": "c", "true": "d" }),
        ),
        ("a: 1\n---\nb: 2", json!({ "a": 1 })),
    ] {
        assert_eq!(read(text), Ok(expected), "{text}");
    }
    for (text, expected) in [
        (
            "a: .inf",
            "error converting YAML to JSON: json: unsupported value: +Inf",
        ),
        ("a: [", "error converting YAML to JSON: yaml: "),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d]";
    assert!(read(bomb).is_err());
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let limits = Limits {
        nesting: 128,
        ..Limits::default()
    };
    let error = tree(deep.as_bytes(), &limits).unwrap_err();
    assert_eq!(error.limit(), Some(Limit::Nesting));
}

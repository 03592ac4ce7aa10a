use std::collections::BTreeMap;

use super::string_map;
use crate::limits::{Limit, Limits};

fn map(text: &str) -> Result<BTreeMap<String, String>, String> {
    match string_map(text.as_bytes(), &Limits::default()) {
        Ok(map) => Ok(map
            .into_iter()
            .map(|(key, value)| (key, String::from_utf8(value.to_vec()).unwrap()))
            .collect()),
        Err(error) => Err(error.full_text().to_owned()),
    }
}

/// The value of `k` in `k: TEXT`.
fn value(text: &str) -> String {
    let map = map(&format!("k: {text}")).unwrap();
    map.get("k").unwrap().clone()
}

#[test]
fn scalars_of_a_string_map_become_strings() {
    for (text, expected) in [
        ("0x1F", "31"),
        ("017", "15"),
        ("0o17", "15"),
        ("0b11", "3"),
        ("1_000", "1000"),
        ("08", "8"),
        ("18446744073709551615", "18446744073709551615"),
        ("1.10", "1.1"),
        ("1e3", "1000"),
        ("100000000.0", "1e+08"),
        ("123456789.123", "1.2345679e+08"),
        ("1e300", "+Inf"),
        (".inf", "+Inf"),
        (".nan", "NaN"),
        ("yes", "true"),
        ("Off", "false"),
        ("y", "true"),
        ("null", ""),
        ("~", ""),
        ("", ""),
        ("2024-01-02", "2024-01-02"),
        ("1:30", "1:30"),
        ("'017'", "017"),
        ("!!binary aGk=", "hi"),
        ("!custom v", "v"),
        ("|\n  one\n  two\n", "one\ntwo\n"),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn keys_of_a_string_map_are_strings_too() {
    let map = map("n: 1\nyes: 2\n1.50: 3\n0x10: 4\na: 5\na: 6\n").unwrap();
    let entries: Vec<_> = map.iter().map(|(key, value)| (&**key, &**value)).collect();
    let expected = [
        ("1.5", "3"),
        ("16", "4"),
        ("a", "6"),
        ("false", "1"),
        ("true", "2"),
    ];
    assert_eq!(entries, expected);
}

#[test]
fn no_text_is_an_empty_string_map() {
    for text in ["", "\n", "# comment\n", "---\n...\n", "null", "~"] {
        assert_eq!(map(text), Ok(BTreeMap::new()), "{text:?}");
    }
    let first = map("a: 1\n---\nb: 2\n").unwrap();
    assert_eq!(first.keys().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn what_is_no_string_map_is_refused() {
    for (text, expected) in [
        (
            "- a",
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go value of type map[string]string",
        ),
        (
            "text",
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal string into Go value of type map[string]string",
        ),
        (
            "a: [1]",
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go value of type string",
        ),
        (
            "a: {}",
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal object into Go value of type string",
        ),
        (
            "a: [.inf]",
            "error converting YAML to JSON: json: unsupported value: +Inf",
        ),
        (
            "a: 1\nb",
            "error converting YAML to JSON: yaml: line 3: could not find expected ':'",
        ),
    ] {
        assert_eq!(map(text), Err(expected.to_owned()), "{text}");
    }
}

#[test]
fn errors_do_not_quote_the_text() {
    for text in [
        "a: *s3cret",
        "a: !!int s3cret",
        "? [s3cret]\n: b",
        "~: s3cret",
        "a: &s3cret [*s3cret]",
        "a: \u{1}s3cret",
        "s3cret",
        "a: [s3cret",
    ] {
        let error = string_map(text.as_bytes(), &Limits::default()).unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
}

#[test]
fn a_string_map_is_bounded() {
    let deep = format!("a: {}", "[".repeat(5000));
    let error = string_map(deep.as_bytes(), &Limits::default()).unwrap_err();
    assert_eq!(error.limit(), Some(Limit::Nesting));

    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let alias = format!("*a{}", level - 1);
        bomb += &format!(
            "a{level}: &a{level} [{}]\n",
            [alias.as_str(); 10].join(", ")
        );
    }
    let error = string_map(bomb.as_bytes(), &Limits::default()).unwrap_err();
    assert_eq!(
        error.full_text(),
        "error converting YAML to JSON: yaml: document contains excessive aliasing"
    );

    let long = format!("a: {}", "x".repeat(40 << 20));
    let error = string_map(long.as_bytes(), &Limits::default()).unwrap_err();
    assert_eq!(error.limit(), Some(Limit::Memory));
}

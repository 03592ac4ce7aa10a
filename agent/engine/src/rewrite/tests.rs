use jiff::Timestamp;
use latchkey_secret::SecretValue;
use serde_json::json;

use super::*;

fn run(operations: serde_json::Value, keys: &[&str]) -> Result<Vec<(String, String)>, String> {
    let operations: Vec<Rewrite> = serde_json::from_value(operations).unwrap();
    let data = keys
        .iter()
        .map(|key| ((*key).to_owned(), SecretValue::from((*key).to_owned())))
        .collect();
    let renamed = rewrite(&operations, data, &Options::new(Timestamp::now()))
        .map_err(|error| error.to_string())?;
    let text = |value: &SecretValue| String::from_utf8_lossy(value.expose()).into_owned();
    Ok(renamed
        .iter()
        .map(|(key, value)| (key.clone(), text(value)))
        .collect())
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(new, old): &(&str, &str)| ((*new).to_owned(), (*old).to_owned());
    pairs.iter().map(owned).collect()
}

#[test]
fn transforms_render_the_key_in_go_s_delimiters_and_without_strictness() {
    // externalsecret.md 3.4
    let transform = |template: &str| json!([{ "transform": { "template": template } }]);
    for (template, expected) in [
        ("{{ .value | upper }}", pairs(&[("A-1", "a-1"), ("B", "b")])),
        (
            "p.{{ .value }}.{{ .other }}",
            pairs(&[("p.a-1.<no value>", "a-1"), ("p.b.<no value>", "b")]),
        ),
        // The later of two keys that become the same wins (D-10).
        ("same", pairs(&[("same", "b")])),
        ("", pairs(&[("", "b")])),
    ] {
        assert_eq!(
            run(transform(template), &["b", "a-1"]).unwrap(),
            expected,
            "{template}"
        );
    }
}

#[test]
fn operations_follow_each_other() {
    let operations = json!([
        { "transform": { "template": "{{ .value | trimPrefix \"app-\" }}" } },
        {},
        { "transform": { "template": "{{ .value | title }}" } },
    ]);
    assert_eq!(
        run(operations, &["app-user", "port"]).unwrap(),
        pairs(&[("Port", "port"), ("User", "app-user")])
    );
}

#[test]
fn a_failed_operation_is_named_with_its_key() {
    // externalsecret.md 3.4
    let second = |template: &str| json!([{ "transform": { "template": "{{ .value }}" } }, { "transform": { "template": template } }]);
    let error = run(second("{{ nope }}"), &["a"]).unwrap_err();
    assert_eq!(
        error,
        "failed rewrite operation[1]: transform failed with failed to parse template: template: transform:1: function \"nope\" not defined"
    );
    let error = run(second("{{ fail .value }}"), &["b", "a"]).unwrap_err();
    assert_eq!(
        error,
        "failed rewrite operation[1]: transform failed with failed to execute template for key \"a\": \
         template: transform:1:3: executing \"transform\" at <fail .value>: error calling fail: a"
    );
    // A template that no key is rendered with must be one all the same.
    assert!(run(second("{{"), &[]).is_err());
}

#[test]
fn regexps_replace_every_match_as_go_does() {
    // externalsecret.md 3.4, D-10, E143, E145, E157, E158, E159, E160, E161; the corpus scenarios rw-regexp-empty-match and
    // rw-collision.
    for (source, target, keys, expected) in [
        ("-", "_", &["a-b-c"][..], pairs(&[("a_b_c", "a-b-c")])),
        ("x", "y", &["a-b"], pairs(&[("a-b", "a-b")])),
        ("^p/q/", "", &["p/q/r"], pairs(&[("r", "p/q/r")])),
        (
            "f(.*)o",
            "n_$1",
            &["foo", "foodaloo"],
            pairs(&[("n_o", "foo"), ("n_oodalo", "foodaloo")]),
        ),
        ("(?P<a>x)(y)", "${2}${a}", &["xy"], pairs(&[("yx", "xy")])),
        ("(.*)", "my_$1", &["user"], pairs(&[("my_user", "user")])),
        ("(.*)", "p-$1", &["user"], pairs(&[("p-user", "user")])),
        // An empty match directly behind another one is none.
        ("x*", "-", &["abc"], pairs(&[("-a-b-c-", "abc")])),
        ("a*", "-", &["baac"], pairs(&[("-b-c-", "baac")])),
        ("$", ".end", &["abc"], pairs(&[("abc.end", "abc")])),
        (
            "^",
            "x.",
            &["abc", ""],
            pairs(&[("x.", ""), ("x.abc", "abc")]),
        ),
        ("", "-", &["ü1"], pairs(&[("-ü-1-", "ü1")])),
        // A name takes the longest run; a group that is not there is empty.
        ("(.+)", "$1_x", &["a"], pairs(&[("", "a")])),
        ("(.+)", "$$$1", &["a"], pairs(&[("$a", "a")])),
        (
            "(?P<a>x)(y)",
            "$a-$2.$a_$none",
            &["xy"],
            pairs(&[("x-y.", "xy")]),
        ),
        ("(x)|(y)", "[$1${2}]", &["xy"], pairs(&[("[x][y]", "xy")])),
        ("x", "$", &["x"], pairs(&[("$", "x")])),
        ("x", "${", &["x"], pairs(&[("${", "x")])),
        // What RE2 has and others lack.
        (r"\Q.\E", "-", &["a.b"], pairs(&[("a-b", "a.b")])),
        (
            r"\Qa.*b",
            "-",
            &["a.*b", "axxb"],
            pairs(&[("-", "a.*b"), ("axxb", "axxb")]),
        ),
        (r"\057|\x2e", "-", &["a/b.c"], pairs(&[("a-b-c", "a/b.c")])),
        (r"(?i)KEY$", "v", &["my-key"], pairs(&[("my-v", "my-key")])),
        (".", "k", &["a", "b"], pairs(&[("k", "b")])),
        (
            "^k-.$",
            "same",
            &["k-b", "k-a", "k-c"],
            pairs(&[("same", "k-c")]),
        ),
    ] {
        let operations = json!([{ "regexp": { "source": source, "target": target } }]);
        assert_eq!(run(operations, keys).unwrap(), expected, "{source}");
    }
    let broken = json!([{ "regexp": { "source": "(", "target": "" } }]);
    assert_eq!(
        run(broken, &[]).unwrap_err(),
        "failed rewrite operation[0]: regexp failed with failed to compile: error parsing regexp: missing closing ): `(`"
    );
}

#[test]
fn operations_of_all_kinds_feed_each_other() {
    // externalsecret.md 3.4, E162, E163, E172, E173
    let regexp =
        |source: &str, target: &str| json!({ "regexp": { "source": source, "target": target } });
    let run = |operations: serde_json::Value, entries: &[(&str, &str)]| {
        let operations: Vec<Rewrite> = serde_json::from_value(operations).unwrap();
        let data = entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), SecretValue::from((*value).to_owned())))
            .collect();
        rewrite(&operations, data, &Options::new(Timestamp::now()))
            .map(|data| {
                data.iter()
                    .map(|(key, value)| {
                        let text = String::from_utf8_lossy(value.expose()).into_owned();
                        (key.clone(), text)
                    })
                    .collect::<Vec<_>>()
            })
            .map_err(|error| error.to_string())
    };
    let merge = |operation: serde_json::Value| json!({ "merge": operation });
    let objects = [("env/a", r#"{"n":"a","x":123}"#), ("env/b", r#"{"n":"b"}"#)];
    for (operations, entries, expected) in [
        (
            json!([
                regexp("^p/", ""),
                regexp("x", "y"),
                regexp("y/(.*)", "$1-z")
            ]),
            &[("p/x/k", "v")][..],
            pairs(&[("k-z", "v")]),
        ),
        (
            json!([
                regexp("^my-", ""),
                { "transform": { "template": "{{ .value | upper | replace \"-\" \"_\" }}" } },
            ]),
            &[("my-app-key", "v")],
            pairs(&[("APP_KEY", "v")]),
        ),
        (
            json!([
                regexp("^env/", ""),
                merge(
                    json!({ "strategy": "JSON", "into": "all", "priority": ["a"], "conflictPolicy": "Ignore" })
                ),
            ]),
            &objects,
            pairs(&[
                ("a", objects[0].1),
                ("all", r#"{"n":"a","x":123}"#),
                ("b", objects[1].1),
            ]),
        ),
        (
            json!([
                merge(
                    json!({ "strategy": "JSON", "into": "all", "priority": ["env/a"], "conflictPolicy": "Ignore" })
                ),
                merge(json!({ "priority": ["env/b"], "conflictPolicy": "Ignore" })),
            ]),
            &objects,
            pairs(&[("n", "b"), ("x", "123")]),
        ),
        (
            json!([merge(json!({})), regexp("^", "p-")]),
            &[("o", r#"{"a/b":"1"}"#)],
            pairs(&[("p-a/b", "1")]),
        ),
    ] {
        assert_eq!(
            run(operations.clone(), entries),
            Ok(expected),
            "{operations}"
        );
    }
    // Priority names the keys of before only if nothing rewrote them.
    let operations = json!([regexp("^env/", ""), merge(json!({ "priority": ["env/a"] }))]);
    assert_eq!(
        run(operations, &objects),
        Err(
            "failed rewrite operation[1]: merge failed with key \"env/a\" not found in input map"
                .to_owned()
        )
    );
}

#[test]
fn many_keys_are_rewritten_within_the_limits() {
    let data: SecretData = (0..10_000)
        .map(|number| {
            let value = format!(r#"{{"a{number}":"some text","b{number}":[1,2]}}"#);
            let key = format!("app/team-{number}/environment/production/key");
            (key, SecretValue::from(value))
        })
        .collect();
    let run = |operations: serde_json::Value| {
        let operations: Vec<Rewrite> = serde_json::from_value(operations).unwrap();
        let options = Options::new(Timestamp::now());
        rewrite(&operations, data.clone(), &options).map(|data| data.len())
    };
    for (operation, expected) in [
        (
            json!({ "regexp": { "source": "(.*)", "target": "p-$1" } }),
            10_000,
        ),
        (
            json!({ "transform": { "template": "{{ .value | replace \"/\" \".\" | upper }}" } }),
            10_000,
        ),
        (json!({ "merge": {} }), 20_000),
    ] {
        assert_eq!(run(json!([operation.clone()])), Ok(expected), "{operation}");
    }
}

#[test]
fn operations_share_what_they_may_take() {
    let data: SecretData = (0..1_000)
        .map(|number| (number.to_string(), SecretValue::from("{}".to_owned())))
        .collect();
    let run = |operation: serde_json::Value, count: usize| {
        let operations: Vec<Rewrite> =
            serde_json::from_value(json!(vec![operation; count])).unwrap();
        let options = Options {
            limits: Limits {
                steps: 10_000,
                ..Limits::default()
            },
            ..Options::new(Timestamp::now())
        };
        rewrite(&operations, data.clone(), &options)
            .map(|data| data.len())
            .map_err(|error| error.to_string())
    };
    let regexp = json!({ "regexp": { "source": "x", "target": "y" } });
    let transform =
        json!({ "transform": { "template": "{{ range until 20 }}{{ end }}{{ .value }}" } });
    let merge = json!({ "merge": { "strategy": "JSON", "into": "all" } });
    for operation in [regexp, transform, merge, json!({})] {
        assert_eq!(
            run(operation.clone(), 1).map(|count| count / 1_000),
            Ok(1),
            "{operation}"
        );
        let error = run(operation.clone(), 300).unwrap_err();
        assert!(error.ends_with(" limit of steps"), "{operation}: {error}");
    }
}

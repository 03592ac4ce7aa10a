use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use jiff::Timestamp;
use latchkey_crds::external_secret::ExternalSecret;
use latchkey_secret::{SecretData, SecretValue};
use latchkey_templating::{Delimiters, Limit, Limits};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;

mod targets;

/// Objects by `<kind word>/<name>`; an absent one does not exist.
#[derive(Default)]
pub(super) struct Objects {
    objects: BTreeMap<String, Result<BTreeMap<String, String>, ObjectError>>,
    reads: Mutex<Vec<String>>,
}

impl TemplateObjects for Objects {
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        kind: ObjectKind,
        name: &'a str,
        keys: &'a BTreeSet<&'a str>,
    ) -> BoxFuture<'a, Result<SecretData, ObjectError>> {
        assert_eq!(namespace, "team-a");
        let id = format!("{kind:?}/{name}");
        self.reads.lock().push(format!("{id} {keys:?}"));
        let outcome = match self.objects.get(&id) {
            None => Err(ObjectError::Missing(format!("{id} not found"))),
            Some(Err(error)) => Err(error.clone()),
            Some(Ok(values)) => Ok(values
                .iter()
                .filter(|(key, _)| keys.contains(key.as_str()))
                .map(|(key, value)| (key.clone(), SecretValue::from(value.clone())))
                .collect()),
        };
        ready(outcome).boxed()
    }
}

pub(super) fn objects(entries: &[(&str, &[(&str, &str)])]) -> Objects {
    let objects = entries.iter().map(|(id, values)| {
        let values = values
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        ((*id).to_owned(), Ok(values))
    });
    Objects {
        objects: objects.collect(),
        ..Objects::default()
    }
}

fn object(template: Value) -> ExternalSecret {
    serde_json::from_value(json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": { "name": "web", "namespace": "team-a", "labels": { "own": "l" }, "annotations": { "own": "a" } },
        "spec": { "target": { "template": template } },
    }))
    .unwrap()
}

pub(super) fn data(pairs: &[(&str, &str)]) -> SecretData {
    let own =
        |(key, value): &(&str, &str)| ((*key).to_owned(), SecretValue::from((*value).to_owned()));
    pairs.iter().map(own).collect()
}

async fn run_with(
    settings: Settings,
    template: Value,
    fetched: &[(&str, &str)],
    objects: Objects,
) -> Result<Rendered, TemplateError> {
    Renderer::new(settings, Arc::new(objects))
        .render(&object(template), data(fetched), Timestamp::now())
        .await
}

async fn run(
    template: Value,
    fetched: &[(&str, &str)],
    objects: Objects,
) -> Result<Rendered, TemplateError> {
    run_with(Settings::default(), template, fetched, objects).await
}

/// Everything that was rendered, as `data`, `labels` and `annotations` of one JSON object.
fn shown(rendered: &Rendered) -> Value {
    let text = |value: &SecretValue| String::from_utf8_lossy(value.expose()).into_owned();
    let data: BTreeMap<_, _> = rendered
        .data
        .iter()
        .map(|(key, value)| (key, text(value)))
        .collect();
    json!({ "data": data, "labels": rendered.labels, "annotations": rendered.annotations })
}

fn only_data(expected: Value) -> Value {
    json!({ "data": expected, "labels": {}, "annotations": {} })
}

#[tokio::test]
async fn without_a_template_the_values_and_the_metadata_of_the_object_are_delivered() {
    // externalsecret.md 2.7 step 4, 4.2
    let rendered = run(Value::Null, &[("a", "{{ .b }}")], Objects::default())
        .await
        .unwrap();
    assert_eq!(
        shown(&rendered),
        json!({ "data": { "a": "{{ .b }}" }, "labels": { "own": "l" }, "annotations": { "own": "a" } })
    );
}

#[tokio::test]
async fn fetched_keys_stay_only_if_the_template_makes_none_or_merges() {
    // externalsecret.md 4.2, E114, E120, E122
    let fetched = [("a", "1"), ("b", "2")];
    for (template, expected) in [
        (json!({}), json!({ "a": "1", "b": "2" })),
        (json!({ "type": "Opaque" }), json!({ "a": "1", "b": "2" })),
        (
            json!({ "data": { "a": "x{{ .a }}" } }),
            json!({ "a": "x1" }),
        ),
        (
            json!({ "mergePolicy": "Merge", "data": { "a": "x{{ .a }}" } }),
            json!({ "a": "x1", "b": "2" }),
        ),
        (
            json!({ "templateFrom": [{ "literal": "c: 3" }] }),
            json!({ "c": "3" }),
        ),
    ] {
        let rendered = run(template.clone(), &fetched, Objects::default())
            .await
            .unwrap();
        assert_eq!(shown(&rendered), only_data(expected), "{template}");
    }
    // So does one that only makes labels.
    let template = json!({ "templateFrom": [{ "target": "Labels", "literal": "c: 3" }] });
    let rendered = run(template, &fetched, Objects::default()).await.unwrap();
    assert_eq!(
        shown(&rendered),
        json!({ "data": {}, "labels": { "c": "3" }, "annotations": {} })
    );
}

#[tokio::test]
async fn later_results_win_in_the_documented_order() {
    // externalsecret.md 4.2, E115 to E118, E135
    let objects = objects(&[
        (
            "ConfigMap/c",
            &[
                ("one", "cm-{{ .v }}"),
                ("map", "{{ .k }}-cm: {{ .v }}\ntwo: cm\n"),
            ],
        ),
        ("Secret/s", &[("one", "secret-{{ .v }}"), ("two", "s")]),
    ]);
    let template = json!({
        "templateFrom": [{
            "literal": "two: literal",
            "secret": { "name": "s", "items": [{ "key": "one" }, { "key": "two" }] },
            "configMap": { "name": "c", "items": [{ "key": "one" }, { "key": "map", "templateAs": "KeysAndValues" }] },
        }, {
            "literal": "three: 3\nfour: 4",
        }],
        "data": { "four": "data" },
    });
    let rendered = run(template, &[("k", "a"), ("v", "1")], objects)
        .await
        .unwrap();
    assert_eq!(
        shown(&rendered),
        only_data(
            json!({ "one": "secret-1", "a-cm": "1", "two": "literal", "three": "3", "four": "data" })
        )
    );
}

#[tokio::test]
async fn labels_and_annotations_are_rendered_and_targets_are_read_in_any_case() {
    // externalsecret.md 4.2, 4.3, E118, E126, E127, D-17
    let template = json!({
        "metadata": {
            "labels": { "team": "{{ .team }}", "from": "metadata" },
            "annotations": { "note": "{{ .team | upper }}" },
        },
        "templateFrom": [
            { "target": "LABELS", "literal": "from: literal\nextra: on" },
            { "target": "aNNotations", "literal": "a: b" },
            { "target": "", "literal": "k: v" },
        ],
    });
    let rendered = run(template, &[("team", "blue")], Objects::default())
        .await
        .unwrap();
    assert_eq!(
        shown(&rendered),
        json!({
            "data": { "k": "v" },
            "labels": { "team": "blue", "from": "metadata", "extra": "true" },
            "annotations": { "note": "BLUE", "a": "b" },
        })
    );
}

#[tokio::test]
async fn values_of_template_from_are_decoded_and_keys_are_not() {
    // externalsecret.md 4.3, E131, E132, X13
    let from = |strategy: &str, literal: &str| {
        json!({
            "templateFrom": [{ "literal": literal, "valuesDecodingStrategy": strategy }],
            "data": { "raw": "SGk=" },
        })
    };
    for (strategy, literal, expected) in [
        ("Base64", "svc: SGk=", json!({ "svc": "Hi", "raw": "SGk=" })),
        ("Base64", "SGk: SGk=", json!({ "SGk": "Hi", "raw": "SGk=" })),
        ("None", "svc: SGk=", json!({ "svc": "SGk=", "raw": "SGk=" })),
        (
            "None",
            "port: 5432\non: yes\nv: 1.20",
            json!({ "port": "5432", "true": "true", "v": "1.2", "raw": "SGk=" }),
        ),
        (
            "Auto",
            "svc: no-base64!",
            json!({ "svc": "no-base64!", "raw": "SGk=" }),
        ),
        (
            "Base64URL",
            "svc: Pz8_",
            json!({ "svc": "???", "raw": "SGk=" }),
        ),
    ] {
        let rendered = run(from(strategy, literal), &[], Objects::default())
            .await
            .unwrap();
        assert_eq!(shown(&rendered), only_data(expected), "{literal}");
    }
    let objects = objects(&[("ConfigMap/c", &[("k", "{{ .e }}")])]);
    let template = json!({ "templateFrom": [{
        "configMap": { "name": "c", "items": [{ "key": "k" }] }, "valuesDecodingStrategy": "Base64",
    }] });
    let rendered = run(template, &[("e", "SGk=")], objects).await.unwrap();
    assert_eq!(shown(&rendered), only_data(json!({ "k": "Hi" })));
}

#[tokio::test]
async fn each_object_is_read_once_for_the_keys_that_are_needed() {
    let objects = Arc::new(objects(&[(
        "ConfigMap/c",
        &[("a", "1"), ("b", "2"), ("c", "3")],
    )]));
    let template = json!({ "templateFrom": [
        { "configMap": { "name": "c", "items": [{ "key": "b" }] } },
        { "configMap": { "name": "c", "items": [{ "key": "a" }] } },
    ] });
    let renderer = Renderer::new(Settings::default(), objects.clone());
    let rendered = renderer
        .render(&object(template), SecretData::new(), Timestamp::now())
        .await
        .unwrap();
    assert_eq!(shown(&rendered), only_data(json!({ "a": "1", "b": "2" })));
    assert_eq!(*objects.reads.lock(), [r#"ConfigMap/c {"a", "b"}"#]);
}

#[tokio::test]
async fn delimiters_are_those_of_the_settings() {
    // externalsecret.md 4.1
    let settings = Settings {
        delimiters: Delimiters {
            left: "[[".to_owned(),
            right: "]]".to_owned(),
        },
        ..Settings::default()
    };
    let template = json!({ "data": { "a": "{{ keep }} [[ .a ]]" } });
    let rendered = run_with(settings, template, &[("a", "1")], Objects::default())
        .await
        .unwrap();
    assert_eq!(shown(&rendered), only_data(json!({ "a": "{{ keep }} 1" })));
}

#[tokio::test]
async fn each_failure_has_upstream_s_text() {
    // externalsecret.md 1.1, 1.4, 4.3, templates.md 1.2, E125, E131, D-23
    let map = |text: &str| json!({ "templateFrom": [{ "literal": text }] });
    let from = |kind: &str, name: &str, key: &str| json!({ "templateFrom": [{ kind: { "name": name, "items": [{ "key": key }] } }] });
    let execute =
        "could not apply template: could not execute template: could not execute template: ";
    let fetch = "could not apply template: error fetching templateFrom data: ";
    for (template, expected) in [
        (
            json!({ "data": { "k": "{{ .absent }}" } }),
            format!("{execute}unable to execute template at key k: unable to execute template at key k: template: k:1:3: executing \"k\" at <.absent>: map has no entry for key \"absent\""),
        ),
        (
            json!({ "data": { "k": "a\n{{ nope }}" } }),
            format!("{execute}unable to execute template at key k: unable to parse template at key k: template: k:2: function \"nope\" not defined"),
        ),
        (
            json!({ "metadata": { "labels": { "l": "{{ .absent }}" } } }),
            format!("{execute}unable to execute template at key l: unable to execute template at key l: template: l:1:3: executing \"l\" at <.absent>: map has no entry for key \"absent\""),
        ),
        (
            json!({ "metadata": { "annotations": { "n": "{{ end }}" } } }),
            format!("{execute}unable to execute template at key n: unable to parse template at key n: template: n:1: unexpected {{{{end}}}}"),
        ),
        (
            map("a: {{ .absent }}"),
            format!("{fetch}unable to execute template at key templateFrom[0]: unable to execute template at key templateFrom[0]: template: templateFrom[0]:1:6: executing \"templateFrom[0]\" at <.absent>: map has no entry for key \"absent\""),
        ),
        (
            json!({ "templateFrom": [{ "literal": "svc: no-base64!", "valuesDecodingStrategy": "Base64" }] }),
            format!("{fetch}failed to decode rendered template value for key svc: illegal base64 data at input byte 2"),
        ),
        (
            from("configMap", "c", "other"),
            format!("{fetch}error in configmap c: missing key other"),
        ),
        (
            from("secret", "s", "other"),
            format!("{fetch}error in secret s: missing key other"),
        ),
        (
            from("configMap", "none", "k"),
            format!("{fetch}ConfigMap/none not found"),
        ),
        (
            json!({ "engineVersion": "v1" }),
            "could not apply template: unsupported template engine version: v1".to_owned(),
        ),
        (
            json!({ "type": "bootstrap.kubernetes.io/token", "templateFrom": [{ "target": "type", "literal": "" }] }),
            "could not apply template: template.type=\"bootstrap.kubernetes.io/token\" is not allowed\ntemplateFrom target=\"type\" is not allowed when targeting a Secret, must be one of \"Data\", \"Annotations\" or \"Labels\"".to_owned(),
        ),
        (
            json!({ "type": "kubernetes.io/service-account-token", "templateFrom": [{ "target": "annotations", "literal": "" }] }),
            "could not apply template: template.type=\"kubernetes.io/service-account-token\" with templateFrom target=\"Annotations\" is not allowed".to_owned(),
        ),
    ] {
        let objects = objects(&[("ConfigMap/c", &[("k", "v")]), ("Secret/s", &[("k", "v")])]);
        let error = run(template.clone(), &[("a", "1")], objects).await.unwrap_err();
        assert_eq!(error.to_string(), expected, "{template}");
    }
}

#[tokio::test]
async fn keys_that_no_secret_can_have_are_refused_by_name_if_they_stand_in_the_template() {
    // templates.md 1.2; the API server's words would show what was rendered
    for (literal, shown) in [
        ("a b: c", "a b"),
        ("..a: c", "..a"),
        ("{{ .v }}: c", "(rendered)"),
        ("{{ .v }}/{{ .v }}: c", "(rendered)"),
    ] {
        let template = json!({ "templateFrom": [{ "literal": literal }] });
        let error = run(template, &[("v", "x/y")], Objects::default())
            .await
            .unwrap_err()
            .to_string();
        let expected = format!(
            "error fetching templateFrom data: failed to apply to target: key {shown} is no key"
        );
        assert!(error.contains(&expected), "{error}");
    }
}

#[tokio::test]
async fn an_earlier_template_fails_before_a_later_object_is_missed() {
    let template = json!({ "templateFrom": [
        { "literal": "{{ nope }}" },
        { "configMap": { "name": "none", "items": [{ "key": "k" }] } },
    ] });
    let error = run(template, &[], Objects::default()).await.unwrap_err();
    assert!(error.to_string().contains("nope"), "{error}");
    assert_eq!(error.object_error(), None);
    assert_eq!(error.position(), Some((1, 3)));
    let template =
        json!({ "templateFrom": [{ "secret": { "name": "none", "items": [{ "key": "k" }] } }] });
    let error = run(template, &[], Objects::default()).await.unwrap_err();
    assert!(matches!(
        error.object_error(),
        Some(ObjectError::Missing(_))
    ));
}

#[tokio::test]
async fn no_error_shows_a_value_or_the_text_of_a_secret() {
    // D-23, SB-24
    let canary = "canary-7d1f";
    let texts = [
        "{{ \"canary-7d1f\" | nope }}",
        "{{ .canary-7d1f",
        "{{ fail \"canary-7d1f\" }}",
        "{{ \"canary-7d1f\" | atoi | add1f | repeat }}",
        "{{ index . \"canary-7d1f\" | substr 5 2 }}",
        "- canary-7d1f",
        "canary-7d1f: canary-7d1f",
        "canary-7d1f",
        "{{ template \"canary-7d1f\" }}",
        "{{ range until 100000000 }}canary-7d1f{{ end }}",
    ];
    for text in texts {
        for scope in ["Values", "KeysAndValues"] {
            let template = json!({ "templateFrom": [{
                "secret": { "name": "s", "items": [{ "key": "k", "templateAs": scope }] }, "valuesDecodingStrategy": "Base64",
            }] });
            let objects = objects(&[("Secret/s", &[("k", text)])]);
            let error = run(template, &[], objects).await.unwrap_err();
            for shown in [error.to_string(), error.brief(), format!("{error:?}")] {
                assert!(!shown.contains("canary"), "{text}: {shown}");
                assert!(!shown.contains(canary), "{text}: {shown}");
            }
        }
    }
    // Values reach errors through functions, through YAML and as keys.
    for text in [
        "{{ fail .v }}",
        "{{ .v | toDate \"2006\" | fail }}",
        "{{ .v | b64dec | fail }}",
        "{{ .v }}: no-base64!",
        "- {{ .v }}",
        "{{ .v }}",
        "a: [{{ .v }}]",
        "a: \"{{ .v }}",
    ] {
        let template =
            json!({ "templateFrom": [{ "literal": text, "valuesDecodingStrategy": "Base64" }] });
        let error = run(template, &[("v", canary)], Objects::default())
            .await
            .unwrap_err();
        for shown in [error.to_string(), error.brief(), format!("{error:?}")] {
            assert!(!shown.contains("canary"), "{text}: {shown}");
        }
    }
}

#[tokio::test]
async fn the_work_of_all_templates_together_is_bounded() {
    let long = format!("{}{{{{ .v }}}}", "x".repeat(1 << 20));
    let many: BTreeMap<String, &str> = (0..9).map(|n| (format!("k{n}"), long.as_str())).collect();
    let error = run(json!({ "data": many }), &[("v", "1")], Objects::default())
        .await
        .unwrap_err();
    assert!(
        error.limit().is_some() || error.to_string().contains("8 MiB"),
        "{error}"
    );

    let settings = Settings {
        limits: Limits {
            output: 10,
            ..Limits::default()
        },
        ..Settings::default()
    };
    let template = json!({ "data": { "a": "{{ .v }}", "b": "{{ .v }}" } });
    let error = run_with(settings, template, &[("v", "123456")], Objects::default())
        .await
        .unwrap_err();
    assert!(error.limit().is_some(), "{error}");
    assert_eq!(error.place(), Some(&Place::Data("b".to_owned())));

    // Each of them is far below the limit of one.
    let busy: BTreeMap<String, &str> = (0..2000)
        .map(|n| {
            (
                format!("k{n:04}"),
                "{{ range until 20000 }}{{ end }}{{ .v }}",
            )
        })
        .collect();
    let error = run(json!({ "data": busy }), &[("v", "1")], Objects::default())
        .await
        .unwrap_err();
    assert_eq!(error.limit(), Some(Limit::Steps), "{error}");
    assert_ne!(error.place(), Some(&Place::Data("k0000".to_owned())));

    let from: Vec<Value> = (0..65)
        .map(|n| json!({ "configMap": { "name": format!("c{n}"), "items": [] } }))
        .collect();
    let error = run(json!({ "templateFrom": from }), &[], Objects::default())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("64 objects"), "{error}");
}

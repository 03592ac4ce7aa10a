mod paths;

use std::sync::Arc;

use jiff::Timestamp;
use latchkey_crds::external_secret::ExternalSecret;
use latchkey_templating::Limits;
use serde_json::{Value, json};

use super::super::tests::{Objects, data, objects};
use super::super::{Renderer, Settings};
use super::*;

/// An object with the target `kind` and a template, if it is not null.
fn object(kind: &str, template: Value) -> ExternalSecret {
    serde_json::from_value(json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": { "name": "web", "namespace": "team-a" },
        "spec": { "target": { "template": template, "manifest": { "apiVersion": "example.com/v1", "kind": kind } } },
    }))
    .unwrap()
}

async fn render(
    object: &ExternalSecret,
    base: Value,
    fetched: &[(&str, &str)],
    objects: Objects,
) -> Result<Value, String> {
    let renderer = Renderer::new(Settings::default(), Arc::new(objects));
    let base = Tree::from_json(base);
    let rendered = renderer.render_manifest(object, base, data(fetched), Timestamp::now());
    rendered
        .await
        .map(|tree| tree.to_json())
        .map_err(|error| error.to_string())
}

/// What `templateFrom` entries make of `base`.
async fn from(entries: Value, base: Value, fetched: &[(&str, &str)]) -> Result<Value, String> {
    let objects = objects(&[
        (
            "ConfigMap/c",
            &[("n", "{{ .n }}"), ("map", "x: {{ .n }}\n{{ .k }}: 2")],
        ),
        ("Secret/s", &[("n", "s{{ .n }}")]),
    ]);
    let object = object("Widget", json!({ "templateFrom": entries }));
    render(&object, base, fetched, objects).await
}

fn literal(target: &str, text: &str) -> Value {
    json!({ "target": target, "literal": text })
}

fn item(target: &str, key: &str, scope: &str) -> Value {
    json!({ "target": target, "configMap": { "name": "c", "items": [{ "key": key, "templateAs": scope }] } })
}

#[tokio::test]
async fn without_a_template_the_values_are_strings_of_data_or_spec() {
    // externalsecret.md 5.3, E184, E185, E203
    let fetched = [("host", "h"), ("port", "5432"), ("raw", "YWJj")];
    let values = json!({ "host": "h", "port": "5432", "raw": "YWJj" });
    let none = Value::Null;
    for (kind, base, expected) in [
        (
            "ConfigMap",
            json!({ "data": {} }),
            json!({ "data": values }),
        ),
        // Also of an object that is there: data is what was fetched.
        (
            "ConfigMap",
            json!({ "data": { "theirs": "x" }, "immutable": false }),
            json!({ "data": values, "immutable": false }),
        ),
        (
            "Widget",
            json!({ "spec": {} }),
            json!({ "spec": { "data": values } }),
        ),
        ("Widget", json!({}), json!({ "spec": { "data": values } })),
        (
            "Widget",
            json!({ "spec": { "a": 1, "data": { "theirs": "x" } } }),
            json!({ "spec": { "a": 1, "data": values } }),
        ),
    ] {
        let rendered = render(
            &object(kind, none.clone()),
            base.clone(),
            &fetched,
            Objects::default(),
        )
        .await;
        assert_eq!(rendered, Ok(expected), "{kind} {base}");
    }
    let refused = render(
        &object("Widget", none),
        json!({ "spec": 3 }),
        &fetched,
        Objects::default(),
    )
    .await;
    assert_eq!(
        refused,
        Err("expected map at key \"data\" but found int64".to_owned())
    );
}

#[tokio::test]
async fn template_data_goes_to_data_of_every_kind_and_fetched_keys_do_not() {
    // externalsecret.md 5.3: mergePolicy and the rule of 4.2 do not apply
    let template =
        json!({ "mergePolicy": "Merge", "data": { "url": "{{ .user }}@h", "n": "{{ .n }}" } });
    for base in [json!({ "data": {} }), json!({ "spec": { "a": 1 } })] {
        let object = object("Widget", template.clone());
        let fetched = [("user", "ann"), ("n", "3")];
        let rendered = render(&object, base.clone(), &fetched, Objects::default()).await;
        let mut expected = base;
        expected["data"] = json!({ "url": "ann@h", "n": "3" });
        assert_eq!(rendered, Ok(expected));
    }
    let object = object("Widget", json!({ "metadata": {} }));
    let untouched = render(
        &object,
        json!({ "spec": {} }),
        &[("a", "1")],
        Objects::default(),
    );
    assert_eq!(untouched.await, Ok(json!({ "spec": {} })));
}

#[tokio::test]
async fn targets_have_their_effect_in_both_scopes() {
    // externalsecret.md 5.4, E192, E193, E198; templates.md 1.2
    let slack = || json!({ "metadata": { "uid": "u", "resourceVersion": "9" }, "spec": { "type": "slack", "slack": { "channel": "c", "username": "u" } } });
    let deployment = "replicas: {{ .n }}\ntemplate:\n  spec:\n    containers:\n    - name: main\n      ports: [{ containerPort: 80 }]\n";
    for (name, entries, base, expected) in [
        (
            "E192",
            json!([literal("spec", deployment)]),
            json!({ "spec": { "gone": 1 } }),
            json!({ "spec": {
            "replicas": 3, "template": { "spec": { "containers": [{ "name": "main", "ports": [{ "containerPort": 80 }] }] } },
        } }),
        ),
        (
            "E193",
            json!([literal("spec.slack", "api_url: https://{{ .k }}")]),
            slack(),
            {
                let mut expected = slack();
                expected["spec"]["slack"]["api_url"] = json!("https://key");
                expected
            },
        ),
        (
            "E198 no repeated segment",
            json!([literal("spec.slack", "api_url: \"{{ .k }}\"")]),
            json!({}),
            json!({ "spec": { "slack": { "api_url": "key" } } }),
        ),
        (
            "E198 leaf overwritten",
            json!([literal("spec.slack", "channel: new")]),
            slack(),
            {
                let mut expected = slack();
                expected["spec"]["slack"]["channel"] = json!("new");
                expected
            },
        ),
        (
            "E198 case of a leaf",
            json!([item("spec.apiUrl", "n", "Values")]),
            json!({}),
            json!({ "spec": { "apiUrl": 3 } }),
        ),
        (
            "E198 case on the way",
            json!([item("spec.podSpec.nodeName", "n", "Values")]),
            json!({}),
            json!({ "spec": { "podSpec": { "nodeName": 3 } } }),
        ),
        (
            "E198 case of maps",
            json!([literal("spec.podSpec.nodeSelector", "diskType: ssd")]),
            json!({}),
            json!({ "spec": { "podSpec": { "nodeSelector": { "diskType": "ssd" } } } }),
        ),
        (
            "data in any case",
            json!([literal("DATA", "a: 3\nb: on")]),
            json!({ "data": { "c": "4" } }),
            json!({ "data": { "a": "3", "b": "true", "c": "4" } }),
        ),
        (
            "no target is data",
            json!([literal("", "a: 3")]),
            json!({}),
            json!({ "data": { "a": "3" } }),
        ),
        (
            "labels and annotations",
            json!([literal("Labels", "a: 1"), literal("aNNotations", "b: 2")]),
            json!({ "metadata": { "labels": { "x": "y" } } }),
            json!({ "metadata": { "labels": { "a": "1", "x": "y" }, "annotations": { "b": "2" } } }),
        ),
        (
            "values into labels",
            json!([item("labels", "n", "Values")]),
            json!({}),
            json!({ "metadata": { "labels": { "n": "3" } } }),
        ),
        (
            "values into spec",
            json!([item("Spec", "n", "Values")]),
            json!({ "spec": { "a": 1 } }),
            json!({ "spec": { "a": 1, "n": "3" } }),
        ),
        (
            "a map into spec is a path whose case counts",
            json!([literal("Spec", "a: 1")]),
            json!({ "spec": {} }),
            json!({ "spec": {}, "Spec": { "a": 1 } }),
        ),
        (
            "one step replaces",
            json!([literal("spec", "a: 1")]),
            json!({ "spec": { "b": 2 } }),
            json!({ "spec": { "a": 1 } }),
        ),
        (
            "a list replaces a map",
            json!([literal("spec.a", "[1, x]")]),
            json!({ "spec": { "a": { "b": 2 } } }),
            json!({ "spec": { "a": [1, "x"] } }),
        ),
        (
            "a map replaces a text",
            json!([literal("spec.a", "b: 1")]),
            json!({ "spec": { "a": "x" } }),
            json!({ "spec": { "a": { "b": 1 } } }),
        ),
        (
            "merging is one level deep",
            json!([literal("spec.a", "b: { c: 1 }")]),
            json!({ "spec": { "a": { "b": { "d": 2 }, "e": 3 } } }),
            json!({ "spec": { "a": { "b": { "c": 1 }, "e": 3 } } }),
        ),
        (
            "no text is null",
            json!([literal("spec.a", "")]),
            json!({}),
            json!({ "spec": { "a": null } }),
        ),
    ] {
        assert_eq!(
            from(entries, base, &[("n", "3"), ("k", "key")]).await,
            Ok(expected),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_value_at_a_path_is_what_it_is_as_yaml() {
    // externalsecret.md 5.4, E202
    for (text, expected) in [
        ("{a: 1}", json!({ "a": 1 })),
        ("[1, b]", json!([1, "b"])),
        ("3", json!(3)),
        ("true", json!(true)),
        ("false", json!(false)),
        ("1.5", json!(1.5)),
        ("plain text", json!("plain text")),
        ("a: b: c", json!("a: b: c")),
        ("[1, ", json!("[1, ")),
        ("\u{0}", json!("\u{0}")),
    ] {
        let rendered = from(
            json!([item("spec.v", "n", "Values")]),
            json!({}),
            &[("n", text)],
        )
        .await;
        assert_eq!(rendered, Ok(json!({ "spec": { "v": expected } })), "{text}");
    }
}

#[tokio::test]
async fn texts_of_objects_are_rendered_once_and_go_to_the_target() {
    // externalsecret.md 5.3, D-16; templates.md 1.2
    let fetched = [("n", "{{ .k }}"), ("k", "key")];
    for (name, entries, expected) in [
        (
            "a value that looks like a template is not executed",
            json!([item("data", "n", "Values")]),
            json!({ "data": { "n": "{{ .k }}" } }),
        ),
        (
            "maps",
            json!([item("data", "map", "KeysAndValues")]),
            json!({ "data": { "x": "{{ .k }}", "key": "2" } }),
        ),
        (
            "annotations",
            json!([item("Annotations", "n", "Values")]),
            json!({ "metadata": { "annotations": { "n": "{{ .k }}" } } }),
        ),
        (
            "a path",
            json!([item("spec.v", "n", "Values")]),
            json!({ "spec": { "v": "{{ .k }}" } }),
        ),
        (
            "the literal comes first, then ConfigMap, then Secret",
            json!([{
                "target": "data", "literal": "\"n\": literal\nown: 1",
                "configMap": { "name": "c", "items": [{ "key": "n" }] },
                "secret": { "name": "s", "items": [{ "key": "n" }] },
            }]),
            json!({ "data": { "own": "1", "n": "s{{ .k }}" } }),
        ),
    ] {
        let mut fetched = fetched;
        if name == "maps" {
            // As YAML the braces would be a map.
            fetched[0].1 = "'{{ .k }}'";
        }
        assert_eq!(
            from(entries, json!({}), &fetched).await,
            Ok(expected),
            "{name}"
        );
    }
}

#[tokio::test]
async fn values_are_decoded_and_parsed_texts_at_paths_are_not() {
    // externalsecret.md 5.4
    let with = |mut entry: Value| {
        entry["valuesDecodingStrategy"] = json!("Base64");
        json!([entry])
    };
    for (entries, expected) in [
        (
            with(literal("data", "a: SGk=")),
            json!({ "data": { "a": "Hi" } }),
        ),
        (
            with(literal("spec.a", "b: SGk=")),
            json!({ "spec": { "a": { "b": "SGk=" } } }),
        ),
        (
            with(item("spec.a", "n", "Values")),
            json!({ "spec": { "a": "Hi" } }),
        ),
    ] {
        assert_eq!(
            from(entries, json!({}), &[("n", "SGk="), ("k", "k")]).await,
            Ok(expected)
        );
    }
}

#[tokio::test]
async fn failures_of_manifests_name_their_step() {
    // externalsecret.md 5.6, 4.3
    let execute = |name: &str, column: usize| {
        format!(
            "unable to execute template at key {name}: unable to execute template at key {name}: template: {name}:1:{column}: executing \"{name}\" at <.absent>: map has no entry for key \"absent\""
        )
    };
    for (template, expected) in [
        (json!({ "data": { "k": "{{ .absent }}" } }), format!("failed to execute template.data: {}", execute("k", 3))),
        (json!({ "templateFrom": [literal("spec.a", "a: {{ .absent }}")] }), format!("failed to execute literal template: {}", execute("templateFrom[0]", 6))),
        (json!({ "templateFrom": [literal("spec.a", "a: [")] }), "failed to execute literal template: could not unmarshal template YAML: error converting YAML to JSON: yaml: ".to_owned()),
        (json!({ "templateFrom": [literal("data", "a: [1]")] }), "failed to execute literal template: could not unmarshal template to 'map[string][]byte': ".to_owned()),
        (json!({ "templateFrom": [{ "configMap": { "name": "c", "items": [{ "key": "none" }] } }] }), "failed to merge configmap template: error in configmap c: missing key none".to_owned()),
        (json!({ "templateFrom": [{ "secret": { "name": "none", "items": [{ "key": "k" }] } }] }), "failed to merge secret template: Secret/none not found".to_owned()),
        (json!({ "engineVersion": "v1" }), "unsupported template engine version: v1".to_owned()),
        (json!({ "type": "bootstrap.kubernetes.io/token" }), "template.type=\"bootstrap.kubernetes.io/token\" is not allowed".to_owned()),
    ] {
        let objects = objects(&[("ConfigMap/c", &[("k", "v")])]);
        let error = render(&object("Widget", template.clone()), json!({}), &[], objects).await.unwrap_err();
        assert!(error.starts_with(&expected), "{template}: {error}");
    }
}

#[tokio::test]
async fn no_error_about_a_manifest_shows_a_value() {
    // D-23
    for entries in [
        json!([literal("spec.a", "- {{ .v }}: [")]),
        json!([literal("spec.a", "a: !!int {{ .v }}")]),
        json!([literal("data", "a: [{{ .v }}]")]),
        json!([literal("spec.a", "x: {{ fail .v }}")]),
        json!([literal("spec.v", "{{ .v }}"), literal("spec.v.x", "a: 1")]),
    ] {
        let error = from(entries.clone(), json!({}), &[("v", "canary-7d1f")])
            .await
            .unwrap_err();
        assert!(!error.contains("canary"), "{entries}: {error}");
    }
}

#[tokio::test]
async fn what_templates_of_a_manifest_make_is_bounded() {
    // Little text makes long lists and, by aliases, large trees.
    let lists: Vec<Value> = (0..11)
        .map(|n| literal(&format!("spec.l{n}[10000]"), "a: 1"))
        .collect();
    let error = from(json!(lists), json!({}), &[]).await.unwrap_err();
    assert!(
        error.ends_with("lists would grow by more than 100000 items"),
        "{error}"
    );

    let level = |name: char, below: char| {
        format!(
            "{name}: &{name} [{}]\n",
            vec![format!("*{below}"); 9].join(",")
        )
    };
    let bomb = format!(
        "a: &a [{}]\n{}{}",
        ["x"; 9].join(","),
        level('b', 'a'),
        level('c', 'b')
    );
    let bombs: Vec<Value> = (0..4000)
        .map(|n| literal(&format!("spec.b{n}"), &bomb))
        .collect();
    let template = json!({ "templateFrom": bombs });
    let settings = Settings {
        limits: Limits {
            memory: 4 << 20,
            ..Limits::default()
        },
        ..Settings::default()
    };
    let renderer = Renderer::new(settings, Arc::new(Objects::default()));
    let object = object("Widget", template);
    let rendered = renderer.render_manifest(&object, Tree::map(), data(&[]), Timestamp::now());
    assert!(rendered.await.unwrap_err().limit().is_some());
}

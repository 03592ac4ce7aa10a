//! Templates of volumes: the keys that the Secret would have (csi.md 8).

use std::collections::BTreeSet;

use futures::future::BoxFuture;
use latchkey_engine::template::{ObjectError, ObjectKind, TemplateObjects};
use latchkey_secret::SecretData;

use super::*;

/// ConfigMap `c` with a key `conf`; nothing else.
pub(super) struct ConfigMaps;

impl TemplateObjects for ConfigMaps {
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        kind: ObjectKind,
        name: &'a str,
        _: &'a BTreeSet<&'a str>,
    ) -> BoxFuture<'a, Result<SecretData, ObjectError>> {
        assert_eq!(namespace, "app");
        let outcome = match (kind, name) {
            (ObjectKind::ConfigMap, "c") => Ok(SecretData::from([(
                String::from("conf"),
                SecretValue::from(String::from("pw={{ .password | upper }}")),
            )])),
            (ObjectKind::ConfigMap, _) => Err(ObjectError::Missing(format!(
                "configmaps \"{name}\" not found"
            ))),
            (ObjectKind::Secret, _) => Err(ObjectError::Refused(String::from("no Secrets here"))),
        };
        futures::future::ready(outcome).boxed()
    }
}

fn templated(generation: i64, template: serde_json::Value) -> Sight {
    let store = json!({"name": "s", "kind": "SecretStore", "apiVersion": "secretstore.external-secrets.io/v2alpha1"});
    let data = json!([{"secretKey": "password", "remoteRef": {"key": "db"}}]);
    let target = json!({"template": template});
    object(
        "a",
        generation,
        json!({"secretStoreRef": store, "data": data, "target": target}),
    )
}

fn from(kind: &str, name: &str) -> serde_json::Value {
    json!({"templateFrom": [{kind: {"name": name, "items": [{"key": "conf"}]}}]})
}

#[tokio::test(start_paused = true)]
async fn a_volume_shows_what_the_template_renders() {
    let bench = Bench::new();
    bench.value("db", "one");
    bench.shelf.put("a", templated(1, from("configMap", "c")));
    let set = bench.first(&plan("a")).await.unwrap();
    assert_eq!(text(&set), "conf=pw=ONE");
    let mut stream = bench.volumes.subscribe(&plan("a"));
    assert_eq!(content(stream.next().await), "conf=pw=ONE");
    bench.shelf.put(
        "a",
        templated(
            2,
            json!({"mergePolicy": "Merge", "data": {"x": "{{ len .password }}"}}),
        ),
    );
    assert_eq!(content(stream.next().await), "password=one,x=3");
}

#[tokio::test(start_paused = true)]
async fn a_broken_template_keeps_the_files_and_shows_no_value() {
    let bench = Bench::new();
    bench.value("db", "canary");
    bench
        .shelf
        .put("a", templated(1, json!({"data": {"k": "{{ .password }}"}})));
    bench.first(&plan("a")).await.unwrap();
    let mut stream = bench.volumes.subscribe(&plan("a"));
    assert_eq!(content(stream.next().await), "k=canary");
    bench.shelf.put(
        "a",
        templated(2, json!({"data": {"k": "{{ fail .password }}"}})),
    );
    let reason = stale(stream.next().await);
    assert!(
        reason.starts_with("ExternalSecret app/a: could not apply template: template: k:1:3:")
            && !reason.contains("canary"),
        "{reason}"
    );
}

#[tokio::test(start_paused = true)]
async fn each_failure_of_a_template_has_its_code() {
    // csi.md 1.6
    for (template, class, text) in [
        (
            json!({"data": {"k": "{{ .absent }}"}}),
            FailureClass::FailedPrecondition,
            "map has no entry for key \"absent\"; correct it",
        ),
        (
            json!({"type": "bootstrap.kubernetes.io/token"}),
            FailureClass::FailedPrecondition,
            "template.type=\"bootstrap.kubernetes.io/token\" is not allowed; correct it",
        ),
        (
            from("secret", "s"),
            FailureClass::FailedPrecondition,
            "no Secrets here; correct it",
        ),
        (
            from("configMap", "none"),
            FailureClass::NotFound,
            "configmaps \"none\" not found; create it or correct templateFrom",
        ),
        (
            json!({"templateFrom": [{"target": "Labels", "literal": "a: b"}]}),
            FailureClass::FailedPrecondition,
            "its template renders no keys, and a volume is never empty; correct it",
        ),
    ] {
        let bench = Bench::new();
        bench.value("db", "one");
        bench.shelf.put("a", templated(1, template.clone()));
        let failure = bench.first(&plan("a")).await.unwrap_err();
        assert_eq!(failure.class, class, "{template}");
        assert!(failure.message.ends_with(text), "{}", failure.message);
    }
}

//! Templates of volumes: the same bytes as in the Secret.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use latchkey_cluster::either::test;
use latchkey_cluster::eventually;
use latchkey_e2e::{Planted, ensure_installed, external_secret, fake, list, pod, store, volume};
use serde_json::{Value, json};

use crate::support::{PATIENCE, event, file, file_becomes};

const KEYSTORE: &str = include_str!("../../../e2e/tests/sync_controller/data/keystore.p12.b64");
const CERTIFICATE: &str = include_str!("../../../e2e/tests/sync_controller/data/tls.crt");
const KEY: &str = include_str!("../../../e2e/tests/sync_controller/data/tls.key");

fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

#[test]
fn template_shows_the_same_bytes_in_the_volume_as_in_the_secret() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        let texts = json!({
            "tls.crt": "{{ .keystore | b64dec | pkcs12cert }}",
            "tls.key": "{{ .keystore | b64dec | pkcs12key }}",
        });
        let items = json!([{"key": "tls.crt"}, {"key": "tls.key"}]);
        let mut both = external_secret("both", "s", &["keystore", "team"], "1h");
        both["spec"]["target"] = json!({
            "creationPolicy": "Owner",
            "template": {
                "type": "kubernetes.io/tls",
                "metadata": {"labels": {"team": "{{ .team }}"}, "annotations": {"team": "{{ .team | upper }}"}},
                "templateFrom": [
                    {"configMap": {"name": "texts", "items": items}},
                    {"literal": "conf: \"team={{ .team }}\""},
                ],
            },
        });
        cx.apply(&list(&[
            fake(
                "f",
                &[("keystore", KEYSTORE), ("team", "blue")],
                Value::Null,
            ),
            store("s", "f", "fake"),
            config_map("texts", texts),
            both,
            pod("p", "", &[volume("v", json!({"externalSecret": "both"}))]),
        ]))
        .await?;
        cx.pod_ready("p", PATIENCE).await?;
        let secrets: Api<Secret> = Api::namespaced(cx.client(), cx.namespace());
        let secret = eventually(PATIENCE, "the Secret", async || {
            Ok(secrets.get_opt("both").await?)
        })
        .await?;
        ensure!(secret.type_.as_deref() == Some("kubernetes.io/tls"));
        let labels = secret.metadata.labels.unwrap_or_default();
        ensure!(labels.get("team").map(String::as_str) == Some("blue"));
        let data = secret.data.unwrap_or_default();
        let expected = [
            ("conf", "team=blue"),
            ("tls.crt", CERTIFICATE),
            ("tls.key", KEY),
        ];
        ensure!(
            data.keys().eq(expected.map(|(key, _)| key)),
            "{:?}",
            data.keys()
        );
        for (key, content) in expected {
            ensure!(
                data.get(key)
                    .is_some_and(|bytes| bytes.0 == content.as_bytes()),
                "{key}"
            );
            ensure!(
                file(&cx, "p", &format!("/v/{key}")).await? == content,
                "{key}"
            );
        }
        let listed = cx.pod_exec("p", &["ls", "/v"]).await?;
        ensure!(
            listed.split_whitespace().eq(expected.map(|(key, _)| key)),
            "{listed}"
        );
        Ok(())
    })
}

/// SB-24.
#[test]
fn template_that_breaks_keeps_the_files_tells_no_value_and_heals() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let value = planted.plant();
        let mut object = external_secret("es", "s", &["pin"], "1s");
        let items = json!([{"key": "out"}]);
        object["spec"]["target"]["template"] =
            json!({"templateFrom": [{"configMap": {"name": "texts", "items": items}}]});
        cx.apply(&list(&[
            fake("f", &[("pin", &value)], Value::Null),
            store("s", "f", "fake"),
            config_map("texts", json!({"out": "pin={{ .pin }}"})),
            object,
            pod("p", "", &[volume("v", json!({"externalSecret": "es"}))]),
        ]))
        .await?;
        cx.pod_ready("p", PATIENCE).await?;
        ensure!(file(&cx, "p", "/v/out").await? == format!("pin={value}"));
        cx.apply(&list(&[config_map(
            "texts",
            json!({"out": "{{ fail .pin }}"}),
        )]))
        .await?;
        let parts = ["template: out:1:3", "could show a value"];
        event(&cx, "p", "SecretStale", &parts).await?;
        ensure!(file(&cx, "p", "/v/out").await? == format!("pin={value}"));
        cx.apply(&list(&[config_map(
            "texts",
            json!({"out": "new={{ .pin }}"}),
        )]))
        .await?;
        file_becomes(&cx, "p", "/v/out", &format!("new={value}")).await?;
        planted.assert_no_trace(&cx).await
    })
}

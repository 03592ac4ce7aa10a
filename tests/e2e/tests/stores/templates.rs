//! Templates over what a provider makes of JSON and of multi-line text.

use anyhow::{Result, ensure};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::support::with_world;

/// Entries of one remote key, by secret key and property.
fn properties(key: &str, entries: &[(&str, &str)]) -> Value {
    let entries: Vec<Value> = entries
        .iter()
        .map(|(name, property)| {
            let mut remote = json!({ "key": key });
            if !property.is_empty() {
                remote["property"] = json!(property);
            }
            json!({ "secretKey": name, "remoteRef": remote })
        })
        .collect();
    json!(entries)
}

#[test]
fn stores_feed_templates_with_properties_of_json() -> Result<()> {
    // externalsecret.md E133, E136
    with_world(async |world| {
        let docker =
            r#"{"auths":{"https://r.example":{"username":"u","password":"p","auth":"dTpw"}}}"#;
        // As text, for the order of its keys.
        let text = json!(docker);
        let value = format!(r#"{{"one":"1","two":"zwei","object":{docker},"text":{text}}}"#);
        world.fake("f", &[("json", &value)]).await?;
        world.store("s", "f", json!({})).await?;
        let store = || json!({ "name": "s" });

        let template = json!({
            "metadata": {
                "labels": { "l": "{{ .one }}" }, "annotations": { "a": "{{ .two }}" },
                "finalizers": ["latchkey.test/finalizer"],
            },
            "data": { "run": "run: {{ .one }}|{{ .two }}" },
        });
        let spec = json!({
            "data": properties("json", &[("one", "one"), ("two", "two")]),
            "target": { "template": template },
        });
        world.ask("run", store(), spec).await?;
        let secret = world.holds("run", &[("run", "run: 1|zwei")]).await?;
        ensure!(secret.labels().get("l").map(String::as_str) == Some("1"));
        ensure!(secret.annotations().get("a").map(String::as_str) == Some("zwei"));
        ensure!(secret.finalizers() == ["latchkey.test/finalizer"]);
        // Or its namespace would never go.
        let release = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        world
            .secrets
            .patch("run", &PatchParams::default(), &release)
            .await?;

        for (name, property, type_) in [
            ("object", "object", "Opaque"),
            ("text", "text", "kubernetes.io/dockerconfigjson"),
        ] {
            let template = json!({ "type": type_, "data": { ".dockerconfigjson": "{{ .config | toString }}" } });
            let spec = json!({
                "data": properties("json", &[("config", property)]),
                "target": { "template": template },
            });
            world.ask(name, store(), spec).await?;
            let secret = world.holds(name, &[(".dockerconfigjson", docker)]).await?;
            ensure!(secret.type_.as_deref() == Some(type_), "{name}");
        }
        Ok(())
    })
}

#[test]
fn stores_and_templates_leave_every_byte_of_a_private_key() -> Result<()> {
    // externalsecret.md E137
    with_world(async |world| {
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n\tAAAABG5vbmU=\n  x\t\n\n-----END OPENSSH PRIVATE KEY-----\n";
        let value = json!({ "key": key }).to_string();
        world.fake("f", &[("plain", key), ("json", &value)]).await?;
        world.store("s", "f", json!({})).await?;
        for (name, remote, property) in [("plain", "plain", ""), ("json", "json", "key")] {
            let template = json!({
                "type": "kubernetes.io/ssh-auth",
                "data": { "ssh-privatekey": "{{ .key }}" },
            });
            let spec = json!({
                "data": properties(remote, &[("key", property)]),
                "target": { "template": template },
            });
            world.ask(name, json!({ "name": "s" }), spec).await?;
            let secret = world.holds(name, &[("ssh-privatekey", key)]).await?;
            ensure!(secret.type_.as_deref() == Some("kubernetes.io/ssh-auth"));
        }
        Ok(())
    })
}

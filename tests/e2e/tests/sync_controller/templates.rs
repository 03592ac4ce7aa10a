//! Templates of Secrets (`externalsecret.md` 4).
//!
//! `data/` holds a PKCS#12 file that OpenSSL wrote with an empty password, and what External Secrets' own `pkcs12cert` and
//! `pkcs12key` make of it.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use latchkey_cluster::Context;
use serde_json::{Value, json};

use super::support::Rig;
use super::{MANAGED, extract};

const KEYSTORE: &str = include_str!("data/keystore.p12.b64");
const CERTIFICATE: &str = include_str!("data/tls.crt");
const KEY: &str = include_str!("data/tls.key");

/// Text that no event, status or metric may contain.
const CANARY: &str = "s3cr3t-canary";

async fn put_config_map(cx: &Context, name: &str, data: Value) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(cx.client(), cx.namespace());
    let map = json!({ "metadata": { "name": name }, "data": data });
    maps.create(&PostParams::default(), &serde_json::from_value(map)?)
        .await?;
    Ok(())
}

async fn change_config_map(cx: &Context, name: &str, data: Value) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(cx.client(), cx.namespace());
    let patch = Patch::Merge(json!({ "data": data }));
    maps.patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

fn templated(key: &str, template: Value) -> Value {
    let mut spec = extract(key);
    spec["refreshInterval"] = json!("1s");
    spec["target"] = json!({ "template": template });
    spec
}

#[test]
fn sync_renders_a_template_from_a_config_map_into_the_exact_secret() -> Result<()> {
    // externalsecret.md 2.7, 4, E113, E123
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf
            .put("store", &[("keystore", KEYSTORE), ("team", "blue")]);
        put_config_map(
            &cx,
            "texts",
            json!({
                "tls.crt": "{{ .keystore | b64dec | pkcs12cert }}",
                "tls.key": "{{ .keystore | b64dec | pkcs12key }}",
            }),
        )
        .await?;
        let items = json!([{ "key": "tls.crt" }, { "key": "tls.key" }]);
        let template = json!({
            "type": "kubernetes.io/tls",
            "metadata": { "labels": { "team": "{{ .team }}" }, "annotations": { "note": "{{ .team | upper }} team" } },
            "templateFrom": [{ "configMap": { "name": "texts", "items": items } }],
        });
        let own = json!({ "labels": { "own": "stays" }, "annotations": { "own": "stays" } });
        rig.create_with("web", own, templated("store", template))
            .await?;
        let secret = rig
            .holds("web", &[("tls.crt", CERTIFICATE), ("tls.key", KEY)])
            .await?;
        ensure!(secret.type_.as_deref() == Some("kubernetes.io/tls"));
        ensure!(secret.labels().get("team").map(String::as_str) == Some("blue"));
        ensure!(secret.annotations().get("note").map(String::as_str) == Some("BLUE team"));
        ensure!(secret.labels().get(MANAGED).is_some());
        ensure!(!secret.labels().contains_key("own") && !secret.annotations().contains_key("own"));
        rig.synced("web").await?;

        // A label that the template no longer has goes; nothing else is written.
        rig.change(
            "web",
            json!({ "spec": { "target": { "template": { "metadata": { "labels": { "team": null, "new": "{{ .team }}" } } } } } }),
        )
        .await?;
        latchkey_cluster::eventually(super::PATIENCE, "the labels follow", async || {
            let secret = rig.secrets.get("web").await?;
            let labels = secret.labels();
            let follows = !labels.contains_key("team")
                && labels.get("new").map(String::as_str) == Some("blue");
            Ok(follows.then_some(()))
        })
        .await?;
        rig.assert_not_told("BEGIN PRIVATE KEY").await?;
        rig.stop().await
    })
}

#[test]
fn sync_follows_a_template_that_gains_and_loses_parts() -> Result<()> {
    // externalsecret.md E119, E120, E121
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("pin", "1"), ("user", "ann")]);
        // Metadata alone leaves the fetched keys.
        let metadata = json!({ "metadata": { "labels": { "first": "x" } } });
        rig.create("plain", templated("db", metadata)).await?;
        let secret = rig.holds("plain", &[("pin", "1"), ("user", "ann")]).await?;
        ensure!(secret.labels().get("first").map(String::as_str) == Some("x"));

        let template = json!({ "data": { "a": "pin {{ .pin }}" } });
        rig.create("web", templated("db", template)).await?;
        rig.holds("web", &[("a", "pin 1")]).await?;
        let change = async |template: Value| {
            let patch = json!({ "spec": { "target": { "template": template } } });
            rig.change("web", patch).await
        };
        change(json!({
            "metadata": { "labels": { "team": "{{ .user }}" }, "annotations": { "note": "n" } },
            "data": { "more": "user {{ .user }}" },
        }))
        .await?;
        let secret = rig
            .holds("web", &[("a", "pin 1"), ("more", "user ann")])
            .await?;
        ensure!(secret.labels().get("team").map(String::as_str) == Some("ann"));
        ensure!(secret.annotations().get("note").map(String::as_str) == Some("n"));

        change(json!({ "data": { "a": null, "more": null, "b": "other {{ .pin }}" } })).await?;
        let secret = rig.holds("web", &[("b", "other 1")]).await?;
        ensure!(secret.labels().contains_key("team"));
        rig.stop().await
    })
}

#[test]
fn sync_lets_no_template_reach_other_parts_of_a_secret() -> Result<()> {
    // externalsecret.md 4.3, E124
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("pin", "1")]);
        let targets = [
            "type",
            "metadata.annotations",
            "Metadata.Annotations",
            "immutable",
            "metadata.ownerReferences",
        ];
        for (number, target) in targets.into_iter().enumerate() {
            let name = format!("web{number}");
            let secret = json!({
                "metadata": { "name": name, "annotations": { "theirs": "1" } },
                "type": "example.com/theirs", "stringData": { "k": "v" },
            });
            super::put_secret(&cx, secret).await?;
            let template = json!({ "templateFrom": [{ "target": target, "literal": "a: b" }] });
            rig.create(&name, templated("db", template)).await?;
            let part = format!(
                "templateFrom target=\"{target}\" is not allowed when targeting a Secret, must be one of"
            );
            rig.event_part(&name, "UpdateFailed", &part).await?;
            let secret = rig.holds(&name, &[("k", "v")]).await?;
            ensure!(
                secret.type_.as_deref() == Some("example.com/theirs"),
                "{target}"
            );
            ensure!(secret.immutable.is_none() && secret.owner_references().is_empty());
            ensure!(
                secret
                    .annotations()
                    .iter()
                    .eq([(&"theirs".to_owned(), &"1".to_owned())]),
                "{target}: {:?}",
                secret.annotations()
            );
        }
        rig.stop().await
    })
}

#[test]
fn sync_tells_a_broken_template_without_values_and_heals_with_its_config_map() -> Result<()> {
    // externalsecret.md 2.16, 4.3, X08; SB-24
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("pin", CANARY)]);
        put_config_map(&cx, "texts", json!({ "out": "pin={{ .pin }}" })).await?;
        let template = json!({ "templateFrom": [{ "configMap": { "name": "texts", "items": [{ "key": "out" }] } }] });
        rig.create("web", templated("db", template)).await?;
        let good = format!("pin={CANARY}");
        rig.holds("web", &[("out", &good)]).await?;

        let chain = "unable to mutate secret web: could not apply template: error fetching templateFrom data: \
                     unable to execute template at key out: unable to execute template at key out: template: out:1:3: \
                     executing \"out\" at ";
        let withheld =
            "failed; the reason could show a value and is left out (see `latchkey template`)";
        let cases = [
            ("{{ fail .pin }}", format!("{chain}<fail .pin>: {withheld}")),
            (
                "{{ .nobody }}",
                format!("{chain}<.nobody>: map has no entry for key \"nobody\""),
            ),
        ];
        for (text, note) in cases {
            change_config_map(&cx, "texts", json!({ "out": text })).await?;
            rig.failed("web", "could not update secret").await?;
            rig.event("web", "UpdateFailed", &note).await?;
            rig.holds("web", &[("out", &good)]).await?;
        }
        // Work without an end stops at a limit.
        let bomb = "{{ range until 100000000 }}{{ $.pin }}{{ end }}";
        change_config_map(&cx, "texts", json!({ "out": bomb })).await?;
        rig.event_part("web", "UpdateFailed", "the render exceeds its limit of")
            .await?;
        rig.holds("web", &[("out", &good)]).await?;

        change_config_map(&cx, "texts", json!({ "out": "new={{ .pin }}" })).await?;
        let healed = format!("new={CANARY}");
        rig.holds("web", &[("out", &healed)]).await?;
        rig.synced("web").await?;
        rig.assert_not_told(CANARY).await?;
        rig.stop().await
    })
}

#[test]
fn sync_does_not_quote_what_the_api_server_refuses() -> Result<()> {
    // externalsecret.md 4.4, SB-24; the API server's own words would show the value
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("pin", CANARY)]);
        let template =
            json!({ "metadata": { "labels": { "pin": "{{ .pin }}/{{ .pin }} no label" } } });
        rig.create("label", templated("db", template)).await?;
        rig.failed("label", "could not update secret").await?;
        rig.event(
            "label",
            "UpdateFailed",
            "Secret \"label\" is invalid: metadata.labels: invalid, the value is left out",
        )
        .await?;
        let template = json!({ "templateFrom": [{ "literal": "'{{ .pin }} {{ .pin }}': v" }] });
        rig.create("key", templated("db", template)).await?;
        rig.failed("key", "could not update secret").await?;
        rig.event_part(
            "key",
            "UpdateFailed",
            "key (rendered) is no key of a Secret",
        )
        .await?;
        for name in ["label", "key"] {
            ensure!(rig.secrets.get_opt(name).await?.is_none());
        }
        rig.assert_not_told(CANARY).await?;
        rig.stop().await
    })
}

#[test]
fn sync_reads_templates_from_a_secret_and_never_quotes_them() -> Result<()> {
    // externalsecret.md D-23, E116
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("user", "ann")]);
        let text = format!("{{{{ \"{CANARY}\" }}}}-{{{{ .user }}}}");
        super::put_secret(
            &cx,
            json!({ "metadata": { "name": "texts" }, "stringData": { "out": text } }),
        )
        .await?;
        let from = |item: Value| json!({ "templateFrom": [{ "secret": { "name": "texts", "items": [item] } }] });
        rig.create("web", templated("db", from(json!({ "key": "out" }))))
            .await?;
        rig.holds("web", &[("out", &format!("{CANARY}-ann"))])
            .await?;
        let map = json!({ "key": "out", "templateAs": "KeysAndValues" });
        rig.create("map", templated("db", from(map))).await?;
        rig.event_part(
            "map",
            "UpdateFailed",
            "could not unmarshal template to 'map[string][]byte'",
        )
        .await?;
        let broken = format!("{{{{ \"{CANARY}\" | nope }}}}");
        super::put_secret(
            &cx,
            json!({ "metadata": { "name": "broken" }, "stringData": { "out": broken } }),
        )
        .await?;
        let template = json!({ "templateFrom": [{ "secret": { "name": "broken", "items": [{ "key": "out" }] } }] });
        rig.create("broken", templated("db", template)).await?;
        rig.event_part("broken", "UpdateFailed", "could show text of the Secret")
            .await?;
        rig.create("missing", templated("db", from(json!({ "key": "other" }))))
            .await?;
        rig.event(
            "missing",
            "UpdateFailed",
            "could not apply template: error fetching templateFrom data: error in secret texts: missing key other",
        )
        .await?;
        rig.assert_not_told(CANARY).await?;
        rig.stop().await
    })
}

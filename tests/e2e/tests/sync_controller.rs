//! The controller that turns ExternalSecrets into Secrets, against a real API server (`externalsecret.md` 2 and 9).

#[path = "sync_controller/classes.rs"]
mod classes;
#[path = "sync_controller/deletion.rs"]
mod deletion;
#[path = "sync_controller/generators.rs"]
mod generators;
#[path = "sync_controller/generic.rs"]
mod generic;
#[path = "sync_controller/policies.rs"]
mod policies;
#[path = "sync_controller/refresh.rs"]
mod refresh;
#[path = "sync_controller/stores.rs"]
mod stores;
#[path = "sync_controller/support.rs"]
mod support;
#[path = "sync_controller/templates.rs"]
mod templates;
#[path = "sync_controller/tokens.rs"]
mod tokens;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use latchkey_cluster::{Context, eventually};
use latchkey_crds::conditions::ConditionStatus;
use serde_json::{Value, json};

use support::{PATIENCE, Rig, texts};

const MANAGED: &str = "reconcile.external-secrets.io/managed";
const OWNER: &str = "reconcile.external-secrets.io/created-by";
const HASH: &str = "reconcile.external-secrets.io/data-hash";
/// Long enough for a pass that should not happen to happen.
const QUIET: Duration = Duration::from_secs(3);

fn extract(key: &str) -> Value {
    json!({ "dataFrom": [{ "extract": { "key": key } }] })
}

async fn put_secret(cx: &Context, secret: Value) -> Result<Secret> {
    let secrets: Api<Secret> = Api::namespaced(cx.client(), cx.namespace());
    Ok(secrets
        .create(&PostParams::default(), &serde_json::from_value(secret)?)
        .await?)
}

/// A ConfigMap as controller owner: one that exists, or the garbage collector would delete what it owns.
async fn foreign_controller(cx: &Context) -> Result<Value> {
    let maps: Api<ConfigMap> = Api::namespaced(cx.client(), cx.namespace());
    let map = maps
        .create(
            &PostParams::default(),
            &serde_json::from_value(json!({ "metadata": { "name": "boss" } }))?,
        )
        .await?;
    Ok(
        json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "boss", "uid": map.uid(), "controller": true }]),
    )
}

#[test]
fn sync_creates_the_secret_with_all_its_marks_and_then_rests() -> Result<()> {
    // externalsecret.md 2.2, 2.7, E011, E015, E016, E018, E020, E234 (one pass does what upstream needs two for); SB-24
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf
            .put("db", &[("user", "ann"), ("pin", "s3cr3t-canary")]);
        let metadata = json!({ "labels": { "team": "a" }, "annotations": { "note": "b" } });
        rig.create_with("web", metadata, extract("db")).await?;
        let object = rig.synced("web").await?;
        let secret = rig
            .holds("web", &[("user", "ann"), ("pin", "s3cr3t-canary")])
            .await?;
        ensure!(secret.labels().get(MANAGED).map(String::as_str) == Some("true"));
        ensure!(secret.labels().get("team").map(String::as_str) == Some("a"));
        let owner = latchkey_engine::hash::of_text(&format!("{}/web", cx.namespace()));
        ensure!(secret.labels().get(OWNER) == Some(&owner));
        ensure!(secret.annotations().get("note").map(String::as_str) == Some("b"));
        ensure!(secret.annotations().contains_key(HASH));
        let [reference] = secret.owner_references() else {
            anyhow::bail!("one owner expected")
        };
        ensure!(
            reference.kind == "ExternalSecret"
                && Some(&reference.uid) == object.metadata.uid.as_ref()
        );
        ensure!(reference.controller == Some(true) && reference.block_owner_deletion == Some(true));
        let managers: Vec<_> = secret
            .managed_fields()
            .iter()
            .filter_map(|entry| entry.manager.as_deref())
            .collect();
        ensure!(
            managers == ["externalsecrets.external-secrets.io/web"],
            "{managers:?}"
        );
        ensure!(
            object.finalizers() == ["externalsecrets.external-secrets.io/externalsecret-cleanup"]
        );
        let status = object.status.clone().context("it has a status")?;
        ensure!(status.binding.is_some_and(|binding| binding.name == "web"));
        ensure!(
            status
                .synced_resource_version
                .is_some_and(|version| version.starts_with("1-"))
        );
        rig.event("web", "Created", "secret created").await?;

        tokio::time::sleep(QUIET).await;
        let later = rig.objects.get("web").await?;
        ensure!(
            later.resource_version() == object.resource_version(),
            "the status feeds back"
        );
        ensure!(
            rig.shelf.calls("db") == 1,
            "{} calls",
            rig.shelf.calls("db")
        );
        rig.assert_not_told("s3cr3t-canary").await?;
        let metrics = rig.metrics()?;
        let series = |series: &str, condition: &str| -> Result<f64> {
            let start = format!("externalsecret_{series}{{name=\"web\"");
            let line = metrics
                .lines()
                .find(|line| line.starts_with(&start) && line.contains(condition));
            let value = line.and_then(|line| line.rsplit_once(' '));
            Ok(value.context("a series is missing")?.1.parse()?)
        };
        ensure!(series("status_condition", "status=\"True\"")? == 1.0);
        ensure!(series("status_condition", "status=\"False\"")? == 0.0);
        ensure!(series("sync_calls_total", "")? >= 1.0);
        ensure!(series("reconcile_duration", "")? > 0.0);

        // Any change of a label or an annotation is a forced sync (2.4).
        rig.shelf.put("db", &[("user", "bob")]);
        rig.change(
            "web",
            json!({ "metadata": { "annotations": { "force-sync": "1", "note": null } } }),
        )
        .await?;
        let secret = rig.holds("web", &[("user", "bob")]).await?;
        ensure!(
            secret.annotations().contains_key("force-sync")
                && !secret.annotations().contains_key("note")
        );
        rig.event("web", "Updated", "secret updated").await?;
        rig.stop().await
    })
}

#[test]
fn sync_follows_the_provider_every_interval() -> Result<()> {
    // externalsecret.md 2.4, E017, E037, E038, E039
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("a", "1"), ("b", "1")]);
        let mut spec = extract("db");
        spec["refreshInterval"] = json!("1s");
        spec["data"] = json!([{ "secretKey": "c", "remoteRef": { "key": "db", "property": "a", "decodingStrategy": "None" } }]);
        rig.create("web", spec.clone()).await?;
        let long = "n".repeat(76);
        spec["target"] = json!({ "name": long, "template": {} });
        rig.create("long", spec).await?;
        for name in ["web", &long] {
            rig.holds(name, &[("a", "1"), ("b", "1"), ("c", "1")])
                .await?;
        }
        let status = rig.synced("long").await?.status;
        let binding = status.and_then(|status| status.binding);
        ensure!(binding.is_some_and(|binding| binding.name == long));
        rig.shelf.put("db", &[("a", "2")]);
        for name in ["web", &long] {
            rig.holds(name, &[("a", "2"), ("c", "2")]).await?;
        }
        rig.stop().await
    })
}

#[test]
fn sync_repairs_a_damaged_or_deleted_secret() -> Result<()> {
    // externalsecret.md 2.10, E009, E010
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("a", "1")]);
        rig.create("web", extract("db")).await?;
        rig.synced("web").await?;
        let before = rig.holds("web", &[("a", "1")]).await?;
        let patch = json!({ "stringData": { "a": "tampered", "extra": "x" } });
        rig.secrets
            .patch("web", &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        let repaired = eventually(PATIENCE, "repair", async || {
            let secret = rig.secrets.get("web").await?;
            Ok((texts(&secret) == texts(&before)).then_some(secret))
        })
        .await?;
        ensure!(repaired.annotations().get(HASH) == before.annotations().get(HASH));
        ensure!(repaired.resource_version() != before.resource_version());

        rig.secrets.delete("web", &DeleteParams::default()).await?;
        let again = rig.holds("web", &[("a", "1")]).await?;
        ensure!(again.uid() != before.uid(), "it was recreated");
        rig.stop().await
    })
}

#[test]
fn sync_adopts_an_unowned_secret_and_keeps_foreign_metadata() -> Result<()> {
    // externalsecret.md 2.2 step 8, 2.7, E021, X01, X04
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("a", "1")]);
        for name in ["web", "volumes"] {
            let metadata =
                json!({ "name": name, "labels": { "x": "1" }, "annotations": { "y": "2" } });
            put_secret(
                &cx,
                json!({ "metadata": metadata, "stringData": { "theirs": "k" } }),
            )
            .await?;
        }
        rig.create("web", extract("db")).await?;
        let secret = rig.holds("web", &[("a", "1")]).await?;
        ensure!(secret.labels().get("x").is_some() && secret.annotations().get("y").is_some());
        ensure!(secret.labels().get(MANAGED).map(String::as_str) == Some("true"));
        ensure!(secret.owner_references().len() == 1);

        let mut spec = extract("db");
        spec["target"] = json!({ "creationPolicy": "None" });
        rig.create("volumes", spec).await?;
        rig.synced("volumes").await?;
        let secret = rig.holds("volumes", &[("theirs", "k")]).await?;
        ensure!(secret.labels().get(MANAGED).is_some() && secret.owner_references().is_empty());
        rig.stop().await
    })
}

#[test]
fn sync_leaves_secrets_of_other_owners_alone() -> Result<()> {
    // externalsecret.md 2.8.1, 2.16, X02, X03
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("a", "1")]);
        let onto = |target: &str| {
            let mut spec = extract("db");
            spec["target"] = json!({ "name": target });
            spec
        };
        rig.create("first", onto("shared")).await?;
        rig.synced("first").await?;
        rig.create("second", onto("shared")).await?;
        rig.failed("second", "target is owned by another ExternalSecret")
            .await?;
        let chain =
            "unable to mutate secret shared: secret is owned by another ExternalSecret: first";
        rig.event("second", "UpdateFailed", chain).await?;
        let owners = rig.secrets.get("shared").await?;
        ensure!(owners.owner_references()[0].name == "first");

        let references = foreign_controller(&cx).await?;
        put_secret(&cx, json!({ "metadata": { "name": "theirs", "ownerReferences": references }, "stringData": { "k": "v" } })).await?;
        rig.create("third", onto("theirs")).await?;
        rig.failed("third", "failed to take ownership of target secret")
            .await?;
        let chain = format!(
            "unable to mutate secret theirs: could not set controller reference on secret: Object {}/theirs is already owned by another ConfigMap controller boss",
            cx.namespace()
        );
        rig.event("third", "UpdateFailed", &chain).await?;
        rig.holds("theirs", &[("k", "v")]).await?;
        let calls = rig.shelf.calls("db");
        tokio::time::sleep(QUIET).await;
        ensure!(
            rig.shelf.calls("db") == calls,
            "ownership conflicts are not retried"
        );
        rig.stop().await
    })
}

#[test]
fn sync_cleans_up_after_a_rename_once_the_new_secret_is_written() -> Result<()> {
    // externalsecret.md 2.8, E027, D-21, D-22
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("a", "1")]);
        let mut spec = extract("db");
        spec["target"] = json!({ "name": "s1" });
        rig.create("web", spec).await?;
        let first = rig.holds("s1", &[("a", "1")]).await?;
        rig.synced("web").await?;
        // A forged label proves nothing.
        let label = first.labels().get(OWNER).context("owner label")?;
        put_secret(
            &cx,
            json!({ "metadata": { "name": "forged", "labels": { OWNER: label } } }),
        )
        .await?;
        // The new name belongs to somebody else: the old Secret stays.
        let references = foreign_controller(&cx).await?;
        put_secret(
            &cx,
            json!({ "metadata": { "name": "taken", "ownerReferences": references } }),
        )
        .await?;
        rig.change("web", json!({ "spec": { "target": { "name": "taken" } } }))
            .await?;
        rig.failed("web", "failed to take ownership of target secret")
            .await?;
        rig.holds("s1", &[("a", "1")]).await?;

        rig.change("web", json!({ "spec": { "target": { "name": "s2" } } }))
            .await?;
        rig.holds("s2", &[("a", "1")]).await?;
        eventually(PATIENCE, "s1 is gone", async || {
            Ok(rig.secrets.get_opt("s1").await?.is_none().then_some(()))
        })
        .await?;
        rig.event("web", "Deleted", "secret deleted because it was orphaned")
            .await?;
        ensure!(rig.secrets.get_opt("forged").await?.is_some());
        let object = rig.synced("web").await?;
        ensure!(
            object
                .status
                .and_then(|status| status.binding)
                .is_some_and(|binding| binding.name == "s2")
        );
        rig.stop().await
    })
}

#[test]
fn sync_refuses_what_it_cannot_honour_beside_a_good_object() -> Result<()> {
    // externalsecret.md D-15, 1.4, 5.1; nothing is silently ignored
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("a", "1")]);
        let with = |field: &str, value: Value| {
            let mut spec = extract("db");
            spec[field] = value;
            spec
        };
        let manifest = json!({ "manifest": { "apiVersion": "v1", "kind": "ConfigMap" } });
        rig.create("manifest", with("target", manifest)).await?;
        rig.create("duration", with("refreshInterval", json!("nonsense")))
            .await?;
        let twice = json!({ "secretKey": "a", "remoteRef": { "key": "db", "property": "a" } });
        rig.create("twice", json!({ "data": [twice, twice] }))
            .await?;
        rig.create("good", extract("db")).await?;
        rig.synced("good").await?;
        rig.failed("manifest", "invalid generic target").await?;
        let gate = "generic targets are disabled. Enable with --unsafe-allow-generic-targets flag";
        rig.event("manifest", "UpdateFailed", gate).await?;
        rig.failed(
            "duration",
            "spec.refreshInterval \"nonsense\" is not a duration such as 90s, 15m or 1h30m",
        )
        .await?;
        rig.failed("twice", "duplicate secretKey found: a").await?;
        for name in ["manifest", "duration", "twice"] {
            ensure!(
                rig.secrets.get_opt(name).await?.is_none(),
                "{name} made a secret"
            );
        }
        rig.change("duration", json!({ "spec": { "refreshInterval": "1h" } }))
            .await?;
        rig.synced("duration").await?;
        rig.stop().await
    })
}

#[test]
fn sync_reports_a_broken_object_keeps_its_secret_and_recovers() -> Result<()> {
    // externalsecret.md 2.3, 2.13, 2.16, E042, E061, X07
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("fine", &[("a", "1")]);
        rig.shelf.put("broken", &[("a", "1")]);
        for key in ["fine", "broken"] {
            let mut spec = extract(key);
            spec["refreshInterval"] = json!("1s");
            rig.create(key, spec).await?;
            rig.synced(key).await?;
        }
        rig.shelf.break_with("broken", "the provider is down");
        let before = rig
            .failed("broken", "could not get secret data from provider")
            .await?;
        rig.event(
            "broken",
            "UpdateFailed",
            "error processing spec.dataFrom[0].extract, err: the provider is down",
        )
        .await?;
        rig.holds("broken", &[("a", "1")]).await?;
        rig.shelf.put("fine", &[("a", "2")]);
        rig.holds("fine", &[("a", "2")]).await?;
        let line = format!(
            "externalsecret_status_condition{{name=\"broken\",namespace=\"{}\",condition=\"Ready\",status=\"False\"}} 1",
            cx.namespace()
        );
        ensure!(rig.metrics()?.contains(&line), "{}", rig.metrics()?);
        let refreshed = |object: &latchkey_crds::external_secret::ExternalSecret| {
            object.status.clone().and_then(|status| status.refresh_time)
        };
        rig.shelf.put("broken", &[("a", "3")]);
        rig.holds("broken", &[("a", "3")]).await?;
        let after = rig.synced("broken").await?;
        ensure!(refreshed(&after) > refreshed(&before));
        // A secret that is gone at the provider is a failure under Retain.
        rig.change(
            "fine",
            json!({ "spec": { "dataFrom": [{ "extract": { "key": "gone" } }] } }),
        )
        .await?;
        rig.failed("fine", "could not get secret data from provider")
            .await?;
        rig.event(
            "fine",
            "UpdateFailed",
            "error processing spec.dataFrom[0].extract, err: Secret does not exist",
        )
        .await?;
        rig.holds("fine", &[("a", "2")]).await?;
        rig.stop().await
    })
}

#[test]
fn sync_retains_the_secret_when_the_provider_has_nothing() -> Result<()> {
    // externalsecret.md 2.9, E043
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("a", "1")]);
        let mut spec = extract("db");
        spec["refreshInterval"] = json!("1s");
        rig.create("web", spec).await?;
        rig.synced("web").await?;
        rig.shelf.put("db", &[]);
        rig.ready(
            "web",
            ConditionStatus::True,
            "secret retained due to DeletionPolicy=Retain",
        )
        .await?;
        rig.holds("web", &[("a", "1")]).await?;
        rig.stop().await
    })
}

#[test]
fn sync_resolves_a_volume_only_object_once_per_change() -> Result<()> {
    // externalsecret.md D-19, E019
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("a", "canary-of-volumes")]);
        let mut spec = extract("db");
        spec["refreshInterval"] = json!("1s");
        spec["target"] = json!({ "creationPolicy": "None" });
        rig.create("web", spec).await?;
        let object = rig.synced("web").await?;
        ensure!(object.status.is_some_and(|status| status.binding.is_none()));
        tokio::time::sleep(QUIET).await;
        ensure!(
            rig.shelf.calls("db") == 1,
            "it polls: {} calls",
            rig.shelf.calls("db")
        );
        ensure!(rig.secrets.get_opt("web").await?.is_none());
        rig.assert_not_told("canary-of-volumes").await?;
        // A mistake shows in the status.
        rig.change(
            "web",
            json!({ "spec": { "dataFrom": [{ "extract": { "key": "typo" } }] } }),
        )
        .await?;
        rig.failed("web", "could not get secret data from provider")
            .await?;
        rig.change(
            "web",
            json!({ "spec": { "dataFrom": [{ "extract": { "key": "db" } }] } }),
        )
        .await?;
        rig.synced("web").await?;
        ensure!(rig.shelf.calls("db") == 2);
        rig.stop().await
    })
}

#[test]
fn sync_skips_objects_whose_store_is_of_another_class() -> Result<()> {
    // externalsecret.md 2.2 step 5, E064; pushsecret-and-stores.md SB-35
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("a", "1")]);
        let store = |name: &str, class: &str| {
            json!({
                "apiVersion": "secretstore.external-secrets.io/v2alpha1", "kind": "SecretStore", "metadata": { "name": name },
                "spec": { "controller": class, "providerConfig": { "address": "p.a.svc:8080", "providerRef": { "kind": "Fake", "name": "f" } } },
            })
            .to_string()
        };
        cx.apply(&store("shelf", "default")).await?;
        cx.apply(&store("others", "another")).await?;
        rig.create("ours", extract("db")).await?;
        let mut spec = extract("db");
        spec["secretStoreRef"] =
            json!({ "apiVersion": "secretstore.external-secrets.io/v2alpha1", "name": "others" });
        rig.create("theirs", spec).await?;
        rig.synced("ours").await?;
        tokio::time::sleep(QUIET).await;
        let object = rig.objects.get("theirs").await?;
        ensure!(
            object
                .status
                .is_none_or(|status| status.conditions.is_empty())
        );
        ensure!(
            rig.secrets.get_opt("theirs").await?.is_none()
                && rig.events_about("theirs").await?.is_empty()
        );
        rig.stop().await
    })
}

#[test]
fn sync_lets_a_deleted_object_and_its_secret_go() -> Result<()> {
    // externalsecret.md 2.12, 8.1
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("a", "1")]);
        rig.create("web", extract("db")).await?;
        rig.synced("web").await?;
        rig.objects.delete("web", &DeleteParams::default()).await?;
        eventually(PATIENCE, "the object is gone", async || {
            Ok(rig.objects.get_opt("web").await?.is_none().then_some(()))
        })
        .await?;
        eventually(PATIENCE, "its secret is gone", async || {
            Ok(rig.secrets.get_opt("web").await?.is_none().then_some(()))
        })
        .await?;
        let line = format!(
            "externalsecret_status_condition{{name=\"web\",namespace=\"{}\",condition=\"Deleted\",status=\"False\"}} 1",
            cx.namespace()
        );
        eventually(PATIENCE, "the metric", async || {
            Ok(rig.metrics()?.contains(&line).then_some(()))
        })
        .await?;
        rig.stop().await
    })
}

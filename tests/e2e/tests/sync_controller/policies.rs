//! How targets come into being and whose they are (`externalsecret.md` 2.7, 2.8, 2.11).

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use latchkey_cluster::eventually;
use latchkey_crds::conditions::ConditionStatus;
use serde_json::{Value, json};

use super::support::{PATIENCE, Rig};
use super::{HASH, MANAGED, OWNER, QUIET, extract, put_secret};

const MISSING: &str = "secret will not be created due to CreationPolicy=Merge";

fn with_target(key: &str, target: Value) -> Value {
    let mut spec = extract(key);
    spec["target"] = target;
    spec
}

fn is_unowned(secret: &Secret) -> bool {
    secret.owner_references().is_empty() && !secret.labels().contains_key(OWNER)
}

/// Keys of one kind that the field manager of `name` owns.
fn owned(secret: &Secret, name: &str, pointer: &str) -> Vec<String> {
    let manager = format!("externalsecrets.external-secrets.io/{name}");
    let mut keys: Vec<String> = secret
        .managed_fields()
        .iter()
        .filter(|entry| entry.manager.as_deref() == Some(&manager))
        .filter_map(|entry| entry.fields_v1.as_ref()?.0.pointer(pointer)?.as_object())
        .flat_map(|fields| fields.keys())
        .filter_map(|key| key.strip_prefix("f:").map(str::to_owned))
        .collect();
    keys.sort();
    keys
}

#[test]
fn sync_writes_an_orphan_without_owning_it() -> Result<()> {
    // externalsecret.md 2.8, E028, E032, E033, E035, X12
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("a", "v1")]);
        let stray = json!({ "name": "stray", "labels": { "x": "1" } });
        put_secret(
            &cx,
            json!({ "metadata": stray, "stringData": { "theirs": "k" } }),
        )
        .await?;
        let once = |immutable: bool| {
            let mut spec = with_target(
                "db",
                json!({ "creationPolicy": "Orphan", "immutable": immutable }),
            );
            spec["refreshPolicy"] = json!("CreatedOnce");
            spec
        };
        for (name, immutable) in [("fresh", false), ("stray", false), ("frozen", true)] {
            rig.create(name, once(immutable)).await?;
            rig.synced(name).await?;
            let secret = rig.holds(name, &[("a", "v1")]).await?;
            ensure!(is_unowned(&secret), "{name}");
            ensure!(secret.labels().contains_key(MANAGED), "{name}");
            ensure!(secret.labels().contains_key("x") == (name == "stray"));
            ensure!(secret.immutable == immutable.then_some(true), "{name}");
        }

        // They outlive their object, and one that is made anew takes them up again.
        rig.shelf.put("db", &[("a", "v2")]);
        for name in ["fresh", "frozen"] {
            rig.delete(name).await?;
        }
        tokio::time::sleep(QUIET).await;
        rig.holds("fresh", &[("a", "v1")]).await?;
        for (name, immutable) in [("fresh", false), ("frozen", true)] {
            rig.create(name, once(immutable)).await?;
            rig.synced(name).await?;
        }
        rig.holds("fresh", &[("a", "v2")]).await?;
        rig.holds("frozen", &[("a", "v1")]).await?;

        // Nobody misses one that is deleted.
        rig.secrets
            .delete("fresh", &DeleteParams::default())
            .await?;
        let deletes = json!({ "creationPolicy": "Orphan", "deletionPolicy": "Delete" });
        rig.create("emptied", with_target("gone", deletes)).await?;
        rig.failed("emptied", "could not delete secret").await?;
        let chain = "unable to delete secret emptied: creationPolicy=Orphan is not Owner";
        rig.event("emptied", "UpdateFailed", chain).await?;
        tokio::time::sleep(QUIET).await;
        ensure!(rig.secrets.get_opt("fresh").await?.is_none());
        ensure!(rig.shelf.calls("gone") == 1, "it is retried");
        rig.stop().await
    })
}

#[test]
fn sync_merges_into_a_secret_that_others_own() -> Result<()> {
    // externalsecret.md 2.7, 2.8, E012, E013, E014, E023, E024, E025, E026
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("ours", "1"), ("both", "new")]);
        let metadata = json!({ "labels": { "mine": "1" }, "annotations": { "note": "2" } });
        let spec = with_target("db", json!({ "creationPolicy": "Merge" }));
        rig.create_with("web", metadata, spec).await?;
        let object = rig.ready("web", ConditionStatus::True, MISSING).await?;
        let status = object.status.context("it has a status")?;
        ensure!(status.conditions[0].reason.as_deref() == Some("SecretMissing"));
        ensure!(status.binding.is_none() && status.refresh_time.is_some());
        let metrics = rig.metrics()?;
        for line in [
            "condition=\"Ready\",status=\"True\"} 1",
            "condition=\"Ready\",status=\"False\"} 0",
        ] {
            ensure!(metrics.contains(line), "{metrics}");
        }
        ensure!(!metrics.contains("externalsecret_sync_calls_error{name=\"web\""));

        // One that appears is noticed at the next reason to look.
        let theirs = json!({ "name": "web", "labels": { "x": "1" }, "annotations": { "y": "2" } });
        let values = json!({ "theirs": "k", "both": "old" });
        put_secret(&cx, json!({ "metadata": theirs, "stringData": values })).await?;
        let poke = json!({ "metadata": { "annotations": { "poke": "1", "note": null } } });
        rig.change("web", poke).await?;
        let merged = [("both", "new"), ("ours", "1"), ("theirs", "k")];
        rig.holds("web", &merged).await?;
        rig.synced("web").await?;
        let secret = rig.secrets.get("web").await?;
        ensure!(is_unowned(&secret));
        let keys = |map: &std::collections::BTreeMap<String, String>| {
            map.keys().cloned().collect::<Vec<_>>()
        };
        ensure!(keys(secret.labels()) == ["mine", MANAGED, "x"]);
        ensure!(keys(secret.annotations()) == ["poke", HASH, "y"]);
        ensure!(owned(&secret, "web", "/f:data") == ["both", "ours"]);
        ensure!(owned(&secret, "web", "/f:metadata/f:labels") == ["mine", MANAGED]);
        ensure!(owned(&secret, "web", "/f:metadata/f:annotations") == ["poke", HASH]);
        ensure!(secret.managed_fields().len() == 2);
        let data: latchkey_secret::SecretData = merged
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned().into()))
            .collect();
        let digest = latchkey_engine::hash::of_secret_data(&data);
        ensure!(secret.annotations().get(HASH) == Some(&digest));

        // A write that changes nothing is none.
        let calls = rig.shelf.calls("db");
        rig.secrets
            .patch("web", &PatchParams::default(), &Patch::Merge(json!({})))
            .await?;
        tokio::time::sleep(QUIET).await;
        let later = rig.secrets.get("web").await?;
        ensure!(later.resource_version() == secret.resource_version());
        ensure!(rig.shelf.calls("db") == calls);

        // Whoever takes our key away is corrected, and keys that we give up go.
        let without = json!({ "data": { "ours": null } });
        rig.secrets
            .patch("web", &PatchParams::default(), &Patch::Merge(without))
            .await?;
        rig.holds("web", &merged).await?;
        rig.shelf.put("db", &[("ours", "2")]);
        rig.change("web", json!({ "metadata": { "labels": { "mine": null } } }))
            .await?;
        let secret = rig.holds("web", &[("ours", "2"), ("theirs", "k")]).await?;
        ensure!(!secret.labels().contains_key("mine") && secret.labels().contains_key("x"));

        // Without it there is nothing to merge into, at once.
        rig.secrets.delete("web", &DeleteParams::default()).await?;
        let object = rig.ready("web", ConditionStatus::True, MISSING).await?;
        let binding = object.status.and_then(|status| status.binding);
        ensure!(binding.is_some_and(|binding| binding.name == "web"));
        rig.stop().await
    })
}

#[test]
fn sync_creates_or_merges() -> Result<()> {
    // externalsecret.md 2.8, E029, E030, E031
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("a", "1")]);
        put_secret(
            &cx,
            json!({ "metadata": { "name": "there" }, "stringData": { "theirs": "k" } }),
        )
        .await?;
        let target = |immutable: bool| {
            let mut spec = with_target(
                "db",
                json!({ "creationPolicy": "CreateOrMerge", "immutable": immutable }),
            );
            spec["refreshPolicy"] = json!("CreatedOnce");
            spec
        };
        rig.create("there", target(false)).await?;
        let secret = rig.holds("there", &[("a", "1"), ("theirs", "k")]).await?;
        ensure!(is_unowned(&secret));
        for (name, immutable) in [("absent", false), ("frozen", true)] {
            rig.create(name, target(immutable)).await?;
            rig.synced(name).await?;
            let before = rig.holds(name, &[("a", "1")]).await?;
            ensure!(is_unowned(&before) && before.immutable == immutable.then_some(true));
            rig.secrets.delete(name, &DeleteParams::default()).await?;
            let again = rig.holds(name, &[("a", "1")]).await?;
            ensure!(again.uid() != before.uid() && again.immutable == before.immutable);
        }
        rig.delete("absent").await?;
        tokio::time::sleep(QUIET).await;
        let kept = rig.holds("absent", &[("a", "1")]).await?;
        ensure!(kept.labels().contains_key(MANAGED));
        rig.stop().await
    })
}

#[test]
fn sync_refuses_every_policy_on_the_secret_of_another_external_secret() -> Result<()> {
    // externalsecret.md 2.8.1, 1.2, X02, X03
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("a", "1")]);
        rig.shelf.put("other", &[("b", "1")]);
        rig.create("boss", extract("db")).await?;
        rig.synced("boss").await?;
        let losers = ["Owner", "Orphan", "Merge", "CreateOrMerge"];
        for policy in losers {
            let target = json!({ "name": "boss", "creationPolicy": policy });
            let name = policy.to_lowercase();
            rig.create(&name, with_target("other", target)).await?;
            let object = rig
                .failed(&name, "target is owned by another ExternalSecret")
                .await?;
            let binding = object.status.and_then(|status| status.binding);
            ensure!(
                binding.is_some_and(|binding| binding.name == "boss"),
                "{policy}"
            );
            let chain =
                "unable to mutate secret boss: secret is owned by another ExternalSecret: boss";
            rig.event(&name, "UpdateFailed", chain).await?;
        }
        let target = json!({ "name": "boss", "creationPolicy": "None" });
        rig.create("none", with_target("other", target)).await?;
        rig.synced("none").await?;
        tokio::time::sleep(QUIET).await;
        ensure!(rig.shelf.calls("other") == losers.len() + 1, "retried");
        rig.holds("boss", &[("a", "1")]).await?;

        // The losers try again when something happens to the target.
        rig.delete("boss").await?;
        eventually(PATIENCE, "somebody else writes it", async || {
            let secret = rig.secrets.get_opt("boss").await?;
            let keys = secret.and_then(|secret| secret.data);
            Ok(keys
                .is_some_and(|keys| keys.contains_key("b"))
                .then_some(()))
        })
        .await?;
        rig.stop().await
    })
}

#[test]
fn sync_makes_a_secret_immutable_without_touching_its_data() -> Result<()> {
    // externalsecret.md 2.11, E033, E034
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("a", "1")]);
        let clay = json!({ "name": "clay", "labels": { "x": "1" } });
        put_secret(
            &cx,
            json!({ "metadata": clay, "stringData": { "theirs": "k" } }),
        )
        .await?;
        let template = json!({ "data": { "broken": "{{ .none }}" } });
        let target = json!({ "immutable": true, "template": template });
        rig.create("clay", with_target("db", target)).await?;
        rig.synced("clay").await?;
        let secret = rig.holds("clay", &[("theirs", "k")]).await?;
        ensure!(secret.immutable == Some(true) && secret.owner_references().len() == 1);
        ensure!(secret.annotations().contains_key(HASH) && secret.labels().contains_key("x"));
        rig.event("clay", "Updated", "secret updated").await?;

        let mut spec = with_target("db", json!({ "immutable": true }));
        spec["refreshInterval"] = json!("1s");
        rig.create("stone", spec).await?;
        let before = rig.holds("stone", &[("a", "1")]).await?;
        ensure!(before.immutable == Some(true));
        rig.synced("stone").await?;
        rig.shelf.put("db", &[("a", "2")]);
        tokio::time::sleep(QUIET).await;
        rig.synced("stone").await?;
        rig.holds("stone", &[("a", "1")]).await?;
        rig.secrets
            .delete("stone", &DeleteParams::default())
            .await?;
        let again = rig.holds("stone", &[("a", "2")]).await?;
        ensure!(again.immutable == Some(true) && again.uid() != before.uid());
        rig.stop().await
    })
}

#[test]
fn sync_tells_when_a_secret_is_immutable_against_its_will() -> Result<()> {
    // externalsecret.md 2.11, D-13
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("a", "1")]);
        rig.create("web", extract("db")).await?;
        rig.synced("web").await?;
        let freeze = Patch::Merge(json!({ "immutable": true }));
        rig.secrets
            .patch("web", &PatchParams::default(), &freeze)
            .await?;
        // What is only metadata is written in one pass.
        rig.change("web", json!({ "metadata": { "labels": { "l": "1" } } }))
            .await?;
        eventually(PATIENCE, "the label", async || {
            let secret = rig.secrets.get("web").await?;
            Ok(secret.labels().contains_key("l").then_some(()))
        })
        .await?;
        let version = rig.synced("web").await?.status;
        ensure!(version.is_some());

        rig.shelf.put("db", &[("a", "2")]);
        rig.change("web", json!({ "metadata": { "labels": { "l": "2" } } }))
            .await?;
        rig.failed("web", "could not update secret, target is immutable")
            .await?;
        let chain = "unable to update secret web: secret is immutable";
        rig.event("web", "UpdateFailed", chain).await?;
        let secret = rig.holds("web", &[("a", "1")]).await?;
        ensure!(secret.labels().get("l").map(String::as_str) == Some("2"));
        let data = latchkey_secret::SecretData::from([(
            "a".to_owned(),
            latchkey_secret::SecretValue::from("2".to_owned()),
        )]);
        let digest = latchkey_engine::hash::of_secret_data(&data);
        ensure!(secret.annotations().get(HASH) == Some(&digest));
        let calls = rig.shelf.calls("db");
        tokio::time::sleep(QUIET).await;
        ensure!(rig.shelf.calls("db") <= calls + 1, "it is retried");
        rig.stop().await
    })
}

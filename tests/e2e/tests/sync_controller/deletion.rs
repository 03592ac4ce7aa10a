//! What becomes of targets whose values, or whose objects, go (`externalsecret.md` 2.9, 2.12).

use anyhow::{Result, ensure};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use latchkey_cluster::eventually;
use latchkey_crds::conditions::ConditionStatus;
use serde_json::{Value, json};

use super::support::{PATIENCE, Rig};
use super::{MANAGED, QUIET, put_secret};

const DELETED: &str = "secret deleted due to DeletionPolicy=Delete";

/// Two entries of one store: `u` from `user`, `p` from `pass`.
fn pair(target: Value) -> Value {
    let entry =
        |key: &str, remote: &str| json!({ "secretKey": key, "remoteRef": { "key": remote } });
    json!({ "target": target, "data": [entry("u", "user"), entry("p", "pass")] })
}

async fn force(rig: &Rig, name: &str, value: &str) -> Result<()> {
    let patch = json!({ "metadata": { "annotations": { "force": value } } });
    rig.change(name, patch).await
}

#[test]
fn sync_deletes_a_secret_whose_values_are_all_gone() -> Result<()> {
    // externalsecret.md 2.3, 2.9, E041, E045
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("user", &[("value", "ann")]);
        rig.shelf.put("pass", &[("value", "pw")]);
        rig.create("web", pair(json!({ "deletionPolicy": "Delete" })))
            .await?;
        let first = rig.holds("web", &[("p", "pw"), ("u", "ann")]).await?;
        rig.synced("web").await?;

        rig.shelf.remove("pass");
        force(&rig, "web", "1").await?;
        rig.holds("web", &[("u", "ann")]).await?;
        let note = "secret does not exist at provider using spec.dataFrom[1] (key=pass)";
        rig.event("web", "MissingProviderSecret", note).await?;

        rig.shelf.remove("user");
        force(&rig, "web", "2").await?;
        let object = rig.ready("web", ConditionStatus::True, DELETED).await?;
        let status = object.status.unwrap_or_default();
        ensure!(status.conditions[0].reason.as_deref() == Some("SecretDeleted"));
        ensure!(status.binding.is_some_and(|binding| binding.name == "web"));
        ensure!(rig.secrets.get_opt("web").await?.is_none());
        rig.event("web", "Deleted", DELETED).await?;

        rig.shelf.put("pass", &[("value", "pw2")]);
        force(&rig, "web", "3").await?;
        let again = rig.holds("web", &[("p", "pw2")]).await?;
        ensure!(again.uid() != first.uid());
        rig.synced("web").await?;
        rig.stop().await
    })
}

#[test]
fn sync_never_deletes_a_secret_that_was_not_its_own() -> Result<()> {
    // D-20
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("user", &[("value", "ann")]);
        put_secret(
            &cx,
            json!({ "metadata": { "name": "theirs" }, "stringData": { "k": "v" } }),
        )
        .await?;
        let owner = json!({ "target": { "name": "shared" }, "data": [{ "secretKey": "u", "remoteRef": { "key": "user" } }] });
        rig.create("winner", owner).await?;
        rig.synced("winner").await?;
        let before = rig.secrets.get("shared").await?;
        for (name, target) in [("loser", "shared"), ("theirs", "theirs")] {
            let mut spec = pair(json!({ "name": target, "deletionPolicy": "Delete" }));
            spec["data"][0]["remoteRef"]["key"] = json!("nothing");
            rig.create(name, spec).await?;
            rig.failed(name, "could not delete secret").await?;
            let chain =
                format!("unable to delete secret {target}: not owned by this ExternalSecret");
            rig.event(name, "UpdateFailed", &chain).await?;
        }
        // The label that was put on is an event of its own.
        tokio::time::sleep(QUIET).await;
        let calls = rig.shelf.calls("nothing");
        tokio::time::sleep(QUIET).await;
        ensure!(rig.shelf.calls("nothing") == calls, "it is retried");
        ensure!(rig.secrets.get("shared").await?.resource_version() == before.resource_version());
        let theirs = rig.holds("theirs", &[("k", "v")]).await?;
        ensure!(theirs.labels().contains_key(MANAGED));
        rig.stop().await
    })
}

#[test]
fn sync_only_drops_its_keys_where_the_deletion_policy_merges() -> Result<()> {
    // externalsecret.md 2.9, E044
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("user", &[("value", "ann")]);
        for (name, creation) in [
            ("merge", "Merge"),
            ("create-or-merge", "CreateOrMerge"),
            ("owner", "Owner"),
        ] {
            put_secret(
                &cx,
                json!({ "metadata": { "name": name }, "stringData": { "theirs": "k" } }),
            )
            .await?;
            let target = json!({ "creationPolicy": creation, "deletionPolicy": "Merge" });
            rig.create(name, pair(target)).await?;
        }
        rig.holds("merge", &[("theirs", "k"), ("u", "ann")]).await?;
        rig.holds("create-or-merge", &[("theirs", "k"), ("u", "ann")])
            .await?;
        rig.holds("owner", &[("u", "ann")]).await?;
        // Templates run on nothing, and fail for what they lack.
        let template = json!({ "data": { "line": "to {{ .u }}" } });
        rig.create(
            "templated",
            pair(json!({ "deletionPolicy": "Merge", "template": template })),
        )
        .await?;
        rig.holds("templated", &[("line", "to ann")]).await?;

        rig.shelf.remove("user");
        let names = ["merge", "create-or-merge", "owner", "templated"];
        for name in names {
            force(&rig, name, "1").await?;
        }
        rig.holds("merge", &[("theirs", "k")]).await?;
        rig.holds("create-or-merge", &[("theirs", "k")]).await?;
        rig.holds("owner", &[]).await?;
        for name in &names[..3] {
            rig.synced(name).await?;
        }
        rig.failed("templated", "could not update secret").await?;
        rig.holds("templated", &[("line", "to ann")]).await?;
        rig.stop().await
    })
}

#[test]
fn sync_cleans_up_after_a_deleted_object_with_or_without_its_finalizer() -> Result<()> {
    // externalsecret.md 2.12, 2.2 step 3
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("user", &[("value", "ann")]);
        rig.shelf.put("pass", &[("value", "pw")]);
        let theirs = json!({ "name": "theirs", "labels": { "x": "1" } });
        put_secret(
            &cx,
            json!({ "metadata": theirs, "stringData": { "k": "v" } }),
        )
        .await?;
        rig.create("web", pair(json!({ "deletionPolicy": "Delete" })))
            .await?;
        rig.create("doomed", pair(json!({ "name": "doomed" })))
            .await?;
        let merging = json!({ "name": "theirs", "creationPolicy": "Merge" });
        rig.create("merging", pair(merging)).await?;
        rig.holds("theirs", &[("k", "v"), ("p", "pw"), ("u", "ann")])
            .await?;
        for name in ["web", "doomed", "merging"] {
            rig.synced(name).await?;
        }
        // Our finalizer comes back beside others.
        let finalizers = json!({ "metadata": { "finalizers": ["example.com/mine"] } });
        rig.change("web", finalizers).await?;
        let ours = "externalsecrets.external-secrets.io/externalsecret-cleanup";
        eventually(PATIENCE, "our finalizer", async || {
            let object = rig.objects.get("web").await?;
            Ok((object.finalizers() == ["example.com/mine", ours]).then_some(()))
        })
        .await?;
        let object = rig.objects.get("web").await?;

        // A store that fails does not keep an object.
        rig.shelf.break_with("user", "the provider is down");
        force(&rig, "doomed", "1").await?;
        rig.failed("doomed", "could not get secret data from provider")
            .await?;
        for name in ["doomed", "merging"] {
            rig.delete(name).await?;
        }
        rig.objects.delete("web", &DeleteParams::default()).await?;
        eventually(PATIENCE, "the secret goes before its object", async || {
            Ok(rig.secrets.get_opt("web").await?.is_none().then_some(()))
        })
        .await?;
        let left = rig.objects.get("web").await?;
        ensure!(left.uid() == object.uid() && left.finalizers() == ["example.com/mine"]);
        let release = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        rig.objects
            .patch("web", &PatchParams::default(), &release)
            .await?;
        // A merged Secret stays, label and all.
        let kept = rig
            .holds("theirs", &[("k", "v"), ("p", "pw"), ("u", "ann")])
            .await?;
        ensure!(kept.labels().contains_key(MANAGED));
        rig.stop().await
    })
}

//! Targets of other kinds than Secret (`externalsecret.md` 5).

#[path = "generic/rights.rs"]
mod rights;
#[path = "generic/widgets.rs"]
mod widgets;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Resource as _, ResourceExt as _};
use latchkey_cluster::{Context, eventually};
use latchkey_crds::conditions::ConditionStatus;
use latchkey_crds::external_secret::ExternalSecret;
use serde_json::{Value, json};

use self::widgets::Widgets;
use super::support::{PATIENCE, Rig};
use super::{HASH, MANAGED, OWNER, QUIET, extract};

const MISSING: &str = "resource will not be created due to CreationPolicy=Merge";
const DELETED: &str = "secret deleted due to DeletionPolicy=Delete";

async fn start(cx: &Context) -> Result<Rig> {
    Rig::start_with(cx, |config| config.generic_targets = true).await
}

fn config_map() -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap" })
}

/// A spec that extracts `db` into a target with these fields.
fn onto(manifest: Value, target: Value) -> Value {
    let mut spec = extract("db");
    spec["refreshInterval"] = json!("1h");
    spec["target"] = target;
    spec["target"]["manifest"] = manifest;
    spec
}

fn config_maps(cx: &Context) -> Api<ConfigMap> {
    Api::namespaced(cx.client(), cx.namespace())
}

/// Waits until a ConfigMap holds exactly this.
async fn holds(maps: &Api<ConfigMap>, name: &str, expected: Value) -> Result<ConfigMap> {
    eventually(PATIENCE, &format!("config map {name}"), async || {
        let map = maps.get(name).await?;
        let found = json!(map.data.clone().unwrap_or_default());
        ensure!(found == expected, "it holds {found}");
        Ok(Some(map))
    })
    .await
}

async fn is_gone(maps: &Api<ConfigMap>, name: &str) -> Result<()> {
    eventually(PATIENCE, &format!("{name} is gone"), async || {
        Ok(maps.get_opt(name).await?.is_none().then_some(()))
    })
    .await
}

/// Waits for a condition with this reason too.
async fn told(
    rig: &Rig,
    name: &str,
    status: ConditionStatus,
    reason: &str,
    message: &str,
) -> Result<ExternalSecret> {
    let object = rig.ready(name, status, message).await?;
    let conditions = object.status.clone().unwrap_or_default().conditions;
    ensure!(
        conditions.len() == 1 && conditions[0].reason.as_deref() == Some(reason),
        "{conditions:?}"
    );
    Ok(object)
}

async fn synced(rig: &Rig, name: &str) -> Result<ExternalSecret> {
    told(
        rig,
        name,
        ConditionStatus::True,
        "ResourceSynced",
        "secret synced",
    )
    .await
}

#[test]
fn sync_writes_a_config_map_repairs_it_and_takes_it_along() -> Result<()> {
    // externalsecret.md 5.2, 5.3, 5.5, 5.6, E184, E186, E188, E189, E195, E203; SB-24
    latchkey_cluster::test(async |cx| {
        let rig = start(&cx).await?;
        let maps = config_maps(&cx);
        rig.shelf
            .put("db", &[("user", "ann"), ("pin", "007-canary")]);
        let metadata = json!({ "labels": { "team": "a" }, "annotations": { "argocd.argoproj.io/tracking-id": "t" } });
        let spec = onto(config_map(), json!({ "deletionPolicy": "Delete" }));
        rig.create_with("web", metadata, spec).await?;
        let object = synced(&rig, "web").await?;
        ensure!(
            object
                .status
                .as_ref()
                .is_some_and(|status| status.binding.is_none())
        );
        let values = json!({ "pin": "007-canary", "user": "ann" });
        let first = holds(&maps, "web", values.clone()).await?;
        let text =
            |map: &std::collections::BTreeMap<String, String>, key: &str| map.get(key).cloned();
        ensure!(text(first.labels(), MANAGED).as_deref() == Some("true"));
        ensure!(text(first.labels(), "team").as_deref() == Some("a") && first.labels().len() == 3);
        let owner = latchkey_engine::hash::of_text(&format!("{}/web", cx.namespace()));
        ensure!(text(first.labels(), OWNER) == Some(owner));
        ensure!(
            text(first.annotations(), "argocd.argoproj.io/tracking-id").as_deref() == Some("t")
        );
        let hash = text(first.annotations(), HASH).context("no digest")?;
        ensure!(first.owner_references().len() == 1 && first.owner_references()[0].name == "web");
        ensure!(
            rig.secrets.get_opt("web").await?.is_none(),
            "a Secret was made"
        );
        rig.event("web", "Created", "Created ConfigMap web").await?;

        // Nothing feeds back, not even the watch that began meanwhile.
        tokio::time::sleep(QUIET).await;
        let later = rig.objects.get("web").await?;
        ensure!(later.resource_version() == object.resource_version());
        ensure!(maps.get("web").await?.resource_version() == first.resource_version());
        ensure!(
            rig.shelf.calls("db") == 1,
            "{} calls",
            rig.shelf.calls("db")
        );

        let patch = json!({ "data": { "user": "eve", "extra": "x" } });
        maps.patch("web", &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        let repaired = holds(&maps, "web", values.clone()).await?;
        ensure!(text(repaired.annotations(), HASH) == Some(hash));
        rig.event("web", "Updated", "Updated ConfigMap web").await?;
        maps.delete("web", &DeleteParams::default()).await?;
        let again = holds(&maps, "web", values).await?;
        ensure!(again.uid() != first.uid(), "it was made again");

        // The label alone is no event (2.1).
        let calls = rig.shelf.calls("db");
        let patch = json!({ "metadata": { "labels": { MANAGED: null } } });
        maps.patch("web", &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        tokio::time::sleep(QUIET).await;
        ensure!(rig.shelf.calls("db") == calls);
        let patch = json!({ "metadata": { "annotations": { "force": "1" } } });
        rig.change("web", patch).await?;
        eventually(PATIENCE, "the label", async || {
            let map = maps.get("web").await?;
            Ok(map.labels().contains_key(MANAGED).then_some(()))
        })
        .await?;
        rig.assert_not_told("007-canary").await?;

        rig.shelf.put("db", &[]);
        let patch = json!({ "metadata": { "annotations": { "force": "2" } } });
        rig.change("web", patch).await?;
        told(
            &rig,
            "web",
            ConditionStatus::True,
            "ResourceDeleted",
            DELETED,
        )
        .await?;
        is_gone(&maps, "web").await?;
        rig.event("web", "Deleted", "Deleted ConfigMap web").await?;
        rig.shelf.put("db", &[("a", "1")]);
        let patch = json!({ "metadata": { "annotations": { "force": "3" } } });
        rig.change("web", patch).await?;
        holds(&maps, "web", json!({ "a": "1" })).await?;
        synced(&rig, "web").await?;
        rig.delete("web").await?;
        is_gone(&maps, "web").await?;
        rig.stop().await
    })
}

#[test]
fn sync_renders_templates_into_config_maps_and_custom_resources() -> Result<()> {
    // externalsecret.md 5.3, 5.4, E187, E192, E193, E199, D-16
    latchkey_cluster::test(async |cx| {
        let rig = start(&cx).await?;
        let (maps, widgets) = (config_maps(&cx), Widgets::define(&cx).await?);
        rig.shelf
            .put("db", &[("user", "ann"), ("n", "3"), ("raw", "{{ .user }}")]);
        let texts = json!({ "metadata": { "name": "texts" }, "data": { "a": "{{ .raw }}", "to": "{{ .user }}" } });
        maps.create(&PostParams::default(), &serde_json::from_value(texts)?)
            .await?;

        let template = json!({
            "metadata": { "labels": { "t": "1" }, "annotations": { "raw": "{{ .user }}" } },
            "data": { "url": "{{ .user }}@h" },
            "templateFrom": [{ "configMap": { "name": "texts", "items": [{ "key": "a" }] } }, { "target": "Labels", "literal": "who: {{ .user }}" }],
        });
        let own = json!({ "labels": { "team": "a" } });
        rig.create_with(
            "map",
            own,
            onto(config_map(), json!({ "template": template })),
        )
        .await?;
        let map = holds(&maps, "map", json!({ "a": "{{ .user }}", "url": "ann@h" })).await?;
        let labels = json!(map.labels());
        ensure!(
            labels["t"] == "1" && labels["who"] == "ann" && labels["team"].is_null(),
            "{labels}"
        );
        ensure!(
            map.annotations()["raw"] == "{{ .user }}",
            "copied as it stands there"
        );

        let template = json!({ "templateFrom": [
            { "target": "spec", "literal": "replicas: {{ .n }}\ntype: x\n" },
            { "target": "spec.rules[1].to", "configMap": { "name": "texts", "items": [{ "key": "to" }] } },
            { "target": "spec.rules[0]", "literal": "from: {{ .user }}" },
        ] });
        let target = json!({ "template": template });
        rig.create("cr", onto(widgets.manifest(), target)).await?;
        let spec =
            json!({ "replicas": 3, "type": "x", "rules": [{ "from": "ann" }, { "to": "ann" }] });
        widgets.holds("cr", spec).await?;
        synced(&rig, "cr").await?;
        let calls = rig.shelf.calls("db");
        tokio::time::sleep(QUIET).await;
        ensure!(
            rig.shelf.calls("db") == calls,
            "it is valid as it was read back"
        );

        let spec = json!({ "type": "slack", "slack": { "channel": "c", "username": "u" } });
        let before = widgets
            .put("merged", json!({ "labels": { "theirs": "1" } }), spec)
            .await?;
        let template = json!({ "templateFrom": [{ "target": "spec.slack", "literal": "api_url: https://{{ .user }}" }] });
        let target = json!({ "creationPolicy": "Merge", "template": template });
        rig.create("merged", onto(widgets.manifest(), target))
            .await?;
        let spec = json!({ "type": "slack", "slack": { "api_url": "https://ann", "channel": "c", "username": "u" } });
        let after = widgets.holds("merged", spec.clone()).await?;
        ensure!(after.uid() == before.uid() && after.labels()["theirs"] == "1");
        ensure!(after.owner_references().is_empty());
        synced(&rig, "merged").await?;
        // Drift is repaired; a change of the status is none.
        let patch = json!({ "spec": { "slack": { "api_url": "https://eve" } } });
        widgets
            .api
            .patch("merged", &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        widgets.holds("merged", spec).await?;
        synced(&rig, "merged").await?;

        // What the API server says about a value it does not want is not told.
        rig.shelf
            .put("db", &[("user", "ann"), ("n", "77"), ("raw", "")]);
        let patch = json!({ "metadata": { "annotations": { "force": "1" } } });
        rig.change("cr", patch).await?;
        told(
            &rig,
            "cr",
            ConditionStatus::False,
            "ResourceSyncedError",
            "could not update secret",
        )
        .await?;
        let part = "failed to update target resource: the API server finds it invalid: spec.replicas (FieldValueInvalid)";
        rig.event_part("cr", "UpdateFailed", part).await?;
        for event in rig.events_about("cr").await? {
            ensure!(!event.note.unwrap_or_default().contains("77"));
        }
        for name in ["map", "cr", "merged"] {
            rig.delete(name).await?;
        }
        widgets.undefine(&cx).await?;
        rig.stop().await
    })
}

#[test]
fn sync_treats_generic_targets_as_their_policies_say() -> Result<()> {
    // externalsecret.md 5.2, 5.6, 2.8.1, D-11, E190, E191
    latchkey_cluster::test(async |cx| {
        let rig = start(&cx).await?;
        let maps = config_maps(&cx);
        rig.shelf.put("db", &[("a", "1")]);
        let put = async |name: &str, owners: Value| -> Result<ConfigMap> {
            let metadata =
                json!({ "name": name, "labels": { "theirs": "1" }, "ownerReferences": owners });
            let map = json!({ "metadata": metadata, "data": { "theirs": "x" } });
            Ok(maps
                .create(&PostParams::default(), &serde_json::from_value(map)?)
                .await?)
        };
        let template = json!({ "data": { "ours": "{{ .a }}" } });
        let merging = |policy: &str| {
            onto(
                config_map(),
                json!({ "creationPolicy": policy, "template": template }),
            )
        };

        rig.create("merge", merging("Merge")).await?;
        let mut spec = merging("Merge");
        spec["refreshInterval"] = json!("1s");
        told(
            &rig,
            "merge",
            ConditionStatus::True,
            "ResourceMissing",
            MISSING,
        )
        .await?;
        ensure!(maps.get_opt("merge").await?.is_none());
        rig.change("merge", json!({ "spec": spec })).await?;
        put("merge", json!([])).await?;
        let map = holds(&maps, "merge", json!({ "ours": "1", "theirs": "x" })).await?;
        ensure!(map.labels()["theirs"] == "1" && map.owner_references().is_empty());
        rig.create("either", merging("CreateOrMerge")).await?;
        holds(&maps, "either", json!({ "ours": "1" })).await?;

        let first = put("owner", json!([])).await?;
        rig.create("owner", onto(config_map(), json!({}))).await?;
        let map = holds(&maps, "owner", json!({ "a": "1" })).await?;
        ensure!(
            map.uid() == first.uid() && map.labels().get("theirs").is_none(),
            "replaced"
        );
        ensure!(map.owner_references().len() == 1);
        let orphan = json!({ "spec": { "target": { "creationPolicy": "Orphan" } } });
        rig.change("owner", orphan).await?;
        eventually(PATIENCE, "it is released", async || {
            let map = maps.get("owner").await?;
            let is_free = map.owner_references().is_empty() && !map.labels().contains_key(OWNER);
            Ok(is_free.then_some(()))
        })
        .await?;
        rig.delete("owner").await?;
        holds(&maps, "owner", json!({ "a": "1" })).await?;

        // D-11: another one's is neither overwritten nor deleted.
        let target = |policy: &str| json!({ "name": "shared", "creationPolicy": policy });
        rig.create("one", onto(config_map(), target("Owner")))
            .await?;
        synced(&rig, "one").await?;
        for policy in ["Owner", "Orphan", "Merge"] {
            let mut target = target(policy);
            if policy == "Owner" {
                target["deletionPolicy"] = json!("Delete");
            }
            rig.create("two", onto(config_map(), target)).await?;
            told(
                &rig,
                "two",
                ConditionStatus::False,
                "ResourceSyncedError",
                "could not apply template to manifest",
            )
            .await?;
            rig.event(
                "two",
                "UpdateFailed",
                "secret is owned by another ExternalSecret: one",
            )
            .await?;
            rig.delete("two").await?;
            let map = maps.get("shared").await?;
            ensure!(
                map.meta().deletion_timestamp.is_none() && map.owner_references()[0].name == "one"
            );
        }
        // None writes nothing, whatever is there.
        rig.create(
            "none",
            onto(
                config_map(),
                json!({ "creationPolicy": "None", "name": "shared" }),
            ),
        )
        .await?;
        synced(&rig, "none").await?;
        ensure!(maps.get("shared").await?.owner_references()[0].name == "one");
        rig.stop().await
    })
}

#[test]
fn sync_tells_what_is_wrong_with_a_generic_target() -> Result<()> {
    // externalsecret.md 5.1, 5.6, E181, E197, E200
    latchkey_cluster::test(async |cx| {
        let rig = start(&cx).await?;
        rig.shelf.put("db", &[("a", "canary-1")]);
        let failing = "ResourceSyncedError";
        let unread = "could not get target resource";
        for (name, manifest, part) in [
            (
                "kind",
                json!({ "apiVersion": "v1", "kind": "Widget" }),
                "failed to get target resource: no matches for kind \"Widget\" in version \"v1\"",
            ),
            (
                "group",
                json!({ "apiVersion": "none.example.com/v1", "kind": "Widget" }),
                "no matches for kind \"Widget\" in version \"none.example.com/v1\"",
            ),
            (
                "path",
                json!({ "apiVersion": "../../api/v1", "kind": "Secret" }),
                "no matches for kind \"Secret\"",
            ),
            (
                "cluster",
                json!({ "apiVersion": "v1", "kind": "Namespace" }),
                "are not in a namespace",
            ),
        ] {
            rig.create(name, onto(manifest, json!({}))).await?;
            told(&rig, name, ConditionStatus::False, failing, unread).await?;
            rig.event_part(name, "UpdateFailed", part).await?;
        }
        ensure!(rig.shelf.calls("db") == 0, "nothing is fetched for them");
        let template = |target: &str| json!({ "template": { "templateFrom": [{ "target": target, "literal": "a: {{ .a }}" }] } });
        let unapplied = "could not apply template to manifest";
        for (name, target, part) in [
            (
                "index",
                "spec.rules[abc]",
                "failed to execute literal template: invalid path \"spec.rules[abc]\": bad index \"abc\"",
            ),
            (
                "renamed",
                "metadata.namespace",
                "metadata that no object can have",
            ),
            (
                "other",
                "kind",
                "differs from declared target GVK \"/v1, Kind=ConfigMap\"",
            ),
        ] {
            rig.create(name, onto(config_map(), template(target)))
                .await?;
            told(&rig, name, ConditionStatus::False, failing, unapplied).await?;
            rig.event_part(name, "UpdateFailed", part).await?;
        }
        rig.shelf.break_with("db", "boom");
        rig.create("fetch", onto(config_map(), json!({}))).await?;
        told(
            &rig,
            "fetch",
            ConditionStatus::False,
            failing,
            "could not get secret data from provider",
        )
        .await?;
        rig.assert_not_told("canary-1").await?;
        rig.stop().await
    })
}

//! The controller of ClusterExternalSecrets, against a real API server (`externalsecret.md` 6 and 9.11).

#[path = "cluster_external_secrets/support.rs"]
mod support;

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use latchkey_cluster::eventually;
use parking_lot::Mutex;
use serde_json::json;

use support::{PATIENCE, Rig, refusal, spec};

/// Long enough for a pass that should not happen to happen.
const QUIET: Duration = Duration::from_secs(3);
const FORCE_SYNC: &str = "external-secrets.io/force-sync";
const TAKEN: &str = "external secret already exists in namespace";

/// The objects concern the whole cluster: one controller at a time.
static ONE: Mutex<()> = Mutex::new(());

#[test]
fn ces_follows_selectors_names_labels_and_edits() -> Result<()> {
    // externalsecret.md 6, E205, E206, E208, E211, E212, E213, E214, E215, D-03
    let _one = ONE.lock();
    latchkey_cluster::test(async |cx| {
        let mut rig = Rig::start(cx).await?;
        let a = rig.namespace("ces-a", json!({ "n": "one" })).await?;
        let b = rig.namespace("ces-b", json!({ "n": "two" })).await?;
        let c = rig.cx.new_namespace("ces-c").await?;
        rig.create(json!({})).await?;
        rig.listed(&[&a, &b], &[]).await?;
        rig.has(&a, &[&rig.id]).await?;
        rig.has(&c, &[]).await?;
        // What the API server added to the embedded spec is what it adds to an ExternalSecret.
        let stored = rig.sets.get(&rig.id).await?.spec.external_secret_spec;
        rig.is(&a, &rig.id, json!({}), json!({}), &stored).await?;
        ensure!(rig.metrics()?.contains(&format!(
            "clusterexternalsecret_status_condition{{name=\"{}\",namespace=\"\",condition=\"Ready\",status=\"True\"}} 1",
            rig.id
        )));

        // Quiet, also after a restart: everything is as wanted.
        let set = rig.sets.get(&rig.id).await?.resource_version();
        let before = rig
            .external_secrets(&a)
            .get(&rig.id)
            .await?
            .resource_version();
        rig.label(&b, json!({ "unrelated": "1" })).await?;
        rig.restart().await?;
        tokio::time::sleep(QUIET).await;
        ensure!(
            before
                == rig
                    .external_secrets(&a)
                    .get(&rig.id)
                    .await?
                    .resource_version()
        );

        ensure!(set == rig.sets.get(&rig.id).await?.resource_version());
        eventually(PATIENCE, "its series are back", async || {
            Ok(rig.metrics()?.contains(&rig.id).then_some(()))
        })
        .await?;

        rig.change(json!({ "spec": {
            "externalSecretMetadata": { "labels": { "l": "1" }, "annotations": { "x": "2" } },
            "externalSecretSpec": { "secretStoreRef": { "name": "other" }, "target": { "name": "out" } },
        } }))
        .await?;
        let stored = rig.sets.get(&rig.id).await?.spec.external_secret_spec;
        ensure!(stored["secretStoreRef"]["name"] == "other");
        for namespace in [&a, &b] {
            let (labels, annotations) = (json!({ "l": "1" }), json!({ "x": "2" }));
            rig.is(namespace, &rig.id, labels, annotations, &stored)
                .await?;
        }
        // What others change is put right; what others add to the status or the finalizers is theirs.
        let tampered = json!({ "metadata": { "labels": { "l": null, "m": "3" } }, "spec": { "refreshInterval": "7h" } });
        rig.external_secrets(&b)
            .patch(&rig.id, &PatchParams::default(), &Patch::Merge(tampered))
            .await?;
        rig.is(
            &b,
            &rig.id,
            json!({ "l": "1" }),
            json!({ "x": "2" }),
            &stored,
        )
        .await?;

        rig.label(&a, json!({ "grp": null })).await?;
        rig.listed(&[&b], &[]).await?;
        rig.has(&a, &[]).await?;
        rig.change(json!({ "spec": {
            "namespaces": ["missing-of-all", &c],
            "namespaceSelector": { "matchExpressions": [{ "key": "n", "operator": "In", "values": ["one", "eins"] }, { "key": "grp", "operator": "DoesNotExist" }] },
            "namespaceSelectors": [{ "matchLabels": { "grp": rig.id, "n": "zwei" } }, { "matchLabels": { "grp": rig.id, "n": "two" } }],
        } }))
        .await?;
        rig.listed(&[&a, &b, &c], &[]).await?;
        // Nothing is told by events (8.2).
        let about = format!("--field-selector=involvedObject.name={}", rig.id);
        let events = [
            "get",
            "events",
            "--all-namespaces",
            &about,
            "--output=jsonpath={.items[?(@.involvedObject.kind==\"ClusterExternalSecret\")].reason}",
        ];
        let told = rig.cx.kubectl(&events).await?;
        ensure!(told.is_empty(), "{told}");
        rig.change(json!({ "spec": { "namespaces": null, "namespaceSelector": null, "namespaceSelectors": [] } }))
            .await?;
        rig.listed(&[], &[]).await?;
        for namespace in [&a, &b, &c] {
            rig.has(namespace, &[]).await?;
        }
        rig.stop(&[a, b, c]).await
    })
}

#[test]
fn ces_renames_and_mirrors_force_sync() -> Result<()> {
    // externalsecret.md 6.2 step 4, E207, E216, E217
    let _one = ONE.lock();
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(cx).await?;
        let a = rig.namespace("ces-a", json!({})).await?;
        let annotations = json!({ "base": "b", FORCE_SYNC: "template" });
        rig.create(json!({
            "externalSecretName": "first",
            "externalSecretMetadata": { "annotations": annotations },
        }))
        .await?;
        rig.listed(&[&a], &[]).await?;
        let stored = rig.sets.get(&rig.id).await?.spec.external_secret_spec;
        let base = json!({ "base": "b" });
        rig.is(&a, "first", json!({}), base.clone(), &stored)
            .await?;
        for value in ["1", "2"] {
            rig.change(
                json!({ "metadata": { "annotations": { FORCE_SYNC: value, "other": "x" } } }),
            )
            .await?;
            let mirrored = json!({ "base": "b", FORCE_SYNC: value });
            rig.is(&a, "first", json!({}), mirrored, &stored).await?;
        }
        rig.change(json!({ "metadata": { "annotations": { FORCE_SYNC: null } } }))
            .await?;
        rig.is(&a, "first", json!({}), base, &stored).await?;

        rig.change(json!({ "spec": { "externalSecretName": "second" } }))
            .await?;
        rig.has(&a, &["second"]).await?;
        rig.change(json!({ "spec": { "externalSecretName": null } }))
            .await?;
        rig.has(&a, &[&rig.id]).await?;
        rig.listed(&[&a], &[]).await?;
        let status = rig.sets.get(&rig.id).await?.status;
        ensure!(status.and_then(|status| status.external_secret_name) == Some(rig.id.clone()));
        rig.stop(&[a]).await
    })
}

#[test]
fn ces_leaves_what_others_made_and_heals() -> Result<()> {
    // externalsecret.md 1.4, 6.3, E209, E210; a spec that breaks a rule is told where the ExternalSecret would be made
    let _one = ONE.lock();
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(cx).await?;
        let a = rig.namespace("ces-a", json!({})).await?;
        let b = rig.namespace("ces-b", json!({})).await?;
        let theirs = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": { "name": "taken", "labels": { "mine": "1" } },
            "spec": { "data": [{ "secretKey": "theirs", "remoteRef": { "key": "/a" } }] },
        });
        let theirs = rig
            .external_secrets(&a)
            .create(&PostParams::default(), &serde_json::from_value(theirs)?)
            .await?;
        rig.create(json!({ "externalSecretName": "taken" })).await?;
        rig.listed(&[&b], &[(&a, TAKEN)]).await?;
        let found = rig.external_secrets(&a).get("taken").await?;
        ensure!(found.resource_version() == theirs.resource_version());
        ensure!(!rig.is_held(&a).await?);
        rig.external_secrets(&a)
            .delete("taken", &DeleteParams::default())
            .await?;
        rig.change(json!({ "metadata": { "labels": { "poke": "1" } } }))
            .await?;
        rig.listed(&[&a, &b], &[]).await?;
        rig.has(&a, &["taken"]).await?;

        // A second one that wants the same name.
        let rival = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ClusterExternalSecret", "metadata": { "name": format!("{}-2", rig.id) },
            "spec": { "externalSecretName": "taken", "namespaces": [&a], "externalSecretSpec": spec() },
        });
        let rival = rig
            .sets
            .create(&PostParams::default(), &serde_json::from_value(rival)?)
            .await?;
        eventually(PATIENCE, "the rival fails", async || {
            let status = rig.sets.get_status(&rival.name_any()).await?.status;
            let failed = status
                .map(|status| status.failed_namespaces)
                .unwrap_or_default();
            Ok(failed
                .first()
                .is_some_and(|failed| failed.reason.as_deref() == Some(TAKEN))
                .then_some(()))
        })
        .await?;
        rig.sets
            .delete(&rival.name_any(), &DeleteParams::default())
            .await?;

        // What the API server refuses is told where it would be written; the rest goes on.
        let policy = format!("frozen-{}", rig.id);
        rig.cx.apply(&refusal(&policy, &a, "UPDATE")).await?;
        eventually(PATIENCE, "updates are refused", async || {
            let (parameters, patch) = (
                PatchParams {
                    dry_run: true,
                    ..PatchParams::default()
                },
                json!({ "spec": { "refreshInterval": "2h" } }),
            );
            let answer = rig
                .external_secrets(&a)
                .patch("taken", &parameters, &Patch::Merge(patch))
                .await;
            Ok(answer.is_err().then_some(()))
        })
        .await?;
        // Nothing at all to fetch: admitted here, as upstream admits it.
        rig.change(json!({ "spec": { "externalSecretSpec": { "data": [] } } }))
            .await?;
        rig.listed(
            &[&b],
            &[(&a, "could not create or update ExternalSecret: ")],
        )
        .await?;
        rig.has(&a, &["taken"]).await?;
        rig.lift(&policy).await?;
        rig.change(json!({ "spec": { "externalSecretSpec": spec() } }))
            .await?;
        rig.listed(&[&a, &b], &[]).await?;
        rig.stop(&[a, b]).await
    })
}

#[test]
fn ces_lets_namespaces_end_and_takes_everything_along() -> Result<()> {
    // externalsecret.md 6.3, 6.4, 8.1, D-03, D-04
    let _one = ONE.lock();
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(cx).await?;
        let a = rig.namespace("ces-a", json!({})).await?;
        let b = rig.namespace("ces-b", json!({})).await?;
        let c = rig.namespace("ces-c", json!({})).await?;
        rig.create(json!({})).await?;
        rig.listed(&[&a, &b, &c], &[]).await?;

        // A deletion that is refused: the namespace stays listed, and is tried again until it works.
        let policy = format!("keep-{}", rig.id);
        rig.cx.apply(&refusal(&policy, &b, "DELETE")).await?;
        eventually(PATIENCE, "deletions are refused", async || {
            let parameters = DeleteParams::default().dry_run();
            let answer = rig.external_secrets(&b).delete(&rig.id, &parameters).await;
            Ok(answer.is_err().then_some(()))
        })
        .await?;
        rig.label(&b, json!({ "grp": null })).await?;
        rig.listed(&[&a, &b, &c], &[(&b, "could not delete ExternalSecret: ")])
            .await?;
        rig.has(&b, &[&rig.id]).await?;
        rig.lift(&policy).await?;
        rig.listed(&[&a, &c], &[]).await?;
        rig.has(&b, &[]).await?;

        rig.namespaces.delete(&c, &DeleteParams::default()).await?;
        rig.listed(&[&a], &[]).await?;
        eventually(PATIENCE, "the namespace is gone", async || {
            Ok(rig.namespaces.get_opt(&c).await?.is_none().then_some(()))
        })
        .await?;

        // A namespace that is marked but in no status, as after a crash.
        let mark = json!({ "metadata": { "finalizers": [format!("externalsecrets.external-secrets.io/ces-{}", rig.id)] } });
        rig.namespaces
            .patch(&b, &PatchParams::default(), &Patch::Merge(mark))
            .await?;
        rig.gone().await?;
        for namespace in [&a, &b] {
            rig.has(namespace, &[]).await?;
        }
        eventually(PATIENCE, "its series are gone", async || {
            Ok((!rig.metrics()?.contains(&rig.id)).then_some(()))
        })
        .await?;
        rig.create(json!({})).await?;
        rig.listed(&[&a], &[]).await?;
        rig.stop(&[a, b]).await
    })
}

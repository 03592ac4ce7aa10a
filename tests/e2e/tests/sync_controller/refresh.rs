//! When values are fetched again (`externalsecret.md` 2.4, 2.5, 2.10).

use anyhow::{Result, ensure};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use latchkey_cluster::eventually;
use serde_json::{Value, json};

use super::support::{PATIENCE, Rig};
use super::{MANAGED, QUIET, extract};

fn with(key: &str, fields: &[(&str, Value)]) -> Value {
    let mut spec = extract(key);
    for (field, value) in fields {
        spec[*field] = value.clone();
    }
    spec
}

async fn tamper(rig: &Rig, name: &str) -> Result<()> {
    let patch = Patch::Merge(json!({ "stringData": { "a": "tampered" } }));
    rig.secrets
        .patch(name, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

#[test]
fn sync_creates_once_and_then_only_repairs() -> Result<()> {
    // externalsecret.md 2.4, E034, E099
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("a", "v1")]);
        rig.shelf.put("other", &[("b", "b")]);
        let once = [
            ("refreshPolicy", json!("CreatedOnce")),
            ("refreshInterval", json!("1s")),
        ];
        rig.create("web", with("db", &once)).await?;
        let before = rig.synced("web").await?;
        rig.shelf.put("db", &[("a", "v2")]);
        let force = json!({ "metadata": { "annotations": { "force-sync": "1" } } });
        rig.change("web", force).await?;
        let elsewhere = json!({ "spec": { "dataFrom": [{ "extract": { "key": "other" } }] } });
        rig.change("web", elsewhere).await?;
        tokio::time::sleep(QUIET).await;
        rig.holds("web", &[("a", "v1")]).await?;
        ensure!(rig.shelf.calls("db") == 1 && rig.shelf.calls("other") == 0);
        let after = rig.objects.get("web").await?;
        ensure!(after.status == before.status, "the status moved");

        tamper(&rig, "web").await?;
        let secret = rig.holds("web", &[("b", "b")]).await?;
        ensure!(secret.annotations().contains_key("force-sync"));
        rig.secrets.delete("web", &DeleteParams::default()).await?;
        let again = rig.holds("web", &[("b", "b")]).await?;
        ensure!(again.uid() != secret.uid());
        rig.stop().await
    })
}

#[test]
fn sync_refreshes_on_change_only() -> Result<()> {
    // externalsecret.md 2.4, E100
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("a", "v1")]);
        let on_change = [
            ("refreshPolicy", json!("OnChange")),
            ("refreshInterval", json!("1s")),
        ];
        rig.create("web", with("db", &on_change)).await?;
        rig.synced("web").await?;
        rig.shelf.put("db", &[("a", "v2")]);
        tokio::time::sleep(QUIET).await;
        rig.holds("web", &[("a", "v1")]).await?;
        ensure!(rig.shelf.calls("db") == 1, "it polls");
        rig.change("web", json!({ "metadata": { "labels": { "now": "1" } } }))
            .await?;
        rig.holds("web", &[("a", "v2")]).await?;
        rig.shelf.put("db", &[("a", "v3"), ("b", "v3")]);
        rig.change("web", json!({ "spec": { "refreshInterval": "2s" } }))
            .await?;
        rig.holds("web", &[("a", "v3"), ("b", "v3")]).await?;
        rig.stop().await
    })
}

#[test]
fn sync_with_interval_zero_happens_once_until_the_target_is_damaged() -> Result<()> {
    // externalsecret.md 2.4, E040, E093, E094, X09, X10
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.break_with("db", "the provider is down");
        let once = [("refreshInterval", json!("0"))];
        rig.create("web", with("db", &once)).await?;
        rig.failed("web", "could not get secret data from provider")
            .await?;
        rig.shelf.put("db", &[("a", "v1")]);
        rig.synced("web").await?;
        let calls = rig.shelf.calls("db");
        rig.shelf.put("db", &[("a", "v2")]);
        rig.change("web", json!({ "metadata": { "labels": { "l": "1" } } }))
            .await?;
        let policy = json!({ "spec": { "target": { "template": { "metadata": {} } } } });
        rig.change("web", policy).await?;
        tokio::time::sleep(QUIET).await;
        rig.holds("web", &[("a", "v1")]).await?;
        ensure!(rig.shelf.calls("db") == calls);
        rig.secrets.delete("web", &DeleteParams::default()).await?;
        rig.holds("web", &[("a", "v2")]).await?;
        rig.stop().await
    })
}

#[test]
fn sync_windows_hold_back_periodic_refreshes_only() -> Result<()> {
    // externalsecret.md 2.5, E105, E106, E107
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("a", "v1")]);
        let (never, always) = ("0 0 30 2 *", "@every 1h");
        let objects = [
            ("never", "allow", &[never][..]),
            ("denied", "deny", &[always]),
            ("broken", "allow", &["61 * * * *"]),
            ("always", "allow", &[never, always]),
            ("odd", "deny", &["* * * * 7"]),
        ];
        for (name, kind, schedules) in objects {
            let windows: Vec<Value> = schedules
                .iter()
                .map(|schedule| json!({ "schedule": schedule, "duration": "1h" }))
                .collect();
            let fields = [
                ("refreshInterval", json!("1s")),
                ("syncWindows", json!({ "kind": kind, "windows": windows })),
            ];
            rig.create(name, with("db", &fields)).await?;
            rig.synced(name).await?;
        }
        rig.shelf.put("db", &[("a", "v2")]);
        for name in ["always", "odd"] {
            rig.holds(name, &[("a", "v2")]).await?;
        }
        tokio::time::sleep(QUIET).await;
        for name in ["never", "denied", "broken"] {
            rig.holds(name, &[("a", "v1")]).await?;
            rig.synced(name).await?;
        }
        // Changes and repairs are not held back.
        rig.change("never", json!({ "metadata": { "labels": { "l": "1" } } }))
            .await?;
        tamper(&rig, "denied").await?;
        for name in ["never", "denied"] {
            rig.holds(name, &[("a", "v2")]).await?;
        }
        rig.stop().await
    })
}

#[test]
fn sync_notices_a_lost_label_at_the_next_reason_to_look() -> Result<()> {
    // externalsecret.md 2.1, 2.2 step 8
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("a", "v1")]);
        rig.create("web", extract("db")).await?;
        rig.synced("web").await?;
        let unlabel = Patch::Merge(json!({ "metadata": { "labels": { MANAGED: null } } }));
        rig.secrets
            .patch("web", &PatchParams::default(), &unlabel)
            .await?;
        tamper(&rig, "web").await?;
        tokio::time::sleep(QUIET).await;
        let secret = rig.holds("web", &[("a", "tampered")]).await?;
        ensure!(!secret.labels().contains_key(MANAGED));
        rig.change("web", json!({ "metadata": { "labels": { "l": "1" } } }))
            .await?;
        let secret = rig.holds("web", &[("a", "v1")]).await?;
        ensure!(secret.labels().get(MANAGED).map(String::as_str) == Some("true"));
        rig.stop().await
    })
}

#[test]
fn sync_looks_for_an_orphan_only_when_its_time_has_come() -> Result<()> {
    // externalsecret.md 2.10, E035, E036
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("a", "v1")]);
        let orphan = json!({ "creationPolicy": "Orphan", "immutable": true });
        let fields = |interval: &str| {
            [
                ("refreshInterval", json!(interval)),
                ("target", orphan.clone()),
            ]
        };
        rig.create("often", with("db", &fields("2s"))).await?;
        rig.create("rarely", with("db", &fields("1h"))).await?;
        for name in ["often", "rarely"] {
            rig.synced(name).await?;
            rig.secrets.delete(name, &DeleteParams::default()).await?;
        }
        let again = rig.holds("often", &[("a", "v1")]).await?;
        ensure!(again.immutable == Some(true));
        ensure!(rig.secrets.get_opt("rarely").await?.is_none());
        rig.delete("often").await?;
        tokio::time::sleep(QUIET).await;
        rig.holds("often", &[("a", "v1")]).await?;
        rig.stop().await
    })
}

#[test]
fn sync_leaves_cluster_stores_alone_where_they_are_switched_off() -> Result<()> {
    // externalsecret.md 2.2 step 4, E065
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start_with(&cx, |config| config.cluster_stores = false).await?;
        rig.shelf.put("db", &[("a", "v1")]);
        let mut spec = extract("db");
        spec["secretStoreRef"] = json!({
            "apiVersion": "secretstore.external-secrets.io/v2alpha1", "kind": "ClusterSecretStore", "name": "shelf",
        });
        rig.create("cluster", spec).await?;
        rig.create("namespaced", extract("db")).await?;
        rig.synced("namespaced").await?;
        tokio::time::sleep(QUIET).await;
        let object = rig.objects.get("cluster").await?;
        ensure!(
            object
                .status
                .is_none_or(|status| status.conditions.is_empty())
        );
        ensure!(rig.secrets.get_opt("cluster").await?.is_none());
        eventually(PATIENCE, "both series are 0", async || {
            let metrics = rig.metrics()?;
            let is_zero = |status: &str| {
                let start = "externalsecret_status_condition{name=\"cluster\"";
                let end = format!("condition=\"Ready\",status=\"{status}\"}} 0");
                metrics
                    .lines()
                    .any(|line| line.starts_with(start) && line.ends_with(&end))
            };
            Ok((is_zero("True") && is_zero("False")).then_some(()))
        })
        .await?;
        rig.stop().await
    })
}

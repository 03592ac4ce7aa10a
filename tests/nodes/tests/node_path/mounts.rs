//! What pods see.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use latchkey_cluster::either::test;
use latchkey_cluster::eventually;
use latchkey_e2e::{
    Planted, SYSTEM, ensure_installed, external_secret, fake, list, pod, store, volume,
};
use serde_json::{Value, json};

use crate::support::{
    PATIENCE, apply_pair, apply_values, file, file_becomes, mounts_of, pair, publishes, reader,
    sets_read, uid,
};

/// cluster.md 7.1, and attributes `items` and `defaultMode`.
#[test]
fn mount_shows_files_read_only_with_their_modes() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let (user, password) = (planted.plant(), planted.plant());
        apply_values(&cx, &[("user", &user), ("password", &password)], "1h").await?;
        let items = json!([
            {"key": "password", "path": "db/pw", "mode": "0400"},
            {"key": "user", "path": "name"},
        ])
        .to_string();
        cx.apply(&list(&[pod(
            "p",
            "n1",
            &[
                volume("plain", json!({"externalSecret": "es"})),
                volume(
                    "picked",
                    json!({"externalSecret": "es", "items": items, "defaultMode": "0440"}),
                ),
            ],
        )]))
        .await?;
        cx.pod_ready("p", PATIENCE).await?;
        ensure!(file(&cx, "p", "/plain/user").await? == user);
        ensure!(file(&cx, "p", "/plain/password").await? == password);
        ensure!(file(&cx, "p", "/picked/db/pw").await? == password);
        ensure!(file(&cx, "p", "/picked/name").await? == user);
        let listed = cx.pod_exec("p", &["ls", "/picked"]).await?;
        ensure!(listed.split_whitespace().eq(["db", "name"]), "{listed}");
        for (path, mode) in [
            ("/plain/user", "444 0 0"),
            ("/picked/db/pw", "400 0 0"),
            ("/picked/name", "440 0 0"),
        ] {
            let seen = cx
                .pod_exec("p", &["stat", "-L", "-c", "%a %u %g", path])
                .await?;
            ensure!(seen.trim() == mode, "{path}: {seen}");
        }
        for program in [
            ["touch", "/plain/new"],
            ["rm", "/plain/user"],
            ["touch", "/plain/..data/new"],
        ] {
            let refused = cx.pod_exec("p", &program).await;
            ensure!(
                refused.is_err_and(|error| format!("{error:#}").contains("Read-only file system")),
                "{program:?}"
            );
        }
        let mounts = cx.pod_exec("p", &["cat", "/proc/mounts"]).await?;
        let own = mounts.lines().find(|line| line.contains(" /plain "));
        ensure!(
            own.is_some_and(|line| line.contains(" tmpfs ro")),
            "{mounts}"
        );
        let uid = uid(&cx, "p").await?;
        ensure!(mounts_of(&cx, "n1", &uid)?.len() == 2);
        cx.kubectl(&["delete", "pod", "p"]).await?;
        eventually(PATIENCE, "the mounts go", async || {
            Ok(mounts_of(&cx, "n1", &uid)?.is_empty().then_some(()))
        })
        .await?;
        planted.assert_no_trace(&cx).await
    })
}

/// Both deliveries of one ExternalSecret, by agents on two nodes of which only the leader writes Secrets.
#[test]
fn secret_is_written_once_and_holds_the_bytes_of_the_volume() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let value = planted.plant();
        let mut both = external_secret("both", "s", &["key"], "1s");
        both["spec"]["target"]["creationPolicy"] = json!("Owner");
        cx.apply(&list(&[
            fake("f", &[("key", &value)], Value::Null),
            store("s", "f", "fake"),
            both,
            pod("p", "n2", &[volume("v", json!({"externalSecret": "both"}))]),
        ]))
        .await?;
        cx.pod_ready("p", PATIENCE).await?;
        ensure!(file(&cx, "p", "/v/key").await? == value);
        let secrets: Api<Secret> = Api::namespaced(cx.client(), cx.namespace());
        let secret = eventually(PATIENCE, "the Secret", async || {
            Ok(secrets.get_opt("both").await?)
        })
        .await?;
        let stored = secret.data.and_then(|mut data| data.remove("key"));
        ensure!(stored.is_some_and(|bytes| bytes.0 == value.as_bytes()));
        // Several refreshes on both sides.
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        let writes = cx
            .audit(SYSTEM, "latchkey-node")?
            .into_iter()
            .filter(|request| {
                let object = &request.object_ref;
                object.resource == "secrets"
                    && object.namespace == cx.namespace()
                    && !["get", "list", "watch"].contains(&request.verb.as_str())
            })
            .map(|request| request.verb)
            .collect::<Vec<_>>();
        ensure!(writes == ["create"], "{writes:?}");
        Ok(())
    })
}

/// The search for traces must be able to find some.
#[test]
fn a_planted_value_in_a_stored_object_is_found() -> Result<()> {
    test(async |cx| {
        let mut planted = Planted::new();
        let value = planted.plant();
        cx.apply(&list(&[json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "leak"},
            "stringData": {"key": format!("before {value} after")},
        })]))
        .await?;
        let found = planted.assert_no_trace(&cx).await;
        ensure!(found.is_err_and(|error| error.to_string().contains("/leak")));
        Ok(())
    })
}

/// cluster.md 7.2; csi-peers.md 4 (no id, podInfoOnMount false).
#[test]
fn mount_ignores_a_pod_namespace_that_the_pod_wrote_itself() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let (mine, foreign) = (planted.plant(), planted.plant());
        let other = cx.new_namespace("spoofed").await?;
        let manifests = list(&[
            fake("f", &[("key", &foreign)], Value::Null),
            store("s", "f", "fake"),
            external_secret("es", "s", &["key"], "1h"),
        ]);
        let mut foreign_manifests: Value = serde_json::from_str(&manifests)?;
        for item in foreign_manifests["items"]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            item["metadata"]["namespace"] = json!(other);
        }
        // `apply` names the test's namespace; manifests that name another one need a call of their own.
        apply_in(&cx, &other, &foreign_manifests.to_string()).await?;
        apply_values(&cx, &[("key", &mine)], "1h").await?;
        let spoofed = json!({"externalSecret": "es", "csi.storage.k8s.io/pod.namespace": other});
        cx.apply(&list(&[pod("p", "", &[volume("v", spoofed)])]))
            .await?;
        cx.pod_ready("p", PATIENCE).await?;
        let seen = file(&cx, "p", "/v/key").await?;
        cx.kubectl(&["delete", "namespace", &other, "--wait=false"])
            .await?;
        ensure!(
            seen == mine,
            "the pod was given a value of another namespace"
        );
        Ok(())
    })
}

async fn apply_in(cx: &latchkey_cluster::Context, namespace: &str, manifests: &str) -> Result<()> {
    let file = std::env::temp_dir().join(format!("latchkey-{namespace}.json"));
    std::fs::write(&file, manifests)?;
    let path = file.to_string_lossy().into_owned();
    let applied = cx
        .kubectl(&[
            "apply",
            "--server-side",
            "--namespace",
            namespace,
            "--filename",
            &path,
        ])
        .await;
    std::fs::remove_file(&file)?;
    applied.map(drop)
}

/// cluster.md 7.4.
#[test]
fn mount_is_readable_for_the_group_of_a_pod_that_is_not_root() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let value = planted.plant();
        apply_values(&cx, &[("key", &value)], "1h").await?;
        let mut manifest = pod("p", "", &[volume("v", json!({"externalSecret": "es"}))]);
        manifest["spec"]["securityContext"] =
            json!({"runAsUser": 1000, "runAsGroup": 1000, "runAsNonRoot": true, "fsGroup": 2000});
        cx.apply(&list(&[manifest])).await?;
        cx.pod_ready("p", PATIENCE).await?;
        ensure!(file(&cx, "p", "/v/key").await? == value);
        let seen = cx
            .pod_exec("p", &["stat", "-L", "-c", "%a %u %g", "/v/key"])
            .await?;
        ensure!(seen.trim() == "440 0 2000", "{seen}");
        Ok(())
    })
}

/// cluster.md 7.5; SB-24: logs, events, statuses and metrics of the agents tell no value.
#[test]
fn rotation_is_one_move_and_never_a_mixed_pair() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let first = planted.plant();
        apply_pair(&cx, &first, "1s").await?;
        cx.apply(&list(&[reader("p", "", json!({"externalSecret": "es"}))]))
            .await?;
        cx.pod_ready("p", PATIENCE).await?;
        for _ in 0..3 {
            let next = planted.plant();
            cx.apply(&list(&[pair(&next, Value::Null)])).await?;
            file_becomes(&cx, "p", "/v/b", &next).await?;
            ensure!(file(&cx, "p", "/v/a").await? == next);
        }
        // Refreshes without a change must not move anything.
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        let sets = sets_read(&cx, "p").await?;
        ensure!(sets == 4, "the reader saw {sets} sets instead of 4");
        planted.assert_no_trace(&cx).await
    })
}

/// cluster.md 7.6; SB-24: each change of the pod makes kubelet publish again.
#[test]
fn republish_under_a_failing_provider_leaves_the_volume_alone() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let value = planted.plant();
        apply_pair(&cx, &value, "1s").await?;
        cx.apply(&list(&[reader("p", "n1", json!({"externalSecret": "es"}))]))
            .await?;
        cx.pod_ready("p", PATIENCE).await?;
        let uid = uid(&cx, "p").await?;
        let before = mounts_of(&cx, "n1", &uid)?;
        let failing = json!({"failures": [{"code": "UNAVAILABLE", "message": "simulated"}]});
        cx.apply(&list(&[pair(&value, failing)])).await?;
        let published = publishes(&cx, "n1").await?;
        let mut round = 0;
        while publishes(&cx, "n1").await? < published + 20 {
            round += 1;
            ensure!(round < 60, "kubelet does not publish again");
            let label = format!("round={round}");
            cx.kubectl(&["label", "pod", "p", "--overwrite", &label])
                .await?;
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
        crate::support::event(&cx, "p", "SecretStale", &["files are"]).await?;
        ensure!(
            mounts_of(&cx, "n1", &uid)? == before,
            "the volume was mounted anew"
        );
        ensure!(sets_read(&cx, "p").await? == 1);
        let events = cx
            .kubectl(&["get", "events", "--field-selector=reason=FailedMount"])
            .await?;
        ensure!(!events.contains("pod/p "), "{events}");
        cx.apply(&list(&[pair(&value, Value::Null)])).await?;
        crate::support::event(&cx, "p", "SecretFresh", &[]).await?;
        planted.assert_no_trace(&cx).await
    })
}

/// Two nodes with the DaemonSet from the chart.
#[test]
fn mount_works_on_every_node() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let value = planted.plant();
        apply_values(&cx, &[("key", &value)], "1h").await?;
        let attributes = json!({"externalSecret": "es"});
        cx.apply(&list(&[
            pod("p1", "n1", &[volume("v", attributes.clone())]),
            pod("p2", "n2", &[volume("v", attributes)]),
        ]))
        .await?;
        for (name, node) in [("p1", "n1"), ("p2", "n2")] {
            cx.pod_ready(name, PATIENCE).await?;
            ensure!(file(&cx, name, "/v/key").await? == value);
            ensure!(mounts_of(&cx, node, &uid(&cx, name).await?)?.len() == 1);
        }
        Ok(())
    })
}

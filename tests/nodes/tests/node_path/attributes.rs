//! What pods ask for with `volumeAttributes` (csi.md 8).

use std::time::Duration;

use anyhow::{Result, ensure};
use latchkey_cluster::either::test;
use latchkey_cluster::{Context, eventually};
use latchkey_e2e::{Planted, ensure_installed, external_secret, fake, list, pod, store, volume};
use serde_json::{Value, json};

use crate::support::{PATIENCE, apply_values, event, file, file_becomes};

/// Longest wait for what a failed fetch brings: the pause before the next may have grown to a minute.
const PATIENCE_AFTER_FAILURES: Duration = Duration::from_secs(150);

/// Mode, owner and group of a file.
async fn look(cx: &Context, pod: &str, path: &str) -> Result<String> {
    let seen = cx
        .pod_exec(pod, &["stat", "-L", "-c", "%a %u %g", path])
        .await?;
    Ok(seen.trim().to_owned())
}

/// The names in a directory.
async fn names(cx: &Context, pod: &str, path: &str) -> Result<Vec<String>> {
    let listed = cx.pod_exec(pod, &["ls", path]).await?;
    Ok(listed.split_whitespace().map(str::to_owned).collect())
}

/// `data` with `secretStore`, from YAML and from JSON, without an ExternalSecret.
#[test]
fn attributes_with_inline_data_show_keys_of_a_store_and_rotate() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let (user, password, next) = (planted.plant(), planted.plant(), planted.plant());
        cx.apply(&list(&[
            fake(
                "f",
                &[("user", &user), ("password", &password)],
                Value::Null,
            ),
            store("s", "f", "fake"),
        ]))
        .await?;
        let yaml = "- secretKey: pw\n  remoteRef: {key: password, property: v}\n";
        let json = r#"[{"secretKey":"user","remoteRef":{"key":"user","property":"v"}},
                       {"secretKey":"pw","remoteRef":{"key":"password","property":"v"}}]"#;
        let fast = json!({"secretStore": "s", "data": yaml, "refreshInterval": "30s"});
        let picked = json!({
            "secretStore": "s", "secretStoreKind": "SecretStore", "data": json,
            "items": "[{key: pw, path: db/pw}]",
        });
        let volumes = [volume("fast", fast), volume("picked", picked)];
        cx.apply(&list(&[pod("p", "n1", &volumes)])).await?;
        cx.pod_ready("p", PATIENCE).await?;
        ensure!(names(&cx, "p", "/fast").await? == ["pw"]);
        ensure!(file(&cx, "p", "/fast/pw").await? == password);
        ensure!(names(&cx, "p", "/picked").await? == ["db"]);
        ensure!(file(&cx, "p", "/picked/db/pw").await? == password);
        let values = [("user", user.as_str()), ("password", next.as_str())];
        cx.apply(&list(&[fake("f", &values, Value::Null)])).await?;
        file_becomes(&cx, "p", "/fast/pw", &next).await?;
        planted.assert_no_trace(&cx).await
    })
}

/// A store that does not exist, and one key that does not.
#[test]
fn attributes_with_inline_data_that_fail_name_the_store() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        apply_values(&cx, &[("a", "1")], "1h").await?;
        let data = "[{secretKey: a, remoteRef: {key: nothing}}]";
        let attributes = json!({"secretStore": "s", "data": data});
        cx.apply(&list(&[pod("p", "n1", &[volume("v", attributes)])]))
            .await?;
        let store = format!("inline data of SecretStore {}/s", cx.namespace());
        event(&cx, "p", "SecretMountFailed", &[&store, "(key: nothing)"]).await?;
        Ok(())
    })
}

#[test]
fn attributes_optional_leave_out_what_is_missing_and_show_it_later() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        let absent = json!({"externalSecret": "later", "optional": "true"});
        let items = "[{key: a, path: a}, {key: nope, path: nope}]";
        let partly = json!({"externalSecret": "es", "optional": "true", "items": items});
        let missing = json!({"externalSecret": "both", "optional": "true"});
        apply_values(&cx, &[("a", "1")], "1h").await?;
        cx.apply(&list(&[
            external_secret("both", "s", &["a", "b"], "1h"),
            pod(
                "p",
                "n1",
                &[
                    volume("absent", absent),
                    volume("partly", partly),
                    volume("missing", missing),
                ],
            ),
        ]))
        .await?;
        cx.pod_ready("p", PATIENCE).await?;
        ensure!(names(&cx, "p", "/absent").await?.is_empty());
        ensure!(names(&cx, "p", "/partly").await? == ["a"]);
        ensure!(names(&cx, "p", "/missing").await? == ["a"]);
        cx.apply(&list(&[
            fake("f", &[("a", "1"), ("b", "2")], Value::Null),
            external_secret("later", "s", &["b"], "1h"),
        ]))
        .await?;
        for path in ["/absent/b", "/missing/b"] {
            eventually(PATIENCE_AFTER_FAILURES, &format!("{path} appears"), async || {
                Ok((file(&cx, "p", path).await.ok().as_deref() == Some("2")).then_some(()))
            })
            .await?;
        }
        ensure!(names(&cx, "p", "/missing").await? == ["a", "b"]);
        Ok(())
    })
}

/// Owners, groups and modes, with and without the group of the pod (csi.md 5.3).
#[test]
fn attributes_set_owner_group_and_modes() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        apply_values(&cx, &[("a", "1"), ("b", "2")], "1h").await?;
        let items = r#"[{"key": "a", "path": "a", "mode": "0400"}, {"key": "b", "path": "b"}]"#;
        let volumes = [
            volume("plain", json!({"externalSecret": "es"})),
            volume(
                "own",
                json!({"externalSecret": "es", "uid": "1000", "defaultMode": "0400"}),
            ),
            volume(
                "group",
                json!({"externalSecret": "es", "uid": "1000", "gid": "4000"}),
            ),
            volume(
                "mixed",
                json!({"externalSecret": "es", "items": items, "gid": "4000", "defaultMode": "0640"}),
            ),
        ];
        let mut grouped = pod("grouped", "n1", &volumes);
        grouped["spec"]["securityContext"] = json!({"fsGroup": 3000});
        cx.apply(&list(&[pod("alone", "n1", &volumes), grouped]))
            .await?;
        for (name, expected) in [
            (
                "alone",
                [
                    ("/plain/a", "444 0 0"),
                    ("/own/a", "400 1000 0"),
                    ("/group/a", "440 1000 4000"),
                    ("/mixed/a", "400 0 4000"),
                    ("/mixed/b", "640 0 4000"),
                ],
            ),
            (
                "grouped",
                [
                    ("/plain/a", "440 0 3000"),
                    ("/own/a", "400 1000 3000"),
                    ("/group/a", "440 1000 4000"),
                    ("/mixed/a", "400 0 4000"),
                    ("/mixed/b", "640 0 4000"),
                ],
            ),
        ] {
            cx.pod_ready(name, PATIENCE).await?;
            for (path, wanted) in expected {
                let seen = look(&cx, name, path).await?;
                ensure!(seen == wanted, "{name} {path}: {seen}, not {wanted}");
            }
        }
        Ok(())
    })
}

/// Content above the limit of one volume; another shows the same within its own.
#[test]
fn attributes_size_limit_refuses_what_is_larger_for_that_volume_alone() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        let large = "x".repeat(3000);
        apply_values(&cx, &[("a", &large)], "1h").await?;
        let limited =
            |limit: &str| volume("v", json!({"externalSecret": "es", "sizeLimit": limit}));
        cx.apply(&list(&[
            pod("small", "n1", &[limited("2Ki")]),
            pod("large", "n1", &[limited("3Ki")]),
            pod("excessive", "n1", &[limited("1Gi")]),
        ]))
        .await?;
        cx.pod_ready("large", PATIENCE).await?;
        ensure!(file(&cx, "large", "/v/a").await? == large);
        let parts = ["3000 bytes are more than the volume's limit of 2048 bytes"];
        event(&cx, "small", "FailedMount", &parts).await?;
        let parts = ["attribute sizeLimit is 1073741824 bytes, above the 16777216 bytes"];
        event(&cx, "excessive", "FailedMount", &parts).await?;
        Ok(())
    })
}

/// An ExternalSecret that is never refreshed by itself, shown by a volume that asks for it.
#[test]
fn attributes_refresh_interval_of_a_volume_serves_all_that_show_the_same() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        apply_values(&cx, &[("a", "1")], "0s").await?;
        let plain = json!({"externalSecret": "es"});
        let asking = json!({"externalSecret": "es", "refreshInterval": "30s"});
        cx.apply(&list(&[pod("plain", "n1", &[volume("v", plain)])]))
            .await?;
        cx.pod_ready("plain", PATIENCE).await?;
        cx.apply(&list(&[fake("f", &[("a", "2")], Value::Null)]))
            .await?;
        ensure!(file(&cx, "plain", "/v/a").await? == "1");
        cx.apply(&list(&[pod("asking", "n1", &[volume("v", asking)])]))
            .await?;
        for name in ["asking", "plain"] {
            cx.pod_ready(name, PATIENCE).await?;
            file_becomes(&cx, name, "/v/a", "2").await?;
        }
        Ok(())
    })
}

/// A mistake is told to the pod's author, with what was probably meant.
#[test]
fn attributes_that_are_unknown_are_told_with_the_nearest_known() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        let attributes = json!({"externalSecret": "es", "defaultmode": "0400"});
        cx.apply(&list(&[pod("p", "n1", &[volume("v", attributes)])]))
            .await?;
        let parts = ["unknown attribute defaultmode; did you mean defaultMode?"];
        event(&cx, "p", "FailedMount", &parts).await?;
        Ok(())
    })
}

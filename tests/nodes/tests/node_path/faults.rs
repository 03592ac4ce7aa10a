//! Bad input and providers that are away.

use anyhow::{Result, ensure};
use latchkey_cluster::either::test;
use latchkey_e2e::{
    Planted, SYSTEM, ensure_installed, external_secret, fake, helm_install_provider, list, pod,
    store, volume,
};
use serde_json::{Value, json};

use crate::support::{PATIENCE, apply_values, event, file, mounts_of, uid};

#[test]
fn refused_volumes_say_why_and_mount_nothing() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let value = planted.plant();
        apply_values(&cx, &[("key", &value)], "1h").await?;
        let items = |path: &str| json!([{"key": "key", "path": path}]).to_string();
        let mut writable = volume("v", json!({"externalSecret": "es"}));
        writable["csi"]["readOnly"] = json!(false);
        let refused = [
            (
                "unknown",
                volume("v", json!({"externalSecret": "es", "defaultmode": "0400"})),
                "InvalidArgument",
                "unknown attribute defaultmode; did you mean defaultMode?",
            ),
            (
                "no-bool",
                volume("v", json!({"externalSecret": "es", "optional": "yes"})),
                "InvalidArgument",
                "attribute optional is neither \"true\" nor \"false\"",
            ),
            (
                "writable",
                writable,
                "InvalidArgument",
                "set readOnly: true",
            ),
            (
                "dots",
                volume(
                    "v",
                    json!({"externalSecret": "es", "items": items("../../etc/cron.d/x")}),
                ),
                "InvalidArgument",
                "begins with",
            ),
            (
                "absolute",
                volume(
                    "v",
                    json!({"externalSecret": "es", "items": items("/etc/passwd")}),
                ),
                "InvalidArgument",
                "is absolute",
            ),
            (
                "reserved",
                volume(
                    "v",
                    json!({"externalSecret": "es", "items": items("..data/key")}),
                ),
                "InvalidArgument",
                "begins with",
            ),
            (
                "no-key",
                volume(
                    "v",
                    json!({"externalSecret": "es", "items": json!([{"key": "other", "path": "x"}]).to_string()}),
                ),
                "FailedPrecondition",
                "has no key \"other\"",
            ),
            (
                "missing",
                volume("v", json!({"externalSecret": "nowhere"})),
                "NotFound",
                "nowhere not found",
            ),
        ];
        let pods: Vec<Value> = refused
            .iter()
            .map(|(name, volume, _, _)| pod(name, "n1", std::slice::from_ref(volume)))
            .collect();
        cx.apply(&list(&pods)).await?;
        for (name, _, code, text) in &refused {
            event(&cx, name, "FailedMount", &[code, text]).await?;
            ensure!(
                mounts_of(&cx, "n1", &uid(&cx, name).await?)?.is_empty(),
                "{name} is mounted"
            );
        }
        event(&cx, "missing", "SecretMountFailed", &["nowhere not found"]).await?;
        planted.assert_no_trace(&cx).await
    })
}

/// Things are applied in any order.
#[test]
fn first_mount_waits_for_an_external_secret_that_comes_later() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let value = planted.plant();
        cx.apply(&list(&[pod(
            "p",
            "",
            &[volume("v", json!({"externalSecret": "es"}))],
        )]))
        .await?;
        event(&cx, "p", "SecretMountFailed", &["es not found"]).await?;
        apply_values(&cx, &[("key", &value)], "1h").await?;
        cx.pod_ready("p", PATIENCE).await?;
        ensure!(file(&cx, "p", "/v/key").await? == value);
        Ok(())
    })
}

#[test]
fn a_broken_external_secret_or_store_never_disturbs_another() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let value = planted.plant();
        let mut unsupported = external_secret("unsupported", "s", &["key"], "1h");
        unsupported["spec"]["dataFrom"] =
            json!([{"sourceRef": {"generatorRef": {"kind": "UUID", "name": "u"}}}]);
        cx.apply(&list(&[
            fake("f", &[("key", &value)], Value::Null),
            store("s", "f", "fake"),
            store("nobody", "f", "nobody"),
            external_secret("es", "s", &["key"], "1s"),
            external_secret("lost", "nobody", &["key"], "1s"),
            external_secret("absent", "s", &["nothing"], "1s"),
            unsupported,
        ]))
        .await?;
        let names = ["es", "lost", "absent", "unsupported"];
        let pods: Vec<Value> = names
            .iter()
            .map(|name| pod(name, "n1", &[volume("v", json!({"externalSecret": name}))]))
            .collect();
        cx.apply(&list(&pods)).await?;
        cx.pod_ready("es", PATIENCE).await?;
        ensure!(file(&cx, "es", "/v/key").await? == value);
        event(
            &cx,
            "unsupported",
            "FailedMount",
            &[
                "FailedPrecondition",
                "UUID \"u\" of generators.external-secrets.io/v1alpha1 cannot be used by itself",
            ],
        )
        .await?;
        event(
            &cx,
            "absent",
            "FailedMount",
            &["NotFound", "Secret does not exist"],
        )
        .await?;
        event(&cx, "lost", "SecretMountFailed", &[]).await?;
        for name in &names[1..] {
            ensure!(
                mounts_of(&cx, "n1", &uid(&cx, name).await?)?.is_empty(),
                "{name} is mounted"
            );
        }
        planted.assert_no_trace(&cx).await
    })
}

/// A provider of its own, scaled to nothing and back: its Service stays, connections are refused.
#[test]
fn provider_down_holds_back_a_first_mount_and_leaves_mounted_files() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let value = planted.plant();
        helm_install_provider(&cx, "wobbly", &["--set=replicaCount=1"]).await?;
        let scale = async |replicas: &str| {
            let replicas = format!("--replicas={replicas}");
            cx.kubectl(&[
                "scale",
                "deployment",
                "provider-wobbly",
                &replicas,
                "--namespace",
                SYSTEM,
            ])
            .await
        };
        cx.apply(&list(&[
            fake("f", &[("key", &value)], Value::Null),
            store("s", "f", "wobbly"),
            external_secret("es", "s", &["key"], "2s"),
        ]))
        .await?;
        cx.kubectl(&[
            "wait",
            "--for=condition=Ready",
            "secretstores.secretstore.external-secrets.io/s",
            "--timeout=60s",
        ])
        .await?;
        scale("0").await?;
        cx.kubectl(&[
            "wait",
            "--for=delete",
            "pod",
            "--selector=app.kubernetes.io/instance=wobbly",
            "--namespace",
            SYSTEM,
            "--timeout=60s",
        ])
        .await?;
        let attributes = json!({"externalSecret": "es"});
        cx.apply(&list(&[pod("p", "n1", &[volume("v", attributes.clone())])]))
            .await?;
        event(&cx, "p", "SecretMountFailed", &[]).await?;
        ensure!(mounts_of(&cx, "n1", &uid(&cx, "p").await?)?.is_empty());
        scale("1").await?;
        cx.pod_ready("p", 2 * PATIENCE).await?;
        ensure!(file(&cx, "p", "/v/key").await? == value);

        scale("0").await?;
        event(&cx, "p", "SecretStale", &["files are"]).await?;
        ensure!(file(&cx, "p", "/v/key").await? == value);
        scale("1").await?;
        event(&cx, "p", "SecretFresh", &[]).await?;
        ensure!(file(&cx, "p", "/v/key").await? == value);
        cx.helm(&["uninstall", "wobbly", "--namespace", SYSTEM])
            .await?;
        planted.assert_no_trace(&cx).await
    })
}

//! A provider that is away while the agent of a node starts anew.

use anyhow::{Result, ensure};
use latchkey_cluster::{Context, test_alone};
use latchkey_e2e::{
    Planted, SYSTEM, ensure_installed, external_secret, fake, helm_install_provider, list, pod,
    store, volume,
};
use serde_json::{Value, json};

use crate::support::{PATIENCE, event, file, mounts_of, replace_agent, uid};

/// csi.md 6.5. The agent that served the first pod is killed, and the one that takes its place cannot fetch anything: what it has is
/// the first pod's volume. Who may start with older content gets that, who may not waits for the provider.
#[test]
fn a_pod_may_start_with_what_a_live_volume_shows_after_a_restart_in_an_outage() -> Result<()> {
    test_alone(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let value = planted.plant();
        helm_install_provider(&cx, "away", &["--set=replicaCount=1"]).await?;
        let attributes = json!({"externalSecret": "es"});
        cx.apply(&list(&[
            fake("f", &[("key", &value)], Value::Null),
            store("s", "f", "away"),
            external_secret("es", "s", &["key"], "1h"),
            pod("first", "n1", &[volume("v", attributes.clone())]),
        ]))
        .await?;
        cx.pod_ready("first", PATIENCE).await?;
        let mounts = mounts_of(&cx, "n1", &uid(&cx, "first").await?)?;
        scale(&cx, 0).await?;
        replace_agent(&cx, "n1").await?;

        let mut allowed = attributes.clone();
        allowed["startPolicy"] = json!("AllowCached");
        cx.apply(&list(&[
            pod("fresh", "n1", &[volume("v", attributes)]),
            pod("cached", "n1", &[volume("v", allowed)]),
        ]))
        .await?;
        cx.pod_ready("cached", 2 * PATIENCE).await?;
        ensure!(file(&cx, "cached", "/v/key").await? == value);
        event(&cx, "cached", "SecretStale", &["files are"]).await?;
        event(&cx, "fresh", "SecretMountFailed", &[]).await?;
        ensure!(mounts_of(&cx, "n1", &uid(&cx, "fresh").await?)?.is_empty());
        ensure!(mounts_of(&cx, "n1", &uid(&cx, "first").await?)? == mounts);
        ensure!(file(&cx, "first", "/v/key").await? == value);

        scale(&cx, 1).await?;
        cx.pod_ready("fresh", 2 * PATIENCE).await?;
        ensure!(file(&cx, "fresh", "/v/key").await? == value);
        event(&cx, "cached", "SecretFresh", &[]).await?;
        cx.helm(&["uninstall", "away", "--namespace", SYSTEM])
            .await?;
        planted.assert_no_trace(&cx).await
    })
}

/// Has this many servers of the provider run; returns when none is left, if none is to be.
async fn scale(cx: &Context, replicas: usize) -> Result<()> {
    let replicas = format!("--replicas={replicas}");
    cx.kubectl(&[
        "scale",
        "deployment",
        "provider-away",
        &replicas,
        "--namespace",
        SYSTEM,
    ])
    .await?;
    if replicas.ends_with("=0") {
        cx.kubectl(&[
            "wait",
            "--for=delete",
            "pod",
            "--selector=app.kubernetes.io/instance=away",
            "--namespace",
            SYSTEM,
            "--timeout=60s",
        ])
        .await?;
    }
    Ok(())
}

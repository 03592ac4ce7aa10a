//! What whoever administers a node sees and does, with the agent's own binary in its own container.

use anyhow::{Context as _, Result, ensure};
use latchkey_cluster::either::test;
use latchkey_cluster::{Context, eventually};
use latchkey_e2e::{Planted, SYSTEM, agent_pod, ensure_installed, list, pod, volume};
use serde_json::{Value, json};

use crate::support::{PATIENCE, apply_values, file, mounts_of, uid};

/// Runs `latchkey node` in the container of the agent on a node.
async fn node_command(cx: &Context, node: &str, arguments: &[&str]) -> Result<String> {
    let name = agent_pod(cx, node).await?.metadata.name;
    let name = name.context("a pod has a name")?;
    let command = [
        "exec",
        "--namespace",
        SYSTEM,
        &name,
        "--",
        "/latchkey",
        "node",
    ];
    let all: Vec<&str> = command
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    cx.kubectl(&all).await
}

/// The volumes of the test's namespace on a node.
async fn volumes(cx: &Context, node: &str) -> Result<Vec<Value>> {
    let text = node_command(cx, node, &["volumes", "-o", "json"]).await?;
    let all: Vec<Value> = serde_json::from_str(&text).context("the output is JSON")?;
    let is_own = |volume: &Value| volume["namespace"] == cx.namespace();
    Ok(all.into_iter().filter(is_own).collect())
}

/// csi.md 10: the state of each volume by `latchkey node volumes`; csi.md 7.4: a running pod's volume is not taken away.
#[test]
fn volumes_of_a_node_are_listed_and_kept_while_their_pod_runs() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let value = planted.plant();
        apply_values(&cx, &[("key", &value)], "1h").await?;
        let volumes_of_pod = [volume("v", json!({"externalSecret": "es"}))];
        cx.apply(&list(&[pod("p", "n1", &volumes_of_pod)])).await?;
        cx.pod_ready("p", PATIENCE).await?;

        let shown = volumes(&cx, "n1").await?;
        let [one] = &shown[..] else {
            anyhow::bail!("expected one volume: {shown:?}");
        };
        ensure!(one["pod"] == "p" && one["volume"] == "v", "{one}");
        ensure!(
            one["source"] == "ExternalSecret/es" && one["state"] == "ok",
            "{one}"
        );
        ensure!(one["lastError"].is_null(), "{one}");
        ensure!(
            one["ageSeconds"].is_u64() && one["nextRefreshSeconds"].is_u64(),
            "{one}"
        );
        let shows = cx.pod_exec("p", &["readlink", "/v/..data"]).await?;
        ensure!(one["generation"] == shows.trim(), "{one}, {shows}");
        ensure!(!one.to_string().contains(&value));
        ensure!(volumes(&cx, "n2").await?.is_empty());
        let table = node_command(&cx, "n1", &["volumes"]).await?;
        ensure!(
            table.starts_with("NAMESPACE") && table.contains("ExternalSecret/es"),
            "{table}"
        );

        let of_pod = format!("{}/p", cx.namespace());
        let kept = node_command(&cx, "n1", &["release", "--pod", &of_pod]).await;
        let kept = format!(
            "{:#}",
            kept.err().context("a running pod's volume was released")?
        );
        ensure!(kept.contains("1 kept, 0 failed"), "{kept}");
        ensure!(file(&cx, "p", "/v/key").await? == value);

        let uid = uid(&cx, "p").await?;
        cx.kubectl(&["delete", "pod", "p"]).await?;
        eventually(PATIENCE, "the volume goes", async || {
            let gone = mounts_of(&cx, "n1", &uid)?.is_empty();
            Ok((gone && volumes(&cx, "n1").await?.is_empty()).then_some(()))
        })
        .await?;
        let nothing = node_command(&cx, "n1", &["release", "--pod", &of_pod]).await?;
        ensure!(nothing.contains("nothing to release"), "{nothing}");
        planted.assert_no_trace(&cx).await
    })
}

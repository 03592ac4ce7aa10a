//! Many pods at once.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use latchkey_cluster::either::test_alone;
use latchkey_cluster::{Context, eventually};
use latchkey_e2e::{ensure_installed, list, pod, volume};
use serde_json::{Value, json};

use crate::support::{QUIET, apply_values, replace_agent};

/// Pods on each of the two nodes.
const PODS: usize = 50;

/// Restarts of each node's agent while the pods come, and again while they go.
const RESTARTS: usize = 5;

/// Longest time for all pods to come, or to go, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// cluster.md 7.13: a hundred pods at once, all deleted, twenty restarts of agents meanwhile: mounts and states before are those
/// after.
#[test]
fn a_hundred_pods_come_and_go_while_agents_are_killed() -> Result<()> {
    test_alone(async |cx| {
        ensure_installed(&cx).await?;
        apply_values(&cx, &[("key", "value")], "1h").await?;
        // Pods of other tests may still be on their way out.
        nothing_left(&cx).await?;
        let _noise = QUIET.write().await;
        let pods: Vec<Value> = ["n1", "n2"]
            .iter()
            .flat_map(|node| (0..PODS).map(move |number| small(&format!("{node}-{number}"), node)))
            .collect();
        cx.apply(&list(&pods)).await?;
        let (one, two, all) = tokio::join!(
            restarts(&cx, "n1"),
            restarts(&cx, "n2"),
            count_becomes(&cx, 2 * PODS)
        );
        one.and(two).and(all)?;
        for node in ["n1", "n2"] {
            let now = left(&cx, node)?;
            ensure!(now == (PODS, PODS), "{node} has {now:?} mounts and states");
        }
        let api: Api<Pod> = Api::namespaced(cx.client(), cx.namespace());
        api.delete_collection(&DeleteParams::default(), &ListParams::default())
            .await?;
        let (one, two, none) = tokio::join!(
            restarts(&cx, "n1"),
            restarts(&cx, "n2"),
            count_becomes(&cx, 0)
        );
        one.and(two).and(none)?;
        nothing_left(&cx).await
    })
}

async fn nothing_left(cx: &Context) -> Result<()> {
    eventually(PATIENCE, "no mounts and no states", async || {
        let now = [left(cx, "n1")?, left(cx, "n2")?];
        ensure!(now == [(0, 0); 2], "mounts and states: {now:?}");
        Ok(Some(()))
    })
    .await
}

/// A pod that costs little: no network of its own, no token.
fn small(name: &str, node: &str) -> Value {
    let mut pod = pod(name, node, &[volume("v", json!({"externalSecret": "es"}))]);
    pod["spec"]["hostNetwork"] = json!(true);
    pod["spec"]["automountServiceAccountToken"] = json!(false);
    pod
}

async fn restarts(cx: &Context, node: &str) -> Result<()> {
    for _ in 0..RESTARTS {
        replace_agent(cx, node).await?;
    }
    Ok(())
}

/// Mounts of the driver on a node, and states that it keeps.
fn left(cx: &Context, node: &str) -> Result<(usize, usize)> {
    let mounts = cx.cluster().mounts(node)?;
    let mounts = mounts.lines().filter(|line| line.contains(" latchkey "));
    let states = format!(
        "{}/plugins/csi.latchkey.dev/volumes",
        cx.cluster().kubelet_root(node)?
    );
    let states = std::fs::read_dir(cx.node_path(node, &states)?)
        .with_context(|| format!("no states on {node}"))?;
    Ok((mounts.count(), states.count()))
}

/// Waits until so many pods are ready, and no others are there. Looks once a second: the list is long.
async fn count_becomes(cx: &Context, count: usize) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(cx.client(), cx.namespace());
    eventually(PATIENCE, &format!("{count} pods are ready"), async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let pods = api.list(&ListParams::default()).await?.items;
        let is_ready = |pod: &&Pod| {
            let status = pod.status.as_ref();
            let conditions = status.and_then(|status| status.conditions.as_ref());
            let mut conditions = conditions.into_iter().flatten();
            conditions.any(|one| one.type_ == "Ready" && one.status == "True")
        };
        let ready = pods.iter().filter(is_ready).count();
        if (pods.len(), ready) != (count, count) {
            bail!("{ready} of {} pods are ready", pods.len());
        }
        Ok(Some(()))
    })
    .await
}

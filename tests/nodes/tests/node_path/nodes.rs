//! Nodes that reboot, and pods that are taken away behind kubelet's back.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use latchkey_cluster::either::test_alone;
use latchkey_cluster::{Context, eventually};
use latchkey_e2e::{agent_pod, ensure_installed, list, pod, volume};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{
    PATIENCE, apply_values, call_agents_back, event, file, mounts_of, nothing_is_left,
    send_agents_away, uid,
};

/// cluster.md 7.11: everything on a node stops, its volumes are gone, and kubelet is up before the agent.
#[test]
fn pods_come_back_by_themselves_after_a_reboot() -> Result<()> {
    test_alone(async |cx| {
        ensure_installed(&cx).await?;
        apply_values(&cx, &[("key", "value")], "1h").await?;
        cx.apply(&list(&[pod(
            "p",
            "n2",
            &[volume("v", json!({"externalSecret": "es"}))],
        )]))
        .await?;
        cx.pod_ready("p", PATIENCE).await?;
        let uid_before = uid(&cx, "p").await?;
        send_agents_away(&cx).await?;
        let rebooted = reboot(&cx, "n2", &uid_before).await;
        let missing = match &rebooted {
            Ok(()) => {
                let text = "not found in the list of registered CSI drivers";
                event(&cx, "p", "FailedMount", &[text]).await.map(drop)
            }
            Err(_) => Ok(()),
        };
        // Whatever was found: others need the agents.
        call_agents_back(&cx).await?;
        for node in ["n1", "n2"] {
            agent_pod(&cx, node).await?;
        }
        rebooted?;
        missing?;
        let pods: Api<Pod> = Api::namespaced(cx.client(), cx.namespace());
        eventually(2 * PATIENCE, "the pod runs again", async || {
            let status = pods.get("p").await?.status.unwrap_or_default();
            let containers = status.container_statuses.unwrap_or_default();
            let again = containers
                .iter()
                .any(|one| one.ready && one.restart_count > 0);
            Ok(again.then_some(()))
        })
        .await?;
        ensure!(uid(&cx, "p").await? == uid_before);
        ensure!(file(&cx, "p", "/v/key").await? == "value");
        ensure!(mounts_of(&cx, "n2", &uid_before)?.len() == 1);
        // An earlier boot's volume is not lost: nobody took it away.
        let events = cx
            .kubectl(&["get", "events", "--field-selector=reason=VolumeLost"])
            .await?;
        ensure!(!events.contains("pod/p"), "{events}");
        Ok(())
    })
}

/// What a reboot does, as far as one kernel can show it: processes and tmpfs go, files and dead sockets stay. The boot that states
/// were written in is changed instead of the kernel's.
async fn reboot(cx: &Context, node: &str, uid: &str) -> Result<()> {
    let kubelet = format!("{node}/kubelet");
    let containerd = format!("{node}/containerd");
    cx.cluster().stop(&kubelet, Signal::SIGKILL).await?;
    let tasks = cx
        .cluster()
        .ctr(node)?
        .args(["task", "ls", "--quiet"])
        .output()?;
    for task in String::from_utf8_lossy(&tasks.stdout).lines() {
        let mut kill = cx.cluster().ctr(node)?;
        // Some are dead already.
        kill.args(["task", "kill", "--signal", "SIGKILL", task])
            .output()?;
    }
    cx.cluster().stop(&containerd, Signal::SIGKILL).await?;
    for mount in mounts_of(cx, node, uid)? {
        let point = mount.split(' ').nth(4).unwrap_or_default();
        cx.on_node(node, &["umount", "-l", point]).await?;
    }
    let states = format!(
        "{}/plugins/csi.latchkey.dev/volumes",
        cx.cluster().kubelet_root(node)?
    );
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let earlier = format!("sed -i s/{}/earlier/ {states}/*.json", boot.trim());
    cx.on_node(node, &["sh", "-c", &earlier]).await?;
    let before = boots(cx, node)?;
    cx.cluster().start_again(&containerd).await?;
    // kubelet ends where nobody answers it, and nothing starts it again here.
    eventually(PATIENCE, "containerd is ready", async || {
        Ok((boots(cx, node)? > before).then_some(()))
    })
    .await?;
    cx.cluster().start_again(&kubelet).await
}

/// How often a node's containerd was ready so far: it answers its socket a moment earlier, but kubelet with an error.
fn boots(cx: &Context, node: &str) -> Result<usize> {
    let log = cx.cluster().layout().logs();
    let log = std::fs::read_to_string(log.join(format!("{node}-containerd.log")))?;
    Ok(log.matches("containerd successfully booted").count())
}

/// cluster.md 7.12: kubelet finds a running container and a volume of a pod that nobody knows, and ends both.
#[test]
fn pod_force_deleted_while_kubelet_is_down_is_swept() -> Result<()> {
    test_alone(async |cx| {
        ensure_installed(&cx).await?;
        apply_values(&cx, &[("key", "value")], "1h").await?;
        cx.apply(&list(&[pod(
            "p",
            "n2",
            &[volume("v", json!({"externalSecret": "es"}))],
        )]))
        .await?;
        cx.pod_ready("p", PATIENCE).await?;
        let uid = uid(&cx, "p").await?;
        cx.cluster().stop("n2/kubelet", Signal::SIGKILL).await?;
        let deleted = cx
            .kubectl(&["delete", "pod", "p", "--force", "--grace-period=0"])
            .await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let held = mounts_of(&cx, "n2", &uid);
        // Whatever was found: others need the node.
        cx.cluster().start_again("n2/kubelet").await?;
        deleted?;
        ensure!(held?.len() == 1, "the volume went without kubelet");
        nothing_is_left(&cx, "n2", &uid).await
    })
}

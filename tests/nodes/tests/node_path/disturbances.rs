//! The agent or kubelet goes away while pods run.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use latchkey_cluster::either::test_alone;
use latchkey_e2e::{Planted, agent_pod, ensure_installed, list, pod, volume};
use serde_json::{Value, json};

use crate::support::{
    PATIENCE, QUIET, apply_pair, call_agents_back, file, file_becomes, kill_agent, mounts_of, pair,
    pod_goes, reader, send_agents_away, sets_read, uid,
};

/// cluster.md 7.8, idle.
#[test]
fn agent_killed_while_idle_changes_nothing_that_a_pod_sees() -> Result<()> {
    test_alone(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let first = planted.plant();
        apply_pair(&cx, &first, "2s").await?;
        let attributes = json!({"externalSecret": "es"});
        cx.apply(&list(&[reader("p", "n1", attributes.clone())]))
            .await?;
        cx.pod_ready("p", PATIENCE).await?;
        let uid = uid(&cx, "p").await?;
        let before = mounts_of(&cx, "n1", &uid)?;
        kill_agent(&cx, "n1").await?;
        ensure!(
            mounts_of(&cx, "n1", &uid)? == before,
            "the volume was mounted anew"
        );
        ensure!(sets_read(&cx, "p").await? == 1);
        // The new process follows what the old one mounted, and serves new pods.
        let next = planted.plant();
        cx.apply(&list(&[
            pair(&next, Value::Null),
            pod("new", "n1", &[volume("v", attributes)]),
        ]))
        .await?;
        file_becomes(&cx, "p", "/v/a", &next).await?;
        cx.pod_ready("new", PATIENCE).await?;
        ensure!(file(&cx, "new", "/v/a").await? == next);
        ensure!(sets_read(&cx, "p").await? == 2);
        planted.assert_no_trace(&cx).await
    })
}

/// How long nobody answers kubelet.
const ABSENCE: Duration = Duration::from_secs(60);

/// kubelet tries to unmount at growing distances: a pod that goes earlier would test its patience, not the agent.
const LAST_MOMENTS: Duration = Duration::from_secs(4);

/// cluster.md 7.10, 7.8 (absent for 60 s); csi-peers.md 3 (SSCSID#895, #1079, #1582). Who runs reads on, and
/// what changes meanwhile arrives afterwards.
#[test]
fn pod_deleted_while_the_agent_is_away_goes_within_10_s_of_its_return() -> Result<()> {
    test_alone(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let (value, next) = (planted.plant(), planted.plant());
        apply_pair(&cx, &value, "2s").await?;
        let attributes = json!({"externalSecret": "es"});
        cx.apply(&list(&[
            reader("stays", "n1", attributes.clone()),
            pod("goes", "n1", &[volume("v", attributes)]),
        ]))
        .await?;
        cx.pod_ready("stays", PATIENCE).await?;
        cx.pod_ready("goes", PATIENCE).await?;
        let uid = uid(&cx, "goes").await?;

        send_agents_away(&cx).await?;
        let changed = cx.apply(&list(&[pair(&next, Value::Null)])).await;
        tokio::time::sleep(ABSENCE.saturating_sub(LAST_MOMENTS)).await;
        let quiet = QUIET.read().await;
        cx.kubectl(&["delete", "pod", "goes", "--wait=false"])
            .await?;
        tokio::time::sleep(LAST_MOMENTS).await;
        let held = mounts_of(&cx, "n1", &uid)?;
        let log = sets_read(&cx, "stays").await;
        call_agents_back(&cx).await?;
        agent_pod(&cx, "n1").await?;
        let returned = Instant::now();
        pod_goes(&cx, "goes").await?;
        let took = returned.elapsed();
        drop(quiet);
        agent_pod(&cx, "n2").await?;
        ensure!(held.len() == 1, "the volume went without an agent");
        ensure!(
            took < Duration::from_secs(10),
            "the pod took {took:?} to go"
        );
        ensure!(mounts_of(&cx, "n1", &uid)?.is_empty());
        changed?;
        ensure!(log? == 1, "the volume changed without an agent");
        file_becomes(&cx, "stays", "/v/a", &next).await?;
        ensure!(sets_read(&cx, "stays").await? == 2);
        planted.assert_no_trace(&cx).await
    })
}

/// cluster.md 7.9.
#[test]
fn kubelet_restart_registers_again_and_mounts_nothing_anew() -> Result<()> {
    test_alone(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let value = planted.plant();
        apply_pair(&cx, &value, "1h").await?;
        let attributes = json!({"externalSecret": "es"});
        cx.apply(&list(&[reader("p", "n1", attributes.clone())]))
            .await?;
        cx.pod_ready("p", PATIENCE).await?;
        let uid = uid(&cx, "p").await?;
        let before = mounts_of(&cx, "n1", &uid)?;
        cx.cluster().restart_kubelet("n1").await?;
        cx.apply(&list(&[pod("new", "n1", &[volume("v", attributes)])]))
            .await?;
        cx.pod_ready("new", PATIENCE).await?;
        ensure!(file(&cx, "new", "/v/a").await? == value);
        ensure!(
            mounts_of(&cx, "n1", &uid)? == before,
            "the volume was mounted anew"
        );
        ensure!(sets_read(&cx, "p").await? == 1);
        Ok(())
    })
}

//! The agent or kubelet goes away while pods run.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use latchkey_cluster::{eventually, test_alone};
use latchkey_e2e::{AGENT, Planted, SYSTEM, agent_pod, ensure_installed, fake, list, pod, volume};
use serde_json::{Value, json};

use crate::support::{
    PATIENCE, apply_values, file, file_becomes, kill_agent, mounts_of, reader, sets_read, uid,
};

/// Scenario 8, idle.
#[test]
fn agent_killed_while_idle_changes_nothing_that_a_pod_sees() -> Result<()> {
    test_alone(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let first = planted.plant();
        apply_values(&cx, &[("a", &first), ("b", &first)], "2s").await?;
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
            fake("f", &[("a", &next), ("b", &next)], Value::Null),
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

/// Scenario 10.
#[test]
fn pod_deleted_while_the_agent_is_away_goes_within_10_s_of_its_return() -> Result<()> {
    test_alone(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let value = planted.plant();
        apply_values(&cx, &[("a", &value), ("b", &value)], "1h").await?;
        let attributes = json!({"externalSecret": "es"});
        cx.apply(&list(&[
            reader("stays", "n1", attributes.clone()),
            pod("goes", "n1", &[volume("v", attributes)]),
        ]))
        .await?;
        cx.pod_ready("stays", PATIENCE).await?;
        cx.pod_ready("goes", PATIENCE).await?;
        let uid = uid(&cx, "goes").await?;

        let away =
            r#"{"spec":{"template":{"spec":{"nodeSelector":{"latchkey.test/nowhere":"true"}}}}}"#;
        let back =
            r#"{"spec":{"template":{"spec":{"nodeSelector":{"latchkey.test/nowhere":null}}}}}"#;
        let patch = async |patch: &str| {
            cx.kubectl(&[
                "patch",
                "daemonset",
                "latchkey",
                "--namespace",
                SYSTEM,
                "--type=merge",
                "--patch",
                patch,
            ])
            .await
        };
        patch(away).await?;
        cx.kubectl(&[
            "wait",
            "--for=delete",
            "pod",
            "--selector",
            AGENT,
            "--namespace",
            SYSTEM,
            "--timeout=60s",
        ])
        .await?;
        cx.kubectl(&["delete", "pod", "goes", "--wait=false"])
            .await?;
        // kubelet tries to unmount at growing distances: a longer absence would test its patience, not the agent.
        tokio::time::sleep(Duration::from_secs(4)).await;
        let held = mounts_of(&cx, "n1", &uid)?;
        let log = sets_read(&cx, "stays").await;
        patch(back).await?;
        agent_pod(&cx, "n1").await?;
        let returned = Instant::now();
        eventually(PATIENCE, "the pod goes", async || {
            let pod = cx
                .kubectl(&["get", "pod", "goes", "--ignore-not-found", "--output=name"])
                .await?;
            Ok(pod.is_empty().then_some(()))
        })
        .await?;
        let took = returned.elapsed();
        agent_pod(&cx, "n2").await?;
        ensure!(held.len() == 1, "the volume went without an agent");
        ensure!(
            took < Duration::from_secs(10),
            "the pod took {took:?} to go"
        );
        ensure!(mounts_of(&cx, "n1", &uid)?.is_empty());
        ensure!(log? == 1 && sets_read(&cx, "stays").await? == 1);
        Ok(())
    })
}

/// Scenario 9.
#[test]
fn kubelet_restart_registers_again_and_mounts_nothing_anew() -> Result<()> {
    test_alone(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let value = planted.plant();
        apply_values(&cx, &[("a", &value), ("b", &value)], "1h").await?;
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

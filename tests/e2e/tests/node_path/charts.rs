//! The charts over their life.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use latchkey_cluster::{Context, eventually, test_alone};
use latchkey_e2e::{
    Planted, SYSTEM, ensure_installed, helm_install_agent, helm_install_provider, list, pod, volume,
};
use serde_json::json;

use crate::support::{PATIENCE, apply_values, file, mounts_of, reader, sets_read, uid};

/// Scenario 17, with the sync role apart: then the identity on the nodes is the node role's alone. Upgrades in both directions
/// leave a running pod alone.
#[test]
fn node_identity_asks_for_no_secret_and_upgrades_leave_pods_alone() -> Result<()> {
    test_alone(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let value = planted.plant();
        apply_values(&cx, &[("a", &value), ("b", &value)], "1s").await?;
        let attributes = json!({"externalSecret": "es"});
        cx.apply(&list(&[reader("p", "n1", attributes.clone())]))
            .await?;
        cx.pod_ready("p", PATIENCE).await?;
        let before = mounts_of(&cx, "n1", &uid(&cx, "p").await?)?;

        helm_install_agent(
            &cx,
            &["--set=sync.mode=Deployment", "--set=sync.replicas=1"],
        )
        .await?;
        let account = "latchkey-node";
        let from = cx.audit(SYSTEM, account)?.len();
        cx.apply(&list(&[pod("new", "n2", &[volume("v", attributes)])]))
            .await?;
        cx.pod_ready("new", PATIENCE).await?;
        ensure!(file(&cx, "new", "/v/a").await? == value);
        tokio::time::sleep(Duration::from_secs(5)).await;
        let requests = cx.audit(SYSTEM, account)?;
        let requests = &requests[from.min(requests.len())..];
        ensure!(
            !requests.is_empty(),
            "the audit log shows nothing of {account}"
        );
        for request in requests {
            let object = &request.object_ref;
            ensure!(
                object.resource != "secrets" && object.subresource != "token",
                "{account} asked {} {}",
                request.verb,
                request.request_uri
            );
            if object.resource == "externalsecrets" {
                ensure!(
                    !object.namespace.is_empty() && request.request_uri.contains("metadata.name"),
                    "{account} asked for more than one ExternalSecret: {}",
                    request.request_uri
                );
            }
        }
        planted.assert_no_trace(&cx).await?;
        helm_install_agent(&cx, &[]).await?;
        ensure!(
            mounts_of(&cx, "n1", &uid(&cx, "p").await?)? == before,
            "the volume was mounted anew"
        );
        ensure!(sets_read(&cx, "p").await? == 1);
        Ok(())
    })
}

/// What stays on purpose is in the README of the chart: CustomResourceDefinitions and the Secrets of ExternalSecrets.
#[test]
fn uninstall_leaves_only_what_it_must() -> Result<()> {
    test_alone(async |cx| {
        ensure_installed(&cx).await?;
        let outcome = uninstall(&cx).await;
        // Other tests of this run need the charts again, whatever was found.
        helm_install_agent(&cx, &[]).await?;
        helm_install_provider(&cx, "fake", &[]).await?;
        outcome
    })
}

async fn uninstall(cx: &Context) -> Result<()> {
    for release in ["fake", "latchkey"] {
        cx.helm(&["uninstall", release, "--namespace", SYSTEM, "--wait"])
            .await?;
    }
    // Pods may still be on their way out when helm returns.
    eventually(PATIENCE, "the agent's pods go", async || {
        let pods = cx
            .kubectl(&["get", "pods", "--namespace", SYSTEM, "--output=name"])
            .await?;
        Ok(pods.is_empty().then_some(()))
    })
    .await?;
    let kinds = cx
        .kubectl(&["api-resources", "--verbs=list", "--output=name"])
        .await?;
    let kinds: Vec<&str> = kinds
        .lines()
        .filter(|kind| !kind.starts_with("events") && !kind.contains("customresourcedefinitions"))
        .collect();
    let found = cx
        .kubectl(&[
            "get",
            &kinds.join(","),
            "--all-namespaces",
            "--ignore-not-found",
            "--output=name",
        ])
        .await?;
    let left: BTreeSet<&str> = found
        .lines()
        .filter(|name| name.contains("latchkey") || name.contains("provider-fake"))
        // API groups carry no trace of their own: what counts is names.
        .filter(|name| *name != format!("namespace/{SYSTEM}"))
        .collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    let own = cx
        .kubectl(&[
            "get",
            "secrets,leases.coordination.k8s.io,configmaps",
            "--namespace",
            SYSTEM,
            "--output=name",
        ])
        .await?;
    let own: Vec<&str> = own
        .lines()
        .filter(|name| !name.ends_with("/kube-root-ca.crt"))
        .collect();
    ensure!(own.is_empty(), "left in {SYSTEM}: {own:?}");
    for node in cx.cluster().nodes()? {
        let mounts = cx.cluster().mounts(&node)?;
        let left: Vec<&str> = mounts
            .lines()
            .filter(|line| line.contains("csi.latchkey.dev") || line.ends_with("tmpfs latchkey rw"))
            .collect();
        ensure!(left.is_empty(), "mounts left on {node}: {left:?}");
    }
    Ok(())
}

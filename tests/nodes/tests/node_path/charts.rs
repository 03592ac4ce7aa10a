//! The charts over their life.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use latchkey_cluster::either::{test, test_alone};
use latchkey_cluster::{Context, eventually};
use latchkey_e2e::{
    Planted, SYSTEM, agent_pod, ensure_installed, helm_install_agent, helm_install_provider, list,
    pod, volume,
};
use serde_json::{Value, json};

use crate::support::{
    PATIENCE, apply_pair, file, file_becomes, mounts_of, pair, reader, sets_read, uid,
};

/// cluster.md 7.17, with the sync role apart: then the identity on the nodes is the node role's alone. Upgrades in both directions
/// leave a running pod alone.
#[test]
fn node_identity_asks_for_no_secret_and_upgrades_leave_pods_alone() -> Result<()> {
    test_alone(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let value = planted.plant();
        apply_pair(&cx, &value, "1s").await?;
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
        mints_nothing(&cx).await?;
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

/// csi-peers.md 4 (no id, token minting): who holds a node can make no token, and sees no Secret and no pod.
async fn mints_nothing(cx: &Context) -> Result<()> {
    let account = format!("--as=system:serviceaccount:{SYSTEM}:latchkey-node");
    let rights = cx
        .kubectl(&["auth", "can-i", "--list", "--no-headers", &account])
        .await?;
    let resources: Vec<&str> = rights
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    ensure!(
        resources.contains(&"externalsecrets.external-secrets.io"),
        "{rights}"
    );
    for forbidden in [
        "*",
        "*.*",
        "secrets",
        "pods",
        "nodes",
        "serviceaccounts/token",
    ] {
        ensure!(!resources.contains(&forbidden), "{rights}");
    }
    Ok(())
}

/// cluster.md 7.16, from one version to the next and back, under a pod that reads all the time. There is no earlier version yet:
/// both are this build, under two tags, and the state files must have the same schema.
#[test]
fn upgrade_and_downgrade_fail_no_read() -> Result<()> {
    test_alone(async |cx| {
        ensure_installed(&cx).await?;
        for node in ["n1", "n2"] {
            tag(
                &cx,
                node,
                &["tag", "--force", &image("dev"), &image("next")],
            )?;
        }
        apply_pair(&cx, "0", "1s").await?;
        cx.apply(&list(&[reader("p", "n1", json!({"externalSecret": "es"}))]))
            .await?;
        cx.pod_ready("p", PATIENCE).await?;
        let uid = uid(&cx, "p").await?;
        let mounts = mounts_of(&cx, "n1", &uid)?;
        let schemas = schemas(&cx, "n1")?;
        let outcome = async {
            for (version, value) in [("next", "1"), ("dev", "2")] {
                helm_install_agent(&cx, &[&format!("--set=image.tag={version}")]).await?;
                let running = agent_pod(&cx, "n1").await?.spec.unwrap_or_default();
                ensure!(running.containers[0].image == Some(image(version)));
                cx.apply(&list(&[pair(value, Value::Null)])).await?;
                file_becomes(&cx, "p", "/v/b", value).await?;
            }
            Ok(())
        }
        .await;
        if outcome.is_err() {
            helm_install_agent(&cx, &[]).await?;
        }
        for node in ["n1", "n2"] {
            tag(&cx, node, &["rm", &image("next")])?;
        }
        outcome?;
        ensure!(
            mounts_of(&cx, "n1", &uid)? == mounts,
            "the volume was mounted anew"
        );
        ensure!(sets_read(&cx, "p").await? == 3);
        ensure!(self::schemas(&cx, "n1")? == schemas && schemas.len() == 1);
        Ok(())
    })
}

fn image(tag: &str) -> String {
    format!("docker.io/latchkey/latchkey:{tag}")
}

fn tag(cx: &Context, node: &str, arguments: &[&str]) -> Result<()> {
    let mut images = cx.cluster().ctr(node)?;
    let output = images.arg("image").args(arguments).output()?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{arguments:?}: {error}");
    Ok(())
}

/// The schemas of a node's state files.
fn schemas(cx: &Context, node: &str) -> Result<BTreeSet<String>> {
    let root = cx.cluster().kubelet_root(node)?;
    let folder = cx.node_path(node, &format!("{root}/plugins/csi.latchkey.dev/volumes"))?;
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        let state: Value = serde_json::from_slice(&std::fs::read(entry?.path())?)?;
        found.insert(state["schema"].to_string());
    }
    Ok(found)
}

/// csi-peers.md 3 (SSCSID#895, #1079, #1582): pods hang while the driver is gone, so nothing may take it away.
#[test]
fn nothing_evicts_an_agent_or_keeps_it_from_a_node() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        let text = cx
            .kubectl(&[
                "get",
                "daemonset",
                "latchkey",
                "--namespace",
                SYSTEM,
                "--output=json",
            ])
            .await?;
        let set: Value = serde_json::from_str(&text)?;
        let template = &set["spec"]["template"];
        let annotation = "cluster-autoscaler.kubernetes.io/enable-ds-eviction";
        ensure!(template["spec"]["priorityClassName"] == "system-node-critical");
        ensure!(template["spec"]["tolerations"] == json!([{"operator": "Exists"}]));
        ensure!(template["metadata"]["annotations"][annotation] == "false");
        let update = &set["spec"]["updateStrategy"]["rollingUpdate"];
        ensure!(update["maxSurge"] == 0 && update["maxUnavailable"] == "10%");
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

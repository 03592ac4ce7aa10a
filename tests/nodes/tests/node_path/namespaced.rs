//! An install for some namespaces, on the real kubelet.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use latchkey_cluster::either::test_alone;
use latchkey_cluster::{Context, eventually};
use latchkey_e2e::{SYSTEM, ensure_installed, helm_install_agent, list, pod, volume};
use serde_json::json;

use crate::support::{PATIENCE, apply_values};

/// With `watchNamespaces`: volumes and Secrets in these namespaces, with Roles only, and nothing in others.
#[test]
fn an_install_for_one_namespace_works_with_roles_only_and_leaves_others_alone() -> Result<()> {
    test_alone(async |cx| {
        ensure_installed(&cx).await?;
        let other = cx.new_namespace("other").await?;
        let outcome = in_one_namespace(&cx, &other).await;
        // Other tests of this run need the charts again, whatever was found.
        helm_install_agent(&cx, &[]).await?;
        cx.kubectl(&["delete", "namespace", "--wait=false", &other])
            .await?;
        outcome
    })
}

/// The names of the release's ClusterRoleBindings.
async fn bindings(cx: &Context) -> Result<String> {
    let names = cx.kubectl(&[
        "get",
        "clusterrolebindings",
        "--selector=app.kubernetes.io/instance=latchkey",
        "--output=name",
    ]);
    Ok(names.await?.trim().to_owned())
}

async fn in_one_namespace(cx: &Context, other: &str) -> Result<()> {
    let watch = format!("--set=watchNamespaces={{{}}}", cx.namespace());
    let values = [
        &watch,
        "--set=sync.mode=Deployment",
        "--set=sync.replicas=1",
    ];
    let accounts = ["latchkey-node", "latchkey-sync"];
    let known = [SYSTEM, cx.namespace(), other];
    // Pods that earlier tests left have volumes that are still looked after.
    let strangers: BTreeSet<String> = cx
        .audit(SYSTEM, accounts[0])?
        .into_iter()
        .map(|request| request.object_ref.namespace)
        .filter(|name| !name.is_empty() && !known.contains(&name.as_str()))
        .collect();
    ensure!(!bindings(cx).await?.is_empty(), "for all namespaces");
    helm_install_agent(cx, &values).await?;
    // Until now agents of the former install ran, with rights of the new one.
    let before: Vec<usize> = accounts
        .iter()
        .map(|account| cx.audit(SYSTEM, account).map(|requests| requests.len()))
        .collect::<Result<_>>()?;
    let left = bindings(cx).await?;
    ensure!(left.is_empty(), "left: {left}");

    apply_values(cx, &[("a", "value")], "1h").await?;
    let mut synced = latchkey_e2e::external_secret("synced", "s", &["a"], "1h");
    synced["spec"]["target"] = json!({});
    // The same elsewhere, and a volume: neither may work.
    let elsewhere = [
        latchkey_e2e::fake("f", &[("a", "value")], json!(null)),
        latchkey_e2e::store("s", "f", "fake"),
        synced.clone(),
        pod(
            "p",
            "n1",
            &[volume("v", json!({"externalSecret": "synced"}))],
        ),
    ];
    let elsewhere = elsewhere.map(|mut object| {
        object["metadata"]["namespace"] = json!(other);
        object
    });
    let file = cx.cluster().layout().folder().join("elsewhere.json");
    std::fs::write(&file, list(&elsewhere))?;
    let file = format!("--filename={}", file.display());
    cx.kubectl(&["--namespace", other, "apply", &file]).await?;
    let mounts = pod("p", "n1", &[volume("v", json!({"externalSecret": "es"}))]);
    cx.apply(&list(&[synced, mounts])).await?;
    cx.pod_ready("p", PATIENCE).await?;
    ensure!(crate::support::file(cx, "p", "/v/a").await? == "value");
    eventually(PATIENCE, "the Secret is made", async || {
        let made = cx.kubectl(&[
            "get",
            "secret",
            "synced",
            "--ignore-not-found",
            "--output=name",
        ]);
        Ok((!made.await?.is_empty()).then_some(()))
    })
    .await?;
    eventually(PATIENCE, "the mount elsewhere is refused", async || {
        let events = ["--namespace", other, "get", "events", "--output=json"];
        let events = cx.kubectl(&events).await?;
        let is_told = events.contains("may not mount volumes of this driver");
        ensure!(is_told, "{events}");
        Ok(Some(()))
    })
    .await?;
    let touched = cx
        .kubectl(&[
            "--namespace",
            other,
            "get",
            "externalsecret",
            "synced",
            "--output=jsonpath={.status}{.metadata.finalizers}",
        ])
        .await?;
    ensure!(touched.is_empty(), "touched elsewhere: {touched}");

    for (account, from) in accounts.iter().zip(before) {
        for request in cx.audit(SYSTEM, account)?.iter().skip(from) {
            let (object, code) = (&request.object_ref, request.response_status.code);
            let namespace = object.namespace.as_str();
            if strangers.contains(namespace) {
                continue;
            }
            let is_theirs =
                object.resource.is_empty() || [SYSTEM, cx.namespace()].contains(&namespace);
            ensure!(
                code != 403 && is_theirs,
                "{account}: {code} for {} {}",
                request.verb,
                request.request_uri
            );
        }
    }
    let logs = cx
        .kubectl(&[
            "--namespace",
            SYSTEM,
            "logs",
            "--selector=app.kubernetes.io/name=latchkey",
            "--tail=-1",
        ])
        .await?;
    let is_about_strangers = |line: &str| {
        let place = line.split_once("in the namespace").map(|(_, place)| place);
        place.is_some_and(|place| strangers.iter().any(|name| place.contains(name.as_str())))
    };
    let forbidden: Vec<&str> = logs
        .lines()
        .filter(|line| line.contains("forbidden") && !is_about_strangers(line))
        .collect();
    ensure!(forbidden.is_empty(), "{forbidden:?}");
    Ok(())
}

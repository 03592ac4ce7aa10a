//! The charts, installed once per cluster.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use latchkey_cluster::{Context, NodeOptions, eventually};

/// Namespace of the charts.
pub const SYSTEM: &str = "latchkey";
/// Label selector of the agent's pods on the nodes.
pub const AGENT: &str = "app.kubernetes.io/name=latchkey,app.kubernetes.io/component=node";

/// Longest wait for a chart to be ready.
const PATIENCE: &str = "--timeout=180s";

/// The repository's root, as the cargo that runs this test knows it: the path that was compiled in may be that of another checkout
/// with the same target folder.
#[must_use]
pub fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR");
    PathBuf::from(package.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())).join("../..")
}

/// The folder of the images that `make images` wrote.
#[must_use]
pub fn images() -> PathBuf {
    std::env::var_os("LATCHKEY_IMAGES").map_or_else(|| root().join("dist/images"), PathBuf::from)
}

/// Sees to two nodes, the images on them, the agent on both and one `fake` provider (release `fake`), all in [`SYSTEM`]. Does
/// nothing where that is so already; tests of several processes may call it at once.
///
/// # Errors
/// When an image is missing or a chart does not become ready.
pub async fn ensure_installed(cx: &Context) -> Result<()> {
    let _lock = lock(cx).await?;
    let marker = marker(cx);
    if marker.exists() && is_installed(cx).await {
        return Ok(());
    }
    if !cx.cluster().nodes()?.iter().any(|node| node == "n2") {
        cx.cluster().add_node("n2", NodeOptions::default()).await?;
    }
    for name in ["latchkey", "provider-fake"] {
        let archive = images().join(format!("{name}.tar"));
        if !archive.exists() {
            bail!("no image at {}; run `make images`", archive.display());
        }
        cx.cluster().import_image(&archive).await?;
    }
    helm_install_agent(cx, &[]).await?;
    helm_install_provider(cx, "fake", &[]).await?;
    std::fs::write(&marker, "")?;
    Ok(())
}

/// Takes away what [`ensure_installed`] of an earlier test binary left: for tests that run a controller of their own, which the
/// installed one would disturb.
///
/// # Errors
/// When the agent's pods do not go.
pub async fn ensure_absent(cx: &Context) -> Result<()> {
    let _lock = lock(cx).await?;
    let marker = marker(cx);
    if !marker.exists() {
        return Ok(());
    }
    cx.helm(&[
        "uninstall",
        "latchkey",
        "fake",
        "--namespace",
        SYSTEM,
        "--ignore-not-found",
        "--wait",
        PATIENCE,
    ])
    .await?;
    let pods: Api<Pod> = Api::namespaced(cx.client(), SYSTEM);
    eventually(Duration::from_secs(60), "the agent's pods go", async || {
        let left = pods.list(&ListParams::default().labels(AGENT)).await?;
        Ok(left.items.is_empty().then_some(()))
    })
    .await?;
    std::fs::remove_file(marker)?;
    Ok(())
}

/// Held by whoever changes what is installed. Others may hold it for minutes; a thread of the pool waits, so that this test's
/// own tasks go on.
async fn lock(cx: &Context) -> Result<File> {
    let lock = File::options()
        .create(true)
        .append(true)
        .open(cx.cluster().layout().folder().join("installed.lock"))?;
    Ok(tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await??)
}

/// There while the charts are installed.
fn marker(cx: &Context) -> PathBuf {
    cx.cluster().layout().folder().join("installed")
}

async fn is_installed(cx: &Context) -> bool {
    cx.helm(&["status", "latchkey", "--namespace", SYSTEM])
        .await
        .is_ok()
}

/// Installs or upgrades the chart `latchkey` and waits until its pods are ready. `values` are arguments such as
/// `--set=sync.mode=Deployment`.
///
/// # Errors
/// With helm's own words.
pub async fn helm_install_agent(cx: &Context, values: &[&str]) -> Result<()> {
    let chart = root().join("charts/latchkey");
    helm_install(cx, "latchkey", &chart.to_string_lossy(), values).await?;
    // helm counts a DaemonSet as ready while maxUnavailable pods are not.
    rolled_out(cx).await
}

/// Installs or upgrades the chart `provider` as `release` with the type `fake`, readable for stores of all namespaces.
///
/// # Errors
/// With helm's own words.
pub async fn helm_install_provider(cx: &Context, release: &str, values: &[&str]) -> Result<()> {
    let chart = root().join("charts/provider");
    let own = [
        "--set=provider.type=fake",
        "--set=rbac.namespaces={*}",
        "--set=rbac.credentialNamespaces={*}",
    ];
    helm_install(
        cx,
        release,
        &chart.to_string_lossy(),
        &[&own, values].concat(),
    )
    .await
}

async fn helm_install(cx: &Context, release: &str, chart: &str, values: &[&str]) -> Result<()> {
    let common = [
        "upgrade",
        "--install",
        release,
        chart,
        "--namespace",
        SYSTEM,
        "--create-namespace",
        "--set=image.tag=dev",
        "--set=image.pullPolicy=Never",
        "--wait",
        PATIENCE,
    ];
    let outcome = cx.helm(&[&common, values].concat()).await;
    if let Err(error) = outcome {
        let pods = cx
            .kubectl(&["describe", "pods", "--namespace", SYSTEM])
            .await
            .unwrap_or_default();
        return Err(error.context(pods));
    }
    Ok(())
}

/// Waits until every node runs a ready agent of the DaemonSet's current version.
async fn rolled_out(cx: &Context) -> Result<()> {
    cx.kubectl(&[
        "rollout",
        "status",
        "daemonset",
        "latchkey",
        "--namespace",
        SYSTEM,
        PATIENCE,
    ])
    .await?;
    Ok(())
}

/// The ready agent pod of a node.
///
/// # Errors
/// When there is none after a minute.
pub async fn agent_pod(cx: &Context, node: &str) -> Result<Pod> {
    let pods: Api<Pod> = Api::namespaced(cx.client(), SYSTEM);
    let selector = ListParams::default()
        .labels(AGENT)
        .fields(&format!("spec.nodeName={node}"));
    eventually(
        Duration::from_secs(60),
        &format!("a ready agent on {node}"),
        async || {
            let found = pods.list(&selector).await?.items.into_iter().find(|pod| {
                let conditions = pod
                    .status
                    .as_ref()
                    .and_then(|status| status.conditions.as_ref());
                pod.metadata.deletion_timestamp.is_none()
                    && conditions
                        .into_iter()
                        .flatten()
                        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
            });
            Ok(found)
        },
    )
    .await
    .context("the DaemonSet's pods")
}

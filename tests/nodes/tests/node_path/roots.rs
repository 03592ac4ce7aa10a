//! Nodes whose kubelet lives elsewhere, on a cluster of their own.

use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use latchkey_cluster::{Cluster, Options, eventually};
use latchkey_e2e::{AGENT, SYSTEM, external_secret, fake, images, list, pod, root, store, volume};
use serde_json::{Value, json};

use crate::support::PATIENCE;

/// What the driver adds to kubelet's root for its longest socket, bytes.
const SUFFIX: usize = "/plugins_registry/csi.latchkey.dev@reg.sock".len();

/// cluster.md 7.15: another root than the usual one, as long as the paths of sockets allow: 107 bytes. With one byte more the agent
/// says what is wrong.
#[test]
fn a_kubelet_root_may_be_as_long_as_a_socket_allows() -> Result<()> {
    // Below a folder of this test's, because the nodes of a cluster share the machine's files.
    let folder = tempfile::tempdir()?;
    let folder_name = folder.path().display().to_string();
    let name = |length: usize| {
        let rest = length - SUFFIX - folder_name.len() - 1;
        format!("{folder_name}/{}", "k".repeat(rest))
    };
    let (longest, too_long) = (name(107), name(108));
    let cluster = Cluster::start(&Options {
        kubelet_root: Some(longest.clone()),
        ..Options::default()
    })?;
    // This thread is used again by others, and a network cannot be left: the new one gets its own.
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            cluster.enter_network()?;
            let runtime = cluster.runtime()?;
            runtime.block_on(async {
                for name in ["latchkey", "provider-fake"] {
                    let archive = images().join(format!("{name}.tar"));
                    cluster.import_image(&archive).await?;
                }
                works(&cluster, &longest).await?;
                is_refused(&cluster, &too_long).await
            })
        });
        match inside.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

async fn works(cluster: &Cluster, kubelet: &str) -> Result<()> {
    install(cluster, kubelet, &["--wait", "--timeout=120s"])?;
    let mut fake_chart = helm(cluster, "fake", "charts/provider");
    fake_chart.args(["--set=provider.type=fake", "--set=rbac.namespaces={*}"]);
    fake_chart.args(["--set=rbac.credentialNamespaces={*}", "--wait"]);
    run(&mut fake_chart)?;
    let manifests = list(&[
        fake("f", &[("key", "value")], Value::Null),
        store("s", "f", "fake"),
        external_secret("es", "s", &["key"], "1h"),
        pod("p", "n1", &[volume("v", json!({"externalSecret": "es"}))]),
    ]);
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), manifests)?;
    let mut apply = cluster.kubectl();
    run(apply
        .args(["apply", "--server-side", "--filename"])
        .arg(file.path()))?;
    let mut wait = cluster.kubectl();
    wait.args(["wait", "--for=condition=Ready", "pod/p"]);
    run(wait.arg(format!("--timeout={}s", PATIENCE.as_secs())))?;
    let mut read = cluster.kubectl();
    let shown = run(read.args(["exec", "p", "--", "cat", "/v/key"]))?;
    ensure!(shown == "value", "{shown}");
    let mounts = cluster.mounts("n1")?;
    let own = format!(" {kubelet}/pods/");
    let ours = mounts.lines().filter(|line| line.contains(" latchkey "));
    ensure!(
        ours.clone().count() == 1 && ours.clone().all(|line| line.contains(&own)),
        "{mounts}"
    );
    Ok(())
}

async fn is_refused(cluster: &Cluster, kubelet: &str) -> Result<()> {
    for folder in ["pods", "plugins", "plugins_registry"] {
        let path = format!("{kubelet}/{folder}");
        run(cluster.node_command("n1", "mkdir")?.args(["-p", &path]))?;
    }
    install(cluster, kubelet, &[])?;
    eventually(PATIENCE, "the agent says why it cannot start", async || {
        let mut logs = cluster.kubectl();
        logs.args(["logs", "--namespace", SYSTEM, "--selector", AGENT]);
        let text = run(logs.arg("--tail=-1"))?;
        let said = text.contains(kubelet) && text.contains("108 bytes, at most 107");
        Ok(said.then_some(()))
    })
    .await
}

fn install(cluster: &Cluster, kubelet: &str, arguments: &[&str]) -> Result<()> {
    let mut chart = helm(cluster, "latchkey", "charts/latchkey");
    chart
        .arg(format!("--set=kubelet.rootDir={kubelet}"))
        .args(arguments);
    run(&mut chart).map(drop)
}

fn helm(cluster: &Cluster, release: &str, chart: &str) -> Command {
    let mut helm = cluster.helm();
    helm.args(["upgrade", "--install", release])
        .arg(root().join(chart));
    helm.args(["--namespace", SYSTEM, "--create-namespace"]);
    helm.args(["--set=image.tag=dev", "--set=image.pullPolicy=Never"]);
    helm
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().context("failed to start a program")?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

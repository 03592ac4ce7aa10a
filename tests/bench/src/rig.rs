//! The cluster with the charts on it, and the objects that are measured.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use latchkey_cluster::{Cluster, audit, eventually, http_get};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::metrics::Scrape;
use crate::process::Process;

/// Namespace of the charts.
pub(crate) const SYSTEM: &str = "latchkey";
/// Namespace of what is measured.
pub(crate) const NAMESPACE: &str = "bench";
/// The node.
pub(crate) const NODE: &str = "n1";
/// Name of the driver, and of the folder with its socket.
pub(crate) const DRIVER: &str = "csi.latchkey.dev";
/// The ExternalSecret that many pods share, and the Secret with the same two keys.
pub(crate) const SHARED: &str = "shared";
/// The ExternalSecret and the Secret whose value changes.
pub(crate) const CHANGING: &str = "changing";
/// The ExternalSecret that itself changes.
pub(crate) const TURNING: &str = "turning";
/// `refreshInterval` of [`CHANGING`], seconds. All others have an hour, so that nothing is due while they are measured.
pub(crate) const INTERVAL: u64 = 10;
/// Longest wait for anything to become true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);
/// The images that the cluster needs.
pub(crate) const IMAGES: [&str; 2] = ["latchkey", "provider-fake"];

pub(crate) const FAKE: &str = "provider.secretstore.external-secrets.io/v2alpha1";
pub(crate) const STORE: &str = "secretstore.external-secrets.io/v2alpha1";

/// A cluster with the charts installed.
pub(crate) struct Rig<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) client: Client,
    /// The agent's process.
    pub(crate) agent: Process,
    kubelet: Process,
    kubelet_root: String,
    metrics: String,
}

// === impl Rig ===

impl<'a> Rig<'a> {
    /// Imports the images and installs both charts, with their defaults.
    pub(crate) async fn install(cluster: &'a Cluster, images: &Path, root: &Path) -> Result<Self> {
        for name in IMAGES {
            cluster
                .import_image(&images.join(format!("{name}.tar")))
                .await?;
        }
        for (release, chart, values) in [
            ("latchkey", "latchkey", &[][..]),
            (
                "fake",
                "provider",
                &["--set=provider.type=fake", "--set=rbac.namespaces={*}"][..],
            ),
        ] {
            let mut helm = cluster.helm();
            helm.args(["install", release])
                .arg(root.join("charts").join(chart))
                .args(["--namespace", SYSTEM, "--create-namespace"])
                .args(["--set=image.tag=dev", "--set=image.pullPolicy=Never"])
                .args(values)
                .args(["--wait", "--timeout=180s"]);
            run(helm, "").await?;
        }
        let client = cluster.client().await?;
        let address = agent_address(&client).await?;
        let agent = find_agent(cluster)?;
        let kubelet = Process::find(
            cluster,
            NODE,
            "kubelet",
            |words| matches!(words, [program, "kubelet", ..] if program.ends_with("/kube")),
        )?;
        Ok(Self {
            cluster,
            client,
            agent,
            kubelet,
            kubelet_root: cluster.kubelet_root(NODE)?,
            metrics: format!("http://{address}:8081/metrics"),
        })
    }

    /// Makes everything that is measured: the shared and the changing object, `count` ExternalSecrets `own-0`, `own-1`, ...
    /// with a value of their own each, and the Secrets to compare with. Returns when all are Ready.
    pub(crate) async fn apply_objects(&self, count: usize) -> Result<()> {
        self.apply(&[
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        ])
        .await?;
        let mut values = vec![
            json!({"key": "user", "value": "user"}),
            json!({"key": "password", "value": "password"}),
            json!({"key": "0", "value": "0"}),
            json!({"key": "1", "value": "1"}),
        ];
        values.extend(
            (0..count).map(|number| json!({"key": own(number), "value": format!("{number}")})),
        );
        let mut items = vec![
            json!({"apiVersion": FAKE, "kind": "Fake", "metadata": {"name": "values"}, "spec": {"data": values}}),
            json!({"apiVersion": FAKE, "kind": "Fake", "metadata": {"name": CHANGING}, "spec": changing("0")}),
            store("values"),
            store(CHANGING),
            external_secret(SHARED, "values", &["user", "password"], "1h"),
            external_secret(CHANGING, CHANGING, &["value"], &format!("{INTERVAL}s")),
            external_secret(TURNING, "values", &["value"], "1h"),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SHARED},
                   "stringData": {"user": "user", "password": "password"}}),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": CHANGING}, "stringData": {"value": "0"}}),
        ];
        items.extend(
            (0..count).map(|number| {
                external_secret(&own(number), "values", &[own(number).as_str()], "1h")
            }),
        );
        self.apply(&items).await?;
        self.turn("0").await?;
        for kind in [
            "secretstores.secretstore.external-secrets.io",
            "externalsecrets.external-secrets.io",
        ] {
            let mut wait = self.cluster.kubectl();
            wait.args(["wait", "--namespace", NAMESPACE, "--for=condition=Ready"])
                .args(["--all", "--timeout=180s", kind]);
            run(wait, "").await?;
        }
        eventually(PATIENCE, "the default service account", async || {
            let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
                Api::namespaced(self.client.clone(), NAMESPACE);
            Ok(accounts.get_opt("default").await?)
        })
        .await?;
        Ok(())
    }

    /// Has [`TURNING`] show another value, "0" or "1", in its only key `value`: a change of the object and not at the provider.
    pub(crate) async fn turn(&self, value: &str) -> Result<()> {
        let group = GroupVersionKind::gvk("external-secrets.io", "v1", "ExternalSecret");
        let resource = ApiResource::from_gvk(&group);
        let objects: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), NAMESPACE, &resource);
        let data = json!([{"secretKey": "value", "remoteRef": {"key": value}}]);
        let patch = Patch::Merge(json!({"spec": {"data": data}}));
        objects
            .patch(TURNING, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    /// All requests of the agent to the API server so far.
    pub(crate) fn requests(&self) -> Result<Vec<audit::Event>> {
        let user = format!("system:serviceaccount:{SYSTEM}:latchkey-node");
        audit::events_of(&self.cluster.layout().audit_log(), &user)
    }

    async fn apply(&self, items: &[Value]) -> Result<()> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        let mut apply = self.cluster.kubectl();
        apply.args([
            "apply",
            "--server-side",
            "--namespace",
            NAMESPACE,
            "--filename=-",
        ]);
        run(apply, &list).await?;
        Ok(())
    }

    /// Runs `work` while kubelet is stopped (SIGSTOP), for less than the 40 s after which a silent node counts as lost. kubelet
    /// tidies up after pods that it does not know, down to the directory that the agent is about to mount on.
    pub(crate) async fn without_kubelet<T>(
        &self,
        work: impl AsyncFnOnce() -> Result<T>,
    ) -> Result<T> {
        self.signal_kubelet("-STOP").await?;
        let outcome = work().await;
        self.signal_kubelet("-CONT").await?;
        outcome
    }

    async fn signal_kubelet(&self, signal: &str) -> Result<()> {
        let mut kill = self.cluster.node_command(NODE, "busybox")?;
        kill.arg("kill").arg(signal).arg(self.kubelet.number());
        run(kill, "").await
    }

    /// The path under which this process reaches a path below kubelet's folder on the node.
    pub(crate) fn kubelet_path(&self, below: &str) -> Result<PathBuf> {
        self.cluster
            .node_path(NODE, &format!("{}/{below}", self.kubelet_root))
    }

    /// A path below kubelet's folder, as the node sees it.
    pub(crate) fn on_node(&self, below: &str) -> String {
        format!("{}/{below}", self.kubelet_root)
    }

    /// The agent's series.
    pub(crate) async fn scrape_agent(&self) -> Result<Scrape> {
        scrape(&self.metrics).await
    }

    /// kubelet's series.
    pub(crate) async fn scrape_kubelet(&self) -> Result<Scrape> {
        let request = http::Request::get(format!("/api/v1/nodes/{NODE}/proxy/metrics"))
            .body(Vec::new())
            .context("a request without content")?;
        let text = self.client.request_text(request).await?;
        Ok(Scrape::parse(&text))
    }

    /// Version of the API server.
    pub(crate) async fn kubernetes(&self) -> Result<String> {
        Ok(self.client.apiserver_version().await?.git_version)
    }
}

/// Name of the ExternalSecret with this number, and of its only key.
pub(crate) fn own(number: usize) -> String {
    format!("own-{number}")
}

/// `spec` of the Fake whose only value changes.
pub(crate) fn changing(value: &str) -> Value {
    json!({"data": [{"key": "value", "value": value}]})
}

fn store(name: &str) -> Value {
    json!({
        "apiVersion": STORE,
        "kind": "SecretStore",
        "metadata": {"name": name},
        "spec": {"providerConfig": {
            "address": format!("provider-fake.{SYSTEM}.svc:8080"),
            "providerRef": {"kind": "Fake", "name": name},
        }},
    })
}

fn external_secret(name: &str, store: &str, keys: &[&str], interval: &str) -> Value {
    let data: Vec<Value> = keys
        .iter()
        .map(|key| json!({"secretKey": key, "remoteRef": {"key": key}}))
        .collect();
    json!({
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": {"name": name},
        "spec": {
            "refreshInterval": interval,
            "secretStoreRef": {"apiVersion": STORE, "kind": "SecretStore", "name": store},
            // For volumes only: what is measured is the way to the files, not the writing of Secrets.
            "target": {"creationPolicy": "None"},
            "data": data,
        },
    })
}

/// The series behind an address.
pub(crate) async fn scrape(url: &str) -> Result<Scrape> {
    let (code, text) = http_get::get(url).await?;
    if code != 200 {
        bail!("{url} answered {code}");
    }
    Ok(Scrape::parse(&text))
}

/// The agent's process.
pub(crate) fn find_agent(cluster: &Cluster) -> Result<Process> {
    Process::find(
        cluster,
        NODE,
        "agent",
        |words| matches!(words, [program, "agent", ..] if program.ends_with("/latchkey")),
    )
}

/// Address of the agent's only pod.
pub(crate) async fn agent_address(client: &Client) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), SYSTEM);
    let selector = ListParams::default()
        .labels("app.kubernetes.io/name=latchkey,app.kubernetes.io/component=node");
    eventually(PATIENCE, "a ready agent", async || {
        let pods = pods.list(&selector).await?.items;
        Ok(pods.into_iter().find_map(|pod| {
            let status = pod.status?;
            let is_ready = status
                .conditions?
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True");
            status.pod_ip.filter(|_| is_ready)
        }))
    })
    .await
}

/// Runs a program to its end with `input` on its standard input; its error output is the error.
pub(crate) async fn run(command: Command, input: &str) -> Result<()> {
    let shown = command
        .get_args()
        .filter_map(|word| word.to_str())
        .collect::<Vec<_>>()
        .join(" ");
    let mut child = tokio::process::Command::from(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("failed to run {shown}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await?;
    }
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .with_context(|| format!("{shown} did not end in {PATIENCE:?}"))??;
    if !output.status.success() {
        bail!(
            "{shown}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

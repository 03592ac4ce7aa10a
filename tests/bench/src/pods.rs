//! Real pods with a volume: from the creation of the pod to the start of its container.
//!
//! "Started" is containerd's own event for the start of the container's process. `Running` in the API comes up to a second
//! later, because kubelet lists its containers once a second, and would hide what is measured.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use latchkey_cluster::{TEST_IMAGE, eventually};
use parking_lot::Mutex;
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::task::JoinHandle;

use crate::metrics::Histogram;
use crate::rig::{DRIVER, NAMESPACE, NODE, PATIENCE, Rig};
use crate::stats::Samples;

/// Pods that are created at the same time.
const CREATED_AT_ONCE: usize = 16;

/// Where a pod's files come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// kubelet's own volume of a Secret.
    Secret,
    /// A volume of this driver.
    Latchkey,
}

/// One batch of pods that were created together.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) source: Source,
    pub(crate) count: usize,
    /// From the creation of each pod to the start of its container.
    pub(crate) started: Samples,
    /// kubelet's `volume_mount` for this kind of volume, repetitions included.
    pub(crate) mounts: Histogram,
    /// The agent's first NodePublishVolume of each volume; empty for Secrets.
    pub(crate) publishes: Histogram,
    /// All of its NodePublishVolume, repetitions included.
    pub(crate) all_publishes: Histogram,
    /// The agent's calls to the provider.
    pub(crate) provider: Histogram,
    /// Calls of kubelet on the driver's socket: NodePublishVolume, repetitions included, and NodeGetCapabilities.
    pub(crate) calls: [f64; 2],
    /// The agent's processor time until all have started.
    pub(crate) cpu: Duration,
}

/// Notes when each container's process started.
pub(crate) struct Starts {
    at: Arc<Mutex<HashMap<String, Instant>>>,
    reader: JoinHandle<()>,
}

// === impl Source ===

impl Source {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Secret => "kubelet's Secret",
            Self::Latchkey => "latchkey",
        }
    }

    /// Folder of the volume `v` below the pod's folder.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Secret => "volumes/kubernetes.io~secret/v",
            Self::Latchkey => "volumes/kubernetes.io~csi/v/mount",
        }
    }

    /// What kubelet calls the plugin in its series.
    fn plugin(self) -> String {
        match self {
            Self::Secret => "kubernetes.io/secret".to_owned(),
            Self::Latchkey => format!("kubernetes.io/csi:{DRIVER}"),
        }
    }

    fn volume(self, object: &str) -> Value {
        match self {
            Self::Secret => json!({"name": "v", "secret": {"secretName": object}}),
            Self::Latchkey => json!({"name": "v", "csi": {
                "driver": DRIVER, "readOnly": true, "volumeAttributes": {"externalSecret": object},
            }}),
        }
    }
}

// === impl Starts ===

impl Starts {
    /// Listens to the node's containerd.
    pub(crate) fn listen(rig: &Rig<'_>) -> Result<Self> {
        let mut command = rig.cluster.ctr(NODE)?;
        command.arg("events");
        let mut child = tokio::process::Command::from(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("failed to run ctr events")?;
        let output = child.stdout.take().context("ctr has no output")?;
        let at = Arc::new(Mutex::new(HashMap::new()));
        let noted = Arc::clone(&at);
        let reader = tokio::spawn(async move {
            // Ends ctr with this task.
            let _child = child;
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(id) = started_container(&line) {
                    noted.lock().entry(id).or_insert_with(Instant::now);
                }
            }
        });
        Ok(Self { at, reader })
    }

    fn of(&self, container: &str) -> Option<Instant> {
        self.at.lock().get(container).copied()
    }
}

impl Drop for Starts {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// The container of a line of `ctr events` about the start of a process.
fn started_container(line: &str) -> Option<String> {
    let (_, json) = line.split_once(" /tasks/start ")?;
    let event: Value = serde_json::from_str(json.trim()).ok()?;
    Some(event["container_id"].as_str()?.to_owned())
}

/// Creates `count` pods, waits until all run, and deletes them again.
pub(crate) async fn batch(
    rig: &Rig<'_>,
    starts: &Starts,
    source: Source,
    object: &str,
    count: usize,
) -> Result<Batch> {
    let (kubelet, agent, cpu) = (
        rig.scrape_kubelet().await?,
        rig.scrape_agent().await?,
        rig.agent.cpu()?,
    );
    let created = create(rig, source, object, count).await?;
    let running = all_run(rig, &created, starts).await?;
    let cpu = rig.agent.cpu()?.saturating_sub(cpu);
    let (kubelet_after, agent_after) = (rig.scrape_kubelet().await?, rig.scrape_agent().await?);
    delete(rig, &created).await?;
    let since = |after: &crate::metrics::Scrape,
                 before: &crate::metrics::Scrape,
                 name,
                 labels: &[(&str, &str)]| {
        after
            .histogram(name, labels)
            .since(&before.histogram(name, labels))
    };
    let all = [("op", "publish")];
    let publish = [("op", "publish"), ("first", "true")];
    let calls = ["NodePublishVolume", "NodeGetCapabilities"].map(|rpc| {
        let (name, labels) = ("latchkey_csi_kubelet_calls_total", [("rpc", rpc)]);
        agent_after.counter(name, &labels) - agent.counter(name, &labels)
    });
    let plugin = source.plugin();
    let mount = [
        ("operation_name", "volume_mount"),
        ("volume_plugin", plugin.as_str()),
        ("status", "success"),
    ];
    Ok(Batch {
        source,
        count,
        started: running.into_iter().collect(),
        mounts: since(
            &kubelet_after,
            &kubelet,
            "storage_operation_duration_seconds",
            &mount,
        ),
        publishes: since(
            &agent_after,
            &agent,
            "latchkey_csi_operation_seconds",
            &publish,
        ),
        all_publishes: since(&agent_after, &agent, "latchkey_csi_operation_seconds", &all),
        provider: since(
            &agent_after,
            &agent,
            "grpc_client_request_duration_seconds",
            &[],
        ),
        calls,
        cpu,
    })
}

/// Creates `count` pods with a volume of `object`; answers their names and when each was created.
pub(crate) async fn create(
    rig: &Rig<'_>,
    source: Source,
    object: &str,
    count: usize,
) -> Result<HashMap<String, Instant>> {
    let pods: Api<Pod> = Api::namespaced(rig.client.clone(), NAMESPACE);
    let batch = format!("{:08x}", rand::rng().random::<u32>());
    futures::stream::iter(0..count)
        .map(|number| {
            let name = format!("p-{batch}-{number}");
            let pods = pods.clone();
            async move {
                let pod: Pod = serde_json::from_value(manifest(&name, source, object))?;
                let begin = Instant::now();
                pods.create(&PostParams::default(), &pod).await?;
                Ok((name, begin))
            }
        })
        .buffer_unordered(CREATED_AT_ONCE)
        .collect::<Vec<Result<_>>>()
        .await
        .into_iter()
        .collect()
}

fn manifest(name: &str, source: Source, object: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            // Bound by hand: the scheduler is no part of the figure.
            "nodeName": NODE,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "main",
                "image": TEST_IMAGE,
                "imagePullPolicy": "Never",
                "command": ["sleep", "86400"],
                "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": true}],
            }],
            "volumes": [source.volume(object)],
        },
    })
}

/// Waits until all pods run; answers the time of each from its creation to the start of its container.
pub(crate) async fn all_run(
    rig: &Rig<'_>,
    created: &HashMap<String, Instant>,
    starts: &Starts,
) -> Result<Vec<Duration>> {
    let pods: Api<Pod> = Api::namespaced(rig.client.clone(), NAMESPACE);
    // The list is asked for rarely: the time is taken from containerd, and asking costs what is measured.
    loop_until(Duration::from_millis(500), "all pods running", async || {
        let mut times = Vec::new();
        for pod in pods.list(&ListParams::default()).await?.items {
            let name = pod.metadata.name.unwrap_or_default();
            let Some(begin) = created.get(&name) else {
                continue;
            };
            let status = pod.status.unwrap_or_default();
            if let Some("Failed" | "Succeeded") = status.phase.as_deref() {
                bail!("pod {name} ended: {:?}", status.reason);
            }
            let started = status
                .container_statuses
                .unwrap_or_default()
                .first()
                .and_then(|container| container.container_id.as_deref())
                .and_then(|id| starts.of(id.rsplit('/').next().unwrap_or(id)));
            times.extend(started.map(|at| at.saturating_duration_since(*begin)));
        }
        Ok((times.len() == created.len()).then_some(times))
    })
    .await
}

/// The UID of a pod.
pub(crate) async fn uid(rig: &Rig<'_>, name: &str) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(rig.client.clone(), NAMESPACE);
    let pod = pods.get(name).await?;
    pod.metadata.uid.context("a stored pod has a UID")
}

/// Deletes pods and waits until they and their mounts are gone.
pub(crate) async fn delete(rig: &Rig<'_>, created: &HashMap<String, Instant>) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(rig.client.clone(), NAMESPACE);
    let mut uids = Vec::new();
    for pod in pods.list(&ListParams::default()).await?.items {
        let name = pod.metadata.name.unwrap_or_default();
        if created.contains_key(&name) {
            uids.extend(pod.metadata.uid);
            pods.delete(&name, &DeleteParams::default()).await?;
        }
    }
    loop_until(Duration::from_millis(500), "all pods gone", async || {
        let left = pods.list(&ListParams::default()).await?.items;
        let mounts = rig.cluster.mounts(NODE)?;
        let is_gone = left
            .iter()
            .all(|pod| !created.contains_key(pod.metadata.name.as_deref().unwrap_or_default()))
            && uids.iter().all(|uid| !mounts.contains(uid.as_str()));
        Ok(is_gone.then_some(()))
    })
    .await
}

/// As [`eventually`], looking only once in `pause`.
async fn loop_until<T>(
    pause: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    eventually(PATIENCE, what, async || {
        tokio::time::sleep(pause).await;
        look().await
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_starts_of_tasks_are_noted() {
        let start =
            r#"2026-01-02 03:04:05.6 +0000 UTC k8s.io /tasks/start {"container_id":"abc","pid":7}"#;
        assert_eq!(started_container(start), Some("abc".to_owned()));
        for line in [
            r#"2026-01-02 03:04:05.6 +0000 UTC k8s.io /tasks/exit {"container_id":"abc"}"#,
            "x /tasks/start {",
            "",
        ] {
            assert_eq!(started_container(line), None, "{line}");
        }
    }
}

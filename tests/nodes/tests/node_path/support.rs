//! Helpers of this path's tests.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::api::ListParams;
use latchkey_cluster::{Context, eventually, http_get};
use latchkey_e2e::{AGENT, SYSTEM, agent_pod, external_secret, fake, fake_object, list, store};
use serde_json::{Value, json};
use tokio::sync::RwLock;

/// Longest wait for a pod to start or for a change to arrive.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Written to by a test that keeps all processors busy, read by those that hold something to a time: these two do not meet, not even
/// on two clusters.
pub(crate) static QUIET: RwLock<()> = RwLock::const_new(());

/// Applies a Fake `f`, a store `s` and an ExternalSecret `es` with `values`.
pub(crate) async fn apply_values(
    cx: &Context,
    values: &[(&str, &str)],
    interval: &str,
) -> Result<()> {
    let keys: Vec<&str> = values.iter().map(|(key, _)| *key).collect();
    cx.apply(&list(&[
        fake("f", values, Value::Null),
        store("s", "f", "fake"),
        external_secret("es", "s", &keys, interval),
    ]))
    .await?;
    Ok(())
}

/// Applies a Fake `f`, a store `s` and an ExternalSecret `es` whose keys `a` and `b` have this value and are fetched in one call: a
/// pair that differs was not written together.
pub(crate) async fn apply_pair(cx: &Context, value: &str, interval: &str) -> Result<()> {
    cx.apply(&list(&[
        pair(value, Value::Null),
        store("s", "f", "fake"),
        extracting("es", "pair", interval),
    ]))
    .await?;
    Ok(())
}

/// The Fake `f` of [`apply_pair`].
pub(crate) fn pair(value: &str, simulation: Value) -> Value {
    fake_object("f", "pair", &[("a", value), ("b", value)], simulation)
}

/// An ExternalSecret of all values of one object at the store `s`.
pub(crate) fn extracting(name: &str, key: &str, interval: &str) -> Value {
    let mut object = external_secret(name, "s", &[], interval);
    object["spec"]["dataFrom"] = json!([{"extract": {"key": key}}]);
    object
}

/// The content of a file in a pod.
pub(crate) async fn file(cx: &Context, pod: &str, path: &str) -> Result<String> {
    cx.pod_exec(pod, &["cat", path]).await
}

/// Waits until a file in a pod has this content.
pub(crate) async fn file_becomes(cx: &Context, pod: &str, path: &str, content: &str) -> Result<()> {
    eventually(PATIENCE, &format!("{path} of {pod} changes"), async || {
        Ok((file(cx, pod, path).await? == content).then_some(()))
    })
    .await
}

/// The UID of a pod.
pub(crate) async fn uid(cx: &Context, pod: &str) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(cx.client(), cx.namespace());
    pods.get(pod).await?.metadata.uid.context("a pod has a UID")
}

/// The lines of a node's mountinfo that concern a pod's volumes of this driver.
pub(crate) fn mounts_of(cx: &Context, node: &str, uid: &str) -> Result<Vec<String>> {
    let own = format!("/pods/{uid}/volumes/kubernetes.io~csi/");
    let mounts = cx.cluster().mounts(node)?;
    let lines = mounts.lines().filter(|line| line.contains(&own));
    Ok(lines.map(str::to_owned).collect())
}

/// Waits for an event regarding a pod whose reason is `reason` and whose text contains all of `parts`.
pub(crate) async fn event(cx: &Context, pod: &str, reason: &str, parts: &[&str]) -> Result<String> {
    event_within(cx, PATIENCE, pod, reason, parts).await
}

/// As [`event`], for as long as `limit`.
pub(crate) async fn event_within(
    cx: &Context,
    limit: Duration,
    pod: &str,
    reason: &str,
    parts: &[&str],
) -> Result<String> {
    let events: Api<Event> = Api::namespaced(cx.client(), cx.namespace());
    let selector = ListParams::default().fields(&format!("involvedObject.name={pod}"));
    let mut seen = Vec::new();
    let found = eventually(limit, "an event", async || {
        seen = events
            .list(&selector)
            .await?
            .items
            .into_iter()
            .map(|event| (event.reason, event.message.unwrap_or_default()))
            .collect();
        let found = seen.iter().find(|(its, text)| {
            its.as_deref() == Some(reason) && parts.iter().all(|part| text.contains(part))
        });
        Ok(found.map(|(_, text)| text.clone()))
    })
    .await;
    found.with_context(|| format!("pod {pod} has no event {reason} with {parts:?}, but {seen:?}"))
}

/// How often kubelet asked the agent on a node to publish a volume.
pub(crate) async fn publishes(cx: &Context, node: &str) -> Result<u64> {
    let status = agent_pod(cx, node).await?.status;
    let address = status
        .and_then(|status| status.pod_ip)
        .context("the agent has an address")?;
    let (_, text) = http_get::get(&format!("http://{address}:8081/metrics")).await?;
    text.lines()
        .find(|line| {
            line.starts_with("latchkey_csi_kubelet_calls_total")
                && line.contains("\"NodePublishVolume\"")
        })
        .and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .context("the agent counts publishes")
}

/// Kills the agent's process on a node (SIGKILL) and waits until another one is ready in its place.
pub(crate) async fn kill_agent(cx: &Context, node: &str) -> Result<()> {
    let pod = agent_pod(cx, node).await?;
    let name = pod.metadata.name.clone().context("a pod has a name")?;
    let before = agent_container(cx, node).await?;
    signal(cx, node, &before, "SIGKILL")?;
    eventually(PATIENCE, &format!("{name} runs again"), async || {
        let pod = agent_pod(cx, node).await?;
        Ok(container_id(&pod).filter(|id| *id != before))
    })
    .await?;
    Ok(())
}

/// The container of the ready agent on a node.
pub(crate) async fn agent_container(cx: &Context, node: &str) -> Result<String> {
    let pod = agent_pod(cx, node).await?;
    container_id(&pod).context("the agent has a container")
}

/// Sends a signal to the process of a container.
pub(crate) fn signal(cx: &Context, node: &str, container: &str, name: &str) -> Result<()> {
    let mut kill = cx.cluster().ctr(node)?;
    kill.args(["task", "kill", "--signal", name, container]);
    let output = kill.output()?;
    if !output.status.success() {
        bail!(
            "failed to send {name} to {container}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

fn container_id(pod: &Pod) -> Option<String> {
    let status = pod
        .status
        .as_ref()?
        .container_statuses
        .as_ref()?
        .iter()
        .find(|status| status.ready)?;
    let id = status.container_id.as_deref()?;
    Some(id.strip_prefix("containerd://").unwrap_or(id).to_owned())
}

/// A pod whose container reads `a` and `b` below `/v` as one set, over and over, and logs each new set and each mixed one.
/// Both values must always be equal.
pub(crate) fn reader(name: &str, node: &str, attributes: Value) -> Value {
    let script = "last=; while true; do d=$(readlink /v/..data) && a=$(cat /v/$d/a) && b=$(cat /v/$d/b) || echo FAILED; \
                  [ \"$a\" = \"$b\" ] || echo MIXED; [ \"$d\" = \"$last\" ] || { echo SET; last=$d; }; sleep 0.01; done";
    let mut pod = latchkey_e2e::pod(name, node, &[latchkey_e2e::volume("v", attributes)]);
    pod["spec"]["containers"][0]["command"] = json!(["sh", "-c", script]);
    pod
}

/// What the reader saw: the number of sets. Fails if one read failed or was mixed.
pub(crate) async fn sets_read(cx: &Context, pod: &str) -> Result<usize> {
    let log = cx.kubectl(&["logs", pod]).await?;
    if let Some(line) = log.lines().find(|line| *line != "SET") {
        bail!("the reader in {pod} saw {line}");
    }
    Ok(log.lines().count())
}

/// Sends the DaemonSet's agents away from every node and waits until they are gone.
pub(crate) async fn send_agents_away(cx: &Context) -> Result<()> {
    select_nodes(cx, &json!("true")).await?;
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
    Ok(())
}

/// Lets the DaemonSet's agents run again.
pub(crate) async fn call_agents_back(cx: &Context) -> Result<()> {
    select_nodes(cx, &Value::Null).await
}

async fn select_nodes(cx: &Context, nowhere: &Value) -> Result<()> {
    let selector = json!({"latchkey.test/nowhere": nowhere});
    let patch = json!({"spec": {"template": {"spec": {"nodeSelector": selector}}}}).to_string();
    cx.kubectl(&[
        "patch",
        "daemonset",
        "latchkey",
        "--namespace",
        SYSTEM,
        "--type=merge",
        "--patch",
        &patch,
    ])
    .await?;
    Ok(())
}

/// Waits until the API server knows no pod of this name.
pub(crate) async fn pod_goes(cx: &Context, pod: &str) -> Result<()> {
    eventually(PATIENCE, &format!("{pod} goes"), async || {
        let found = cx
            .kubectl(&["get", "pod", pod, "--ignore-not-found", "--output=name"])
            .await?;
        Ok(found.is_empty().then_some(()))
    })
    .await
}

/// Waits until kubelet has nothing of a pod any more: no mount of any kind, no folder.
pub(crate) async fn nothing_is_left(cx: &Context, node: &str, uid: &str) -> Result<()> {
    let folder = format!("{}/pods/{uid}", cx.cluster().kubelet_root(node)?);
    let path = cx.node_path(node, &folder)?;
    eventually(2 * PATIENCE, &format!("{folder} goes"), async || {
        let mounts = cx.cluster().mounts(node)?;
        Ok((!mounts.contains(&folder) && !path.exists()).then_some(()))
    })
    .await
}

/// A volume of a pod as this process reaches it.
pub(crate) fn volume_folder(cx: &Context, node: &str, uid: &str, volume: &str) -> Result<PathBuf> {
    let root = cx.cluster().kubelet_root(node)?;
    let path = format!("{root}/pods/{uid}/volumes/kubernetes.io~csi/{volume}/mount");
    cx.node_path(node, &path)
}

/// Waits until the agent on a node has a volume whose first publish is not done.
pub(crate) async fn is_publishing(cx: &Context, node: &str) -> Result<()> {
    eventually(PATIENCE, "a publish is under way", async || {
        let address = agent_pod(cx, node)
            .await?
            .status
            .and_then(|status| status.pod_ip);
        let address = address.context("the agent has an address")?;
        let (_, text) = http_get::get(&format!("http://{address}:8081/metrics")).await?;
        let none = "latchkey_csi_volumes{state=\"pending\"} 0";
        let known = text.contains("latchkey_csi_volumes{state=\"pending\"}");
        Ok((known && !text.contains(none)).then_some(()))
    })
    .await
}

/// A SIGKILL for an agent's process, ready to be sent within a millisecond.
pub(crate) struct Gun {
    sender: Child,
    pod: String,
}

// === impl Gun ===

impl Gun {
    /// Aims at the agent on a node.
    pub(crate) async fn aim(cx: &Context, node: &str) -> Result<Self> {
        let pod = agent_pod(cx, node).await?;
        let container = container_id(&pod).context("the agent has a container")?;
        let tasks = cx.cluster().ctr(node)?.args(["task", "ls"]).output()?;
        let tasks = String::from_utf8_lossy(&tasks.stdout).into_owned();
        let process = tasks
            .lines()
            .find(|line| line.starts_with(&container))
            .and_then(|line| line.split_whitespace().nth(1))
            .context("the agent has a process")?;
        // The shell is there already and waits for a line: the time to start one would be too long.
        let sender = cx
            .cluster()
            .command("sh")
            .args(["-c", &format!("read word && kill -9 {process}")])
            .stdin(Stdio::piped())
            .spawn()?;
        Ok(Self {
            sender,
            pod: pod.metadata.name.context("a pod has a name")?,
        })
    }

    /// Kills the process; the agent's pod goes too, so that another one takes its place without kubelet's growing pauses.
    pub(crate) async fn fire(mut self, cx: &Context) -> Result<()> {
        let mut pipe = self.sender.stdin.take().context("the shell has an input")?;
        pipe.write_all(b"now\n")?;
        drop(pipe);
        ensure!(self.sender.wait()?.success(), "the agent was not killed");
        cx.kubectl(&[
            "delete",
            "pod",
            &self.pod,
            "--namespace",
            SYSTEM,
            "--wait=false",
        ])
        .await?;
        Ok(())
    }
}

/// Kills the agent on a node (SIGKILL) and waits until another pod has taken its place, any number of times.
pub(crate) async fn replace_agent(cx: &Context, node: &str) -> Result<()> {
    let gun = Gun::aim(cx, node).await?;
    let killed = gun.pod.clone();
    gun.fire(cx).await?;
    eventually(PATIENCE, &format!("another agent on {node}"), async || {
        Ok((agent_pod(cx, node).await?.metadata.name.as_deref() != Some(&killed)).then_some(()))
    })
    .await
}

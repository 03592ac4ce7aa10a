//! First mounts that fail (cluster.md 7.7): with every code that kubelet can be shown, the pod goes and nothing of it stays.
//!
//! Not shown here: ALREADY_EXISTS, which kubelet cannot provoke. It is for a volume that is published with other attributes than
//! before, and neither the volumes of a pod nor where they are mounted ever change. The tests of `latchkey-csi` ask for it on the
//! socket.

use std::time::Duration;

use anyhow::{Result, ensure};
use latchkey_cluster::either::test_alone;
use latchkey_cluster::{Context, eventually};
use latchkey_e2e::{
    SYSTEM, agent_pod, ensure_installed, external_secret, fake, list, pod, store, volume,
};
use serde_json::{Value, json};

use crate::support::{
    PATIENCE, event, event_within, is_publishing, mounts_of, nothing_is_left, pod_goes, uid,
    volume_folder,
};

/// What a provider answers, and what kubelet is told: never the same by itself (csi.md 1.6).
const PROVIDER_CODES: [(&str, &str); 6] = [
    ("NOT_FOUND", "NotFound"),
    ("INVALID_ARGUMENT", "FailedPrecondition"),
    ("FAILED_PRECONDITION", "FailedPrecondition"),
    ("UNIMPLEMENTED", "FailedPrecondition"),
    ("UNAUTHENTICATED", "Unauthenticated"),
    ("PERMISSION_DENIED", "Unauthenticated"),
];

/// What a provider answers when another try may help: kubelet waits, and is not told.
const WAITED_FOR: [&str; 4] = [
    "RESOURCE_EXHAUSTED",
    "ALREADY_EXISTS",
    "INTERNAL",
    "DATA_LOSS",
];

/// How long a provider that is too slow takes to answer: longer than kubelet waits.
const TOO_LONG: &str = "300s";

/// Longest wait for what the agent answers when kubelet's two minutes are nearly up.
const PATIENCE_FOR_DEADLINES: Duration = Duration::from_secs(240);

/// Characters of one file: nearly the most that a template may write. Its tmpfs has room for two of it.
const LARGE: usize = 2_000_000;

/// Volumes with one such file: more than the node's 64 MiB.
const TOO_MANY: usize = 20;

/// cluster.md 7.7. After the final codes kubelet does not unpublish, after the others it does.
#[test]
fn a_first_mount_that_failed_leaves_nothing_whatever_its_code() -> Result<()> {
    test_alone(async |cx| {
        ensure_installed(&cx).await?;
        cx.apply(&list(&[
            fake("f", &[("key", "value")], Value::Null),
            store("s", "f", "fake"),
        ]))
        .await?;
        // On the other node, because the agent of this one is sent away in between.
        let (one, two, three) = tokio::join!(
            whatever_is_told(&cx, "n1"),
            deadline_exceeded(&cx, "n2"),
            resource_exhausted(&cx, "n2")
        );
        one.and(two).and(three)
    })
}

/// All codes but those that take their time or a node's room.
async fn whatever_is_told(cx: &Context, node: &str) -> Result<()> {
    let mut others = external_secret("others", "s", &["key"], "1h");
    others["metadata"]["annotations"] =
        json!({"latchkey.dev/allowed-service-accounts": "somebody"});
    cx.apply(&list(&[
        external_secret("es", "s", &["key"], "1h"),
        external_secret("absent", "s", &["nothing"], "1h"),
        others,
    ]))
    .await?;
    let items = json!([{"key": "other", "path": "x"}]).to_string();
    let mut failing = vec![
        (
            "attribute".to_owned(),
            "InvalidArgument",
            json!({"externalSecret": "es", "unknown": "x"}),
        ),
        (
            "item".to_owned(),
            "FailedPrecondition",
            json!({"externalSecret": "es", "items": items}),
        ),
        (
            "key".to_owned(),
            "NotFound",
            json!({"externalSecret": "absent"}),
        ),
        (
            "account".to_owned(),
            "PermissionDenied",
            json!({"externalSecret": "others"}),
        ),
    ];
    for (code, told) in PROVIDER_CODES {
        let name = answering(cx, code).await?;
        failing.push((name.clone(), told, json!({"externalSecret": name})));
    }
    let pods = failing
        .iter()
        .map(|(name, _, attributes)| pod(name, node, &[volume("v", attributes.clone())]));
    cx.apply(&list(&pods.collect::<Vec<_>>())).await?;
    for (name, told, _) in &failing {
        event(cx, name, "FailedMount", &[told]).await?;
    }
    unavailable(cx, node).await?;
    let names: Vec<&str> = failing.iter().map(|(name, ..)| name.as_str()).collect();
    go(cx, node, &names).await?;
    agent_pod(cx, node).await?;
    internal(cx, node).await?;
    aborted(cx, node).await
}

/// Nothing is known when kubelet's time is nearly up: the provider does not answer, and the ExternalSecret has changed since it was
/// last asked, so that an earlier failure says nothing.
async fn deadline_exceeded(cx: &Context, node: &str) -> Result<()> {
    let slow = json!({"latency": {"perOperation": {"GetSecret": {"base": TOO_LONG}}}});
    let mut patient = store("mute", "mute", "fake");
    // One call that fails after all of it, instead of many that would hold up other stores of the provider.
    patient["spec"]["retrySettings"] = json!({"maxRetries": 5, "retryInterval": "1s"});
    let attributes = json!({"externalSecret": "mute"});
    cx.apply(&list(&[
        fake("mute", &[("key", "value")], slow),
        patient,
        external_secret("mute", "mute", &["key"], "1h"),
        pod("deadline", node, &[volume("v", attributes)]),
    ]))
    .await?;
    let uid = uid(cx, "deadline").await?;
    let record = volume_folder(cx, node, &uid, "v")?.with_file_name("vol_data.json");
    eventually(PATIENCE, "kubelet asks for the volume", async || {
        Ok(record.exists().then_some(()))
    })
    .await?;
    // The pod is on its way out when the answer comes: kubelet shall not wait once more.
    cx.kubectl(&["delete", "pod", "deadline", "--wait=false"])
        .await?;
    let parts = ["DeadlineExceeded", "no answer for", "in time"];
    tokio::select! {
        told = event_within(cx, PATIENCE_FOR_DEADLINES, "deadline", "FailedMount", &parts) => told?,
        changed = keeps_changing(cx, "mute") => return changed,
    };
    pod_goes(cx, "deadline").await?;
    nothing_is_left(cx, node, &uid).await
}

/// Changes an ExternalSecret again and again, and never ends by itself.
async fn keeps_changing(cx: &Context, name: &str) -> Result<()> {
    for round in 0_u32.. {
        let annotation = format!("latchkey.test/round={round}");
        let annotate = ["annotate", "externalsecret", name, "--overwrite"];
        cx.kubectl(&[&annotate[..], &[&annotation]].concat())
            .await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    Ok(())
}

/// A pod whose volumes are together more than the agent lets a node hold. What others hold there meanwhile changes nothing.
async fn resource_exhausted(cx: &Context, node: &str) -> Result<()> {
    let mut large = external_secret("large", "s", &["key"], "1h");
    large["spec"]["target"]["template"] =
        json!({"data": {"large": format!("{{{{ repeat {LARGE} \"x\" }}}}")}});
    let attributes = json!({"externalSecret": "large", "sizeLimit": "2Mi"});
    let volumes: Vec<Value> = (0..TOO_MANY)
        .map(|number| volume(&format!("v{number}"), attributes.clone()))
        .collect();
    cx.apply(&list(&[large, pod("exhausted", node, &volumes)]))
        .await?;
    let parts = [
        "ResourceExhausted",
        "the node's budget for volumes is used up",
    ];
    event(cx, "exhausted", "FailedMount", &parts).await?;
    go(cx, node, &["exhausted"]).await
}

/// A store whose provider answers each read with `code`, and an ExternalSecret of it: the name of all of them.
async fn answering(cx: &Context, code: &str) -> Result<String> {
    let name = code.to_lowercase().replace('_', "-");
    let simulation = json!({"failures": [{"code": code, "operations": ["GetSecret"]}]});
    cx.apply(&list(&[
        fake(&name, &[("key", "value")], simulation),
        store(&name, &name, "fake"),
        external_secret(&name, &name, &["key"], "1h"),
    ]))
    .await?;
    Ok(name)
}

/// An agent that ends answers those that wait: for a provider that does not answer, and for one that may answer otherwise soon.
async fn unavailable(cx: &Context, node: &str) -> Result<()> {
    let values = [("key", "value")];
    let slow = json!({"latency": {"perOperation": {"GetSecret": {"base": TOO_LONG}}}});
    cx.apply(&list(&[
        fake("slow", &values, slow),
        store("slow", "slow", "fake"),
        external_secret("slow", "slow", &["key"], "1h"),
    ]))
    .await?;
    let mut names = vec!["slow".to_owned()];
    for code in WAITED_FOR {
        names.push(answering(cx, code).await?);
    }
    let pods = names
        .iter()
        .map(|name| pod(name, node, &[volume("v", json!({"externalSecret": name}))]));
    cx.apply(&list(&pods.collect::<Vec<_>>())).await?;
    // The agent tells each pod what its provider answers, long before kubelet is told anything.
    for name in &names[1..] {
        event(cx, name, "SecretMountFailed", &["simulated failure"]).await?;
    }
    is_publishing(cx, node).await?;
    let mut uids = Vec::new();
    for name in &names {
        uids.push(uid(cx, name).await?);
    }
    // The pods are on their way out when the answer comes: kubelet shall not wait once more.
    let mut delete = vec!["delete", "pod", "--wait=false"];
    delete.extend(names.iter().map(String::as_str));
    cx.kubectl(&delete).await?;
    let agent = agent_pod(cx, node).await?.metadata.name.unwrap_or_default();
    cx.kubectl(&["delete", "pod", &agent, "--namespace", SYSTEM])
        .await?;
    for name in &names {
        event(cx, name, "FailedMount", &["Unavailable"]).await?;
    }
    cx.apply(&list(&[fake("slow", &values, Value::Null)]))
        .await?;
    for (name, uid) in names.iter().zip(&uids) {
        pod_goes(cx, name).await?;
        nothing_is_left(cx, node, uid).await?;
    }
    Ok(())
}

/// The folder that kubelet made for the volume is gone when the content comes.
async fn internal(cx: &Context, node: &str) -> Result<()> {
    let attributes = json!({"externalSecret": "later"});
    cx.apply(&list(&[pod("internal", node, &[volume("v", attributes)])]))
        .await?;
    is_publishing(cx, node).await?;
    let uid = uid(cx, "internal").await?;
    let mount = volume_folder(cx, node, &uid, "v")?;
    if let Some(folder) = mount.parent() {
        std::fs::remove_dir_all(folder)?;
    }
    cx.apply(&list(&[external_secret("later", "s", &["key"], "1h")]))
        .await?;
    event(cx, "internal", "FailedMount", &["Internal"]).await?;
    go(cx, node, &["internal"]).await
}

/// The state of a volume cannot be written: what was mounted is taken away again, and kubelet is asked to unpublish.
async fn aborted(cx: &Context, node: &str) -> Result<()> {
    let root = cx.cluster().kubelet_root(node)?;
    let states = format!("{root}/plugins/csi.latchkey.dev/volumes");
    let aside = format!("{states}.aside");
    cx.on_node(node, &["mv", &states, &aside]).await?;
    cx.on_node(node, &["touch", &states]).await?;
    let attributes = json!({"externalSecret": "es"});
    cx.apply(&list(&[pod("aborted", node, &[volume("v", attributes)])]))
        .await?;
    let seen = event(cx, "aborted", "FailedMount", &["Aborted"]).await;
    // Whatever was found: other volumes of the node need their states.
    cx.on_node(node, &["rm", &states]).await?;
    cx.on_node(node, &["mv", &aside, &states]).await?;
    seen?;
    go(cx, node, &["aborted"]).await
}

/// Deletes pods and waits until nothing of them is left.
async fn go(cx: &Context, node: &str, pods: &[&str]) -> Result<()> {
    let mut uids = Vec::new();
    for pod in pods {
        uids.push(uid(cx, pod).await?);
    }
    cx.kubectl(&[&["delete", "pod", "--wait=false"], pods].concat())
        .await?;
    for (pod, uid) in pods.iter().zip(&uids) {
        pod_goes(cx, pod).await?;
        nothing_is_left(cx, node, uid).await?;
        ensure!(mounts_of(cx, node, uid)?.is_empty());
    }
    Ok(())
}

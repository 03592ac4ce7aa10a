//! First mounts that fail (cluster.md 7.7): with every code that kubelet can be shown, the pod goes and nothing of it stays.
//!
//! Not shown here: DEADLINE_EXCEEDED, which takes two minutes, RESOURCE_EXHAUSTED, for which a node must be full, and
//! ALREADY_EXISTS, for which kubelet must misbehave. `latchkey-csi` has them on real mounts.

use anyhow::{Result, ensure};
use latchkey_cluster::{Context, test_alone};
use latchkey_e2e::{
    SYSTEM, agent_pod, ensure_installed, external_secret, fake, list, pod, store, volume,
};
use serde_json::{Value, json};

use crate::support::{
    event, is_publishing, mounts_of, nothing_is_left, pod_goes, uid, volume_folder,
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

/// cluster.md 7.7. After the final codes kubelet does not unpublish, after the others it does.
#[test]
fn a_first_mount_that_failed_leaves_nothing_whatever_its_code() -> Result<()> {
    test_alone(async |cx| {
        ensure_installed(&cx).await?;
        let mut others = external_secret("others", "s", &["key"], "1h");
        others["metadata"]["annotations"] =
            json!({"latchkey.dev/allowed-service-accounts": "somebody"});
        cx.apply(&list(&[
            fake("f", &[("key", "value")], Value::Null),
            store("s", "f", "fake"),
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
            let name = answering(&cx, code).await?;
            failing.push((name.clone(), told, json!({"externalSecret": name})));
        }
        let pods = failing
            .iter()
            .map(|(name, _, attributes)| pod(name, "n1", &[volume("v", attributes.clone())]));
        cx.apply(&list(&pods.collect::<Vec<_>>())).await?;
        for (name, told, _) in &failing {
            event(&cx, name, "FailedMount", &[told]).await?;
        }
        unavailable(&cx).await?;
        for (name, ..) in &failing {
            go(&cx, name).await?;
        }
        agent_pod(&cx, "n1").await?;
        internal(&cx).await?;
        aborted(&cx).await
    })
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
async fn unavailable(cx: &Context) -> Result<()> {
    let values = [("key", "value")];
    let slow = json!({"latency": {"perOperation": {"GetSecret": {"base": "300s"}}}});
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
        .map(|name| pod(name, "n1", &[volume("v", json!({"externalSecret": name}))]));
    cx.apply(&list(&pods.collect::<Vec<_>>())).await?;
    // The agent tells each pod what its provider answers, long before kubelet is told anything.
    for name in &names[1..] {
        event(cx, name, "SecretMountFailed", &["simulated failure"]).await?;
    }
    is_publishing(cx, "n1").await?;
    let mut uids = Vec::new();
    for name in &names {
        uids.push(uid(cx, name).await?);
    }
    // The pods are on their way out when the answer comes: kubelet shall not wait once more.
    let mut delete = vec!["delete", "pod", "--wait=false"];
    delete.extend(names.iter().map(String::as_str));
    cx.kubectl(&delete).await?;
    let agent = agent_pod(cx, "n1").await?.metadata.name.unwrap_or_default();
    cx.kubectl(&["delete", "pod", &agent, "--namespace", SYSTEM])
        .await?;
    for name in &names {
        event(cx, name, "FailedMount", &["Unavailable"]).await?;
    }
    cx.apply(&list(&[fake("slow", &values, Value::Null)]))
        .await?;
    for (name, uid) in names.iter().zip(&uids) {
        pod_goes(cx, name).await?;
        nothing_is_left(cx, "n1", uid).await?;
    }
    Ok(())
}

/// The folder that kubelet made for the volume is gone when the content comes.
async fn internal(cx: &Context) -> Result<()> {
    let attributes = json!({"externalSecret": "later"});
    cx.apply(&list(&[pod("internal", "n1", &[volume("v", attributes)])]))
        .await?;
    is_publishing(cx, "n1").await?;
    let uid = uid(cx, "internal").await?;
    let mount = volume_folder(cx, "n1", &uid, "v")?;
    if let Some(folder) = mount.parent() {
        std::fs::remove_dir_all(folder)?;
    }
    cx.apply(&list(&[external_secret("later", "s", &["key"], "1h")]))
        .await?;
    event(cx, "internal", "FailedMount", &["Internal"]).await?;
    go(cx, "internal").await
}

/// The state of a volume cannot be written: what was mounted is taken away again, and kubelet is asked to unpublish.
async fn aborted(cx: &Context) -> Result<()> {
    let root = cx.cluster().kubelet_root("n1")?;
    let states = format!("{root}/plugins/csi.latchkey.dev/volumes");
    let aside = format!("{states}.aside");
    cx.on_node("n1", &["mv", &states, &aside]).await?;
    cx.on_node("n1", &["touch", &states]).await?;
    let attributes = json!({"externalSecret": "es"});
    cx.apply(&list(&[pod("aborted", "n1", &[volume("v", attributes)])]))
        .await?;
    let seen = event(cx, "aborted", "FailedMount", &["Aborted"]).await;
    // Whatever was found: other volumes of the node need their states.
    cx.on_node("n1", &["rm", &states]).await?;
    cx.on_node("n1", &["mv", &aside, &states]).await?;
    seen?;
    go(cx, "aborted").await
}

async fn go(cx: &Context, pod: &str) -> Result<()> {
    let uid = uid(cx, pod).await?;
    cx.kubectl(&["delete", "pod", pod, "--wait=false"]).await?;
    pod_goes(cx, pod).await?;
    nothing_is_left(cx, "n1", &uid).await?;
    ensure!(mounts_of(cx, "n1", &uid)?.is_empty());
    Ok(())
}

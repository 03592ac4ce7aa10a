//! First mounts that fail (cluster.md 7.7): with every code that kubelet can be shown, the pod goes and nothing of it stays.
//!
//! Not shown here: DEADLINE_EXCEEDED, which takes two minutes, and RESOURCE_EXHAUSTED, INTERNAL and ALREADY_EXISTS, for which a
//! node must be broken or kubelet must misbehave. `latchkey-csi` has them on real mounts.

use anyhow::{Result, ensure};
use latchkey_cluster::{Context, test_alone};
use latchkey_e2e::{
    SYSTEM, agent_pod, ensure_installed, external_secret, fake, list, pod, store, volume,
};
use serde_json::{Value, json};

use crate::support::{event, is_publishing, mounts_of, nothing_is_left, pod_goes, uid};

/// cluster.md 7.7. After the final codes kubelet does not unpublish, after the others it does.
#[test]
fn a_first_mount_that_failed_leaves_nothing_whatever_its_code() -> Result<()> {
    test_alone(async |cx| {
        ensure_installed(&cx).await?;
        let refusing =
            json!({"failures": [{"code": "UNAUTHENTICATED", "operations": ["GetSecret"]}]});
        let slow = json!({"latency": {"perOperation": {"GetSecret": {"base": "300s"}}}});
        let mut others = external_secret("others", "s", &["key"], "1h");
        others["metadata"]["annotations"] =
            json!({"latchkey.dev/allowed-service-accounts": "somebody"});
        let values = [("key", "value")];
        cx.apply(&list(&[
            fake("f", &values, Value::Null),
            fake("refusing", &values, refusing),
            fake("slow", &values, slow),
            store("s", "f", "fake"),
            store("refusing", "refusing", "fake"),
            store("slow", "slow", "fake"),
            external_secret("es", "s", &["key"], "1h"),
            external_secret("absent", "s", &["nothing"], "1h"),
            external_secret("refused", "refusing", &["key"], "1h"),
            external_secret("waiting", "slow", &["key"], "1h"),
            others,
        ]))
        .await?;
        let items = json!([{"key": "other", "path": "x"}]).to_string();
        let failing = [
            (
                "InvalidArgument",
                json!({"externalSecret": "es", "unknown": "x"}),
            ),
            (
                "FailedPrecondition",
                json!({"externalSecret": "es", "items": items}),
            ),
            ("NotFound", json!({"externalSecret": "absent"})),
            ("PermissionDenied", json!({"externalSecret": "others"})),
            ("Unauthenticated", json!({"externalSecret": "refused"})),
            ("Unavailable", json!({"externalSecret": "waiting"})),
        ];
        let pods: Vec<Value> = failing
            .iter()
            .map(|(code, attributes)| {
                pod(
                    &code.to_lowercase(),
                    "n1",
                    &[volume("v", attributes.clone())],
                )
            })
            .collect();
        cx.apply(&list(&pods)).await?;
        for (code, _) in &failing[..failing.len() - 1] {
            event(&cx, &code.to_lowercase(), "FailedMount", &[code]).await?;
        }
        // An agent that ends answers those that wait. The pod is on its way out by then: kubelet shall not wait once more.
        is_publishing(&cx, "n1").await?;
        let waiting = uid(&cx, "unavailable").await?;
        cx.kubectl(&["delete", "pod", "unavailable", "--wait=false"])
            .await?;
        let agent = agent_pod(&cx, "n1").await?.metadata.name;
        let agent = agent.unwrap_or_default();
        cx.kubectl(&["delete", "pod", &agent, "--namespace", SYSTEM])
            .await?;
        event(&cx, "unavailable", "FailedMount", &["Unavailable"]).await?;
        cx.apply(&list(&[fake("slow", &values, Value::Null)]))
            .await?;
        pod_goes(&cx, "unavailable").await?;
        nothing_is_left(&cx, "n1", &waiting).await?;
        for (code, _) in &failing[..failing.len() - 1] {
            go(&cx, &code.to_lowercase()).await?;
        }
        agent_pod(&cx, "n1").await?;
        aborted(&cx).await
    })
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

//! Two agents on two nodes: exactly one writes a given Secret, whatever becomes of it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use latchkey_cluster::{Context, eventually, test_alone};
use latchkey_e2e::{SYSTEM, agent_pod, ensure_installed, external_secret, fake, list, store};
use serde_json::{Value, json};

use crate::support::{PATIENCE, agent_container, kill_agent, signal};

/// Changes of the value while nothing is disturbed.
const ROTATIONS: usize = 5;

/// Long enough for five refreshes: a second writer would have written by then.
const SETTLED: Duration = Duration::from_secs(5);

/// A write of the Secret that the API server accepted: the verb, and the pod that asked.
type Write = (String, String);

/// The audit log is the witness: as many writes as changes, all by the leader of the moment. The leader is killed, and the next one
/// stopped and woken again: a leader that has slept through its lease must not write on.
#[test]
fn exactly_one_of_two_agents_writes_a_secret_and_the_other_takes_over() -> Result<()> {
    test_alone(async |cx| {
        ensure_installed(&cx).await?;
        let mut object = external_secret("es", "s", &["a"], "1s");
        object["spec"]["target"] = json!({"name": "made"});
        cx.apply(&list(&[
            fake("f", &[("a", "value 0")], Value::Null),
            store("s", "f", "fake"),
            object,
        ]))
        .await?;
        secret_becomes(&cx, "value 0").await?;
        let leader = holder(&cx).await?;
        let pod = pod_of(&cx, &leader).await?;
        for number in 1..=ROTATIONS {
            rotate(&cx, &format!("value {number}")).await?;
        }
        tokio::time::sleep(SETTLED).await;
        let mut expected = vec![("create".to_owned(), pod.clone())];
        expected.resize(1 + ROTATIONS, ("update".to_owned(), pod));
        ensure!(
            writes(&cx)? == expected,
            "undisturbed: {:?} instead of {expected:?}",
            writes(&cx)?
        );

        let second = kill_until_other_node_leads(&cx, leader).await?;
        let pod = pod_of(&cx, &second).await?;
        rotate(&cx, "after the kill").await?;
        tokio::time::sleep(SETTLED).await;
        expected.push(("update".to_owned(), pod));
        ensure!(
            writes(&cx)? == expected,
            "after the kill: {:?} instead of {expected:?}",
            writes(&cx)?
        );

        let stopped = node_of(&second).to_owned();
        let container = agent_container(&cx, &stopped).await?;
        signal(&cx, &stopped, &container, "SIGSTOP")?;
        let outcome = rotate(&cx, "while the leader sleeps").await;
        // Whatever was found: nobody else can wake it.
        signal(&cx, &stopped, &container, "SIGCONT")?;
        outcome?;
        let third = holder(&cx).await?;
        ensure!(
            node_of(&third) != stopped,
            "{third} leads, although it slept"
        );
        let pod = pod_of(&cx, &third).await?;
        rotate(&cx, "after its return").await?;
        tokio::time::sleep(SETTLED).await;
        expected.resize(expected.len() + 2, ("update".to_owned(), pod));
        ensure!(
            writes(&cx)? == expected,
            "after the sleep: {:?} instead of {expected:?}",
            writes(&cx)?
        );
        Ok(())
    })
}

/// Kills the leader's process until an agent of the other node leads. Nearly always once: kubelet starts the process again at
/// once, but it has looked at the Lease for a shorter time.
async fn kill_until_other_node_leads(cx: &Context, leader: String) -> Result<String> {
    let mut former = leader.clone();
    for _ in 0..3 {
        kill_agent(cx, node_of(&former)).await?;
        let next = eventually(PATIENCE, "another process leads", async || {
            Ok(Some(holder(cx).await?).filter(|next| !next.is_empty() && *next != former))
        })
        .await?;
        if node_of(&next) != node_of(&leader) {
            return Ok(next);
        }
        former = next;
    }
    anyhow::bail!("three processes on the node of {leader} led one after the other")
}

/// Changes the value and waits until the Secret has it.
async fn rotate(cx: &Context, value: &str) -> Result<()> {
    cx.apply(&list(&[fake("f", &[("a", value)], Value::Null)]))
        .await?;
    secret_becomes(cx, value).await
}

async fn secret_becomes(cx: &Context, value: &str) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(cx.client(), cx.namespace());
    eventually(
        PATIENCE,
        &format!("the Secret holds \"{value}\""),
        async || {
            let secret = secrets.get_opt("made").await?;
            let found = secret.and_then(|secret| secret.data?.remove("a"));
            Ok(found.filter(|found| found.0 == value.as_bytes()))
        },
    )
    .await?;
    Ok(())
}

/// The process that leads: its node, `_` and a number of its own.
async fn holder(cx: &Context) -> Result<String> {
    let leases: Api<Lease> = Api::namespaced(cx.client(), SYSTEM);
    let lease = leases.get("latchkey-sync").await?;
    let holder = lease.spec.and_then(|spec| spec.holder_identity);
    Ok(holder.unwrap_or_default())
}

fn node_of(holder: &str) -> &str {
    holder.split_once('_').map_or(holder, |(node, _)| node)
}

async fn pod_of(cx: &Context, holder: &str) -> Result<String> {
    let pod = agent_pod(cx, node_of(holder)).await?;
    pod.metadata.name.context("a pod has a name")
}

/// All writes of the Secret so far, oldest first.
fn writes(cx: &Context) -> Result<Vec<Write>> {
    let events = cx.audit(SYSTEM, "latchkey-node")?;
    let accepted = events.into_iter().filter(|event| {
        let object = &event.object_ref;
        object.resource == "secrets"
            && object.namespace == cx.namespace()
            && object.name == "made"
            && !matches!(event.verb.as_str(), "get" | "list" | "watch")
            && event.response_status.code < 300
    });
    Ok(accepted
        .map(|event| (event.verb.clone(), event.user.pod().to_owned()))
        .collect())
}

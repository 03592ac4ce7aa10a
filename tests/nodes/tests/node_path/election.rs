//! Two agents on two nodes share the work: exactly one writes a given Secret, whatever becomes of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use latchkey::shards::shard_of;
use latchkey_cluster::either::test_alone;
use latchkey_cluster::{Context, eventually};
use latchkey_e2e::{SYSTEM, agent_pod, ensure_installed, external_secret, fake, list, store};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{PATIENCE, QUIET, agent_container, kill_agent, signal};

/// The chart's default of `sync.shards`.
const SHARDS: u16 = 4;

/// Changes of the value while nothing is disturbed.
const ROTATIONS: usize = 5;

/// Long enough for five refreshes: a second writer would have written by then.
const SETTLED: Duration = Duration::from_secs(5);

/// What a lost node's agent held is another's by then, and written.
const TAKEN_OVER: Duration = Duration::from_secs(20);

/// A write of the Secret that the API server accepted: the verb, and the pod that asked.
type Write = (String, String);

/// The audit log is the witness: as many writes as changes, each by an agent that held the object's shard. The holder is killed, and the
/// next one stopped and woken again: one that has slept through its lease must not write on. At last the holder's whole node is
/// lost, with its kubelet.
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
        let mut witness = Witness::default();
        secret_becomes(&cx, "value 0").await?;
        witness.saw(&cx, &holder(&cx).await?).await?;
        for number in 1..=ROTATIONS {
            witness.rotate(&cx, &format!("value {number}")).await?;
        }
        witness.check(&cx, "undisturbed").await?;

        let second = kill_until_other_node_holds(&cx, holder(&cx).await?).await?;
        witness.rotate(&cx, "after the kill").await?;
        witness.check(&cx, "after the kill").await?;

        let stopped = node_of(&second).to_owned();
        let container = agent_container(&cx, &stopped).await?;
        signal(&cx, &stopped, &container, "SIGSTOP")?;
        let outcome = witness.rotate(&cx, "while the holder sleeps").await;
        // Whatever was found: nobody else can wake it.
        signal(&cx, &stopped, &container, "SIGCONT")?;
        outcome?;
        let third = holder(&cx).await?;
        ensure!(
            node_of(&third) != stopped,
            "{third} holds the shard, although it slept"
        );
        witness.rotate(&cx, "after its return").await?;
        witness.check(&cx, "after the sleep").await?;

        let lost = node_of(&third).to_owned();
        let outcome = lose_node(&cx, &lost, &mut witness).await;
        cx.cluster().start_again(&format!("{lost}/kubelet")).await?;
        outcome?;
        eventually(PATIENCE, "the node's agent is back", async || {
            agent_container(&cx, &lost).await.map(Some)
        })
        .await?;
        witness.rotate(&cx, "after the node's return").await?;
        witness.check(&cx, "after the node's return").await
    })
}

/// Kills kubelet and agent of a node and changes the value: its shards are another's within [`TAKEN_OVER`].
async fn lose_node(cx: &Context, node: &str, witness: &mut Witness) -> Result<()> {
    let _quiet = QUIET.read().await;
    let container = agent_container(cx, node).await?;
    cx.cluster()
        .stop(&format!("{node}/kubelet"), Signal::SIGKILL)
        .await?;
    signal(cx, node, &container, "SIGKILL")?;
    let since = Instant::now();
    witness.rotate(cx, "while the node is lost").await?;
    let passed = since.elapsed();
    ensure!(passed < TAKEN_OVER, "the shard moved after {passed:?}");
    let next = holder(cx).await?;
    ensure!(node_of(&next) != node, "{next} holds the shard");
    witness.check(cx, "while the node is lost").await
}

/// Who may have made each write so far: those that held the shard before and after it, since shards may move at any moment.
#[derive(Default)]
struct Witness(Vec<BTreeSet<String>>);

// === impl Witness ===

impl Witness {
    async fn saw(&mut self, cx: &Context, holder: &str) -> Result<()> {
        self.0.push(BTreeSet::from([pod_of(cx, holder).await?]));
        Ok(())
    }

    /// Changes the value and waits until the Secret has it.
    async fn rotate(&mut self, cx: &Context, value: &str) -> Result<()> {
        let before = holder(cx).await?;
        rotate(cx, value).await?;
        let after = holder(cx).await?;
        let mut pods = BTreeSet::from([pod_of(cx, &before).await?]);
        if node_of(&after) != node_of(&before) {
            pods.insert(pod_of(cx, &after).await?);
        }
        self.0.push(pods);
        Ok(())
    }

    /// One creation, then one update for each change, each by one that may have made it.
    async fn check(&self, cx: &Context, when: &str) -> Result<()> {
        tokio::time::sleep(SETTLED).await;
        let writes = writes(cx)?;
        let is_fine = |(number, (verb, pod)): (usize, &Write)| {
            let expected = if number == 0 { "create" } else { "update" };
            verb == expected && self.0[number].contains(pod)
        };
        ensure!(
            writes.len() == self.0.len() && writes.iter().enumerate().all(is_fine),
            "{when}: {writes:?} instead of one write each by {:?}",
            self.0
        );
        Ok(())
    }
}

/// Kills the holder's process until an agent of the other node holds the shard. Nearly always once: kubelet starts the process again
/// at once, but it has looked at the Lease for a shorter time.
async fn kill_until_other_node_holds(cx: &Context, first: String) -> Result<String> {
    let mut former = first.clone();
    for _ in 0..3 {
        kill_agent(cx, node_of(&former)).await?;
        let next = eventually(PATIENCE, "another process holds the shard", async || {
            Ok(Some(holder(cx).await?).filter(|next| *next != former))
        })
        .await?;
        if node_of(&next) != node_of(&first) {
            return Ok(next);
        }
        former = next;
    }
    anyhow::bail!("three processes on the node of {first} held the shard one after the other")
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

/// The process that holds the object's shard: its node, `_` and a number of its own. Nobody does for a moment while a shard moves.
async fn holder(cx: &Context) -> Result<String> {
    let leases: Api<Lease> = Api::namespaced(cx.client(), SYSTEM);
    let name = format!("latchkey-sync-{}", shard_of(cx.namespace(), "es", SHARDS));
    eventually(PATIENCE, "somebody holds the shard", async || {
        let spec = leases.get(&name).await?.spec;
        let holder = spec.and_then(|spec| spec.holder_identity);
        Ok(holder.filter(|holder| !holder.is_empty()))
    })
    .await
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

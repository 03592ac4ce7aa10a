//! ExternalSecrets to Secrets: all at once on an agent that starts, and again after a restart with nothing to do.
//!
//! The objects are made while no agent runs, so that what is timed is the agent's work and not the making. How many are Ready is
//! followed by a watch: lists of thousands would take from the API server what is measured.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use futures::stream::{self, TryStreamExt as _};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{DeleteParams, DynamicObject, ListParams, ObjectMeta, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_objects};
use kube::{Api, ResourceExt as _};
use latchkey_cluster::{audit, eventually};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::process::{Memory, Process};
use crate::rig::{self, FAKE, NAMESPACE, PATIENCE, Rig, STORE, SYSTEM};
use crate::say;

/// Namespaces that the objects are spread over.
pub(crate) const NAMESPACES: usize = 50;
/// Secrets that are nobody's business, made for the last restart.
pub(crate) const FOREIGN: usize = 5000;
/// Bytes in each of them.
const FOREIGN_SIZE: usize = 10_000;
/// Objects that are made at once.
const MAKERS: usize = 12;
/// Pause between two looks at processes.
const LOOK: Duration = Duration::from_millis(250);
/// Time in which an agent with nothing to do would do something.
const IDLE: Duration = Duration::from_secs(20);
/// Longest time for one object, when thousands are made ready one after the other.
const EACH: Duration = Duration::from_millis(200);
/// Name of the store and of its provider object.
const WELL: &str = "well";

/// What an agent does in a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// No object was ever synced.
    First,
    /// All are in sync.
    Restart,
    /// The same beside [`FOREIGN`] Secrets of others.
    RestartBesideForeign,
}

// === impl Work ===

impl Work {
    pub(crate) fn label(self) -> String {
        match self {
            Self::First => String::from("first sync"),
            Self::Restart => String::from("restart, all in sync"),
            Self::RestartBesideForeign => {
                format!("the same beside {FOREIGN} foreign Secrets of 10 KB")
            }
        }
    }
}

/// What an agent did from its start on.
#[derive(Clone, Debug)]
pub(crate) struct Pass {
    pub(crate) work: Work,
    pub(crate) objects: usize,
    /// From the start of its process until the first object was Ready; nothing where all were.
    pub(crate) began: Option<Duration>,
    /// From the start of its process until all objects were Ready, or until it was clear that nothing happens.
    pub(crate) took: Duration,
    /// Requests to the API server about these objects.
    pub(crate) requests: usize,
    /// Those of them that write.
    pub(crate) writes: usize,
    /// What these requests were, and how many of each.
    pub(crate) kinds: BTreeMap<String, usize>,
    /// The same of all other requests of the agent: they go on while it runs, whatever the number of objects.
    pub(crate) housekeeping: BTreeMap<String, usize>,
    pub(crate) provider_calls: u64,
    pub(crate) cpu: Duration,
    pub(crate) memory: Memory,
}

// === impl Pass ===

impl Pass {
    pub(crate) fn requests_each(&self) -> f64 {
        crate::stats::as_float(self.requests) / crate::stats::as_float(self.objects)
    }

    pub(crate) fn writes_each(&self) -> f64 {
        crate::stats::as_float(self.writes) / crate::stats::as_float(self.objects)
    }
}

/// For each number in `counts`: the first sync of so many objects and a restart after it; the last restart beside foreign Secrets, too.
pub(crate) async fn measure(rig: &Rig<'_>, counts: &[usize]) -> Result<Vec<Pass>> {
    make_store(rig).await?;
    let mut passes = Vec::new();
    for (index, &count) in counts.iter().enumerate() {
        if index > 0 {
            delete_objects(rig).await?;
        }
        stop_agent(rig).await?;
        say(&format!("making {count} ExternalSecrets"));
        make_objects(rig, count).await?;
        passes.push(first_sync(rig, count).await?);
        passes.push(restart(rig, Work::Restart, count).await?);
    }
    if let Some(&count) = counts.last() {
        say(&format!("making {FOREIGN} foreign Secrets"));
        make_foreign(rig).await?;
        passes.push(restart(rig, Work::RestartBesideForeign, count).await?);
    }
    Ok(passes)
}

async fn first_sync(rig: &Rig<'_>, count: usize) -> Result<Pass> {
    say("their first sync");
    let tally = Tally::follow(rig);
    let (begun, mark, agent) = start_agent(rig).await?;
    tally.reach(1, PATIENCE).await?;
    let began = begun.elapsed();
    let patience = PATIENCE + EACH * u32::try_from(count)?;
    tally.reach(count, patience).await?;
    let took = begun.elapsed();
    drop(tally);
    pass(rig, Work::First, count, (Some(began), took), mark, &agent).await
}

async fn restart(rig: &Rig<'_>, work: Work, count: usize) -> Result<Pass> {
    stop_agent(rig).await?;
    say(&work.label());
    let (begun, mark, agent) = start_agent(rig).await?;
    tokio::time::sleep(IDLE).await;
    let took = begun.elapsed();
    let tally = Tally::follow(rig);
    let kept = tally.reach(count, PATIENCE).await;
    ensure!(kept.is_ok(), "objects are not Ready any more");
    pass(rig, work, count, (None, took), mark, &agent).await
}

async fn pass(
    rig: &Rig<'_>,
    work: Work,
    objects: usize,
    (began, took): (Option<Duration>, Duration),
    mark: usize,
    agent: &Process,
) -> Result<Pass> {
    let (cpu, memory) = (agent.cpu()?, agent.memory()?);
    let url = format!(
        "http://{}:8081/metrics",
        rig::agent_address(&rig.client).await?
    );
    let calls = rig::scrape(&url).await?.histogram(
        "grpc_client_request_duration_seconds",
        &[("method", "GetSecret")],
    );
    let requests = rig.requests()?;
    let (about, others): (Vec<&audit::Event>, Vec<&audit::Event>) = requests
        [mark.min(requests.len())..]
        .iter()
        .partition(|request| is_about_objects(request));
    Ok(Pass {
        work,
        objects,
        began,
        took,
        requests: about.len(),
        writes: about.iter().filter(|request| is_write(request)).count(),
        kinds: by_kind(&about),
        housekeeping: by_kind(&others),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count"
        )]
        provider_calls: calls.count as u64,
        cpu,
        memory,
    })
}

/// Whether a request changes anything.
pub(crate) fn is_write(request: &audit::Event) -> bool {
    !matches!(request.verb.as_str(), "get" | "list" | "watch")
}

/// Whether a request is about one of the objects: itself, its Secret, its events.
fn is_about_objects(request: &audit::Event) -> bool {
    let object = &request.object_ref;
    object.namespace.starts_with("sync-")
        && ["externalsecrets", "secrets", "events"].contains(&object.resource.as_str())
}

/// What requests were, and how many of each; those that were refused for themselves.
fn by_kind(requests: &[&audit::Event]) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for request in requests {
        let audit::Event {
            verb, object_ref, ..
        } = request;
        let mut kind = match object_ref.resource.as_str() {
            "" => format!("{verb} {}", request.request_uri),
            resource => format!("{verb} {resource}"),
        };
        if !object_ref.subresource.is_empty() {
            kind = format!("{kind}/{}", object_ref.subresource);
        }
        let code = request.response_status.code;
        if code >= 400 {
            kind = format!("{kind}, answer {code}");
        }
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

async fn make_store(rig: &Rig<'_>) -> Result<()> {
    let reference = json!({"kind": "Fake", "name": WELL, "namespace": NAMESPACE});
    let config =
        json!({"address": format!("provider-fake.{SYSTEM}.svc:8080"), "providerRef": reference});
    let mut items = vec![
        json!({"apiVersion": FAKE, "kind": "Fake", "metadata": {"name": WELL, "namespace": NAMESPACE}, "spec": {"data": [
            {"key": "user", "value": "somebody"}, {"key": "password", "value": "correct horse battery staple"},
        ]}}),
        json!({"apiVersion": STORE, "kind": "ClusterSecretStore", "metadata": {"name": WELL}, "spec": {"providerConfig": config}}),
    ];
    items.extend((0..NAMESPACES).map(|number| {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace(number)}})
    }));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let mut apply = rig.cluster.kubectl();
    apply.args(["apply", "--server-side", "--filename=-"]);
    rig::run(apply, &list).await?;
    let mut wait = rig.cluster.kubectl();
    wait.args(["wait", "--for=condition=Ready", "--timeout=60s"])
        .arg(format!(
            "clustersecretstores.secretstore.external-secrets.io/{WELL}"
        ));
    rig::run(wait, "").await?;
    let namespaces: Api<Namespace> = Api::all(rig.client.clone());
    namespaces.get(&namespace(NAMESPACES - 1)).await?;
    Ok(())
}

fn namespace(number: usize) -> String {
    format!("sync-{}", number % NAMESPACES)
}

fn definition() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "external-secrets.io",
        "v1",
        "ExternalSecret",
    ))
}

async fn make_objects(rig: &Rig<'_>, count: usize) -> Result<()> {
    let resource = definition();
    stream::iter((0..count).map(anyhow::Ok))
        .try_for_each_concurrent(MAKERS, async |number| {
            let api: Api<DynamicObject> =
                Api::namespaced_with(rig.client.clone(), &namespace(number), &resource);
            let object: DynamicObject = serde_json::from_value(external_secret(number))?;
            api.create(&PostParams::default(), &object).await?;
            Ok(())
        })
        .await
}

fn external_secret(number: usize) -> Value {
    json!({
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": {"name": format!("es-{number}"), "namespace": namespace(number)},
        "spec": {
            "refreshInterval": "1h",
            "secretStoreRef": {"apiVersion": STORE, "kind": "ClusterSecretStore", "name": WELL},
            "data": [
                {"secretKey": "user", "remoteRef": {"key": "user"}},
                {"secretKey": "password", "remoteRef": {"key": "password"}},
            ],
        },
    })
}

/// Deletes all of them while the agent runs, which takes its finalizers off, and waits until the garbage collector has followed with
/// their Secrets: the next objects have the same names, and would find some of them there.
async fn delete_objects(rig: &Rig<'_>) -> Result<()> {
    say("deleting them and their Secrets");
    for number in 0..NAMESPACES {
        let api: Api<DynamicObject> =
            Api::namespaced_with(rig.client.clone(), &namespace(number), &definition());
        api.delete_collection(&DeleteParams::default(), &ListParams::default())
            .await?;
    }
    let secrets = ApiResource::erase::<Secret>(&());
    for (kind, what) in [
        (definition(), "the ExternalSecrets are gone"),
        (secrets, "their Secrets are gone"),
    ] {
        let api: Api<DynamicObject> = Api::all_with(rig.client.clone(), &kind);
        eventually(PATIENCE, what, async || {
            let left = api.list_metadata(&ListParams::default()).await?.items;
            let is_left = left.iter().any(|object| is_ours(object.namespace()));
            if is_left {
                tokio::time::sleep(LOOK).await;
            }
            Ok((!is_left).then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// Secrets without our label, as other programs have them.
async fn make_foreign(rig: &Rig<'_>) -> Result<()> {
    stream::iter((0..FOREIGN).map(anyhow::Ok))
        .try_for_each_concurrent(MAKERS, async |number| {
            let api: Api<Secret> = Api::namespaced(rig.client.clone(), &namespace(number));
            let secret = Secret {
                metadata: ObjectMeta {
                    name: Some(format!("foreign-{number}")),
                    ..ObjectMeta::default()
                },
                data: Some([("blob".to_owned(), ByteString(vec![b'x'; FOREIGN_SIZE]))].into()),
                ..Secret::default()
            };
            api.create(&PostParams::default(), &secret).await?;
            Ok(())
        })
        .await
}

/// How many of the objects are Ready, from a watch.
struct Tally {
    ready: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Tally ===

impl Tally {
    fn follow(rig: &Rig<'_>) -> Self {
        let api: Api<DynamicObject> = Api::all_with(rig.client.clone(), &definition());
        let (sender, ready) = watch::channel(0);
        let task = tokio::spawn(async move {
            let mut found = HashSet::new();
            let events = watch_objects(api, watcher::Config::default()).default_backoff();
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.next().await {
                let (object, is_gone) = match event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) => (object, false),
                    Ok(Event::Delete(object)) => (object, true),
                    _ => continue,
                };
                if !is_gone && is_ready(&object) {
                    found.insert(object.uid());
                } else {
                    found.remove(&object.uid());
                }
                sender.send_replace(found.len());
            }
        });
        Self { ready, task }
    }

    async fn reach(&self, count: usize, patience: Duration) -> Result<()> {
        let mut ready = self.ready.clone();
        let reached = tokio::time::timeout(patience, ready.wait_for(|ready| *ready >= count)).await;
        let so_far = *self.ready.borrow();
        reached
            .with_context(|| {
                format!("{so_far} of {count} ExternalSecrets are Ready after {patience:?}")
            })?
            .context("the watch ended")?;
        Ok(())
    }
}

fn is_ready(object: &DynamicObject) -> bool {
    let conditions = object.data.pointer("/status/conditions");
    is_ours(object.namespace())
        && conditions
            .and_then(Value::as_array)
            .is_some_and(|conditions| {
                conditions
                    .iter()
                    .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
            })
}

fn is_ours(namespace: Option<String>) -> bool {
    namespace.is_some_and(|namespace| namespace.starts_with("sync-"))
}

/// Has the DaemonSet want no node, and waits until its process is gone.
async fn stop_agent(rig: &Rig<'_>) -> Result<()> {
    select_nodes(rig, json!({"bench": "nowhere"})).await?;
    eventually(PATIENCE, "the agent ends", async || {
        let is_gone = rig::find_agent(rig.cluster).is_err();
        tokio::time::sleep(LOOK).await;
        Ok(is_gone.then_some(()))
    })
    .await
}

/// Has the DaemonSet want all nodes again. Returns when the process was there, the requests so far, and the process.
async fn start_agent(rig: &Rig<'_>) -> Result<(Instant, usize, Process)> {
    let mark = rig.requests()?.len();
    select_nodes(rig, json!({"bench": null})).await?;
    let agent = eventually(PATIENCE, "the agent starts", async || {
        let found = rig::find_agent(rig.cluster).ok();
        if found.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(found)
    })
    .await?;
    Ok((Instant::now(), mark, agent))
}

async fn select_nodes(rig: &Rig<'_>, selector: Value) -> Result<()> {
    let patch = json!({"spec": {"template": {"spec": {"nodeSelector": selector}}}}).to_string();
    let mut kubectl = rig.cluster.kubectl();
    kubectl
        .args([
            "patch",
            "daemonset",
            "latchkey",
            "--namespace",
            SYSTEM,
            "--patch",
        ])
        .arg(patch);
    rig::run(kubectl, "").await.context("the DaemonSet")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(object: Value, code: u16) -> audit::Event {
        let event = json!({
            "verb": "patch", "requestURI": "/version", "user": {"username": "x"}, "objectRef": object,
            "responseStatus": {"code": code},
        });
        serde_json::from_value(event).expect("an event")
    }

    #[test]
    fn requests_are_told_apart_by_what_they_do_and_whether_they_were_refused() {
        let status =
            json!({"resource": "externalsecrets", "subresource": "status", "namespace": "sync-1"});
        let lease = json!({"resource": "leases", "namespace": SYSTEM});
        let foreign = json!({"resource": "secrets", "namespace": SYSTEM});
        let requests = [
            request(status.clone(), 200),
            request(status.clone(), 200),
            request(status, 409),
            request(lease, 200),
            request(foreign, 200),
            request(json!({}), 200),
        ];
        let about: Vec<bool> = requests.iter().map(is_about_objects).collect();
        assert_eq!(about, [true, true, true, false, false, false]);
        let kinds = by_kind(&requests.iter().collect::<Vec<_>>());
        let expected = [
            ("patch /version", 1),
            ("patch externalsecrets/status", 2),
            ("patch externalsecrets/status, answer 409", 1),
            ("patch leases", 1),
            ("patch secrets", 1),
        ];
        let expected = expected.map(|(kind, count)| (kind.to_owned(), count));
        assert_eq!(kinds, BTreeMap::from(expected));
    }
}

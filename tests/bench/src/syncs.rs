//! ExternalSecrets to Secrets: all at once on an agent that starts, and again after a restart with nothing to do.
//!
//! The objects are made while no agent runs, so that what is timed is the agent's work and not the making.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::stream::{self, TryStreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use latchkey_cluster::{audit, eventually};
use serde_json::{Value, json};

use crate::process::{Memory, Process};
use crate::rig::{self, FAKE, NAMESPACE, PATIENCE, Rig, STORE, SYSTEM};
use crate::say;

/// Namespaces that the objects are spread over.
pub(crate) const NAMESPACES: usize = 50;
/// Objects that are made at once.
const MAKERS: usize = 12;
/// Pause between two looks at how many are Ready.
const LOOK: Duration = Duration::from_millis(250);
/// Time in which an agent with nothing to do would do something.
const IDLE: Duration = Duration::from_secs(20);
/// Name of the store and of its provider object.
const WELL: &str = "well";

/// What an agent did from its start on.
#[derive(Clone, Debug)]
pub(crate) struct Pass {
    pub(crate) what: &'static str,
    pub(crate) objects: usize,
    /// From the start of its process until all objects were Ready, or until it was clear that nothing happens.
    pub(crate) took: Duration,
    /// Requests to the API server about these objects.
    pub(crate) requests: usize,
    /// Those of them that write.
    pub(crate) writes: usize,
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

/// Measures the first sync of `count` objects and a restart after it.
pub(crate) async fn measure(rig: &Rig<'_>, count: usize) -> Result<Vec<Pass>> {
    make_store(rig).await?;
    stop_agent(rig).await?;
    say(&format!("making {count} ExternalSecrets"));
    make_objects(rig, count).await?;
    say("their first sync");
    let (begun, mark, agent) = start_agent(rig).await?;
    eventually(PATIENCE, "all ExternalSecrets are Ready", async || {
        let is_done = ready(rig).await? >= count;
        if !is_done {
            tokio::time::sleep(LOOK).await;
        }
        Ok(is_done.then_some(()))
    })
    .await?;
    let took = begun.elapsed();
    let cold = pass(rig, "first sync", count, took, mark, &agent).await?;
    stop_agent(rig).await?;
    say("a restart with all of them in sync");
    let (begun, mark, agent) = start_agent(rig).await?;
    tokio::time::sleep(IDLE).await;
    ensure!(ready(rig).await? >= count, "objects are not Ready any more");
    let again = pass(
        rig,
        "restart, all in sync",
        count,
        begun.elapsed(),
        mark,
        &agent,
    )
    .await?;
    Ok(vec![cold, again])
}

async fn pass(
    rig: &Rig<'_>,
    what: &'static str,
    objects: usize,
    took: Duration,
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
    let requests = requests(rig)?;
    let about: Vec<&audit::Event> = requests[mark.min(requests.len())..]
        .iter()
        .filter(|request| is_about_objects(request))
        .collect();
    let is_write =
        |request: &&&audit::Event| !matches!(request.verb.as_str(), "get" | "list" | "watch");
    Ok(Pass {
        what,
        objects,
        took,
        requests: about.len(),
        writes: about.iter().filter(is_write).count(),
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

fn requests(rig: &Rig<'_>) -> Result<Vec<audit::Event>> {
    audit::events_of(
        &rig.cluster.layout().audit_log(),
        &format!("system:serviceaccount:{SYSTEM}:latchkey-node"),
    )
}

/// Whether a request is about one of the objects: itself, its Secret, its events.
fn is_about_objects(request: &audit::Event) -> bool {
    let object = &request.object_ref;
    object.namespace.starts_with("sync-")
        && ["externalsecrets", "secrets", "events"].contains(&object.resource.as_str())
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

/// How many of them are Ready.
async fn ready(rig: &Rig<'_>) -> Result<usize> {
    let api: Api<DynamicObject> = Api::all_with(rig.client.clone(), &definition());
    let mut parameters = ListParams::default().limit(2000);
    let mut count = 0;
    loop {
        let page = api.list(&parameters).await?;
        count += page.items.iter().filter(|object| is_ready(object)).count();
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => parameters = parameters.continue_token(&token),
            _ => return Ok(count),
        }
    }
}

fn is_ready(object: &DynamicObject) -> bool {
    let is_ours = object
        .metadata
        .namespace
        .as_ref()
        .is_some_and(|namespace| namespace.starts_with("sync-"));
    let conditions = object.data.pointer("/status/conditions");
    is_ours
        && conditions
            .and_then(Value::as_array)
            .is_some_and(|conditions| {
                conditions
                    .iter()
                    .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
            })
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
    let mark = requests(rig)?.len();
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

//! Many ExternalSecrets in several namespaces, and a provider in another process.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use latchkey_cluster::{Context, eventually};
use latchkey_crds::conditions::{self, ConditionStatus, READY};
use latchkey_crds::external_secret::ExternalSecret;
use latchkey_e2e::{list, store};
use serde_json::{Value, json};

use crate::provider::Provider;
use crate::tally::Seen;

/// How long anything may take: the longest pause that an object can have collected, and a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Long enough for a write that should not happen to happen.
const QUIET: Duration = Duration::from_secs(3);
/// How often the value of an object may change.
const ROUNDS: u32 = 3;

const DEFINITIONS: [&str; 4] = [
    include_str!("../../../../charts/latchkey/crds/external-secrets.io_externalsecrets.yaml"),
    include_str!(
        "../../../../charts/latchkey/crds/secretstore.external-secrets.io_secretstores.yaml"
    ),
    include_str!(
        "../../../../charts/latchkey/crds/secretstore.external-secrets.io_clustersecretstores.yaml"
    ),
    include_str!(
        "../../../../charts/provider/crds/provider.secretstore.external-secrets.io_fakes.yaml"
    ),
];
const KINDS: [&str; 4] = [
    "crd/externalsecrets.external-secrets.io",
    "crd/secretstores.secretstore.external-secrets.io",
    "crd/clustersecretstores.secretstore.external-secrets.io",
    "crd/fakes.provider.secretstore.external-secrets.io",
];

/// Namespace and name.
pub(crate) type Key = (String, String);

/// How many of what a world has.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) namespaces: usize,
    /// In each namespace, to begin with.
    pub(crate) objects: usize,
    /// In each namespace, at most.
    pub(crate) capacity: usize,
}

pub(crate) struct World {
    pub(crate) cx: Context,
    pub(crate) namespaces: Vec<String>,
    pub(crate) provider: Provider,
    /// Which value each object asks for.
    pub(crate) rounds: BTreeMap<Key, u32>,
    shape: Shape,
}

/// Runs a test in a world of its own.
pub(crate) async fn with_world(
    cx: Context,
    shape: Shape,
    body: impl AsyncFnOnce(&mut World) -> Result<()>,
) -> Result<()> {
    let mut world = World::start(cx, shape).await?;
    let outcome = body(&mut world).await;
    if outcome.is_err() {
        world.provider.print_log();
    }
    let cleaned = world.clean_up().await;
    outcome.and(cleaned)
}

// === impl World ===

impl World {
    async fn start(cx: Context, shape: Shape) -> Result<Self> {
        latchkey_e2e::ensure_absent(&cx).await?;
        for definition in DEFINITIONS {
            cx.apply(definition).await?;
        }
        let wait = ["wait", "--for=condition=Established", "--timeout=60s"];
        cx.kubectl(&[&wait[..], &KINDS[..]].concat()).await?;
        let mut namespaces = vec![cx.namespace().to_owned()];
        for _ in 1..shape.namespaces {
            namespaces.push(cx.new_namespace("more").await?);
        }
        let provider = Provider::start(&cx).await?;
        let mut world = Self {
            cx,
            namespaces,
            provider,
            rounds: BTreeMap::new(),
            shape,
        };
        for namespace in &world.namespaces {
            world.furnish(namespace, Value::Null).await?;
        }
        world.create(0, shape.objects).await?;
        Ok(world)
    }

    /// A store and the values behind it, with the provider's simulated troubles if it has any.
    pub(crate) async fn furnish(&self, namespace: &str, simulation: Value) -> Result<()> {
        let names = (0..self.shape.capacity).map(name_of);
        let data: Vec<Value> = names
            .flat_map(|name| (1..=ROUNDS).map(move |round| (name.clone(), round)))
            .map(|(name, round)| {
                json!({ "key": remote_key(&name, round), "value": value(namespace, &name, round) })
            })
            .collect();
        let mut fake = json!({
            "apiVersion": "provider.secretstore.external-secrets.io/v2alpha1", "kind": "Fake",
            "metadata": { "name": "fake", "namespace": namespace },
            "spec": { "data": data },
        });
        if !simulation.is_null() {
            fake["spec"]["simulation"] = simulation;
        }
        let mut store = store("store", "fake", "unused");
        store["metadata"]["namespace"] = json!(namespace);
        store["spec"]["providerConfig"]["address"] = json!(self.provider.address());
        // Not `apply`: that is kubectl in the test's own namespace, which objects of others do not like.
        let client = self.cx.client();
        for object in [fake, store] {
            let object: DynamicObject = serde_json::from_value(object)?;
            let types = object.types.clone().context("a kind")?;
            let kind = GroupVersionKind::try_from(&types)?;
            let resource = ApiResource::from_gvk(&kind);
            let api: Api<DynamicObject> =
                Api::namespaced_with(client.clone(), namespace, &resource);
            let parameters = PatchParams::apply("sync-faults").force();
            api.patch(&object.name_any(), &parameters, &Patch::Apply(&object))
                .await?;
        }
        Ok(())
    }

    /// Creates the objects with these numbers in each namespace.
    pub(crate) async fn create(&mut self, from: usize, to: usize) -> Result<BTreeSet<Key>> {
        let mut created = BTreeSet::new();
        for namespace in self.namespaces.clone() {
            for name in (from..to).map(name_of) {
                let object = json!({
                    "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
                    "metadata": { "name": name },
                    "spec": {
                        "refreshInterval": "1h",
                        "secretStoreRef": {
                            "apiVersion": "secretstore.external-secrets.io/v2alpha1",
                            "kind": "SecretStore", "name": "store",
                        },
                        "data": data(&name, 1),
                    },
                });
                self.external_secrets(&namespace)
                    .create(&PostParams::default(), &serde_json::from_value(object)?)
                    .await?;
                let key = (namespace.clone(), name);
                self.rounds.insert(key.clone(), 1);
                created.insert(key);
            }
        }
        Ok(created)
    }

    /// Makes these objects ask for their next value.
    pub(crate) async fn rotate(&mut self, keys: &BTreeSet<Key>) -> Result<()> {
        for key in keys {
            let round = self.rounds.get_mut(key).context("no such object")?;
            *round += 1;
            ensure!(*round <= ROUNDS, "there are only {ROUNDS} values");
            let patch = json!({ "spec": { "data": data(&key.1, *round) } });
            self.external_secrets(&key.0)
                .patch(&key.1, &PatchParams::default(), &Patch::Merge(patch))
                .await?;
        }
        Ok(())
    }

    pub(crate) fn keys(&self) -> BTreeSet<Key> {
        self.rounds.keys().cloned().collect()
    }

    /// The first `count` objects of each namespace.
    pub(crate) fn some(&self, count: usize) -> BTreeSet<Key> {
        let names: BTreeSet<String> = (0..count).map(name_of).collect();
        let keys = self.rounds.keys();
        keys.filter(|key| names.contains(&key.1)).cloned().collect()
    }

    pub(crate) fn external_secrets(&self, namespace: &str) -> Api<ExternalSecret> {
        Api::namespaced(self.cx.client(), namespace)
    }

    pub(crate) fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.cx.client(), namespace)
    }

    /// A reference that makes cluster-scoped objects go with the test's namespace.
    pub(crate) async fn owner(&self) -> Result<Value> {
        let namespaces: Api<Namespace> = Api::all(self.cx.client());
        let namespace = namespaces.get(self.cx.namespace()).await?;
        Ok(json!({
            "apiVersion": "v1", "kind": "Namespace",
            "name": namespace.name_any(), "uid": namespace.uid(),
        }))
    }

    /// Makes a service account that may do everything: what agents may do is another test's matter.
    pub(crate) async fn account(&self, name: &str) -> Result<()> {
        let namespace = self.cx.namespace();
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name },
        });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": { "name": format!("{namespace}-{name}"), "ownerReferences": [self.owner().await?] },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
            "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": namespace }],
        });
        self.cx.apply(&list(&[account, binding])).await.map(drop)
    }

    /// Waits until every object is synced in its present round; then nothing may move any more.
    pub(crate) async fn settle(&self) -> Result<BTreeMap<Key, Seen>> {
        eventually(PATIENCE, "everything is in sync", async || {
            self.ensure_in_sync().await.map(Some)
        })
        .await?;
        let before = self.stored().await?;
        tokio::time::sleep(QUIET).await;
        self.ensure_in_sync().await?;
        let mut seen = self.stored().await?;
        ensure!(before == seen, "writes go on: {before:?}, then {seen:?}");
        for namespace in &self.namespaces {
            for (key, events) in self.events(namespace).await? {
                if let Some(seen) = seen.get_mut(&key) {
                    seen.events = events;
                }
            }
        }
        Ok(seen)
    }

    async fn ensure_in_sync(&self) -> Result<()> {
        for namespace in &self.namespaces {
            let everything = ListParams::default();
            let objects = self.external_secrets(namespace).list(&everything).await?;
            let secrets = self.secrets(namespace).list(&everything).await?;
            let objects: BTreeMap<_, _> = objects
                .into_iter()
                .map(|object| (object.name_any(), object))
                .collect();
            let secrets: BTreeMap<_, _> = secrets
                .into_iter()
                .map(|secret| (secret.name_any(), secret))
                .collect();
            for ((_, name), round) in self.rounds.iter().filter(|(key, _)| key.0 == *namespace) {
                let object = objects.get(name).with_context(|| format!("no {name}"))?;
                ensure_ready(object)?;
                let secret = secrets.get(name);
                let secret = secret.with_context(|| format!("no secret {name}"))?;
                ensure_holds(secret, &value(namespace, name, *round))?;
            }
        }
        Ok(())
    }

    /// How many Secrets of these objects hold the present value.
    pub(crate) async fn delivered(&self, keys: &BTreeSet<Key>) -> Result<usize> {
        let mut count = 0;
        for namespace in &self.namespaces {
            for secret in self.secrets(namespace).list(&ListParams::default()).await? {
                let key = (namespace.clone(), secret.name_any());
                let round = keys.get(&key).and_then(|key| self.rounds.get(key));
                let is_held = round.is_some_and(|round| {
                    ensure_holds(&secret, &value(&key.0, &key.1, *round)).is_ok()
                });
                count += usize::from(is_held);
            }
        }
        Ok(count)
    }

    /// Nobody is left who would take the finalizers off.
    async fn clean_up(&self) -> Result<()> {
        let release = json!({ "metadata": { "finalizers": null } });
        let namespaces: Api<Namespace> = Api::all(self.cx.client());
        for namespace in &self.namespaces {
            let objects = self.external_secrets(namespace);
            let parameters = (DeleteParams::default(), ListParams::default());
            objects
                .delete_collection(&parameters.0, &parameters.1)
                .await?;
            for object in objects.list(&ListParams::default()).await? {
                let patch = Patch::Merge(&release);
                objects
                    .patch(&object.name_any(), &PatchParams::default(), &patch)
                    .await
                    .ok();
            }
            if namespace != self.cx.namespace() {
                namespaces
                    .delete(namespace, &DeleteParams::default())
                    .await?;
            }
        }
        Ok(())
    }
}

pub(crate) fn name_of(number: usize) -> String {
    format!("es-{number:02}")
}

fn remote_key(name: &str, round: u32) -> String {
    format!("{name}@{round}")
}

fn value(namespace: &str, name: &str, round: u32) -> String {
    format!("{namespace}/{name}@{round}")
}

fn data(name: &str, round: u32) -> Value {
    json!([{ "secretKey": "value", "remoteRef": { "key": remote_key(name, round) } }])
}

/// Ready, and that of the generation that is there now.
fn ensure_ready(object: &ExternalSecret) -> Result<()> {
    let name = object.name_any();
    let status = object.status.clone().unwrap_or_default();
    let ready = conditions::find(&status.conditions, READY);
    ensure!(
        ready.is_some_and(|ready| ready.status == ConditionStatus::True),
        "{name} is {ready:?}"
    );
    let generation = object.metadata.generation.unwrap_or_default();
    let synced = status.synced_resource_version.unwrap_or_default();
    ensure!(
        synced.starts_with(&format!("{generation}-")),
        "{name} is of generation {generation}, synced was {synced}"
    );
    Ok(())
}

/// This value and nothing else.
fn ensure_holds(secret: &Secret, expected: &str) -> Result<()> {
    let data = secret.data.clone().unwrap_or_default();
    let found = data.get("value").map(|bytes| bytes.0.as_slice());
    ensure!(
        data.len() == 1 && found == Some(expected.as_bytes()),
        "secret {} does not hold {expected}",
        secret.name_any()
    );
    Ok(())
}

//! A provider server and what an agent does with stores and ExternalSecrets: all inside the test, against a real API server.
//!
//! Each world has a controller class of its own and names it in its stores. Validators see the stores of all namespaces, and
//! leave those of other worlds alone by it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use latchkey::namespaces::WatchNamespaces;
use latchkey::providers::{
    Identities, OwnIdentity, Pool, PoolSettings, ProviderMetrics, ProviderSource, Providers, Tokens,
};
use latchkey::shards::Ownership;
use latchkey::stores::validation::{self, StoreMetrics, Validator};
use latchkey::stores::{AllowedHosts, ApiReader, Policy};
use latchkey::sync;
use latchkey::templates::ApiObjects;
use latchkey_cluster::{Context, eventually};
use latchkey_crds::conditions::{self, Condition, READY};
use latchkey_crds::external_secret::ExternalSecret;
use latchkey_e2e::tls::{Usage, identity};
use latchkey_engine::template::{Renderer, Settings};
use latchkey_provider_fake::FakeProvider;
use latchkey_provider_sdk::service::ServiceLimits;
use latchkey_provider_sdk::{Cluster, Metrics, Server};
use latchkey_transport::SharedIdentity;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// How long anything may take. Much longer than it takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough for a pass that should not happen to happen.
pub(crate) const QUIET: Duration = Duration::from_secs(3);

pub(super) const STORES: &str = "secretstore.external-secrets.io";
/// What stores and generators of a world carry, so that they can be taken away.
pub(super) const LABEL: &str = "latchkey.test/world";

const DEFINITIONS: [&str; 6] = [
    include_str!("../../../../charts/latchkey/crds/external-secrets.io_externalsecrets.yaml"),
    include_str!(
        "../../../../charts/latchkey/crds/secretstore.external-secrets.io_secretstores.yaml"
    ),
    include_str!(
        "../../../../charts/latchkey/crds/secretstore.external-secrets.io_clustersecretstores.yaml"
    ),
    include_str!("../../../../charts/latchkey/crds/generator.external-secrets.io_generators.yaml"),
    include_str!(
        "../../../../charts/latchkey/crds/generator.external-secrets.io_clustergenerators.yaml"
    ),
    include_str!(
        "../../../../charts/provider/crds/provider.secretstore.external-secrets.io_fakes.yaml"
    ),
];
const KINDS: &str = "crd/externalsecrets.external-secrets.io crd/secretstores.secretstore.external-secrets.io \
    crd/clustersecretstores.secretstore.external-secrets.io crd/generators.generator.external-secrets.io \
    crd/clustergenerators.generator.external-secrets.io crd/fakes.provider.secretstore.external-secrets.io";

/// A running Fake provider server.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// A provider server and an agent.
pub(crate) struct World {
    pub(crate) cx: Context,
    pub(crate) pool: Pool,
    pub(crate) objects: Api<ExternalSecret>,
    pub(crate) secrets: Api<Secret>,
    /// Further namespaces of this world.
    namespaces: Vec<String>,
    port: u16,
    provider: Option<Running>,
    /// The series of the provider that runs, or ran last.
    served: Metrics,
    registry: Registry,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// Runs `body` in a world of its own, and takes away what a namespace does not.
pub(crate) fn with_world<F>(body: F) -> Result<()>
where
    F: AsyncFnOnce(&mut World) -> Result<()> + Send + 'static,
{
    latchkey_cluster::test(async move |cx| {
        let mut world = World::start(cx).await?;
        let result = body(&mut world).await;
        let cleaned = world.take_away().await;
        result.and(cleaned)
    })
}

// === impl World ===

impl World {
    async fn start(cx: Context) -> Result<Self> {
        latchkey_e2e::ensure_absent(&cx).await?;
        for definition in DEFINITIONS {
            cx.apply(definition).await?;
        }
        let mut wait = vec!["wait", "--for=condition=Established", "--timeout=60s"];
        wait.extend(KINDS.split_whitespace());
        cx.kubectl(&wait).await?;
        let mut world = Self {
            pool: Pool::new(PoolSettings::default(), ProviderMetrics::default()),
            objects: Api::namespaced(cx.client(), cx.namespace()),
            secrets: Api::namespaced(cx.client(), cx.namespace()),
            namespaces: Vec::new(),
            port: 0,
            provider: None,
            served: Metrics::register(&mut Registry::default()),
            registry: Registry::default(),
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
            cx,
        };
        world.start_provider().await?;
        world.start_agent()?;
        Ok(world)
    }

    /// Starts the provider server, where it was before if it ran already.
    pub(crate) async fn start_provider(&mut self) -> Result<()> {
        let port = self.port;
        // Its old port may be held for a moment.
        let grpc = eventually(PATIENCE, "the provider's port", async || {
            Ok(Some(TcpListener::bind(("127.0.0.1", port)).await?))
        })
        .await?;
        self.port = grpc.local_addr()?.port();
        let admin = TcpListener::bind("127.0.0.1:0").await?;
        let mut registry = Registry::default();
        self.served = Metrics::register(&mut registry);
        let server = Server {
            provider: Arc::new(FakeProvider::new(Cluster::new(self.cx.client(), []))),
            metrics: self.served.clone(),
            registry,
            limits: ServiceLimits::default(),
            drain_timeout: Duration::from_millis(100),
        };
        let identity = SharedIdentity::new(identity(Usage::ServerAuth)?);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let served = server.serve(grpc, admin, async { Some(identity) }, &stopped);
            served
                .await
                .expect("the server works until it is told to stop");
        });
        self.provider = Some(Running { stop, task });
        Ok(())
    }

    pub(crate) async fn stop_provider(&mut self) -> Result<()> {
        let Running { stop, task } = self.provider.take().context("it does not run")?;
        stop.cancel();
        Ok(tokio::time::timeout(PATIENCE, task).await??)
    }

    fn start_agent(&mut self) -> Result<()> {
        let own = OwnIdentity::new("the test");
        own.set(identity(Usage::ClientAuth)?);
        let metrics = (
            ProviderMetrics::default(),
            StoreMetrics::default(),
            sync::Metrics::default(),
        );
        metrics.0.register(&mut self.registry);
        metrics.1.register(&mut self.registry);
        metrics.2.register(&mut self.registry);
        let settings = PoolSettings {
            tick: Duration::from_millis(200),
            ..PoolSettings::default()
        };
        self.pool = Pool::new(settings, metrics.0);
        let client = self.cx.client();
        let class = self.cx.namespace().to_owned();
        let providers = Arc::new(Providers {
            policy: Policy {
                controller_class: class.clone(),
                allowed_hosts: AllowedHosts::new(["*"]),
                ..Policy::default()
            },
            identities: Identities::from_files(own, "/nonexistent".into(), class.clone()),
            tokens: Arc::new(Tokens::none()),
            pool: self.pool.clone(),
            timeout: Duration::from_secs(10),
        });
        let reader = Arc::new(ApiReader::new(client.clone()));
        let source = Arc::new(ProviderSource::new(reader, providers.clone()));
        let settings = validation::Settings {
            interval: Duration::from_secs(300),
            instance: None,
            cluster_stores: true,
            namespaces: WatchNamespaces::all(),
        };
        let validator = Validator::new(client.clone(), providers, settings, metrics.1);
        let objects = Arc::new(ApiObjects::new(client.clone(), true));
        let config = sync::Config {
            namespaces: WatchNamespaces::of([class.clone()]),
            controller_class: class,
            ..sync::Config::default()
        };
        let delivery = sync::run(
            client,
            source,
            Arc::new(Renderer::new(Settings::default(), objects)),
            config,
            metrics.2,
            Arc::new(Ownership::of_everything()),
            self.stop.clone(),
        );
        let (pool, stop) = (self.pool.clone(), self.stop.clone());
        self.tasks.spawn(async move { pool.maintain(stop).await });
        let stop = self.stop.clone();
        self.tasks
            .spawn(async move { Box::pin(validator.run(stop)).await });
        self.tasks.spawn(async move {
            Box::pin(delivery)
                .await
                .expect("it works until it is told to stop")
        });
        Ok(())
    }

    async fn take_away(mut self) -> Result<()> {
        // While the agent runs: it lets its ExternalSecrets go.
        let all = ["delete", "externalsecrets.external-secrets.io", "--all"];
        self.cx
            .kubectl(&[&all[..], &["--timeout=60s"]].concat())
            .await?;
        self.stop.cancel();
        if self.provider.is_some() {
            self.stop_provider().await?;
        }
        let selector = format!("--selector={LABEL}={}", self.cx.namespace());
        let kind = format!("clustersecretstores.{STORES}");
        self.cx.kubectl(&["delete", &kind, &selector]).await?;
        for namespace in &self.namespaces {
            let delete = ["delete", "namespace", namespace, "--wait=false"];
            self.cx.kubectl(&delete).await?;
        }
        tokio::time::timeout(PATIENCE, async {
            while let Some(ended) = self.tasks.join_next().await {
                ended?;
            }
            anyhow::Ok(())
        })
        .await?
    }

    /// A further namespace, which goes with the world.
    pub(crate) async fn new_namespace(&mut self, hint: &str) -> Result<String> {
        let namespace = self.cx.new_namespace(hint).await?;
        self.namespaces.push(namespace.clone());
        Ok(namespace)
    }

    /// Where the provider is.
    pub(crate) fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// The name of a cluster-wide object that no other test has.
    pub(crate) fn own(&self, name: &str) -> String {
        format!("{}-{name}", self.cx.namespace())
    }

    /// All conditions of a store, and its status as a whole.
    pub(crate) async fn conditions(&self, kind: &str, name: &str) -> Result<Vec<Condition>> {
        let status = self.store_status(kind, name).await?;
        Ok(serde_json::from_value(
            status
                .get("conditions")
                .cloned()
                .unwrap_or_else(|| json!([])),
        )?)
    }

    pub(crate) async fn store_status(&self, kind: &str, name: &str) -> Result<Value> {
        let resource = dynamic(STORES, kind);
        let stores: Api<DynamicObject> = if kind == "SecretStore" {
            Api::namespaced_with(self.cx.client(), self.cx.namespace(), &resource)
        } else {
            Api::all_with(self.cx.client(), &resource)
        };
        let store = stores.get(name).await?;
        Ok(store.data.get("status").cloned().unwrap_or_default())
    }

    /// Waits for a reason of a store's condition Ready, and answers the condition. There is never another one.
    pub(crate) async fn judged(&self, kind: &str, name: &str, reason: &str) -> Result<Condition> {
        let what = format!("{kind} {name} is {reason}");
        eventually(PATIENCE, &what, async || {
            let conditions = self.conditions(kind, name).await?;
            ensure!(conditions.len() < 2, "{conditions:?}");
            let ready = conditions::find(&conditions, READY).cloned();
            let is_as_wanted = ready
                .as_ref()
                .is_some_and(|ready| ready.reason.as_deref() == Some(reason));
            ensure!(is_as_wanted, "it is {ready:?}");
            Ok(ready)
        })
        .await
    }

    /// Waits for the condition Ready of an ExternalSecret.
    pub(crate) async fn told(&self, name: &str, message: &str) -> Result<ExternalSecret> {
        eventually(PATIENCE, &format!("{name} says {message}"), async || {
            let object = self.objects.get(name).await?;
            let status = object.status.clone().unwrap_or_default();
            let ready = conditions::find(&status.conditions, READY).cloned();
            let is_as_wanted = ready
                .as_ref()
                .is_some_and(|ready| ready.message.as_deref() == Some(message));
            ensure!(is_as_wanted, "it is {ready:?}");
            Ok(Some(object))
        })
        .await
    }

    pub(crate) async fn synced(&self, name: &str) -> Result<ExternalSecret> {
        self.told(name, "secret synced").await
    }

    pub(crate) async fn failed(&self, name: &str) -> Result<ExternalSecret> {
        self.told(name, "could not get secret data from provider")
            .await
    }

    /// Waits until a Secret holds exactly these keys and values.
    pub(crate) async fn holds(&self, name: &str, expected: &[(&str, &str)]) -> Result<Secret> {
        let expected: BTreeMap<String, String> = expected
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        eventually(PATIENCE, &format!("secret {name}"), async || {
            let secret = self.secrets.get(name).await?;
            let text =
                |bytes: &k8s_openapi::ByteString| String::from_utf8_lossy(&bytes.0).into_owned();
            let found: BTreeMap<_, _> = secret
                .data
                .iter()
                .flatten()
                .map(|(key, bytes)| (key.clone(), text(bytes)))
                .collect();
            ensure!(found == expected, "it holds {found:?}");
            Ok(Some(secret))
        })
        .await
    }

    /// The events about an object of a kind. Those about cluster-wide ones are in the namespace `default`.
    pub(crate) async fn events(&self, kind: &str, name: &str) -> Result<Vec<Event>> {
        let namespace = if kind.starts_with("Cluster") {
            "default"
        } else {
            self.cx.namespace()
        };
        let events: Api<Event> = Api::namespaced(self.cx.client(), namespace);
        let all = events.list(&ListParams::default()).await?.items;
        let about = |event: &Event| {
            event.regarding.as_ref().is_some_and(|object| {
                object.kind.as_deref() == Some(kind) && object.name.as_deref() == Some(name)
            })
        };
        Ok(all.into_iter().filter(about).collect())
    }

    /// Waits for an event about an ExternalSecret whose text contains `part`.
    pub(crate) async fn warned(&self, name: &str, part: &str) -> Result<()> {
        eventually(PATIENCE, &format!("event with {part}"), async || {
            let events = self.events("ExternalSecret", name).await?;
            let notes: Vec<_> = events.into_iter().filter_map(|event| event.note).collect();
            ensure!(notes.iter().any(|note| note.contains(part)), "{notes:?}");
            Ok(Some(()))
        })
        .await
    }

    /// The agent's series that start with `start`.
    pub(crate) fn series(&self, start: &str) -> Result<Vec<String>> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        let lines = text.lines().filter(|line| line.starts_with(start));
        Ok(lines.map(str::to_owned).collect())
    }

    /// How often the provider that runs answered a call with success.
    pub(crate) fn answered(&self, operation: latchkey_provider_sdk::Operation) -> u64 {
        self.served.requests(operation, tonic::Code::Ok)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(super) fn dynamic(group: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v2alpha1", kind))
}

//! A provider server of generators and an agent, both inside the test.

use crate::support::{PATIENCE, texts};
use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use latchkey::generators::states::Collector;
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
use latchkey_crds::external_secret::ExternalSecret;
use latchkey_crds::generator_state::GeneratorState;
use latchkey_e2e::tls::{Usage, identity};
use latchkey_engine::template::{Renderer, Settings};
use latchkey_provider_generators::Generators;
use latchkey_provider_sdk::service::ServiceLimits;
use latchkey_provider_sdk::{Cluster, Metrics, Operation, Server};
use latchkey_transport::SharedIdentity;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Code;

const DEFINITIONS: [&str; 9] = [
    include_str!("../../../../../charts/latchkey/crds/external-secrets.io_externalsecrets.yaml"),
    include_str!(
        "../../../../../charts/latchkey/crds/secretstore.external-secrets.io_secretstores.yaml"
    ),
    include_str!(
        "../../../../../charts/latchkey/crds/secretstore.external-secrets.io_clustersecretstores.yaml"
    ),
    include_str!(
        "../../../../../charts/latchkey/crds/generator.external-secrets.io_generators.yaml"
    ),
    include_str!(
        "../../../../../charts/latchkey/crds/generator.external-secrets.io_clustergenerators.yaml"
    ),
    include_str!(
        "../../../../../charts/latchkey/crds/generators.external-secrets.io_generatorstates.yaml"
    ),
    include_str!(
        "../../../../../charts/provider/crds/provider.generator.external-secrets.io_passwords.yaml"
    ),
    include_str!(
        "../../../../../charts/provider/crds/provider.generator.external-secrets.io_uuids.yaml"
    ),
    include_str!(
        "../../../../../charts/provider/crds/provider.generator.external-secrets.io_fakes.yaml"
    ),
];
const KINDS: &str = "crd/externalsecrets.external-secrets.io crd/secretstores.secretstore.external-secrets.io \
    crd/clustersecretstores.secretstore.external-secrets.io crd/generators.generator.external-secrets.io \
    crd/clustergenerators.generator.external-secrets.io crd/generatorstates.generators.external-secrets.io \
    crd/passwords.provider.generator.external-secrets.io crd/uuids.provider.generator.external-secrets.io \
    crd/fakes.provider.generator.external-secrets.io";

/// A provider server and an agent, until it is dropped.
pub(crate) struct World {
    pub(super) address: String,
    pub(crate) provider: Metrics,
    pub(crate) objects: Api<ExternalSecret>,
    pub(crate) secrets: Api<Secret>,
    states: Api<GeneratorState>,
    pub(crate) events: Api<Event>,
    stop: CancellationToken,
    _tasks: JoinSet<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    pub(crate) async fn start(cx: &Context) -> Result<Self> {
        latchkey_e2e::ensure_absent(cx).await?;
        for definition in DEFINITIONS {
            cx.apply(definition).await?;
        }
        let mut wait = vec!["wait", "--for=condition=Established", "--timeout=60s"];
        wait.extend(KINDS.split_whitespace());
        cx.kubectl(&wait).await?;
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let (address, provider) = serve(cx, 0, &stop, &mut tasks).await?;
        run_agent(cx, &stop, &mut tasks)?;
        Ok(Self {
            address,
            provider,
            objects: Api::namespaced(cx.client(), cx.namespace()),
            secrets: Api::namespaced(cx.client(), cx.namespace()),
            states: Api::namespaced(cx.client(), cx.namespace()),
            events: Api::namespaced(cx.client(), cx.namespace()),
            stop,
            _tasks: tasks,
        })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A configuration object of the provider and a Generator of the same name.
    pub(crate) async fn generator(
        &self,
        cx: &Context,
        kind: &str,
        name: &str,
        spec: Value,
    ) -> Result<()> {
        let configuration = json!({
            "apiVersion": "provider.generator.external-secrets.io/v2alpha1",
            "kind": kind, "metadata": { "name": name }, "spec": spec,
        });
        cx.apply(&configuration.to_string()).await?;
        let generator = json!({
            "apiVersion": "generator.external-secrets.io/v2alpha1",
            "kind": "Generator", "metadata": { "name": name },
            "spec": { "providerConfig": {
                "address": self.address, "providerRef": { "kind": kind, "name": name },
            } },
        });
        cx.apply(&generator.to_string()).await.map(drop)
    }

    /// An ExternalSecret whose entries are filled by these generators.
    pub(crate) async fn ask(&self, cx: &Context, name: &str, references: &[Value]) -> Result<()> {
        let entries: Vec<Value> = references
            .iter()
            .map(|reference| json!({ "sourceRef": { "generatorRef": reference } }))
            .collect();
        let object = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": { "name": name },
            "spec": { "refreshInterval": "1h", "dataFrom": entries },
        });
        cx.apply(&object.to_string()).await.map(drop)
    }

    /// Makes the object due, and waits until it was synced anew.
    pub(super) async fn refresh(&self, name: &str, round: u32) -> Result<()> {
        let before = self.synced_version(name).await?;
        let patch = json!({ "metadata": { "annotations": { "round": round.to_string() } } });
        self.objects
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        eventually(PATIENCE, "a refresh", async || {
            Ok((self.synced_version(name).await? != before).then_some(()))
        })
        .await
    }

    pub(super) async fn synced_version(&self, name: &str) -> Result<Option<String>> {
        let status = self.objects.get(name).await?.status.unwrap_or_default();
        Ok(status.synced_resource_version)
    }

    pub(crate) async fn values(&self, name: &str) -> Result<BTreeMap<String, String>> {
        eventually(PATIENCE, &format!("secret {name}"), async || {
            Ok(self.secrets.get_opt(name).await?.as_ref().map(texts))
        })
        .await
    }

    /// Waits for a failure whose event contains `part`.
    pub(crate) async fn refused(&self, name: &str, part: &str) -> Result<()> {
        eventually(PATIENCE, &format!("{name} fails with {part}"), async || {
            let events = self.events.list(&ListParams::default()).await?.items;
            let notes: Vec<String> = events
                .into_iter()
                .filter(|event| {
                    let about = event.regarding.as_ref();
                    about.is_some_and(|object| object.name.as_deref() == Some(name))
                })
                .filter_map(|event| event.note)
                .collect();
            ensure!(
                notes.iter().any(|note| note.contains(part)),
                "seen {notes:?}"
            );
            Ok(Some(()))
        })
        .await?;
        ensure!(
            self.secrets.get_opt(name).await?.is_none(),
            "{name} made a secret"
        );
        Ok(())
    }

    /// Waits until there are so many states, none of them with a deadline.
    pub(super) async fn states(&self, count: usize) -> Result<Vec<GeneratorState>> {
        eventually(PATIENCE, &format!("{count} generator states"), async || {
            let states = self.states.list(&ListParams::default()).await?.items;
            let flagged = |state: &GeneratorState| state.spec.garbage_collection_deadline.is_some();
            ensure!(
                states.len() == count && !states.iter().any(flagged),
                "there are {}, {} with a deadline",
                states.len(),
                states.iter().filter(|state| flagged(state)).count()
            );
            Ok(Some(states))
        })
        .await
    }

    pub(super) fn revoked(&self) -> u64 {
        self.provider.requests(Operation::Cleanup, Code::Ok)
    }
}

/// Runs the provider server, at any port if it is 0; its address and its series.
pub(super) async fn serve(
    cx: &Context,
    port: u16,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<(String, Metrics)> {
    let grpc = TcpListener::bind(("127.0.0.1", port)).await?;
    let admin = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("localhost:{}", grpc.local_addr()?.port());
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let server = Server {
        provider: Arc::new(Generators::new(Cluster::new(cx.client(), []))),
        metrics: metrics.clone(),
        registry,
        limits: ServiceLimits::default(),
        drain_timeout: Duration::from_secs(1),
    };
    let identity = SharedIdentity::new(identity(Usage::ServerAuth)?);
    let stop = stop.clone();
    tasks.spawn(async move {
        let served = server.serve(grpc, admin, async { Some(identity) }, &stop);
        served
            .await
            .expect("the server works until it is told to stop");
    });
    Ok((address, metrics))
}

/// Runs what the agent does with ExternalSecrets, generators and their states.
fn run_agent(cx: &Context, stop: &CancellationToken, tasks: &mut JoinSet<()>) -> Result<()> {
    let own = OwnIdentity::new("the test");
    own.set(identity(Usage::ClientAuth)?);
    let providers = Arc::new(Providers {
        policy: Policy {
            allowed_hosts: AllowedHosts::new(["*"]),
            ..Policy::default()
        },
        identities: Identities::from_files(own, "/nonexistent".into(), cx.namespace().to_owned()),
        tokens: Arc::new(Tokens::none()),
        pool: Pool::new(PoolSettings::default(), ProviderMetrics::default()),
        timeout: Duration::from_secs(10),
    });
    let reader = Arc::new(ApiReader::new(cx.client()));
    let source = Arc::new(ProviderSource::new(reader, providers.clone()));
    let settings = validation::Settings {
        interval: Duration::from_secs(300),
        instance: None,
        cluster_stores: true,
        namespaces: WatchNamespaces::all(),
    };
    let validator = Validator::new(cx.client(), providers, settings, StoreMetrics::default());
    let collector = Collector::new(cx.client(), source.clone(), WatchNamespaces::all());
    let objects = Arc::new(ApiObjects::new(cx.client(), true));
    let config = sync::Config {
        namespaces: WatchNamespaces::of([cx.namespace()]),
        generator_grace: Some(Duration::from_secs(1)),
        generic_targets: true,
        ..sync::Config::default()
    };
    let delivery = sync::run(
        cx.client(),
        source,
        Arc::new(Renderer::new(Settings::default(), objects)),
        config,
        sync::Metrics::default(),
        Arc::new(Ownership::of_everything()),
        stop.clone(),
    );
    let (validating, collecting) = (stop.clone(), stop.clone());
    tasks.spawn(async move { Box::pin(validator.run(validating)).await });
    tasks.spawn(async move { collector.run(collecting).await });
    tasks.spawn(async move {
        Box::pin(delivery)
            .await
            .expect("it works until it is told to stop")
    });
    Ok(())
}

pub(crate) fn reference(name: &str) -> Value {
    json!({ "apiVersion": "generator.external-secrets.io/v2alpha1", "kind": "Generator", "name": name })
}

//! Agents in this process that act as service accounts of their own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use latchkey::namespaces::WatchNamespaces;
use latchkey::providers::{
    Identities, OwnIdentity, Pool, PoolSettings, ProviderMetrics, ProviderSource, Providers, Tokens,
};
use latchkey::shards::Ownership;
use latchkey::stores::{AllowedHosts, ApiReader, Policy};
use latchkey::sync;
use latchkey::templates::ApiObjects;
use latchkey_e2e::tls::{Usage, identity};
use latchkey_engine::template::{Renderer, Settings};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::world::{PATIENCE, World};

/// Passes at once, as in the agent: what one blow can interrupt.
pub(crate) const CONCURRENCY: u16 = 8;

/// Agents of one test, each of them a controller. They end when this is dropped.
pub(crate) struct Agents {
    stop: CancellationToken,
    tasks: JoinSet<Result<(), sync::Error>>,
}

// === impl World ===

impl World {
    /// The agent's own kind of client for a service account, to the API server or to `server` instead.
    pub(crate) async fn client(&self, account: &str, server: Option<SocketAddr>) -> Result<Client> {
        Ok(latchkey::api_server::client(
            self.configuration(account, server).await?,
        )?)
    }

    /// The same without repetitions.
    pub(crate) async fn impatient_client(&self, account: &str) -> Result<Client> {
        let mut config = self.configuration(account, None).await?;
        config.default_retry = false;
        Ok(latchkey::api_server::client(config)?)
    }

    async fn configuration(&self, account: &str, server: Option<SocketAddr>) -> Result<Config> {
        let token = self
            .cx
            .kubectl(&["create", "token", account, "--duration=1h"])
            .await?;
        let file = Kubeconfig::read_from(self.cx.cluster().layout().kubeconfig())?;
        let mut config =
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        config.auth_info = serde_json::from_value(json!({ "token": token.trim() }))?;
        if let Some(server) = server {
            config.cluster_url = format!("https://{server}").parse()?;
        }
        Ok(config)
    }

    /// One controller for each namespace: for tests that others run beside.
    pub(crate) fn agents_by_namespace(&self, client: &Client) -> Result<Agents> {
        let mut agents = Agents::new();
        for namespace in &self.namespaces {
            let ownership = Arc::new(Ownership::of_everything());
            agents.start(client.clone(), Some(namespace.clone()), ownership)?;
        }
        Ok(agents)
    }
}

// === impl Agents ===

impl Agents {
    pub(crate) fn new() -> Self {
        Self {
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Starts a controller for one namespace, or for all.
    pub(crate) fn start(
        &mut self,
        client: Client,
        namespace: Option<String>,
        ownership: Arc<Ownership>,
    ) -> Result<()> {
        let own = OwnIdentity::new("the test");
        own.set(identity(Usage::ClientAuth)?);
        let providers = Arc::new(Providers {
            policy: Policy {
                allowed_hosts: AllowedHosts::new(["*"]),
                // Nobody validates stores here.
                flood_gate: false,
                ..Policy::default()
            },
            identities: Identities::from_files(own, "/nonexistent".into(), String::new()),
            tokens: Arc::new(Tokens::none()),
            pool: Pool::new(PoolSettings::default(), ProviderMetrics::default()),
            timeout: Duration::from_secs(3),
        });
        let reader = Arc::new(ApiReader::new(client.clone()));
        let objects = Arc::new(ApiObjects::new(client.clone(), true));
        let config = sync::Config {
            namespaces: WatchNamespaces::of(namespace),
            concurrency: CONCURRENCY,
            ..sync::Config::default()
        };
        self.tasks.spawn(sync::run(
            client,
            Arc::new(ProviderSource::new(reader, providers)),
            Arc::new(Renderer::new(Settings::default(), objects)),
            config,
            sync::Metrics::default(),
            ownership,
            self.stop.clone(),
        ));
        Ok(())
    }

    /// Stops all and checks that none has ended before.
    pub(crate) async fn stop(mut self) -> Result<()> {
        ensure!(self.tasks.try_join_next().is_none(), "a controller ended");
        self.stop.cancel();
        let ended = async {
            while let Some(ended) = self.tasks.join_next().await {
                ended??;
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, ended)
            .await
            .context("the controllers do not end")?
    }
}

//! The role `sync`: stands for election, and does what only the leader may do.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use latchkey_engine::template::Renderer;
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Parts;
use crate::certificates::{self, Controller};
use crate::leader::{self, Election};
use crate::providers::{ProviderSource, Providers};
use crate::stores::ApiReader;
use crate::stores::validation::{self, StoreMetrics, Validator};
use crate::sync;

/// What the role needs to know.
pub(super) struct Settings {
    pub(super) namespace: String,
    pub(super) lease: String,
    pub(super) identity: String,
    /// `None` if someone else writes the certificates.
    pub(super) certificates: Option<certificates::Settings>,
    pub(super) store_requeue_interval: Duration,
    pub(super) controller_class: String,
}

/// The role before it runs.
pub(super) struct Sync {
    election: Election,
    work: Arc<Work>,
}

/// What the leader does.
struct Work {
    certificates: Option<Controller>,
    stores: Validator,
    secrets: Secrets,
}

/// What turning ExternalSecrets into Secrets takes.
struct Secrets {
    client: Client,
    source: Arc<ProviderSource<ApiReader>>,
    renderer: Arc<Renderer>,
    config: sync::Config,
    metrics: sync::Metrics,
}

// === impl Sync ===

impl Sync {
    /// Makes the controllers and registers their series.
    pub(super) fn new(
        client: Client,
        settings: Settings,
        providers: Arc<Providers>,
        renderer: Arc<Renderer>,
        registry: &mut Registry,
    ) -> Self {
        let Settings {
            namespace,
            lease,
            identity,
            certificates,
            store_requeue_interval,
            controller_class,
        } = settings;
        let certificates = certificates.map(|settings| {
            let metrics = certificates::Metrics::default();
            metrics.register(registry);
            Controller::new(client.clone(), settings, metrics)
        });
        let store_metrics = StoreMetrics::default();
        store_metrics.register(registry);
        let validation = validation::Settings {
            interval: store_requeue_interval,
            instance: Some(identity.clone()),
        };
        let stores = Validator::new(
            client.clone(),
            Arc::clone(&providers),
            validation,
            store_metrics,
        );
        let metrics = sync::Metrics::default();
        metrics.register(registry);
        let secrets = Secrets {
            client: client.clone(),
            source: Arc::new(ProviderSource::new(
                Arc::new(ApiReader::new(client.clone())),
                providers,
            )),
            renderer,
            config: sync::Config {
                controller_class,
                ..sync::Config::default()
            },
            metrics,
        };
        let leader_metrics = leader::Metrics::default();
        leader_metrics.register(registry);
        let election = Election::new(client, &namespace, &lease, identity, leader_metrics);
        Self {
            election,
            work: Arc::new(Work {
                certificates,
                stores,
                secrets,
            }),
        }
    }

    /// Starts everything the role consists of.
    pub(super) fn start(self, parts: &mut Parts) {
        let stop = parts.stop.clone();
        parts.spawn("the sync leader", async move {
            let Self { election, work } = self;
            let led = election
                .run(&stop, |leading| lead(leading, Arc::clone(&work)))
                .await;
            led.unwrap_or(Ok(()))
        });
    }
}

/// What only the leader does, until `leading` is cancelled. Dropping it ends all of it.
async fn lead(leading: CancellationToken, work: Arc<Work>) -> Result<(), String> {
    let mut parts = Parts {
        stop: leading.clone(),
        running: JoinSet::new(),
    };
    let (issuing, stop) = (Arc::clone(&work), leading.clone());
    parts.spawn("the certificate controller", async move {
        match &issuing.certificates {
            Some(controller) => controller.run(stop).await,
            None => stop.cancelled().await,
        }
        Ok(())
    });
    let (validating, stop) = (Arc::clone(&work), leading.clone());
    parts.spawn("the validation of stores", async move {
        validating.stores.run(stop).await;
        Ok(())
    });
    parts.spawn("the delivery of Secrets", async move {
        let Secrets {
            client,
            source,
            renderer,
            config,
            metrics,
        } = &work.secrets;
        sync::run(
            client.clone(),
            Arc::clone(source),
            Arc::clone(renderer),
            config.clone(),
            metrics.clone(),
            leading,
        )
        .await
        .map_err(|error| error.to_string())
    });
    parts.join().await.map_err(|error| error.to_string())
}

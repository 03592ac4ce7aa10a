//! The role `sync`: takes its share of the ExternalSecrets, stands for election, and does what only the leader may do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use latchkey_engine::template::Renderer;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::Parts;
use crate::certificates::{self, Controller};
use crate::cluster_external_secrets;
use crate::generators::states::Collector;
use crate::leader::{self, Election};
use crate::namespaces::WatchNamespaces;
use crate::passes::Passes;
use crate::providers::{ProviderSource, Providers};
use crate::shards::{self, Ownership, Shards};
use crate::stores::validation::{self, StoreMetrics, Validator};
use crate::stores::{CachedReader, StoreCache};
use crate::sync;

/// How long an agent without any shard keeps its watches, in case one comes back.
const LINGER: Duration = Duration::from_secs(30);

/// What the role needs to know.
pub(super) struct Settings {
    pub(super) namespace: String,
    /// Where ExternalSecrets, stores, generators and their states are looked after.
    pub(super) namespaces: WatchNamespaces,
    pub(super) lease: String,
    pub(super) shards: u16,
    pub(super) identity: String,
    /// `None` if someone else writes the certificates.
    pub(super) certificates: Option<certificates::Settings>,
    pub(super) store_requeue_interval: Duration,
    /// How long replaced values of generators stay; `None` if what generators leave is not kept.
    pub(super) generator_grace: Option<Duration>,
    pub(super) controller_class: String,
    /// Whether anything is done about ClusterSecretStores.
    pub(super) cluster_stores: bool,
    /// Whether series about objects have the extended labels.
    pub(super) extended_metric_labels: bool,
    /// Whether ClusterExternalSecrets are handled, provided that the agent looks at all namespaces.
    pub(super) cluster_external_secrets: bool,
    /// The most ExternalSecrets that are worked on at once.
    pub(super) concurrency: u16,
    /// The most of them that use the same store.
    pub(super) store_concurrency: u16,
    /// Whether targets of other kinds than Secret are written.
    pub(super) generic_targets: bool,
}

/// The role before it runs.
pub(super) struct Sync {
    election: Election,
    work: Arc<Work>,
    shards: Shards,
    secrets: Secrets,
}

/// What the leader does.
struct Work {
    certificates: Option<Controller>,
    stores: Validator,
    client: Client,
    /// `None` if they are left alone.
    spread: Option<cluster_external_secrets::Metrics>,
    states: Collector<ProviderSource<CachedReader>>,
}

/// What turning ExternalSecrets into Secrets takes.
struct Secrets {
    client: Client,
    source: Arc<ProviderSource<CachedReader>>,
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
            namespaces,
            lease,
            shards,
            identity,
            certificates,
            store_requeue_interval,
            generator_grace,
            controller_class,
            cluster_stores,
            extended_metric_labels,
            cluster_external_secrets,
            concurrency,
            store_concurrency,
            generic_targets,
        } = settings;
        let certificates = certificates.map(|settings| {
            let metrics = certificates::Metrics::default();
            metrics.register(registry);
            Controller::new(client.clone(), settings, metrics)
        });
        let passes = Passes::default();
        passes.register(registry);
        let store_metrics = StoreMetrics::new(extended_metric_labels, passes.clone());
        store_metrics.register(registry);
        let validation = validation::Settings {
            interval: store_requeue_interval,
            instance: Some(identity.clone()),
            cluster_stores,
            namespaces: namespaces.clone(),
        };
        let stores = Validator::new(
            client.clone(),
            Arc::clone(&providers),
            validation,
            store_metrics,
        );
        let metrics = sync::Metrics::new(extended_metric_labels, passes.clone());
        metrics.register(registry);
        let stores_known = StoreCache::default();
        let recoveries = providers.pool.recoveries();
        let reader =
            CachedReader::new(stores_known.clone(), client.clone()).limited_to(namespaces.clone());
        let source = Arc::new(ProviderSource::new(Arc::new(reader), providers));
        let states = Collector::new(client.clone(), Arc::clone(&source), namespaces.clone());
        let secrets = Secrets {
            client: client.clone(),
            source,
            renderer,
            config: sync::Config {
                controller_class,
                concurrency,
                store_concurrency,
                generator_grace,
                cluster_stores,
                stores: stores_known,
                recoveries: Some(recoveries),
                generic_targets,
                namespaces: namespaces.clone(),
                reach: namespaces.clone(),
            },
            metrics,
        };
        let spread = spread(cluster_external_secrets, &namespaces, || {
            cluster_external_secrets::Metrics::new(extended_metric_labels, passes)
        });
        if let Some(metrics) = &spread {
            metrics.register(registry);
        }
        let leader_metrics = leader::Metrics::default();
        leader_metrics.register(registry);
        let shard_metrics = shards::Metrics::default();
        shard_metrics.register(registry);
        let shards = Shards::new(
            client.clone(),
            &namespace,
            &lease,
            identity.clone(),
            shards::Settings {
                count: shards,
                ..shards::Settings::default()
            },
            shard_metrics,
        );
        let election = Election::new(client.clone(), &namespace, &lease, identity, leader_metrics);
        Self {
            election,
            work: Arc::new(Work {
                certificates,
                stores,
                client,
                spread,
                states,
            }),
            shards,
            secrets,
        }
    }

    /// Starts everything the role consists of.
    pub(super) fn start(self, parts: &mut Parts) {
        let Self {
            election,
            work,
            shards,
            secrets,
        } = self;
        let (stop, ownership) = (parts.stop.clone(), shards.ownership());
        parts.spawn("the delivery of Secrets", async move {
            Box::pin(secrets.deliver(ownership, stop)).await
        });
        let stop = parts.stop.clone();
        parts.spawn("the shards", async move {
            shards.run(&stop).await;
            Ok(())
        });
        let stop = parts.stop.clone();
        parts.spawn("the sync leader", async move {
            let led = election
                .run(&stop, |leading| lead(leading, Arc::clone(&work)))
                .await;
            led.unwrap_or(Ok(()))
        });
    }
}

/// The series of ClusterExternalSecrets, or `None` if they are left alone. They concern all namespaces, so that an agent that works
/// in some cannot handle them.
fn spread(
    enabled: bool,
    namespaces: &WatchNamespaces,
    metrics: impl FnOnce() -> cluster_external_secrets::Metrics,
) -> Option<cluster_external_secrets::Metrics> {
    match (enabled, namespaces.is_all()) {
        (true, true) => return Some(metrics()),
        // Told with everything else that is off then.
        (_, false) => {}
        (false, true) => {
            info!("ClusterExternalSecrets are not handled: the reconciler is switched off")
        }
    }
    None
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
        Box::pin(validating.stores.run(stop)).await;
        Ok(())
    });
    if let Some(metrics) = work.spread.clone() {
        let (client, stop) = (work.client.clone(), leading.clone());
        parts.spawn("the ClusterExternalSecrets", async move {
            cluster_external_secrets::run(client, metrics, stop)
                .await
                .map_err(|error| error.to_string())
        });
    }
    // Also where new states are not kept: old ones must come to their end.
    parts.spawn("the end of generator states", async move {
        work.states.run(leading).await;
        Ok(())
    });
    parts.join().await.map_err(|error| error.to_string())
}

// === impl Secrets ===

impl Secrets {
    /// Works whenever this agent holds a shard, until `stop`. One that had none for a while watches nothing.
    async fn deliver(
        &self,
        ownership: Arc<Ownership>,
        stop: CancellationToken,
    ) -> Result<(), String> {
        let mut held = ownership.changes();
        loop {
            let has_any = stop.run_until_cancelled(until_held(&mut held, true));
            if has_any.await.is_none() {
                return Ok(());
            }
            let working = stop.child_token();
            let mut work = std::pin::pin!(sync::run(
                self.client.clone(),
                Arc::clone(&self.source),
                Arc::clone(&self.renderer),
                self.config.clone(),
                self.metrics.clone(),
                Arc::clone(&ownership),
                working.clone(),
            ));
            let result = tokio::select! {
                result = &mut work => result,
                () = until_left(&mut held) => {
                    working.cancel();
                    work.await
                }
            };
            result.map_err(|error| error.to_string())?;
        }
    }
}

/// Waits until no shard is held, and none comes back soon. Whoever loses all for a moment (an API server that is slow, or restarts)
/// goes on with what the watches have shown; beginning anew would read every target again.
async fn until_left(held: &mut watch::Receiver<BTreeSet<u16>>) {
    loop {
        until_held(held, false).await;
        let is_back = tokio::time::timeout(LINGER, until_held(held, true)).await;
        if is_back.is_err() {
            return;
        }
    }
}

/// Waits until any shard is held, or none.
async fn until_held(held: &mut watch::Receiver<BTreeSet<u16>>, any: bool) {
    let has_ended = held.wait_for(|held| held.is_empty() != any).await.is_err();
    if has_ended {
        // The shards ended, and with them soon everything.
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_moment_without_shards_is_no_reason_to_begin_anew() {
        let (shards, held) = watch::channel(BTreeSet::from([0, 1]));
        let left = tokio::spawn(async move {
            let mut held = held;
            until_left(&mut held).await;
            tokio::time::Instant::now()
        });
        let pause = async |time: Duration| tokio::time::sleep(time).await;
        for _ in 0..3 {
            pause(LINGER * 2).await;
            shards.send_replace(BTreeSet::new());
            pause(LINGER / 2).await;
            shards.send_replace(BTreeSet::from([1]));
        }
        pause(LINGER * 2).await;
        assert!(!left.is_finished());
        let lost = tokio::time::Instant::now();
        shards.send_replace(BTreeSet::new());
        assert_eq!(left.await.unwrap() - lost, LINGER);
    }
}

//! Connections to providers: one per address and identity (provider-protocol.md 6).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use latchkey_transport::{
    Address, ClientOptions, Connection, Fingerprint, Identity, OpenError, SharedIdentity,
};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::breaker::Breaker;
use super::metrics::{EvictionLabels, PoolLabels, ProviderMetrics};

/// Times of a [`Pool`].
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// How long an unused connection stays. Default 5 min.
    pub max_idle: Duration,
    /// How long a connection is handed out; calls in flight on an older one finish. Default 30 min.
    pub max_lifetime: Duration,
    /// Time between two rounds of maintenance. Default 30 s.
    pub tick: Duration,
    /// How connections are made.
    pub client: ClientOptions,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            max_idle: Duration::from_secs(5 * 60),
            max_lifetime: Duration::from_secs(30 * 60),
            tick: Duration::from_secs(30),
            client: ClientOptions::default(),
        }
    }
}

/// The pool. Clones share it.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    settings: PoolSettings,
    metrics: ProviderMetrics,
    entries: Mutex<HashMap<PoolKey, Arc<Pooled>>>,
    changes: watch::Sender<u64>,
    recoveries: watch::Sender<u64>,
}

/// P-TLS-4, SB-21: certificates of one store are never shown on behalf of another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PoolKey {
    address: Address,
    identity: Fingerprint,
    server_name: Option<String>,
    auth: AuthMode,
}

/// What a provider is shown beside the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AuthMode {
    /// Nothing.
    Certificate,
    /// A token with every call.
    Token,
}

/// A connection and what is known about the provider behind it.
pub(crate) struct Pooled {
    pub(crate) connection: Connection,
    pub(crate) breaker: Arc<Breaker>,
    /// The provider has no GetSecretMap (P-ERR-2).
    pub(crate) lacks_map: AtomicBool,
    /// Its address, as in metrics.
    pub(crate) target: String,
    pub(crate) metrics: ProviderMetrics,
    /// Counts breakers that opened or closed.
    pub(crate) changes: watch::Sender<u64>,
    /// Counts breakers that closed.
    pub(crate) recoveries: watch::Sender<u64>,
    created: Instant,
    used: Mutex<Instant>,
}

impl Pool {
    /// Makes an empty pool. Someone must run [`Pool::maintain`].
    #[must_use]
    pub fn new(settings: PoolSettings, metrics: ProviderMetrics) -> Self {
        Self(Arc::new(Shared {
            settings,
            metrics,
            entries: Mutex::new(HashMap::new()),
            changes: watch::Sender::new(0),
            recoveries: watch::Sender::new(0),
        }))
    }

    /// The connection for `address` with `identity`, made if there is none. Nothing is sent.
    ///
    /// Whoever holds the result keeps the connection open, also after it left the pool.
    pub(crate) fn get(
        &self,
        address: &Address,
        identity: &Identity,
        server_name: Option<&str>,
        auth: AuthMode,
    ) -> Result<Arc<Pooled>, OpenError> {
        let key = PoolKey {
            address: address.clone(),
            identity: identity.fingerprint(),
            server_name: server_name.map(str::to_owned),
            auth,
        };
        let now = Instant::now();
        let Shared {
            settings,
            metrics,
            entries,
            changes,
            recoveries,
        } = &*self.0;
        let target = address.to_string();
        let labels = PoolLabels::of(&target);
        let mut entries = entries.lock();
        let old = entries.get(&key);
        if let Some(entry) = old
            && now.duration_since(entry.created) < settings.max_lifetime
        {
            *entry.used.lock() = now;
            metrics.hits.get_or_create(&labels).inc();
            return Ok(entry.clone());
        }
        metrics.misses.get_or_create(&labels).inc();
        let options = ClientOptions {
            server_name: server_name.map(str::to_owned),
            ..settings.client.clone()
        };
        let connection = Connection::open(address, SharedIdentity::new(identity.clone()), &options)
            .inspect_err(|_| {
                metrics.connection_errors.get_or_create(&labels).inc();
            })?;
        let entry = Arc::new(Pooled {
            connection,
            // A fresh connection is no reason to forget that the provider is down.
            breaker: old.map_or_else(Arc::default, |old| old.breaker.clone()),
            lacks_map: AtomicBool::new(false),
            target: target.clone(),
            metrics: metrics.clone(),
            changes: changes.clone(),
            recoveries: recoveries.clone(),
            created: now,
            used: Mutex::new(now),
        });
        if old.is_some() {
            metrics
                .evictions
                .get_or_create(&EvictionLabels::of(&target, "max_lifetime"))
                .inc();
        }
        metrics.expiry(&target, identity.expiry());
        metrics.breaker(&target, entry.breaker.state());
        entries.insert(key, entry.clone());
        Ok(entry)
    }

    /// Evicts idle and old connections and refreshes gauges, until `cancel`; then empties the pool.
    pub async fn maintain(&self, cancel: CancellationToken) {
        let mut tick = interval(self.0.settings.tick.max(Duration::from_millis(10)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => {
                    self.0.entries.lock().clear();
                    return;
                }
                _ = tick.tick() => self.sweep(Instant::now()),
            }
        }
    }

    fn sweep(&self, now: Instant) {
        let Shared {
            settings,
            metrics,
            entries,
            ..
        } = &*self.0;
        let mut gone = Vec::new();
        let mut counts: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        entries.lock().retain(|_, entry| {
            let is_used = Arc::strong_count(entry) > 1;
            let reason = if now.duration_since(entry.created) >= settings.max_lifetime {
                Some("max_lifetime")
            } else if !is_used && now.duration_since(*entry.used.lock()) >= settings.max_idle {
                Some("idle_timeout")
            } else {
                None
            };
            if let Some(reason) = reason {
                metrics
                    .evictions
                    .get_or_create(&EvictionLabels::of(&entry.target, reason))
                    .inc();
                gone.push(entry.target.clone());
                return false;
            }
            let (active, idle) = counts.entry(entry.target.clone()).or_default();
            *(if is_used { active } else { idle }) += 1;
            metrics.breaker(&entry.target, entry.breaker.state());
            let used = *entry.used.lock();
            metrics.sampled(
                &entry.target,
                now.duration_since(entry.created),
                now.duration_since(used),
            );
            true
        });
        for target in gone.iter().filter(|target| !counts.contains_key(*target)) {
            metrics.forget(target);
        }
        for (target, (active, idle)) in counts {
            let labels = PoolLabels::of(&target);
            metrics.active.get_or_create(&labels).set(active);
            metrics.idle.get_or_create(&labels).set(idle);
            metrics.total.get_or_create(&labels).set(active + idle);
        }
    }

    /// Changes whenever a breaker opens or closes, so that the stores behind it can be looked at (P-RT-4).
    #[must_use]
    pub fn breaker_changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Changes whenever a breaker closes: a provider is reached again.
    #[must_use]
    pub fn recoveries(&self) -> watch::Receiver<u64> {
        self.0.recoveries.subscribe()
    }

    /// How many connections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.entries.lock().len()
    }

    /// Whether there is no connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

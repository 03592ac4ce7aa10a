//! The work of the role `sync`, split over the agents that share it.
//!
//! Every object belongs to one of a fixed number of shards, by a hash of its namespace and name. A shard is held through a Lease;
//! every agent may hold some. There is no list of members: an agent with less than its share marks a Lease of the one with the most
//! as wanted, and the holder lets go of it. The rules are in [`decide`], without clocks and without requests.
//!
//! | situation | what happens | within |
//! |---|---|---|
//! | an agent starts | it takes what is free, and asks for its share of the rest, one shard after the other | [`Settings::period`] each |
//! | an agent stops | it lets go of its shards once their passes have ended | at once |
//! | an agent is lost | its Leases do not change any more and are taken over | [`Settings::lease_duration`] and two periods, less than 20 s |
//! | an agent cannot renew | it drops the passes of the shard after [`Settings::renew_deadline`], before another may take it | 10 s |
//!
//! The clocks of other nodes are never trusted: a Lease counts as dead once it did not change for its duration, measured here.
//!
//! RBAC in the namespace of the Leases: `list`, and `get` and `update` on their names; `create` only where the chart does not own them.

mod decide;
mod leases;
mod ownership;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::decide::{Move, Seen};
use self::leases::{ApiLeases, Failure, Leases, Record};
use self::ownership::Held;
pub use self::ownership::{Guard, Ownership};
use crate::stable_hash::fnv1a;

/// Longest time one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The times and the number of shards.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Number of shards. All agents must agree on it.
    pub count: u16,
    /// How long a Lease that does not change protects its holder. 12 s.
    pub lease_duration: Duration,
    /// How long after its last renewal a holder stops the work of a shard. 8 s; shorter than the lease.
    pub renew_deadline: Duration,
    /// A Lease is renewed once it is this old. 3 s.
    pub renew_after: Duration,
    /// Pause between two looks at the Leases, lengthened by up to a fifth at random. 2 s.
    pub period: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            count: 4,
            lease_duration: Duration::from_secs(12),
            renew_deadline: Duration::from_secs(8),
            renew_after: Duration::from_secs(3),
            period: Duration::from_secs(2),
        }
    }
}

/// The series `latchkey_sync_shards*`.
#[derive(Clone, Default)]
pub struct Metrics {
    held: Gauge,
    total: Gauge,
}

// === impl Metrics ===

impl Metrics {
    /// Registers the series.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "latchkey_sync_shards_held",
            "Shards of the role sync that this agent holds",
            self.held.clone(),
        );
        registry.register(
            "latchkey_sync_shards",
            "Shards that the work of the role sync is split into",
            self.total.clone(),
        );
    }
}

/// The shard of an object, by a hash of `namespace/name`. The upper half is folded in, because the lower bits alone follow the last
/// bytes.
///
/// All agents of a cluster must agree on it: a change of it is a change of `count`'s kind.
#[must_use]
pub fn shard_of(namespace: &str, name: &str, count: u16) -> u16 {
    let bytes = namespace.bytes().chain([b'/']).chain(name.bytes());
    let sum = fnv1a(bytes);
    let folded = (sum >> 32) ^ sum;
    u16::try_from(folded % u64::from(count.max(1))).unwrap_or_default()
}

/// An agent that takes part.
pub struct Shards {
    member: Member<ApiLeases>,
}

// === impl Shards ===

impl Shards {
    /// A member called `identity`, which must be unique in the cluster and new for each process. The Leases are `<name>-0` and so on.
    #[must_use]
    pub fn new(
        client: kube::Client,
        namespace: &str,
        name: &str,
        identity: String,
        settings: Settings,
        metrics: Metrics,
    ) -> Self {
        Self {
            member: Member {
                leases: ApiLeases::new(client, namespace, name, settings.count),
                identity,
                settings,
                ownership: Arc::new(Ownership::new(&settings, metrics)),
            },
        }
    }

    /// What this agent holds, for those who act on objects.
    #[must_use]
    pub fn ownership(&self) -> Arc<Ownership> {
        Arc::clone(&self.member.ownership)
    }

    /// Takes part until `stop`, then lets go of everything.
    pub async fn run(&self, stop: &CancellationToken) {
        self.member.run(stop).await;
    }
}

struct Member<L> {
    leases: L,
    identity: String,
    settings: Settings,
    ownership: Arc<Ownership>,
}

/// Since when each Lease is as it is now, by what its holder writes.
type Unchanged = HashMap<u16, ((String, Timestamp), Instant)>;

// === impl Member ===

impl<L: Leases> Member<L> {
    async fn run(&self, stop: &CancellationToken) {
        let taking_part = async {
            let mut unchanged = Unchanged::new();
            let mut told: Option<Failure> = None;
            loop {
                match self.look(&mut unchanged).await {
                    Ok(()) => told = None,
                    // One line per cause, not one per attempt.
                    Err(failure) if told.as_ref() != Some(&failure) => {
                        error!("failed to use the leases of the shards: {failure}");
                        told = Some(failure);
                    }
                    Err(_) => {}
                }
                sleep(self.pause()).await;
            }
        };
        tokio::select! {
            () = taking_part => {}
            () = self.ownership.expire() => {}
            () = stop.cancelled() => {}
        }
        self.leave().await;
    }

    /// Looks at all Leases and acts on each. The first failure is returned; the others are tried nevertheless.
    async fn look(&self, unchanged: &mut Unchanged) -> Result<(), Failure> {
        let now = Instant::now();
        let records = in_time(self.leases.list()).await?;
        let seen: Vec<Seen> = (0..self.settings.count)
            .map(|shard| see(shard, records.get(&shard), unchanged, now))
            .collect();
        let mut result = Ok(());
        for step in decide::moves(&self.identity, &seen) {
            match self.act(step, &records).await {
                Ok(()) | Err(Failure::Conflict) => {}
                Err(failure) if result.is_ok() => result = Err(failure),
                Err(_) => {}
            }
        }
        result
    }

    async fn act(
        &self,
        step: Move,
        records: &BTreeMap<u16, Record<L::Version>>,
    ) -> Result<(), Failure> {
        let now = Instant::now();
        match step {
            Move::Renew(shard) => {
                let is_young = |held: &Held| now - held.since < self.settings.renew_after;
                if self.ownership.held.lock().get(&shard).is_some_and(is_young) {
                    return Ok(());
                }
                let wanted_by = records
                    .get(&shard)
                    .and_then(|record| record.wanted_by.clone());
                let record = self.record(&self.identity, wanted_by);
                self.write(shard, record, records).await?;
                self.ownership.hold(shard, now);
            }
            Move::Acquire(shard) => {
                self.write(shard, self.record(&self.identity, None), records)
                    .await?;
                self.ownership.hold(shard, now);
            }
            Move::Release(shard) => {
                self.ownership.drain(shard).await;
                let wanted_by = records
                    .get(&shard)
                    .and_then(|record| record.wanted_by.clone());
                self.write(shard, self.record("", wanted_by), records)
                    .await?;
                info!(shard, "gave a shard away");
            }
            Move::Ask(shard) => {
                if let Some(record) = records.get(&shard) {
                    let asked = Record {
                        wanted_by: Some(self.identity.clone()),
                        ..record.clone()
                    };
                    in_time(self.leases.write(shard, &asked)).await?;
                }
            }
        }
        Ok(())
    }

    async fn write(
        &self,
        shard: u16,
        record: Record<L::Version>,
        records: &BTreeMap<u16, Record<L::Version>>,
    ) -> Result<(), Failure> {
        let version = records.get(&shard).and_then(|known| known.version.clone());
        in_time(self.leases.write(shard, &Record { version, ..record })).await
    }

    fn record(&self, holder: &str, wanted_by: Option<String>) -> Record<L::Version> {
        Record {
            holder: holder.to_owned(),
            wanted_by,
            duration: self.settings.lease_duration,
            renewed: Timestamp::now(),
            version: None,
        }
    }

    /// Lets others take over at once. A failure costs them the lease duration and nothing else.
    async fn leave(&self) {
        let held: Vec<u16> = self.ownership.held.lock().keys().copied().collect();
        let drains = held.iter().map(|shard| self.ownership.drain(*shard));
        futures::future::join_all(drains).await;
        let Ok(records) = in_time(self.leases.list()).await else {
            return;
        };
        let releases = held.iter().filter_map(|shard| {
            let record = records
                .get(shard)
                .filter(|record| record.holder == self.identity)?;
            let wanted_by = record.wanted_by.clone();
            Some(self.write(*shard, self.record("", wanted_by), &records))
        });
        for failure in futures::future::join_all(releases)
            .await
            .into_iter()
            .filter_map(Result::err)
        {
            warn!("failed to release the lease of a shard: {failure}");
        }
    }

    fn pause(&self) -> Duration {
        self.settings
            .period
            .mul_f64(1.0 + 0.2 * rand::random::<f64>())
    }
}

fn see<V>(shard: u16, record: Option<&Record<V>>, unchanged: &mut Unchanged, now: Instant) -> Seen {
    let Some(record) = record else {
        unchanged.remove(&shard);
        return Seen::default();
    };
    let state = (record.holder.clone(), record.renewed);
    let entry = unchanged
        .entry(shard)
        .or_insert_with(|| (state.clone(), now));
    if entry.0 != state {
        *entry = (state, now);
    }
    Seen {
        holder: record.holder.clone(),
        wanted_by: record.wanted_by.clone(),
        unchanged_for: now - entry.1,
        duration: record.duration,
    }
}

async fn in_time<T>(request: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match timeout(REQUEST_TIMEOUT, request).await {
        Ok(result) => result,
        Err(_) => Err(Failure::Other(String::from("no answer in time"))),
    }
}

#[cfg(test)]
mod tests;

//! Leader election on a `coordination.k8s.io/v1` Lease.
//!
//! A candidate writes its name and the time into the Lease and repeats that every two seconds. Every write carries the
//! `resourceVersion` of the last read, so of two candidates that write at once the API server refuses one. The clocks of other
//! nodes are never trusted: a holder counts as gone once its Lease did not *change* for its whole duration, measured here.
//!
//! A leader that cannot renew stops its work after [`Settings::renew_deadline`], which is shorter than
//! [`Settings::lease_duration`], so it has stopped before another candidate may begin.
//!
//! RBAC in the namespace of the Lease: `get` and `update` on its name. The chart owns the Lease; `create` on `leases` is needed only
//! where nobody does.

mod lease;

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::Api;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use self::lease::LeaseRegister;

/// Longest time one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long before the end of its lease a former leader drops work that did not end by itself.
const SAFETY_MARGIN: Duration = Duration::from_secs(1);

/// Pause after the API server refused access: only a change of RBAC helps.
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(30);

/// The times of an election.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long a Lease that does not change protects its holder. 15 s.
    pub lease_duration: Duration,
    /// How long after its last renewal a leader stops working. 10 s; shorter than the lease.
    pub renew_deadline: Duration,
    /// Pause between two attempts to acquire or renew, lengthened by up to a fifth at random. 2 s.
    pub retry_period: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// The series `latchkey_leader*`.
#[derive(Clone, Default)]
pub struct Metrics {
    leading: Gauge,
    acquired: Counter,
    lost: Counter,
}

// === impl Metrics ===

impl Metrics {
    /// Registers the series.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "latchkey_leader",
            "Whether this process leads the sync role",
            self.leading.clone(),
        );
        registry.register(
            "latchkey_leader_acquired",
            "Times that this process became leader",
            self.acquired.clone(),
        );
        registry.register(
            "latchkey_leader_lost",
            "Times that this process stopped leading against its will",
            self.lost.clone(),
        );
    }
}

/// What a Lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Empty after a release.
    holder: String,
    duration: Duration,
    acquired: Timestamp,
    renewed: Timestamp,
    transitions: i32,
}

/// A record as read, with what a write must carry to be refused if someone else wrote meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Stored<V> {
    record: Record,
    /// Changes with every write.
    id: String,
    version: V,
}

/// Why a read or write of the record failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Someone else wrote first.
    Conflict,
    /// The service account may not do that.
    Forbidden(&'static str),
    /// Anything else, in words.
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict => formatter.write_str("another candidate wrote first"),
            Self::Forbidden(verb) => write!(
                formatter,
                "the service account may not {verb} it: grant get, update and (if it does not exist) create on leases.coordination.k8s.io there"
            ),
            Self::Other(text) => formatter.write_str(text),
        }
    }
}

/// One record with compare-and-swap.
pub(crate) trait Register: Send + Sync {
    type Version: Clone + Send + Sync;

    fn read(&self) -> impl Future<Output = Result<Option<Stored<Self::Version>>, Failure>> + Send;

    /// `version` is `None` to create the record.
    fn write(
        &self,
        record: &Record,
        version: Option<&Self::Version>,
    ) -> impl Future<Output = Result<Stored<Self::Version>, Failure>> + Send;
}

/// What a candidate does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// There is no record.
    Create,
    /// It is ours.
    Renew,
    /// Its holder let it go or is gone.
    TakeOver,
    /// Another holds it.
    Wait,
}

/// Decides by what the record says and how long this candidate has seen it unchanged.
fn decide(identity: &str, record: Option<&Record>, unchanged_for: Duration) -> Decision {
    match record {
        None => Decision::Create,
        Some(record) if record.holder == identity => Decision::Renew,
        Some(record) if record.holder.is_empty() || unchanged_for >= record.duration => {
            Decision::TakeOver
        }
        Some(_) => Decision::Wait,
    }
}

/// A candidate for one Lease.
pub struct Election {
    register: LeaseRegister,
    candidate: Candidate,
}

// === impl Election ===

impl Election {
    /// A candidate called `identity`, which must be unique in the cluster and new for each process.
    #[must_use]
    pub fn new(
        client: kube::Client,
        namespace: &str,
        name: &str,
        identity: String,
        metrics: Metrics,
    ) -> Self {
        Self {
            register: LeaseRegister {
                api: Api::namespaced(client, namespace),
                name: name.to_owned(),
            },
            candidate: Candidate {
                lease: format!("{namespace}/{name}"),
                identity,
                settings: Settings::default(),
                metrics,
            },
        }
    }

    /// Runs `work` whenever this process leads, until `stop` is cancelled; then releases the Lease.
    ///
    /// The token given to `work` is cancelled when leadership ends. The future is then awaited, and dropped if it does not end in
    /// time; everything it spawned must end with it. Returns what `work` returned if it ended while this process led, and `None`
    /// after `stop`.
    pub async fn run<T, F, W>(&self, stop: &CancellationToken, work: F) -> Option<T>
    where
        F: FnMut(CancellationToken) -> W,
        W: Future<Output = T>,
    {
        self.candidate.run(&self.register, stop, work).await
    }
}

struct Candidate {
    lease: String,
    identity: String,
    settings: Settings,
    metrics: Metrics,
}

/// A record that this candidate holds.
struct Held<V> {
    stored: Stored<V>,
    /// When the last successful write began.
    since: Instant,
}

enum Ended<T> {
    Work(T),
    Lost,
    Stopped,
}

// === impl Candidate ===

impl Candidate {
    async fn run<R, T, F, W>(
        &self,
        register: &R,
        stop: &CancellationToken,
        mut work: F,
    ) -> Option<T>
    where
        R: Register,
        F: FnMut(CancellationToken) -> W,
        W: Future<Output = T>,
    {
        loop {
            let mut held = self.acquire(register, stop).await?;
            info!(lease = self.lease, identity = self.identity, "leading");
            self.metrics.leading.set(1);
            self.metrics.acquired.inc();

            let token = CancellationToken::new();
            let mut running = Box::pin(work(token.clone()));
            let ended = tokio::select! {
                value = &mut running => Ended::Work(value),
                () = stop.cancelled() => Ended::Stopped,
                () = self.renew(register, &mut held) => Ended::Lost,
            };
            token.cancel();
            if !matches!(ended, Ended::Work(_)) {
                let limit = held.since + self.settings.lease_duration.saturating_sub(SAFETY_MARGIN);
                if timeout_at(limit, &mut running).await.is_err() {
                    warn!(
                        lease = self.lease,
                        "work did not end with leadership and was dropped"
                    );
                }
            }
            drop(running);
            self.metrics.leading.set(0);
            let value = match ended {
                Ended::Work(value) => Some(value),
                Ended::Stopped => None,
                Ended::Lost => {
                    self.metrics.lost.inc();
                    warn!(lease = self.lease, "no longer leading");
                    continue;
                }
            };
            self.release(register, held).await;
            return value;
        }
    }

    /// Waits until the record is ours; `None` after `stop`.
    async fn acquire<R: Register>(
        &self,
        register: &R,
        stop: &CancellationToken,
    ) -> Option<Held<R::Version>> {
        let mut seen: Option<(String, Instant)> = None;
        let mut told: Option<Failure> = None;
        loop {
            let attempt = self.attempt(register, &mut seen);
            let result = tokio::select! {
                result = attempt => result,
                () = stop.cancelled() => return None,
            };
            let pause = match result {
                Ok(Some(held)) => return Some(held),
                Ok(None) | Err(Failure::Conflict) => {
                    told = None;
                    self.pause()
                }
                Err(failure) => {
                    let pause = if matches!(failure, Failure::Forbidden(_)) {
                        FORBIDDEN_PAUSE
                    } else {
                        self.pause()
                    };
                    // One line per cause, not one per attempt.
                    if told.as_ref() != Some(&failure) {
                        error!(lease = self.lease, "failed to use the lease: {failure}");
                        told = Some(failure);
                    }
                    pause
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => return None,
            }
        }
    }

    async fn attempt<R: Register>(
        &self,
        register: &R,
        seen: &mut Option<(String, Instant)>,
    ) -> Result<Option<Held<R::Version>>, Failure> {
        let stored = in_time(REQUEST_TIMEOUT, register.read()).await?;
        let now = Instant::now();
        let unchanged_for = match (&stored, seen.as_ref()) {
            (Some(stored), Some((id, since))) if *id == stored.id => now - *since,
            (Some(stored), _) => {
                *seen = Some((stored.id.clone(), now));
                Duration::ZERO
            }
            (None, _) => Duration::ZERO,
        };
        let decision = decide(
            &self.identity,
            stored.as_ref().map(|stored| &stored.record),
            unchanged_for,
        );
        debug!(lease = self.lease, ?decision, "looked at the lease");
        if decision == Decision::Wait {
            return Ok(None);
        }
        let record = self.record(stored.as_ref().map(|stored| &stored.record));
        let version = stored.as_ref().map(|stored| &stored.version);
        let stored = in_time(REQUEST_TIMEOUT, register.write(&record, version)).await?;
        Ok(Some(Held { stored, since: now }))
    }

    /// Renews until that failed for the renew deadline, and not a moment longer: what is left until the lease ends is for the work
    /// to end in.
    async fn renew<R: Register>(&self, register: &R, held: &mut Held<R::Version>) {
        loop {
            let deadline = held.since + self.settings.renew_deadline;
            sleep_until((Instant::now() + self.pause()).min(deadline)).await;
            let now = Instant::now();
            if now >= deadline {
                return;
            }
            let limit = || {
                deadline
                    .saturating_duration_since(Instant::now())
                    .min(REQUEST_TIMEOUT)
            };
            let record = self.record(Some(&held.stored.record));
            match in_time(limit(), register.write(&record, Some(&held.stored.version))).await {
                Ok(stored) => *held = Held { stored, since: now },
                // Either someone took the record, or our own write arrived although its answer was lost: the record tells.
                Err(Failure::Conflict) => match in_time(limit(), register.read()).await {
                    Ok(Some(stored)) if stored.record.holder == self.identity => {
                        held.stored = stored
                    }
                    Ok(_) => return,
                    Err(failure) => {
                        warn!(lease = self.lease, "failed to read the lease: {failure}")
                    }
                },
                Err(failure) => warn!(lease = self.lease, "failed to renew the lease: {failure}"),
            }
        }
    }

    /// Lets others take over at once. A failure costs them the lease duration and nothing else.
    async fn release<R: Register>(&self, register: &R, held: Held<R::Version>) {
        let record = Record {
            holder: String::new(),
            duration: Duration::from_secs(1),
            renewed: Timestamp::now(),
            ..held.stored.record.clone()
        };
        if let Err(failure) = in_time(
            REQUEST_TIMEOUT,
            register.write(&record, Some(&held.stored.version)),
        )
        .await
        {
            warn!(lease = self.lease, "failed to release the lease: {failure}");
        }
    }

    fn record(&self, previous: Option<&Record>) -> Record {
        let now = Timestamp::now();
        let ours = previous.filter(|record| record.holder == self.identity);
        Record {
            holder: self.identity.clone(),
            duration: self.settings.lease_duration,
            acquired: ours.map_or(now, |record| record.acquired),
            renewed: now,
            transitions: match (ours, previous) {
                (Some(record), _) => record.transitions,
                (None, Some(record)) => record.transitions.saturating_add(1),
                (None, None) => 0,
            },
        }
    }

    fn pause(&self) -> Duration {
        self.settings
            .retry_period
            .mul_f64(1.0 + 0.2 * rand::random::<f64>())
    }
}

async fn in_time<T>(
    limit: Duration,
    request: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match timeout(limit, pin!(request)).await {
        Ok(result) => result,
        Err(_) => Err(Failure::Other(String::from("no answer in time"))),
    }
}

#[cfg(test)]
mod tests;

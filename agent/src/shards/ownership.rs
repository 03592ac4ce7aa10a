//! What an agent holds, and for how long that is certain.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Metrics, Settings, shard_of};
use crate::schedule::Key;

/// How long passes of a shard that is given away may go on.
const DRAIN: Duration = Duration::from_secs(3);

/// What this agent holds at the moment. Cheap to ask; shared by everything that acts on objects.
pub struct Ownership {
    count: u16,
    renew_deadline: Duration,
    pub(super) held: Mutex<HashMap<u16, Held>>,
    numbers: watch::Sender<BTreeSet<u16>>,
    /// Wakes the watch over deadlines.
    changed: Notify,
    metrics: Metrics,
}

pub(super) struct Held {
    /// When the last successful write began.
    pub(super) since: Instant,
    tenure: Arc<Tenure>,
}

/// One uninterrupted time of holding a shard.
struct Tenure {
    lost: CancellationToken,
    /// Until when it is certain that nobody else holds the shard. Moves on with every renewal.
    until: Mutex<Instant>,
}

/// The right to act on the objects of one shard. While one exists, the shard is not given away for up to three seconds.
#[derive(Clone)]
pub struct Guard(Arc<Tenure>);

// === impl Guard ===

impl Guard {
    /// Runs `work` while the shard is held; `None` if it was lost before the end. The work is then dropped.
    ///
    /// The time is looked at before each step, so that a process that slept through its lease does not act on.
    pub async fn protect<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        let mut lost = std::pin::pin!(self.0.lost.cancelled());
        std::future::poll_fn(|context| {
            let is_over = *self.0.until.lock() <= Instant::now();
            if is_over || lost.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            work.as_mut().poll(context).map(Some)
        })
        .await
    }
}

// === impl Ownership ===

impl Ownership {
    pub(super) fn new(settings: &Settings, metrics: Metrics) -> Self {
        let count = settings.count.max(1);
        metrics.total.set(count.into());
        Self {
            count,
            renew_deadline: settings.renew_deadline,
            held: Mutex::default(),
            numbers: watch::Sender::default(),
            changed: Notify::new(),
            metrics,
        }
    }

    /// An ownership of everything, for an agent that shares with nobody.
    #[must_use]
    pub fn of_everything() -> Self {
        let settings = Settings {
            count: 1,
            renew_deadline: Duration::from_secs(100 * 365 * 24 * 3600),
            ..Settings::default()
        };
        let ownership = Self::new(&settings, Metrics::default());
        ownership.hold(0, Instant::now());
        ownership
    }

    /// The right to act on an object; `None` if it is another agent's.
    #[must_use]
    pub fn of(&self, object: &Key) -> Option<Guard> {
        let shard = self.shard_of(object);
        let held = self.held.lock();
        held.get(&shard).map(|held| Guard(Arc::clone(&held.tenure)))
    }

    /// The shard of an object.
    #[must_use]
    pub fn shard_of(&self, (namespace, name): &Key) -> u16 {
        shard_of(namespace, name, self.count)
    }

    /// The shards that are held, whenever they change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<BTreeSet<u16>> {
        self.numbers.subscribe()
    }

    pub(super) fn hold(&self, shard: u16, since: Instant) {
        let until = since + self.renew_deadline;
        let mut held = self.held.lock();
        match held.get_mut(&shard) {
            Some(known) => {
                known.since = since;
                *known.tenure.until.lock() = until;
            }
            None => {
                let tenure = Arc::new(Tenure {
                    lost: CancellationToken::new(),
                    until: Mutex::new(until),
                });
                held.insert(shard, Held { since, tenure });
                info!(shard, "holding a shard");
            }
        }
        self.publish(&held);
    }

    fn drop_shard(&self, shard: u16) {
        let mut held = self.held.lock();
        if let Some(known) = held.remove(&shard) {
            known.tenure.lost.cancel();
        }
        self.publish(&held);
    }

    /// Gives no further rights to a shard and waits, within a bound, until those that were given are gone.
    pub(super) async fn drain(&self, shard: u16) {
        let tenure = {
            let mut held = self.held.lock();
            let Some(known) = held.remove(&shard) else {
                return;
            };
            self.publish(&held);
            known.tenure
        };
        let drained = async {
            while Arc::strong_count(&tenure) > 1 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(DRAIN, drained).await.is_err() {
            warn!(shard, "passes went on and were dropped with their shard");
        }
        tenure.lost.cancel();
    }

    fn publish(&self, held: &HashMap<u16, Held>) {
        let numbers: BTreeSet<u16> = held.keys().copied().collect();
        self.metrics
            .held
            .set(i64::try_from(numbers.len()).unwrap_or(i64::MAX));
        self.numbers.send_if_modified(|current| {
            let is_new = *current != numbers;
            *current = numbers;
            is_new
        });
        self.changed.notify_one();
    }

    /// Drops shards whose renewal is overdue, at the moment it is, whatever else hangs.
    pub(super) async fn expire(&self) {
        loop {
            let first = {
                let held = self.held.lock();
                held.iter()
                    .map(|(shard, held)| (held.since + self.renew_deadline, *shard))
                    .min()
            };
            let Some((at, shard)) = first else {
                self.changed.notified().await;
                continue;
            };
            if at <= Instant::now() {
                warn!(shard, "the shard's lease could not be renewed in time");
                self.drop_shard(shard);
                continue;
            }
            tokio::select! {
                () = sleep_until(at) => {}
                () = self.changed.notified() => {}
            }
        }
    }
}

//! Which object is looked at next, and when (`docs/architecture.md`, "Inside the agent").
//!
//! ```text
//! watches ─> trigger ─┐                       ┌─ lane First   (never synced: somebody waits for it)
//! timers ─────────────┴─> Queue (pure) ─ take ┤                                     namespaces take turns within a lane
//!                           ▲                 └─ lane Refresh (everything else)
//!                           └── finish(next) ── pass, at most `concurrency` at once, and as many as the budget has room for
//! ```
//!
//! [`Queue`] holds the rules and knows no clock of its own, so its tests are exact: an object is in one place only, is never run twice
//! at the same time, and one that is triggered while it runs is run again afterwards. [`Scheduler`] drives it.
//!
//! Each pass takes a unit of whatever its [`Budget`] names, such as its store, and gives it back when it ends. An object whose turn comes
//! when nothing is left waits aside, and lets others go first; it is called as soon as a unit is given back. [`phase`] says at
//! which moment of its interval an object is refreshed.

mod budget;
mod lanes;
pub(crate) mod meter;
pub(crate) mod phase;
mod queue;

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::error;

pub use budget::Charge;
pub use lanes::Lane;
use meter::Meter;
pub use queue::{Budget, Key, Queue};

/// What follows a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing before something changes.
    Change,
    /// Another pass after this time, unless something changes earlier.
    After(Duration),
}

// === impl Next ===

impl Next {
    /// The next pass after `pause`, or only after a change.
    #[must_use]
    pub fn within(pause: Option<Duration>) -> Self {
        pause.map_or(Self::Change, Self::After)
    }
}

/// A [`Queue`] that runs.
#[derive(Default)]
pub struct Scheduler {
    queue: Mutex<Queue>,
    /// Wakes the driver after a change of the queue.
    changed: Notify,
}

// === impl Scheduler ===

impl Scheduler {
    /// A scheduler whose passes take what `budget` says.
    #[must_use]
    pub fn new(budget: Budget) -> Self {
        Self {
            queue: Mutex::new(Queue::new(budget)),
            changed: Notify::new(),
        }
    }

    /// The same, which tells `meter` what waits in it.
    #[must_use]
    pub(crate) fn metered(budget: Budget, meter: Meter) -> Self {
        Self {
            queue: Mutex::new(Queue::new(budget).with_meter(meter)),
            changed: Notify::new(),
        }
    }

    /// Has the object looked at as soon as its lane and its namespace allow.
    pub fn trigger(&self, key: Key, lane: Lane) {
        self.queue.lock().trigger(key, lane);
        self.changed.notify_one();
    }

    /// Has an object that is due later looked at from `instant` on.
    pub fn hasten(&self, key: &Key, instant: Instant) {
        self.queue.lock().hasten(key, instant);
        self.changed.notify_one();
    }

    /// Drops what is known of an object that is gone. A running pass goes on.
    pub fn forget(&self, key: &Key) {
        self.queue.lock().forget(key);
    }

    /// Objects that wait for their turn, by lane.
    #[must_use]
    pub fn waiting(&self, lane: Lane) -> usize {
        self.queue.lock().waiting(lane)
    }

    /// Runs `pass` for each object whose turn it is, at most `concurrency` at once, until `stop`; then waits for the running ones.
    ///
    /// A pass that panics is told and counted as finished without a next time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the running passes.
    pub async fn run<F, P>(&self, concurrency: usize, stop: &CancellationToken, pass: F)
    where
        F: Fn(Key) -> P,
        P: Future<Output = Next> + Send + 'static,
    {
        let mut running: JoinSet<Next> = JoinSet::new();
        let mut keys = HashMap::new();
        loop {
            while running.len() < concurrency.max(1) && !stop.is_cancelled() {
                let Some(key) = self.queue.lock().take(Instant::now()) else {
                    break;
                };
                let task = running.spawn(pass(key.clone()));
                keys.insert(task.id(), key);
            }
            if stop.is_cancelled() && running.is_empty() {
                return;
            }
            let has_room = running.len() < concurrency.max(1) && !stop.is_cancelled();
            let due = self.queue.lock().next_due().filter(|_| has_room);
            tokio::select! {
                Some(ended) = running.join_next_with_id() => {
                    let (id, next) = match ended {
                        Ok((id, next)) => (id, next),
                        Err(error) => {
                            if error.is_panic() {
                                error!("a pass panicked");
                            }
                            (error.id(), Next::Change)
                        }
                    };
                    if let Some(key) = keys.remove(&id) {
                        self.finish(&key, next);
                    }
                }
                () = self.changed.notified(), if has_room => {}
                () = at(due), if due.is_some() => {}
                () = stop.cancelled(), if !stop.is_cancelled() => {}
            }
        }
    }

    fn finish(&self, key: &Key, next: Next) {
        let due = match next {
            Next::Change => None,
            Next::After(pause) => Some(Instant::now() + pause),
        };
        self.queue.lock().finish(key, due);
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;

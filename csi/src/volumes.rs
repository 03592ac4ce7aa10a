//! The volumes of this node: one task per target path does everything that happens there, one thing at a time (csi.md 2.2).
//!
//! A call sends a command to the target's task and waits for the answer. Dropping the call drops the wait and nothing else; a
//! second publish joins the first; an unpublish ends a publish that still waits for content. Tasks exist from the first publish
//! (or the recovery at start, [`recovery`]) to the unpublish, and follow the backend's updates in between.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::{Backend, FailureClass};
use crate::blocking::Blocking;
use crate::board::{Board, VolumeStatus};
use crate::config::Config;
use crate::error::NodeError;
use crate::events::EventSink;
use crate::metrics::Metrics;
use crate::publish::Checked;
use crate::target::Target;

mod actor;
#[cfg(test)]
pub(crate) mod bench;
#[cfg(test)]
mod crash;
pub(crate) mod disk;
mod janitor;
mod labels;
mod look;
#[cfg(test)]
mod model;
mod recovery;
#[cfg(test)]
mod tests;

use actor::{Actor, Phase};
use disk::{Disk, DiskError, Usage};

/// Most targets that are looked after (csi.md 2.2).
const MAX_TARGETS: usize = 10_000;

/// Commands that wait for one target's task; kubelet sends one at a time.
const QUEUE: usize = 16;

/// How much longer than its deadline a call waits for the task's own answer to it.
const ANSWER_GRACE: Duration = Duration::from_secs(2);

/// How long running operations may take at shutdown (csi.md 7.6).
const DRAIN: Duration = Duration::from_secs(5);

/// What a target's task can be asked.
enum Command<P> {
    Publish(Box<Publish<P>>),
    Unpublish(oneshot::Sender<Result<(), NodeError>>),
    /// An unpublish by the janitor; whether anything was to be taken away.
    Reap(oneshot::Sender<Result<bool, NodeError>>),
    /// A publish panicked: clean up and say what to answer.
    Settle(oneshot::Sender<NodeError>),
}

/// A publish on its way to the task.
struct Publish<P> {
    checked: Checked,
    plan: P,
    deadline: Instant,
    reply: oneshot::Sender<Result<Published, NodeError>>,
}

/// What a successful publish did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    /// Mounted the volume.
    First,
    /// Found it mounted.
    Again,
}

/// The volumes; clones share them.
pub(crate) struct Volumes<B: Backend>(Arc<Inner<B>>);

impl<B: Backend> Clone for Volumes<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Inner<B: Backend> {
    config: Arc<Config>,
    backend: B,
    disk: Arc<Disk>,
    blocking: Arc<Blocking>,
    board: Arc<Board>,
    metrics: Metrics,
    events: EventSink,
    boot_id: String,
    entries: Mutex<HashMap<Target, mpsc::Sender<Command<B::Plan>>>>,
    tasks: TaskTracker,
    /// Operations between their start and their end, for the shutdown to wait for.
    running: AtomicUsize,
    /// No new first publishes.
    draining: CancellationToken,
    /// Tasks end where they stand between two operations.
    stop: CancellationToken,
}

impl<B: Backend> Volumes<B> {
    pub(crate) fn new(
        config: Arc<Config>,
        backend: B,
        disk: Disk,
        metrics: Metrics,
        board: Arc<Board>,
        events: EventSink,
    ) -> Self {
        Self(Arc::new(Inner {
            config,
            backend,
            disk: Arc::new(disk),
            blocking: Arc::new(Blocking::new(metrics.stuck_operations.clone())),
            board,
            metrics,
            events,
            boot_id: crate::state::boot_id(),
            entries: Mutex::default(),
            tasks: TaskTracker::new(),
            running: AtomicUsize::new(0),
            draining: CancellationToken::new(),
            stop: CancellationToken::new(),
        }))
    }

    pub(crate) fn backend(&self) -> &B {
        &self.0.backend
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.0.disk
    }

    /// Mounts the volume, or finds it mounted (csi.md 1.3 checks 17 to 20, 6.3).
    ///
    /// # Cancel safety
    ///
    /// The operation goes on without the caller.
    pub(crate) async fn publish(
        &self,
        checked: Checked,
        plan: B::Plan,
        deadline: Instant,
    ) -> Result<Published, NodeError> {
        let (reply, answer) = oneshot::channel();
        let target = checked.target.clone();
        let publish = Box::new(Publish {
            checked,
            plan,
            deadline,
            reply,
        });
        self.0.send(&target, Command::Publish(publish), true)?;
        match tokio::time::timeout_at(deadline + ANSWER_GRACE, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(self.settle(&target, deadline + ANSWER_GRACE).await),
            Err(_) => Err(deadline_exceeded()),
        }
    }

    /// What to answer to a publish whose operation panicked, or whose task the shutdown ended.
    async fn settle(&self, target: &Target, deadline: Instant) -> NodeError {
        let (reply, answer) = oneshot::channel();
        if let Err(error) = self.0.send(target, Command::Settle(reply), false) {
            return error;
        }
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(error)) => error,
            Ok(Err(_)) => NodeError::ShuttingDown,
            Err(_) => NodeError::Busy,
        }
    }

    /// Takes the volume away if kubelet does not know it; whether it was so.
    async fn reap(&self, target: &Target, deadline: Instant) -> Result<bool, NodeError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(target, Command::Reap(reply), false)?;
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(NodeError::Panicked),
            Err(_) => Err(NodeError::Busy),
        }
    }

    /// Takes the volume away; whatever of it is there (csi.md 1.4).
    ///
    /// # Cancel safety
    ///
    /// The operation goes on without the caller.
    pub(crate) async fn unpublish(
        &self,
        target: &Target,
        deadline: Instant,
    ) -> Result<(), NodeError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(target, Command::Unpublish(reply), false)?;
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(NodeError::Panicked),
            Err(_) => Err(NodeError::Busy),
        }
    }

    /// Size and use of a mounted volume (csi.md 1.5).
    pub(crate) async fn usage(&self, volume_id: &str, target: Target) -> Result<Usage, NodeError> {
        let status = self
            .0
            .board
            .get(&target)
            .filter(|status| status.volume_id() == Some(volume_id))
            .ok_or(NodeError::NotFound)?;
        let id = status.mount_id.ok_or(NodeError::NotFound)?;
        let disk = self.0.disk.clone();
        match self.0.blocking.run(move || disk.usage(&target, id)).await {
            Ok(Ok(usage)) => Ok(usage),
            Ok(Err(DiskError::Gone)) => Err(NodeError::NotFound),
            Ok(Err(error)) => Err(NodeError::Filesystem(crate::error::chain(&error))),
            Err(error) => Err(NodeError::Filesystem(error.to_string())),
        }
    }

    /// Takes over what an earlier process left (csi.md 7.2).
    pub(crate) async fn recover(&self) -> Result<(), DiskError> {
        recovery::recover(&self.0).await
    }

    /// Removes volumes that kubelet forgot, until `cancel` (csi.md 7.5).
    pub(crate) async fn run_janitor(&self, cancel: &CancellationToken) {
        janitor::run(self, cancel).await;
    }

    /// Refuses new volumes and waits for running operations, at most [`DRAIN`].
    pub(crate) async fn drain(&self) {
        self.0.draining.cancel();
        let deadline = Instant::now() + DRAIN;
        while self.0.running.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends all tasks; mounts and state stay.
    pub(crate) async fn stop(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        if tokio::time::timeout(DRAIN, self.0.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("operations on volumes were still running at exit");
        }
        let disk = self.0.disk.clone();
        let _ = self.0.blocking.run(move || disk.mounter.stop()).await;
    }
}

impl<B: Backend> Inner<B> {
    /// Sends under the lock of the map, so that a task which retires has seen every command that was sent to it.
    fn send(
        self: &Arc<Self>,
        target: &Target,
        command: Command<B::Plan>,
        bounded: bool,
    ) -> Result<(), NodeError> {
        let mut entries = self.entries.lock();
        let sender = match entries.get(target) {
            Some(sender) => sender,
            None if bounded && entries.len() >= MAX_TARGETS => return Err(NodeError::TooMany),
            None => {
                let sender = self.spawn(target.clone(), Phase::Absent);
                entries.entry(target.clone()).or_insert(sender)
            }
        };
        sender.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NodeError::Busy,
            mpsc::error::TrySendError::Closed(_) => NodeError::ShuttingDown,
        })
    }

    /// Starts the task of a target whose mount is known already, unless there is one.
    fn adopt(self: &Arc<Self>, target: Target, phase: Phase<B::Plan>, status: VolumeStatus) {
        let mut entries = self.entries.lock();
        if entries.contains_key(&target) {
            return;
        }
        self.board.set(&target, status);
        let sender = self.spawn(target.clone(), phase);
        entries.insert(target, sender);
    }

    fn spawn(
        self: &Arc<Self>,
        target: Target,
        phase: Phase<B::Plan>,
    ) -> mpsc::Sender<Command<B::Plan>> {
        let (sender, commands) = mpsc::channel(QUEUE);
        let inner = self.clone();
        let actor = Actor::new(self.clone(), target.clone(), commands, phase);
        self.tasks.spawn(async move {
            if AssertUnwindSafe(Box::pin(actor.run()))
                .catch_unwind()
                .await
                .is_err()
            {
                // Between two operations: what is mounted stays, and the next call finds it without any memory of it.
                tracing::error!(
                    target = target.path(),
                    "the task of a volume failed unexpectedly"
                );
                inner.entries.lock().remove(&target);
                inner.board.remove(&target);
            }
        });
        sender
    }

    /// Ends the task of a target without volume, unless a command waits for it.
    fn retire(&self, target: &Target, commands: &mpsc::Receiver<Command<B::Plan>>) -> bool {
        let mut entries = self.entries.lock();
        if !commands.is_empty() {
            return false;
        }
        entries.remove(target);
        true
    }
}

/// Counts an operation as running while it lives.
struct Running<'inner>(&'inner AtomicUsize);

impl<'inner> Running<'inner> {
    fn start(counter: &'inner AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::AcqRel);
        Self(counter)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn deadline_exceeded() -> NodeError {
    NodeError::Backend {
        class: FailureClass::DeadlineExceeded,
        message: "the volume's content did not arrive in time; kubelet tries again".to_owned(),
    }
}

//! The task of one target path.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::disk::{Detached, Disk, DiskError};
use super::{Command, Inner, Publish, Running};
use crate::backend::{Backend, Failure, FileSet, Update, VolumeRequest};
use crate::blocking::BlockingError;
use crate::digest::Digest;
use crate::error::{NodeError, chain};
use crate::publish::Checked;
use crate::state::VolumeState;
use crate::target::Target;

mod party;
mod publish;
mod rotation;

/// Attempts to unmount what is in use before it is detached lazily, and the pause between them (csi.md 1.4).
const BUSY_ATTEMPTS: u32 = 3;
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// How a volume was asked for.
#[derive(Clone)]
pub(super) struct Spec<P> {
    pub(super) request: VolumeRequest,
    pub(super) gid: Option<u32>,
    pub(super) context: Option<String>,
    pub(super) digest: Digest,
    /// `None` where this version of the backend refuses what an earlier one accepted.
    pub(super) plan: Option<P>,
}

impl<P> Spec<P> {
    fn new(checked: Checked, plan: P) -> Self {
        let Checked {
            request,
            gid,
            context,
            digest,
            ..
        } = checked;
        Self {
            request,
            gid,
            context,
            digest,
            plan: Some(plan),
        }
    }
}

/// What is known of content besides its files.
#[derive(Clone)]
pub(super) struct Note {
    /// The backend's own; `None` if it has none, or if it is not known.
    pub(super) revision: Option<Arc<str>>,
    /// When it was last known to be current.
    pub(super) last_success: Instant,
}

impl Note {
    fn of(set: &FileSet) -> Self {
        let now = Instant::now();
        Self {
            revision: set.revision.clone(),
            last_success: now.checked_sub(set.age).unwrap_or(now),
        }
    }
}

/// A volume that is mounted.
pub(super) struct Mounted<P> {
    pub(super) spec: Spec<P>,
    pub(super) mount_id: u64,
    /// Digest of what it shows, once known.
    pub(super) content: Option<Digest>,
    pub(super) updates: Option<BoxStream<'static, Update>>,
    /// When the previous generation goes. Updates wait until then, so that there are never three generations.
    pub(super) sweep_at: Option<Instant>,
    /// When a sweep that failed is tried again. Updates do not wait for it.
    pub(super) retry_at: Option<Instant>,
    pub(super) stale: bool,
    pub(super) note: Note,
    /// What of it the state file knows.
    pub(super) saved: Note,
}

/// What is known about the target.
pub(super) enum Phase<P> {
    /// Nothing is mounted, as far as this process knows.
    Absent,
    /// A volume of this driver is mounted, and nobody remembers how it was asked for.
    Unknown {
        /// Its mount.
        mount_id: u64,
    },
    /// The volume's mount vanished.
    Lost(Box<Spec<P>>),
    /// The volume is mounted.
    Mounted(Box<Mounted<P>>),
}

pub(super) struct Actor<B: Backend> {
    inner: Arc<Inner<B>>,
    target: Target,
    commands: mpsc::Receiver<Command<B::Plan>>,
    /// Publishes that waited for another one to end; they come before new commands.
    deferred: VecDeque<Box<Publish<B::Plan>>>,
    phase: Phase<B::Plan>,
}

/// What the task does next.
enum Next<P> {
    Command(Command<P>),
    Update(Option<Update>),
    Sweep,
    End,
}

impl<B: Backend> Actor<B> {
    pub(super) fn new(
        inner: Arc<Inner<B>>,
        target: Target,
        commands: mpsc::Receiver<Command<B::Plan>>,
        phase: Phase<B::Plan>,
    ) -> Self {
        Self {
            inner,
            target,
            commands,
            deferred: VecDeque::new(),
            phase,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let next = self.next().await;
            if matches!(next, Next::End) {
                return;
            }
            let inner = self.inner.clone();
            let _running = Running::start(&inner.running);
            // A defect in one operation ends neither the process nor the care for this target (csi.md 1.6).
            if AssertUnwindSafe(Box::pin(self.handle(next)))
                .catch_unwind()
                .await
                .is_err()
            {
                let target = self.target.path();
                tracing::error!(target, "an operation on a volume failed unexpectedly");
                self.clean_up().await;
            }
            if matches!(self.phase, Phase::Absent)
                && self.deferred.is_empty()
                && self.inner.retire(&self.target, &self.commands)
            {
                return;
            }
        }
    }

    async fn next(&mut self) -> Next<B::Plan> {
        if let Some(publish) = self.deferred.pop_front() {
            return Next::Command(Command::Publish(publish));
        }
        tokio::select! {
            biased;
            () = self.inner.stop.cancelled() => Next::End,
            command = self.commands.recv() => command.map_or(Next::End, Next::Command),
            next = happening(&mut self.phase) => next,
        }
    }

    async fn handle(&mut self, next: Next<B::Plan>) {
        match next {
            Next::Command(Command::Publish(publish)) => Box::pin(self.publish(publish)).await,
            Next::Command(Command::Unpublish(reply)) => self.unpublish(reply).await,
            Next::Command(Command::Reap(reply)) => self.reap(reply).await,
            Next::Command(Command::Settle(reply)) => self.settle(reply).await,
            Next::Update(update) => Box::pin(self.update(update)).await,
            Next::Sweep => self.sweep().await,
            Next::End => {}
        }
    }

    // === unpublish ===

    async fn unpublish(&mut self, reply: oneshot::Sender<Result<(), NodeError>>) {
        let result = self.end().await;
        // The caller may have gone.
        let _ = reply.send(result);
    }

    /// The janitor's unpublish: nothing happens if kubelet knows the volume after all. The look is taken here, where no publish
    /// can come between it and the unmount (csi.md 7.5).
    async fn reap(&mut self, reply: oneshot::Sender<Result<bool, NodeError>>) {
        let target = self.target.clone();
        let result = match self
            .on_disk(move |disk| Ok(disk.roots.kubelet_knows(&target)))
            .await
        {
            Ok(true) => Ok(false),
            Ok(false) => self.end().await.map(|()| true),
            Err(error) => Err(error),
        };
        let _ = reply.send(result);
    }

    /// After a panic: what no phase speaks of goes.
    async fn clean_up(&mut self) {
        if matches!(self.phase, Phase::Absent) && self.take_away().await.is_ok() {
            self.inner.board.remove(&self.target);
        }
    }

    /// After a publish that panicked: an answer with a final code must not leave anything mounted (csi.md R2).
    async fn settle(&mut self, reply: oneshot::Sender<NodeError>) {
        let error = match &self.phase {
            Phase::Mounted(_) | Phase::Unknown { .. } => {
                NodeError::Uncertain(NodeError::Panicked.to_string())
            }
            Phase::Absent | Phase::Lost(_) => match self.take_away().await {
                Ok(()) => NodeError::Panicked,
                Err(_) => NodeError::NotCleaned(NodeError::Panicked.to_string()),
            },
        };
        if matches!(self.phase, Phase::Absent) {
            self.inner.board.remove(&self.target);
        }
        let _ = reply.send(error);
    }

    /// Ends the volume, whatever of it is there.
    async fn end(&mut self) -> Result<(), NodeError> {
        let plan = match std::mem::replace(&mut self.phase, Phase::Absent) {
            // Dropping it ends the subscription.
            Phase::Mounted(mounted) => mounted.spec.plan,
            Phase::Lost(spec) => spec.plan,
            Phase::Absent | Phase::Unknown { .. } => None,
        };
        if let Some(plan) = plan {
            self.inner.backend.released(&plan);
        }
        self.take_away().await?;
        self.inner.board.remove(&self.target);
        Ok(())
    }

    /// Unmounts whatever of ours is at the target and removes directory and state; nothing of it need exist.
    async fn take_away(&mut self) -> Result<(), NodeError> {
        let mut attempt = 0;
        loop {
            let target = self.target.clone();
            let lazy = attempt == BUSY_ATTEMPTS;
            // Both in one call: a thread costs more to wake than either of them.
            let detached = self.on_disk(move |disk| {
                let detached = disk.detach(&target, lazy)?;
                if detached == Detached::Yes {
                    disk.forget(&target)?;
                }
                Ok(detached)
            });
            match detached.await? {
                Detached::Yes => return Ok(()),
                Detached::Busy if lazy => {
                    return Err(NodeError::Filesystem(
                        "failed to unmount the target: it is in use".to_owned(),
                    ));
                }
                Detached::Busy => tokio::time::sleep(BUSY_PAUSE).await,
            }
            attempt += 1;
        }
    }

    // === helpers ===

    async fn on_disk<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Disk) -> Result<T, DiskError> + Send + 'static,
    ) -> Result<T, NodeError> {
        let disk = self.inner.disk.clone();
        match self.inner.blocking.run(move || work(&disk)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.disk_error(&error)),
            Err(error) => Err(stuck(error)),
        }
    }

    fn disk_error(&self, error: &DiskError) -> NodeError {
        let text = chain(error);
        tracing::error!(
            target = self.target.path(),
            error = text,
            "a file system operation failed"
        );
        NodeError::Filesystem(text)
    }

    fn state_of(&self, spec: &Spec<B::Plan>, note: &Note) -> VolumeState {
        let now = jiff::Timestamp::now();
        let last_success = now.saturating_sub(note.last_success.elapsed());
        VolumeState::new(
            &self.target,
            &spec.request,
            spec.gid,
            spec.context.clone(),
            self.inner.boot_id.clone(),
            last_success.unwrap_or(now),
            note.revision.as_deref().map(str::to_owned),
        )
    }
}

/// What a volume does without a command.
async fn happening<P>(phase: &mut Phase<P>) -> Next<P> {
    let Phase::Mounted(mounted) = phase else {
        return std::future::pending().await;
    };
    if let Some(at) = mounted.sweep_at {
        tokio::time::sleep_until(at).await;
        return Next::Sweep;
    }
    let (updates, retry_at) = (&mut mounted.updates, mounted.retry_at);
    let update = async {
        match updates {
            Some(updates) => updates.next().await,
            None => std::future::pending().await,
        }
    };
    let retry = async {
        match retry_at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        update = update => Next::Update(update),
        () = retry => Next::Sweep,
    }
}

fn backend_error(failure: Failure) -> NodeError {
    let Failure {
        class,
        mut message,
        retry_after,
    } = failure;
    if let Some(after) = retry_after {
        message = format!("{message} (next attempt in {} s)", after.as_secs());
    }
    NodeError::Backend { class, message }
}

fn stuck(error: BlockingError) -> NodeError {
    match error {
        // Whether the call takes effect later is unknown: kubelet shall unpublish.
        BlockingError::Stuck => NodeError::Uncertain(error.to_string()),
        BlockingError::Panicked => NodeError::Panicked,
    }
}

/// Nothing is known about what is mounted: no final code (csi.md R2).
fn uncertain(error: NodeError) -> NodeError {
    if crate::error::is_final(error.code()) {
        NodeError::Uncertain(error.to_string())
    } else {
        error
    }
}

//! The task of one target path.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::disk::{Condition, Detached, Disk, DiskError};
use super::{Command, Inner, Publish, Published, Running, deadline_exceeded};
use crate::backend::{Backend, Failure, FileSet, Update, VolumeRequest};
use crate::blocking::BlockingError;
use crate::board::{VolumeHealth, VolumeStatus};
use crate::digest::Digest;
use crate::error::{NodeError, chain, one_line};
use crate::events::Event;
use crate::layout::{Layout, Ownership};
use crate::mount::Occupant;
use crate::publish::Checked;
use crate::state::VolumeState;
use crate::target::Target;

mod rotation;

/// Calls that may wait for one publish.
const MAX_WAITERS: usize = 64;

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

/// A volume that is mounted.
pub(super) struct Mounted<P> {
    pub(super) spec: Spec<P>,
    pub(super) mount_id: u64,
    /// Digest of what it shows, once known.
    pub(super) content: Option<Digest>,
    pub(super) updates: Option<BoxStream<'static, Update>>,
    /// When the previous generation goes. Updates wait until then, so that there are never three generations.
    pub(super) sweep_at: Option<Instant>,
    pub(super) stale: bool,
    pub(super) last_success: Instant,
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
    phase: Phase<B::Plan>,
}

/// What happens without a command.
enum Happening {
    Update(Option<Update>),
    SweepDue,
}

type Reply = oneshot::Sender<Result<Published, NodeError>>;

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
            phase,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            tokio::select! {
                biased;
                () = self.inner.stop.cancelled() => return,
                command = self.commands.recv() => {
                    let inner = self.inner.clone();
                    let _running = Running::start(&inner.running);
                    match command {
                        Some(Command::Publish(publish)) => Box::pin(self.publish(publish)).await,
                        Some(Command::Unpublish(reply)) => Box::pin(self.unpublish(reply)).await,
                        None => return,
                    }
                }
                happening = happening(&mut self.phase) => {
                    let inner = self.inner.clone();
                    let _running = Running::start(&inner.running);
                    match happening {
                        Happening::Update(update) => Box::pin(self.update(update)).await,
                        Happening::SweepDue => Box::pin(self.sweep()).await,
                    }
                }
            }
            if matches!(self.phase, Phase::Absent)
                && self.inner.retire(&self.target, &self.commands)
            {
                self.inner.board.remove(&self.target);
                return;
            }
        }
    }

    // === publish ===

    async fn publish(&mut self, publish: Box<Publish<B::Plan>>) {
        let Publish {
            checked,
            plan,
            deadline,
            reply,
        } = *publish;
        match self.look(&checked).await {
            Err(error) => answer(reply, Err(error)),
            Ok(Found::Nothing) => self.publish_first(checked, plan, deadline, reply).await,
            Ok(Found::Healthy) => {
                self.adopt_spec(checked, plan);
                answer(reply, Ok(Published::Again));
            }
            Ok(Found::Broken) => {
                self.adopt_spec(checked, plan);
                let result = self.repair(deadline).await;
                answer(reply, result.map(|()| Published::Again));
            }
        }
    }

    /// Checks 17 to 20 of csi.md 1.3.
    async fn look(&mut self, checked: &Checked) -> Result<Found, NodeError> {
        let (known, same) = match &self.phase {
            Phase::Mounted(mounted) => (
                Some(mounted.mount_id),
                mounted.spec.digest == checked.digest,
            ),
            Phase::Unknown { mount_id } => (Some(*mount_id), true),
            Phase::Absent | Phase::Lost(_) => (None, true),
        };
        let target = self.target.clone();
        if let Some(id) = known {
            match self
                .on_disk(move |disk| disk.condition(&target, id))
                .await?
            {
                Condition::Foreign => return Err(NodeError::Foreign),
                Condition::Intact | Condition::Broken if !same => return Err(NodeError::Conflict),
                Condition::Intact => return Ok(Found::Healthy),
                Condition::Broken => return Ok(Found::Broken),
                Condition::Gone => self.lose(),
            }
        }
        let target = self.target.clone();
        match self
            .on_disk(move |disk| disk.occupant(&target, None))
            .await?
        {
            Occupant::Missing | Occupant::EmptyDirectory => Ok(Found::Nothing),
            Occupant::Mount { ours: false, .. } => Err(NodeError::Foreign),
            Occupant::Other(what) => Err(NodeError::Occupied(what)),
            Occupant::Mount { ours: true, id } => {
                // Mounted by a process that left no state: the publish tells what it is.
                self.phase = Phase::Unknown { mount_id: id };
                let target = self.target.clone();
                match self
                    .on_disk(move |disk| disk.condition(&target, id))
                    .await?
                {
                    Condition::Intact => Ok(Found::Healthy),
                    Condition::Broken => Ok(Found::Broken),
                    Condition::Foreign => Err(NodeError::Foreign),
                    Condition::Gone => {
                        self.phase = Phase::Absent;
                        Ok(Found::Nothing)
                    }
                }
            }
        }
    }

    /// A republish: cheap, silent, and without a word to the provider (csi.md 6.3).
    fn adopt_spec(&mut self, checked: Checked, plan: B::Plan) {
        match &mut self.phase {
            Phase::Mounted(mounted) => {
                self.inner.backend.republished(&plan);
                if mounted.updates.is_none() && mounted.spec.plan.is_none() {
                    mounted.updates = Some(self.inner.backend.subscribe(&plan));
                    mounted.spec.plan = Some(plan);
                }
            }
            Phase::Unknown { mount_id } => {
                let mount_id = *mount_id;
                let spec = Spec::new(checked, plan);
                let state = self.state_of(&spec);
                let target = self.target.clone();
                let disk = self.inner.disk.clone();
                self.inner.tasks.spawn_blocking(move || {
                    if let Err(error) = disk.store.save(&state) {
                        tracing::warn!(%error, target = target.path(), "failed to save a volume's state");
                    }
                });
                self.inner.metrics.adopted.inc();
                self.mounted(spec, mount_id, None, Instant::now());
            }
            Phase::Absent | Phase::Lost(_) => {}
        }
    }

    async fn publish_first(
        &mut self,
        checked: Checked,
        plan: B::Plan,
        deadline: Instant,
        reply: Reply,
    ) {
        if self.inner.draining.is_cancelled() {
            return answer(reply, Err(NodeError::ShuttingDown));
        }
        self.inner
            .board
            .set(&self.target, pending(&checked.request.volume_id));
        let digest = checked.digest;
        let request = checked.request.clone();
        let mut waiters = vec![reply];
        let mut unpublish = None;
        let fetched = {
            let inner = self.inner.clone();
            let fetch = tokio::time::timeout_at(deadline, inner.backend.first(&plan, deadline));
            tokio::pin!(fetch);
            loop {
                tokio::select! {
                    biased;
                    command = self.commands.recv() => match command {
                        Some(Command::Publish(other)) if other.checked.digest == digest && waiters.len() < MAX_WAITERS => {
                            waiters.push(other.reply);
                        }
                        Some(Command::Publish(other)) => answer(other.reply, Err(NodeError::Busy)),
                        Some(Command::Unpublish(reply)) => {
                            unpublish = Some(reply);
                            break Err(NodeError::Cancelled);
                        }
                        None => break Err(NodeError::ShuttingDown),
                    },
                    () = inner.draining.cancelled() => break Err(NodeError::ShuttingDown),
                    fetched = &mut fetch => break match fetched {
                        Ok(fetched) => fetched.map_err(backend_error),
                        Err(_) => Err(deadline_exceeded()),
                    },
                }
            }
        };
        let result = match fetched {
            Ok(files) => self.mount(checked, plan, files).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &result {
            if !matches!(error, NodeError::Cancelled | NodeError::ShuttingDown) {
                let message = one_line(&error.to_string());
                self.inner
                    .events
                    .send(Event::MountFailed { request, message });
            }
            // A volume that was lost stays known: kubelet tries again.
            match &self.phase {
                Phase::Lost(spec) => self
                    .inner
                    .board
                    .set(&self.target, lost(&spec.request.volume_id)),
                Phase::Absent | Phase::Unknown { .. } | Phase::Mounted(_) => {
                    self.inner.board.remove(&self.target)
                }
            }
        }
        for waiter in waiters {
            answer(waiter, result.clone());
        }
        if let Some(reply) = unpublish {
            self.unpublish(reply).await;
        }
    }

    async fn mount(
        &mut self,
        checked: Checked,
        plan: B::Plan,
        files: FileSet,
    ) -> Result<Published, NodeError> {
        let inner = self.inner.clone();
        let layout = Layout::try_new(
            files,
            Ownership::of_group(checked.gid),
            inner.config.max_volume_bytes,
        )
        .map_err(|error| NodeError::Content(format!("{error}; change the volume's content")))?;
        let (size, inodes) = (layout.tmpfs_size(), layout.tmpfs_inodes());
        if !inner
            .board
            .reserve(&self.target, size, inodes, inner.config.max_total_bytes)
        {
            return Err(NodeError::Budget);
        }
        let spec = Spec::new(checked, plan);
        let state = self.state_of(&spec);
        let digest = layout.digest();
        let target = self.target.clone();
        match self
            .on_disk(move |disk| disk.publish(&target, &layout, state))
            .await
        {
            Ok(id) => {
                self.mounted(spec, id, Some(digest), Instant::now());
                self.inner.board.update(&self.target, |status| {
                    status.bytes = size;
                    status.inodes = inodes;
                });
                Ok(Published::First)
            }
            Err(error) => {
                // A final code promises that nothing is mounted (csi.md R2).
                match self.take_away().await {
                    Ok(()) => Err(error),
                    Err(_) => Err(NodeError::NotCleaned(error.to_string())),
                }
            }
        }
    }

    /// The volume is mounted now: follow its content.
    fn mounted(
        &mut self,
        spec: Spec<B::Plan>,
        mount_id: u64,
        content: Option<Digest>,
        last_success: Instant,
    ) {
        let updates = spec
            .plan
            .as_ref()
            .map(|plan| self.inner.backend.subscribe(plan));
        let bytes = self
            .inner
            .board
            .get(&self.target)
            .map_or((0, 0), |status| (status.bytes, status.inodes));
        self.inner.board.set(
            &self.target,
            VolumeStatus {
                volume_id: spec.request.volume_id.clone(),
                health: VolumeHealth::Ok,
                mount_id: Some(mount_id),
                bytes: bytes.0,
                inodes: bytes.1,
                last_success: Some(last_success),
            },
        );
        let mounted = Mounted {
            spec,
            mount_id,
            content,
            updates,
            sweep_at: None,
            stale: false,
            last_success,
        };
        self.phase = Phase::Mounted(Box::new(mounted));
    }

    // === unpublish ===

    async fn unpublish(&mut self, reply: oneshot::Sender<Result<(), NodeError>>) {
        // Dropping the phase ends the subscription.
        self.phase = Phase::Absent;
        let result = self.take_away().await;
        if result.is_ok() {
            self.inner.board.remove(&self.target);
        }
        // The caller may have gone.
        let _ = reply.send(result);
    }

    /// Unmounts whatever of ours is at the target and removes directory and state; nothing of it need exist.
    async fn take_away(&mut self) -> Result<(), NodeError> {
        for attempt in 0..=BUSY_ATTEMPTS {
            let target = self.target.clone();
            let lazy = attempt == BUSY_ATTEMPTS;
            match self.on_disk(move |disk| disk.detach(&target, lazy)).await? {
                Detached::Yes => break,
                Detached::Busy if lazy => {
                    return Err(NodeError::Filesystem(
                        "failed to unmount the target: it is in use".to_owned(),
                    ));
                }
                Detached::Busy => tokio::time::sleep(BUSY_PAUSE).await,
            }
        }
        let target = self.target.clone();
        self.on_disk(move |disk| disk.forget(&target)).await
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

    fn state_of(&self, spec: &Spec<B::Plan>) -> VolumeState {
        let now = jiff::Timestamp::now();
        VolumeState::new(
            &self.target,
            &spec.request,
            spec.gid,
            spec.context.clone(),
            self.inner.boot_id.clone(),
            now,
        )
    }
}

/// What a publish finds at its target.
enum Found {
    Nothing,
    Healthy,
    Broken,
}

async fn happening<P>(phase: &mut Phase<P>) -> Happening {
    if let Phase::Mounted(mounted) = phase {
        if let Some(at) = mounted.sweep_at {
            tokio::time::sleep_until(at).await;
            return Happening::SweepDue;
        }
        if let Some(updates) = &mut mounted.updates {
            return Happening::Update(updates.next().await);
        }
    }
    std::future::pending().await
}

fn answer(reply: Reply, result: Result<Published, NodeError>) {
    // A caller that gave up needs no answer.
    let _ = reply.send(result);
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
        BlockingError::Stuck => NodeError::NotCleaned(error.to_string()),
        BlockingError::Panicked => NodeError::Panicked,
    }
}

fn pending(volume_id: &str) -> VolumeStatus {
    VolumeStatus {
        volume_id: volume_id.to_owned(),
        health: VolumeHealth::Pending,
        mount_id: None,
        bytes: 0,
        inodes: 0,
        last_success: None,
    }
}

pub(super) fn lost(volume_id: &str) -> VolumeStatus {
    VolumeStatus {
        health: VolumeHealth::Lost,
        ..pending(volume_id)
    }
}

//! What a publish does: look at the target, get content, mount it (csi.md 1.3 checks 17 to 20, 2.2, 6.3).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::disk::Condition;
use super::super::{Publish, Published, deadline_exceeded};
use super::party::{Party, answer};
use super::{Actor, Mounted, Note, Phase, Spec, backend_error, uncertain};
use crate::backend::{Backend, FileSet};
use crate::board::{VolumeHealth, VolumeStatus};
use crate::digest::Digest;
use crate::error::{NodeError, one_line};
use crate::events::Event;
use crate::layout::{Layout, Ownership};
use crate::mount::Occupant;
use crate::publish::Checked;

/// How much longer than its deadline the backend is waited for. It keeps the deadline itself and then says what it waited for; its
/// clock is that of another runtime.
const BACKEND_GRACE: Duration = Duration::from_millis(500);

/// What a publish finds at its target.
enum Found {
    Nothing,
    Healthy,
    Broken,
}

impl<B: Backend> Actor<B> {
    pub(super) async fn publish(&mut self, publish: Box<Publish<B::Plan>>) {
        let Publish {
            checked,
            plan,
            deadline,
            reply,
        } = *publish;
        match self.look(&checked).await {
            Err(error) => answer(reply, Err(error)),
            Ok(Found::Nothing) => {
                let party = Party::new(checked.digest, reply);
                self.publish_first(checked, plan, deadline, party).await;
            }
            Ok(Found::Healthy) => {
                self.adopt_spec(checked, plan).await;
                answer(reply, Ok(Published::Again));
            }
            Ok(Found::Broken) => {
                let party = Party::new(checked.digest, reply);
                self.adopt_spec(checked, plan).await;
                self.repair(deadline, party).await;
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
        if let Some(id) = known {
            // Nearly every republish ends here, and what a thread costs to wake is more than all it does (csi.md 6.3).
            if same && self.inner.disk.is_intact_at_once(&self.target, id) {
                return Ok(Found::Healthy);
            }
            let target = self.target.clone();
            let condition = self
                .on_disk(move |disk| disk.condition(&target, id))
                .await
                .map_err(uncertain);
            match condition {
                // A republish never fails because the node could not be asked how a healthy volume is (csi.md R3).
                Err(_) if same && matches!(self.phase, Phase::Mounted(_)) => {
                    return Ok(Found::Healthy);
                }
                Err(error) => return Err(error),
                Ok(Condition::Foreign) => return Err(NodeError::Foreign),
                Ok(Condition::Intact | Condition::Broken) if !same => {
                    return Err(NodeError::Conflict);
                }
                Ok(Condition::Intact) => return Ok(Found::Healthy),
                Ok(Condition::Broken) => return Ok(Found::Broken),
                Ok(Condition::Gone) => self.lose(),
            }
        }
        let target = self.target.clone();
        let occupant = self
            .on_disk(move |disk| disk.occupant(&target, None))
            .await
            .map_err(uncertain)?;
        match occupant {
            Occupant::Missing | Occupant::EmptyDirectory => Ok(Found::Nothing),
            Occupant::Mount { ours: false, .. } => Err(NodeError::Foreign),
            Occupant::Other(what) => Err(NodeError::Occupied(what)),
            Occupant::Mount { ours: true, id } => {
                // Mounted by a process that left no state: the publish tells what it is.
                self.phase = Phase::Unknown { mount_id: id };
                let target = self.target.clone();
                let condition = self
                    .on_disk(move |disk| disk.condition(&target, id))
                    .await
                    .map_err(uncertain)?;
                match condition {
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
    async fn adopt_spec(&mut self, checked: Checked, plan: B::Plan) {
        self.hand_over_tokens(&checked, &plan);
        match &mut self.phase {
            Phase::Mounted(mounted) => {
                if mounted.updates.is_none() && mounted.spec.plan.is_none() {
                    mounted.updates = Some(self.inner.backend.subscribe(&plan));
                    mounted.spec.plan = Some(plan.clone());
                }
                self.inner.backend.republished(&plan);
            }
            Phase::Unknown { mount_id } => {
                let mount_id = *mount_id;
                let spec = Spec::new(checked, plan);
                let note = Note {
                    revision: None,
                    last_success: Instant::now(),
                };
                let state = self.state_of(&spec, &note);
                // Before anything else may happen here: an unpublish must find the file that it removes.
                let target = self.target.clone();
                let saved = self
                    .on_disk(move |disk| disk.remember(&target, state))
                    .await;
                if let Err(error) = saved {
                    tracing::warn!(%error, target = self.target.path(), "failed to save a volume's state");
                }
                self.inner.metrics.adopted.inc();
                self.mounted(spec, mount_id, None, note);
            }
            Phase::Absent | Phase::Lost(_) => {}
        }
    }

    fn hand_over_tokens(&self, checked: &Checked, plan: &B::Plan) {
        if !checked.tokens.is_empty() {
            self.inner.backend.tokens(plan, &checked.tokens);
        }
    }

    async fn publish_first(
        &mut self,
        checked: Checked,
        plan: B::Plan,
        deadline: Instant,
        mut party: Party<B::Plan>,
    ) {
        if self.inner.draining.is_cancelled() {
            return party.tell(&Err(NodeError::ShuttingDown));
        }
        self.inner
            .board
            .set(&self.target, VolumeStatus::pending(&checked.request));
        self.hand_over_tokens(&checked, &plan);
        let request = checked.request.clone();
        let result = match self.fetch(&plan, deadline, &mut party).await {
            Ok(files) => self.mount(checked, plan.clone(), files).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &result {
            self.inner.backend.released(&plan);
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
                    .set(&self.target, VolumeStatus::lost(&spec.request)),
                Phase::Absent | Phase::Unknown { .. } | Phase::Mounted(_) => {
                    self.inner.board.remove(&self.target);
                }
            }
        }
        self.conclude(result.map(|()| Published::First), party)
            .await;
    }

    /// The mount is there and its content is not: write it again, in place.
    async fn repair(&mut self, deadline: Instant, mut party: Party<B::Plan>) {
        let result = self.rebuild(deadline, &mut party).await;
        self.inner
            .metrics
            .rotation(if result.is_ok() { "changed" } else { "failed" }, "repair");
        match &result {
            Ok(()) => self.fresh(),
            Err(NodeError::Cancelled | NodeError::ShuttingDown) => {}
            Err(error) => self.stale(&error.to_string()),
        }
        self.conclude(result.map(|()| Published::Again), party)
            .await;
    }

    async fn rebuild(
        &mut self,
        deadline: Instant,
        party: &mut Party<B::Plan>,
    ) -> Result<(), NodeError> {
        let Phase::Mounted(mounted) = &mut self.phase else {
            return Err(NodeError::Panicked);
        };
        let Some(plan) = mounted.spec.plan.clone() else {
            return Err(NodeError::Panicked);
        };
        mounted.content = None;
        let gid = mounted.spec.gid;
        let files = self.fetch(&plan, deadline, party).await.map_err(broken)?;
        let note = Note::of(&files);
        let layout = self.layout(&plan, gid, files).map_err(broken)?;
        self.rotate(layout, note).await
    }

    /// Waits for content and hears what else arrives; an unpublish ends it (csi.md 2.2).
    async fn fetch(
        &mut self,
        plan: &B::Plan,
        deadline: Instant,
        party: &mut Party<B::Plan>,
    ) -> Result<FileSet, NodeError> {
        let inner = self.inner.clone();
        let first = inner.backend.first(plan, deadline);
        let fetch = tokio::time::timeout_at(deadline + BACKEND_GRACE, first);
        tokio::pin!(fetch);
        loop {
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => party.hear(command),
                    None => return Err(NodeError::ShuttingDown),
                },
                () = party.impatience() => party.turn_away(),
                () = inner.draining.cancelled() => return Err(NodeError::ShuttingDown),
                fetched = &mut fetch => return match fetched {
                    Ok(fetched) => fetched.map_err(backend_error),
                    Err(_) => Err(deadline_exceeded()),
                },
            }
            if party.unpublish.is_some() {
                return Err(NodeError::Cancelled);
            }
        }
    }

    /// Answers everybody. An unpublish that came while the volume was being mounted wins.
    async fn conclude(
        &mut self,
        mut result: Result<Published, NodeError>,
        mut party: Party<B::Plan>,
    ) {
        while party.unpublish.is_none()
            && let Ok(command) = self.commands.try_recv()
        {
            party.hear(command);
        }
        let unpublish = party.unpublish.take();
        if unpublish.is_some() && result.is_ok() {
            result = Err(NodeError::Cancelled);
        }
        party.tell(&result);
        if let Some(reply) = unpublish {
            self.unpublish(reply).await;
        }
        self.deferred.extend(party.into_late());
    }

    /// The content as files of this volume.
    pub(super) fn layout(
        &self,
        plan: &B::Plan,
        gid: Option<u32>,
        files: FileSet,
    ) -> Result<Layout, NodeError> {
        let settings = self.inner.backend.settings(plan);
        let most = self.inner.config.max_volume_bytes;
        let limit = settings.size_limit.unwrap_or(most).min(most);
        Layout::try_new(files, Ownership::new(&settings, gid), limit)
            .map_err(|error| NodeError::Content(format!("{error}; change the volume's content")))
    }

    async fn mount(
        &mut self,
        checked: Checked,
        plan: B::Plan,
        files: FileSet,
    ) -> Result<(), NodeError> {
        let inner = self.inner.clone();
        let note = Note::of(&files);
        let layout = self.layout(&plan, checked.gid, files)?;
        let (size, inodes) = (layout.tmpfs_size(), layout.tmpfs_inodes());
        if !inner
            .board
            .reserve(&self.target, size, inodes, inner.config.max_total_bytes)
        {
            return Err(NodeError::Budget);
        }
        let spec = Spec::new(checked, plan);
        let state = self.state_of(&spec, &note);
        let digest = layout.digest();
        let target = self.target.clone();
        match self
            .on_disk(move |disk| disk.publish(&target, &layout, state))
            .await
        {
            Ok(id) => {
                self.mounted(spec, id, Some(digest), note);
                self.inner.board.update(&self.target, |status| {
                    status.bytes = size;
                    status.inodes = inodes;
                });
                Ok(())
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
    fn mounted(&mut self, spec: Spec<B::Plan>, mount_id: u64, content: Option<Digest>, note: Note) {
        let updates = spec
            .plan
            .as_ref()
            .map(|plan| self.inner.backend.subscribe(plan));
        let (bytes, inodes) = self
            .inner
            .board
            .get(&self.target)
            .map_or((0, 0), |status| (status.bytes, status.inodes));
        self.inner.board.set(
            &self.target,
            VolumeStatus {
                request: Some(Arc::new(spec.request.clone())),
                health: VolumeHealth::Ok,
                mount_id: Some(mount_id),
                bytes,
                inodes,
                last_success: Some(note.last_success),
                last_error: None,
            },
        );
        let mounted = Mounted {
            spec,
            mount_id,
            content,
            updates,
            sweep_at: None,
            retry_at: None,
            stale: false,
            saved: note.clone(),
            note,
        };
        self.phase = Phase::Mounted(Box::new(mounted));
    }
}

/// The volume is mounted, and a final code would say that it is not (csi.md 6.3).
fn broken(error: NodeError) -> NodeError {
    if crate::error::is_final(error.code()) {
        NodeError::Broken(error.to_string())
    } else {
        error
    }
}

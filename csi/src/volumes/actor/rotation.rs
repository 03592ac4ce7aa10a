//! What happens to a mounted volume without a call: new content, staleness, a vanished mount.

use std::time::Duration;

use tokio::time::Instant;

use super::super::disk::DiskError;
use super::{Actor, Note, Phase, stuck};
use crate::backend::{Backend, Update};
use crate::board::{VolumeHealth, VolumeStatus};
use crate::error::{NodeError, one_line};
use crate::events::Event;
use crate::layout::Layout;

/// How far the time of the last success in the state file may lie behind: not every refresh is worth an fsync.
const SUCCESS_LAG: Duration = Duration::from_secs(600);

/// From a sweep that failed to the next one.
const SWEEP_RETRY: Duration = Duration::from_secs(300);

impl<B: Backend> Actor<B> {
    pub(super) async fn update(&mut self, update: Option<Update>) {
        let Phase::Mounted(mounted) = &mut self.phase else {
            return;
        };
        match update {
            None => mounted.updates = None,
            Some(Update::Stale(reason, trigger)) => {
                self.inner.metrics.rotation("failed", trigger.as_str());
                self.stale(&reason);
            }
            Some(Update::Content(files, trigger)) => {
                let trigger = trigger.as_str();
                let gid = mounted.spec.gid;
                // Only a plan has updates.
                let Some(plan) = mounted.spec.plan.clone() else {
                    return;
                };
                let note = Note::of(&files);
                let layout = match self.layout(&plan, gid, files) {
                    Ok(layout) => layout,
                    Err(error) => {
                        self.inner.metrics.rotation("failed", trigger);
                        return self.stale(&error.to_string());
                    }
                };
                if self.shows(&layout).await {
                    self.inner.metrics.rotation("unchanged", trigger);
                    if let Phase::Mounted(mounted) = &mut self.phase {
                        mounted.note = note;
                    }
                    self.fresh();
                    return self.remember_success().await;
                }
                match self.rotate(layout, note).await {
                    Ok(()) => {
                        self.inner.metrics.rotation("changed", trigger);
                        if let Phase::Mounted(mounted) = &self.phase {
                            let request = mounted.spec.request.clone();
                            self.inner.events.send(Event::Rotated { request });
                        }
                        self.fresh();
                    }
                    Err(error) => {
                        self.inner.metrics.rotation("failed", trigger);
                        self.stale(&error.to_string());
                    }
                }
            }
        }
    }

    /// Notes in the state file that the content is still current, unless it says so of late, and what it is known by.
    async fn remember_success(&mut self) {
        let Phase::Mounted(mounted) = &mut self.phase else {
            return;
        };
        let (note, saved) = (&mounted.note, &mounted.saved);
        let lag = note
            .last_success
            .saturating_duration_since(saved.last_success);
        if lag < SUCCESS_LAG && note.revision == saved.revision {
            return;
        }
        mounted.saved = note.clone();
        self.remember().await;
    }

    /// Saves the state of the volume as it is. One that is older than the content is worth a log line and no more.
    async fn remember(&mut self) {
        let Phase::Mounted(mounted) = &self.phase else {
            return;
        };
        let state = self.state_of(&mounted.spec, &mounted.note);
        let target = self.target.clone();
        if let Err(error) = self
            .on_disk(move |disk| disk.remember(&target, state))
            .await
        {
            tracing::warn!(%error, target = self.target.path(), "failed to save a volume's state");
        }
    }

    /// Whether the volume shows `layout` already. After a restart the content is read back once.
    async fn shows(&mut self, layout: &Layout) -> bool {
        let Phase::Mounted(mounted) = &mut self.phase else {
            return false;
        };
        if mounted.content.is_none() {
            let target = self.target.clone();
            let disk = self.inner.disk.clone();
            if let Ok(Ok(digest)) = self.inner.blocking.run(move || disk.digest(&target)).await {
                mounted.content = digest;
            }
        }
        mounted.content == Some(layout.digest())
    }

    pub(super) async fn rotate(&mut self, layout: Layout, note: Note) -> Result<(), NodeError> {
        let Phase::Mounted(mounted) = &self.phase else {
            return Err(NodeError::Panicked);
        };
        let inner = self.inner.clone();
        let before = inner
            .board
            .get(&self.target)
            .map_or((0, 0), |status| (status.bytes, status.inodes));
        let (size, inodes) = (
            layout.tmpfs_size().max(before.0),
            layout.tmpfs_inodes().max(before.1),
        );
        if !inner
            .board
            .reserve(&self.target, size, inodes, inner.config.max_total_bytes)
        {
            return Err(NodeError::Budget);
        }
        let id = mounted.mount_id;
        let digest = layout.digest();
        let target = self.target.clone();
        let disk = inner.disk.clone();
        match inner
            .blocking
            .run(move || disk.rotate(&target, id, &layout))
            .await
        {
            Ok(Ok(untidy)) => {
                let grace = self.inner.config.generation_grace;
                if let Phase::Mounted(mounted) = &mut self.phase {
                    mounted.content = Some(digest);
                    (mounted.note, mounted.saved) = (note.clone(), note);
                    mounted.sweep_at = untidy.then(|| Instant::now() + grace);
                }
                // A job of its own, behind what other volumes show next: a thousand that rotate do not wait for a thousand syncs of
                // the disk.
                self.remember().await;
                Ok(())
            }
            Ok(Err(DiskError::Gone)) => {
                self.lose();
                Err(NodeError::Filesystem(
                    "the volume's mount is gone".to_owned(),
                ))
            }
            Ok(Err(error)) => {
                self.inner.board.update(&self.target, |status| {
                    (status.bytes, status.inodes) = before
                });
                Err(self.disk_error(&error))
            }
            Err(error) => Err(stuck(error)),
        }
    }

    pub(super) async fn sweep(&mut self) {
        if let Phase::Mounted(mounted) = &mut self.phase {
            (mounted.sweep_at, mounted.retry_at) = (None, None);
        }
        let target = self.target.clone();
        if let Err(error) = self.on_disk(move |disk| disk.sweep(&target)).await {
            tracing::warn!(%error, target = self.target.path(), "failed to remove a volume's previous content");
            if let Phase::Mounted(mounted) = &mut self.phase {
                mounted.retry_at = Some(Instant::now() + SWEEP_RETRY);
            }
        }
    }

    pub(super) fn stale(&mut self, reason: &str) {
        let Phase::Mounted(mounted) = &mut self.phase else {
            return;
        };
        let reason = one_line(reason);
        self.inner.board.update(&self.target, |status| {
            status.health = VolumeHealth::Stale;
            status.last_error = Some(reason.clone());
        });
        if !std::mem::replace(&mut mounted.stale, true) {
            let request = mounted.spec.request.clone();
            let age = mounted.note.last_success.elapsed();
            tracing::warn!(
                namespace = request.namespace,
                pod = request.pod_name,
                reason,
                "a volume is stale"
            );
            self.inner.events.send(Event::Stale {
                request,
                reason,
                age,
            });
        }
    }

    pub(super) fn fresh(&mut self) {
        let Phase::Mounted(mounted) = &mut self.phase else {
            return;
        };
        let last_success = mounted.note.last_success;
        self.inner.board.update(&self.target, |status| {
            status.health = VolumeHealth::Ok;
            status.last_success = Some(last_success);
            status.last_error = None;
        });
        if std::mem::replace(&mut mounted.stale, false) {
            let request = mounted.spec.request.clone();
            self.inner.events.send(Event::Fresh { request });
        }
    }

    /// The mount vanished under us.
    pub(super) fn lose(&mut self) {
        match std::mem::replace(&mut self.phase, Phase::Absent) {
            Phase::Mounted(mounted) => {
                let spec = mounted.spec;
                tracing::warn!(
                    target = self.target.path(),
                    "the mount of a volume vanished"
                );
                self.inner
                    .board
                    .set(&self.target, VolumeStatus::lost(&spec.request));
                self.inner.events.send(Event::VolumeLost {
                    request: spec.request.clone(),
                });
                self.phase = Phase::Lost(Box::new(spec));
            }
            Phase::Lost(spec) => self.phase = Phase::Lost(spec),
            Phase::Absent | Phase::Unknown { .. } => {}
        }
    }
}

//! What whoever administers the node sees of the volumes, and how they are taken away at their word (csi.md 7.4, 10).

use futures::StreamExt;
use futures::stream;
use tokio::time::Instant;

use super::{Volumes, janitor};
use crate::backend::{Backend, Description};
use crate::board::VolumeStatus;
use crate::operations::{Release, Selection, VolumeName, VolumeReport};
use crate::target::Target;

/// Volumes that are taken away at once.
const AT_ONCE: usize = 8;

impl<B: Backend> Volumes<B> {
    /// How every volume is, in the order of their names.
    pub(crate) async fn report(&self) -> Vec<VolumeReport> {
        let inner = &self.0;
        let entries = inner.board.entries();
        let targets: Vec<_> = entries.iter().map(|(target, _)| target.clone()).collect();
        let disk = inner.disk.clone();
        let read = move || {
            let generation = |target: &Target| disk.generation(target);
            targets.iter().map(generation).collect::<Vec<_>>()
        };
        // A file system that hangs costs the generations and nothing else.
        let mut generations = inner.blocking.run(read).await.unwrap_or_default();
        generations.resize(entries.len(), None);
        let now = Instant::now();
        let mut reports: Vec<_> = entries
            .into_iter()
            .zip(generations)
            .map(|((target, status), generation)| self.report_of(&target, status, generation, now))
            .collect();
        reports.sort_by(|one, other| one.name.cmp(&other.name));
        reports
    }

    fn report_of(
        &self,
        target: &Target,
        status: VolumeStatus,
        generation: Option<String>,
        now: Instant,
    ) -> VolumeReport {
        let backend = &self.0.backend;
        let plan = status
            .request
            .as_deref()
            .and_then(|request| backend.plan(request).ok());
        let Description {
            source,
            next_refresh,
            trouble,
        } = plan.map_or_else(Description::default, |plan| backend.describe(&plan));
        let age = status
            .last_success
            .map(|at| now.saturating_duration_since(at).as_secs());
        VolumeReport {
            name: name_of(target, &status),
            source,
            state: status.health.as_str().to_owned(),
            age_seconds: age,
            generation,
            next_refresh_seconds: next_refresh.map(|time| time.as_secs()),
            last_error: status
                .last_error
                .or(trouble.map(|text| crate::error::one_line(&text))),
            bytes: status.bytes,
        }
    }

    /// Takes away the volumes that `selection` means: what kubelet forgot, and with force the others too. What is not done at
    /// `deadline` is told as failed.
    ///
    /// # Cancel safety
    ///
    /// What has begun goes on.
    pub(crate) async fn release(&self, selection: &Selection, deadline: Instant) -> Vec<Release> {
        janitor::find_strays(&self.0).await;
        let meant = self
            .0
            .board
            .entries()
            .into_iter()
            .filter_map(|(target, status)| {
                let name = name_of(&target, &status);
                selection.means(&name).then_some((target, name))
            });
        let releasing = meant.map(|(target, name)| async move {
            let release = self
                .release_one(&target, name, selection.force, deadline)
                .await;
            tracing::info!(
                target = target.path(),
                outcome = release.outcome.as_str(),
                reason = release.reason,
                "a volume was to be released"
            );
            release
        });
        let mut releases: Vec<_> = stream::iter(releasing)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        releases.sort_by(|one, other| one.name.cmp(&other.name));
        releases
    }

    async fn release_one(
        &self,
        target: &Target,
        name: VolumeName,
        force: bool,
        deadline: Instant,
    ) -> Release {
        let ended = if force {
            self.unpublish(target, deadline).await.map(|()| true)
        } else {
            self.reap(target, deadline).await
        };
        match ended {
            Ok(true) => Release::released(name),
            Ok(false) => Release::kept(name),
            Err(error) => Release::failed(name, error.to_string()),
        }
    }
}

fn name_of(target: &Target, status: &VolumeStatus) -> VolumeName {
    let (namespace, pod) = status
        .request
        .as_deref()
        .map_or_else(Default::default, |request| {
            (request.namespace.clone(), request.pod_name.clone())
        });
    VolumeName {
        namespace,
        pod,
        volume: target.volume_name().to_owned(),
        pod_uid: target.pod_uid().unwrap_or_default().to_owned(),
        target: target.path().to_owned(),
    }
}

//! Volumes that kubelet forgot are unpublished in its place (csi.md 7.5).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Inner, Volumes, recovery};
use crate::backend::Backend;
use crate::board::VolumeHealth;
use crate::target::Target;

/// From the start to the first run.
const FIRST: Duration = Duration::from_secs(60);

/// Between two runs.
const INTERVAL: Duration = Duration::from_secs(300);

/// Most volumes that one run takes away.
const MAX_PER_RUN: usize = 10;

/// Longest wait for one unpublish.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(super) async fn run<B: Backend>(volumes: &Volumes<B>, cancel: &CancellationToken) {
    let mut suspects = HashSet::new();
    let mut timer = tokio::time::interval_at(Instant::now() + FIRST, INTERVAL);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = timer.tick() => suspects = sweep(volumes, &suspects).await,
        }
    }
}

/// One run: what was forgotten already in the last run goes, what is forgotten now is a suspect for the next.
pub(super) async fn sweep<B: Backend>(
    volumes: &Volumes<B>,
    suspects: &HashSet<Target>,
) -> HashSet<Target> {
    let inner = &volumes.0;
    find_strays(inner).await;
    let targets = inner.board.targets();
    let disk = inner.disk.clone();
    let forgotten = inner
        .blocking
        .run(move || {
            targets
                .into_iter()
                .filter(|target| !disk.roots.kubelet_knows(target))
                .collect::<HashSet<_>>()
        })
        .await
        .unwrap_or_default();
    let idle = |target: &&Target| {
        inner
            .board
            .get(target)
            .is_some_and(|status| status.health != VolumeHealth::Pending)
    };
    for target in forgotten
        .intersection(suspects)
        .filter(idle)
        .take(MAX_PER_RUN)
    {
        match volumes.reap(target, Instant::now() + TIMEOUT).await {
            Ok(true) => {
                tracing::info!(
                    target = target.path(),
                    "a volume that kubelet forgot was removed"
                );
                inner.metrics.orphan("unpublished");
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, target = target.path(), "failed to remove a volume that kubelet forgot");
                inner.metrics.orphan("failed");
            }
        }
    }
    forgotten
}

/// Mounts of ours without a task get one, so that an unpublish, or a later run, takes them away.
pub(super) async fn find_strays<B: Backend>(inner: &Arc<Inner<B>>) {
    let disk = inner.disk.clone();
    let mounted = match inner.blocking.run(move || disk.mounted()).await {
        Ok(Ok(mounted)) => mounted,
        Ok(Err(_)) | Err(_) => return,
    };
    for (target, mount_id) in mounted {
        if inner.board.get(&target).is_none() {
            recovery::adopt_stray(inner, target, mount_id);
        }
    }
}

//! Start: what an earlier process left is taken over, without a write to any volume (csi.md 7.2).

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;

use super::Inner;
use super::actor::{Mounted, Note, Phase, Spec};
use super::disk::{Disk, DiskError};
use crate::backend::{Backend, Shown, VolumeRequest};
use crate::board::{VolumeHealth, VolumeStatus};
use crate::error::chain;
use crate::events::Event;
use crate::layout::writer;
use crate::mount::{self, mountinfo};
use crate::state::VolumeState;
use crate::target::Target;

/// A volume as the disk knows it.
struct Found {
    target: Target,
    state: Option<VolumeState>,
    mount: Option<FoundMount>,
}

struct FoundMount {
    id: u64,
    /// What it shows.
    generation: Option<String>,
    bytes: u64,
    inodes: u64,
    untidy: bool,
}

pub(super) async fn recover<B: Backend>(inner: &Arc<Inner<B>>) -> Result<(), DiskError> {
    let disk = inner.disk.clone();
    let boot_id = inner.boot_id.clone();
    let found = match inner.blocking.run(move || reconcile(&disk, &boot_id)).await {
        Ok(found) => found?,
        Err(error) => return Err(DiskError::State(std::io::Error::other(error))),
    };
    let mut adopted = 0u64;
    for Found {
        target,
        state,
        mount,
    } in found
    {
        match (state, mount) {
            (Some(state), Some(mount)) => {
                adopted += 1;
                adopt(inner, target, &state, &mount);
            }
            (Some(state), None) => {
                let spec = spec(inner, &state);
                inner.events.send(Event::VolumeLost {
                    request: spec.request.clone(),
                });
                let status = VolumeStatus::lost(&spec.request);
                inner.adopt(target, Phase::Lost(Box::new(spec)), status);
            }
            (None, Some(mount)) => {
                adopted += 1;
                let status = status(None, &mount, None);
                inner.adopt(target, Phase::Unknown { mount_id: mount.id }, status);
            }
            (None, None) => {}
        }
    }
    inner.metrics.adopted.inc_by(adopted);
    if adopted > 0 {
        tracing::info!(volumes = adopted, "took over mounted volumes");
    }
    Ok(())
}

fn adopt<B: Backend>(
    inner: &Arc<Inner<B>>,
    target: Target,
    state: &VolumeState,
    mount: &FoundMount,
) {
    let spec = spec(inner, state);
    let now = Instant::now();
    let age = jiff::Timestamp::now().duration_since(state.last_success);
    let known = Duration::try_from(age)
        .ok()
        .and_then(|age| now.checked_sub(age));
    let last_success = known.unwrap_or(now);
    let request = Some(Arc::new(spec.request.clone()));
    let status = status(request, mount, Some(last_success));
    // A success in the future says nothing about the age of the content.
    let shown = known.and_then(|last_success| shown(inner, &target, state, mount, last_success));
    let note = Note {
        revision: shown.as_ref().map(|shown| shown.revision.as_str().into()),
        last_success,
    };
    let updates = spec.plan.as_ref().map(|plan| match shown {
        Some(shown) => inner.backend.resume(plan, shown),
        None => inner.backend.subscribe(plan),
    });
    let mounted = Mounted {
        spec,
        mount_id: mount.id,
        content: None,
        updates,
        sweep_at: mount.untidy.then(|| now + inner.config.generation_grace),
        retry_at: None,
        stale: false,
        saved: note.clone(),
        note,
    };
    inner.adopt(target, Phase::Mounted(Box::new(mounted)), status);
}

/// The content for the backend to read, if it is what the state file speaks of: a process that was killed while it wrote may have
/// left newer content than state.
fn shown<B: Backend>(
    inner: &Inner<B>,
    target: &Target,
    state: &VolumeState,
    mount: &FoundMount,
    last_success: Instant,
) -> Option<Shown> {
    let revision = state.revision.clone()?;
    let generation = mount.generation.clone()?;
    if generation != state.generation {
        return None;
    }
    let (disk, blocking) = (inner.disk.clone(), inner.blocking.clone());
    let (target, id, limit) = (target.clone(), mount.id, inner.config.max_volume_bytes);
    let read = move || {
        let (disk, blocking) = (disk.clone(), blocking.clone());
        let (target, generation) = (target.clone(), generation.clone());
        async move {
            let path = target.path().to_owned();
            let work = move || disk.read_back(&target, id, &generation, limit);
            let reason = match blocking.run(work).await {
                Ok(Ok(files)) => return Some(files),
                Ok(Err(error)) => chain(&error),
                Err(error) => error.to_string(),
            };
            tracing::debug!(target = path, reason, "a volume is not read back");
            None
        }
        .boxed()
    };
    Some(Shown::new(revision, last_success, read))
}

fn spec<B: Backend>(inner: &Inner<B>, state: &VolumeState) -> Spec<B::Plan> {
    let request = state.request();
    let plan = match inner.backend.plan(&request) {
        Ok(plan) => Some(plan),
        Err(refusal) => {
            let (namespace, pod) = (&request.namespace, &request.pod_name);
            tracing::warn!(%refusal, namespace, pod, "a mounted volume is kept without refresh: its attributes are refused now");
            None
        }
    };
    Spec {
        request,
        gid: state.gid,
        context: state.context.clone(),
        digest: state.spec_digest(),
        plan,
    }
}

fn status(
    request: Option<Arc<VolumeRequest>>,
    mount: &FoundMount,
    last_success: Option<Instant>,
) -> VolumeStatus {
    VolumeStatus {
        request,
        health: VolumeHealth::Ok,
        mount_id: Some(mount.id),
        bytes: mount.bytes,
        inodes: mount.inodes,
        last_success,
        last_error: None,
    }
}

/// Looks after a mount of ours that nobody looks after: left by a call that hung for too long, or made by another process.
pub(super) fn adopt_stray<B: Backend>(inner: &Arc<Inner<B>>, target: Target, mount_id: u64) {
    let mount = FoundMount {
        id: mount_id,
        generation: None,
        bytes: 0,
        inodes: 0,
        untidy: false,
    };
    let status = status(None, &mount, None);
    inner.adopt(target, Phase::Unknown { mount_id }, status);
}

/// Joins state files and mounts. Files of an earlier boot without a mount go: kubelet publishes anew.
fn reconcile(disk: &Disk, boot_id: &str) -> Result<Vec<Found>, DiskError> {
    let mounts = mountinfo::read().map_err(DiskError::State)?;
    // Of stacked mounts the last one is on top.
    let mut mounted = HashMap::new();
    for mount in mounts {
        if let Some(target) = disk.roots.parse_canonical(&mount.point) {
            mounted.insert(target, mount);
        }
    }
    let mut found = Vec::new();
    for (target, state) in disk.store.load(&disk.roots).map_err(DiskError::State)? {
        match mounted.remove(&target) {
            Some(mount) if mount::is_ours(&mount) => {
                let mount = measure(disk, &target, mount.id);
                found.push(Found {
                    target,
                    state: Some(state),
                    mount: Some(mount),
                });
            }
            Some(_) => tracing::warn!(
                target = target.path(),
                "a foreign file system is mounted on a volume; it is left alone"
            ),
            None if state.boot_id == boot_id => found.push(Found {
                target,
                state: Some(state),
                mount: None,
            }),
            None => disk.store.remove(target.path()).map_err(DiskError::State)?,
        }
    }
    for (target, mount) in mounted {
        if mount::is_ours(&mount) {
            let mount = measure(disk, &target, mount.id);
            found.push(Found {
                target,
                state: None,
                mount: Some(mount),
            });
        }
    }
    Ok(found)
}

fn measure(disk: &Disk, target: &Target, id: u64) -> FoundMount {
    let usage = disk
        .usage(target, id)
        .map_or((0, 0), |usage| (usage.bytes, usage.inodes));
    let root = disk
        .parent(target)
        .ok()
        .flatten()
        .and_then(|parent| disk.mounter.open(&parent).ok());
    let untidy = root.as_ref().is_some_and(|root| {
        // A volume without any content is not tidied but rebuilt by its next publish.
        writer::is_intact(root.as_fd()) && writer::needs_sweep(root.as_fd()).unwrap_or(false)
    });
    let generation = root.and_then(|root| writer::current_generation(root.as_fd()).ok().flatten());
    FoundMount {
        id,
        generation,
        bytes: usage.0,
        inodes: usage.1,
        untidy,
    }
}

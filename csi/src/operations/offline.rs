//! Taking volumes away while no agent runs, from what is on the node: state files and mounts.

use std::collections::BTreeMap;
use std::path::Path;

use rustix::mount::UnmountFlags;

use super::{Release, Selection, VolumeName, is_served};
use crate::config::Config;
use crate::error::chain;
use crate::mount::{Mounter, Occupant};
use crate::state::{StateStore, VolumeState};
use crate::target::{Roots, Target};
use crate::volumes::disk::{Detached, Disk, DiskError, Labels};

/// Why nothing was tried.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// An agent serves kubelet here: what it knows would be pulled from under it.
    #[error("an agent runs on this node and serves {path}, but not the admin socket")]
    AgentRuns {
        /// The socket that it serves.
        path: String,
    },
    /// kubelet's directory is not where it was said to be.
    #[error("failed to open {path}: is --kubelet-root right?")]
    KubeletRoot {
        /// The directory.
        path: String,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// What is on the node cannot be read.
    #[error("failed to read the volumes of this node")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is left of the driver cannot be removed.
    #[error("failed to remove {path}")]
    Remove {
        /// The file or directory.
        path: String,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
}

/// Takes away the volumes that `selection` means, as [`super::Request::Release`] does with a running agent. Blocks.
///
/// # Errors
///
/// [`OfflineError`], with nothing done. What went wrong with one volume is in its [`Release`].
pub fn release(config: &Config, selection: &Selection) -> Result<Vec<Release>, OfflineError> {
    refuse_where_an_agent_runs(config)?;
    let pods = config.pods_directory();
    let extra = config.relaxations.extra_target_root.as_deref();
    let roots = Roots::open(&pods, extra).map_err(|source| OfflineError::KubeletRoot {
        path: pods.display().to_string(),
        source,
    })?;
    let directory = config.plugin_directory();
    let disk = Disk {
        mounter: Mounter::idle(&directory),
        roots,
        store: StateStore::existing(&directory),
        labels: Labels::of(&config.selinux, false),
    };
    let mut releases = Vec::new();
    for (target, state) in found(&disk)? {
        let name = name_of(&target, state.as_ref());
        if !selection.means(&name) {
            continue;
        }
        let release = if !selection.force && disk.roots.kubelet_knows(&target) {
            Release::kept(name)
        } else {
            match take_away(&disk, &target) {
                Ok(()) => Release::released(name),
                Err(error) => Release::failed(name, chain(&error)),
            }
        };
        releases.push(release);
    }
    releases.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(releases)
}

/// Removes what is left of the driver where no agent runs and no volume is left: kubelet forgets the driver as soon as the
/// registration socket is gone (csi.md 3.3). Blocks; nothing of it need exist.
///
/// # Errors
///
/// [`OfflineError`] for the first thing that stays.
pub fn unregister(config: &Config) -> Result<(), OfflineError> {
    refuse_where_an_agent_runs(config)?;
    let directory = config.plugin_directory();
    let staging = directory.join("staging");
    // A killed agent leaves it mounted; it holds nothing between two operations.
    let _ = rustix::mount::unmount(&staging, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    let volumes = directory.join("volumes");
    for file in set_aside(&volumes) {
        remove(&file, |path| std::fs::remove_file(path))?;
    }
    for socket in [
        config.registration_socket(),
        config.csi_socket(),
        config.admin_socket(),
    ] {
        remove(&socket, |path| std::fs::remove_file(path))?;
    }
    for directory in [&staging, &volumes, &directory] {
        remove(directory, |path| std::fs::remove_dir(path))?;
    }
    Ok(())
}

fn refuse_where_an_agent_runs(config: &Config) -> Result<(), OfflineError> {
    let sockets = [
        config.admin_socket(),
        config.csi_socket(),
        config.registration_socket(),
    ];
    match sockets.iter().find(|socket| is_served(socket)) {
        Some(socket) => Err(OfflineError::AgentRuns {
            path: socket.display().to_string(),
        }),
        None => Ok(()),
    }
}

/// Every volume that has a state file or a mount.
fn found(disk: &Disk) -> Result<BTreeMap<Target, Option<VolumeState>>, OfflineError> {
    let mut found = BTreeMap::new();
    match disk.store.load(&disk.roots) {
        Ok(states) => found.extend(
            states
                .into_iter()
                .map(|(target, state)| (target, Some(state))),
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(OfflineError::Read(Box::new(error))),
    }
    let mounted = disk
        .mounted()
        .map_err(|error| OfflineError::Read(Box::new(error)))?;
    for (target, _) in mounted {
        found.entry(target).or_insert(None);
    }
    Ok(found)
}

fn name_of(target: &Target, state: Option<&VolumeState>) -> VolumeName {
    let (namespace, pod) = state.map_or_else(Default::default, |state| {
        (state.namespace.clone(), state.pod_name.clone())
    });
    VolumeName {
        namespace,
        pod,
        volume: target.volume_name().to_owned(),
        pod_uid: target.pod_uid().unwrap_or_default().to_owned(),
        target: target.path().to_owned(),
    }
}

/// What an unpublish does.
fn take_away(disk: &Disk, target: &Target) -> Result<(), DiskError> {
    if let Occupant::Mount { ours: false, .. } = disk.occupant(target, None)? {
        return Err(DiskError::Foreign);
    }
    for lazy in [false, true] {
        if disk.detach(target, lazy)? == Detached::Yes {
            return disk.forget(target);
        }
    }
    Err(DiskError::InUse)
}

/// State files that no agent could read, and those that were being written.
fn set_aside(volumes: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(volumes) else {
        return Vec::new();
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_aside = |path: &std::path::PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == "bad" || extension == "tmp")
    };
    paths.filter(is_aside).collect()
}

fn remove(
    path: &Path,
    remove: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<(), OfflineError> {
    match remove(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(OfflineError::Remove {
            path: path.display().to_string(),
            source,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}

//! The blocking half of a volume's operations: state file, tmpfs, atomic writer and target directory in their right order.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::backend::File;
use crate::digest::Digest;
use crate::layout::Layout;
use crate::layout::writer::{self, WriteError};
use crate::mount::{
    MountError, Mounter, Occupant, TmpfsOptions, count_entries, inspect, is_ours, mountinfo,
};
use crate::state::{StateStore, VolumeState};
use crate::step;
use crate::target::{Parent, Roots, Target};

pub(crate) use super::labels::Labels;

/// Most mounts stacked on one target that are taken away at once.
const MAX_STACKED: usize = 16;

/// A failure below a volume.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    /// A mount call.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The atomic writer.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The state file.
    #[error("failed to save the volume's state")]
    State(#[source] std::io::Error),
    /// The directory above the target.
    #[error("failed to open the directory above the target")]
    Parent(#[source] Errno),
    /// kubelet makes that directory before it calls.
    #[error("the directory above the target is missing")]
    NoParent,
    /// What is attached does not show what was written.
    #[error("the attached volume does not show its content")]
    Verify,
    /// The target directory cannot be removed.
    #[error("failed to remove the target directory")]
    Remove(#[source] Errno),
    /// Something else put files below the target.
    #[error("the target directory still has {0} entries")]
    NotEmpty(usize),
    /// The target is no directory.
    #[error("the target is {0}")]
    NoDirectory(&'static str),
    /// The volume's mount vanished.
    #[error("the volume's mount is gone")]
    Gone,
    /// Another file system is mounted there.
    #[error("a foreign file system is mounted there; it is left alone")]
    Foreign,
    /// The mount stays, even detached.
    #[error("failed to unmount the target: it is in use")]
    InUse,
}

/// How a mounted volume is found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Mounted, with complete content.
    Intact,
    /// Mounted by us, but `..data` leads nowhere.
    Broken,
    /// Not mounted.
    Gone,
    /// Something else is mounted on it.
    Foreign,
}

/// Outcome of one attempt to unmount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detached {
    /// Nothing is mounted at the target any more.
    Yes,
    /// A mount is in use.
    Busy,
}

/// Everything on the node that volumes are made of. All calls block but one, [`Disk::is_intact_at_once`].
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) mounter: Mounter,
    pub(crate) roots: Roots,
    pub(crate) store: StateStore,
    pub(crate) labels: Labels,
}

impl Disk {
    /// What is at the target.
    pub(crate) fn occupant(
        &self,
        target: &Target,
        known: Option<u64>,
    ) -> Result<Occupant, DiskError> {
        match self.parent(target)? {
            Some(parent) => Ok(inspect(&parent, known)?),
            None => Ok(Occupant::Missing),
        }
    }

    /// How the volume with mount `id` is. Reads no content.
    pub(crate) fn condition(&self, target: &Target, id: u64) -> Result<Condition, DiskError> {
        let Some(parent) = self.parent(target)? else {
            return Ok(Condition::Gone);
        };
        match inspect(&parent, Some(id))? {
            Occupant::Mount { ours: true, .. } => {
                let root = self.mounter.open(&parent)?;
                Ok(if writer::is_intact(root.as_fd()) {
                    Condition::Intact
                } else {
                    Condition::Broken
                })
            }
            Occupant::Mount { ours: false, .. } => Ok(Condition::Foreign),
            Occupant::Missing | Occupant::EmptyDirectory | Occupant::Other(_) => {
                Ok(Condition::Gone)
            }
        }
    }

    /// Whether the volume with mount `id` is certainly [`Condition::Intact`]; `false` where [`Disk::condition`] has to tell.
    ///
    /// The one call that does not block: paths are resolved from the kernel's memory or not at all, and a tmpfs is nowhere else.
    pub(crate) fn is_intact_at_once(&self, target: &Target, id: u64) -> bool {
        let parent = self.roots.open_cached_parent(target).ok().flatten();
        parent
            .and_then(|parent| self.mounter.open_cached(&parent, id).ok().flatten())
            .is_some_and(|root| writer::is_intact(root.as_fd()))
    }

    /// First publish: builds the volume where nobody sees it, saves its state, attaches it and reads it back.
    ///
    /// An error may leave something behind; [`Disk::detach`] and [`Disk::forget`] take it away.
    pub(crate) fn publish(
        &self,
        target: &Target,
        layout: &Layout,
        mut state: VolumeState,
    ) -> Result<u64, DiskError> {
        let parent = self.parent(target)?.ok_or(DiskError::NoParent)?;
        let (context, read_only) = self.labels.of_mount(state.context.as_deref());
        let options = TmpfsOptions {
            size: layout.tmpfs_size(),
            inodes: layout.tmpfs_inodes(),
            context,
            read_only,
        };
        let built = self.mounter.build(&options, |root| {
            writer::prepare_root(root, layout.ownership())?;
            let written = writer::write(root, layout)?;
            // In an empty volume only a link that could not be made leaves it untidy.
            if written.untidy {
                return Err(DiskError::Verify);
            }
            state.generation = written.generation;
            Ok::<_, DiskError>(())
        })?;
        self.store.save(&state).map_err(DiskError::State)?;
        let id = self.mounter.attach(built, &parent)?;
        let root = self.mounter.open(&parent)?;
        if writer::read_digest(root.as_fd())? != Some(layout.digest()) {
            return Err(DiskError::Verify);
        }
        Ok(id)
    }

    /// Rotation: writes `layout` beside the visible content and switches; whether a sweep is due.
    pub(crate) fn rotate(
        &self,
        target: &Target,
        id: u64,
        layout: &Layout,
    ) -> Result<bool, DiskError> {
        let parent = self.parent(target)?.ok_or(DiskError::Gone)?;
        if !matches!(
            inspect(&parent, Some(id))?,
            Occupant::Mount { ours: true, .. }
        ) {
            return Err(DiskError::Gone);
        }
        let room = Some((layout.tmpfs_size(), layout.tmpfs_inodes()));
        let written = self.mounter.write(&parent, room, |root| {
            Ok::<_, DiskError>(writer::write(root, layout)?)
        })?;
        Ok(written.untidy)
    }

    /// Saves the state of a mounted volume whose content stays as it is.
    pub(crate) fn remember(
        &self,
        target: &Target,
        mut state: VolumeState,
    ) -> Result<(), DiskError> {
        let parent = self.parent(target)?.ok_or(DiskError::Gone)?;
        let root = self.mounter.open(&parent)?;
        // Only a note: a volume without content is remembered, too.
        state.generation = writer::current_generation(root.as_fd())
            .ok()
            .flatten()
            .unwrap_or_default();
        self.store.save(&state).map_err(DiskError::State)
    }

    /// Removes what the last rotation left.
    pub(crate) fn sweep(&self, target: &Target) -> Result<(), DiskError> {
        let Some(parent) = self.parent(target)? else {
            return Ok(());
        };
        self.mounter.write(&parent, None, |root| {
            Ok::<_, DiskError>(writer::sweep(root)?)
        })
    }

    /// The digest of what the volume shows.
    pub(crate) fn digest(&self, target: &Target) -> Result<Option<Digest>, DiskError> {
        let parent = self.parent(target)?.ok_or(DiskError::Gone)?;
        Ok(writer::read_digest(self.mounter.open(&parent)?.as_fd())?)
    }

    /// The root of the volume with mount `id`, if that is what is mounted at the target.
    fn own_root(&self, target: &Target, id: u64) -> Result<OwnedFd, DiskError> {
        let parent = self.parent(target)?.ok_or(DiskError::Gone)?;
        match inspect(&parent, Some(id))? {
            Occupant::Mount { ours: true, .. } => Ok(self.mounter.open(&parent)?),
            _ => Err(DiskError::Gone),
        }
    }

    /// The files of `generation`, if that is what the volume with mount `id` shows, and they have at most `limit` bytes together.
    pub(crate) fn read_back(
        &self,
        target: &Target,
        id: u64,
        generation: &str,
        limit: u64,
    ) -> Result<Vec<File>, DiskError> {
        let root = self.own_root(target, id)?;
        Ok(writer::read_files(root.as_fd(), generation, limit)?)
    }

    /// Takes away every mount stacked at the target.
    pub(crate) fn detach(&self, target: &Target, lazy: bool) -> Result<Detached, DiskError> {
        let Some(parent) = self.parent(target)? else {
            return Ok(Detached::Yes);
        };
        for _ in 0..MAX_STACKED {
            match self.mounter.unmount_one(&parent, lazy) {
                Ok(true) => {}
                Ok(false) => return Ok(Detached::Yes),
                Err(MountError {
                    source: Errno::BUSY,
                    ..
                }) => return Ok(Detached::Busy),
                // A file or a link at the target is no mount; `forget` names it.
                Err(MountError {
                    source: Errno::NOTDIR | Errno::LOOP,
                    ..
                }) => return Ok(Detached::Yes),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Detached::Busy)
    }

    /// Removes the target directory and then the state; both may be gone already. Never removes what is not empty.
    pub(crate) fn forget(&self, target: &Target) -> Result<(), DiskError> {
        if let Some(parent) = self.parent(target)? {
            let removed = rustix::fs::unlinkat(parent.fd(), parent.name(), AtFlags::REMOVEDIR);
            step::reached("remove the target directory");
            match removed {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST) => {
                    return Err(DiskError::NotEmpty(count_entries(&parent)?));
                }
                Err(Errno::NOTDIR) => {
                    let what = match inspect(&parent, None)? {
                        Occupant::Other(what) => what,
                        _ => "no directory",
                    };
                    return Err(DiskError::NoDirectory(what));
                }
                Err(error) => return Err(DiskError::Remove(error)),
            }
        }
        self.store.remove(target.path()).map_err(DiskError::State)
    }

    /// The name of what the volume shows; `None` where it shows nothing or is not mounted.
    pub(crate) fn generation(&self, target: &Target) -> Option<String> {
        let parent = self.parent(target).ok().flatten()?;
        let root = self.mounter.open(&parent).ok()?;
        writer::current_generation(root.as_fd()).ok().flatten()
    }

    /// Size and use of the volume's tmpfs.
    pub(crate) fn usage(&self, target: &Target, id: u64) -> Result<Usage, DiskError> {
        let root = self.own_root(target, id)?;
        let stat = rustix::fs::fstatfs(&root).map_err(|source| MountError {
            step: "measure the volume",
            source,
        })?;
        let block = u64::try_from(stat.f_bsize).unwrap_or(4096);
        Ok(Usage {
            bytes: stat.f_blocks * block,
            free_bytes: stat.f_bfree * block,
            inodes: stat.f_files,
            free_inodes: stat.f_ffree,
        })
    }

    /// Volumes of this driver that are mounted, with the ids of their mounts.
    pub(crate) fn mounted(&self) -> Result<Vec<(Target, u64)>, DiskError> {
        let mounts = mountinfo::read().map_err(DiskError::State)?;
        let ours = mounts.iter().filter(|mount| is_ours(mount));
        Ok(ours
            .filter_map(|mount| Some((self.roots.parse_canonical(&mount.point)?, mount.id)))
            .collect())
    }

    pub(crate) fn parent(&self, target: &Target) -> Result<Option<Parent>, DiskError> {
        self.roots.open_parent(target).map_err(DiskError::Parent)
    }
}

/// Size and use of a tmpfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) bytes: u64,
    pub(crate) free_bytes: u64,
    pub(crate) inodes: u64,
    pub(crate) free_inodes: u64,
}

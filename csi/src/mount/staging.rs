//! The private directory where mounts are built and cloned before anybody sees them.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MoveMountFlags, UnmountFlags};

use super::{MountError, Step};
use crate::digest::hex;
use crate::step;

/// A filled mount that is attached to no target yet; dropping it discards the mount.
#[derive(Debug)]
pub(crate) struct Built {
    /// The root directory, open for reading.
    pub(super) root: OwnedFd,
    /// What `fsmount` returned: a detached mount lives as long as this descriptor.
    pub(super) detached: Option<OwnedFd>,
    pub(super) slot: Option<Slot>,
}

impl Built {
    /// The mount left the slot for its target; the slot's directory goes.
    pub(super) fn moved_away(mut self) {
        if let Some(slot) = &mut self.slot {
            slot.mounted = false;
        }
    }
}

/// A directory in `staging` that holds one mount for a moment.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) path: PathBuf,
    pub(super) mounted: bool,
}

impl Slot {
    pub(super) fn make(staging: &Path) -> Result<Self, MountError> {
        let path = staging.join(hex(&rand::random::<[u8; 8]>()));
        rustix::fs::mkdir(&path, Mode::from(0o700)).step("make a staging slot")?;
        Ok(Self {
            path,
            mounted: false,
        })
    }

    pub(super) fn attach(&self, mount: &OwnedFd) -> Result<(), MountError> {
        rustix::mount::move_mount(
            mount,
            "",
            rustix::fs::CWD,
            &self.path,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .step("stage the mount")
    }

    pub(super) fn opened_and_mounted(mut self) -> Result<Built, MountError> {
        self.mounted = true;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            rustix::fs::open(&self.path, flags, Mode::empty()).step("open the staged mount")?;
        Ok(Built {
            root,
            detached: None,
            slot: Some(self),
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.mounted {
            let _ =
                rustix::mount::unmount(&self.path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
            step::reached("unmount the staging slot");
        }
        let _ = rustix::fs::rmdir(&self.path);
    }
}

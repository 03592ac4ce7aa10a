//! The private directory where mounts are built and cloned before anybody sees them.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, UnmountFlags};

use super::{ATTRIBUTES, MountError, Step};
use crate::digest::hex;
use crate::step;

/// How long a mount that is to be read-only may have writers, and the pause between two attempts.
const READ_ONLY_WAIT: Duration = Duration::from_secs(1);
const READ_ONLY_PAUSE: Duration = Duration::from_millis(1);

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

    /// Sets the mount read-only, as its copies then are. Waits up to [`READ_ONLY_WAIT`] for a file in it that is open for writing:
    /// a process that somebody starts has all our files until it runs its program.
    pub(super) fn set_read_only(&self) -> Result<(), MountError> {
        let flags = MountFlags::BIND | MountFlags::RDONLY | ATTRIBUTES;
        let deadline = Instant::now() + READ_ONLY_WAIT;
        loop {
            match rustix::mount::mount_remount(&self.path, flags, "") {
                Err(Errno::BUSY) if Instant::now() < deadline => {
                    std::thread::park_timeout(READ_ONLY_PAUSE);
                }
                result => return result.step("set the staged mount read-only"),
            }
        }
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

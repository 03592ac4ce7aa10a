//! Looking at a target without changing it.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use super::{MountError, SOURCE, Step, mountinfo};
use crate::target::Parent;

/// Magic number of tmpfs, statfs(2).
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// What is at a target path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occupant {
    /// Nothing.
    Missing,
    /// A directory without entries: what kubelet or a reboot leaves.
    EmptyDirectory,
    /// A mount.
    Mount {
        /// Its id.
        id: u64,
        /// Whether it is a tmpfs with our source.
        ours: bool,
    },
    /// Something that is no place for a mount.
    Other(&'static str),
}

/// Looks at the target. `known` is the id of a mount that is certainly ours; it spares reading mountinfo.
pub(crate) fn inspect(parent: &Parent, known: Option<u64>) -> Result<Occupant, MountError> {
    let mask = StatxFlags::TYPE | StatxFlags::MODE | StatxFlags::MNT_ID;
    let stat = match rustix::fs::statx(
        parent.fd(),
        parent.name(),
        AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT,
        mask,
    ) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(Occupant::Missing),
        Err(error) => return Err(error).step("look at the target"),
    };
    match rustix::fs::FileType::from_raw_mode(stat.stx_mode.into()) {
        rustix::fs::FileType::Directory => {}
        rustix::fs::FileType::Symlink => return Ok(Occupant::Other("a symbolic link")),
        _ => return Ok(Occupant::Other("a file")),
    }
    if stat.stx_mnt_id != mount_id(parent.fd(), "").step("look at the target's parent")? {
        let id = stat.stx_mnt_id;
        if known == Some(id) {
            return Ok(Occupant::Mount { id, ours: true });
        }
        let mounts = mountinfo::read()
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
            .step("read mountinfo")?;
        let ours = mounts.iter().any(|mount| mount.id == id && is_ours(mount));
        return Ok(Occupant::Mount { id, ours });
    }
    if count_entries(parent)? == 0 {
        Ok(Occupant::EmptyDirectory)
    } else {
        Ok(Occupant::Other("a directory with files in it"))
    }
}

/// Whether a mount was made by this driver.
pub(crate) fn is_ours(mount: &mountinfo::MountInfo) -> bool {
    mount.kind == "tmpfs" && mount.source == SOURCE
}

/// Entries of the target directory.
pub(crate) fn count_entries(parent: &Parent) -> Result<usize, MountError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent.fd(), parent.name(), flags, Mode::empty())
        .step("open the target")?;
    let mut count = 0;
    for entry in rustix::fs::Dir::new(directory).step("list the target")? {
        let entry = entry.step("list the target")?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            count += 1;
        }
    }
    Ok(count)
}

/// Whether `directory` is on a tmpfs.
pub(crate) fn is_tmpfs(directory: BorrowedFd<'_>) -> bool {
    rustix::fs::fstatfs(directory)
        .is_ok_and(|stat| u64::try_from(stat.f_type).is_ok_and(|kind| kind == TMPFS_MAGIC))
}

pub(super) fn mount_id(directory: BorrowedFd<'_>, name: &str) -> rustix::io::Result<u64> {
    let mut flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    if name.is_empty() {
        flags |= AtFlags::EMPTY_PATH;
    }
    rustix::fs::statx(directory, name, flags, StatxFlags::MNT_ID).map(|stat| stat.stx_mnt_id)
}

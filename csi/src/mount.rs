//! tmpfs mounts: build first, attach last (csi.md 5.1).
//!
//! A volume is made, filled and set read-only where nobody can see it, then attached to its target in one step: a crash before
//! that step leaves nothing. The build happens in a private directory of the agent, `staging`, whose mounts reach no other
//! namespace; attaching to the target does, because kubelet's directory is shared. `mount_setattr(2)` has no safe binding, so
//! read-only is set by a bind remount while the mount is staged, which the attached copies inherit.
//!
//! Two system call families do the same work ([`Api`]): the descriptor-based one (kernel 5.12 and later), and `mount(2)` for
//! nodes whose seccomp profile denies the former.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MountFlags, MountPropagationFlags,
    MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

use crate::step;
use crate::target::Parent;

mod inspect;
pub(crate) mod mountinfo;
mod staging;

use inspect::mount_id;
pub(crate) use inspect::{Occupant, count_entries, inspect, is_ours, is_tmpfs};
pub(crate) use staging::Built;
use staging::Slot;

/// What our mounts name as their source.
pub(crate) const SOURCE: &str = "latchkey";

/// Most mounts stacked on one target that an unpublish takes away.
const MAX_STACKED: usize = 16;

pub(crate) const ATTRIBUTES: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// A step of mounting that failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {step}")]
pub(crate) struct MountError {
    pub(crate) step: &'static str,
    #[source]
    pub(crate) source: Errno,
}

trait Step<T> {
    fn step(self, step: &'static str) -> Result<T, MountError>;
}

impl<T> Step<T> for rustix::io::Result<T> {
    fn step(self, step: &'static str) -> Result<T, MountError> {
        step::reached(step);
        self.map_err(|source| MountError { step, source })
    }
}

/// Which system calls make the mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    /// `fsopen`, `fsmount`, `open_tree`, `move_mount`.
    Descriptors,
    /// `mount` alone.
    Paths,
}

impl Api {
    /// Label of `latchkey_csi_mount_api`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Descriptors => "fsopen",
            Self::Paths => "mount",
        }
    }
}

/// Options of one tmpfs (csi.md 5.2).
#[derive(Clone, Debug)]
pub(crate) struct TmpfsOptions {
    /// Bytes.
    pub(crate) size: u64,
    /// Inodes.
    pub(crate) inodes: u64,
    /// SELinux label of every file.
    pub(crate) context: Option<String>,
    /// Whether the attached mount is read-only.
    pub(crate) read_only: bool,
}

/// Makes, opens and removes mounts. All calls block but [`Mounter::open_cached`].
#[derive(Debug)]
pub(crate) struct Mounter {
    staging: PathBuf,
    api: Api,
    noswap: bool,
}

impl Mounter {
    /// Prepares `<plugin directory>/staging` and finds out which system calls this node allows.
    pub(crate) fn start(plugin_directory: &Path) -> Result<Self, MountError> {
        let staging = plugin_directory.join("staging");
        match rustix::fs::mkdir(&staging, Mode::from(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).step("make the staging directory"),
        }
        // What a killed predecessor staged goes with its staging mount.
        for _ in 0..MAX_STACKED {
            if rustix::mount::unmount(&staging, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
                .is_err()
            {
                break;
            }
        }
        let data = CString::new("size=64k,mode=0700").expect("the text has no NUL");
        rustix::mount::mount("latchkey-staging", &staging, "tmpfs", ATTRIBUTES, &*data)
            .step("mount the staging directory")?;
        rustix::mount::mount_change(&staging, MountPropagationFlags::PRIVATE)
            .step("make the staging directory private")?;
        let mut failure = None;
        for api in [Api::Descriptors, Api::Paths] {
            let mut mounter = Self {
                staging: staging.clone(),
                api,
                noswap: true,
            };
            match mounter.self_test() {
                Ok(noswap) => {
                    mounter.noswap = noswap;
                    return Ok(mounter);
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or(MountError {
            step: "mount",
            source: Errno::NOSYS,
        }))
    }

    /// One that makes no mount and changes nothing on the node: for taking volumes away while no agent runs.
    pub(crate) fn idle(plugin_directory: &Path) -> Self {
        Self {
            staging: plugin_directory.join("staging"),
            api: Api::Paths,
            noswap: false,
        }
    }

    /// Same, with one API; for tests.
    #[cfg(test)]
    pub(crate) fn with_api(mut self, api: Api) -> Self {
        self.api = api;
        self
    }

    /// As on a kernel whose tmpfs knows no `noswap`; for tests.
    #[cfg(test)]
    pub(crate) fn without_noswap(mut self) -> Self {
        self.noswap = false;
        self
    }

    /// Takes the staging directory away; volumes stay.
    pub(crate) fn stop(&self) {
        if let Err(error) =
            rustix::mount::unmount(&self.staging, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        {
            tracing::debug!(%error, "the staging directory stays mounted");
        }
    }

    pub(crate) fn api(&self) -> Api {
        self.api
    }

    /// Whether tmpfs takes `noswap` here (kernel 6.4 and later, not in a user namespace).
    pub(crate) fn noswap(&self) -> bool {
        self.noswap
    }

    /// Builds, remounts and discards one mount; whether `noswap` was accepted.
    fn self_test(&mut self) -> Result<bool, MountError> {
        let options = TmpfsOptions {
            size: 64 * 1024,
            inodes: 8,
            context: None,
            read_only: true,
        };
        let built = match self.build(&options, |_| Ok::<(), MountError>(())) {
            Err(MountError {
                source: Errno::INVAL,
                ..
            }) => {
                self.noswap = false;
                self.build(&options, |_| Ok::<(), MountError>(()))?
            }
            other => other?,
        };
        drop(built);
        Ok(self.noswap)
    }

    /// Makes a tmpfs, hands its root to `fill`, and sets it read-only if asked.
    pub(crate) fn build<E: From<MountError>>(
        &self,
        options: &TmpfsOptions,
        fill: impl FnOnce(BorrowedFd<'_>) -> Result<(), E>,
    ) -> Result<Built, E> {
        let mut built = match self.api {
            Api::Descriptors => {
                let detached = self.create_detached(options)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let root = rustix::fs::openat(&detached, ".", flags, Mode::empty())
                    .step("open the new tmpfs")?;
                Built {
                    root,
                    detached: Some(detached),
                    slot: None,
                }
            }
            Api::Paths => {
                let slot = Slot::make(&self.staging)?;
                self.create_at(&slot.path, options)?;
                slot.opened_and_mounted()?
            }
        };
        fill(built.root.as_fd())?;
        if options.read_only {
            if let (None, Some(detached)) = (&built.slot, &built.detached) {
                built.slot = Some(self.stage(detached)?);
            }
            if let Some(slot) = &built.slot {
                slot.set_read_only()?;
            }
        }
        Ok(built)
    }

    /// Attaches `built` to the target, which must be an empty directory or missing; the id of the mount that is there now.
    pub(crate) fn attach(&self, built: Built, parent: &Parent) -> Result<u64, MountError> {
        let made = rustix::fs::mkdirat(parent.fd(), parent.name(), Mode::from(0o750));
        step::reached("make the target directory");
        match made {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).step("make the target directory"),
        }
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = rustix::fs::openat2(parent.fd(), parent.name(), flags, Mode::empty(), resolve)
            .step("open the target")?;
        match self.api {
            Api::Descriptors => {
                let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH
                    | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
                let mount = built.detached.as_ref().unwrap_or(&built.root);
                rustix::mount::move_mount(mount, "", &target, "", flags)
                    .step("attach the mount")?;
            }
            Api::Paths => {
                let slot = built.slot.as_ref().ok_or(MountError {
                    step: "attach the mount",
                    source: Errno::NOENT,
                })?;
                let path = format!("/proc/self/fd/{}", target.as_raw_fd());
                rustix::mount::mount_move(&slot.path, path).step("attach the mount")?;
            }
        }
        built.moved_away();
        let id = mount_id(parent.fd(), parent.name()).step("look at the attached mount")?;
        if id == mount_id(parent.fd(), "").step("look at the target's parent")? {
            return Err(MountError {
                step: "find the attached mount",
                source: Errno::NOENT,
            });
        }
        Ok(id)
    }

    /// Opens the root of the mount at the target for reading.
    pub(crate) fn open(&self, parent: &Parent) -> Result<OwnedFd, MountError> {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat2(parent.fd(), parent.name(), flags, Mode::empty(), resolve)
            .step("open the volume")
    }

    /// Opens the root of the mount `id` at the target for looking paths up, never waiting for a disk or a lock; `None` where
    /// another mount or none is there.
    pub(crate) fn open_cached(
        &self,
        parent: &Parent,
        id: u64,
    ) -> rustix::io::Result<Option<OwnedFd>> {
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::CACHED;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::openat2(parent.fd(), parent.name(), flags, Mode::empty(), resolve)?;
        Ok((mount_id(root.as_fd(), "")? == id).then_some(root))
    }

    /// Gives `work` a writable view of the mount at the target. What others see of it stays read-only.
    ///
    /// `room` is the size in bytes and the number of inodes that the work needs; the tmpfs grows to it, and never shrinks.
    pub(crate) fn write<T, E: From<MountError>>(
        &self,
        parent: &Parent,
        room: Option<(u64, u64)>,
        work: impl FnOnce(BorrowedFd<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let slot = Slot::make(&self.staging)?;
        match self.api {
            Api::Descriptors => {
                let flags = OpenTreeFlags::OPEN_TREE_CLONE
                    | OpenTreeFlags::OPEN_TREE_CLOEXEC
                    | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
                let clone = rustix::mount::open_tree(parent.fd(), parent.name(), flags)
                    .step("clone the volume's mount")?;
                slot.attach(&clone)?;
            }
            Api::Paths => {
                // By descriptor: a path's last component would be followed if it were a link.
                let volume = self.open(parent)?;
                let path = format!("/proc/self/fd/{}", volume.as_raw_fd());
                rustix::mount::mount_bind(path, &slot.path).step("clone the volume's mount")?;
            }
        }
        let view = slot.opened_and_mounted()?;
        let path = &view
            .slot
            .as_ref()
            .ok_or(MountError {
                step: "stage the clone",
                source: Errno::NOENT,
            })?
            .path;
        rustix::mount::mount_change(path, MountPropagationFlags::PRIVATE)
            .step("make the clone private")?;
        rustix::mount::mount_remount(path, MountFlags::BIND | ATTRIBUTES, "")
            .step("make the clone writable")?;
        if let Some((size, inodes)) = room {
            self.grow(path, view.root.as_fd(), size, inodes)?;
        }
        work(view.root.as_fd())
    }

    fn grow(
        &self,
        path: &Path,
        root: BorrowedFd<'_>,
        size: u64,
        inodes: u64,
    ) -> Result<(), MountError> {
        let now = rustix::fs::fstatfs(root).step("measure the volume")?;
        let block = u64::try_from(now.f_bsize).unwrap_or(4096);
        if now.f_blocks * block >= size && now.f_files >= inodes {
            return Ok(());
        }
        let size = size.max(now.f_blocks * block);
        let inodes = inodes.max(now.f_files);
        match self.api {
            Api::Descriptors => {
                let context = rustix::mount::fspick(
                    root,
                    "",
                    FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_CLOEXEC,
                )
                .step("open the volume's superblock")?;
                rustix::mount::fsconfig_set_string(&context, "size", size.to_string())
                    .step("set the volume's size")?;
                rustix::mount::fsconfig_set_string(&context, "nr_inodes", inodes.to_string())
                    .step("set the volume's inodes")?;
                rustix::mount::fsconfig_reconfigure(&context).step("grow the volume")
            }
            Api::Paths => rustix::mount::mount_remount(
                path,
                ATTRIBUTES,
                format!("size={size},nr_inodes={inodes}"),
            )
            .step("grow the volume"),
        }
    }

    /// Unmounts the topmost mount at the target; whether there was one. `lazy` detaches even what is in use.
    ///
    /// A mount that is neither a tmpfs nor ours is an error and stays.
    pub(crate) fn unmount_one(&self, parent: &Parent, lazy: bool) -> Result<bool, MountError> {
        let here = match mount_id(parent.fd(), parent.name()) {
            Ok(id) => id,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(error).step("look at the target"),
        };
        if here == mount_id(parent.fd(), "").step("look at the target's parent")? {
            return Ok(false);
        }
        if !is_tmpfs(self.open(parent)?.as_fd()) {
            return Err(MountError {
                step: "unmount the target: a mount there is not ours",
                source: Errno::PERM,
            });
        }
        let flags = if lazy {
            UnmountFlags::NOFOLLOW | UnmountFlags::DETACH
        } else {
            UnmountFlags::NOFOLLOW
        };
        let unmounted = rustix::mount::unmount(parent.proc_path(), flags);
        step::reached("unmount the target");
        match unmounted {
            Ok(()) => Ok(true),
            Err(Errno::INVAL | Errno::NOENT) => Ok(false),
            Err(error) => Err(error).step("unmount the target"),
        }
    }

    fn create_detached(&self, options: &TmpfsOptions) -> Result<OwnedFd, MountError> {
        let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)
            .step("open a tmpfs context")?;
        for (key, value) in self.strings(options) {
            rustix::mount::fsconfig_set_string(&context, key, value)
                .step("set an option of the tmpfs")?;
        }
        rustix::mount::fsconfig_set_string(&context, "source", SOURCE)
            .step("set the source of the tmpfs")?;
        if self.noswap {
            rustix::mount::fsconfig_set_flag(&context, "noswap")
                .step("keep the tmpfs out of swap")?;
        }
        rustix::mount::fsconfig_create(&context).step("create the tmpfs")?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .step("mount the tmpfs")
    }

    fn create_at(&self, path: &Path, options: &TmpfsOptions) -> Result<(), MountError> {
        let mut data = self
            .strings(options)
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>();
        if self.noswap {
            data.push("noswap".to_owned());
        }
        let data = CString::new(data.join(",")).map_err(|_| MountError {
            step: "build the options",
            source: Errno::INVAL,
        })?;
        rustix::mount::mount(SOURCE, path, "tmpfs", ATTRIBUTES, &*data).step("mount the tmpfs")
    }

    fn strings(&self, options: &TmpfsOptions) -> impl Iterator<Item = (&'static str, String)> {
        // A label holds commas: `mount(2)` wants it quoted, the descriptor API takes it as it is.
        let context = options.context.clone().map(|context| match self.api {
            Api::Descriptors => ("context", context),
            Api::Paths => ("context", format!("\"{context}\"")),
        });
        [
            ("size", options.size.to_string()),
            ("nr_inodes", options.inodes.to_string()),
            ("mode", "0700".to_owned()),
        ]
        .into_iter()
        .chain(context)
    }

    fn stage(&self, detached: &OwnedFd) -> Result<Slot, MountError> {
        let mut slot = Slot::make(&self.staging)?;
        slot.attach(detached)?;
        slot.mounted = true;
        Ok(slot)
    }
}

#[cfg(test)]
mod tests;

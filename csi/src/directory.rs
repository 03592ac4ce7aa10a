//! The layout of a volume in a directory of the machine, without kubelet: the same files, the same atomic switch (csi.md 6.1).
//!
//! A [`Directory`] belongs to one writer. It holds no descriptor, so that a directory that was moved, unmounted or made anew is
//! found again with the next write. All calls block.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;

use crate::backend::FileSet;
use crate::layout::{Layout, LayoutError, Ownership, writer};
use crate::mount::{ATTRIBUTES, SOURCE, is_ours, is_tmpfs, mountinfo};

/// How long the previous generation stays for those who read it (csi.md 6.1, step 9).
pub const GENERATION_GRACE: Duration = Duration::from_secs(5);

/// Inodes of an own tmpfs: two generations of the most files, with their directories and links.
const INODES: u64 = 8192;

/// A directory that shows files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    path: PathBuf,
    tmpfs: Option<u64>,
}

/// Who may do what with the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Owner of every file and directory.
    pub uid: u32,
    /// Group of every file and directory.
    pub gid: u32,
    /// Permission bits of files that name none, at most 0777.
    pub default_mode: u32,
    /// Whether the directories are open to everybody (0755, 0555) and not to owner and group only (2750, 2550).
    pub is_open: bool,
    /// Most bytes that all files may have together.
    pub limit: u64,
}

/// What [`Directory::show`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Whether content, mode or owner of a file is another than before.
    pub changed: bool,
    /// Whether [`Directory::sweep`] has something to do.
    pub untidy: bool,
}

/// Why files are not shown. What was shown before still is.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Content that cannot become files.
    #[error("{0}")]
    Layout(String),
    /// The place is not safe, or somebody else's.
    #[error("{path} {reason}")]
    Place {
        /// The directory or one above it.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A step that the kernel refused.
    #[error("failed to {step} in {path}: {source}")]
    Step {
        /// What was tried; names of keys, never content.
        step: String,
        /// The directory.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

type Result<T, E = DirectoryError> = std::result::Result<T, E>;

// === impl Directory ===

impl Directory {
    /// The directory at `path`, which is absolute. With `tmpfs` it gets a tmpfs of its own of so many bytes.
    #[must_use]
    pub fn new(path: PathBuf, tmpfs: Option<u64>) -> Self {
        Self { path, tmpfs }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it gets a tmpfs of its own.
    #[must_use]
    pub fn has_own_tmpfs(&self) -> bool {
        self.tmpfs.is_some()
    }

    /// Makes the directory, and its tmpfs, if they are not there.
    ///
    /// # Errors
    ///
    /// [`DirectoryError::Place`] if another user than root and this one could put something else in its place, or if it holds
    /// what was not made here: then nothing is touched. [`DirectoryError::Step`].
    pub fn prepare(&self) -> Result<()> {
        self.ready().map(drop)
    }

    /// Makes `files` the content with one rename. Equal files are not written again.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`]; the content is as it was.
    pub fn show(&self, files: FileSet, access: Access) -> Result<Shown> {
        let ownership = Ownership {
            uid: access.uid,
            gid: access.gid,
            grouped: !access.is_open,
            default_mode: Some(access.default_mode),
        };
        let layout = Layout::try_new(files, ownership, access.limit)
            .map_err(|error: LayoutError| DirectoryError::Layout(error.to_string()))?;
        let root = self.ready()?;
        self.own(root.as_fd(), ownership)?;
        // What cannot be read is written anew.
        let shown = writer::read_digest(root.as_fd()).ok().flatten();
        if shown == Some(layout.digest()) {
            let untidy = writer::needs_sweep(root.as_fd()).unwrap_or(true);
            return Ok(Shown {
                changed: false,
                untidy,
            });
        }
        let written = writer::write(root.as_fd(), &layout)
            .map_err(|error| self.step(&error.step, error.source))?;
        Ok(Shown {
            changed: true,
            untidy: written.untidy,
        })
    }

    /// Whether it shows a complete generation.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        open(&self.path).is_ok_and(|root| writer::is_intact(root.as_fd()))
    }

    /// Removes the previous generation, and what a killed process left. To be called [`GENERATION_GRACE`] after a switch.
    ///
    /// # Errors
    ///
    /// [`DirectoryError::Step`]; the content is not touched.
    pub fn sweep(&self) -> Result<()> {
        let root = open(&self.path).map_err(|error| self.step("open it", error))?;
        self.check_content(root.as_fd())?;
        writer::sweep(root.as_fd()).map_err(|error| self.step(&error.step, error.source))
    }

    /// The root, fit to be written.
    fn ready(&self) -> Result<OwnedFd> {
        check_parents(&self.path)?;
        let mut builder = std::fs::DirBuilder::new();
        match builder.mode(0o700).create(&self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(source) => {
                return Err(DirectoryError::Step {
                    step: "make it".to_owned(),
                    path: self.path.clone(),
                    source,
                });
            }
        }
        let mut root = open(&self.path).map_err(|error| self.step("open it", error))?;
        if let Some(size) = self.tmpfs
            && !self.is_mounted()?
        {
            self.mount(root.as_fd(), size)?;
            root = open(&self.path).map_err(|error| self.step("open it", error))?;
        }
        self.check_content(root.as_fd())?;
        Ok(root)
    }

    fn is_mounted(&self) -> Result<bool> {
        let mounts = mountinfo::read().map_err(|source| DirectoryError::Step {
            step: "read the list of mounts".to_owned(),
            path: self.path.clone(),
            source,
        })?;
        let path = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let top = mounts
            .iter()
            .rev()
            .find(|mount| Path::new(&mount.point) == path);
        match top {
            None => Ok(false),
            Some(mount) if is_ours(mount) => Ok(true),
            Some(mount) => Err(self.place(format!(
                "is a mount of {} already; leave `tmpfs` out to use it",
                mount.kind
            ))),
        }
    }

    fn mount(&self, root: BorrowedFd<'_>, size: u64) -> Result<()> {
        let names = names(root).map_err(|error| self.step("list it", error))?;
        if let Some(name) = names.first() {
            return Err(self.place(format!(
                "holds {name:?}, which a tmpfs would hide; give it a directory of its own"
            )));
        }
        // By descriptor: the path's last component could be a link by now.
        let target = format!("/proc/self/fd/{}", root.as_raw_fd());
        let mount = |swap: &str| {
            let data = CString::new(format!("size={size},nr_inodes={INODES},mode=0700{swap}"))
                .map_err(|_| Errno::INVAL)?;
            rustix::mount::mount(SOURCE, target.as_str(), "tmpfs", ATTRIBUTES, &*data)
        };
        match mount(",noswap") {
            Err(Errno::INVAL) => {
                tracing::warn!(directory = %self.path.display(), "this kernel cannot keep a tmpfs out of swap (noswap, 6.4)");
                mount("").map_err(|error| self.step("mount a tmpfs", error))
            }
            Err(error) => Err(self.step("mount a tmpfs", error)),
            Ok(()) => Ok(()),
        }
    }

    /// Refuses a directory with anything in it that was not made here: the writer takes away what is in its way.
    fn check_content(&self, root: BorrowedFd<'_>) -> Result<()> {
        for name in names(root).map_err(|error| self.step("list it", error))? {
            if is_made_here(root, &name) {
                continue;
            }
            return Err(self.place(format!(
                "holds {name:?}, which was not made here; give it a directory of its own"
            )));
        }
        Ok(())
    }

    /// Owner and mode of the root, touched only if they are others: whoever watches it would wake up.
    fn own(&self, root: BorrowedFd<'_>, ownership: Ownership) -> Result<()> {
        let stat = rustix::fs::fstat(root).map_err(|error| self.step("look at it", error))?;
        let wanted = (ownership.uid, ownership.gid, ownership.root_mode());
        if (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777) == wanted {
            return Ok(());
        }
        writer::prepare_root(root, ownership).map_err(|error| self.step(&error.step, error.source))
    }

    fn place(&self, reason: String) -> DirectoryError {
        DirectoryError::Place {
            path: self.path.clone(),
            reason,
        }
    }

    fn step(&self, step: &str, error: Errno) -> DirectoryError {
        DirectoryError::Step {
            step: step.to_owned(),
            path: self.path.clone(),
            source: error.into(),
        }
    }
}

/// Whether `path` is on a tmpfs, so that what is written there is never on a disk.
#[must_use]
pub fn is_in_memory(path: &Path) -> bool {
    let existing = path.ancestors().find(|ancestor| ancestor.exists());
    existing.is_some_and(|ancestor| open(ancestor).is_ok_and(|handle| is_tmpfs(handle.as_fd())))
}

/// Nobody but root and this user may be able to put a link or another directory in the place of one on the way.
fn check_parents(path: &Path) -> Result<()> {
    let own = rustix::process::geteuid().as_raw();
    for parent in path.ancestors().skip(1) {
        let metadata = std::fs::metadata(parent).map_err(|source| DirectoryError::Step {
            step: "look at the directory above it".to_owned(),
            path: path.to_owned(),
            source,
        })?;
        let refused = |reason: String| DirectoryError::Place {
            path: parent.to_owned(),
            reason,
        };
        if metadata.uid() != 0 && metadata.uid() != own {
            return Err(refused(format!(
                "belongs to user {}, who could put another directory in the place of {}; it must belong to root or user {own}",
                metadata.uid(),
                path.display()
            )));
        }
        let is_sticky = metadata.mode() & 0o1000 != 0;
        if metadata.mode() & 0o002 != 0 && !is_sticky {
            return Err(refused(format!(
                "may be written by everybody, who could put another directory in the place of {}; take that right away",
                path.display()
            )));
        }
    }
    Ok(())
}

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

fn names(root: BorrowedFd<'_>) -> rustix::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(root)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Names that begin with `..` are the writer's; so are links into `..data`.
fn is_made_here(root: BorrowedFd<'_>, name: &str) -> bool {
    name.starts_with("..")
        || rustix::fs::readlinkat(root, name, Vec::new())
            .is_ok_and(|target| target.as_bytes().starts_with(b"..data/"))
}

#[cfg(test)]
mod tests;

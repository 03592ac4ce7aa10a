//! The atomic writer: generation directories, one rename of `..data`, and what a crash leaves is swept (csi.md 6.1).
//!
//! Everything is opened relative to the volume's root with `openat2`, and never through a symbolic link: a container that
//! gets write access to its volume must not make the agent follow what it planted (csi.md R10).

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use latchkey_secret::SecretValue;
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid};
use rustix::io::Errno;

use super::{Layout, Ownership, hash_file};
use crate::backend::File;
use crate::digest::{Digest, Hasher, hex};
use crate::step;

/// The link that every visible name goes through.
const DATA: &str = "..data";

/// Deepest directory that is read or removed; a planted deeper tree is an error.
const MAX_DEPTH: usize = 16;

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// A step of the writer that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("failed to {step}")]
pub(crate) struct WriteError {
    /// What was tried; names of keys, never content.
    pub(crate) step: String,
    /// The kernel's answer.
    #[source]
    pub(crate) source: Errno,
}

type Result<T, E = WriteError> = std::result::Result<T, E>;

trait Step<T> {
    fn step(self, step: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Step<T> for rustix::io::Result<T> {
    fn step(self, step: impl FnOnce() -> String) -> Result<T> {
        step::reached("a step of the writer");
        self.map_err(|source| WriteError {
            step: step(),
            source,
        })
    }
}

/// What a write did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Name of the generation that is visible now.
    pub(crate) generation: String,
    /// Whether the previous generation, or something of an earlier crash, is still there to be swept.
    pub(crate) untidy: bool,
}

/// Sets owner and mode of the volume's root.
pub(crate) fn prepare_root(root: BorrowedFd<'_>, ownership: Ownership) -> Result<()> {
    own(root, ownership, ownership.root_mode())
        .step(|| "set owner and mode of the volume".to_owned())
}

/// Makes `layout` the content of the volume at `root` with one rename; the previous generation stays for [`sweep`].
///
/// Until the rename an error leaves the old content as it was; after it the new content is visible, and what is left to do
/// is reported as `untidy`.
pub(crate) fn write(root: BorrowedFd<'_>, layout: &Layout) -> Result<Written> {
    let previous = current_generation(root).step(|| "read the link ..data".to_owned())?;
    // What cannot be removed must not freeze the volume; the sweep after this write names it.
    let removed = remove_leftovers(root, previous.as_deref());
    let generation = generation_name();
    if let Err(error) =
        write_generation(root, &generation, layout).and_then(|()| switch(root, &generation))
    {
        // The old generation is still the visible one; a failed removal is found by the next sweep.
        let _ = remove_tree(root, &generation, 0);
        return Err(error);
    }
    let linked = link_top_level(root, layout.top_level());
    Ok(Written {
        generation,
        untidy: previous.is_some() || removed.is_err() || linked.is_err(),
    })
}

/// Finishes an interrupted write: top-level names as in the current generation, and no other generation.
pub(crate) fn sweep(root: BorrowedFd<'_>) -> Result<()> {
    let Some(current) = current_generation(root).step(|| "read the link ..data".to_owned())? else {
        return remove_leftovers(root, None);
    };
    let names = open_directory(root, &current)
        .and_then(|directory| names(directory.as_fd()))
        .step(|| format!("list generation {current}"))?;
    link_top_level(root, &names)?;
    remove_leftovers(root, Some(&current))
}

/// Whether [`sweep`] has something to do.
pub(crate) fn needs_sweep(root: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    let Some(current) = current_generation(root)? else {
        return Ok(true);
    };
    let expected = names(open_directory(root, &current)?.as_fd())?;
    let mut seen = BTreeSet::new();
    for name in names(root)? {
        if name == DATA || name == current {
            continue;
        }
        if name.starts_with("..") {
            return Ok(true);
        }
        seen.insert(name);
    }
    Ok(seen != expected)
}

/// The generation that `..data` points to; `None` where there is no `..data` or it points elsewhere.
pub(crate) fn current_generation(root: BorrowedFd<'_>) -> rustix::io::Result<Option<String>> {
    let target = match rustix::fs::readlinkat(root, DATA, Vec::new()) {
        Ok(target) => target,
        Err(Errno::NOENT | Errno::INVAL) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(target.into_string().ok().filter(|name| is_generation(name)))
}

/// Whether the volume shows a complete generation: `..data` exists and its directory can be opened. Reads no content.
pub(crate) fn is_intact(root: BorrowedFd<'_>) -> bool {
    matches!(current_generation(root), Ok(Some(generation)) if open_directory(root, &generation).is_ok())
}

/// The digest of what the volume shows, comparable to [`Layout::digest`]; `None` where it shows nothing.
pub(crate) fn read_digest(root: BorrowedFd<'_>) -> Result<Option<Digest>> {
    let Some(generation) = current_generation(root).step(|| "read the link ..data".to_owned())?
    else {
        return Ok(None);
    };
    let directory =
        open_directory(root, &generation).step(|| format!("open generation {generation}"))?;
    let mut files = Vec::new();
    list_files(directory.as_fd(), "", 0, &mut files)
        .step(|| format!("list generation {generation}"))?;
    files.sort_unstable();
    let mut hasher = Hasher::new();
    let mut content = zeroize_buffer();
    for path in files {
        hash_one(directory.as_fd(), &path, &mut content, &mut hasher)
            .step(|| format!("read {path:?}"))?;
    }
    Ok(Some(hasher.finish()))
}

/// The files of `generation`, which must be the visible one, in the order of their paths. `limit` is the most bytes that they may
/// have together: more than that is refused before it is read.
pub(crate) fn read_files(root: BorrowedFd<'_>, generation: &str, limit: u64) -> Result<Vec<File>> {
    let current = current_generation(root).step(|| "read the link ..data".to_owned())?;
    if current.as_deref() != Some(generation) {
        return Err(Errno::STALE).step(|| format!("find generation {generation}"));
    }
    let directory =
        open_directory(root, generation).step(|| format!("open generation {generation}"))?;
    let mut paths = Vec::new();
    list_files(directory.as_fd(), "", 0, &mut paths)
        .step(|| format!("list generation {generation}"))?;
    paths.sort_unstable();
    let mut left = limit;
    let mut files = Vec::new();
    for path in paths {
        let mut content = zeroize_buffer();
        let stat = read_one(directory.as_fd(), &path, left, &mut content)
            .step(|| format!("read {path:?}"))?;
        left -= u64::try_from(content.len()).unwrap_or(left).min(left);
        files.push(File {
            path,
            mode: Some(stat.st_mode & 0o777),
            content: SecretValue::new(std::mem::take(&mut *content)),
        });
    }
    Ok(files)
}

// === writing ===

fn write_generation(root: BorrowedFd<'_>, generation: &str, layout: &Layout) -> Result<()> {
    let ownership = layout.ownership();
    rustix::fs::mkdirat(root, generation, Mode::from(0o700))
        .step(|| format!("make generation {generation}"))?;
    let base = open_directory(root, generation).step(|| format!("open generation {generation}"))?;
    for directory in layout.directories() {
        let (parent, name) = open_parent(base.as_fd(), directory)
            .step(|| format!("open the parent of {directory:?}"))?;
        rustix::fs::mkdirat(&parent, name, Mode::from(0o700))
            .step(|| format!("make directory {directory:?}"))?;
    }
    for file in layout.files() {
        write_file(
            base.as_fd(),
            &file.path,
            file.mode,
            ownership,
            file.content.expose(),
        )
        .step(|| format!("write {:?}", file.path))?;
    }
    // Children first: a parent that was closed already could not be walked by a user without CAP_DAC_OVERRIDE.
    for directory in layout.directories().iter().rev() {
        open_directory(base.as_fd(), directory)
            .and_then(|handle| own(handle.as_fd(), ownership, ownership.directory_mode()))
            .step(|| format!("set the mode of {directory:?}"))?;
    }
    own(base.as_fd(), ownership, ownership.directory_mode())
        .step(|| format!("set the mode of generation {generation}"))
}

fn write_file(
    base: BorrowedFd<'_>,
    path: &str,
    mode: u32,
    ownership: Ownership,
    content: &[u8],
) -> rustix::io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(base, path, flags, Mode::from(0o600), RESOLVE)?;
    step::reached("make a file");
    let mut file = std::fs::File::from(file);
    file.write_all(content)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    step::reached("write a file");
    own(file.as_fd(), ownership, mode)
}

/// Owner before mode: a change of owner clears set-id bits.
fn own(file: BorrowedFd<'_>, ownership: Ownership, mode: u32) -> rustix::io::Result<()> {
    rustix::fs::fchown(
        file,
        Some(Uid::from_raw(ownership.uid)),
        Some(Gid::from_raw(ownership.gid)),
    )?;
    step::reached("set an owner");
    rustix::fs::fchmod(file, Mode::from(mode))
}

fn switch(root: BorrowedFd<'_>, generation: &str) -> Result<()> {
    let temporary = format!("..data_tmp.{}", random_suffix());
    rustix::fs::symlinkat(generation, root, &temporary)
        .step(|| "make the new ..data link".to_owned())?;
    rustix::fs::renameat(root, &temporary, root, DATA)
        .step(|| "rename the new ..data link".to_owned())
}

/// Makes each of `wanted` a link into `..data`, then removes links to names that are gone. One that fails does not stop the others.
fn link_top_level(root: BorrowedFd<'_>, wanted: &BTreeSet<String>) -> Result<()> {
    let mut result = Ok(());
    for name in wanted {
        let linked = link(root, name).step(|| format!("link {name:?}"));
        result = result.and(linked);
    }
    for name in names(root).step(|| "list the volume".to_owned())? {
        if name.starts_with("..") || wanted.contains(&name) {
            continue;
        }
        let ours = rustix::fs::readlinkat(root, &name, Vec::new())
            .is_ok_and(|target| target.as_bytes().starts_with(b"..data/"));
        if ours {
            let removed = rustix::fs::unlinkat(root, &name, AtFlags::empty())
                .step(|| format!("remove the link {name:?}"));
            result = result.and(removed);
        }
    }
    result
}

/// Makes `name` a link into `..data`, whatever somebody put in its place.
fn link(root: BorrowedFd<'_>, name: &str) -> rustix::io::Result<()> {
    let target = format!("{DATA}/{name}");
    match rustix::fs::symlinkat(&target, root, name) {
        Err(Errno::EXIST) => {}
        other => return other,
    }
    let right = rustix::fs::readlinkat(root, name, Vec::new())
        .is_ok_and(|existing| existing.as_bytes() == target.as_bytes());
    if right {
        return Ok(());
    }
    remove_tree(root, name, 0)?;
    rustix::fs::symlinkat(&target, root, name)
}

// === removing ===

/// Removes every `..*` entry but `..data` and `keep`.
fn remove_leftovers(root: BorrowedFd<'_>, keep: Option<&str>) -> Result<()> {
    for name in names(root).step(|| "list the volume".to_owned())? {
        if name.starts_with("..") && name != DATA && Some(name.as_str()) != keep {
            remove_tree(root, &name, 0).step(|| format!("remove the leftover {name:?}"))?;
        }
    }
    Ok(())
}

fn remove_tree(parent: BorrowedFd<'_>, name: &str, depth: usize) -> rustix::io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(Errno::LOOP);
    }
    let removed = rustix::fs::unlinkat(parent, name, AtFlags::empty());
    step::reached("remove a file");
    match removed {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    let directory = open_directory(parent, name)?;
    rustix::fs::fchmod(&directory, Mode::from(0o700))?;
    for child in names(directory.as_fd())? {
        remove_tree(directory.as_fd(), &child, depth + 1)?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

// === reading ===

fn hash_one(
    base: BorrowedFd<'_>,
    path: &str,
    content: &mut zeroize::Zeroizing<Vec<u8>>,
    hasher: &mut Hasher,
) -> rustix::io::Result<()> {
    let stat = read_one(base, path, u64::MAX, content)?;
    hash_file(
        hasher,
        path,
        stat.st_mode & 0o7777,
        stat.st_uid,
        stat.st_gid,
        content,
    );
    Ok(())
}

/// Reads a regular file of at most `limit` bytes, and what is known of it.
fn read_one(
    base: BorrowedFd<'_>,
    path: &str,
    limit: u64,
    content: &mut zeroize::Zeroizing<Vec<u8>>,
) -> rustix::io::Result<Stat> {
    // Opening a pipe that somebody planted must not wait for its other end.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(base, path, flags, Mode::empty(), RESOLVE)?;
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    if u64::try_from(stat.st_size).is_ok_and(|size| size > limit) {
        return Err(Errno::FBIG);
    }
    content.clear();
    let size = usize::try_from(stat.st_size).map_err(|_| Errno::FBIG)?;
    // Reserved at once: a vector that grows leaves copies behind that nobody wipes.
    content.reserve(size + 1);
    std::fs::File::from(file)
        .take(u64::try_from(size).unwrap_or(u64::MAX))
        .read_to_end(content)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(stat)
}

fn zeroize_buffer() -> zeroize::Zeroizing<Vec<u8>> {
    zeroize::Zeroizing::new(Vec::new())
}

fn list_files(
    directory: BorrowedFd<'_>,
    prefix: &str,
    depth: usize,
    files: &mut Vec<String>,
) -> rustix::io::Result<()> {
    if depth > MAX_DEPTH || files.len() > super::MAX_FILES {
        return Err(Errno::FBIG);
    }
    for name in names(directory)? {
        let path = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}/{name}")
        };
        let stat = rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            list_files(
                open_directory(directory, &name)?.as_fd(),
                &path,
                depth + 1,
                files,
            )?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn names(directory: BorrowedFd<'_>) -> rustix::io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?
            .file_name()
            .to_str()
            .map(str::to_owned)
            .map_err(|_| Errno::ILSEQ)?;
        if name != "." && name != ".." {
            names.insert(name);
        }
    }
    Ok(names)
}

fn open_directory(base: BorrowedFd<'_>, path: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(base, path, flags, Mode::empty(), RESOLVE)
}

fn open_parent<'path>(
    base: BorrowedFd<'_>,
    path: &'path str,
) -> rustix::io::Result<(OwnedFd, &'path str)> {
    match path.rsplit_once('/') {
        Some((parent, name)) => Ok((open_directory(base, parent)?, name)),
        None => Ok((open_directory(base, ".")?, path)),
    }
}

// === names ===

fn generation_name() -> String {
    format!(
        "..{}.{}",
        jiff::Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S"),
        random_suffix()
    )
}

fn random_suffix() -> String {
    hex(&rand::random::<[u8; 5]>())
}

fn is_generation(name: &str) -> bool {
    name.len() > 2
        && name.starts_with("..")
        && name != DATA
        && !name.contains('/')
        && !name.starts_with("..data_tmp")
}

#[cfg(test)]
mod tests;

//! What a volume shows, checked and in its final order, before a byte of it is written.
//!
//! A [`Layout`] is the only way from a backend's [`FileSet`] to the disk: [`Layout::try_new`] applies the path rules and the
//! bounds of csi.md 5.5, [`writer`] puts it into a directory with one atomic switch (csi.md 6.1).

use std::collections::{BTreeMap, BTreeSet};

use latchkey_secret::SecretValue;

use crate::backend::{FileSet, VolumeSettings};
use crate::digest::{Digest, Hasher};

pub(crate) mod path;
pub(crate) mod writer;

/// Most files in one volume (csi.md 5.5).
pub(crate) const MAX_FILES: usize = 1024;

/// A tmpfs page, bytes.
const PAGE: u64 = 4096;

/// Who owns the files of a volume and what may be done with them (csi.md 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ownership {
    /// Owner of every file and directory.
    pub(crate) uid: u32,
    /// Group of every file and directory.
    pub(crate) gid: u32,
    /// Whether a group was asked for, by kubelet (`volume_mount_group`) or by the volume's attributes: modes are then tighter.
    pub(crate) grouped: bool,
    /// Mode of files that name none, if the volume's attributes have one.
    pub(crate) default_mode: Option<u32>,
}

impl Ownership {
    /// What the volume's attributes ask for; else root, with the group that kubelet delegated.
    pub(crate) fn new(settings: &VolumeSettings, delegated: Option<u32>) -> Self {
        let gid = settings.gid.or(delegated);
        Self {
            uid: settings.uid.unwrap_or(0),
            gid: gid.unwrap_or(0),
            grouped: gid.is_some(),
            default_mode: settings.default_mode,
        }
    }

    /// Root, or root with the group that kubelet delegated.
    #[cfg(test)]
    pub(crate) fn of_group(gid: Option<u32>) -> Self {
        Self::new(&VolumeSettings::default(), gid)
    }

    /// Mode of files that name none.
    pub(crate) fn file_mode(self) -> u32 {
        let usual = if self.grouped { 0o440 } else { 0o444 };
        self.default_mode.unwrap_or(usual)
    }

    /// Mode of directories below the root.
    pub(crate) fn directory_mode(self) -> u32 {
        if self.grouped { 0o2550 } else { 0o555 }
    }

    /// Mode of the volume's root. Readable, because applications watch the root for the switch (csi.md 6.2).
    pub(crate) fn root_mode(self) -> u32 {
        if self.grouped { 0o2750 } else { 0o755 }
    }
}

/// Why content cannot become files. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LayoutError {
    /// A path breaks a rule of csi.md 5.5.
    #[error("{path:?} is no legal file name in a volume: {rule}")]
    Path {
        /// The path, shortened.
        path: String,
        /// The rule in words.
        rule: &'static str,
    },
    /// Two files want one path.
    #[error("two files want the path {path:?}")]
    Duplicate {
        /// The path.
        path: String,
    },
    /// One path is a directory of the other.
    #[error("{file:?} cannot be a file and a directory of {other:?} at once")]
    Collision {
        /// The shorter path.
        file: String,
        /// The path below it.
        other: String,
    },
    /// More than [`MAX_FILES`].
    #[error("{count} files are more than the {MAX_FILES} that a volume may hold")]
    TooManyFiles {
        /// How many there were.
        count: usize,
    },
    /// More bytes than the volume's limit.
    #[error("{bytes} bytes are more than the volume's limit of {limit} bytes")]
    TooLarge {
        /// Sum of all values.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A mode with bits beyond 0777.
    #[error("mode {mode:o} of {path:?} has bits beyond 0777")]
    Mode {
        /// The path.
        path: String,
        /// The mode.
        mode: u32,
    },
}

/// One file, ready to write.
#[derive(Clone, Debug)]
pub(crate) struct LayoutFile {
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) content: SecretValue,
}

/// The checked content of a volume.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    files: Vec<LayoutFile>,
    directories: BTreeSet<String>,
    top_level: BTreeSet<String>,
    ownership: Ownership,
    pages: u64,
    digest: Digest,
}

impl Layout {
    /// Checks every path, the counts and the sizes; `limit` is the most bytes that all values may have together.
    pub(crate) fn try_new(
        set: FileSet,
        ownership: Ownership,
        limit: u64,
    ) -> Result<Self, LayoutError> {
        if set.files.len() > MAX_FILES {
            return Err(LayoutError::TooManyFiles {
                count: set.files.len(),
            });
        }
        let mut sorted = BTreeMap::new();
        let mut bytes = 0u64;
        let mut pages = 0u64;
        for file in set.files {
            path::check(&file.path).map_err(|rule| LayoutError::Path {
                path: path::shorten(&file.path),
                rule,
            })?;
            let mode = file.mode.unwrap_or_else(|| ownership.file_mode());
            if mode > 0o777 {
                return Err(LayoutError::Mode {
                    path: file.path,
                    mode,
                });
            }
            let length = u64::try_from(file.content.len()).unwrap_or(u64::MAX);
            bytes = bytes.saturating_add(length);
            pages = pages.saturating_add(length.div_ceil(PAGE));
            let entry = LayoutFile {
                path: file.path.clone(),
                mode,
                content: file.content,
            };
            if let Some(old) = sorted.insert(file.path, entry) {
                return Err(LayoutError::Duplicate { path: old.path });
            }
        }
        if bytes > limit {
            return Err(LayoutError::TooLarge { bytes, limit });
        }
        let mut directories = BTreeSet::new();
        let mut top_level = BTreeSet::new();
        for path in sorted.keys() {
            for (index, _) in path.match_indices('/') {
                let directory = &path[..index];
                if sorted.contains_key(directory) {
                    return Err(LayoutError::Collision {
                        file: directory.to_owned(),
                        other: path.clone(),
                    });
                }
                directories.insert(directory.to_owned());
            }
            top_level.insert(path.split('/').next().unwrap_or(path).to_owned());
        }
        let mut hasher = Hasher::new();
        for file in sorted.values() {
            hash_file(
                &mut hasher,
                &file.path,
                file.mode,
                ownership.uid,
                ownership.gid,
                file.content.expose(),
            );
        }
        Ok(Self {
            files: sorted.into_values().collect(),
            directories,
            top_level,
            ownership,
            pages,
            digest: hasher.finish(),
        })
    }

    /// All files, ordered by path.
    pub(crate) fn files(&self) -> &[LayoutFile] {
        &self.files
    }

    /// All directories below the root, parents before children.
    pub(crate) fn directories(&self) -> &BTreeSet<String> {
        &self.directories
    }

    /// Names that appear in the volume's root.
    pub(crate) fn top_level(&self) -> &BTreeSet<String> {
        &self.top_level
    }

    /// Owner and modes.
    pub(crate) fn ownership(&self) -> Ownership {
        self.ownership
    }

    /// Over path, mode, owner and bytes of every file: equal digests mean nothing to write.
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// Size that a tmpfs needs for two generations of this, bytes (csi.md 5.2).
    pub(crate) fn tmpfs_size(&self) -> u64 {
        (2 * self.pages * PAGE + 32 * 1024).max(64 * 1024)
    }

    /// Inodes that a tmpfs needs for two generations of this (csi.md 5.2).
    pub(crate) fn tmpfs_inodes(&self) -> u64 {
        let entries = self.files.len() + self.directories.len();
        let count = (4 * self.files.len()).max(2 * entries + self.top_level.len()) + 64;
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

/// Adds one file to a digest of content; the writer reads files back with the same order of fields.
pub(crate) fn hash_file(
    hasher: &mut Hasher,
    path: &str,
    mode: u32,
    uid: u32,
    gid: u32,
    content: &[u8],
) {
    hasher.field(path.as_bytes());
    hasher.field(&mode.to_le_bytes());
    hasher.field(&uid.to_le_bytes());
    hasher.field(&gid.to_le_bytes());
    hasher.field(content);
}

#[cfg(test)]
mod tests {
    use super::{Layout, LayoutError, Ownership};
    use crate::backend::{File, FileSet, VolumeSettings};

    fn set(files: &[(&str, &str)]) -> FileSet {
        let file = |(path, content): &(&str, &str)| File {
            path: (*path).to_owned(),
            mode: None,
            content: (*content).to_owned().into(),
        };
        FileSet {
            files: files.iter().map(file).collect(),
            ..FileSet::default()
        }
    }

    fn layout(files: &[(&str, &str)]) -> Result<Layout, LayoutError> {
        Layout::try_new(set(files), Ownership::of_group(None), 1024)
    }

    #[test]
    fn the_order_of_files_does_not_matter() {
        let one = layout(&[("a", "1"), ("b/c", "2")]).unwrap();
        let two = layout(&[("b/c", "2"), ("a", "1")]).unwrap();
        assert_eq!(one.digest(), two.digest());
        assert_eq!(one.top_level().iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(one.directories().iter().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn mode_and_owner_are_part_of_the_digest() {
        let plain = layout(&[("a", "1")]).unwrap();
        let mut files = set(&[("a", "1")]);
        let grouped = Layout::try_new(files.clone(), Ownership::of_group(Some(7)), 1024).unwrap();
        files.files[0].mode = Some(0o400);
        let private = Layout::try_new(files, Ownership::of_group(None), 1024).unwrap();
        assert_ne!(plain.digest(), grouped.digest());
        assert_ne!(plain.digest(), private.digest());
    }

    /// Fields are delimited: moving a byte from a path to a content changes the digest.
    #[test]
    fn fields_are_delimited_in_the_digest() {
        assert_ne!(
            layout(&[("ab", "c")]).unwrap().digest(),
            layout(&[("a", "bc")]).unwrap().digest()
        );
    }

    /// csi.md 5.5: same path twice, and a path that is a directory of another.
    #[test]
    fn collisions_are_refused_and_named() {
        let duplicate = layout(&[("a", "1"), ("b", "2"), ("a", "3")]).unwrap_err();
        assert_eq!(
            duplicate,
            LayoutError::Duplicate {
                path: "a".to_owned()
            }
        );
        for files in [[("a", "1"), ("a/b", "2")], [("a/b", "2"), ("a", "1")]] {
            let expected = LayoutError::Collision {
                file: "a".to_owned(),
                other: "a/b".to_owned(),
            };
            assert_eq!(layout(&files).unwrap_err(), expected);
        }
        layout(&[("a", "1"), ("a.b", "2"), ("ab/c", "3")]).unwrap();
    }

    /// csi.md R13.
    #[test]
    fn bounds_hold_before_anything_is_written() {
        let large = "x".repeat(1025);
        assert_eq!(
            layout(&[("a", &large)]).unwrap_err(),
            LayoutError::TooLarge {
                bytes: 1025,
                limit: 1024
            }
        );
        let names = (0..1025).map(|index| index.to_string()).collect::<Vec<_>>();
        let many = names
            .iter()
            .map(|name| (name.as_str(), ""))
            .collect::<Vec<_>>();
        assert_eq!(
            layout(&many).unwrap_err(),
            LayoutError::TooManyFiles { count: 1025 }
        );
        assert_eq!(layout(&many[..1024]).unwrap().files().len(), 1024);
    }

    #[test]
    fn special_mode_bits_are_refused() {
        let mut files = set(&[("a", "1")]);
        files.files[0].mode = Some(0o4755);
        let refused = Layout::try_new(files, Ownership::of_group(None), 1024).unwrap_err();
        assert_eq!(
            refused,
            LayoutError::Mode {
                path: "a".to_owned(),
                mode: 0o4755
            }
        );
    }

    /// csi.md 5.3 and 8: the attributes win over the pod's group, and a group of either kind tightens the modes.
    #[test]
    fn attributes_decide_owner_group_and_mode() {
        let settings = |uid, gid, default_mode| VolumeSettings {
            uid,
            gid,
            default_mode,
            size_limit: None,
        };
        let table = [
            (
                settings(None, None, None),
                None,
                (0, 0, 0o444, 0o555, 0o755),
            ),
            (
                settings(None, None, None),
                Some(7),
                (0, 7, 0o440, 0o2550, 0o2750),
            ),
            (
                settings(Some(5), None, None),
                Some(7),
                (5, 7, 0o440, 0o2550, 0o2750),
            ),
            (
                settings(Some(5), Some(6), Some(0o400)),
                Some(7),
                (5, 6, 0o400, 0o2550, 0o2750),
            ),
            (
                settings(Some(5), None, Some(0o600)),
                None,
                (5, 0, 0o600, 0o555, 0o755),
            ),
        ];
        for (index, (settings, delegated, expected)) in table.into_iter().enumerate() {
            let ownership = Ownership::new(&settings, delegated);
            let found = (
                ownership.uid,
                ownership.gid,
                ownership.file_mode(),
                ownership.directory_mode(),
                ownership.root_mode(),
            );
            assert_eq!(found, expected, "line {index}");
        }
    }

    #[test]
    fn a_tmpfs_holds_two_generations() {
        let small = layout(&[("a", "1")]).unwrap();
        assert_eq!(small.tmpfs_size(), 64 * 1024);
        let content = "x".repeat(100_000);
        let large =
            Layout::try_new(set(&[("a", &content)]), Ownership::of_group(None), 1 << 20).unwrap();
        assert_eq!(large.tmpfs_size(), 2 * 25 * 4096 + 32 * 1024);
        assert_eq!(small.tmpfs_inodes(), 68);
    }
}

//! One JSON file for each value. All calls block.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::warn;

/// Version of the format; a higher number is not read.
const SCHEMA: u32 = 1;
/// Largest file that is read, bytes: a state has at most 4 KiB, a generator's manifest may have more.
const MAX_FILE: u64 = 1 << 20;

/// For whom values were made.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Namespace of the ExternalSecret.
    pub namespace: String,
    /// Its name.
    pub object: String,
    /// For whose pods, where that matters; else empty.
    pub identity: String,
}

/// What a file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Note {
    pub(super) owner: Owner,
    /// Position in `spec.dataFrom`.
    pub(super) entry: usize,
    /// When it was made.
    pub(super) made_on: Timestamp,
    /// From when on it is revoked; `None` while volumes show it.
    pub(super) due: Option<Timestamp>,
    /// The generator as it was.
    pub(super) resource: Value,
    /// What its provider left.
    pub(super) state: Value,
}

/// A note with the version of its format. Unknown fields are ignored, so that a newer agent may add some.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    schema: u32,
    #[serde(flatten)]
    note: T,
}

/// The directory.
pub(super) struct Files {
    directory: PathBuf,
}

impl Files {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// What can be read; the rest is put aside as `.bad`.
    pub(super) fn load(&self) -> Vec<(u64, Note)> {
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) => {
                if error.kind() != std::io::ErrorKind::NotFound {
                    warn!(%error, directory = %self.directory.display(), "what generated values left cannot be read");
                }
                return Vec::new();
            }
        };
        let mut notes = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()) {
            let is_note = path
                .extension()
                .is_some_and(|extension| extension == "json");
            if !is_note {
                continue;
            }
            match read(&path) {
                Ok(note) => notes.push(note),
                Err(reason) => {
                    warn!(file = %path.display(), reason, "the note of a generated value is put aside");
                    let _ = std::fs::rename(&path, path.with_extension("bad"));
                }
            }
        }
        notes
    }

    /// A temporary file, fsync, rename, fsync of the directory, which is made if it is not there.
    pub(super) fn save(&self, id: u64, note: &Note) -> std::io::Result<()> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)?;
        let path = self.path(id);
        let temporary = path.with_extension("tmp");
        let bytes = serde_json::to_vec(&Versioned {
            schema: SCHEMA,
            note,
        })?;
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        std::fs::File::open(&self.directory)?.sync_all()
    }

    /// The file need not exist.
    pub(super) fn remove(&self, id: u64) -> std::io::Result<()> {
        match std::fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn path(&self, id: u64) -> PathBuf {
        self.directory.join(format!("{id:016x}.json"))
    }
}

fn read(path: &Path) -> Result<(u64, Note), &'static str> {
    let name = path.file_stem().and_then(|name| name.to_str());
    let id = name.and_then(|name| u64::from_str_radix(name, 16).ok());
    let id = id.ok_or("its name is no number")?;
    let metadata = std::fs::symlink_metadata(path).map_err(|_| "it cannot be read")?;
    if !metadata.is_file() || metadata.len() > MAX_FILE {
        return Err("it is no regular file of a sensible size");
    }
    let bytes = std::fs::read(path).map_err(|_| "it cannot be read")?;
    // The decoder's text would quote the file.
    let versioned: Versioned<Note> =
        serde_json::from_slice(&bytes).map_err(|_| "it is not the JSON of a note")?;
    if versioned.schema > SCHEMA {
        return Err("it is of a newer format");
    }
    Ok((id, versioned.note))
}

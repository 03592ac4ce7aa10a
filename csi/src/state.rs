//! What outlives the process: one JSON file per volume, without content and without tokens (csi.md 7.1).

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::backend::VolumeRequest;
use crate::digest::Digest;
use crate::publish::spec_digest;
use crate::step;
use crate::target::{Roots, Target};

/// Version of the format; a higher number is not read.
const SCHEMA: u32 = 1;

/// Largest file that is read, bytes: attributes have at most 256 KiB.
const MAX_FILE: u64 = 1 << 20;

/// One volume, as remembered on disk. Unknown fields are ignored, so that a newer agent may add some.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VolumeState {
    schema: u32,
    pub(crate) target: String,
    pub(crate) volume_id: String,
    pub(crate) namespace: String,
    pub(crate) pod_name: String,
    pub(crate) pod_uid: String,
    pub(crate) service_account: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) gid: Option<u32>,
    pub(crate) context: Option<String>,
    pub(crate) boot_id: String,
    pub(crate) generation: String,
    /// RFC 3339.
    pub(crate) last_success: jiff::Timestamp,
    /// The backend's own, of `generation`; absent in files of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) revision: Option<String>,
}

impl VolumeState {
    pub(crate) fn new(
        target: &Target,
        request: &VolumeRequest,
        gid: Option<u32>,
        context: Option<String>,
        boot_id: String,
        last_success: jiff::Timestamp,
        revision: Option<String>,
    ) -> Self {
        let VolumeRequest {
            volume_id,
            namespace,
            pod_name,
            pod_uid,
            service_account,
            attributes,
        } = request.clone();
        Self {
            schema: SCHEMA,
            target: target.path().to_owned(),
            volume_id,
            namespace,
            pod_name,
            pod_uid,
            service_account,
            attributes,
            gid,
            context,
            boot_id,
            generation: String::new(),
            last_success,
            revision,
        }
    }

    /// The request that the volume was published with.
    pub(crate) fn request(&self) -> VolumeRequest {
        VolumeRequest {
            volume_id: self.volume_id.clone(),
            namespace: self.namespace.clone(),
            pod_name: self.pod_name.clone(),
            pod_uid: self.pod_uid.clone(),
            service_account: self.service_account.clone(),
            attributes: self.attributes.clone(),
        }
    }

    /// Computed rather than stored, so that a change of the algorithm refuses no republish.
    pub(crate) fn spec_digest(&self) -> Digest {
        spec_digest(&self.request(), self.gid, self.context.as_deref())
    }
}

/// What was published, without the attributes (csi.md R8).
impl fmt::Debug for VolumeState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("VolumeState")
            .field("target", &self.target)
            .field("generation", &self.generation)
            .field("last_success", &self.last_success)
            .finish_non_exhaustive()
    }
}

/// The directory of state files. All calls block.
#[derive(Debug)]
pub(crate) struct StateStore {
    directory: PathBuf,
}

impl StateStore {
    /// Makes `<plugin directory>/volumes`.
    pub(crate) fn open(plugin_directory: &Path) -> std::io::Result<Self> {
        let directory = plugin_directory.join("volumes");
        make_directory(&directory)?;
        Ok(Self { directory })
    }

    /// The directory as an earlier process left it; nothing is made.
    pub(crate) fn existing(plugin_directory: &Path) -> Self {
        Self {
            directory: plugin_directory.join("volumes"),
        }
    }

    /// Writes the state of a volume: a temporary file, fsync, rename, fsync of the directory.
    ///
    /// The directory is made anew if somebody removed it: cleaners do (csi-peers.md 3).
    pub(crate) fn save(&self, state: &VolumeState) -> std::io::Result<()> {
        let path = self.path(&state.target);
        let temporary = path.with_extension("tmp");
        let bytes = serde_json::to_vec(state)?;
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            step::reached("make the state file");
            file.write_all(&bytes)?;
            step::reached("write the state file");
            file.sync_all()?;
            step::reached("sync the state file");
            Ok(())
        };
        match write() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                make_directory(&self.directory)?;
                write()?;
            }
            other => other?,
        }
        std::fs::rename(&temporary, &path)?;
        step::reached("rename the state file");
        std::fs::File::open(&self.directory)?.sync_all()
    }

    /// Removes the state of a volume; it need not exist.
    pub(crate) fn remove(&self, target: &str) -> std::io::Result<()> {
        let removed = std::fs::remove_file(self.path(target));
        step::reached("remove the state file");
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Reads all states. What cannot be read, is of a newer format or names a path that kubelet would not send is put aside
    /// as `.bad`: the files are trusted with no path (csi.md R11).
    pub(crate) fn load(&self, roots: &Roots) -> std::io::Result<Vec<(Target, VolumeState)>> {
        let mut states = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let path = entry?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("json") => {}
                Some("tmp") => {
                    let _ = std::fs::remove_file(&path);
                    continue;
                }
                _ => continue,
            }
            match self.read(&path, roots) {
                Ok(state) => states.push(state),
                Err(reason) => {
                    tracing::warn!(file = %path.display(), reason, "a state file is put aside");
                    let _ = std::fs::rename(&path, path.with_extension("bad"));
                }
            }
        }
        Ok(states)
    }

    fn read(&self, path: &Path, roots: &Roots) -> Result<(Target, VolumeState), &'static str> {
        let metadata = std::fs::symlink_metadata(path).map_err(|_| "it cannot be read")?;
        if !metadata.is_file() || metadata.len() > MAX_FILE {
            return Err("it is no regular file of a sensible size");
        }
        let bytes = std::fs::read(path).map_err(|_| "it cannot be read")?;
        // The decoder's text would quote the file.
        let state = serde_json::from_slice::<VolumeState>(&bytes)
            .map_err(|_| "it is not the JSON of a volume")?;
        if state.schema > SCHEMA {
            return Err("it is of a newer format");
        }
        let target = roots
            .parse(&state.target)
            .map_err(|_| "it names a path that is no target")?;
        if target.pod_uid().is_some_and(|uid| uid != state.pod_uid) {
            return Err("it names another pod than its target");
        }
        if path != self.path(&state.target) {
            return Err("its name does not fit its target");
        }
        Ok((target, state))
    }

    fn path(&self, target: &str) -> PathBuf {
        self.directory
            .join(format!("{}.json", Digest::of(target.as_bytes()).to_hex()))
    }
}

fn make_directory(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// The kernel's id of this boot.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{StateStore, VolumeState};
    use crate::backend::VolumeRequest;
    use crate::publish::spec_digest;
    use crate::target::{Roots, Target};

    struct Bench {
        directory: tempfile::TempDir,
        store: StateStore,
        roots: Roots,
        target: Target,
        state: VolumeState,
    }

    fn bench() -> Bench {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("pods")).unwrap();
        let roots = Roots::open(&directory.path().join("pods"), None).unwrap();
        let store = StateStore::open(directory.path()).unwrap();
        let path = format!(
            "{}/pods/u/volumes/kubernetes.io~csi/v/mount",
            directory.path().display()
        );
        let target = roots.parse(&path).unwrap();
        let request = VolumeRequest {
            volume_id: "id".to_owned(),
            namespace: "n".to_owned(),
            pod_name: "p".to_owned(),
            pod_uid: "u".to_owned(),
            service_account: "s".to_owned(),
            attributes: [("a".to_owned(), "b".to_owned())].into(),
        };
        let state = VolumeState::new(
            &target,
            &request,
            Some(7),
            None,
            "boot".to_owned(),
            jiff::Timestamp::UNIX_EPOCH,
            Some("revision".to_owned()),
        );
        Bench {
            directory,
            store,
            roots,
            target,
            state,
        }
    }

    fn files(bench: &Bench) -> Vec<std::path::PathBuf> {
        std::fs::read_dir(bench.directory.path().join("volumes"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect()
    }

    #[test]
    fn a_state_survives_the_disk() {
        let bench = bench();
        bench.store.save(&bench.state).unwrap();
        bench.store.save(&bench.state).unwrap();
        let [file] = &files(&bench)[..] else {
            panic!("expected one file")
        };
        assert_eq!(
            std::fs::metadata(file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let loaded = bench.store.load(&bench.roots).unwrap();
        assert_eq!(loaded, [(bench.target.clone(), bench.state.clone())]);
        assert_eq!(
            loaded[0].1.spec_digest(),
            spec_digest(&bench.state.request(), Some(7), None)
        );
        bench.store.remove(bench.target.path()).unwrap();
        bench.store.remove(bench.target.path()).unwrap();
        assert!(files(&bench).is_empty());
    }

    /// cert-manager's driver lost its state to a cleaner after ten days (csi-peers.md 3).
    #[test]
    fn a_wiped_directory_is_made_anew() {
        let bench = bench();
        std::fs::remove_dir_all(bench.directory.path().join("volumes")).unwrap();
        bench.store.save(&bench.state).unwrap();
        assert_eq!(bench.store.load(&bench.roots).unwrap().len(), 1);
    }

    /// csi.md 7.2 "corrupt/newer schema", and CVE-2020-8568: a path is never taken from a file unchecked.
    #[test]
    fn what_cannot_be_trusted_is_put_aside() {
        let corrupt: &[fn(&mut serde_json::Value)] = &[
            |state| *state = serde_json::json!("text"),
            |state| state["schema"] = 2.into(),
            |state| state["target"] = "/etc/shadow".into(),
            |state| state["podUid"] = "other".into(),
            |state| {
                let moved = state["target"].as_str().unwrap().replace("/v/", "/w/");
                state["target"] = moved.into();
            },
        ];
        for (index, change) in corrupt.iter().enumerate() {
            let bench = bench();
            bench.store.save(&bench.state).unwrap();
            let file = files(&bench).remove(0);
            let mut state = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            change(&mut state);
            std::fs::write(&file, serde_json::to_vec(&state).unwrap()).unwrap();
            assert_eq!(bench.store.load(&bench.roots).unwrap(), [], "{index}");
            assert_eq!(files(&bench), [file.with_extension("bad")], "{index}");
        }
    }

    #[test]
    fn unknown_fields_of_a_newer_agent_are_ignored() {
        let bench = bench();
        bench.store.save(&bench.state).unwrap();
        let file = files(&bench).remove(0);
        let mut state: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        state["added"] = true.into();
        std::fs::write(&file, serde_json::to_vec(&state).unwrap()).unwrap();
        assert_eq!(bench.store.load(&bench.roots).unwrap().len(), 1);
    }

    /// csi.md 7.6: N-1 to N. The version before wrote no revision.
    #[test]
    fn a_file_without_revision_is_read() {
        let mut bench = bench();
        bench.state.revision = None;
        bench.store.save(&bench.state).unwrap();
        let text = std::fs::read_to_string(files(&bench).remove(0)).unwrap();
        assert!(!text.contains("revision"), "{text}");
        let loaded = bench.store.load(&bench.roots).unwrap();
        assert_eq!(loaded, [(bench.target.clone(), bench.state.clone())]);
    }
}

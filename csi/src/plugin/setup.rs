//! What is looked at and made before the plugin serves: settings, directories, the node's abilities.

use std::time::Duration;

use super::PluginError;
use crate::config::Config;
use crate::mount::{Mounter, mountinfo};
use crate::state::StateStore;
use crate::target::Roots;
use crate::volumes::disk::{Disk, Labels};

/// Largest volume, bytes, that [`Config::max_volume_bytes`] may allow.
const HARD_VOLUME_LIMIT: u64 = 16 << 20;

/// Whether volumes can reach swap, and whether that is accepted (csi.md 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swap {
    /// They cannot.
    Kept,
    /// They can.
    Exposed,
    /// They could, and the settings forbid it.
    Refused,
}

impl Swap {
    /// `noswap`: tmpfs takes the option; `on`: the node swaps; `required`: [`Config::require_noswap`].
    pub(crate) fn of(noswap: bool, on: bool, required: bool) -> Self {
        match (noswap || !on, required) {
            (true, _) => Self::Kept,
            (false, false) => Self::Exposed,
            (false, true) => Self::Refused,
        }
    }
}

/// A core dump of this process would hold secrets: there is none, and other processes cannot attach to it (prctl(2),
/// PR_SET_DUMPABLE; csi.md 11.4).
pub(super) fn keep_out_of_core_dumps() {
    let setting = rustix::process::DumpableBehavior::NotDumpable;
    if let Err(error) = rustix::process::set_dumpable_behavior(setting) {
        tracing::warn!(%error, "core dumps of this process are possible");
    }
}

pub(super) fn check_config(config: &Config) -> Result<(), PluginError> {
    let name = config.driver_name.as_bytes();
    let letter = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphabetic);
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if name.len() > 63 || !letter(name.first()) || !letter(name.last()) || !name.iter().all(legal) {
        return Err(PluginError::Config(
            "the driver name must be domain-like, at most 63 bytes, first and last a letter",
        ));
    }
    if config.node_name.is_empty() || config.node_name.len() > 256 {
        return Err(PluginError::Config(
            "the node name must have 1 to 256 bytes",
        ));
    }
    if config.max_volume_bytes > HARD_VOLUME_LIMIT {
        return Err(PluginError::Config("a volume may have at most 16 MiB"));
    }
    if config.generation_grace > Duration::from_secs(60) {
        return Err(PluginError::Config(
            "the grace of a generation may be at most 60 s",
        ));
    }
    Ok(())
}

pub(super) fn open_disk(config: &Config) -> Result<Disk, PluginError> {
    use std::os::unix::fs::DirBuilderExt;
    let pods = config.pods_directory();
    let root = |path: &std::path::Path, source| PluginError::KubeletRoot {
        path: path.display().to_string(),
        source,
    };
    let roots = Roots::open(&pods, config.relaxations.extra_target_root.as_deref())
        .map_err(|source| root(&pods, source))?;
    let registry = config.kubelet_root.join("plugins_registry");
    std::fs::metadata(&registry).map_err(|source| root(&registry, source))?;
    let directory = config.plugin_directory();
    let made = |source| PluginError::Directory {
        path: directory.display().to_string(),
        source,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(&directory)
        .map_err(made)?;
    let store = StateStore::open(&directory).map_err(made)?;
    let mounter =
        Mounter::start(&directory).map_err(|error| PluginError::Mount(Box::new(error)))?;
    let selinux = std::path::Path::new("/sys/fs/selinux/enforce").exists();
    Ok(Disk {
        mounter,
        roots,
        store,
        labels: Labels::of(&config.selinux, selinux),
    })
}

/// Parts of kubelet's root that are on another filesystem than the rest: where not all of it is mounted from the host, the missing
/// part is the container's own, and kubelet never sees what is made there (csi.md 3.2).
pub(super) fn parts_elsewhere(config: &Config) -> Vec<&'static str> {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &std::path::Path| std::fs::metadata(path).map(|found| found.dev()).ok();
    let host = device(&config.kubelet_root);
    let is_elsewhere = |name: &&str| {
        let part = device(&config.kubelet_root.join(name));
        part.is_some() && part != host
    };
    let parts = ["pods", "plugins", "plugins_registry"];
    parts.into_iter().filter(is_elsewhere).collect()
}

pub(super) fn swap_is_on() -> bool {
    std::fs::read_to_string("/proc/swaps").is_ok_and(|swaps| swaps.lines().count() > 1)
}

/// Whether mounts below kubelet's pods directory reach other namespaces.
pub(super) fn is_shared(config: &Config) -> bool {
    let Ok(pods) = config.pods_directory().canonicalize() else {
        return false;
    };
    let Ok(mounts) = mountinfo::read() else {
        return false;
    };
    let above = mounts.iter().filter(|mount| pods.starts_with(&mount.point));
    above
        .max_by_key(|mount| mount.point.len())
        .is_some_and(|mount| mount.shared)
}

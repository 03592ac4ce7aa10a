//! Target paths: only what kubelet would send is ever opened (csi.md R10, R11).
//!
//! [`Target::parse`] is pure; [`Roots`] holds the directories below which targets are opened, one component beyond which no
//! symbolic link and no other mount is crossed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::digest::sha256_hex;

/// Longest target path, bytes (PATH_MAX).
const MAX_PATH: usize = 4096;

/// Name that kubelet escapes a CSI volume's directory with.
const PLUGIN_DIRECTORY: &str = "kubernetes.io~csi";

/// Why a target path was refused. The text never quotes the path: it comes from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    /// Not absolute, a `.`, `..` or empty component, a NUL or control character, too long.
    #[error("target_path is not an absolute, normalized path")]
    NotNormal,
    /// Below no allowed root, or not of kubelet's shape.
    #[error(
        "target_path is not <kubelet root>/pods/<uid>/volumes/kubernetes.io~csi/<volume>/mount; is --kubelet-root right?"
    )]
    Elsewhere,
}

/// A checked target path. Equal targets are one place, whatever volume handle comes with them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Target {
    path: String,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Place {
    Pod { uid: String, volume: String },
    Extra { relative: String },
}

impl Target {
    /// Parses `path`; `pods` is `<kubelet root>/pods`, `extra` a root that tests may name besides.
    pub(crate) fn parse(path: &str, pods: &str, extra: Option<&str>) -> Result<Self, TargetError> {
        if path.len() > MAX_PATH || !path.starts_with('/') || path.chars().any(char::is_control) {
            return Err(TargetError::NotNormal);
        }
        if path[1..]
            .split('/')
            .any(|component| matches!(component, "" | "." | ".."))
        {
            return Err(TargetError::NotNormal);
        }
        let below = |root: &str| {
            let rest = path.strip_prefix(root.trim_end_matches('/'))?;
            rest.strip_prefix('/').map(str::to_owned)
        };
        let place = if let Some(rest) = below(pods) {
            let components = rest.split('/').collect::<Vec<_>>();
            let [uid, "volumes", PLUGIN_DIRECTORY, volume, "mount"] = components[..] else {
                return Err(TargetError::Elsewhere);
            };
            if uid.len() > 64
                || !uid
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            {
                return Err(TargetError::Elsewhere);
            }
            Place::Pod {
                uid: uid.to_owned(),
                volume: volume.to_owned(),
            }
        } else if let Some(relative) = extra.and_then(below) {
            Place::Extra { relative }
        } else {
            return Err(TargetError::Elsewhere);
        };
        Ok(Self {
            path: path.to_owned(),
            place,
        })
    }

    /// The path as kubelet wrote it.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// UID of the pod that the path names; `None` below the extra root.
    pub(crate) fn pod_uid(&self) -> Option<&str> {
        match &self.place {
            Place::Pod { uid, .. } => Some(uid),
            Place::Extra { .. } => None,
        }
    }

    /// Name of the volume in its pod, as far as the path tells it.
    pub(crate) fn volume_name(&self) -> &str {
        match &self.place {
            Place::Pod { volume, .. } => volume,
            Place::Extra { relative } => relative,
        }
    }

    /// The id that kubelet gives an inline volume at this target: `csi-` and the SHA-256 of pod UID and volume name (csi.md
    /// 4.2); `None` below the extra root.
    pub(crate) fn expected_volume_id(&self) -> Option<String> {
        match &self.place {
            Place::Pod { uid, volume } => {
                let name = volume.replace('~', "/");
                Some(format!("csi-{}", sha256_hex(&[uid, &name])))
            }
            Place::Extra { .. } => None,
        }
    }

    /// Path relative to the root that holds it.
    fn relative(&self) -> String {
        match &self.place {
            Place::Pod { uid, volume } => {
                format!("{uid}/volumes/{PLUGIN_DIRECTORY}/{volume}/mount")
            }
            Place::Extra { relative } => relative.clone(),
        }
    }
}

/// The opened directory that holds a target, and the target's name in it.
#[derive(Debug)]
pub(crate) struct Parent {
    fd: OwnedFd,
    name: String,
}

impl Parent {
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A path to the target for calls that take no descriptor: only the last component is resolved anew.
    pub(crate) fn proc_path(&self) -> String {
        use std::os::fd::AsRawFd;
        format!("/proc/self/fd/{}/{}", self.fd.as_raw_fd(), self.name)
    }
}

/// The directories below which targets lie.
#[derive(Debug)]
pub(crate) struct Roots {
    pods: Root,
    extra: Option<Root>,
}

#[derive(Debug)]
struct Root {
    path: String,
    canonical: PathBuf,
}

impl Root {
    fn open(path: &Path) -> std::io::Result<Self> {
        let canonical = path.canonicalize()?;
        let path = path
            .to_str()
            .map(|path| path.trim_end_matches('/').to_owned());
        let path = path.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidInput))?;
        Ok(Self { path, canonical })
    }
}

impl Roots {
    /// Resolves `<kubelet root>/pods` and the extra root; both must exist.
    pub(crate) fn open(pods: &Path, extra: Option<&Path>) -> std::io::Result<Self> {
        Ok(Self {
            pods: Root::open(pods)?,
            extra: extra.map(Root::open).transpose()?,
        })
    }

    /// [`Target::parse`] with these roots.
    pub(crate) fn parse(&self, path: &str) -> Result<Target, TargetError> {
        Target::parse(
            path,
            &self.pods.path,
            self.extra.as_ref().map(|root| root.path.as_str()),
        )
    }

    /// The target of a path as mountinfo shows it, where every symbolic link above the root is resolved.
    pub(crate) fn parse_canonical(&self, path: &str) -> Option<Target> {
        let rebased = |root: &Root| {
            let rest = path.strip_prefix(root.canonical.to_str()?)?;
            self.parse(&format!("{}{rest}", root.path)).ok()
        };
        rebased(&self.pods).or_else(|| self.extra.as_ref().and_then(rebased))
    }

    /// Opens the directory that holds `target`; `None` if it does not exist.
    pub(crate) fn open_parent(&self, target: &Target) -> rustix::io::Result<Option<Parent>> {
        self.open_parent_as(target, Lookup::Any)
    }

    /// Same, never waiting for a disk or a lock; the descriptor is for looking paths up only.
    ///
    /// # Errors
    ///
    /// `EAGAIN` where the kernel would have to wait, `EINVAL` where it is too old to promise that it does not (before 5.12).
    pub(crate) fn open_cached_parent(&self, target: &Target) -> rustix::io::Result<Option<Parent>> {
        self.open_parent_as(target, Lookup::Cached)
    }

    fn open_parent_as(
        &self,
        target: &Target,
        lookup: Lookup,
    ) -> rustix::io::Result<Option<Parent>> {
        let root = match (&target.place, &self.extra) {
            (Place::Extra { .. }, Some(extra)) => extra,
            (Place::Extra { .. }, None) => return Err(Errno::NOENT),
            (Place::Pod { .. }, _) => &self.pods,
        };
        let relative = target.relative();
        let (directory, name) = relative.rsplit_once('/').unwrap_or((".", &relative));
        match open_below(&root.canonical, directory, lookup) {
            Ok(fd) => Ok(Some(Parent {
                fd,
                name: name.to_owned(),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether kubelet still has its record of the volume; `true` where that cannot be told (csi.md 7.5).
    pub(crate) fn kubelet_knows(&self, target: &Target) -> bool {
        let Place::Pod { uid, volume } = &target.place else {
            return true;
        };
        let Ok(directory) = open_below(
            &self.pods.canonical,
            &format!("{uid}/volumes/{PLUGIN_DIRECTORY}/{volume}"),
            Lookup::Any,
        ) else {
            return self.pods.canonical.join(uid).try_exists().unwrap_or(true)
                && self
                    .pods
                    .canonical
                    .join(uid)
                    .join("volumes")
                    .join(PLUGIN_DIRECTORY)
                    .join(volume)
                    .try_exists()
                    .unwrap_or(true);
        };
        !matches!(
            rustix::fs::statat(
                directory,
                "vol_data.json",
                rustix::fs::AtFlags::SYMLINK_NOFOLLOW
            ),
            Err(Errno::NOENT)
        )
    }
}

/// How a path is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lookup {
    /// However long it takes.
    Any,
    /// From the kernel's memory or not at all (openat2(2), RESOLVE_CACHED).
    Cached,
}

/// The root is opened anew each time: kubelet's directory may be replaced under a running agent.
fn open_below(root: &Path, relative: &str, lookup: Lookup) -> rustix::io::Result<OwnedFd> {
    let (access, cached) = match lookup {
        Lookup::Any => (OFlags::RDONLY, ResolveFlags::empty()),
        // Opening for more than a path would ask the file system, which may wait.
        Lookup::Cached => (OFlags::PATH, ResolveFlags::CACHED),
    };
    let root = rustix::fs::openat2(
        rustix::fs::CWD,
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        cached,
    )?;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(
        root,
        relative,
        access | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        resolve | cached,
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Roots, Target, TargetError};

    const PODS: &str = "/var/lib/kubelet/pods";

    #[test]
    fn kubelets_shape_is_accepted() {
        let path = format!("{PODS}/0a-1/volumes/kubernetes.io~csi/db/mount");
        let target = Target::parse(&path, PODS, None).unwrap();
        assert_eq!(target.pod_uid(), Some("0a-1"));
        assert_eq!(target.path(), path);
        let extra = Target::parse("/x/m/target", PODS, Some("/x")).unwrap();
        assert_eq!(extra.pod_uid(), None);
        assert_eq!(extra.expected_volume_id(), None);
        // sha256sum of "0a-1db".
        assert_eq!(
            target.expected_volume_id().unwrap(),
            "csi-226beb8580bac1ace830b5f0feebdec8650c4e6ccd56347644126340c1838fe1"
        );
    }

    /// csi.md R11.
    #[test]
    fn other_shapes_are_refused() {
        let good = "/u/volumes/kubernetes.io~csi/v/mount";
        let table = [
            ("relative/path", TargetError::NotNormal),
            ("", TargetError::NotNormal),
            ("/", TargetError::NotNormal),
            (
                "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/v/mount/",
                TargetError::NotNormal,
            ),
            (
                "/var/lib/kubelet/pods/../pods/u/volumes/kubernetes.io~csi/v/mount",
                TargetError::NotNormal,
            ),
            (
                "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/../mount",
                TargetError::NotNormal,
            ),
            (
                "/var/lib/kubelet/pods/./u/volumes/kubernetes.io~csi/v/mount",
                TargetError::NotNormal,
            ),
            (
                "/var/lib/kubelet/pods//volumes/kubernetes.io~csi/v/mount",
                TargetError::NotNormal,
            ),
            (
                "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/v\0/mount",
                TargetError::NotNormal,
            ),
            (
                "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/v",
                TargetError::Elsewhere,
            ),
            (
                "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/v/mount/x",
                TargetError::Elsewhere,
            ),
            (
                "/var/lib/kubelet/pods/u/volumes/kubernetes.io~secret/v/mount",
                TargetError::Elsewhere,
            ),
            (
                "/var/lib/kubelet/pods/u u/volumes/kubernetes.io~csi/v/mount",
                TargetError::Elsewhere,
            ),
            (
                "/var/lib/kubelet/podsu/volumes/kubernetes.io~csi/v/mount",
                TargetError::Elsewhere,
            ),
            ("/etc/passwd", TargetError::Elsewhere),
        ];
        for (path, expected) in table {
            assert_eq!(
                Target::parse(path, PODS, None).unwrap_err(),
                expected,
                "{path:?}"
            );
        }
        assert!(Target::parse(&format!("{PODS}{good}"), PODS, None).is_ok());
        assert!(
            Target::parse(
                &format!("{PODS}/{}{}", "u".repeat(65), &good[2..]),
                PODS,
                None
            )
            .is_err()
        );
    }

    #[test]
    fn parents_are_not_reached_through_symbolic_links() {
        let directory = tempfile::tempdir().unwrap();
        let pods = directory.path().join("pods");
        std::fs::create_dir_all(pods.join("real/volumes/kubernetes.io~csi/v")).unwrap();
        std::os::unix::fs::symlink("real", pods.join("planted")).unwrap();
        let roots = Roots::open(&pods, None).unwrap();
        let target = |uid: &str| {
            roots
                .parse(&format!(
                    "{}/{uid}/volumes/kubernetes.io~csi/v/mount",
                    pods.display()
                ))
                .unwrap()
        };
        assert!(roots.open_parent(&target("real")).unwrap().is_some());
        assert!(roots.open_parent(&target("missing")).unwrap().is_none());
        assert_eq!(
            roots.open_parent(&target("planted")).unwrap_err(),
            rustix::io::Errno::LOOP
        );
    }

    #[test]
    fn kubelets_record_decides_whether_a_volume_is_wanted() {
        let directory = tempfile::tempdir().unwrap();
        let volume = directory.path().join("u/volumes/kubernetes.io~csi/v");
        std::fs::create_dir_all(&volume).unwrap();
        let roots = Roots::open(directory.path(), None).unwrap();
        let target = roots.parse(&format!("{}/mount", volume.display())).unwrap();
        assert!(!roots.kubelet_knows(&target));
        std::fs::write(volume.join("vol_data.json"), "{}").unwrap();
        assert!(roots.kubelet_knows(&target));
        std::fs::remove_dir_all(directory.path().join("u")).unwrap();
        assert!(!roots.kubelet_knows(&target));
    }

    proptest! {
        #[test]
        fn what_is_accepted_stays_below_the_root(path in "(/var/lib/kubelet/pods)?(/(u|volumes|kubernetes.io~csi|mount|\\.\\.|\\.|)){0,7}") {
            if let Ok(target) = Target::parse(&path, PODS, None) {
                prop_assert!(!target.path().contains("/../"));
                prop_assert!(target.path().starts_with(PODS));
            }
        }
    }
}

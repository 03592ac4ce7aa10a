//! Paths and addresses of a cluster: everything is derived from its folder and from a node's number.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// An image with busybox and a link for each of its applets; present on every node. Debian's static build
/// crashes on `wget -T`; without `-T` it works.
pub const TEST_IMAGE: &str = "docker.io/latchkey/test-busybox:1";
/// The image of the pause container.
pub(crate) const PAUSE_IMAGE: &str = "docker.io/latchkey/test-pause:1";
/// Address on which the API server, kubelet 1 and CoreDNS are reached from pods.
pub(crate) const FIRST_NODE_ADDRESS: &str = "10.89.0.1";
/// Range of Service addresses.
pub(crate) const SERVICE_RANGE: &str = "10.96.0.0/24";
/// Address of the Service `kube-dns`.
pub(crate) const DNS_SERVICE_ADDRESS: &str = "10.96.0.10";
/// Where etcd answers its clients, inside the cluster's network.
pub(crate) const ETCD_ENDPOINT: &str = "http://127.0.0.1:12379";
/// Where the API server answers, inside the cluster's network.
pub(crate) const API_SERVER: &str = "https://127.0.0.1:6443";
/// The containerd socket, the same on every node because each has its own `/run/containerd`.
pub(crate) const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
/// The supervisor's socket; short because it lies on a tmpfs that only the cluster sees.
pub(crate) const CONTROL_SOCKET: &str = "/run/latchkey-cluster/control.sock";
/// A kubelet's folder unless a node is given another one.
pub(crate) const DEFAULT_KUBELET_ROOT: &str = "/var/lib/kubelet";
/// Most nodes that one cluster can have; bounded by the addresses and names prepared in advance.
pub(crate) const MOST_NODES: u8 = 9;

/// The files of one cluster, all below one folder on a file system shared with the host.
#[derive(Clone, Debug)]
pub struct Layout {
    folder: PathBuf,
}

impl Layout {
    /// The layout below `folder`, which must be absolute.
    ///
    /// # Errors
    /// When it is not.
    pub fn new(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        if !folder.is_absolute() {
            bail!("cluster folder {} is not absolute", folder.display());
        }
        Ok(Self { folder })
    }

    /// The cluster's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The administrator's kubeconfig; its server is reachable inside the cluster's network only.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_of("admin")
    }

    /// The API server's audit log: one JSON object per line, see [`crate::audit`].
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.logs().join("audit.log")
    }

    /// The folder with one log file per component.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// A folder with `kubectl`, `ctr`, `helm` and `csi-sanity`, for PATH.
    #[must_use]
    pub fn programs(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// The files of node `number`, counted from 1.
    #[must_use]
    pub fn node(&self, number: u8) -> NodeLayout {
        NodeLayout {
            folder: self.folder.join("nodes").join(format!("n{number}")),
            number,
        }
    }

    pub(crate) fn kubeconfig_of(&self, user: &str) -> PathBuf {
        self.folder.join(format!("{user}.kubeconfig"))
    }

    pub(crate) fn pki(&self, file: &str) -> PathBuf {
        self.folder.join("pki").join(file)
    }

    pub(crate) fn log_of(&self, component: &str) -> PathBuf {
        self.logs()
            .join(format!("{}.log", component.replace('/', "-")))
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Written last when the cluster is ready, see [`crate::control::State`].
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    /// Held exclusively by tests that disturb the cluster, shared by all others.
    pub(crate) fn test_lock(&self) -> PathBuf {
        self.folder.join("tests.lock")
    }

    /// Name of the cluster's entry among the living ones, in the cache.
    pub(crate) fn registry_name(&self) -> Result<String> {
        let path = self
            .folder
            .to_str()
            .context("the cluster folder's name is not UTF-8")?;
        Ok(format!(
            "latchkey-{}",
            &crate::tools::digest([path.as_bytes()])[..10]
        ))
    }
}

/// The files and addresses of one node.
#[derive(Clone, Debug)]
pub struct NodeLayout {
    folder: PathBuf,
    number: u8,
}

impl NodeLayout {
    /// The node's name, `n1` and so on.
    #[must_use]
    pub fn name(&self) -> String {
        format!("n{}", self.number)
    }

    /// The node's address.
    #[must_use]
    pub fn address(&self) -> String {
        format!("10.89.0.{}", self.number)
    }

    pub(crate) fn number(&self) -> u8 {
        self.number
    }

    pub(crate) fn pods(&self) -> String {
        format!("10.88.{}.0/24", 6 + u16::from(self.number))
    }

    pub(crate) fn bridge(&self) -> String {
        format!("pods{}", self.number)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn component(&self, program: &str) -> String {
        format!("{}/{program}", self.name())
    }
}

/// The number in a node's name, `n2` -> 2.
pub(crate) fn node_number(name: &str) -> Result<u8> {
    name.strip_prefix('n')
        .and_then(|number| number.parse().ok())
        .filter(|number| (1..=MOST_NODES).contains(number))
        .with_context(|| format!("no such node: {name:?} (n1 to n{MOST_NODES})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_are_n1_to_n9() {
        let cases = [
            ("n1", Some(1)),
            ("n9", Some(9)),
            ("n0", None),
            ("n10", None),
            ("", None),
            ("m1", None),
            ("n-1", None),
        ];
        for (name, number) in cases {
            assert_eq!(node_number(name).ok(), number, "{name}");
        }
    }

    #[test]
    fn a_relative_folder_is_refused() {
        assert!(Layout::new("here").is_err());
    }

    #[test]
    fn clusters_in_two_folders_have_two_names() -> Result<()> {
        let (one, other) = (Layout::new("/a")?, Layout::new("/b")?);
        assert_ne!(one.registry_name()?, other.registry_name()?);
        Ok(())
    }
}

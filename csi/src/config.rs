//! Settings of the plugin.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// Name of the driver where nothing else is configured.
pub const DRIVER_NAME: &str = "csi.latchkey.dev";

/// Label that SELinux hosts mount volumes with: every container domain may read it (csi.md 5.4).
pub const CONTAINER_FILE_LABEL: &str = "system_u:object_r:container_file_t:s0";

/// What to do on a host with SELinux (csi.md 5.4). Without SELinux all are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selinux {
    /// Mount with this label; read-only is possible. The default, with [`CONTAINER_FILE_LABEL`].
    Context(String),
    /// Mount without a label and writable, so that the container runtime can relabel the volume.
    Relabel,
    /// Mount without a label, read-only.
    Off,
}

/// What only tests may allow (csi.md 11.3). The default allows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relaxations {
    /// Accept targets below this directory, whatever their shape, and without comparing the pod's UID.
    pub extra_target_root: Option<PathBuf>,
    /// Accept volumes that are not inline, and requests without the pod's keys; missing ones become `unknown`.
    pub allow_non_ephemeral: bool,
    /// Accept volumes without `readOnly: true`.
    pub allow_writable: bool,
    /// Accept callers of any user on the sockets.
    pub any_peer: bool,
}

/// Settings of a [`crate::Plugin`]; [`Config::new`] fills in what csi.md gives as default.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the driver, as in the CSIDriver object and in pods. Default [`DRIVER_NAME`].
    pub driver_name: String,
    /// kubelet's root directory, at the same path for the agent as for kubelet. Default `/var/lib/kubelet`.
    pub kubelet_root: PathBuf,
    /// Name of this Kubernetes node.
    pub node_name: String,
    /// Version of the program, shown by GetPluginInfo.
    pub version: String,
    /// Commit that the program was built from, shown by GetPluginInfo if not empty.
    pub commit: String,
    /// Most bytes in one volume. Default 1 MiB, at most 16 MiB (csi.md 5.2).
    pub max_volume_bytes: u64,
    /// Most bytes in all volumes of this node. Default 64 MiB.
    pub max_total_bytes: u64,
    /// How long the previous content of a rotated volume can still be opened; 0 to 60 s. Default 5 s. The next rotation of the
    /// same volume waits for its end.
    pub generation_grace: Duration,
    /// How content is labelled on hosts with SELinux.
    pub selinux: Selinux,
    /// Refuse volumes where swap is on and tmpfs cannot be kept out of it. Default false.
    pub require_noswap: bool,
    /// Whether series about volumes have the labels `namespace` and `name`, of the pod. Default false.
    pub metrics_per_volume: bool,
    /// Namespaces whose pods may mount volumes; `None` allows all (csi.md 9.3).
    pub allowed_namespaces: Option<BTreeSet<String>>,
    /// What tests allow.
    pub relaxations: Relaxations,
}

impl Config {
    /// The defaults for a node.
    #[must_use]
    pub fn new(node_name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            driver_name: DRIVER_NAME.to_owned(),
            kubelet_root: PathBuf::from("/var/lib/kubelet"),
            node_name: node_name.into(),
            version: version.into(),
            commit: String::new(),
            max_volume_bytes: 1 << 20,
            max_total_bytes: 64 << 20,
            generation_grace: Duration::from_secs(5),
            selinux: Selinux::Context(CONTAINER_FILE_LABEL.to_owned()),
            require_noswap: false,
            metrics_per_volume: false,
            allowed_namespaces: None,
            relaxations: Relaxations::default(),
        }
    }

    /// Where the plugin keeps its CSI socket and its state: `<kubelet root>/plugins/<driver name>`.
    #[must_use]
    pub fn plugin_directory(&self) -> PathBuf {
        self.kubelet_root.join("plugins").join(&self.driver_name)
    }

    /// The CSI socket.
    #[must_use]
    pub fn csi_socket(&self) -> PathBuf {
        self.plugin_directory().join("csi.sock")
    }

    /// The socket for whoever administers the node ([`crate::operations`]).
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.plugin_directory().join("admin.sock")
    }

    /// The registration socket that kubelet watches for.
    ///
    /// kubelet dials it without an authority of its own, so grpc-go sends the percent-encoded path as `:authority` (seen with
    /// kubelet 1.35). The `http` crate refuses `%` in a host and h2 then resets the stream, but what stands before an `@` is
    /// user information, where `%` is legal: the name of the socket therefore contains one.
    #[must_use]
    pub fn registration_socket(&self) -> PathBuf {
        self.kubelet_root
            .join("plugins_registry")
            .join(format!("{}@reg.sock", self.driver_name))
    }

    pub(crate) fn pods_directory(&self) -> PathBuf {
        self.kubelet_root.join("pods")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What grpc-go makes of a path for `:authority` (its `encodeAuthority`): `/` is escaped, `@` is not.
    #[test]
    fn kubelets_authority_for_the_registration_socket_is_one_that_h2_accepts() {
        for root in [
            "/var/lib/kubelet",
            "/var/snap/microk8s/common/var/lib/kubelet",
        ] {
            let mut config = Config::new("n1", "0");
            config.kubelet_root = PathBuf::from(root);
            let path = config.registration_socket();
            let authority = path.to_string_lossy().replace('/', "%2F");
            assert!(
                authority.parse::<http::uri::Authority>().is_ok(),
                "{authority}"
            );
        }
    }
}

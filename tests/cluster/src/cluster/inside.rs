//! Running programs inside a cluster, and looking into it from outside.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::Cluster;
use crate::control::{NodeState, State, read_json};

impl Cluster {
    /// A command that runs in the cluster's namespaces of mounts, network and processes, with KUBECONFIG and PATH set.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.init))
            .args(["--mount", "--net", "--pid", "--wd=.", "--"])
            .arg(program);
        command.envs(self.environment());
        command
    }

    /// A command that runs on a node: as [`Cluster::command`], with that node's mounts, so that `/var/lib/kubelet` is its own.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn node_command(&self, node: &str, program: impl AsRef<OsStr>) -> Result<Command> {
        let holder = self.node(node)?.holder;
        let mut command = self.command("nsenter");
        command
            .arg(format!("--target={holder}"))
            .args(["--mount", "--wd=.", "--"])
            .arg(program);
        Ok(command)
    }

    /// The path under which a file of a node is reached from here, mounts included.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn node_path(&self, node: &str, path: &str) -> Result<PathBuf> {
        let holder = self.node(node)?.holder;
        Ok(PathBuf::from(format!(
            "/proc/{}/root/proc/{holder}/root/{}",
            self.init,
            path.trim_start_matches('/')
        )))
    }

    /// A node's kubelet folder, as the node sees it.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn kubelet_root(&self, node: &str) -> Result<String> {
        Ok(self.node(node)?.kubelet_root)
    }

    /// The mounts of a node, the text of its `/proc/<pid>/mountinfo` (proc(5)).
    ///
    /// # Errors
    /// When there is no such node.
    pub fn mounts(&self, node: &str) -> Result<String> {
        let holder = self.node(node)?.holder;
        fs::read_to_string(format!("/proc/{}/root/proc/{holder}/mountinfo", self.init))
            .context("failed to read the node's mounts")
    }

    /// A `ctr` command towards a node's containerd, in kubelet's namespace of it.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn ctr(&self, node: &str) -> Result<Command> {
        let mut command = self.node_command(node, "ctr")?;
        command.args(["--namespace", "k8s.io"]);
        Ok(command)
    }

    /// `kubectl` with the administrator's rights, run with this machine's files and the cluster's network.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        self.client_program("kubectl")
    }

    /// `helm` with the administrator's rights and folders of its own, run with this machine's files and the cluster's network.
    #[must_use]
    pub fn helm(&self) -> Command {
        self.client_program("helm")
    }

    pub(crate) fn environment(&self) -> BTreeMap<&'static str, std::ffi::OsString> {
        let mut path = self.layout.programs().into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        path.push(":/usr/local/sbin:/usr/sbin:/sbin");
        let mut all = BTreeMap::from([
            ("PATH", path),
            ("KUBECONFIG", self.layout.kubeconfig().into_os_string()),
        ]);
        for (name, folder) in [
            ("KUBECACHEDIR", "kubectl"),
            ("HELM_CACHE_HOME", "helm/cache"),
            ("HELM_CONFIG_HOME", "helm/config"),
            ("HELM_DATA_HOME", "helm/data"),
        ] {
            all.insert(name, self.layout.file(folder).into_os_string());
        }
        all.insert(
            "LATCHKEY_CLUSTER_DIR",
            self.layout.folder().as_os_str().to_owned(),
        );
        all
    }

    fn client_program(&self, name: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.init))
            .args(["--net", "--"])
            .arg(self.layout.programs().join(name));
        command.envs(self.environment()).stdin(Stdio::null());
        command
    }

    pub(super) fn state(&self) -> Result<State> {
        read_json(&self.layout.state())
    }

    fn node(&self, name: &str) -> Result<NodeState> {
        self.state()?
            .nodes
            .remove(name)
            .with_context(|| format!("no such node: {name}"))
    }
}

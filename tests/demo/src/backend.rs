//! A real OpenBao server in the cluster's network, started for the demo and ended with it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use latchkey_cluster::Cluster;

/// Where OpenBao listens: the node's address inside the cluster's network.
const ADDRESS: &str = "10.89.0.1:8200";
/// The root token of this throw-away server; `examples/quickstart/store.yaml` carries the same.
const TOKEN: &str = "quickstart-token";

/// The server process and a way to change its values.
pub(crate) struct OpenBao<'a> {
    cluster: &'a Cluster,
    program: PathBuf,
    server: Option<Child>,
}

impl<'a> OpenBao<'a> {
    /// Starts the server in memory and waits until it answers.
    pub(crate) fn start(cluster: &'a Cluster) -> Result<Self> {
        let program = find()?;
        let log = std::fs::File::create(cluster.layout().logs().join("openbao.log"))?;
        let server = cluster
            .command(&program)
            .args(["server", "-dev", "-dev-no-store-token"])
            .arg(format!("-dev-listen-address={ADDRESS}"))
            .arg(format!("-dev-root-token-id={TOKEN}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        let backend = Self {
            cluster,
            program,
            server: Some(server),
        };
        for _ in 0..100 {
            if backend.call(&["status"]).status()?.success() {
                return Ok(backend);
            }
            std::thread::park_timeout(std::time::Duration::from_millis(100));
        }
        bail!("OpenBao does not answer at {ADDRESS} after 10 seconds")
    }

    /// Writes the fields of one secret below the mount `secret`.
    pub(crate) fn put(&self, key: &str, fields: &[(&str, &str)]) -> Result<()> {
        let fields: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let status = self
            .call(&["kv", "put", "-mount=secret", key])
            .args(fields)
            .status()?;
        if !status.success() {
            bail!("failed to write {key} to OpenBao ({status})");
        }
        Ok(())
    }

    /// Ends the server.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    /// Leaves the server running; it ends with the cluster.
    pub(crate) fn leave(mut self) {
        self.server = None;
    }

    fn call(&self, arguments: &[&str]) -> Command {
        let mut command = self.cluster.command(&self.program);
        command
            .args(arguments)
            .env("BAO_ADDR", format!("http://{ADDRESS}"))
            .env("BAO_TOKEN", TOKEN)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn end(&mut self) {
        if let Some(mut server) = self.server.take() {
            drop(server.kill());
            drop(server.wait());
        }
    }
}

impl Drop for OpenBao<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// The `bao` program that `make setup` unpacked, or the one that LATCHKEY_BAO names.
fn find() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("LATCHKEY_BAO") {
        return Ok(path.into());
    }
    let path = latchkey_cluster::cache::folder()?.join("tools/openbao-2.7.2/bao");
    if !path.exists() {
        bail!("no OpenBao at {}; `make setup` fetches it", path.display());
    }
    Ok(path)
}

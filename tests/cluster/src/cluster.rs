//! A cluster as its user sees it: started or attached to, asked for things, ended.

mod inside;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use nix::sys::signal::Signal;

use crate::control::{Held, Plan, Request, ask, read_json, write_json};
use crate::layout::{ETCD_ENDPOINT, Layout};
use crate::{namespaces, prerequisites};

/// Longest wait for a cluster to be ready.
const START_TIMEOUT: Duration = Duration::from_secs(240);

/// How to start a cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of the cluster, absolute and short; a temporary one by default, removed with the cluster.
    pub folder: Option<PathBuf>,
    /// Nodes to begin with, 1 to 9; 1 by default.
    pub nodes: u8,
    /// kubelet's `syncFrequency`, a Go duration: the pace of republishing. `10s` by default; kubelet's own default is `1m`.
    pub sync_frequency: String,
    /// The first node's kubelet folder, absolute; `/var/lib/kubelet` by default.
    pub kubelet_root: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            folder: None,
            nodes: 1,
            sync_frequency: "10s".to_owned(),
            kubelet_root: None,
        }
    }
}

/// How to add a node.
#[derive(Clone, Debug, Default)]
pub struct NodeOptions {
    /// kubelet's folder on the node, absolute; `/var/lib/kubelet` by default.
    pub kubelet_root: Option<String>,
}

/// A running cluster. One that was started ends when this is dropped, and when the process ends for whatever reason; one that
/// was attached to stays.
#[derive(Debug)]
pub struct Cluster {
    layout: Layout,
    /// PID 1 of the cluster, as seen from outside.
    init: u32,
    owned: Option<Owned>,
}

#[derive(Debug)]
struct Owned {
    hold: Child,
    /// Removed by the holder; kept here for the case that the holder was killed.
    _folder: Option<tempfile::TempDir>,
}

impl Cluster {
    /// Starts a cluster and waits until its nodes are Ready, about 7 seconds on an idle machine. Blocks the thread.
    ///
    /// `program` is the `cluster` binary. `say` hears the progress.
    ///
    /// # Errors
    /// One line naming what is missing, or the end of the log of the component that failed.
    pub fn start_with(program: &Path, options: &Options, say: &dyn Fn(&str)) -> Result<Self> {
        Self::launch(program, options, false, say)
    }

    /// Starts a cluster for this process with the `cluster` binary of this workspace, which it builds if need be.
    ///
    /// # Errors
    /// As [`Cluster::start_with`].
    pub fn start(options: &Options) -> Result<Self> {
        Self::start_with(&program()?, options, &|_| {})
    }

    /// As [`Cluster::start_with`], but the cluster stays when this process ends, until [`Cluster::down`] or `cluster down`.
    ///
    /// # Errors
    /// As [`Cluster::start_with`], and when a cluster is up in the same folder.
    pub fn start_detached(program: &Path, options: &Options, say: &dyn Fn(&str)) -> Result<Self> {
        Self::launch(program, options, true, say)
    }

    fn launch(
        program: &Path,
        options: &Options,
        detached: bool,
        say: &dyn Fn(&str),
    ) -> Result<Self> {
        prerequisites::check_to_run()?;
        crate::tools::Tools::find()?;
        if !(1..=crate::layout::MOST_NODES).contains(&options.nodes) {
            bail!(
                "a cluster has 1 to {} nodes, not {}",
                crate::layout::MOST_NODES,
                options.nodes
            );
        }
        let temporary = match options.folder {
            Some(_) => None,
            None => Some(
                tempfile::Builder::new()
                    .prefix("latchkey-cluster-")
                    .tempdir()?,
            ),
        };
        let folder = options
            .folder
            .clone()
            .or_else(|| temporary.as_ref().map(|folder| folder.path().to_owned()));
        let layout = Layout::new(folder.context("a cluster has a folder")?)?;
        if let Ok(running) = Self::attach(layout.folder()) {
            bail!(
                "a cluster is already up in {}",
                running.layout.folder().display()
            );
        }
        clear(&layout)?;
        let plan = Plan {
            nodes: options.nodes,
            sync_frequency: options.sync_frequency.clone(),
            kubelet_root: options.kubelet_root.clone(),
            detached,
            remove: temporary.is_some(),
        };
        write_json(&layout.file("plan.json"), &plan)?;
        let log = File::create(layout.log_of("cluster"))?;
        let mut hold = Command::new(program)
            .arg("hold")
            .arg("--folder")
            .arg(layout.folder())
            .stdin(if detached {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        let mut shown = 0;
        let begin = Instant::now();
        loop {
            let text = fs::read_to_string(layout.log_of("cluster")).unwrap_or_default();
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            for line in text.get(shown..whole).unwrap_or_default().lines() {
                say(line);
            }
            shown = whole;
            if layout.state().exists() {
                break;
            }
            if let Some(status) = hold.try_wait()? {
                bail!("the cluster did not start ({status}):\n{}", text.trim_end());
            }
            if begin.elapsed() > START_TIMEOUT {
                drop(hold.stdin.take());
                hold.wait()?;
                bail!(
                    "the cluster is not ready after {START_TIMEOUT:?}:\n{}",
                    text.trim_end()
                );
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        let held: Held = read_json(&layout.file("held.json"))?;
        let owned = match detached {
            true => None,
            false => Some(Owned {
                hold,
                _folder: temporary,
            }),
        };
        Ok(Self {
            layout,
            init: held.init,
            owned,
        })
    }

    /// Attaches to the cluster in `folder`.
    ///
    /// # Errors
    /// When none is up there.
    pub fn attach(folder: &Path) -> Result<Self> {
        let layout = Layout::new(folder)?;
        let held: Held = read_json(&layout.file("held.json"))
            .with_context(|| format!("no cluster is up in {}", folder.display()))?;
        if !layout.state().exists() || !Path::new(&format!("/proc/{}/ns/net", held.init)).exists() {
            bail!("no cluster is up in {}", folder.display());
        }
        Ok(Self {
            layout,
            init: held.init,
            owned: None,
        })
    }

    /// The cluster's files.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where etcd answers, inside the cluster's network.
    #[must_use]
    pub fn etcd_endpoint(&self) -> &'static str {
        ETCD_ENDPOINT
    }

    /// A client with the administrator's rights. It works on threads inside the cluster's network, see [`Cluster::runtime`].
    ///
    /// # Errors
    /// When the kubeconfig cannot be read.
    pub async fn client(&self) -> Result<Client> {
        client_of(&self.layout.kubeconfig()).await
    }

    /// A runtime all of whose threads are inside the cluster's network. Call it, and `block_on`, on a thread that called
    /// [`Cluster::enter_network`].
    ///
    /// # Errors
    /// When the runtime cannot be built.
    pub fn runtime(&self) -> Result<tokio::runtime::Runtime> {
        let init = self.init;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            // A thread that fails to enter stays outside, where every connection is refused: the test fails and says so.
            .on_thread_start(move || drop(namespaces::enter_network(init)))
            .build()?;
        Ok(runtime)
    }

    /// Moves the calling thread into the cluster's network; processes it starts are inside too.
    ///
    /// # Errors
    /// Without root, or when the cluster is gone.
    pub fn enter_network(&self) -> Result<()> {
        namespaces::enter_network(self.init)
    }

    /// Adds a node, `n2` and so on, and waits until it is Ready, about 5 seconds; no effect where it exists already.
    ///
    /// # Errors
    /// When it does not become Ready, or exists with another kubelet folder.
    pub async fn add_node(&self, name: &str, options: NodeOptions) -> Result<()> {
        self.ask(Request::AddNode {
            name: name.to_owned(),
            kubelet_root: options.kubelet_root,
        })
        .await
    }

    /// Imports a docker-archive on every node, also on those added later.
    ///
    /// # Errors
    /// When the file is not there or is no image.
    pub async fn import_image(&self, archive: &Path) -> Result<()> {
        let path = fs::canonicalize(archive).with_context(|| {
            format!(
                "no image at {}; `make images` writes them",
                archive.display()
            )
        })?;
        self.ask(Request::Import { path }).await
    }

    /// Ends a component with a signal and waits for its end. Components: `etcd`, `apiserver`, `controller-manager`,
    /// `scheduler`, `proxy`, `dns`, `n1/containerd`, `n1/kubelet` and so on.
    ///
    /// # Errors
    /// When there is no such component or it does not end in 30 seconds.
    pub async fn stop(&self, component: &str, signal: Signal) -> Result<()> {
        self.ask(Request::Stop {
            component: component.to_owned(),
            signal: signal as i32,
        })
        .await
    }

    /// Starts a component that was stopped, with the same arguments and folders.
    ///
    /// # Errors
    /// When there is no such component.
    pub async fn start_again(&self, component: &str) -> Result<()> {
        self.ask(Request::Start {
            component: component.to_owned(),
        })
        .await
    }

    /// Kills a component (SIGKILL) and starts it again over the same folders. It may take a while to be ready.
    ///
    /// # Errors
    /// As [`Cluster::stop`].
    pub async fn restart(&self, component: &str) -> Result<()> {
        self.stop(component, Signal::SIGKILL).await?;
        self.start_again(component).await
    }

    /// Kills a node's kubelet (SIGKILL) and starts it again over the same folders.
    ///
    /// # Errors
    /// As [`Cluster::stop`].
    pub async fn restart_kubelet(&self, node: &str) -> Result<()> {
        self.restart(&format!("{node}/kubelet")).await
    }

    /// Names of the nodes.
    ///
    /// # Errors
    /// When the cluster is gone.
    pub fn nodes(&self) -> Result<Vec<String>> {
        Ok(self.state()?.nodes.into_keys().collect())
    }

    /// Ends the cluster and waits until nothing of it is left. Blocks the thread.
    ///
    /// # Errors
    /// When the cluster is gone already.
    pub fn down(mut self) -> Result<()> {
        let held: Held = read_json(&self.layout.file("held.json"))?;
        match self.owned.take() {
            Some(owned) => owned.end(),
            None => {
                if ask(&self.layout, &Request::Down).is_err() {
                    nix::sys::signal::kill(nix::unistd::Pid::from_raw(held.hold), Signal::SIGTERM)
                        .context("failed to end the cluster")?;
                }
                let gone = PathBuf::from(format!("/proc/{}", held.hold));
                let begin = Instant::now();
                while gone.exists() && begin.elapsed() < Duration::from_secs(30) {
                    std::thread::park_timeout(Duration::from_millis(50));
                }
            }
        }
        Ok(())
    }

    async fn ask(&self, request: Request) -> Result<()> {
        let layout = self.layout.clone();
        tokio::task::spawn_blocking(move || ask(&layout, &request)).await?
    }
}

impl Owned {
    fn end(mut self) {
        drop(self.hold.stdin.take());
        self.hold.wait().ok();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(owned) = self.owned.take() {
            owned.end();
        }
    }
}

/// Removes the files of an earlier cluster in the same folder, and nothing that is not a cluster's.
fn clear(layout: &Layout) -> Result<()> {
    if layout.file("plan.json").exists() {
        // Of a cluster that was killed; the names of its containers go with the folder.
        crate::cgroups::remove(layout);
        fs::remove_dir_all(layout.folder())
            .with_context(|| format!("failed to clear {}", layout.folder().display()))?;
    } else if fs::read_dir(layout.folder()).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!(
            "{} holds files that are not a cluster's",
            layout.folder().display()
        );
    }
    fs::create_dir_all(layout.logs())
        .with_context(|| format!("failed to make {}", layout.logs().display()))
}

/// A client for the user of a kubeconfig.
pub(crate) async fn client_of(kubeconfig: &Path) -> Result<Client> {
    // The first to install a provider wins; whoever it was, one is installed.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    let file = Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("failed to read {}", kubeconfig.display()))?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Client::try_from(config).context("failed to make a client")
}

/// The `cluster` binary for a process that is not it: `LATCHKEY_CLUSTER_PROGRAM`, else built by the cargo that runs this test.
fn program() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("LATCHKEY_CLUSTER_PROGRAM") {
        return Ok(given.into());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--package",
            "latchkey-cluster",
            "--bin",
            "cluster",
            "--message-format",
            "json-render-diagnostics",
        ])
        .output()
        .context("failed to run cargo; set LATCHKEY_CLUSTER_PROGRAM to the `cluster` binary")?;
    if !output.status.success() {
        bail!(
            "failed to build the `cluster` binary:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "cluster")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo did not say where the `cluster` binary is")
}

//! The command line of `cluster`.

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

use crate::cluster::{Cluster, Options};
use crate::control::{Request, ask};
use crate::layout::{Layout, node_number};
use crate::tools::Tools;
use crate::{cache, namespaces, supervisor};

/// A real Kubernetes on this machine: control plane, kubelets, containerd and DNS in namespaces of their own.
///
/// Nothing of it is visible outside but the files in its folder, and `cluster down` removes all of it. Needs root and Linux,
/// and a few Debian packages (`make setup`). `cluster tools` builds the Kubernetes programs once, a quarter of an hour on two
/// cores; they are kept in ${LATCHKEY_CACHE:-${XDG_CACHE_HOME:-~/.cache}/latchkey}.
#[derive(Parser)]
#[command(name = "cluster", verbatim_doc_comment)]
struct Arguments {
    #[command(subcommand)]
    command: Commands,
}

#[derive(Subcommand)]
enum Commands {
    /// Start a cluster that stays until `cluster down`.
    Up {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        shape: Shape,
    },
    /// Add a node to the cluster: n2, n3 and so on.
    Node {
        #[command(flatten)]
        place: Place,
        /// Name of the node, n2 to n9.
        name: String,
        /// kubelet's folder on this node [default: /var/lib/kubelet].
        #[arg(long)]
        kubelet_root: Option<String>,
    },
    /// Run a command, or a shell, inside: kubectl and helm on PATH, KUBECONFIG set, the cluster's network.
    Sh {
        #[command(flatten)]
        place: Place,
        /// See the mounts of this node (its /var/lib/kubelet) instead of those that nodes share.
        #[arg(long)]
        node: Option<String>,
        /// The command; a shell where there is none.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Import a docker-archive on every node, also on those added later.
    Import {
        #[command(flatten)]
        place: Place,
        /// The archive, for instance dist/images/latchkey.tar.
        archive: PathBuf,
    },
    /// Stop the cluster and everything in it.
    Down {
        #[command(flatten)]
        place: Place,
    },
    /// Start a cluster, run a command with LATCHKEY_CLUSTER_DIR set, stop the cluster, answer with the command's exit code.
    Run {
        #[command(flatten)]
        shape: Shape,
        /// The command and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Build the Kubernetes programs, containerd, runc, helm and csi-sanity into the cache; no effect where they are built.
    Tools,
    #[command(hide = true)]
    Hold(Inner),
    #[command(hide = true)]
    Init(Inner),
    #[command(hide = true)]
    Serve(Inner),
    #[command(hide = true)]
    NodeHolder {
        #[command(flatten)]
        inner: Inner,
        name: String,
        kubelet_root: String,
    },
}

#[derive(Args)]
struct Place {
    /// Folder of the cluster [default: `cluster` in the cache]; several clusters can live side by side.
    #[arg(long = "folder", env = "LATCHKEY_CLUSTER_DIR")]
    folder: Option<PathBuf>,
}

#[derive(Args)]
struct Inner {
    #[arg(long)]
    folder: PathBuf,
}

#[derive(Args)]
struct Shape {
    /// Nodes to begin with.
    #[arg(long, default_value_t = 1)]
    nodes: u8,
    /// kubelet's syncFrequency, which paces republishing; kubelet's own default is 1m.
    #[arg(long, default_value = "10s")]
    sync_frequency: String,
    /// The first node's kubelet folder [default: /var/lib/kubelet].
    #[arg(long)]
    kubelet_root: Option<String>,
}

impl Shape {
    fn options(self, folder: Option<PathBuf>) -> Options {
        Options {
            folder,
            nodes: self.nodes,
            sync_frequency: self.sync_frequency,
            kubelet_root: self.kubelet_root,
        }
    }
}

impl Place {
    fn folder(self) -> Result<PathBuf> {
        let folder = self.folder.map_or_else(
            || Ok(cache::folder()?.join("cluster")),
            Ok::<_, anyhow::Error>,
        )?;
        std::path::absolute(folder).context("failed to find the cluster's folder")
    }

    fn cluster(self) -> Result<Cluster> {
        Cluster::attach(&self.folder()?)
    }
}

#[expect(clippy::print_stderr, reason = "progress for the user of a command")]
fn say(text: &str) {
    eprintln!("cluster: {text}");
}

/// Parses the command line and does what it says.
///
/// # Errors
/// One chain of reasons, for standard error.
pub fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Commands::Up { place, shape } => up(place, shape)?,
        Commands::Node {
            place,
            name,
            kubelet_root,
        } => {
            node_number(&name)?;
            ask(
                place.cluster()?.layout(),
                &Request::AddNode { name, kubelet_root },
            )?;
        }
        Commands::Import { place, archive } => {
            let path = std::fs::canonicalize(&archive)
                .with_context(|| format!("no image at {}", archive.display()))?;
            ask(place.cluster()?.layout(), &Request::Import { path })?;
        }
        Commands::Sh {
            place,
            node,
            command,
        } => return sh(&place.cluster()?, node.as_deref(), &command),
        Commands::Down { place } => place.cluster()?.down()?,
        Commands::Run { shape, command } => return run(shape, &command),
        Commands::Tools => drop(Tools::build(&say)?),
        Commands::Hold(inner) => namespaces::hold(&Layout::new(inner.folder)?)?,
        Commands::Init(inner) => {
            let code = namespaces::init(&Layout::new(inner.folder)?)?;
            return Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from));
        }
        Commands::Serve(inner) => supervisor::serve(Layout::new(inner.folder)?)?,
        Commands::NodeHolder {
            inner,
            name,
            kubelet_root,
        } => {
            namespaces::hold_node(
                &Layout::new(inner.folder)?.node(node_number(&name)?),
                &kubelet_root,
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn up(place: Place, shape: Shape) -> Result<()> {
    Tools::build(&say)?;
    let folder = place.folder()?;
    let cluster = Cluster::start_detached(
        &std::env::current_exe()?,
        &shape.options(Some(folder)),
        &say,
    )?;
    say(&format!(
        "up in {}; `cluster sh` enters it, `cluster down` ends it",
        cluster.layout().folder().display()
    ));
    Ok(())
}

fn sh(cluster: &Cluster, node: Option<&str>, command: &[String]) -> Result<ExitCode> {
    let shell = [String::from("bash")];
    let [program, arguments @ ..] = (if command.is_empty() { &shell } else { command }) else {
        return Ok(ExitCode::FAILURE);
    };
    let mut inside = match node {
        Some(node) => cluster.node_command(node, program)?,
        None => cluster.command(program),
    };
    // On success this does not return.
    Err(inside.args(arguments).exec()).context("failed to run nsenter")
}

fn run(shape: Shape, command: &[String]) -> Result<ExitCode> {
    Tools::build(&say)?;
    let cluster = Cluster::start_with(&std::env::current_exe()?, &shape.options(None), &say)?;
    let [program, arguments @ ..] = command else {
        return Ok(ExitCode::FAILURE);
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env("LATCHKEY_CLUSTER_DIR", cluster.layout().folder())
        .env("LATCHKEY_CLUSTER_PROGRAM", std::env::current_exe()?)
        .spawn()
        .with_context(|| format!("failed to start {program}"))?;
    let pid = Pid::from_raw(child.id().cast_signed());
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    signals.thread_block()?;
    std::thread::spawn(move || {
        while let Ok(signal) = signals.wait() {
            kill(pid, signal).ok();
        }
    });
    let status = child.wait()?;
    if !status.success() {
        keep_logs(&cluster);
    }
    drop(cluster);
    Ok(code(status))
}

/// After a failure the logs are worth more than the space: they move to the cache, in place of the last ones.
fn keep_logs(cluster: &Cluster) {
    let Ok(kept) = cache::folder().map(|folder| folder.join("failed-run")) else {
        return;
    };
    std::fs::remove_dir_all(&kept).ok();
    let copied = Command::new("cp")
        .arg("-r")
        .arg(cluster.layout().logs())
        .arg(&kept)
        .status();
    if copied.is_ok_and(|status| status.success()) {
        say(&format!(
            "the cluster's logs are kept in {}",
            kept.display()
        ));
    }
}

fn code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}

//! `latchkey node`: looks at the volumes of a node and takes them away, for whoever administers it (csi.md 7.4, 10).
//!
//! It talks to the agent of the node over the agent's own socket, as root: on the node, or in the agent's container
//! (`kubectl exec`), which holds nothing but this program. A release works without an agent too, from what is on the node's disk.

mod table;
#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use latchkey_csi::Config;
use latchkey_csi::operations::offline::{self, OfflineError};
use latchkey_csi::operations::{
    Answer, AskError, Outcome, PodName, Release, Request, Selection, VolumeReport, ask,
};

use crate::args;

/// Exit codes, as in sysexits(3).
mod exit {
    /// A volume was kept, or could not be released.
    pub(super) const FAILED: u8 = 1;
    /// There is no agent to ask, or it does not answer.
    pub(super) const UNAVAILABLE: u8 = 69;
    /// The output cannot be written.
    pub(super) const OUTPUT: u8 = 74;
}

/// How long the agent may take to list its volumes.
const LOOK: Duration = Duration::from_secs(40);

/// How long the agent may take to release volumes: it gives up by itself before.
const RELEASE: Duration = Duration::from_secs(120);

/// The settings of `latchkey node`.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub struct NodeArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: NodeCommand,
}

/// The commands about a node.
#[derive(Clone, Debug, Subcommand)]
pub enum NodeCommand {
    /// Shows every volume of the node: where its content comes from, how old it is, what goes wrong.
    Volumes(VolumesArgs),
    /// Takes volumes away: before the agent leaves the node, or after it did.
    Release(ReleaseArgs),
}

/// Where the agent of the node is.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub struct PlaceArgs {
    /// Directory that the kubelet of this node was given as its root.
    #[arg(long, env = "LATCHKEY_KUBELET_ROOT", value_parser = args::values::absolute_path, default_value = "/var/lib/kubelet")]
    pub kubelet_root: PathBuf,

    /// Name under which the CSI driver registers.
    #[arg(long, env = "LATCHKEY_CSI_DRIVER_NAME", value_parser = args::values::driver_name, default_value = latchkey_csi::DRIVER_NAME)]
    pub csi_driver_name: String,

    /// How the result is printed.
    #[arg(short = 'o', long, value_enum, default_value = "table")]
    pub format: Format,
}

/// The settings of `latchkey node volumes`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Exit codes: 0 shown, 64 wrong usage, 69 no agent answers, 74 the output cannot be written.

Examples:
  kubectl -n latchkey exec ds/latchkey -- /latchkey node volumes
  latchkey node volumes -o json --kubelet-root /var/lib/k0s/kubelet")]
#[group(skip)]
pub struct VolumesArgs {
    /// Where the agent is.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// The settings of `latchkey node release`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Volumes of pods that kubelet still has are kept unless --force says otherwise: a container that starts again would find an empty
directory. Containers that run keep the files they see; nobody refreshes them any more. While an agent runs, kubelet has it mount
again what was taken from a pod that stays.

Exit codes: 0 nothing that was meant is left, 1 a volume was kept or could not be released, 64 wrong usage, 69 the agent does not
answer, 74 the output cannot be written.

Examples:
  kubectl -n latchkey exec latchkey-x7k2p -- /latchkey node release --all
  latchkey node release --pod shop/web-0 --force
  latchkey node release --all --uninstall")]
#[command(group = ArgGroup::new("which").required(true).args(["all", "pod"]))]
#[group(skip)]
pub struct ReleaseArgs {
    /// Volumes of all pods.
    #[arg(long)]
    pub all: bool,

    /// Volumes of one pod.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = pod)]
    pub pod: Option<(String, String)>,

    /// Also volumes whose pod kubelet still has.
    #[arg(long)]
    pub force: bool,

    /// Once no volume is left and no agent runs, remove the sockets and the directory of the driver too, so that kubelet forgets
    /// it. For a node whose agent will not come back.
    #[arg(long, conflicts_with = "pod")]
    pub uninstall: bool,

    /// Where the agent is.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for a person.
    Table,
    /// A JSON array.
    Json,
}

/// Why the command ended otherwise than well.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the agent answered something else than it was asked")]
    Answer,
    #[error(transparent)]
    Offline(#[from] OfflineError),
    #[error("not all volumes were released: {kept} kept, {failed} failed")]
    Left { kept: usize, failed: usize },
    #[error(
        "the driver is not removed: an agent runs on this node; take it away first, by the chart or its node selector"
    )]
    StillRuns,
    #[error("failed to write the result")]
    Output(#[from] std::io::Error),
}

// === impl Failure ===

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Ask(_) | Self::Answer => exit::UNAVAILABLE,
            Self::Offline(OfflineError::AgentRuns { .. }) => exit::UNAVAILABLE,
            Self::Offline(_) | Self::Left { .. } | Self::StillRuns => exit::FAILED,
            Self::Output(_) => exit::OUTPUT,
        }
    }
}

/// Runs the command and tells standard error why it failed.
#[must_use]
pub fn run(args: NodeArgs) -> ExitCode {
    let result = match args.command {
        NodeCommand::Volumes(args) => volumes(&args),
        NodeCommand::Release(args) => release(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let chain = crate::runtime::chain(&failure);
            let _ = writeln!(std::io::stderr(), "latchkey: {chain}");
            ExitCode::from(failure.code())
        }
    }
}

fn volumes(args: &VolumesArgs) -> Result<(), Failure> {
    let config = args.place.config();
    match ask(&config.admin_socket(), &Request::Volumes, LOOK)? {
        Answer::Volumes(volumes) => show_volumes(&volumes, args.place.format),
        Answer::Released(_) | Answer::Refused(_) => Err(Failure::Answer),
    }
}

fn release(args: &ReleaseArgs) -> Result<(), Failure> {
    let config = args.place.config();
    let selection = Selection {
        pod: args
            .pod
            .clone()
            .map(|(namespace, name)| PodName { namespace, name }),
        force: args.force,
    };
    let request = Request::Release(selection.clone());
    let (releases, runs) = match ask(&config.admin_socket(), &request, RELEASE) {
        Ok(Answer::Released(releases)) => (releases, true),
        Ok(Answer::Volumes(_) | Answer::Refused(_)) => return Err(Failure::Answer),
        Err(AskError::Absent { .. }) => (offline::release(&config, &selection)?, false),
        Err(error) => return Err(error.into()),
    };
    show_releases(&releases, args.place.format)?;
    let count = |outcome| {
        let of = releases.iter().filter(|one| one.outcome == outcome);
        of.count()
    };
    let (kept, failed) = (count(Outcome::Kept), count(Outcome::Failed));
    if kept + failed > 0 {
        return Err(Failure::Left { kept, failed });
    }
    match (args.uninstall, runs) {
        (false, _) => Ok(()),
        (true, true) => Err(Failure::StillRuns),
        (true, false) => Ok(offline::unregister(&config)?),
    }
}

// === impl PlaceArgs ===

impl PlaceArgs {
    fn config(&self) -> Config {
        // Neither name nor version of the node matters here.
        let mut config = Config::new("", env!("CARGO_PKG_VERSION"));
        config.kubelet_root.clone_from(&self.kubelet_root);
        config.driver_name.clone_from(&self.csi_driver_name);
        config
    }
}

fn show_volumes(volumes: &[VolumeReport], format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => print_json(volumes),
        Format::Table => print(&table::of_volumes(volumes)),
    }
}

fn show_releases(releases: &[Release], format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => print_json(releases),
        Format::Table => print(&table::of_releases(releases)),
    }
}

fn print_json<T: serde::Serialize>(value: &[T]) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(std::io::Error::from)?;
    print(&format!("{text}\n"))
}

fn print(text: &str) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes())?;
    Ok(output.flush()?)
}

fn pod(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name))
            if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
        {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err(String::from("must be NAMESPACE/NAME")),
    }
}

//! `make bench`: what the agent costs, measured on a real one-node Kubernetes of its own.
//!
//! Nothing here fails because something is slow: the figures and the verdicts on the targets are the result. The report goes
//! to standard output as Markdown, progress to standard error. `docs/performance.md` says how each figure is taken.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that talks to a person"
)]

mod direct;
mod images;
mod machine;
mod many;
mod measure;
mod metrics;
mod pods;
mod process;
mod report;
mod rig;
mod rotation;
mod stats;
mod syncs;
mod targets;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use latchkey_cluster::{Cluster, Options};

use crate::machine::Machine;
use crate::measure::Extent;

/// Measures publishing, rotation, memory and images, beside kubelet's own Secret volume in the same run; 25 minutes.
#[derive(Parser)]
struct Args {
    /// The `cluster` program that `make build` wrote.
    #[arg(long)]
    cluster: PathBuf,
    /// Folder of the images that `make images` wrote.
    #[arg(long, default_value = "dist/images")]
    images: PathBuf,
    /// The repository's root, where `charts` is.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Write the report into this page too, between its two markers.
    #[arg(long)]
    into: Option<PathBuf>,
    /// kubelet's syncFrequency, which paces its own Secret volumes; the default is kubelet's.
    #[arg(long, default_value = "1m")]
    sync_frequency: String,
    /// Rounds of pods.
    #[arg(long, default_value_t = 3, value_parser = at_least_one)]
    rounds: usize,
    /// Single pods of each kind in a round.
    #[arg(long, default_value_t = 5, value_parser = at_least_one)]
    singles: usize,
    /// Pods at once, one batch of each kind in a round for each number; a node takes 110 pods.
    #[arg(long, value_delimiter = ',', default_values_t = [50, 100], value_parser = at_least_one)]
    pods: Vec<usize>,
    /// ExternalSecrets with a volume of their own.
    #[arg(long, default_value_t = 50, value_parser = at_least_one)]
    objects: usize,
    /// Volumes of one ExternalSecret that are at rest.
    #[arg(long, default_value_t = 100, value_parser = at_least_one)]
    idle_volumes: usize,
    /// Volumes of one ExternalSecret that change at once; the agent's budget holds 1,024.
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    many: usize,
    /// Volumes for the calls on the CSI socket.
    #[arg(long, default_value_t = 200, value_parser = at_least_one)]
    volumes: usize,
    /// Changes of the value at the provider, and of an ExternalSecret.
    #[arg(long, default_value_t = 12, value_parser = at_least_one)]
    changes: usize,
    /// Changes of the Secret in kubelet's volume; each takes a syncFrequency or more.
    #[arg(long, default_value_t = 2, value_parser = at_least_one)]
    secret_changes: usize,
    /// ExternalSecrets that become Secrets, over 50 namespaces; several numbers are measured one after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 10_000], value_parser = at_least_one)]
    external_secrets: Vec<usize>,
    /// Measure ExternalSecrets to Secrets only, and write no page.
    #[arg(long, conflicts_with = "into")]
    only_secrets: bool,
    /// Leave ExternalSecrets to Secrets out, and write no page.
    #[arg(long, conflicts_with_all = ["into", "only_secrets"])]
    only_volumes: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nbench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    if !nix::unistd::Uid::effective().is_root() {
        bail!(
            "not root: a cluster with namespaces, mounts and containers of its own cannot be started; run it with sudo"
        );
    }
    latchkey_cluster::prerequisites::check_to_run()?;
    images::check(&args.images, &rig::IMAGES)?;
    // Only the first caller can install a provider; a second install would mean that one is there already.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());

    // What was built for this run has only just ended.
    let machine = Machine::look_when_quiet(&args.root, PATIENCE, &say);
    if machine.is_busy() {
        say(&format!(
            "the machine is busy (load {:.1} on {} processors): the figures will say little",
            machine.load, machine.cores
        ));
    }
    let options = Options {
        sync_frequency: args.sync_frequency.clone(),
        ..Options::default()
    };
    let cluster = Cluster::start_with(&args.cluster, &options, &|line| say(line))?;
    cluster.enter_network()?;
    let runtime = cluster.runtime()?;
    let extent = Extent {
        rounds: args.rounds,
        singles: args.singles,
        pods: args.pods.clone(),
        objects: args.objects,
        idle_volumes: args.idle_volumes,
        many: args.many,
        volumes: args.volumes,
        changes: args.changes,
        secret_changes: args.secret_changes,
        external_secrets: match args.only_volumes {
            true => Vec::new(),
            false => args.external_secrets.clone(),
        },
    };
    if args.only_secrets {
        let counts = &extent.external_secrets;
        let passes = measure::secrets(&cluster, &args.images, &args.root, counts);
        let passes = runtime.block_on(passes);
        runtime.shutdown_background();
        cluster.down().context("failed to end the cluster")?;
        println!("{}", report::syncs(&passes?));
        return Ok(());
    }
    let figures = runtime.block_on(measure::run(
        &cluster,
        machine,
        &args.sync_frequency,
        &args.images,
        &args.root,
        &extent,
    ));
    runtime.shutdown_background();
    cluster.down().context("failed to end the cluster")?;
    let report = report::render(&figures?);
    println!("{report}");
    if let Some(page) = &args.into {
        report::write_into(page, &report)?;
        say(&format!("written into {}", page.display()));
    }
    Ok(())
}

/// Longest wait for a quiet machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Says what goes on, with the time since the first word.
fn say(text: &str) {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    let seconds = BEGIN.get_or_init(Instant::now).elapsed().as_secs_f64();
    eprintln!("[{seconds:6.1} s]  {text}");
}

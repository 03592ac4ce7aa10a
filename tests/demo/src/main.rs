//! `make demo`: a value in a real OpenBao becomes a Secret and a file in a pod, on a real one-node Kubernetes of its own.
//!
//! Every step is verified; the exit code is 0 only if all of them held.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that talks to a person"
)]

mod backend;
mod steps;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use latchkey_cluster::{Cluster, Options};

/// Shows the main job on a real one-node cluster, step by step, and verifies each step.
#[derive(Parser)]
struct Args {
    /// Leave the cluster up and say how to enter it.
    #[arg(long)]
    keep: bool,
    /// Folder of the images that `make images` wrote.
    #[arg(long, default_value = "dist/images")]
    images: PathBuf,
    /// The `cluster` program that `make build` wrote.
    #[arg(long)]
    cluster: PathBuf,
    /// The repository's root, where `charts` and `examples` are.
    #[arg(long, default_value = ".")]
    root: PathBuf,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    if !nix::unistd::Uid::effective().is_root() {
        bail!(
            "not root: a cluster with namespaces, mounts and containers of its own cannot be started, so nothing can be shown; \
             run it with sudo"
        );
    }
    latchkey_cluster::prerequisites::check_to_run()?;
    // Only the first caller can install a provider; a second install would mean that one is there already.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());

    let mut progress = Progress::begin();
    let options = Options {
        folder: args.keep.then(keep_folder).transpose()?,
        ..Options::default()
    };
    progress.note("starting a Kubernetes of its own (etcd, API server, kubelet, containerd)");
    let cluster = if args.keep {
        Cluster::start_detached(&args.cluster, &options, &|line| {
            println!("           {line}")
        })?
    } else {
        Cluster::start_with(&args.cluster, &options, &|line| {
            println!("           {line}")
        })?
    };
    progress.done("one node is Ready");
    cluster.enter_network()?;
    let runtime = cluster.runtime()?;
    let backend = backend::OpenBao::start(&cluster)?;
    let outcome = runtime.block_on(steps::run(&cluster, &backend, args, &mut progress));
    runtime.shutdown_background();
    if args.keep {
        backend.leave();
        print_entrance(&cluster, args);
    } else {
        backend.stop();
        progress.note("ending the cluster");
        cluster.down().context("failed to end the cluster")?;
    }
    outcome?;
    println!("\nEvery step held, in {:.0} s.", progress.seconds());
    Ok(())
}

fn keep_folder() -> Result<PathBuf> {
    Ok(latchkey_cluster::cache::folder()?.join("demo"))
}

fn print_entrance(cluster: &Cluster, args: &Args) {
    let (program, folder) = (args.cluster.display(), cluster.layout().folder().display());
    println!("\nThe cluster is left up. To enter it:\n");
    println!(
        "    {program} sh --folder {folder} kubectl get externalsecrets,secrets,pods --namespace demo"
    );
    println!("    {program} sh --folder {folder}            # a shell with kubectl and helm");
    println!("    {program} down --folder {folder}          # ends it");
}

/// Prints steps with the time since the start and the time each took.
struct Progress {
    begin: Instant,
    last: Instant,
}

impl Progress {
    fn begin() -> Self {
        let now = Instant::now();
        Self {
            begin: now,
            last: now,
        }
    }

    fn seconds(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }

    /// Says what is going on now.
    fn note(&self, text: &str) {
        println!("[{:6.1} s]  ... {text}", self.seconds());
    }

    /// Says that a step was verified, and how long it took since the previous one.
    fn done(&mut self, text: &str) {
        println!(
            "[{:6.1} s]  ok  {text} ({:.1} s)",
            self.seconds(),
            self.last.elapsed().as_secs_f64()
        );
        self.last = Instant::now();
    }
}

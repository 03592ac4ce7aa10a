//! `latchkey files`: external secrets as files on a machine without Kubernetes.
//!
//! ```text
//! files.yaml ─> config ─┬─> objects (Specs): ExternalSecrets ─┐
//!                       ├─> objects (Sources): providers ─────┴─> volumes ─> engine::resolve
//!                       └─> entry: one task per directory <── content ──┘
//!                             └─> csi::directory (one atomic switch) ─> action (command or signal)
//! ```
//!
//! Content comes the way it comes to a mounted volume ([`crate::volumes`]): the same client with mutual TLS, retries and
//! breaker, the same refresh schedule, the same layout. Only what stands for the cluster is other: objects and stores are those
//! of the file. An entry that fails disturbs no other, and its files stay.
//!
//! | signal | what happens |
//! |---|---|
//! | SIGHUP, or a changed file | the file is read; if it is right it is taken over, else the old one stays in force |
//! | SIGTERM, SIGINT | the process ends; files stay |

mod action;
mod config;
mod entry;
mod metrics;
mod notify;
mod objects;
mod service;

use std::fmt;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use self::config::{Config, Mistake};
use self::service::Service;
use crate::runtime::chain;
use crate::{admin, logging};

/// Exit code for a wrong configuration, as in sysexits(3).
const EX_USAGE: u8 = 64;
/// Largest configuration file, bytes.
const MAX_CONFIG: u64 = 4 << 20;

/// The settings of `latchkey files`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 ended as asked, 1 something failed (with --once: an entry is not there), 64 the configuration is wrong.

SIGHUP, or a change of the file, takes over the configuration anew. docs/files.md describes it.")]
#[group(skip)]
pub struct FilesArgs {
    /// The configuration.
    #[arg(
        short,
        long,
        value_name = "FILE",
        env = "LATCHKEY_FILES_CONFIG",
        default_value = "/etc/latchkey/files.yaml"
    )]
    pub config: PathBuf,

    /// Checks the configuration, and nothing else.
    #[arg(long, conflicts_with = "once")]
    pub check: bool,

    /// Writes all files once and ends.
    #[arg(long)]
    pub once: bool,

    /// With --once, longest wait for all entries, as a Go duration.
    #[arg(long, value_parser = crate::args::values::positive_duration, default_value = "60s")]
    pub timeout: Duration,

    /// Address of an HTTP server for /livez, /readyz and /metrics. Default: none.
    #[arg(long, env = "LATCHKEY_METRICS_ADDRESS")]
    pub metrics_address: Option<SocketAddr>,

    /// Log filter, for example `info` or `info,latchkey::files=debug`.
    #[arg(long, env = "LATCHKEY_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}

/// Why `latchkey files` ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The configuration is wrong.
    #[error("{}", Lines(.0))]
    Configuration(Vec<Mistake>),
    /// Health and metrics cannot be served.
    #[error(transparent)]
    Admin(#[from] admin::Error),
    /// Signals cannot be received.
    #[error("failed to listen for signals")]
    Signals(#[source] std::io::Error),
    /// With `--once`: entries are not there.
    #[error("{}", Absent(.0))]
    Absent(Vec<(String, String)>),
}

struct Lines<'a>(&'a [Mistake]);

struct Absent<'a>(&'a [(String, String)]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(formatter, "{end}{mistake}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Absent<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, reason)) in self.0.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(formatter, "{end}entry {name}: {reason}")?;
        }
        Ok(())
    }
}

/// Runs the command until it is told to stop.
#[must_use]
pub fn run(args: FilesArgs) -> ExitCode {
    if let Err(error) = logging::install(&args.log_level) {
        return fail(EX_USAGE, &error.to_string());
    }
    // Only the first installation of a process counts.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(error) => return fail(EX_USAGE, &error.to_string()),
    };
    if args.check {
        return ExitCode::SUCCESS;
    }
    let tokio = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(tokio) => tokio,
        Err(error) => return fail(1, &format!("failed to start the runtime: {error}")),
    };
    let result = if args.once {
        tokio.block_on(once(&args, config))
    } else {
        tokio.block_on(service::serve(args, config))
    };
    // What is still blocked in the kernel must not keep the process.
    tokio.shutdown_timeout(Duration::from_secs(1));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &chain(&error)),
    }
}

async fn once(args: &FilesArgs, config: Config) -> Result<(), Error> {
    let service = Service::new(&mut Registry::default(), CancellationToken::new());
    let absent = service.once(config, args.timeout).await;
    if absent.is_empty() {
        Ok(())
    } else {
        Err(Error::Absent(absent))
    }
}

/// Reads the file. It says what runs as this user, so nobody else may have written it.
fn load(path: &Path) -> Result<Config, Error> {
    let wrong = |text: String| {
        Error::Configuration(vec![Mistake {
            file: path.to_owned(),
            line: None,
            path: String::new(),
            text,
        }])
    };
    let unreadable = |error: std::io::Error| wrong(format!("cannot be read: {error}"));
    let path = std::path::absolute(path).map_err(unreadable)?;
    let metadata = std::fs::metadata(&path).map_err(unreadable)?;
    let own = rustix::process::geteuid().as_raw();
    if (metadata.uid() != 0 && metadata.uid() != own) || metadata.mode() & 0o022 != 0 {
        return Err(wrong(format!(
            "must belong to root or user {own}, and nobody else may write it (chmod go-w)"
        )));
    }
    if metadata.len() > MAX_CONFIG {
        return Err(wrong(String::from("has more than 4 MiB")));
    }
    let text = std::fs::read_to_string(&path).map_err(unreadable)?;
    Config::parse(&path, &text).map_err(Error::Configuration)
}

fn fail(code: u8, text: &str) -> ExitCode {
    for line in text.lines() {
        let _ = writeln!(std::io::stderr(), "latchkey: {line}");
    }
    ExitCode::from(code)
}

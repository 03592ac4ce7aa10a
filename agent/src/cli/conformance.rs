//! `latchkey conformance`: the checks of the provider contract (provider-protocol.md 15) against any server of it.
//!
//! Whoever writes a provider runs it with the server's address, a client identity, and an object of the server's own to ask with;
//! whatever a check needs beyond that is a flag, and a check whose flag is missing is told as not run, never as passed. Nothing is
//! written to the backend unless `--write` says so.
//!
//! ```text
//! flags, files ─> suite (connection, requests) ─> checks: PC-nn, one function each ─> steps ─> report (text, JSON), exit code
//!                                                     └─> probe: HTTP/2 by hand, for what a good client cannot do
//! ```
//!
//! Two ways of refusing are the contract's: UNKNOWN with upstream's text, and the code of the situation with the text or an
//! `ErrorInfo` (P-ERR-3). Lines of the checklist that bind the client are tests of [`crate::providers`].
//!
//! A report holds no value: lengths, codes, and texts of the server in which the values given by flags are masked.

mod checks;
mod connection;
mod expect;
pub(crate) mod frames;
mod generators;
mod probe;
mod reference;
mod report;
mod stores;
mod subject;
mod suite;
mod writes;

#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Args, ValueEnum};
use latchkey_secret::SecretValue;
use latchkey_transport::Address;
use regex::Regex;

pub use self::reference::Reference;
pub use self::report::{Checked, Outcome, Report, Step, Verdict};
use self::suite::Suite;

/// Exit codes, as in sysexits(3).
mod exit {
    /// A check failed, or none could be run.
    pub(super) const FAILED: u8 = 1;
    /// The command line is wrong.
    pub(super) const USAGE: u8 = 64;
    /// An input is not of its form.
    pub(super) const DATA: u8 = 65;
    /// An input cannot be read.
    pub(super) const NO_INPUT: u8 = 66;
    /// The server cannot be reached with the identity given.
    pub(super) const UNAVAILABLE: u8 = 69;
    /// The command itself failed.
    pub(super) const SOFTWARE: u8 = 70;
    /// The report cannot be written.
    pub(super) const OUTPUT: u8 = 74;
}

/// The settings of `latchkey conformance`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
References are [GROUP/VERSION/]KIND/[NAMESPACE/]NAME. Without GROUP/VERSION that of this project's own kinds is meant, without
NAMESPACE the source namespace.

Exit codes: 0 at least one check ran and none failed, 1 a check failed or none ran, 64 wrong usage, 65 an input is not of its
form, 66 an input cannot be read, 69 the server cannot be reached, 70 the command itself failed, 74 the report cannot be written.

Examples:
  latchkey conformance --address localhost:8443 --ca ca.crt --cert tls.crt --key tls.key \\
    --provider-ref provider.secretstore.external-secrets.io/v2alpha1/Fake/team-a/tide --existing user=ann --json db
  latchkey conformance --address localhost:8443 --ca ca.crt --cert tls.crt --key tls.key \\
    --generator-ref Password/team-a/strong -o json")]
#[command(group = ArgGroup::new("subject").required(true).multiple(true).args(["provider_ref", "generator_ref"]))]
#[group(skip)]
pub struct ConformanceArgs {
    /// Address of the server, as in a store: host and port.
    #[arg(long, value_name = "HOST:PORT")]
    pub address: Address,

    /// Object that a store would name in providerRef. It exists, and the server may read it.
    #[arg(long, value_name = "REFERENCE")]
    pub provider_ref: Option<Reference>,

    /// Object that a generator would name in providerRef. It exists, and values may be made with it.
    #[arg(long, value_name = "REFERENCE")]
    pub generator_ref: Option<Reference>,

    /// Namespace on whose behalf the server is asked. Default: that of the reference.
    #[arg(long, value_name = "NAMESPACE", value_parser = NonEmptyStringValueParser::new())]
    pub source_namespace: Option<String>,

    /// File with the authority that the server's certificate is verified by (PEM).
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,

    /// File with the client's certificate (PEM).
    #[arg(long, value_name = "FILE")]
    pub cert: PathBuf,

    /// File with the client's key (PEM).
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,

    /// Name that the server's certificate is valid for, where it is not the address' host.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub server_name: Option<String>,

    /// Certificate of the same authority that is for servers only (PEM), for PC-16: the server must not take it from a client.
    #[arg(long, value_name = "FILE", requires = "server_key")]
    pub server_cert: Option<PathBuf>,

    /// Its key (PEM).
    #[arg(long, value_name = "FILE", requires = "server_cert")]
    pub server_key: Option<PathBuf>,

    /// A key that the provider has, and its value. Anyone who sees the list of processes sees it. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub existing: Vec<Entry>,

    /// The same with the value from a file, byte for byte. May be repeated.
    #[arg(long, value_name = "KEY=FILE", value_parser = pair)]
    pub existing_file: Vec<(String, String)>,

    /// A version that no value has.
    #[arg(long, value_name = "VERSION", default_value = "999999", value_parser = NonEmptyStringValueParser::new())]
    pub absent_version: String,

    /// A key whose value is a JSON object, best with an object inside it.
    #[arg(long, value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    pub json: Option<String>,

    /// Expression that is searched for: what `--existing` names and it matches must be found with its value.
    #[arg(long, value_name = "REGEXP")]
    pub find_regexp: Option<Regex>,

    /// A name that the search must find, and its value, for example that of the highest version. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", requires = "find_regexp")]
    pub found: Vec<Entry>,

    /// Object that does not validate.
    #[arg(long, value_name = "REFERENCE")]
    pub invalid_ref: Option<Reference>,

    /// Object of which the provider cannot say whether it is valid.
    #[arg(long, value_name = "REFERENCE")]
    pub unsure_ref: Option<Reference>,

    /// Also pushes values under names that begin with latchkey-conformance-, and deletes them again.
    #[arg(long)]
    pub write: bool,

    /// A key that pushes must not overwrite.
    #[arg(long, value_name = "KEY", requires = "write", value_parser = NonEmptyStringValueParser::new())]
    pub protected: Option<String>,

    /// Also runs PC-17, which watches an idle connection for two minutes.
    #[arg(long)]
    pub slow: bool,

    /// How long PC-17 watches, in seconds; less than the two minutes of the contract shows less.
    #[arg(long, value_name = "SECONDS", requires = "slow", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub slow_time: u64,

    /// Longest wait for one answer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub timeout: u64,

    /// Runs these checks and no others, as in `PC-04,PC-09`.
    #[arg(long, value_name = "PC-NN", value_delimiter = ',', value_parser = checks::number)]
    pub only: Vec<u8>,

    /// How the report is printed.
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Format,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: SecretValue,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Lines for people.
    Text,
    /// One JSON document.
    Json,
}

/// Why the suite was not run.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    code: u8,
    text: String,
}

// === impl ConformanceArgs ===

impl ConformanceArgs {
    fn answer_timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

// === impl Entry ===

impl std::str::FromStr for Entry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = pair(text)?;
        Ok(Self {
            key,
            value: SecretValue::from(value),
        })
    }
}

// === impl Failure ===

impl Failure {
    fn new(code: u8, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }
}

/// Runs the command: prints the report, and tells standard error why there is none.
#[must_use]
pub fn run(args: ConformanceArgs) -> ExitCode {
    match try_run(&args) {
        Ok(report) if report.is_passed() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(exit::FAILED),
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "latchkey: {}", failure.text.trim_end());
            ExitCode::from(failure.code)
        }
    }
}

fn try_run(args: &ConformanceArgs) -> Result<Report, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(
                exit::SOFTWARE,
                format!("failed to start the runtime: {error}"),
            )
        })?;
    let report = runtime.block_on(examine(args));
    // A name that is still being looked up must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    let report = report?;
    report.print(args.output).map_err(|error| {
        Failure::new(exit::OUTPUT, format!("failed to write the report: {error}"))
    })?;
    Ok(report)
}

/// Runs the checks, one after the other.
///
/// # Errors
///
/// [`Failure`] if an input is wrong or the server cannot be reached, so that no check could say anything.
pub async fn examine(args: &ConformanceArgs) -> Result<Report, Failure> {
    let suite = Suite::open(args)?;
    suite.reach().await?;
    let mut report = Report::new(&args.address);
    for check in checks::TABLE {
        if args.only.is_empty() || args.only.contains(&check.number) {
            report.checks.push(check.run(&suite).await);
        }
    }
    Ok(report)
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(String::from("must be KEY=...")),
    }
}

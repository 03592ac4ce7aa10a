//! The binary `latchkey`: reads its arguments, runs the agent, and drains when it is told to stop; or runs a command offline.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use latchkey::args::{self, AgentArgs, Cli, Command};
use latchkey::cli::{conformance, node, template};
use latchkey::{files, logging, runtime};

/// Exit code for a wrong configuration, as in sysexits(3).
const EX_USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // `--help` and `--version` are answers, not mistakes.
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => return fail(EX_USAGE, &args::one_line(&error)),
    };
    match cli.command {
        Command::Agent(args) => run_agent(*args),
        Command::Files(args) => files::run(*args),
        Command::Template(args) => template::run(*args),
        Command::Conformance(args) => conformance::run(*args),
        Command::Node(args) => node::run(*args),
    }
}

fn run_agent(args: AgentArgs) -> ExitCode {
    if let Err(error) = args.validate() {
        return fail(EX_USAGE, &error.to_string());
    }
    if let Err(error) = logging::install(&args.log_level) {
        return fail(EX_USAGE, &error.to_string());
    }
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        return fail(1, "another TLS provider is installed already");
    }
    let tokio = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(tokio) => tokio,
        Err(error) => return fail(1, &format!("failed to start the runtime: {error}")),
    };
    let result = tokio.block_on(runtime::run_until_signal(args));
    // What is still blocked in the kernel must not keep the process.
    tokio.shutdown_timeout(std::time::Duration::from_secs(1));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let reason = runtime::chain(&error);
            tracing::error!("{reason}");
            fail(
                if error.is_configuration() {
                    EX_USAGE
                } else {
                    1
                },
                &reason,
            )
        }
    }
}

fn fail(code: u8, line: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "latchkey: {}", line.replace('\n', " "));
    ExitCode::from(code)
}

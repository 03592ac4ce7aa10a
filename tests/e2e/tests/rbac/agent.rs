//! `latchkey agent` as a process of its own, with a service account's token.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser as _;
use latchkey::args::Cli;
use latchkey::{logging, runtime};
use latchkey_cluster::Context;
use serde_json::Value;
use tempfile::TempDir;

use crate::account;

/// Variable with the arguments of the agent, a list in JSON.
const ARGUMENTS: &str = "LATCHKEY_TEST_AGENT";

/// A running agent. Dropping it kills it.
pub(crate) struct Agent {
    child: Child,
    log: PathBuf,
    _folder: TempDir,
}

impl Agent {
    /// Starts the agent of a rendered Deployment, with its arguments and the rights of `account` of the test's namespace.
    pub(crate) async fn start(cx: &Context, deployment: &Value, account: &str) -> Result<Self> {
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let mut arguments = container["args"].clone();
        let list = arguments.as_array_mut().context("it has arguments")?;
        list.push("--admin-address=127.0.0.1:0".into());
        let folder = tempfile::tempdir()?;
        let kubeconfig =
            account::kubeconfig_file(cx, cx.namespace(), account, folder.path()).await?;
        let log = folder.path().join("log");
        let output = std::fs::File::create(&log)?;
        let child = Command::new(std::env::current_exe()?)
            .args(["--exact", "agent::process", "--nocapture"])
            .env_clear()
            .env(ARGUMENTS, arguments.to_string())
            .env("KUBECONFIG", kubeconfig)
            .env("POD_NAMESPACE", cx.namespace())
            .env("NODE_NAME", "n1")
            .env("HOSTNAME", "agent")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        Ok(Self {
            child,
            log,
            _folder: folder,
        })
    }

    /// What it has logged; fails if it has ended.
    pub(crate) fn log(&mut self) -> Result<String> {
        let text = std::fs::read_to_string(&self.log)?;
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "the agent ended ({ended:?}): {text}");
        Ok(text)
    }

    /// How many lines of the log contain `part`.
    pub(crate) fn told(&mut self, part: &str) -> Result<usize> {
        let log = self.log()?;
        Ok(log.lines().filter(|line| line.contains(part)).count())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The process that [`Agent::start`] starts: this program again with this test alone, which is what the binary's `main` does. So it
/// always runs the code that the other tests were built with. As a test of its own it does nothing.
#[test]
fn process() -> Result<()> {
    let Ok(arguments) = std::env::var(ARGUMENTS) else {
        return Ok(());
    };
    let arguments: Vec<String> = serde_json::from_str(&arguments)?;
    let arguments = ["latchkey"]
        .into_iter()
        .chain(arguments.iter().map(String::as_str));
    let latchkey::args::Command::Agent(args) = Cli::try_parse_from(arguments)?.command else {
        bail!("another command");
    };
    args.validate()?;
    logging::install(&args.log_level)?;
    let installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    ensure!(
        installed.is_ok(),
        "another TLS provider is installed already"
    );
    let tokio = tokio::runtime::Runtime::new()?;
    tokio.block_on(runtime::run_until_signal(*args))?;
    Ok(())
}

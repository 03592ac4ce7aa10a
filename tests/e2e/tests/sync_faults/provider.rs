//! `provider-fake` as a process of its own, which can be killed.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use latchkey_cluster::{Context, eventually, http_get};
use latchkey_e2e::tls::{Usage, authority, issue};
use latchkey_proto::fake::v1::control_client::ControlClient;
use latchkey_proto::fake::v1::{Call, CallsRequest};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Longest wait for a start.
const SOON: Duration = Duration::from_secs(60);

/// The process and what it is started with.
pub(crate) struct Provider {
    folder: TempDir,
    kubeconfig: PathBuf,
    ports: [u16; 3],
    child: Child,
}

// === impl Provider ===

impl Provider {
    /// Starts one and waits until it is ready.
    pub(crate) async fn start(cx: &Context) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let issued = issue(Usage::ServerAuth)?;
        for (name, text) in [
            ("ca.crt", authority()),
            ("tls.crt", issued.certificate.pem()),
            ("tls.key", issued.key.serialize_pem()),
        ] {
            std::fs::write(folder.path().join(name), text)?;
        }
        let kubeconfig = cx.cluster().layout().kubeconfig();
        let ports = free_ports()?;
        let child = spawn(&folder, &kubeconfig, ports).await?;
        let provider = Self {
            folder,
            kubeconfig,
            ports,
            child,
        };
        provider.ready().await?;
        Ok(provider)
    }

    /// Where stores find it.
    pub(crate) fn address(&self) -> String {
        format!("localhost:{}", self.ports[0])
    }

    /// Ends it by SIGKILL.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context("the provider")
    }

    /// Starts it again at the same addresses.
    pub(crate) async fn restore(&mut self) -> Result<()> {
        self.child = spawn(&self.folder, &self.kubeconfig, self.ports).await?;
        self.ready().await
    }

    /// The calls since its start that asked for a value.
    pub(crate) async fn reads(&self) -> Result<Vec<Call>> {
        let address = format!("http://127.0.0.1:{}", self.ports[2]);
        let mut control = ControlClient::connect(address).await?;
        let answer = control.calls(CallsRequest { after: 0 }).await?.into_inner();
        ensure!(answer.forgotten == 0, "calls were forgotten");
        let mut calls = answer.calls;
        calls.retain(|call| call.operation == "GetSecret");
        Ok(calls)
    }

    #[expect(clippy::print_stderr, reason = "goes to the failed test's output")]
    pub(crate) fn print_log(&self) {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(20).collect();
        eprintln!("--- the provider's last lines, latest first");
        for line in lines {
            eprintln!("{line}");
        }
    }

    async fn ready(&self) -> Result<()> {
        let url = format!("http://127.0.0.1:{}/readyz", self.ports[1]);
        eventually(SOON, "the provider is ready", async || {
            let (code, _) = http_get::get(&url).await?;
            Ok((code == 200).then_some(()))
        })
        .await
    }
}

async fn spawn(folder: &TempDir, kubeconfig: &PathBuf, ports: [u16; 3]) -> Result<Child> {
    let program = program().await?;
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(folder.path().join("log"))?;
    let [grpc, admin, control] = ports.map(|port| format!("127.0.0.1:{port}"));
    Command::new(&program)
        .args(["--listen-address", &grpc, "--admin-address", &admin])
        .args(["--enable-control", "--control-address", &control])
        .arg("--tls-cert-dir")
        .arg(folder.path())
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("failed to start {}", program.display()))
}

/// The built program beside this test's: `make test` builds it beforehand, otherwise it is built here if it is missing.
async fn program() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test.ancestors().nth(2).context("no target folder")?;
    let program = profile.join("provider-fake");
    if !program.exists() {
        let target = profile.parent().context("no target folder")?;
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "latchkey-provider-fake"])
            .env("CARGO_TARGET_DIR", target)
            .status();
        ensure!(built.await?.success(), "failed to build provider-fake");
    }
    Ok(program)
}

/// Ports that nobody uses now. Whoever takes one before the provider does makes the test fail, not pass.
fn free_ports() -> Result<[u16; 3]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let held = [bind()?, bind()?, bind()?];
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

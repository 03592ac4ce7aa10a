//! A development server of OpenBao, which speaks Vault's API.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use latchkey_cluster::eventually;
use tempfile::TempDir;

/// The administrator's token, which a test may put into objects.
pub const ROOT_TOKEN: &str = "latchkey-test-root";

/// Runs the server until its own standard input ends, which also happens when the test process is killed.
const KEEPER: &str =
    r#""$@" </dev/null & server=$!; cat >/dev/null; kill "$server" 2>/dev/null; wait "$server""#;

/// A server of one test, gone with it. It keeps everything in memory; a `kv` of version 2 is at `secret`.
pub struct Bao {
    program: PathBuf,
    address: String,
    keeper: Child,
    home: TempDir,
}

// === impl Bao ===

impl Bao {
    /// Starts a server that listens on the IPv4 address `host`, in the network of this thread.
    ///
    /// # Errors
    /// When there is no program, which `make tools` fetches, or it does not start.
    pub async fn start(host: &str) -> Result<Self> {
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let program = match variable("LATCHKEY_BAO") {
            Some(program) => program,
            None => variable("LATCHKEY_CACHE")
                .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("latchkey")))
                .or_else(|| Some(variable("HOME")?.join(".cache/latchkey")))
                .unwrap_or_default()
                .join("tools/openbao-2.7.2/bao"),
        };
        ensure!(
            program.is_file(),
            "no OpenBao at {}; run `make tools`",
            program.display()
        );
        // The port is free when it is chosen, but another process may take it before the server does: then once more.
        for _ in 0..5 {
            let port = std::net::TcpListener::bind((host, 0))?.local_addr()?.port();
            let bao = Self::start_at(&program, host, port)?;
            let is_up = eventually(Duration::from_secs(30), "OpenBao", async || {
                Ok(bao.run(&["secrets", "list"], None).ok())
            });
            if is_up.await.is_ok() {
                return Ok(bao);
            }
        }
        bail!("OpenBao does not start")
    }

    fn start_at(program: &PathBuf, host: &str, port: u16) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let log = std::fs::File::create(home.path().join("log"))?;
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(program)
            .args(["server", "-dev", "-dev-no-store-token"])
            .arg(format!("-dev-root-token-id={ROOT_TOKEN}"))
            .arg(format!("-dev-listen-address={host}:{port}"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home.path())
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self {
            program: program.clone(),
            address: format!("http://{host}:{port}"),
            keeper,
            home,
        })
    }

    /// Its URL.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Runs the client with the administrator's token; its standard output.
    ///
    /// # Errors
    /// With its standard error when it fails.
    pub fn run(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        let mut child = Command::new(&self.program)
            .args(arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .env("BAO_ADDR", &self.address)
            .env("BAO_TOKEN", ROOT_TOKEN)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.unwrap_or_default().as_bytes())?;
        }
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "bao {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        // The end of its standard input makes the keeper stop the server; it ends after the server did.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

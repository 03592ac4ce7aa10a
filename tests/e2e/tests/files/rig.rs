//! A machine of one test: a folder, provider servers and `latchkey files`, each a process that the test can kill.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use latchkey_cluster::{eventually, http_get};
use latchkey_e2e::tls::{self, Usage};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Longest wait for anything.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The folder of a test and what is in it.
pub(crate) struct Machine {
    folder: TempDir,
}

/// A provider server.
pub(crate) struct Provider {
    program: PathBuf,
    folder: PathBuf,
    objects: PathBuf,
    ports: [u16; 2],
    child: Child,
}

/// A running `latchkey files`.
pub(crate) struct Files {
    child: Child,
    log: PathBuf,
    metrics: u16,
}

// === impl Machine ===

impl Machine {
    pub(crate) fn new() -> Result<Self> {
        let machine = Self {
            folder: tempfile::tempdir()?,
        };
        std::fs::create_dir(machine.path("objects"))?;
        std::fs::create_dir(machine.path("out"))?;
        machine.issue("client", Usage::ClientAuth)?;
        machine.issue("server", Usage::ServerAuth)?;
        Ok(machine)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where an entry of `name` is delivered.
    pub(crate) fn out(&self, name: &str) -> PathBuf {
        self.path("out").join(name)
    }

    fn issue(&self, name: &str, usage: Usage) -> Result<()> {
        let folder = self.path(name);
        std::fs::create_dir(&folder)?;
        let files = ["ca.crt", "tls.crt", "tls.key"];
        for (file, text) in files.into_iter().zip(tls::pem(usage)?) {
            std::fs::write(folder.join(file), text)?;
        }
        Ok(())
    }

    /// Writes a file as an administrator should: readable for its owner only, and whole at every moment.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        let beside = path.with_file_name(".beside");
        let _ = std::fs::remove_file(&beside);
        let mut file = std::fs::OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&beside)?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        std::fs::rename(&beside, &path)?;
        Ok(path)
    }

    /// What the provider `fake` has: each key with the value `{"a": <value>, "b": <value>}`.
    pub(crate) fn values(&self, values: &[(&str, &str)]) -> Result<()> {
        let data: Vec<Value> = values
            .iter()
            .map(|(key, value)| json!({"key": key, "valueMap": {"a": value, "b": value}}))
            .collect();
        let fake = json!({
            "apiVersion": "provider.secretstore.external-secrets.io/v2alpha1",
            "kind": "Fake",
            "metadata": {"name": "fake", "namespace": "default"},
            "spec": {"data": data},
        });
        self.write("objects/fake.json", &fake.to_string())?;
        Ok(())
    }

    /// Starts `provider-fake` over the objects of this machine.
    pub(crate) async fn provider(&self) -> Result<Provider> {
        Provider::start(self, "provider-fake").await
    }

    /// A configuration with one provider and these entries.
    pub(crate) fn config(&self, provider: &Provider, entries: &[Value]) -> Value {
        json!({
            "providers": [{
                "name": "store",
                "address": provider.address(),
                "tls": {"ca": "client/ca.crt", "cert": "client/tls.crt", "key": "client/tls.key"},
                "providerRef": {"kind": "Fake", "name": "fake"},
            }],
            "entries": entries,
        })
    }

    /// An entry `name` with the pair of the remote secret `key`, looked at every second.
    pub(crate) fn entry(&self, name: &str, key: &str) -> Value {
        json!({
            "name": name,
            "directory": self.out(name),
            "spec": {
                "refreshInterval": "1s",
                "secretStoreRef": {"name": "store"},
                "dataFrom": [{"extract": {"key": key}}],
            },
        })
    }

    pub(crate) fn configure(&self, config: &Value) -> Result<()> {
        // JSON is YAML.
        self.write("files.yaml", &config.to_string())?;
        Ok(())
    }

    /// Runs `latchkey files` with `arguments` to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<Output> {
        let run = Command::new(program("latchkey").await?)
            .arg("files")
            .arg("--config")
            .arg(self.path("files.yaml"))
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        Ok(tokio::time::timeout(SOON, run).await??)
    }

    /// Starts `latchkey files`.
    pub(crate) async fn start(&self) -> Result<Files> {
        self.start_with(&[]).await
    }

    pub(crate) async fn start_with(&self, environment: &[(&str, &Path)]) -> Result<Files> {
        let log = self.path("log");
        let file = append(&log)?;
        let [metrics, _] = free_ports()?;
        let child = Command::new(program("latchkey").await?)
            .args([
                "files",
                "--metrics-address",
                &format!("127.0.0.1:{metrics}"),
            ])
            .arg("--config")
            .arg(self.path("files.yaml"))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Files {
            child,
            log,
            metrics,
        })
    }

    /// Waits until the pair of the entry `name` is `value`.
    pub(crate) async fn shows(&self, name: &str, value: &str) -> Result<()> {
        let directory = self.out(name);
        eventually(SOON, &format!("{name} shows {value}"), async || {
            let pair = pair(&directory)?;
            Ok((pair == (value.to_owned(), value.to_owned())).then_some(()))
        })
        .await
    }
}

/// The pair as a careful reader takes it: `..data` is resolved once.
pub(crate) fn pair(directory: &Path) -> Result<(String, String)> {
    use std::os::fd::AsRawFd as _;
    let generation = std::fs::File::open(directory.join("..data"))?;
    let base = PathBuf::from(format!("/proc/self/fd/{}", generation.as_raw_fd()));
    Ok((
        std::fs::read_to_string(base.join("a"))?,
        std::fs::read_to_string(base.join("b"))?,
    ))
}

/// Permission bits, the special ones too.
pub(crate) fn mode(path: &Path) -> Result<u32> {
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o7777)
}

// === impl Provider ===

impl Provider {
    pub(crate) async fn start(machine: &Machine, name: &str) -> Result<Self> {
        let program = program(name).await?;
        let (folder, objects) = (machine.path("server"), machine.path("objects"));
        let ports = free_ports()?;
        let child = spawn(&program, &folder, &objects, ports)?;
        let provider = Self {
            program,
            folder,
            objects,
            ports,
            child,
        };
        provider.ready().await?;
        Ok(provider)
    }

    pub(crate) fn address(&self) -> String {
        format!("localhost:{}", self.ports[0])
    }

    /// Ends it by SIGKILL.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context("the provider")
    }

    /// Starts it again at the same address.
    pub(crate) async fn restore(&mut self) -> Result<()> {
        self.child = spawn(&self.program, &self.folder, &self.objects, self.ports)?;
        self.ready().await
    }

    async fn ready(&self) -> Result<()> {
        let url = format!("http://127.0.0.1:{}/readyz", self.ports[1]);
        let ready = eventually(SOON, "the provider is ready", async || {
            let (code, _) = http_get::get(&url).await?;
            Ok((code == 200).then_some(()))
        });
        let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        ready.await.with_context(log)
    }
}

fn spawn(program: &Path, folder: &Path, objects: &Path, ports: [u16; 2]) -> Result<Child> {
    let log = append(&folder.join("log"))?;
    let [grpc, admin] = ports.map(|port| format!("127.0.0.1:{port}"));
    Command::new(program)
        .args(["--listen-address", &grpc, "--admin-address", &admin])
        .arg("--tls-cert-dir")
        .arg(folder)
        .arg("--objects")
        .arg(objects)
        // There is no cluster to be found.
        .env_remove("KUBECONFIG")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("failed to start {}", program.display()))
}

// === impl Files ===

impl Files {
    pub(crate) fn signal(&self, signal: &str) -> Result<()> {
        let id = self.child.id().context("it ended")?;
        let status = std::process::Command::new("kill")
            .args([&format!("-{signal}"), &id.to_string()])
            .status()?;
        ensure!(status.success(), "failed to signal {id}");
        Ok(())
    }

    /// Ends it by SIGTERM; its exit code.
    pub(crate) async fn stop(mut self) -> Result<Option<i32>> {
        self.signal("TERM")?;
        let status = tokio::time::timeout(SOON, self.child.wait()).await??;
        Ok(status.code())
    }

    /// Ends it by SIGKILL.
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("latchkey files")
    }

    pub(crate) fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    /// Status and text of an endpoint.
    pub(crate) async fn get(&self, path: &str) -> Result<(u16, String)> {
        http_get::get(&format!("http://127.0.0.1:{}{path}", self.metrics)).await
    }

    /// Waits until `/readyz` answers `code`.
    pub(crate) async fn answers(&self, code: u16) -> Result<()> {
        eventually(SOON, &format!("/readyz answers {code}"), async || {
            let (found, _) = self.get("/readyz").await?;
            Ok((found == code).then_some(()))
        })
        .await
    }
}

fn append(path: &Path) -> Result<std::fs::File> {
    Ok(std::fs::File::options()
        .create(true)
        .append(true)
        .open(path)?)
}

/// The built program beside this test's: `make test` builds it beforehand, otherwise it is built here if it is missing.
async fn program(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test.ancestors().nth(2).context("no target folder")?;
    let program = profile.join(name);
    if !program.exists() {
        let target = profile.parent().context("no target folder")?;
        let package = match name {
            "latchkey" => name.to_owned(),
            _ => format!("latchkey-{name}"),
        };
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--bins", "--package", &package])
            .env("CARGO_TARGET_DIR", target)
            .status();
        ensure!(built.await?.success(), "failed to build {name}");
    }
    Ok(program)
}

/// Ports that nobody uses now. Whoever takes one before the process does makes the test fail, not pass.
pub(crate) fn free_ports() -> Result<[u16; 2]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let held = [bind()?, bind()?];
    Ok([held[0].local_addr()?.port(), held[1].local_addr()?.port()])
}

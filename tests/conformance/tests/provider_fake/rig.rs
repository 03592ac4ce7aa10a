//! One process of the provider server under test ([`crate::served`]) per test, with the rights that its chart gives it and no
//! more.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use latchkey_cluster::{Context, eventually};
use latchkey_proto::fake::v1::control_client::ControlClient;
use latchkey_proto::provider::v1 as wire;
use latchkey_proto::provider::v1::secret_store_provider_client::SecretStoreProviderClient;
use latchkey_transport::{ClientOptions, Connection, Identity, SharedIdentity};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::served::{ARGUMENTS, GROUP, NAME, RESOURCES};

pub(crate) const API_VERSION: &str = "provider.secretstore.external-secrets.io/v2alpha1";
/// Longest wait for anything that is expected to happen.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// An authority and what it issues.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A running server.
pub(crate) struct Provider {
    pub(crate) cx: Context,
    pub(crate) authority: Authority,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) child: Child,
    grpc: u16,
    admin: u16,
    control: u16,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(vec!["authority".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Authority, certificate and key as PEM texts.
    pub(crate) fn pem(&self, usage: ExtendedKeyUsagePurpose) -> [String; 3] {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        [self.0.pem(), certificate.pem(), key.serialize_pem()]
    }

    pub(crate) fn client(&self) -> Identity {
        self.identity(ExtendedKeyUsagePurpose::ClientAuth)
    }

    pub(crate) fn identity(&self, usage: ExtendedKeyUsagePurpose) -> Identity {
        let [authority, certificate, key] = self.pem(usage);
        Identity::from_pem(authority.as_bytes(), certificate.as_bytes(), key.as_bytes()).unwrap()
    }

    /// Writes a server's files the way kubelet does: a new folder, then one rename.
    pub(crate) fn mount(&self, directory: &Path) -> Result<()> {
        let [authority, certificate, key] = self.pem(ExtendedKeyUsagePurpose::ServerAuth);
        let version = directory.join(format!("..{:x}", rand_suffix()));
        std::fs::create_dir_all(&version)?;
        for (name, text) in [
            ("ca.crt", authority),
            ("tls.crt", certificate),
            ("tls.key", key),
        ] {
            std::fs::write(version.join(name), text)?;
            let link = directory.join(name);
            if !link.is_symlink() {
                std::os::unix::fs::symlink(Path::new("..data").join(name), link)?;
            }
        }
        let next = directory.join("..data_tmp");
        std::os::unix::fs::symlink(version.file_name().context("no name")?, &next)?;
        std::fs::rename(next, directory.join("..data"))?;
        Ok(())
    }
}

fn rand_suffix() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0)
}

/// The built program: `make test` builds it beforehand; otherwise it is built here when it is missing or older than its sources.
pub(crate) fn program() -> Result<&'static Path> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let build = || {
        let test = std::env::current_exe()?;
        let profile = test
            .parent()
            .and_then(Path::parent)
            .context("the test is not in a target folder")?;
        let program = profile.join(format!("provider-{NAME}"));
        let sources = package().join("../../providers");
        let own = sources.join(NAME).join("src");
        let newest = newest(&sources.join("sdk/src"))?.max(newest(&own)?);
        if std::fs::metadata(&program)
            .and_then(|built| built.modified())
            .is_ok_and(|built| built >= newest)
        {
            return Ok(program);
        }
        let target = profile
            .parent()
            .context("the test is not in a target folder")?;
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "build",
            "--quiet",
            "--package",
            &format!("latchkey-provider-{NAME}"),
            "--bin",
            &format!("provider-{NAME}"),
        ]);
        cargo.current_dir(package()).env("CARGO_TARGET_DIR", target);
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        ensure!(cargo.status()?.success(), "failed to build provider-{NAME}");
        Ok(program)
    };
    PROGRAM
        .get_or_init(|| build().map_err(|error: anyhow::Error| format!("{error:#}")))
        .as_deref()
        .map_err(|error| anyhow::anyhow!("{error}"))
}

/// When a file below `folder` was changed last.
fn newest(folder: &Path) -> Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let changed = if entry.file_type()?.is_dir() {
            self::newest(&entry.path())?
        } else {
            entry.metadata()?.modified()?
        };
        newest = newest.max(changed);
    }
    Ok(newest)
}

/// Runs `body` with a server of its own.
pub(crate) fn with_provider<F>(body: F) -> Result<()>
where
    F: AsyncFnOnce(&mut Provider) -> Result<()> + Send + 'static,
{
    let program = program()?;
    latchkey_cluster::test(async move |cx| {
        let mut provider = Provider::start(cx, program, true).await?;
        provider.ready().await?;
        let result = body(&mut provider).await;
        if result.is_err() {
            provider.print_log();
        }
        result
    })
}

/// Runs `body` with a server that has no identity yet.
pub(crate) fn with_waiting_provider<F>(body: F) -> Result<()>
where
    F: AsyncFnOnce(&mut Provider) -> Result<()> + Send + 'static,
{
    let program = program()?;
    latchkey_cluster::test(async move |cx| {
        let mut provider = Provider::start(cx, program, false).await?;
        body(&mut provider).await
    })
}

impl Provider {
    async fn start(cx: Context, program: &Path, mounted: bool) -> Result<Self> {
        install_resource(&cx).await?;
        let folder = tempfile::tempdir()?;
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, restricted_kubeconfig(&cx).await?)?;
        let authority = Authority::new();
        let certificates = folder.path().join("certs");
        std::fs::create_dir(&certificates)?;
        if mounted {
            authority.mount(&certificates)?;
        }
        let (grpc, admin, control) = (free_port()?, free_port()?, free_port()?);
        let child = Command::new(program)
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--listen-address=127.0.0.1:{grpc}"))
            .arg(format!("--admin-address=127.0.0.1:{admin}"))
            .args(
                ARGUMENTS
                    .iter()
                    .map(|argument| argument.replace("{port}", &control.to_string())),
            )
            .arg("--log-level=trace")
            .env_clear()
            .env("TLS_CERT_DIR", &certificates)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(folder.path().join("stdout"))?)
            .stderr(std::fs::File::create(folder.path().join("log"))?)
            .spawn()?;
        Ok(Self {
            cx,
            authority,
            folder,
            child,
            grpc,
            admin,
            control,
        })
    }

    pub(crate) fn certificates(&self) -> PathBuf {
        self.folder.path().join("certs")
    }

    /// Everything that the server wrote so far.
    pub(crate) fn log(&self) -> String {
        ["log", "stdout"]
            .map(|name| std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default())
            .concat()
    }

    #[expect(clippy::print_stderr, reason = "goes to the failed test's output")]
    fn print_log(&self) {
        let log = self.log();
        let lines: Vec<&str> = log
            .lines()
            .filter(|line| !line.contains("\"TRACE\"") && !line.contains("\"DEBUG\""))
            .collect();
        eprintln!("--- provider-{NAME}\n{}", lines.join("\n"));
    }

    pub(crate) async fn ready(&mut self) -> Result<()> {
        eventually(SOON, &format!("readiness of provider-{NAME}"), async || {
            let (code, _) = self.http("/readyz").await?;
            Ok((code == 200).then_some(()))
        })
        .await
        .with_context(|| self.log())
    }

    pub(crate) async fn http(&self, path: &str) -> Result<(u16, String)> {
        let mut stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.admin)).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let code = answer.split(' ').nth(1).context("no status")?.parse()?;
        Ok((code, answer))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.grpc).into()
    }

    pub(crate) fn connect(&self, identity: Identity) -> Result<Connection> {
        let address = format!("localhost:{}", self.grpc).parse()?;
        Ok(Connection::open(
            &address,
            SharedIdentity::new(identity),
            &ClientOptions::default(),
        )?)
    }

    pub(crate) fn client(&self) -> Result<SecretStoreProviderClient<Channel>> {
        Ok(self.connect(self.authority.client())?.store_client())
    }

    /// A client of the control service.
    pub(crate) async fn control(&self) -> Result<ControlClient<Channel>> {
        let address = format!("http://127.0.0.1:{}", self.control);
        Ok(ControlClient::connect(address).await?)
    }

    /// Applies a Fake in the test's namespace.
    pub(crate) async fn fake(&self, name: &str, spec: &Value) -> Result<()> {
        let namespace = self.cx.namespace();
        let object = json!({
            "apiVersion": API_VERSION,
            "kind": "Fake",
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        });
        self.cx.apply(&object.to_string()).await.map(drop)
    }

    /// Refers to a Fake of the test's namespace on behalf of a namespaced store.
    pub(crate) fn reference(&self, name: &str) -> wire::ProviderReference {
        wire::ProviderReference {
            api_version: API_VERSION.into(),
            kind: "Fake".into(),
            name: name.into(),
            namespace: self.cx.namespace().into(),
            store_ref_kind: "SecretStore".into(),
        }
    }

    pub(crate) fn get_request(&self, name: &str, key: &str) -> wire::GetSecretRequest {
        wire::GetSecretRequest {
            remote_ref: Some(wire::ExternalSecretDataRemoteRef {
                key: key.into(),
                ..Default::default()
            }),
            provider_ref: Some(self.reference(name)),
            source_namespace: self.cx.namespace().into(),
        }
    }

    /// GetSecret of `key`, in a version and with a property, either of which may be empty.
    pub(crate) async fn get(
        &self,
        name: &str,
        key: &str,
        version: &str,
        property: &str,
    ) -> Result<Vec<u8>, Status> {
        let mut request = self.get_request(name, key);
        let remote = request.remote_ref.as_mut().unwrap();
        remote.version = version.into();
        remote.property = property.into();
        let mut client = self.client().unwrap();
        client
            .get_secret(request)
            .await
            .map(|answer| answer.into_inner().value)
    }

    pub(crate) async fn get_map(
        &self,
        name: &str,
        key: &str,
    ) -> Result<BTreeMap<String, Vec<u8>>, Status> {
        let request = self.get_request(name, key);
        let request = wire::GetSecretMapRequest {
            remote_ref: request.remote_ref,
            provider_ref: request.provider_ref,
            source_namespace: request.source_namespace,
        };
        let mut client = self.client().unwrap();
        client
            .get_secret_map(request)
            .await
            .map(|answer| answer.into_inner().secrets)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Asserts the code, the class and a part of the text of a refusal.
#[track_caller]
pub(crate) fn assert_refused<T>(result: Result<T, Status>, code: Code, class: &str, text: &str) {
    let Err(status) = result else {
        panic!("the call succeeded, but {class} was expected")
    };
    let details = status.get_error_details();
    let info = details
        .error_info()
        .map(|info| (info.domain.as_str(), info.reason.as_str()));
    assert_eq!(
        (status.code(), info),
        (code, Some(("provider.external-secrets.io", class))),
        "{}",
        status.message()
    );
    assert!(
        status.message().contains(text),
        "\"{}\" does not contain \"{text}\"",
        status.message()
    );
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// This package's folder, as the cargo that runs this test knows it: the path that was compiled in may be that of another checkout with
/// the same target folder.
fn package() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR");
    package
        .unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
        .into()
}

/// The definitions of the server's kinds, as the chart ships them.
async fn install_resource(cx: &Context) -> Result<()> {
    for resource in RESOURCES {
        let path = package().join(format!(
            "../../charts/provider/crds/{GROUP}_{resource}.yaml"
        ));
        cx.apply(&std::fs::read_to_string(path)?).await?;
        let name = format!("crd/{resource}.{GROUP}");
        cx.kubectl(&[
            "wait",
            "--for=condition=Established",
            "--timeout=30s",
            &name,
        ])
        .await?;
    }
    Ok(())
}

/// A kubeconfig of an account that may read the server's kinds in the test's namespace, and nothing else anywhere.
async fn restricted_kubeconfig(cx: &Context) -> Result<String> {
    let namespace = cx.namespace();
    let metadata = json!({"name": "provider", "namespace": namespace});
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": [{
            "apiGroups": [GROUP],
            "resources": RESOURCES,
            "verbs": ["get", "list", "watch"],
        }]},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "provider"},
            "subjects": [{"kind": "ServiceAccount", "name": "provider", "namespace": namespace}]},
    ]});
    cx.apply(&objects.to_string()).await?;
    let token = cx.kubectl(&["create", "token", "provider"]).await?;
    let shown = cx
        .kubectl(&[
            "config",
            "view",
            "--raw",
            "--minify",
            "--flatten",
            "--output=json",
        ])
        .await?;
    let mut config: Value = serde_json::from_str(&shown)?;
    let Some(user) = config.pointer_mut("/users/0/user") else {
        bail!("the kubeconfig has no user")
    };
    *user = json!({"token": token.trim()});
    Ok(config.to_string())
}

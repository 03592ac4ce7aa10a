//! A real `bao server`, owned by the test that started it.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Version that `tests/tools/openbao.sh` installs.
const VERSION: &str = "2.7.2";
/// Longest wait until a started server answers.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Root token of development servers.
pub(crate) const ROOT: &str = "latchkey-test-root";

/// Runs the server until its own standard input ends, which also happens when the test process is killed: no server outlives
/// its test. The server is stopped by its own process id.
const KEEPER: &str =
    r#""$@" </dev/null & server=$!; cat >/dev/null; kill "$server" 2>/dev/null; wait "$server""#;

/// A second listener, with TLS of the test's own.
pub(crate) struct Listener<'a> {
    /// Certificate of the server, in PEM form.
    pub(crate) chain: &'a str,
    /// Its key, in PEM form.
    pub(crate) key: &'a str,
    /// The authority whose client certificates are asked for and verified, in PEM form.
    pub(crate) client_authority: Option<String>,
}

/// A development server: unsealed, in memory, KV version 2 at `secret/`.
pub(crate) struct Bao {
    /// Address without a slash at its end.
    pub(crate) address: String,
    /// Address of the second listener, if there is one.
    pub(crate) tls_address: String,
    keeper: Child,
    /// Home, log and certificates.
    directory: TempDir,
    http: reqwest::Client,
}

static SHARED: Mutex<Weak<Bao>> = Mutex::new(Weak::new());

/// The server that all tests share; it stops with the last test that holds it.
pub(crate) async fn shared() -> Arc<Bao> {
    static STARTING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _turn = STARTING.lock().await;
    if let Some(bao) = SHARED.lock().upgrade() {
        return bao;
    }
    let bao = Arc::new(Bao::start().await);
    *SHARED.lock() = Arc::downgrade(&bao);
    bao
}

// === impl Bao ===

impl Bao {
    /// Starts a server with plain HTTP.
    pub(crate) async fn start() -> Self {
        Self::start_with(false, None).await
    }

    /// Starts a server with TLS; see [`Bao::authority`].
    pub(crate) async fn start_tls() -> Self {
        Self::start_with(true, None).await
    }

    /// Starts a server with plain HTTP and a second listener.
    pub(crate) async fn start_listening(listener: &Listener<'_>) -> Self {
        Self::start_with(false, Some(listener)).await
    }

    async fn start_with(is_tls: bool, listener: Option<&Listener<'_>>) -> Self {
        // The port is free when it is chosen, but another process may take it before the server does: then once more.
        for _ in 0..5 {
            if let Some(bao) = Self::try_start(is_tls, listener).await {
                return bao;
            }
        }
        panic!("bao did not start; run it by hand: {}", binary().display());
    }

    async fn try_start(is_tls: bool, listener: Option<&Listener<'_>>) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let (port, second_port) = (free_port(), free_port());
        let log = File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "keeper"]).arg(binary()).args([
            "server",
            "-dev",
            "-dev-no-store-token",
        ]);
        command
            .arg(format!("-dev-root-token-id={ROOT}"))
            .arg(format!("-dev-listen-address=127.0.0.1:{port}"));
        if is_tls {
            command
                .arg("-dev-tls")
                .arg(format!("-dev-tls-cert-dir={}", directory.path().display()));
        }
        if let Some(listener) = listener {
            command.arg(format!(
                "-config={}",
                listener.write(directory.path(), second_port).display()
            ));
        }
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", directory.path());
        command
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let keeper = command.spawn().unwrap();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(unverified_tls())
            .no_proxy()
            // Each test has a runtime of its own, with which its connections go.
            .pool_max_idle_per_host(0)
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        let scheme = if is_tls { "https" } else { "http" };
        let mut bao = Self {
            address: format!("{scheme}://127.0.0.1:{port}"),
            tls_address: format!("https://127.0.0.1:{second_port}"),
            keeper,
            directory,
            http,
        };
        let deadline = tokio::time::Instant::now() + START_TIMEOUT;
        loop {
            let mount = bao
                .try_request(Method::GET, "sys/internal/ui/mounts/secret", &Value::Null)
                .await;
            if mount.is_ok_and(|(status, _)| status.is_success()) {
                return Some(bao);
            }
            let is_gone = bao.keeper.try_wait().unwrap().is_some();
            if is_gone || tokio::time::Instant::now() > deadline {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// The authority that signed the certificate of a TLS server, in PEM form.
    pub(crate) fn authority(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("vault-ca.pem")).unwrap()
    }

    /// A call with the root token; panics unless it succeeds.
    pub(crate) async fn request(&self, method: Method, path: &str, body: Value) -> Value {
        let (status, answer) = self.try_request(method, path, &body).await.unwrap();
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    /// `POST` with the root token.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        self.request(Method::POST, path, body).await
    }

    /// Writes a secret of the version 2 engine at `secret/`.
    pub(crate) async fn put(&self, key: &str, data: Value) {
        self.post(&format!("secret/data/{key}"), json!({ "data": data }))
            .await;
    }

    /// A token with the rights of `policy` and the given life.
    pub(crate) async fn token(&self, policy: &str, ttl: &str) -> String {
        let answer = self
            .post(
                "auth/token/create",
                json!({"policies": [policy], "ttl": ttl}),
            )
            .await;
        answer["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    /// Number of tokens that are alive and were given by logins at `auth/<mount>`.
    pub(crate) async fn logins(&self, mount: &str) -> usize {
        self.accessors(mount).await.len()
    }

    /// Revokes all tokens that were given by logins at `auth/<mount>`.
    pub(crate) async fn revoke_logins(&self, mount: &str) {
        for accessor in self.accessors(mount).await {
            self.post("auth/token/revoke-accessor", json!({"accessor": accessor}))
                .await;
        }
    }

    async fn accessors(&self, mount: &str) -> Vec<String> {
        let list = Method::from_bytes(b"LIST").unwrap();
        let answer = self
            .request(list, "auth/token/accessors", Value::Null)
            .await;
        let mut found = Vec::new();
        for accessor in answer["data"]["keys"].as_array().unwrap() {
            let body = json!({ "accessor": accessor });
            // A token may expire between the list and this question.
            let Ok((_, token)) = self
                .try_request(Method::POST, "auth/token/lookup-accessor", &body)
                .await
            else {
                continue;
            };
            if token["data"]["path"] == format!("auth/{mount}/login") {
                found.push(accessor.as_str().unwrap().to_owned());
            }
        }
        found
    }

    async fn try_request(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> reqwest::Result<(StatusCode, Value)> {
        let mut request = self
            .http
            .request(method, format!("{}/v1/{path}", self.address))
            .header("X-Vault-Token", ROOT);
        if !body.is_null() {
            request = request.body(body.to_string());
        }
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        // The end of its standard input makes the keeper stop the server; it ends after the server did.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

// === impl Listener ===

impl Listener<'_> {
    /// Writes the files and a configuration that names them; returns the latter.
    fn write(&self, directory: &Path, port: u16) -> PathBuf {
        let file = |name: &str, content: &str| {
            let path = directory.join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let mut options = json!({
            "address": format!("127.0.0.1:{port}"),
            "tls_cert_file": file("server.pem", self.chain),
            "tls_key_file": file("server.key", self.key),
        });
        if let Some(authority) = &self.client_authority {
            options["tls_client_ca_file"] = json!(file("clients.pem", authority));
            options["tls_require_and_verify_client_cert"] = json!(true);
        }
        file(
            "listener.json",
            &json!({"listener": [{"tcp": options}]}).to_string(),
        )
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// The binary under test.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("LATCHKEY_BAO") {
        return PathBuf::from(path);
    }
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = variable("LATCHKEY_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("latchkey")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/latchkey")))
        .unwrap_or_default();
    let path = cache.join(format!("tools/openbao-{VERSION}/bao"));
    assert!(
        path.is_file(),
        "{} is missing: run tests/tools/openbao.sh or set LATCHKEY_BAO",
        path.display()
    );
    path
}

/// TLS for the test's own calls: it talks to a server that it has just started on loopback.
fn unverified_tls() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth()
}

#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

// === impl AnyCertificate ===

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &rustls_pki_types::CertificateDer<'_>,
        _intermediates: &[rustls_pki_types::CertificateDer<'_>],
        _server_name: &rustls_pki_types::ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &rustls_pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls_pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

//! A small server of the contract in memory, in both ways of refusing, with faults.

mod service;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use futures::StreamExt as _;
use futures::stream::BoxStream;
use latchkey_proto::generator::v1::generator_provider_server::GeneratorProviderServer;
use latchkey_proto::provider::v1 as wire;
use latchkey_proto::provider::v1::secret_store_provider_server::SecretStoreProviderServer;
use latchkey_transport::{Identity, Incoming, ServerOptions};
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tonic_types::{ErrorDetails, StatusExt as _};

/// How it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// UNKNOWN, with upstream's texts.
    Upstream,
    /// The code of the situation, with an `ErrorInfo` and other texts.
    Own,
}

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    CapabilitiesOfObjects,
    UnknownCapability,
    ReadOnly,
    AnyApiVersion,
    AnyKind,
    OtherValues,
    MissingIsUnknown,
    MissingMapIsUnknown,
    AnyVersion,
    MissingPropertyIsEmpty,
    NoProperties,
    AnySource,
    ValidateNeedsSource,
    AnyReference,
    ReadsForCaller,
    NeedsNamespace,
    ObjectIsSecret,
    MapOfText,
    QuotedMap,
    FindsAll,
    FindsFirstVersion,
    FindsNothing,
    NamelessIsNotFound,
    KeepsFirstPush,
    OverwritesAll,
    DeleteNeedsValue,
    NothingExists,
    InvalidIsValid,
    UnsureIsSilent,
    NotServing,
    HealthByName,
    AnyClient,
    NoLimit,
    DefaultLimit,
    AnyGroup,
    StateIsText,
    CleanupOnce,
    StopsWhenAbandoned,
    QuotesValue,
}

pub(super) const API_VERSION: &str = "provider.external-secrets.io/v2alpha1";
const GENERATOR_GROUP: &str = "generators.external-secrets.io";
/// A value that must not be in any report.
pub(super) const CANARY: &str = "canary-7c21";
const JSON: &str =
    r#"{"a":{"b":"deep","n":1.50},"list":[1, 2],"none":null,"text":"q\"uote","zero":0}"#;
const STORE: &str = "provider.v1.SecretStoreProvider";

/// Key, value, version.
const DATA: &[(&str, &str, &str)] = &[
    ("user", CANARY, ""),
    ("json", JSON, ""),
    ("db", "ten", "v10"),
    ("db", "two", "v2"),
];

/// A running server, and the files of a client.
pub(super) struct Model {
    pub(super) files: tempfile::TempDir,
    port: u16,
    _stop: DropGuard,
}

#[derive(Clone)]
struct Service(Arc<State>);

struct State {
    dialect: Dialect,
    fault: Option<Fault>,
    pushed: Mutex<BTreeMap<String, Vec<u8>>>,
    cleanups: AtomicU32,
    is_stopped: AtomicBool,
}

/// Notices that a call is given up.
struct Abandoned<'a>(Option<&'a AtomicBool>);

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if let Some(flag) = self.0 {
            flag.store(true, Ordering::SeqCst);
        }
    }
}

// === impl Model ===

impl Model {
    pub(super) async fn start(dialect: Dialect, fault: Option<Fault>) -> Self {
        let files = tempfile::tempdir().unwrap();
        issue(files.path());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cancel = CancellationToken::new();
        let (reporter, health) = tonic_health::server::health_reporter();
        let status = match fault {
            Some(Fault::NotServing) => ServingStatus::NotServing,
            _ => ServingStatus::Serving,
        };
        reporter.set_service_status("", status).await;
        if fault == Some(Fault::HealthByName) {
            reporter.set_service_status(STORE, status).await;
        }
        let service = Service(Arc::new(State {
            dialect,
            fault,
            pushed: Mutex::default(),
            cleanups: AtomicU32::new(0),
            is_stopped: AtomicBool::new(false),
        }));
        let mut store = SecretStoreProviderServer::new(service.clone());
        if fault == Some(Fault::NoLimit) {
            store = store.max_decoding_message_size(usize::MAX);
        }
        let is_default = fault == Some(Fault::DefaultLimit);
        let layer = tower::util::MapResponseLayer::new(
            move |mut response: http::Response<tonic::body::Body>| {
                let status = response.headers_mut().get_mut("grpc-status");
                if let Some(status) = status
                    && status.as_bytes() == b"11"
                    && !is_default
                {
                    *status = http::HeaderValue::from_static("8");
                }
                response
            },
        );
        let server = tonic::transport::Server::builder()
            .layer(layer)
            .add_service(health)
            .add_service(store)
            .add_service(GeneratorProviderServer::new(service));
        let incoming = incoming(listener, files.path(), fault, &cancel);
        tokio::spawn(
            server.serve_with_incoming_shutdown(incoming, cancel.clone().cancelled_owned()),
        );
        Self {
            files,
            port,
            _stop: cancel.drop_guard(),
        }
    }

    pub(super) fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.files.path().join(name).display().to_string()
    }
}

/// Connections, verified or, with the fault for it, not.
fn incoming(
    listener: TcpListener,
    files: &Path,
    fault: Option<Fault>,
    cancel: &CancellationToken,
) -> BoxStream<'static, io::Result<TlsStream<TcpStream>>> {
    let read = |name: &str| std::fs::read(files.join(name)).unwrap();
    let (ca, certificate, key) = (read("ca.crt"), read("server.crt"), read("server.key"));
    if fault != Some(Fault::AnyClient) {
        let identity = Identity::from_pem(&ca, &certificate, &key).unwrap();
        let options = ServerOptions::default();
        return Incoming::new(listener, identity.into(), &options, cancel).boxed();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(&certificate).unwrap()],
            PrivateKeyDer::from_pem_slice(&key).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (sender, receiver) = mpsc::channel(8);
    tokio::spawn(cancel.clone().run_until_cancelled_owned(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                let _ = sender.send(Ok(stream)).await;
            }
        }
    }));
    ReceiverStream::new(receiver).boxed()
}

/// Writes an authority and the pairs of both ends.
fn issue(files: &Path) {
    let mut params = CertificateParams::new(vec!["authority".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(files.join("ca.crt"), authority.pem()).unwrap();
    for (name, usage) in [
        ("client", ExtendedKeyUsagePurpose::ClientAuth),
        ("server", ExtendedKeyUsagePurpose::ServerAuth),
    ] {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &authority).unwrap();
        std::fs::write(files.join(format!("{name}.crt")), leaf.pem()).unwrap();
        std::fs::write(files.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

// === impl State ===

impl State {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn refuse(&self, code: Code, reason: &str, text: &str) -> Status {
        match self.dialect {
            Dialect::Upstream => Status::unknown(format!("failed: {text}")),
            Dialect::Own => {
                let domain = "provider.external-secrets.io";
                let details = ErrorDetails::with_error_info(reason, domain, []);
                Status::with_error_details(code, "refused", details)
            }
        }
    }

    fn invalid(&self, text: &str) -> Status {
        self.refuse(Code::InvalidArgument, "INVALID_ARGUMENT", text)
    }

    fn missing(&self) -> Status {
        match self.fault {
            Some(Fault::MissingIsUnknown) => Status::unknown("Secret does not exist"),
            Some(Fault::QuotesValue) => Status::internal(format!("not {CANARY}")),
            _ => Status::not_found("Secret does not exist"),
        }
    }

    fn kind(&self, api_version: &str, kind: &str) -> Result<(), Status> {
        let unsupported = |text| self.refuse(Code::InvalidArgument, "UNSUPPORTED_KIND", text);
        if !api_version.contains('/') && !self.has(Fault::AnyApiVersion) {
            return Err(unsupported("invalid api version: v2alpha1"));
        }
        if kind != "Fake" && !self.has(Fault::AnyKind) {
            return Err(unsupported("resource mapping not found for x"));
        }
        Ok(())
    }

    /// The name of the object, if it is there.
    fn object(
        &self,
        reference: Option<wire::ProviderReference>,
        source: &str,
    ) -> Result<String, Status> {
        let reference = match reference {
            Some(reference) => reference,
            None if self.has(Fault::AnyReference) => wire::ProviderReference {
                name: "tide".into(),
                namespace: "team-a".into(),
                ..Default::default()
            },
            None => return Err(self.invalid("provider reference is required")),
        };
        let namespace = match &*reference.namespace {
            _ if self.has(Fault::ReadsForCaller) => source,
            "" if self.has(Fault::NeedsNamespace) => "elsewhere",
            "" => source,
            namespace => namespace,
        };
        if self.dialect == Dialect::Own
            && !source.is_empty()
            && namespace != source
            && reference.store_ref_kind != "ClusterSecretStore"
        {
            return Err(self.refuse(Code::PermissionDenied, "NAMESPACE_MISMATCH", ""));
        }
        let is_there = ["tide", "broken", "unsure"].contains(&&*reference.name);
        if (namespace == "team-a" || namespace.is_empty()) && is_there {
            return Ok(reference.name);
        }
        if self.has(Fault::ObjectIsSecret) {
            return Err(Status::not_found("no such object"));
        }
        let text = "failed to map provider reference to spec";
        Err(self.refuse(Code::FailedPrecondition, "CONFIG_NOT_FOUND", text))
    }

    /// What every call on values begins with.
    fn prepare(
        &self,
        reference: Option<wire::ProviderReference>,
        source: &str,
    ) -> Result<(), Status> {
        if source.is_empty() && !self.has(Fault::AnySource) {
            return Err(self.invalid("source namespace is required"));
        }
        self.object(reference, source).map(drop)
    }

    fn value(&self, key: &str, version: &str) -> Result<Vec<u8>, Status> {
        if let Some(value) = self.pushed.lock().get(key) {
            return Ok(value.clone());
        }
        let is_meant = |entry: &&(&str, &str, &str)| {
            entry.0 == key && (entry.2 == version || self.has(Fault::AnyVersion))
        };
        match DATA.iter().find(is_meant) {
            Some(_) if self.has(Fault::OtherValues) && key == "user" => Ok(b"canary-0000".to_vec()),
            Some((_, value, _)) => Ok(value.as_bytes().to_vec()),
            None => Err(self.missing()),
        }
    }

    fn property(&self, value: &[u8], property: &str) -> Result<Vec<u8>, Status> {
        if property.is_empty() || self.has(Fault::NoProperties) {
            return Ok(value.to_vec());
        }
        let document: Value = serde_json::from_slice(value).map_err(|_| self.missing())?;
        match document.pointer(&format!("/{}", property.replace('.', "/"))) {
            Some(Value::String(text)) => Ok(text.clone().into_bytes()),
            Some(other) => Ok(other.to_string().into_bytes()),
            None if self.has(Fault::MissingPropertyIsEmpty) => Ok(Vec::new()),
            None => Err(self.missing()),
        }
    }

    fn map(&self, value: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, Status> {
        if self.has(Fault::MapOfText) {
            return Ok([("value".to_owned(), value.to_vec())].into());
        }
        let members: BTreeMap<String, Value> = serde_json::from_slice(value)
            .map_err(|_| self.refuse(Code::FailedPrecondition, "INVALID_PAYLOAD", "no object"))?;
        let text = |member| match member {
            Value::String(text) if !self.has(Fault::QuotedMap) => text.into_bytes(),
            Value::Null => Vec::new(),
            other => other.to_string().into_bytes(),
        };
        let members = members.into_iter();
        Ok(members.map(|(key, member)| (key, text(member))).collect())
    }
}

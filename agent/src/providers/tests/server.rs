//! A provider that does as it is told and remembers what it was asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use latchkey_proto::generator::v1 as generator;
use latchkey_proto::generator::v1::generator_provider_server::{
    GeneratorProvider, GeneratorProviderServer,
};
use latchkey_proto::provider::v1 as wire;
use latchkey_proto::provider::v1::secret_store_provider_server::{
    SecretStoreProvider, SecretStoreProviderServer,
};
use latchkey_transport::{CountsReader, Identity, Incoming, ServerOptions};
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;

use crate::providers::{
    Identities, OwnIdentity, Pool, PoolSettings, ProviderMetrics, Providers, Tokens,
};
use crate::stores::{AllowedHosts, Policy};

/// An authority that issues to both ends.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(vec!["test".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Authority, certificate and key as PEM.
    pub(super) fn pem(&self, hosts: &[&str], usage: ExtendedKeyUsagePurpose) -> [String; 3] {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap();
        [self.0.pem(), leaf.pem(), key.serialize_pem()]
    }

    pub(super) fn client(&self) -> Identity {
        let [ca, certificate, key] = self.pem(&[], ExtendedKeyUsagePurpose::ClientAuth);
        Identity::from_pem(ca.as_bytes(), certificate.as_bytes(), key.as_bytes()).unwrap()
    }

    pub(super) fn server(&self) -> Identity {
        let [ca, certificate, key] = self.pem(&["localhost"], ExtendedKeyUsagePurpose::ServerAuth);
        Identity::from_pem(ca.as_bytes(), certificate.as_bytes(), key.as_bytes()).unwrap()
    }
}

type Fields = BTreeMap<String, Vec<u8>>;
/// Generated values and what is left of them.
type Made = (Fields, Vec<u8>);
type Answer<T> = Box<dyn FnMut() -> Result<T, Status> + Send>;

/// What it says. Without an answer it says UNIMPLEMENTED.
#[derive(Default)]
pub(super) struct Script {
    pub(super) secret: Mutex<Option<Answer<Vec<u8>>>>,
    pub(super) map: Mutex<Option<Answer<Fields>>>,
    pub(super) all: Mutex<Option<Answer<Fields>>>,
    pub(super) finds: Mutex<Vec<wire::ExternalSecretFind>>,
    pub(super) validate: Mutex<Option<Answer<wire::ValidateResponse>>>,
    pub(super) capabilities: Mutex<Option<Answer<i32>>>,
    pub(super) generate: Mutex<Option<Answer<Made>>>,
    pub(super) cleanup: Mutex<Option<Answer<()>>>,
    /// Reference, source namespace and, of a Generate, the attempt; of a Cleanup, the state.
    pub(super) generators: Mutex<Vec<(generator::GeneratorRef, String, Vec<u8>)>>,
    /// The header `authorization` of every request, those for health included.
    pub(super) authorizations: Mutex<Vec<Option<String>>>,
    /// Everything else that agents say about callers, of every request.
    pub(super) callers: Mutex<Vec<BTreeMap<String, String>>>,
    pub(super) delay: Mutex<Duration>,
    pub(super) cancelled: AtomicUsize,
    counts: Mutex<HashMap<&'static str, usize>>,
    pub(super) seen: Mutex<Vec<(wire::ProviderReference, String)>>,
}

impl Script {
    pub(super) fn on_secret(
        &self,
        answer: impl FnMut() -> Result<Vec<u8>, Status> + Send + 'static,
    ) {
        *self.secret.lock() = Some(Box::new(answer));
    }

    pub(super) fn on_map(&self, answer: impl FnMut() -> Result<Fields, Status> + Send + 'static) {
        *self.map.lock() = Some(Box::new(answer));
    }

    pub(super) fn on_all(&self, answer: impl FnMut() -> Result<Fields, Status> + Send + 'static) {
        *self.all.lock() = Some(Box::new(answer));
    }

    pub(super) fn on_validate(
        &self,
        answer: impl FnMut() -> Result<wire::ValidateResponse, Status> + Send + 'static,
    ) {
        *self.validate.lock() = Some(Box::new(answer));
    }

    pub(super) fn on_capabilities(
        &self,
        answer: impl FnMut() -> Result<i32, Status> + Send + 'static,
    ) {
        *self.capabilities.lock() = Some(Box::new(answer));
    }

    pub(super) fn on_generate(
        &self,
        answer: impl FnMut() -> Result<Made, Status> + Send + 'static,
    ) {
        *self.generate.lock() = Some(Box::new(answer));
    }

    pub(super) fn on_cleanup(&self, answer: impl FnMut() -> Result<(), Status> + Send + 'static) {
        *self.cleanup.lock() = Some(Box::new(answer));
    }

    fn note_generator(
        &self,
        method: &'static str,
        reference: Option<generator::GeneratorRef>,
        source: String,
        rest: Vec<u8>,
    ) {
        *self.counts.lock().entry(method).or_default() += 1;
        self.generators
            .lock()
            .push((reference.unwrap_or_default(), source, rest));
    }

    pub(super) fn count(&self, method: &str) -> usize {
        self.counts.lock().get(method).copied().unwrap_or_default()
    }

    fn note(
        &self,
        method: &'static str,
        reference: Option<wire::ProviderReference>,
        source: String,
    ) {
        *self.counts.lock().entry(method).or_default() += 1;
        self.seen
            .lock()
            .push((reference.unwrap_or_default(), source));
    }
}

fn answer<T>(script: &Mutex<Option<Answer<T>>>) -> Result<T, Status> {
    script
        .lock()
        .as_mut()
        .map_or_else(|| Err(Status::unimplemented("")), |answer| answer())
}

struct Service(Arc<Script>);

/// Counts a handler that was dropped before its end.
struct Unfinished<'a>(Option<&'a AtomicUsize>);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(counter) = self.0 {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[tonic::async_trait]
impl SecretStoreProvider for Service {
    async fn get_secret(
        &self,
        request: Request<wire::GetSecretRequest>,
    ) -> Result<Response<wire::GetSecretResponse>, Status> {
        let request = request.into_inner();
        self.0
            .note("GetSecret", request.provider_ref, request.source_namespace);
        let mut unfinished = Unfinished(Some(&self.0.cancelled));
        let delay = *self.0.delay.lock();
        tokio::time::sleep(delay).await;
        unfinished.0 = None;
        answer(&self.0.secret).map(|value| Response::new(wire::GetSecretResponse { value }))
    }

    async fn get_secret_map(
        &self,
        request: Request<wire::GetSecretMapRequest>,
    ) -> Result<Response<wire::GetSecretMapResponse>, Status> {
        let request = request.into_inner();
        self.0.note(
            "GetSecretMap",
            request.provider_ref,
            request.source_namespace,
        );
        answer(&self.0.map).map(|secrets| Response::new(wire::GetSecretMapResponse { secrets }))
    }

    async fn push_secret(
        &self,
        _: Request<wire::PushSecretRequest>,
    ) -> Result<Response<wire::PushSecretResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn delete_secret(
        &self,
        _: Request<wire::DeleteSecretRequest>,
    ) -> Result<Response<wire::DeleteSecretResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn secret_exists(
        &self,
        _: Request<wire::SecretExistsRequest>,
    ) -> Result<Response<wire::SecretExistsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_all_secrets(
        &self,
        request: Request<wire::GetAllSecretsRequest>,
    ) -> Result<Response<wire::GetAllSecretsResponse>, Status> {
        let request = request.into_inner();
        self.0.note(
            "GetAllSecrets",
            request.provider_ref,
            request.source_namespace,
        );
        self.0.finds.lock().push(request.find.unwrap_or_default());
        answer(&self.0.all).map(|secrets| Response::new(wire::GetAllSecretsResponse { secrets }))
    }

    async fn validate(
        &self,
        request: Request<wire::ValidateRequest>,
    ) -> Result<Response<wire::ValidateResponse>, Status> {
        let request = request.into_inner();
        self.0
            .note("Validate", request.provider_ref, request.source_namespace);
        answer(&self.0.validate).map(Response::new)
    }

    async fn capabilities(
        &self,
        request: Request<wire::CapabilitiesRequest>,
    ) -> Result<Response<wire::CapabilitiesResponse>, Status> {
        let request = request.into_inner();
        self.0.note(
            "Capabilities",
            request.provider_ref,
            request.source_namespace,
        );
        answer(&self.0.capabilities)
            .map(|capabilities| Response::new(wire::CapabilitiesResponse { capabilities }))
    }
}

#[tonic::async_trait]
impl GeneratorProvider for Service {
    async fn generate(
        &self,
        request: Request<generator::GenerateRequest>,
    ) -> Result<Response<generator::GenerateResponse>, Status> {
        let attempt = request.metadata().get("eso-attempt-id");
        let attempt = attempt.map(|id| id.as_bytes().to_vec()).unwrap_or_default();
        let request = request.into_inner();
        self.0.note_generator(
            "Generate",
            request.generator_ref,
            request.source_namespace,
            attempt,
        );
        let delay = *self.0.delay.lock();
        tokio::time::sleep(delay).await;
        answer(&self.0.generate)
            .map(|(secrets, state)| Response::new(generator::GenerateResponse { secrets, state }))
    }

    async fn cleanup(
        &self,
        request: Request<generator::CleanupRequest>,
    ) -> Result<Response<generator::CleanupResponse>, Status> {
        let request = request.into_inner();
        self.0.note_generator(
            "Cleanup",
            request.generator_ref,
            request.source_namespace,
            request.state,
        );
        answer(&self.0.cleanup).map(|()| Response::new(generator::CleanupResponse {}))
    }
}

/// A running provider.
pub(super) struct Provider {
    pub(super) script: Arc<Script>,
    pub(super) port: u16,
    pub(super) counts: CountsReader,
    cancel: CancellationToken,
}

/// What it tells about its health.
#[derive(Clone, Copy)]
pub(super) enum Serves {
    Healthy,
    NotServing,
    /// No health service.
    Silent,
    /// Nothing but health.
    HealthOnly,
}

impl Provider {
    pub(super) async fn start(authority: &Authority) -> Self {
        Self::serving(authority, Serves::Healthy, 0).await
    }

    pub(super) async fn serving(authority: &Authority, serves: Serves, port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cancel = CancellationToken::new();
        let incoming = Incoming::new(
            listener,
            authority.server().into(),
            &ServerOptions::default(),
            &cancel,
        );
        let counts = incoming.counts_reader();
        let script = Arc::new(Script::default());
        let (reporter, health) = tonic_health::server::health_reporter();
        let status = match serves {
            Serves::NotServing => ServingStatus::NotServing,
            Serves::Healthy | Serves::Silent | Serves::HealthOnly => ServingStatus::Serving,
        };
        reporter.set_service_status("", status).await;
        let health = (!matches!(serves, Serves::Silent)).then_some(health);
        let store = SecretStoreProviderServer::new(Service(script.clone()));
        let store = (!matches!(serves, Serves::HealthOnly)).then_some(store);
        let generators = GeneratorProviderServer::new(Service(script.clone()));
        let generators = (!matches!(serves, Serves::HealthOnly)).then_some(generators);
        let heard = script.clone();
        let listening = move |request: Request<()>| {
            let header = request.metadata().get("authorization");
            let header = header.map(|header| header.to_str().unwrap_or("?").to_owned());
            heard.authorizations.lock().push(header);
            heard.callers.lock().push(said(request.metadata()));
            Ok(request)
        };
        let server = tonic::transport::Server::builder()
            .layer(tonic::service::InterceptorLayer::new(listening))
            .add_optional_service(health)
            .add_optional_service(store)
            .add_optional_service(generators);
        tokio::spawn(
            server.serve_with_incoming_shutdown(incoming, cancel.clone().cancelled_owned()),
        );
        Self {
            script,
            port,
            counts,
            cancel,
        }
    }

    pub(super) fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// All that is needed to call providers, with the identity of `authority`'s client and any host allowed.
pub(super) fn providers(authority: &Authority) -> Providers {
    providers_with(Some(authority), Duration::from_secs(10))
}

pub(super) fn providers_with(authority: Option<&Authority>, timeout: Duration) -> Providers {
    let own = OwnIdentity::new("the test");
    if let Some(authority) = authority {
        own.set(authority.client());
    }
    Providers {
        policy: Policy {
            allowed_hosts: AllowedHosts::new(["*"]),
            ..Policy::default()
        },
        identities: Identities::from_files(own, "/nonexistent".into(), "latchkey".into()),
        tokens: Arc::new(Tokens::none()),
        pool: Pool::new(PoolSettings::default(), ProviderMetrics::default()),
        timeout,
    }
}

/// The headers that begin with `eso-`.
fn said(metadata: &MetadataMap) -> BTreeMap<String, String> {
    let headers = metadata.iter().filter_map(|pair| match pair {
        KeyAndValueRef::Ascii(key, value) => {
            Some((key.to_string(), value.to_str().ok()?.to_owned()))
        }
        KeyAndValueRef::Binary(..) => None,
    });
    headers.filter(|(key, _)| key.starts_with("eso-")).collect()
}

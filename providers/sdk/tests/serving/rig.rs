//! A provider that does what it is told, served as the providers of this repository are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use latchkey_proto::provider::v1 as wire;
use latchkey_proto::provider::v1::secret_store_provider_client::SecretStoreProviderClient;
use latchkey_provider_sdk::service::ServiceLimits;
use latchkey_provider_sdk::{
    Capability, ErrorClass, Metrics, Provider, ProviderError, RemoteRef, RequestContext, Result,
    ServedKind, Server, ServerError,
};
use latchkey_secret::SecretValue;
use latchkey_transport::{ClientOptions, Connection, SharedIdentity};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

use crate::pki::Authority;

pub(crate) const KIND: ServedKind = ServedKind {
    api_version: "example.com/v1",
    kind: "Test",
    capability: Capability::ReadOnly,
};
pub(crate) const CANARY: &str = "canary-5f1d";

/// Does what the key says.
#[derive(Default)]
pub(crate) struct Scripted {
    pub(crate) cancelled: Arc<AtomicBool>,
    pub(crate) shut_down: AtomicBool,
}

/// Notes when a call is dropped before its end.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Provider for Scripted {
    fn kinds(&self) -> &[ServedKind] {
        std::slice::from_ref(&KIND)
    }

    async fn get_secret(
        &self,
        context: &RequestContext,
        remote: &RemoteRef,
    ) -> Result<SecretValue> {
        let (verb, argument) = remote.key.split_once(' ').unwrap_or((&remote.key, ""));
        match verb {
            "size" => Ok(SecretValue::new(vec![b'x'; argument.parse().unwrap()])),
            "sleep" => {
                let dropped = Dropped(self.cancelled.clone());
                tokio::time::sleep(Duration::from_millis(argument.parse().unwrap())).await;
                std::mem::forget(dropped);
                Ok(SecretValue::from(argument.to_owned()))
            }
            "panic" => panic!("{CANARY}"),
            "fail" => {
                let class = ErrorClass::from_reason(argument).unwrap();
                Err(ProviderError::new(class, "as told").with_retry_after(Duration::from_secs(7)))
            }
            "scope" => {
                let scope = context.credential_scope();
                Ok(SecretValue::from(format!(
                    "{} {} {} {:?}",
                    context.provider().namespace,
                    scope.namespace(),
                    scope.follows_foreign_namespaces(),
                    context.reconcile_id()
                )))
            }
            _ => Err(ProviderError::secret_not_found()),
        }
    }

    async fn shutdown(&self) {
        self.shut_down.store(true, Ordering::SeqCst);
    }
}

pub(crate) struct Rig {
    pub(crate) authority: Authority,
    pub(crate) provider: Arc<Scripted>,
    pub(crate) identity: SharedIdentity,
    pub(crate) metrics: Metrics,
    pub(crate) grpc: std::net::SocketAddr,
    pub(crate) admin: std::net::SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) serving: JoinHandle<std::result::Result<(), ServerError>>,
}

impl Rig {
    pub(crate) async fn start(limits: ServiceLimits) -> Self {
        let authority = Authority::new();
        let provider = Arc::new(Scripted::default());
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let server = Server {
            provider: provider.clone(),
            metrics: metrics.clone(),
            registry,
            limits,
            drain_timeout: Duration::from_secs(5),
        };
        let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (grpc_address, admin_address) =
            (grpc.local_addr().unwrap(), admin.local_addr().unwrap());
        let identity = SharedIdentity::new(authority.server());
        let stop = CancellationToken::new();
        let (shared, cancelled) = (identity.clone(), stop.clone());
        let serving = tokio::spawn(async move {
            server
                .serve(grpc, admin, async { Some(shared) }, &cancelled)
                .await
        });
        Self {
            authority,
            provider,
            identity,
            metrics,
            grpc: grpc_address,
            admin: admin_address,
            stop,
            serving,
        }
    }

    pub(crate) fn connect(&self, authority: &Authority) -> Connection {
        let address = format!("localhost:{}", self.grpc.port()).parse().unwrap();
        Connection::open(
            &address,
            SharedIdentity::new(authority.client()),
            &ClientOptions::default(),
        )
        .unwrap()
    }

    pub(crate) fn client(&self) -> SecretStoreProviderClient<Channel> {
        self.connect(&self.authority).store_client()
    }

    pub(crate) async fn get(&self, key: &str) -> std::result::Result<Vec<u8>, Status> {
        get(&mut self.client(), request(key)).await
    }

    pub(crate) async fn http(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }
}

pub(crate) fn reference(namespace: &str, store_kind: &str) -> wire::ProviderReference {
    wire::ProviderReference {
        api_version: KIND.api_version.into(),
        kind: KIND.kind.into(),
        name: "cr".into(),
        namespace: namespace.into(),
        store_ref_kind: store_kind.into(),
    }
}

pub(crate) fn request(key: &str) -> wire::GetSecretRequest {
    wire::GetSecretRequest {
        remote_ref: Some(wire::ExternalSecretDataRemoteRef {
            key: key.into(),
            ..Default::default()
        }),
        provider_ref: Some(reference("s", "SecretStore")),
        source_namespace: "s".into(),
    }
}

pub(crate) async fn get(
    client: &mut SecretStoreProviderClient<Channel>,
    request: impl tonic::IntoRequest<wire::GetSecretRequest>,
) -> std::result::Result<Vec<u8>, Status> {
    client
        .get_secret(request)
        .await
        .map(|answer| answer.into_inner().value)
}

pub(crate) fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.domain, "provider.external-secrets.io");
    info.reason.clone()
}

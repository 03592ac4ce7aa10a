//! A provider server on real sockets, with real certificates.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests may")]

#[path = "../../../../tests/documented.rs"]
mod documented;
mod pki;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use latchkey_proto::provider::v1 as wire;
use latchkey_proto::provider::v1::secret_store_provider_client::SecretStoreProviderClient;
use latchkey_provider_sdk::service::ServiceLimits;
use latchkey_provider_sdk::{
    Capability, ErrorClass, Metrics, Operation, Provider, ProviderError, RemoteRef, RequestContext,
    Result, ServedKind, Server, ServerError,
};
use latchkey_secret::SecretValue;
use latchkey_transport::{ClientOptions, Connection, SharedIdentity};
use pki::Authority;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const KIND: ServedKind = ServedKind {
    api_version: "example.com/v1",
    kind: "Test",
    capability: Capability::ReadOnly,
};
const CANARY: &str = "canary-5f1d";

/// Does what the key says.
#[derive(Default)]
struct Scripted {
    cancelled: Arc<AtomicBool>,
    shut_down: AtomicBool,
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

struct Rig {
    authority: Authority,
    provider: Arc<Scripted>,
    identity: SharedIdentity,
    metrics: Metrics,
    grpc: std::net::SocketAddr,
    admin: std::net::SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<std::result::Result<(), ServerError>>,
}

impl Rig {
    async fn start(limits: ServiceLimits) -> Self {
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

    fn connect(&self, authority: &Authority) -> Connection {
        let address = format!("localhost:{}", self.grpc.port()).parse().unwrap();
        Connection::open(
            &address,
            SharedIdentity::new(authority.client()),
            &ClientOptions::default(),
        )
        .unwrap()
    }

    fn client(&self) -> SecretStoreProviderClient<Channel> {
        self.connect(&self.authority).store_client()
    }

    async fn get(&self, key: &str) -> std::result::Result<Vec<u8>, Status> {
        get(&mut self.client(), request(key)).await
    }

    async fn http(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }
}

fn reference(namespace: &str, store_kind: &str) -> wire::ProviderReference {
    wire::ProviderReference {
        api_version: KIND.api_version.into(),
        kind: KIND.kind.into(),
        name: "cr".into(),
        namespace: namespace.into(),
        store_ref_kind: store_kind.into(),
    }
}

fn request(key: &str) -> wire::GetSecretRequest {
    wire::GetSecretRequest {
        remote_ref: Some(wire::ExternalSecretDataRemoteRef {
            key: key.into(),
            ..Default::default()
        }),
        provider_ref: Some(reference("s", "SecretStore")),
        source_namespace: "s".into(),
    }
}

async fn get(
    client: &mut SecretStoreProviderClient<Channel>,
    request: impl tonic::IntoRequest<wire::GetSecretRequest>,
) -> std::result::Result<Vec<u8>, Status> {
    client
        .get_secret(request)
        .await
        .map(|answer| answer.into_inner().value)
}

fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.domain, "provider.external-secrets.io");
    info.reason.clone()
}

#[tokio::test]
async fn every_class_arrives_with_its_code_and_details() {
    let rig = Rig::start(ServiceLimits::default()).await;
    for class in ErrorClass::ALL {
        let status = rig
            .get(&format!("fail {}", class.reason()))
            .await
            .unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (class.code(), "as told"),
            "{class:?}"
        );
        assert_eq!(reason(&status), class.reason());
        let delay = status.get_error_details().retry_info().unwrap().retry_delay;
        assert_eq!(delay, Some(Duration::from_secs(7)));
    }
}

#[tokio::test]
async fn malformed_requests_are_refused_before_the_provider() {
    // Conformance PC-06, PC-07.
    let rig = Rig::start(ServiceLimits::default()).await;
    let mut client = rig.client();
    let good = request("size 1");
    let with_reference = |change: fn(&mut wire::ProviderReference)| {
        let mut request = good.clone();
        change(request.provider_ref.as_mut().unwrap());
        request
    };
    for (request, code, class, text) in [
        (
            wire::GetSecretRequest {
                remote_ref: None,
                ..good.clone()
            },
            Code::InvalidArgument,
            "INVALID_ARGUMENT",
            "remote ref is nil",
        ),
        (
            wire::GetSecretRequest {
                source_namespace: String::new(),
                ..good.clone()
            },
            Code::InvalidArgument,
            "INVALID_ARGUMENT",
            "source namespace is required",
        ),
        (
            wire::GetSecretRequest {
                provider_ref: None,
                ..good.clone()
            },
            Code::InvalidArgument,
            "INVALID_ARGUMENT",
            "provider reference is required",
        ),
        (
            with_reference(|reference| reference.api_version = "v1".into()),
            Code::InvalidArgument,
            "UNSUPPORTED_KIND",
            "invalid api version: v1",
        ),
        (
            with_reference(|reference| reference.kind = "Other".into()),
            Code::InvalidArgument,
            "UNSUPPORTED_KIND",
            "resource mapping not found for \"example.com/v1, Kind=Other\"",
        ),
        (
            with_reference(|reference| reference.namespace = "kube-system".into()),
            Code::PermissionDenied,
            "NAMESPACE_MISMATCH",
            "must not use objects of namespace \"kube-system\"",
        ),
    ] {
        let status = get(&mut client, request).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (code, class),
            "{text}"
        );
        assert!(status.message().contains(text), "{}", status.message());
    }
}

#[tokio::test]
async fn what_a_request_lacks_is_said_in_upstreams_words() {
    // X-116, provider-protocol.md 3: the payload first, then the namespace, then the reference.
    let rig = Rig::start(ServiceLimits::default()).await;
    let mut client = rig.client();
    let refused = |status: Status, text: &str| {
        assert_eq!(
            (status.code(), reason(&status).as_str(), status.message()),
            (Code::InvalidArgument, "INVALID_ARGUMENT", text)
        );
    };
    const REMOTE: &str = "request or remote ref is nil";
    const PUSH: &str = "request or push secret data is nil";
    const FIND: &str = "request or find criteria is nil";
    const SOURCE: &str = "source namespace is required";
    const REFERENCE: &str = "provider reference is required";
    // Payload, source namespace, reference.
    const LACKS: [(bool, bool, bool); 3] = [
        (false, false, false),
        (true, false, false),
        (true, true, false),
    ];
    for (has_payload, has_source, has_reference) in LACKS {
        let source = if has_source { "s" } else { "" };
        let provider_ref = has_reference.then(|| reference("s", "SecretStore"));
        let expected = |payload: &'static str| match (has_payload, has_source) {
            (false, _) => payload,
            (true, false) => SOURCE,
            (true, true) => REFERENCE,
        };
        let get = wire::GetSecretRequest {
            remote_ref: has_payload.then(Default::default),
            provider_ref: provider_ref.clone(),
            source_namespace: source.into(),
        };
        let map = wire::GetSecretMapRequest {
            remote_ref: get.remote_ref.clone(),
            provider_ref: provider_ref.clone(),
            source_namespace: source.into(),
        };
        let find = wire::GetAllSecretsRequest {
            provider_ref: provider_ref.clone(),
            find: has_payload.then(Default::default),
            source_namespace: source.into(),
        };
        let push = wire::PushSecretRequest {
            provider_ref: provider_ref.clone(),
            push_secret_data: has_payload.then(Default::default),
            source_namespace: source.into(),
            ..Default::default()
        };
        let delete = wire::DeleteSecretRequest {
            provider_ref: provider_ref.clone(),
            remote_ref: has_payload.then(Default::default),
            source_namespace: source.into(),
        };
        let exists = wire::SecretExistsRequest {
            provider_ref,
            remote_ref: delete.remote_ref.clone(),
            source_namespace: source.into(),
        };
        refused(client.get_secret(get).await.unwrap_err(), expected(REMOTE));
        refused(
            client.get_secret_map(map).await.unwrap_err(),
            expected(REMOTE),
        );
        refused(
            client.get_all_secrets(find).await.unwrap_err(),
            expected(FIND),
        );
        refused(client.push_secret(push).await.unwrap_err(), expected(PUSH));
        refused(
            client.delete_secret(delete).await.unwrap_err(),
            expected(REMOTE),
        );
        refused(
            client.secret_exists(exists).await.unwrap_err(),
            expected(REMOTE),
        );
    }
    let validate = client.validate(wire::ValidateRequest::default()).await;
    refused(validate.unwrap_err(), REFERENCE);
    let capabilities = client
        .capabilities(wire::CapabilitiesRequest::default())
        .await;
    refused(capabilities.unwrap_err(), REFERENCE);
}

#[tokio::test]
async fn namespaces_and_metadata_reach_the_provider() {
    // SB-11, SB-12.
    let rig = Rig::start(ServiceLimits::default()).await;
    let mut client = rig.client();
    let mut cluster = request("scope");
    cluster.provider_ref = Some(reference("p", "ClusterSecretStore"));
    assert_eq!(
        get(&mut client, cluster.clone()).await.unwrap(),
        b"p p true None"
    );
    let mut referent = tonic::Request::new(cluster);
    referent
        .metadata_mut()
        .insert("eso-auth-namespace", "s".parse().unwrap());
    referent
        .metadata_mut()
        .insert("eso-reconcile-id", "42".parse().unwrap());
    assert_eq!(
        get(&mut client, referent).await.unwrap(),
        br#"p s false Some("42")"#
    );
}

#[tokio::test]
async fn operations_that_a_provider_lacks_are_unimplemented() {
    let rig = Rig::start(ServiceLimits::default()).await;
    let mut client = rig.client();
    let exists = wire::SecretExistsRequest {
        provider_ref: Some(reference("s", "SecretStore")),
        remote_ref: Some(wire::PushSecretRemoteRef::default()),
        source_namespace: "s".into(),
    };
    let status = client.secret_exists(exists).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unimplemented, "UNIMPLEMENTED")
    );
    // Capabilities need no namespace and no resource.
    let capabilities = wire::CapabilitiesRequest {
        provider_ref: Some(reference("", "")),
        source_namespace: String::new(),
    };
    let answer = client
        .capabilities(capabilities)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        answer.capabilities(),
        wire::SecretStoreCapabilities::ReadOnly
    );
    // Nor does a Validate without any namespace: nothing is looked up (specification 2.2, rule 4).
    let validate = wire::ValidateRequest {
        provider_ref: Some(reference("", "ClusterSecretStore")),
        source_namespace: String::new(),
    };
    let answer = client.validate(validate).await.unwrap().into_inner();
    assert!(
        answer.valid && answer.warnings[0].starts_with("validation unknown: "),
        "{answer:?}"
    );
}

#[tokio::test]
async fn deadlines_end_calls_and_cancel_the_backend() {
    let rig = Rig::start(ServiceLimits::default()).await;
    let mut slow = tonic::Request::new(request("sleep 20000"));
    slow.set_timeout(Duration::from_secs(2));
    let started = Instant::now();
    let status = get(&mut rig.client(), slow).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(rig.provider.cancelled.load(Ordering::SeqCst));
    assert_eq!(
        rig.metrics
            .requests(Operation::GetSecret, Code::DeadlineExceeded),
        1
    );
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_call() {
    let rig = Rig::start(ServiceLimits::default()).await;
    let mut client = rig.client();
    let call = tokio::spawn(async move { get(&mut client, request("sleep 20000")).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    call.abort();
    for _ in 0..100 {
        if rig.provider.cancelled.load(Ordering::SeqCst) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(rig.provider.cancelled.load(Ordering::SeqCst));
    assert_eq!(
        rig.metrics.requests(Operation::GetSecret, Code::Cancelled),
        1
    );
}

#[tokio::test]
async fn a_panic_is_one_internal_error_and_tells_nothing() {
    let rig = Rig::start(ServiceLimits::default()).await;
    let mut client = rig.client();
    let mut second = rig.client();
    let (other, panicked) = tokio::join!(
        get(&mut second, request("sleep 300")),
        get(&mut client, request("panic"))
    );
    let status = panicked.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Internal, "INTERNAL")
    );
    assert!(!format!("{status:?}").contains(CANARY));
    assert_eq!(other.unwrap(), b"300");
    assert_eq!(
        get(&mut client, request("size 1")).await.unwrap(),
        b"x",
        "the connection lives on"
    );
}

#[tokio::test]
async fn too_many_requests_and_too_large_answers_are_exhausted() {
    let limits = ServiceLimits {
        max_concurrent_requests: 2,
        max_response_bytes: 1000,
        ..ServiceLimits::default()
    };
    let rig = Rig::start(limits).await;
    let status = rig.get("size 1001").await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.message(), "response larger than max (1001 vs. 1000)");
    let (mut first, mut second, mut third) = (rig.client(), rig.client(), rig.client());
    let (first, second, busy) = tokio::join!(
        get(&mut first, request("sleep 1000")),
        get(&mut second, request("sleep 1000")),
        async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            get(&mut third, request("size 1")).await
        }
    );
    assert!(first.is_ok() && second.is_ok());
    let status = busy.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::ResourceExhausted, "SERVER_BUSY")
    );
    assert_eq!(
        status.get_error_details().retry_info().unwrap().retry_delay,
        Some(Duration::from_secs(1))
    );
    assert_eq!(rig.get("size 1").await.unwrap(), b"x");
}

#[tokio::test]
async fn a_request_above_the_receive_limit_is_exhausted() {
    // Conformance PC-18.
    let rig = Rig::start(ServiceLimits::default()).await;
    let push = wire::PushSecretRequest {
        provider_ref: Some(reference("s", "SecretStore")),
        secret_data: [("k".to_owned(), vec![0; 5 << 20])].into(),
        push_secret_data: Some(wire::PushSecretData::default()),
        source_namespace: "s".into(),
        ..Default::default()
    };
    let status = rig.client().push_secret(push).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
}

#[tokio::test]
async fn only_clients_of_the_authority_are_served() {
    let rig = Rig::start(ServiceLimits::default()).await;
    let stranger = rig.connect(&Authority::new());
    let status = get(&mut stranger.store_client(), request("size 1"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(rig.metrics.requests(Operation::GetSecret, Code::Ok), 0);
}

#[tokio::test]
async fn a_replaced_identity_serves_new_connections_without_restart() {
    let rig = Rig::start(ServiceLimits::default()).await;
    let mut before = rig.client();
    get(&mut before, request("size 1")).await.unwrap();
    let next = Authority::new();
    assert!(rig.identity.replace(next.server()));
    assert_eq!(
        get(&mut rig.connect(&next).store_client(), request("size 2"))
            .await
            .unwrap(),
        b"xx"
    );
    assert_eq!(
        get(&mut before, request("size 3")).await.unwrap(),
        b"xxx",
        "an open connection lives on"
    );
    assert!(rig.get("size 1").await.is_err());
    let (_, metrics) = rig.http("/metrics").await;
    assert!(
        metrics.contains("eso_provider_certificate_hot_reload_total 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn health_is_that_of_the_empty_service_name() {
    // Conformance PC-15.
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    let rig = Rig::start(ServiceLimits::default()).await;
    let mut client = HealthClient::new(rig.connect(&rig.authority).channel());
    let answer = client
        .check(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        answer.status(),
        tonic_health::pb::health_check_response::ServingStatus::Serving
    );
    let named = HealthCheckRequest {
        service: "provider.v1.SecretStoreProvider".into(),
    };
    assert_eq!(
        client.check(named).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn the_admin_server_tells_health_and_series_without_values() {
    let rig = Rig::start(ServiceLimits::default()).await;
    rig.get("size 3").await.unwrap();
    rig.get("panic").await.unwrap_err();
    rig.get("absent").await.unwrap_err();
    for path in ["/healthz", "/readyz"] {
        let (code, answer) = rig.http(path).await;
        assert_eq!(code, 200);
        assert!(answer.ends_with("ok"), "{answer}");
    }
    let (code, text) = rig.http("/metrics").await;
    assert_eq!(code, 200);
    for series in [
        r#"provider_grpc_requests_total{method="GetSecret",code="OK"} 1"#,
        r#"provider_grpc_requests_total{method="GetSecret",code="NOT_FOUND"} 1"#,
        r#"provider_grpc_requests_total{method="GetSecret",code="INTERNAL"} 1"#,
        r#"provider_grpc_request_duration_seconds_count{method="GetSecret"} 3"#,
        r#"provider_tls_handshakes_total{result="accepted"} 3"#,
        "eso_provider_certificate_expiry_seconds ",
    ] {
        assert!(text.contains(series), "{series} is not in\n{text}");
    }
    assert!(!text.contains(CANARY));
    let call = rig.metrics.api_call("P", "Get", async { Ok(()) });
    call.await.unwrap();
    let (_, text) = rig.http("/metrics").await;
    let exposition = &text[text.find("# HELP").unwrap()..];
    documented::assert_documented("Provider servers", exposition);
    assert_eq!(rig.http("/other").await.0, 404);
}

#[tokio::test]
async fn the_stop_drains_requests_and_lets_the_provider_clean_up() {
    let rig = Rig::start(ServiceLimits::default()).await;
    let mut client = rig.client();
    let call = tokio::spawn(async move { get(&mut client, request("sleep 800")).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    rig.stop.cancel();
    assert_eq!(
        call.await.unwrap().unwrap(),
        b"800",
        "a request in flight finishes"
    );
    rig.serving.await.unwrap().unwrap();
    assert!(rig.provider.shut_down.load(Ordering::SeqCst));
    assert!(
        TcpStream::connect(rig.grpc).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn without_identity_the_admin_server_is_up_and_not_ready() {
    let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = admin.local_addr().unwrap();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let provider = Arc::new(Scripted::default());
    let server = Server {
        provider,
        metrics,
        registry,
        limits: ServiceLimits::default(),
        drain_timeout: Duration::ZERO,
    };
    let stop = CancellationToken::new();
    let cancelled = stop.clone();
    let serving = tokio::spawn(async move {
        let waiting = async {
            cancelled.cancelled().await;
            None
        };
        server.serve(grpc, admin, waiting, &cancelled).await
    });
    let mut answers = Vec::new();
    for path in ["/healthz", "/readyz"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answers.push(answer[9..12].to_owned());
    }
    assert_eq!(answers, ["200", "503"]);
    stop.cancel();
    serving.await.unwrap().unwrap();
}

//! The life of a server: identities, health, series, the end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use latchkey_provider_sdk::service::ServiceLimits;
use latchkey_provider_sdk::{Metrics, Operation, Server};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::documented;
use crate::pki::Authority;
use crate::rig::{CANARY, Rig, Scripted, get, request};

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

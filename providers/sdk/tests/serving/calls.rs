//! How calls end that do not end well, and the bounds of all of them.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use latchkey_proto::provider::v1 as wire;
use latchkey_provider_sdk::Operation;
use latchkey_provider_sdk::service::ServiceLimits;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::rig::{CANARY, Rig, get, reason, reference, request};

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

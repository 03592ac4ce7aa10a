//! Deadlines, retries, breaker and fall-back.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use latchkey_engine::source::{CallerNeeds, FailureClass};
use latchkey_proto::provider::v1::ExternalSecretDataRemoteRef;
use latchkey_transport::ConnectError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::server::{Authority, Provider, Serves, providers, providers_with};
use crate::providers::client::Client;
use crate::providers::{Cause, FAILURES_TO_OPEN, Pool, PoolSettings, ProviderMetrics, Providers};
use crate::stores::wire::Target;
use crate::stores::{RetryOverride, Usable};

pub(super) fn remote() -> ExternalSecretDataRemoteRef {
    ExternalSecretDataRemoteRef {
        key: "db".into(),
        ..Default::default()
    }
}

pub(super) fn target() -> Target {
    Target {
        provider_ref: Default::default(),
        source_namespace: "team-a".into(),
    }
}

fn usable(provider: &Provider) -> Usable {
    Usable {
        address: provider.address().parse().unwrap(),
        certificate: None,
        token: None,
        caller: CallerNeeds::default(),
        server_name: None,
        retry: None,
    }
}

pub(super) async fn client(providers: &Providers, provider: &Provider) -> Client {
    providers.client(&usable(provider)).await.unwrap()
}

/// Fails with each status in turn, then succeeds.
fn in_turn(statuses: Vec<Status>) -> impl FnMut() -> Result<Vec<u8>, Status> + Send + 'static {
    let mut statuses = statuses.into_iter();
    move || statuses.next().map_or_else(|| Ok(b"value".to_vec()), Err)
}

#[tokio::test]
async fn only_codes_that_may_pass_are_tried_again() {
    // P-RT-1, PC-18, PC-20, X-121.
    let authority = Authority::new();
    let detailed = |code, reason: &str| {
        let mut details = ErrorDetails::new();
        details.set_error_info(
            reason,
            "provider.external-secrets.io",
            std::collections::HashMap::new(),
        );
        Status::with_error_details(code, "", details)
    };
    let twice = |status: Status| vec![status.clone(), status];
    let cases = [
        (twice(Status::unavailable("down")), 3, true),
        (twice(Status::aborted("busy")), 3, true),
        (twice(Status::resource_exhausted("slow down")), 3, true),
        (twice(Status::deadline_exceeded("late")), 3, true),
        // How a server built on tonic says the same.
        (twice(Status::cancelled("Timeout expired")), 3, true),
        (twice(Status::cancelled("shutting down")), 1, false),
        (
            twice(detailed(Code::Unavailable, "BACKEND_UNAVAILABLE")),
            3,
            true,
        ),
        (vec![Status::unavailable("down"); 3], 3, false),
        (
            twice(Status::resource_exhausted(
                "grpc: received message larger than max (5 vs. 4)",
            )),
            1,
            false,
        ),
        (
            twice(Status::resource_exhausted(
                "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes",
            )),
            1,
            false,
        ),
        (
            twice(detailed(Code::ResourceExhausted, "RESULT_TOO_LARGE")),
            1,
            false,
        ),
        (twice(Status::unknown("wrong password")), 1, false),
        (twice(Status::not_found("no")), 1, false),
        (twice(Status::unauthenticated("no")), 1, false),
        (twice(Status::internal("bug")), 1, false),
        (twice(Status::data_loss("lost")), 1, false),
    ];
    for (statuses, attempts, succeeds) in cases {
        let provider = Provider::start(&authority).await;
        let providers = providers(&authority);
        let text = format!("{:?}", statuses[0]);
        provider.script.on_secret(in_turn(statuses));
        let result = client(&providers, &provider)
            .await
            .get_secret(&target(), remote())
            .await;
        assert_eq!(provider.script.count("GetSecret"), attempts, "{text}");
        assert_eq!(result.is_ok(), succeeds, "{text}: {result:?}");
    }
}

#[tokio::test]
async fn failures_are_classified_by_code() {
    // P-ERR-1 and section 3; PC-04, X-118: NOT_FOUND is a missing secret.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    let providers = providers(&authority);
    let client = client(&providers, &provider).await;
    let cases = [
        (
            Status::unknown("vault said no"),
            FailureClass::Provider,
            "failed to get secret via gRPC: vault said no",
        ),
        (
            Status::unauthenticated("login\nfailed"),
            FailureClass::Unauthorized,
            "failed to get secret via gRPC: login failed",
        ),
        (
            Status::permission_denied("no"),
            FailureClass::Unauthorized,
            "failed to get secret via gRPC: no",
        ),
        (
            Status::failed_precondition("no CR"),
            FailureClass::Configuration,
            "failed to get secret via gRPC: no CR",
        ),
        (
            Status::unimplemented(""),
            FailureClass::Configuration,
            "failed to get secret via gRPC: Unimplemented",
        ),
        (
            Status::cancelled("Timeout expired"),
            FailureClass::Timeout,
            "failed to get secret via gRPC: the time was up",
        ),
        (
            Status::unknown("bad request id: 1234, Credential=AKIA"),
            FailureClass::Provider,
            "failed to get secret via gRPC: bad request id: ..., Credential: ...",
        ),
    ];
    for (status, class, text) in cases {
        let mut given = Some(status);
        provider
            .script
            .on_secret(move || Err(given.take().unwrap()));
        let error = client.get_secret(&target(), remote()).await.unwrap_err();
        assert_eq!((error.class(), error.to_string().as_str()), (class, text));
    }
    provider
        .script
        .on_secret(|| Err(Status::not_found("secret db not found")));
    let error = client.get_secret(&target(), remote()).await.unwrap_err();
    assert_eq!(
        (error.cause, error.text.as_str()),
        (Cause::NoSecret, "Secret does not exist")
    );
    // PC-09: a missing configuration object is no missing secret.
    provider.script.on_validate(|| Err(Status::not_found("no")));
    let error = client.validate(&target()).await.unwrap_err();
    assert_eq!(
        error.cause,
        Cause::Status {
            code: Code::NotFound,
            reason: None
        }
    );
}

#[tokio::test]
async fn wait_that_the_provider_asks_for_is_honoured_within_the_deadline() {
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    let providers = providers(&authority);
    let client = client(&providers, &provider).await;
    let throttled = |delay| {
        let details = ErrorDetails::with_retry_info(Some(delay));
        Status::with_error_details(Code::ResourceExhausted, "slow down", details)
    };
    provider
        .script
        .on_secret(in_turn(vec![throttled(Duration::from_millis(400))]));
    let start = std::time::Instant::now();
    client.get_secret(&target(), remote()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(400));

    provider
        .script
        .on_secret(in_turn(vec![throttled(Duration::from_secs(60))]));
    let error = client.get_secret(&target(), remote()).await.unwrap_err();
    assert_eq!(
        (error.class(), error.retry_after),
        (FailureClass::Unavailable, Some(Duration::from_secs(60)))
    );

    // What no clock can hold is an hour.
    provider
        .script
        .on_secret(in_turn(vec![throttled(Duration::MAX)]));
    let error = client.get_secret(&target(), remote()).await.unwrap_err();
    assert_eq!(error.retry_after, Some(Duration::from_secs(3600)));
}

#[tokio::test]
async fn settings_of_the_store_decide_the_attempts() {
    // P-RT-3.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    let providers = providers(&authority);
    for (retries, attempts) in [(0, 1), (4, 5)] {
        let retry = Some(RetryOverride {
            retries,
            interval: Duration::from_millis(1),
        });
        let client = providers
            .client(&Usable {
                retry,
                ..usable(&provider)
            })
            .await
            .unwrap();
        let before = provider.script.count("GetSecret");
        provider.script.on_secret(|| Err(Status::aborted("busy")));
        assert!(client.get_secret(&target(), remote()).await.is_err());
        assert_eq!(provider.script.count("GetSecret") - before, attempts);
    }
}

#[tokio::test]
async fn late_answers_end_at_the_deadline_and_the_provider_sees_it() {
    // PC-31.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    let providers = providers_with(Some(&authority), Duration::from_millis(300));
    *provider.script.delay.lock() = Duration::from_secs(60);
    let start = std::time::Instant::now();
    let error = client(&providers, &provider)
        .await
        .get_secret(&target(), remote())
        .await
        .unwrap_err();
    assert_eq!(
        (error.class(), &error.cause),
        (FailureClass::Timeout, &Cause::Timeout),
        "{error}"
    );
    assert!(start.elapsed() < Duration::from_secs(5));
    for _ in 0..100 {
        if provider.script.cancelled.load(Ordering::SeqCst) == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the provider's handler goes on");
}

#[tokio::test]
async fn breaker_opens_on_a_provider_that_is_away_and_never_on_its_answers() {
    // PC-20, PC-21, P-RT-4, X-122.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    let providers = providers(&authority);
    let store = Usable {
        retry: Some(RetryOverride {
            retries: 0,
            interval: Duration::from_millis(1),
        }),
        ..usable(&provider)
    };
    let client = providers.client(&store).await.unwrap();
    let backend = || {
        let mut details = ErrorDetails::new();
        details.set_error_info(
            "BACKEND_UNAVAILABLE",
            "provider.external-secrets.io",
            std::collections::HashMap::new(),
        );
        Status::with_error_details(Code::Unavailable, "vault is away", details)
    };
    let harmless: [fn() -> Status; 3] = [
        || Status::unknown("no"),
        || Status::unauthenticated("no"),
        || Status::resource_exhausted("slow"),
    ];
    for status in harmless {
        provider.script.on_secret(move || Err(status()));
        for _ in 0..100 {
            let error = client.get_secret(&target(), remote()).await.unwrap_err();
            assert!(matches!(error.cause, Cause::Status { .. }), "{error}");
        }
    }
    provider.script.on_secret(move || Err(backend()));
    for _ in 0..20 {
        let error = client.get_secret(&target(), remote()).await.unwrap_err();
        assert_eq!(error.text, "vault is away");
    }

    let open = || Cause::BreakerOpen {
        last_failure: "down".into(),
    };
    let mut changes = providers.pool.breaker_changes();
    changes.mark_unchanged();
    provider
        .script
        .on_secret(|| Err(Status::unavailable("down")));
    for _ in 0..FAILURES_TO_OPEN {
        client.get_secret(&target(), remote()).await.unwrap_err();
    }
    let before = provider.script.count("GetSecret");
    let error = client.get_secret(&target(), remote()).await.unwrap_err();
    assert_eq!(
        (error.cause.clone(), error.class()),
        (open(), FailureClass::Unavailable)
    );
    assert_eq!(error.text, "circuit breaker is open: down");
    assert!(
        error
            .retry_after
            .is_some_and(|wait| wait <= Duration::from_secs(30))
    );
    assert_eq!(provider.script.count("GetSecret"), before);
    assert!(changes.has_changed().unwrap());
    // Every call on the same connection fails, a new client's too.
    let again = providers.client(&store).await.unwrap();
    assert_eq!(
        again
            .get_secret(&target(), remote())
            .await
            .unwrap_err()
            .cause,
        open()
    );
}

#[tokio::test]
async fn provider_that_returns_is_used_again_without_restart() {
    // PC-19, X-123: a connection that broke is made again under the same entry of the pool.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    let providers = providers(&authority);
    let client = client(&providers, &provider).await;
    provider.script.on_secret(|| Ok(b"one".to_vec()));
    client.get_secret(&target(), remote()).await.unwrap();
    let port = provider.port;
    drop(provider);
    // It answers until its shutdown has begun.
    let mut failure = None;
    for _ in 0..100 {
        failure = client.get_secret(&target(), remote()).await.err();
        if failure.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let error = failure.unwrap();
    assert_eq!(error.class(), FailureClass::Unavailable, "{error}");
    let provider = Provider::serving(&authority, Serves::Healthy, port).await;
    provider.script.on_secret(|| Ok(b"two".to_vec()));
    let value = client.get_secret(&target(), remote()).await.unwrap();
    assert_eq!(value.expose(), b"two");
}

#[tokio::test]
async fn refused_certificate_is_named_and_not_tried_again() {
    // P-TLS-3, SB-23, SB-28.
    let (authority, other) = (Authority::new(), Authority::new());
    let provider = Provider::start(&authority).await;
    let providers = providers(&other);
    let error = client(&providers, &provider)
        .await
        .get_secret(&target(), remote())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error.cause,
            Cause::Connect(ConnectError::ServerCertificate { .. })
        ),
        "{error:?}"
    );
    assert_eq!(error.class(), FailureClass::Unavailable);
    assert!(
        error.to_string().contains("certificate of localhost:"),
        "{error}"
    );
    assert_eq!(provider.counts.get().accepted, 0);
}

#[tokio::test]
async fn series_count_calls_by_outcome_and_hold_no_remote_key() {
    // SB-24: metrics.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    let metrics = ProviderMetrics::default();
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let mut providers = providers(&authority);
    providers.pool = Pool::new(PoolSettings::default(), metrics);
    let client = client(&providers, &provider).await;
    let calls = AtomicU32::new(0);
    provider
        .script
        .on_secret(move || match calls.fetch_add(1, Ordering::SeqCst) {
            0 => Err(Status::unavailable("down")),
            1 => Ok(b"canary-value".to_vec()),
            _ => Err(Status::not_found("no")),
        });
    let secret = ExternalSecretDataRemoteRef {
        key: "canary-key".into(),
        ..Default::default()
    };
    client.get_secret(&target(), secret.clone()).await.unwrap();
    client.get_secret(&target(), secret).await.unwrap_err();
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let address = provider.address();
    for line in [
        format!(
            "grpc_client_requests_total{{method=\"GetSecret\",target=\"{address}\",status=\"success\"}} 1"
        ),
        format!(
            "grpc_client_requests_total{{method=\"GetSecret\",target=\"{address}\",status=\"error\"}} 1"
        ),
        format!(
            "grpc_client_request_errors_total{{method=\"GetSecret\",target=\"{address}\",error_type=\"unknown\"}} 1"
        ),
        format!(
            "eso_agent_provider_rpc_total{{provider=\"{address}\",method=\"GetSecret\",grpc_code=\"NOT_FOUND\"}} 1"
        ),
        format!(
            "eso_agent_provider_retries_total{{provider=\"{address}\",method=\"GetSecret\"}} 1"
        ),
        format!("eso_agent_provider_breaker_state{{provider=\"{address}\"}} 0"),
        format!("grpc_pool_misses_total{{address=\"{address}\",tls_enabled=\"true\"}} 1"),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }
    assert!(!text.contains("canary"));
}

#[tokio::test]
async fn health_is_neither_refused_nor_counted_by_the_breaker() {
    // A store that is validated before its provider starts must not hold its consumers back afterwards.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    let port = provider.port;
    let providers = providers(&authority);
    let client = client(&providers, &provider).await;
    drop(provider);
    let mut failures = 0;
    for _ in 0..100 {
        failures += u32::from(client.health().await.is_err());
        if failures > FAILURES_TO_OPEN {
            break;
        }
    }
    assert!(failures > FAILURES_TO_OPEN);
    let provider = Provider::serving(&authority, Serves::Healthy, port).await;
    provider.script.on_secret(|| Ok(b"value".to_vec()));
    client.get_secret(&target(), remote()).await.unwrap();
    provider
        .script
        .on_secret(|| Err(Status::unavailable("down")));
    for _ in 0..FAILURES_TO_OPEN {
        client.get_secret(&target(), remote()).await.unwrap_err();
    }
    assert_eq!(client.health().await, Ok(crate::providers::Health::Serving));
    let error = client.get_secret(&target(), remote()).await.unwrap_err();
    assert!(matches!(error.cause, Cause::BreakerOpen { .. }), "{error}");
}

use std::sync::atomic::{AtomicUsize, Ordering};

use latchkey_secret::{SecretData, SecretValue};
use prometheus_client::registry::Registry;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;

const API_VERSION: &str = "provider.generator.example.com/v1";

/// Counts what it is asked. `Counter` leaves a state, `Plain` none, `Broken` one that is too large.
#[derive(Default)]
struct Scripted {
    made: AtomicUsize,
    revoked: AtomicUsize,
}

impl Provider for Scripted {
    fn generator_kinds(&self) -> &[GeneratorKind] {
        const fn kind(kind: &'static str, is_stateful: bool) -> GeneratorKind {
            GeneratorKind {
                api_version: API_VERSION,
                kind,
                is_stateful,
            }
        }
        const KINDS: [GeneratorKind; 3] = [
            kind("Counter", true),
            kind("Plain", false),
            kind("Broken", true),
        ];
        &KINDS
    }

    async fn generate(&self, context: &RequestContext) -> Result<Generated> {
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        let text = format!(
            "{number} {} {} {}",
            context.provider().namespace,
            context.source_namespace(),
            context.credential_scope().namespace()
        );
        let state = match context.provider().kind.as_str() {
            "Counter" => Some(br#"{"v":1}"#.to_vec()),
            "Broken" => Some(vec![b'1'; MAX_STATE_BYTES + 1]),
            _ => None,
        };
        Ok(Generated {
            data: SecretData::from([("value".to_owned(), SecretValue::from(text))]),
            state,
        })
    }

    async fn cleanup(&self, _: &RequestContext, _: &[u8]) -> Result<()> {
        self.revoked.fetch_add(1, Ordering::SeqCst);
        Err(ProviderError::secret_not_found())
    }
}

fn service() -> GeneratorService<Scripted> {
    let metrics = Metrics::register(&mut Registry::default());
    GeneratorService::new(Arc::default(), metrics, ServiceLimits::default())
}

fn request(kind: &str, namespace: &str, source: &str) -> wire::GenerateRequest {
    wire::GenerateRequest {
        generator_ref: Some(wire::GeneratorRef {
            api_version: API_VERSION.into(),
            kind: kind.into(),
            name: "g".into(),
            namespace: namespace.into(),
        }),
        source_namespace: source.into(),
    }
}

fn attempt(id: &str, request: wire::GenerateRequest) -> Request<wire::GenerateRequest> {
    let mut request = Request::new(request);
    request
        .metadata_mut()
        .insert(METADATA_ATTEMPT_ID, id.parse().unwrap());
    request
}

async fn value(
    service: &GeneratorService<Scripted>,
    request: Request<wire::GenerateRequest>,
) -> String {
    let answer = service.generate(request).await.unwrap().into_inner();
    String::from_utf8(answer.secrets["value"].clone()).unwrap()
}

#[tokio::test]
async fn malformed_references_are_refused_in_upstreams_order() {
    // PC-26, SB-16: the group first, then the kind.
    let reference = |api_version: &str, kind: &str, name: &str| {
        Some(wire::GeneratorRef {
            api_version: api_version.into(),
            kind: kind.into(),
            name: name.into(),
            namespace: String::new(),
        })
    };
    let service = service();
    for (reference, source, reason, text) in [
        (
            None,
            "",
            "INVALID_ARGUMENT",
            "request or generator ref is nil",
        ),
        (
            reference("v1", "Plain", "g"),
            "",
            "UNSUPPORTED_KIND",
            "failed to get generator: invalid api version: v1",
        ),
        (
            reference("a/b/c", "Plain", "g"),
            "",
            "UNSUPPORTED_KIND",
            "failed to get generator: invalid api version: a/b/c",
        ),
        (
            reference("apps/v1", "Plain", "g"),
            "",
            "UNSUPPORTED_KIND",
            "failed to get generator: generatorRef may only reference the generators group, but got apps",
        ),
        (
            reference("provider.generator.example.com/v2", "Plain", "g"),
            "",
            "UNSUPPORTED_KIND",
            "failed to get generator: generator mapping not found for \"provider.generator.example.com/v2, Kind=Plain\"",
        ),
        (
            reference(API_VERSION, "Other", "g"),
            "",
            "UNSUPPORTED_KIND",
            "failed to get generator: generator mapping not found for \"provider.generator.example.com/v1, Kind=Other\"",
        ),
        (
            reference(API_VERSION, "Plain", ""),
            "a",
            "INVALID_ARGUMENT",
            "failed to get generator: the reference has no name",
        ),
        (
            reference(API_VERSION, "Plain", "g"),
            "",
            "INVALID_ARGUMENT",
            "source namespace is required",
        ),
    ] {
        let refused = service
            .generate(Request::new(wire::GenerateRequest {
                generator_ref: reference,
                source_namespace: source.into(),
            }))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{text}");
        assert_eq!(refused.message(), text);
        let info = refused.get_details_error_info().unwrap();
        assert_eq!(info.reason, reason, "{text}");
    }
    assert_eq!(service.provider.made.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn credentials_are_those_of_the_source_namespace_wherever_the_resource_is() {
    // provider-protocol.md 9.5; PC-08 for generators.
    let service = service();
    for (namespace, source, expected) in [
        ("", "m", "0 m m m"),
        ("m", "m", "1 m m m"),
        ("p", "m", "2 p m m"),
        ("p", "p", "3 p p p"),
    ] {
        let made = value(&service, Request::new(request("Plain", namespace, source))).await;
        assert_eq!(made, expected);
    }
}

#[tokio::test]
async fn a_repeated_attempt_of_a_stateful_kind_gets_the_first_result() {
    // G-01.
    let service = service();
    let counter = || request("Counter", "p", "m");
    assert_eq!(value(&service, attempt("a", counter())).await, "0 p m m");
    assert_eq!(value(&service, attempt("a", counter())).await, "0 p m m");
    assert_eq!(value(&service, attempt("b", counter())).await, "1 p m m");
    // The id alone is no key to what another caller had made.
    let other = attempt("a", request("Counter", "p", "other"));
    assert_eq!(value(&service, other).await, "2 p other other");
    let plain = || attempt("a", request("Plain", "p", "m"));
    assert_eq!(value(&service, plain()).await, "3 p m m");
    assert_eq!(value(&service, plain()).await, "4 p m m");
}

#[test]
fn results_of_attempts_are_kept_for_ten_minutes_and_within_a_bound() {
    // G-01.
    let attempts = Attempts::default();
    let begin = Instant::now();
    let key = |id: String| (id, ProviderReference::default(), String::new());
    let of = |id: &str, after| attempts.of(key(id.into()), begin + after);
    let first = of("a", Duration::ZERO);
    let nearly = REPLAY_TIME - Duration::from_secs(1);
    assert!(Arc::ptr_eq(&first, &of("a", nearly)));
    assert!(!Arc::ptr_eq(&first, &of("a", REPLAY_TIME)));
    for id in 0..2 * MAX_ATTEMPTS {
        attempts.of(key(id.to_string()), begin + REPLAY_TIME);
    }
    assert_eq!(attempts.0.lock().len(), MAX_ATTEMPTS);
}

#[tokio::test]
async fn a_state_that_cannot_be_kept_is_revoked_at_once() {
    let service = service();
    let refused = service
        .generate(Request::new(request("Broken", "p", "p")))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Internal);
    assert_eq!(service.provider.revoked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn cleanup_of_no_state_is_done_and_never_says_not_found() {
    // E246.
    let service = service();
    let cleanup = |state: &[u8]| wire::CleanupRequest {
        generator_ref: request("Counter", "p", "p").generator_ref,
        state: state.to_vec(),
        source_namespace: "p".into(),
    };
    service.cleanup(Request::new(cleanup(b""))).await.unwrap();
    assert_eq!(service.provider.revoked.load(Ordering::SeqCst), 0);
    let refused = service
        .cleanup(Request::new(cleanup(b"{}")))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Internal);
}

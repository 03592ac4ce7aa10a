//! From a generatorRef to what the provider is asked, and back by snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use latchkey_crds::conditions::ConditionStatus;
use latchkey_crds::external_secret::GeneratorRef;
use latchkey_engine::source::{FailureClass, GenerateError, GeneratedState, Source as _};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::server::{Authority, Provider, Serves, providers, providers_with};
use super::source::{Held, caller, failure, object};
use crate::providers::ProviderSource;
use crate::stores::validation::examine;
use crate::stores::{AllowedHosts, Store};

pub(super) fn generator(namespace: &str, address: &str, rest: Value) -> Store {
    let object = object(
        json!({"name": "pass", "namespace": namespace, "uid": "u", "generation": 1}),
        address,
        rest,
    );
    Store::from(&serde_json::from_value::<latchkey_crds::generator::Generator>(object).unwrap())
}

fn cluster_generator(address: &str, mut rest: Value) -> Store {
    rest["providerNamespace"] = "p".into();
    let object = object(
        json!({"name": "pass", "uid": "u", "generation": 1}),
        address,
        rest,
    );
    Store::from(
        &serde_json::from_value::<latchkey_crds::generator::ClusterGenerator>(object).unwrap(),
    )
}

pub(super) fn reference(kind: &str) -> GeneratorRef {
    GeneratorRef {
        api_version: latchkey_crds::generator::API_VERSION.into(),
        kind: kind.into(),
        name: "pass".into(),
    }
}

fn source(authority: &Authority, held: &Arc<Held>) -> ProviderSource<Held> {
    ProviderSource::new(held.clone(), Arc::new(providers(authority)))
}

/// Whether it failed before or at the call, and how.
fn refusal(error: GenerateError) -> (&'static str, FailureClass, String) {
    match error {
        GenerateError::Get(cause) => {
            let (class, text) = failure(cause);
            ("get", class, text)
        }
        GenerateError::Use(cause) => {
            let (class, text) = failure(cause);
            ("use", class, text)
        }
    }
}

#[tokio::test]
async fn each_kind_and_each_source_of_credentials_reaches_the_provider_once() {
    // provider-protocol.md 9.5; SB-14, SB-15; externalsecret.md E058.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    let secrets = || [("password".to_owned(), b"canary".to_vec())].into();
    provider
        .script
        .on_generate(move || Ok((secrets(), br#"{"v":1,"id":"x"}"#.to_vec())));
    let held = Arc::new(Held::default());
    let source = source(&authority, &held);
    let manifest = json!({"authenticationNamespace": "ManifestReference"});
    for (store, kind, namespace, credentials) in [
        (
            generator("team-a", &provider.address(), json!({})),
            "Generator",
            "team-a",
            "team-a",
        ),
        (
            cluster_generator(&provider.address(), json!({})),
            "ClusterGenerator",
            "p",
            "p",
        ),
        (
            cluster_generator(&provider.address(), manifest),
            "ClusterGenerator",
            "p",
            "team-a",
        ),
    ] {
        held.add(store);
        let generated = source
            .generate(&caller("team-a"), 0, &reference(kind))
            .await
            .unwrap();
        assert_eq!(generated.data["password"].expose(), b"canary");
        let state = generated.state.unwrap();
        assert_eq!(state.state, json!({"v": 1, "id": "x"}));
        assert_eq!(state.resource["kind"], kind);
        assert!(!state.resource.to_string().contains("canary"));
        let seen = std::mem::take(&mut *provider.script.generators.lock());
        let [(asked, from, attempt)] = &seen[..] else {
            panic!("{} calls", seen.len())
        };
        assert_eq!(
            (asked.namespace.as_str(), from.as_str()),
            (namespace, credentials)
        );
        assert_eq!(
            asked.api_version,
            "provider.generator.external-secrets.io/v2alpha1"
        );
        assert_eq!(attempt.len(), 32);
    }
    // Another namespace has no such generator, and no call is made.
    let missing = source
        .generate(&caller("team-b"), 0, &reference("Generator"))
        .await
        .unwrap_err();
    assert_eq!(
        refusal(missing),
        (
            "get",
            FailureClass::StoreMissing,
            "could not get Generator \"pass\", Generator.generator.external-secrets.io \"pass\" not found".into()
        )
    );
    assert_eq!(provider.script.count("Generate"), 3);
}

#[tokio::test]
async fn generators_that_may_not_be_used_are_not_asked() {
    // SB-07, SB-14, SB-16, B4, B6, AMB-11, X-081.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    let address = provider.address();
    let held = Arc::new(Held::default());
    let source = source(&authority, &held);
    let not_ready =
        json!({"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "R"}]}});
    let foreign = json!({"controller": "other"});
    let denied = json!({"conditions": [{"namespaces": ["other"]}]});
    held.namespaces.lock().insert(
        "team-a".into(),
        [(
            "kubernetes.io/metadata.name".to_owned(),
            "team-a".to_owned(),
        )]
        .into(),
    );
    for (store, kind, class, text) in [
        (
            generator("team-a", &address, not_ready),
            "Generator",
            FailureClass::StoreNotReady,
            "Generator \"pass\" is not ready",
        ),
        (
            generator("team-a", &address, foreign),
            "Generator",
            FailureClass::Denied,
            "can not reference unmanaged generator",
        ),
        (
            cluster_generator(&address, denied),
            "ClusterGenerator",
            FailureClass::Denied,
            "using cluster generator \"pass\" is not allowed from namespace \"team-a\": denied by spec.condition",
        ),
        (
            generator("team-a", &address, json!({"providerNamespace": "p"})),
            "Generator",
            FailureClass::Configuration,
            "Generator \"pass\" cannot be used: spec.providerConfig.providerRef.namespace must be empty or \"team-a\", not \"p\"",
        ),
    ] {
        held.add(store);
        let error = source
            .generate(&caller("team-a"), 0, &reference(kind))
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("unable to get generator: {text}")
        );
        assert_eq!(refusal(error), ("get", class, text.to_owned()));
    }
    let v1 = GeneratorRef {
        api_version: "generators.external-secrets.io/v1alpha1".into(),
        ..reference("Password")
    };
    let error = source
        .generate(&caller("team-a"), 0, &v1)
        .await
        .unwrap_err();
    assert_eq!(refusal(error).1, FailureClass::Reference);
    assert_eq!(provider.script.count("Generate"), 0);
}

#[tokio::test]
async fn generate_is_sent_once_whatever_happens() {
    // PC-27, AMB-14.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    let held = Arc::new(Held::default());
    let retries = json!({"retrySettings": {"maxRetries": 3, "retryInterval": "100ms"}});
    held.add(generator("team-a", &provider.address(), retries));
    let source = ProviderSource::new(
        held,
        Arc::new(providers_with(Some(&authority), Duration::from_millis(300))),
    );
    let ask = async || {
        let result = source
            .generate(&caller("team-a"), 0, &reference("Generator"))
            .await;
        refusal(result.unwrap_err())
    };
    provider
        .script
        .on_generate(|| Err(Status::unavailable("busy")));
    let (stage, class, text) = ask().await;
    assert_eq!((stage, class), ("use", FailureClass::Unavailable));
    assert_eq!(text, "failed to generate secrets via gRPC: busy");
    provider
        .script
        .on_generate(|| Err(Status::not_found("gone")));
    assert_eq!(ask().await.1, FailureClass::Provider);
    // The answer is lost.
    *provider.script.delay.lock() = Duration::from_secs(5);
    assert_eq!(ask().await.1, FailureClass::Timeout);
    assert_eq!(provider.script.count("Generate"), 3);
}

#[tokio::test]
async fn a_malformed_state_is_revoked_and_the_call_fails() {
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    provider
        .script
        .on_generate(|| Ok(([].into(), b"{\"canary".to_vec())));
    provider.script.on_cleanup(|| Ok(()));
    let held = Arc::new(Held::default());
    held.add(generator("team-a", &provider.address(), json!({})));
    let error = source(&authority, &held)
        .generate(&caller("team-a"), 0, &reference("Generator"))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "error using generator: the provider left a state that is not JSON"
    );
    assert_eq!(provider.script.count("Cleanup"), 1);
}

fn unsupported() -> Status {
    Status::with_error_details(
        Code::Unimplemented,
        "Cleanup is not supported",
        ErrorDetails::with_error_info("UNIMPLEMENTED", "provider.external-secrets.io", []),
    )
}

#[tokio::test]
async fn values_are_revoked_by_snapshot_after_everything_else_is_gone() {
    // B6, AMB-28, PC-27: Cleanup may repeat.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    let held = Arc::new(Held::default());
    let source = source(&authority, &held);
    let state = |generator: &Store| GeneratedState {
        resource: crate::generators::snapshot::of(generator, "team-a"),
        state: json!({"v": 1}),
    };
    let denied = json!({
        "conditions": [{"namespaces": ["other"]}],
        "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "R"}]},
    });
    let cluster = cluster_generator(&provider.address(), denied);
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = tries.clone();
    provider.script.on_cleanup(move || {
        if counted.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(Status::unavailable("busy"));
        }
        Ok(())
    });
    for (generator, namespace, credentials) in [
        (
            generator("team-a", &provider.address(), json!({})),
            "team-a",
            "team-a",
        ),
        (cluster, "p", "p"),
    ] {
        source.revoke("team-a", &state(&generator)).await.unwrap();
        let seen = std::mem::take(&mut *provider.script.generators.lock());
        let (asked, from, left) = seen.last().unwrap();
        assert_eq!(
            (asked.namespace.as_str(), from.as_str()),
            (namespace, credentials)
        );
        assert_eq!(left, br#"{"v":1}"#);
    }
    assert_eq!(tries.load(Ordering::SeqCst), 3, "the first is repeated");
    let generator = generator("team-a", &provider.address(), json!({}));
    provider.script.on_cleanup(|| Err(unsupported()));
    source.revoke("team-a", &state(&generator)).await.unwrap();
    provider
        .script
        .on_cleanup(|| Err(Status::permission_denied("no")));
    let (class, text) = failure(
        source
            .revoke("team-a", &state(&generator))
            .await
            .unwrap_err(),
    );
    assert_eq!(class, FailureClass::Unauthorized);
    assert_eq!(text, "failed to clean up generator resources via gRPC: no");
    let foreign = GeneratedState {
        resource: json!({"kind": "Grafana"}),
        ..GeneratedState::default()
    };
    assert_eq!(
        failure(source.revoke("team-a", &foreign).await.unwrap_err()).1,
        "its generator is of a kind that is not run here"
    );
}

#[tokio::test]
async fn a_snapshot_cannot_lend_rights_that_only_a_live_cluster_generator_has() {
    // SB-21, SB-22: whoever may write states must not make the agent connect anywhere with any identity.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    provider.script.on_cleanup(|| Ok(()));
    let held = Arc::new(Held::default());
    let mut own = providers(&authority);
    own.policy.allowed_hosts = AllowedHosts::default();
    let source = ProviderSource::new(held.clone(), Arc::new(own));
    let generator = cluster_generator(&provider.address(), json!({}));
    let state = GeneratedState {
        resource: crate::generators::snapshot::of(&generator, "team-a"),
        state: json!({"v": 1}),
    };
    let error = source.revoke("team-a", &state).await.unwrap_err();
    assert_eq!(failure(error).0, FailureClass::Denied);
    assert_eq!(provider.script.count("Cleanup"), 0);
    held.add(generator);
    source.revoke("team-a", &state).await.unwrap();
    assert_eq!(provider.script.count("Cleanup"), 1);
}

#[tokio::test]
async fn a_generator_is_ready_once_its_provider_is_healthy() {
    // B6.
    let authority = Authority::new();
    let healthy = Provider::serving(&authority, Serves::HealthOnly, 0).await;
    let silent = Provider::serving(&authority, Serves::Silent, 0).await;
    let not_serving = Provider::serving(&authority, Serves::NotServing, 0).await;
    let providers = providers(&authority);
    use ConditionStatus::{False, True};
    for (address, status, reason, message) in [
        (healthy.address(), True, "Valid", "generator validated"),
        (
            silent.address(),
            True,
            "ValidationUnknown",
            "could not determine validation status",
        ),
        (
            not_serving.address(),
            False,
            "ProviderNotServing",
            "provider runtime is not serving: NOT_SERVING",
        ),
        ("unix:///x".to_owned(), False, "UnsupportedAddress", ""),
    ] {
        for generator in [
            generator("team-a", &address, json!({})),
            cluster_generator(&address, json!({})),
        ] {
            let finding = examine(&providers, &generator).await;
            assert_eq!(
                (finding.status, finding.reason),
                (status, reason),
                "{finding:?}"
            );
            assert!(
                message.is_empty() || finding.message == message,
                "{finding:?}"
            );
            assert_eq!(finding.capabilities, None);
        }
    }
    assert_eq!(
        healthy.script.count("Validate") + silent.script.count("Capabilities"),
        0
    );
}

//! The ladder of store validation against a real provider (provider-protocol.md 14).

use std::sync::Arc;

use latchkey_crds::conditions::ConditionStatus;
use latchkey_crds::secret_store::Capabilities;
use latchkey_engine::source::{FailureClass, Source as _};
use latchkey_proto::provider::v1::ValidateResponse;
use serde_json::json;
use tonic::Status;

use super::server::{Authority, Provider, Serves, providers, providers_with};
use super::source::{Held, caller, cluster, failure, namespaced, reference, remote};
use crate::providers::ProviderSource;
use crate::stores::validation::examine;

fn valid() -> Result<ValidateResponse, Status> {
    Ok(ValidateResponse {
        valid: true,
        ..Default::default()
    })
}

#[tokio::test]
async fn valid_store_climbs_all_steps() {
    // externalsecret.md E221.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    provider.script.on_validate(valid);
    provider.script.on_capabilities(|| Ok(2));
    let finding = examine(
        &providers(&authority),
        &namespaced("team-a", &provider.address(), json!({})),
    )
    .await;
    assert_eq!(
        (finding.status, finding.reason, finding.message.as_str()),
        (ConditionStatus::True, "Valid", "store validated")
    );
    assert_eq!(finding.capabilities, Some(Capabilities::ReadWrite));
    let seen = provider.script.seen.lock();
    assert!(
        seen.iter()
            .all(|(reference, source)| reference.namespace == "team-a" && source == "team-a")
    );
}

#[tokio::test]
async fn first_failing_step_names_the_reason() {
    let (authority, other) = (Authority::new(), Authority::new());
    let healthy = Provider::start(&authority).await;
    healthy.script.on_validate(valid);
    let kind = Provider::start(&authority).await;
    kind.script.on_capabilities(|| {
        Err(Status::unknown(
            "failed to resolve provider: resource mapping not found for \"a/b, Kind=C\"",
        ))
    });
    let not_serving = Provider::serving(&authority, Serves::NotServing, 0).await;
    let health_only = Provider::serving(&authority, Serves::HealthOnly, 0).await;
    let invalid = Provider::start(&authority).await;
    invalid.script.on_capabilities(|| Ok(0));
    invalid.script.on_validate(|| {
        Ok(ValidateResponse {
            valid: false,
            error: "token\nexpired".into(),
            warnings: Vec::new(),
        })
    });
    let no_client = Provider::start(&authority).await;
    no_client.script.on_capabilities(|| Ok(0));
    no_client
        .script
        .on_validate(|| Err(Status::unknown("failed to get client: no such CR")));
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("127.0.0.1:{}", listener.local_addr().unwrap().port())
    };
    let store = |address: String| namespaced("team-a", &address, json!({}));
    let cases = [
        (
            store("unix:///p".into()),
            &authority,
            "UnsupportedAddress",
            "scheme \"unix\"",
        ),
        (
            store(closed),
            &authority,
            "ProviderUnreachable",
            "was refused",
        ),
        (
            store(healthy.address()),
            &other,
            "ProviderUnreachable",
            "certificate of localhost:",
        ),
        (
            store(not_serving.address()),
            &authority,
            "ProviderNotServing",
            "provider runtime is not serving: NOT_SERVING",
        ),
        (
            store(health_only.address()),
            &authority,
            "IncompatibleProvider",
            "provider.v1.SecretStoreProvider",
        ),
        (
            store(kind.address()),
            &authority,
            "ProviderKindUnsupported",
            "does not serve provider.secretstore.external-secrets.io/v2alpha1, kind HashicorpVault",
        ),
        //
        (
            store(invalid.address()),
            &authority,
            "InvalidProviderConfig",
            "unable to validate store: provider validation failed: token expired",
        ),
        (
            store(no_client.address()),
            &authority,
            "InvalidProviderConfig",
            "unable to create client: failed to get client: no such CR",
        ),
    ];
    for (store, authority, reason, text) in cases {
        let finding = examine(&providers(authority), &store).await;
        assert_eq!(
            (finding.status, finding.reason),
            (ConditionStatus::False, reason),
            "{finding:?}"
        );
        assert!(finding.message.contains(text), "{finding:?}");
    }
    assert_eq!(not_serving.script.count("Capabilities"), 0);
    assert_eq!(kind.script.count("Validate"), 0);

    let without = providers_with(None, std::time::Duration::from_secs(1));
    let finding = examine(&without, &store(healthy.address())).await;
    assert_eq!(
        (finding.reason, finding.is_transient),
        ("TLSConfigFailed", true),
        "{finding:?}"
    );
}

#[tokio::test]
async fn store_without_a_caller_is_valid_as_far_as_can_be_told() {
    // P-NS-4, X-083, X-109, X-110.
    let authority = Authority::new();
    let provider = Provider::serving(&authority, Serves::Silent, 0).await;
    provider.script.on_validate(valid);
    provider.script.on_capabilities(|| Ok(0));
    let store = cluster(
        &provider.address(),
        json!({"authenticationScope": "ManifestNamespace"}),
    );
    let finding = examine(&providers(&authority), &store).await;
    assert_eq!(
        (finding.status, finding.reason, finding.message.as_str()),
        (
            ConditionStatus::True,
            "ValidationUnknown",
            "could not determine validation status"
        )
    );
    assert_eq!(finding.capabilities, Some(Capabilities::ReadOnly));
    assert_eq!(
        (
            provider.script.count("Capabilities"),
            provider.script.count("Validate")
        ),
        (1, 0)
    );
}

#[tokio::test]
async fn warnings_and_unknown_capabilities_show_without_making_the_store_unready() {
    // AMB-17, PC-28.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    provider.script.on_capabilities(|| Ok(9));
    provider.script.on_validate(|| {
        let warnings = (0..7).map(|number| format!("w{number}")).collect();
        Ok(ValidateResponse {
            valid: true,
            error: String::new(),
            warnings,
        })
    });
    let store = cluster(&provider.address(), json!({"providerNamespace": "p"}));
    let finding = examine(&providers(&authority), &store).await;
    assert_eq!(
        (finding.status, finding.reason, finding.capabilities),
        (ConditionStatus::True, "Valid", None)
    );
    assert_eq!(
        finding.message,
        "store validated (warnings: w0; w1; w2; w3; w4) (unsupported provider capabilities 9)"
    );
    assert_eq!(finding.warnings.len(), 5);
}

#[tokio::test]
async fn stores_that_point_into_another_namespace_send_nothing() {
    // SB-03, SB-04, X-108: what slipped past admission
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    provider.script.on_secret(|| Ok(Vec::new()));
    let certificate = |namespace: &str| json!({"auth": {"clientCertificate": {"secretRef": {"name": "c", "namespace": namespace}}}});
    for (rest, field) in [
        (
            json!({"providerNamespace": "team-b"}),
            "spec.providerConfig.providerRef.namespace must be empty or \"team-a\", not \"team-b\"",
        ),
        (
            certificate("kube-system"),
            "spec.providerConfig.auth.clientCertificate.secretRef.namespace must be empty or \"team-a\", not \"kube-system\"",
        ),
        (
            json!({"auth": {"serviceAccountRef": {"name": "a", "namespace": "team-b"}}}),
            "spec.providerConfig.auth.serviceAccountRef.namespace must be empty or \"team-a\", not \"team-b\"",
        ),
    ] {
        let held = Arc::new(Held::default());
        let store = namespaced("team-a", &provider.address(), rest);
        held.add(store.clone());
        let providers = Arc::new(providers(&authority));
        let finding = examine(&providers, &store).await;
        assert_eq!(finding.reason, "InvalidStoreConfiguration", "{finding:?}");
        let source = ProviderSource::new(held, providers);
        let error = source
            .secret(&caller("team-a"), &reference("SecretStore"), &remote())
            .await
            .unwrap_err();
        let (class, message) = failure(error);
        assert_eq!(class, FailureClass::Configuration, "{message}");
        assert!(message.contains(field), "{message}");
    }
    assert!(provider.script.seen.lock().is_empty());
    assert_eq!(provider.counts.get().accepted, 0);
}

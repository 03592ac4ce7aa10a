//! What a request says and lacks.

use std::time::Duration;

use latchkey_proto::provider::v1 as wire;
use latchkey_provider_sdk::ErrorClass;
use latchkey_provider_sdk::service::ServiceLimits;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::rig::{Rig, get, reason, reference, request};

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

//! What a request must carry, and whose it is.

use anyhow::Result;
use latchkey_proto::provider::v1 as wire;
use serde_json::json;
use tonic::Code;

use crate::rig::{API_VERSION, assert_refused, with_provider};

fn capabilities(api_version: &str, kind: &str) -> wire::CapabilitiesRequest {
    wire::CapabilitiesRequest {
        provider_ref: Some(wire::ProviderReference {
            api_version: api_version.into(),
            kind: kind.into(),
            ..Default::default()
        }),
        source_namespace: String::new(),
    }
}

#[test]
fn pc_01_to_03_capabilities_need_a_served_kind_and_no_resource() -> Result<()> {
    // PC-01, PC-02, PC-03; SB-34.
    with_provider(async |provider| {
        let mut client = provider.client()?;
        let answer = client
            .capabilities(capabilities(API_VERSION, "Fake"))
            .await?
            .into_inner();
        assert_eq!(
            answer.capabilities(),
            wire::SecretStoreCapabilities::ReadWrite
        );
        let refused = client.capabilities(capabilities("v2alpha1", "Fake")).await;
        assert_refused(
            refused,
            Code::InvalidArgument,
            "UNSUPPORTED_KIND",
            "invalid api version",
        );
        for (api_version, kind) in [
            (API_VERSION, "Unknown"),
            ("provider.external-secrets.io/v2alpha1", "Fake"),
        ] {
            let refused = client.capabilities(capabilities(api_version, kind)).await;
            assert_refused(
                refused,
                Code::InvalidArgument,
                "UNSUPPORTED_KIND",
                "resource mapping not found",
            );
        }
        Ok(())
    })
}

#[test]
fn pc_06_and_07_namespace_and_reference_are_required() -> Result<()> {
    // PC-06, PC-07, X-116.
    with_provider(async |provider| {
        provider
            .fake("f", &json!({"data": [{"key": "k", "value": "v"}]}))
            .await?;
        let mut client = provider.client()?;
        let mut request = provider.get_request("f", "k");
        request.source_namespace.clear();
        let refused = client.get_secret(request).await;
        assert_refused(
            refused,
            Code::InvalidArgument,
            "INVALID_ARGUMENT",
            "source namespace is required",
        );
        let mut request = provider.get_request("f", "k");
        request.provider_ref = None;
        let refused = client.get_secret(request).await;
        assert_refused(
            refused,
            Code::InvalidArgument,
            "INVALID_ARGUMENT",
            "provider reference is required",
        );
        let mut request = provider.get_request("f", "k");
        request.remote_ref = None;
        let refused = client.get_secret(request).await;
        assert_refused(
            refused,
            Code::InvalidArgument,
            "INVALID_ARGUMENT",
            "remote ref is nil",
        );
        // A cluster store has no caller when it is checked.
        let mut reference = provider.reference("f");
        reference.store_ref_kind = "ClusterSecretStore".into();
        let validate = wire::ValidateRequest {
            provider_ref: Some(reference),
            source_namespace: String::new(),
        };
        assert!(client.validate(validate).await?.into_inner().valid);
        Ok(())
    })
}

#[test]
fn pc_08_the_resource_is_read_where_the_reference_says() -> Result<()> {
    // PC-08, X-112.
    with_provider(async |provider| {
        provider
            .fake("f", &json!({"data": [{"key": "k", "value": "here"}]}))
            .await?;
        let mut client = provider.client()?;
        let namespace = provider.cx.namespace().to_owned();
        let mut request = provider.get_request("f", "k");
        request.provider_ref.as_mut().unwrap().namespace.clear();
        assert_eq!(
            client.get_secret(request).await?.into_inner().value,
            b"here"
        );
        // A cluster store reads its resource in the provider's namespace, whoever calls.
        let mut request = provider.get_request("f", "k");
        request.source_namespace = "elsewhere".into();
        request.provider_ref.as_mut().unwrap().store_ref_kind = "ClusterSecretStore".into();
        assert_eq!(
            client.get_secret(request.clone()).await?.into_inner().value,
            b"here"
        );
        // A namespaced store must not (providers.md 2.2, rule 1), whatever kind it claims to be.
        for kind in ["SecretStore", "", "ClusterProvider"] {
            request.provider_ref.as_mut().unwrap().store_ref_kind = kind.into();
            let refused = client.get_secret(request.clone()).await;
            assert_refused(
                refused,
                Code::PermissionDenied,
                "NAMESPACE_MISMATCH",
                &namespace,
            );
        }
        Ok(())
    })
}

#[test]
fn pc_09_and_p_04_a_missing_or_unreadable_resource_is_never_a_missing_secret() -> Result<()> {
    // PC-09.
    with_provider(async |provider| {
        let missing = provider.get("absent", "k", "", "").await;
        assert_refused(
            missing,
            Code::FailedPrecondition,
            "CONFIG_NOT_FOUND",
            "does not exist",
        );
        let missing = provider.get_map("absent", "k").await;
        assert_refused(
            missing,
            Code::FailedPrecondition,
            "CONFIG_NOT_FOUND",
            "does not exist",
        );
        // Where the server has no rights, and where no namespace is at all.
        let mut client = provider.client()?;
        let other = provider.cx.new_namespace("other").await?;
        for namespace in [other.as_str(), "no-such-namespace"] {
            let mut request = provider.get_request("f", "k");
            request.provider_ref.as_mut().unwrap().namespace = namespace.into();
            request.source_namespace = namespace.into();
            let refused = client.get_secret(request).await;
            assert_refused(
                refused,
                Code::PermissionDenied,
                "PERMISSION_DENIED",
                "not permitted",
            );
        }
        // A resource that exists and is wrong.
        provider
            .fake("wrong", &json!({"data": [{"value": "v"}]}))
            .await?;
        let refused = provider.get("wrong", "k", "", "").await;
        assert_refused(
            refused,
            Code::FailedPrecondition,
            "INVALID_CONFIG",
            "key must be set in data 0",
        );
        let validate = wire::ValidateRequest {
            provider_ref: Some(provider.reference("wrong")),
            source_namespace: provider.cx.namespace().into(),
        };
        let answer = client.validate(validate).await?.into_inner();
        assert_eq!(
            (answer.valid, answer.error.as_str()),
            (false, "INVALID_CONFIG: key must be set in data 0")
        );
        Ok(())
    })
}

#[test]
fn pc_14_validation_answers_what_the_resource_says() -> Result<()> {
    // PC-14, X-117.
    with_provider(async |provider| {
        let mut client = provider.client()?;
        for (value, valid, error, warning) in [
            (json!(0), true, "", None),
            (json!("Ready"), true, "", None),
            // Upstream answers false here; providers.md 2.10 has Unknown usable, with a warning.
            (
                json!(1),
                true,
                "",
                Some("validation unknown: unable to validate"),
            ),
            (json!(2), false, "unable to validate", None),
            (json!("Error"), false, "unable to validate", None),
        ] {
            let name = format!("f-{}", value.to_string().trim_matches('"').to_lowercase());
            provider
                .fake(&name, &json!({"data": [], "validationResult": value}))
                .await?;
            let request = wire::ValidateRequest {
                provider_ref: Some(provider.reference(&name)),
                source_namespace: provider.cx.namespace().into(),
            };
            let answer = client.validate(request).await?.into_inner();
            assert_eq!(
                (answer.valid, answer.error.as_str()),
                (valid, error),
                "{value}"
            );
            assert_eq!(
                answer.warnings.first().map(String::as_str),
                warning,
                "{value}"
            );
        }
        Ok(())
    })
}

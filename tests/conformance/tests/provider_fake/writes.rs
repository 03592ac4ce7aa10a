//! Pushing, deleting, asking.

use anyhow::Result;
use latchkey_proto::provider::v1 as wire;
use serde_json::json;
use tonic::{Code, Status};

use crate::rig::{Provider, assert_refused, with_provider};

async fn push(provider: &Provider, remote: &str, key: &str, value: &str) -> Result<(), Status> {
    let request = wire::PushSecretRequest {
        provider_ref: Some(provider.reference("f")),
        secret_data: [
            ("a".to_owned(), value.as_bytes().to_vec()),
            ("b".to_owned(), b"other".to_vec()),
        ]
        .into(),
        push_secret_data: Some(wire::PushSecretData {
            secret_key: key.into(),
            remote_key: remote.into(),
            ..Default::default()
        }),
        source_namespace: provider.cx.namespace().into(),
        ..Default::default()
    };
    provider
        .client()
        .unwrap()
        .push_secret(request)
        .await
        .map(drop)
}

fn remote(key: &str) -> Option<wire::PushSecretRemoteRef> {
    Some(wire::PushSecretRemoteRef {
        remote_key: key.into(),
        property: String::new(),
    })
}

async fn delete(provider: &Provider, key: &str) -> Result<(), Status> {
    let request = wire::DeleteSecretRequest {
        provider_ref: Some(provider.reference("f")),
        remote_ref: remote(key),
        source_namespace: provider.cx.namespace().into(),
    };
    provider
        .client()
        .unwrap()
        .delete_secret(request)
        .await
        .map(drop)
}

async fn exists(provider: &Provider, key: &str) -> Result<bool, Status> {
    let request = wire::SecretExistsRequest {
        provider_ref: Some(provider.reference("f")),
        remote_ref: remote(key),
        source_namespace: provider.cx.namespace().into(),
    };
    provider
        .client()
        .unwrap()
        .secret_exists(request)
        .await
        .map(|answer| answer.into_inner().exists)
}

#[test]
fn pc_12_and_13_pushed_values_come_and_go() -> Result<()> {
    // PC-12, PC-13.
    with_provider(async |provider| {
        provider
            .fake("f", &json!({"data": [{"key": "spec", "value": "v"}]}))
            .await?;
        assert!(!exists(provider, "new").await?);
        for value in ["one", "two"] {
            push(provider, "new", "a", value).await?;
            assert_eq!(provider.get("f", "new", "", "").await?, value.as_bytes());
        }
        push(provider, "whole", "", "one").await?;
        assert_eq!(
            provider.get("f", "whole", "", "").await?,
            br#"{"a":"one","b":"other"}"#
        );
        let refused = push(provider, "spec", "a", "x").await;
        assert_refused(refused, Code::Aborted, "CONFLICT", "key already exists");
        let refused = push(provider, "new", "none", "x").await;
        assert_refused(
            refused,
            Code::InvalidArgument,
            "INVALID_ARGUMENT",
            "failed to find secret key in secret with key: none",
        );
        assert!(exists(provider, "new").await? && exists(provider, "spec").await?);
        // The manifest changes, and what was pushed stays.
        provider
            .fake("f", &json!({"data": [{"key": "spec", "value": "changed"}]}))
            .await?;
        assert_eq!(provider.get("f", "new", "", "").await?, b"two");
        // P-59: a delete removes what was pushed, twice is fine, and the manifest's own stays.
        for key in ["new", "new", "spec", "never"] {
            delete(provider, key).await?;
        }
        assert!(!exists(provider, "new").await? && exists(provider, "spec").await?);
        assert_refused(
            provider.get("f", "new", "", "").await,
            Code::NotFound,
            "SECRET_NOT_FOUND",
            "",
        );
        Ok(())
    })
}

#[test]
fn pc_18_a_push_above_the_limit_is_refused_and_does_not_hurt() -> Result<()> {
    with_provider(async |provider| {
        provider.fake("f", &json!({"data": []})).await?;
        let status = push(provider, "new", "a", &"x".repeat(5 << 20))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        push(provider, "new", "a", "small").await?;
        Ok(())
    })
}

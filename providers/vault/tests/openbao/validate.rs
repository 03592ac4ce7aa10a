//! Validate: providers specification 8.9.

use latchkey_provider_sdk::ErrorClass::{CredentialsNotFound, InvalidConfig, Unauthenticated};
use latchkey_provider_sdk::Verdict;
use serde_json::json;

use crate::server::{ROOT, shared};
use crate::store::{Given, backend, store};

#[tokio::test]
async fn a_working_store_is_ready() {
    let bao = shared().await;
    for changes in [json!({}), json!({"path": null})] {
        let validation = backend()
            .validate(&store(&bao.address, changes), &Given::token(ROOT))
            .await
            .unwrap();
        assert_eq!(validation.verdict, Verdict::Ready);
    }
}

#[tokio::test]
async fn a_token_without_further_rights_is_enough() {
    let bao = shared().await;
    let given = Given::token(&bao.token("default", "1h").await);
    let validation = backend()
        .validate(&store(&bao.address, json!({})), &given)
        .await
        .unwrap();
    assert_eq!(
        validation.verdict,
        Verdict::Ready,
        "the mount is not told, which is not held against the store"
    );
}

#[tokio::test]
async fn a_bad_token_is_unauthenticated() {
    let bao = shared().await;
    let store = store(&bao.address, json!({}));
    let error = backend()
        .validate(&store, &Given::token("hvs.canary"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), Unauthenticated);
    assert!(!error.message().contains("canary"));
    let error = backend()
        .validate(&store, &Given::new(&[]))
        .await
        .unwrap_err();
    assert_eq!(error.class(), CredentialsNotFound);
}

#[tokio::test]
async fn a_mount_of_another_kind_or_version_is_invalid() {
    let bao = shared().await;
    bao.post(
        "sys/mounts/validate1",
        json!({"type": "kv", "options": {"version": "1"}}),
    )
    .await;
    bao.post("sys/mounts/validate-transit", json!({"type": "transit"}))
        .await;
    for (changes, text) in [
        (
            json!({"version": "v1"}),
            "expected kv engine version 1 found version 2",
        ),
        (
            json!({"path": "validate1"}),
            "expected kv engine version 2 found version 1",
        ),
        (
            json!({"path": "validate-transit"}),
            "expected engine type kv at validate-transit found transit",
        ),
        (
            json!({"path": "secret/deeper"}),
            "path \"secret/deeper\" is not a mount: the engine is mounted at \"secret\"",
        ),
        (json!({"namespace": "nowhere"}), "namespace not found"),
    ] {
        let error = backend()
            .validate(&store(&bao.address, changes), &Given::token(ROOT))
            .await
            .unwrap_err();
        assert_eq!(error.class(), InvalidConfig);
        assert!(error.message().contains(text), "{}", error.message());
    }
    let store = store(&bao.address, json!({"path": "validate1", "version": "v1"}));
    let validation = backend()
        .validate(&store, &Given::token(ROOT))
        .await
        .unwrap();
    assert_eq!(validation.verdict, Verdict::Ready);
}

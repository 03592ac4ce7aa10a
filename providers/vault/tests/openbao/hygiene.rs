//! Hygiene: providers specification 2.7 and 16.9.

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::login::Method;
use crate::server::shared;
use crate::store::{Given, backend, key, property, store};

/// Set for the process whose logs are looked at.
const CHILD: &str = "LATCHKEY_TEST_LOGS";
/// Bytes that are part of each planted secret.
const CANARY: &str = "canary-4c1f";

#[test]
fn logs_at_the_highest_verbosity_hold_no_secret_bytes() {
    if std::env::var_os(CHILD).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(work());
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("hygiene::logs_at_the_highest_verbosity_hold_no_secret_bytes")
        .env(CHILD, "1")
        .output()
        .unwrap();
    let logs = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{logs}");
    assert!(
        logs.contains("logged in to vault"),
        "nothing was logged: {logs}"
    );
    for secret in [CANARY.to_owned(), STANDARD.encode(CANARY)] {
        let line = logs.lines().find(|line| line.contains(&secret));
        assert_eq!(line, None);
    }
    // The signed token of the account, and those that OpenBao itself made up (`s.` and at least 20 characters).
    assert!(!logs.contains("eyJ"), "{logs}");
    let words =
        logs.split(|character: char| !character.is_ascii_alphanumeric() && character != '.');
    let token = words
        .filter_map(|word| word.strip_prefix("s."))
        .find(|rest| rest.len() >= 20);
    assert_eq!(token, None);
}

/// Reads, logins and failures with secrets that hold the canary.
async fn work() {
    latchkey_provider_sdk::logging::install("trace").unwrap();
    let method = Method::mount("k8s-logs", json!({})).await;
    let bao = shared().await;
    bao.put("login", json!({"password": CANARY, "list": [CANARY]}))
        .await;
    let backend = backend();
    let given = method.given();
    let by_login = method.store();
    backend
        .get_secret(&by_login, &given, &property("login", "password"))
        .await
        .unwrap();
    backend
        .get_secret_map(&by_login, &given, &key("login"))
        .await
        .unwrap();
    let refused = Given::account(CANARY);
    for name in ["login", "absent"] {
        let mut store = by_login.clone();
        store.name = "refused".to_owned();
        let error = backend
            .get_secret(&store, &refused, &key(name))
            .await
            .unwrap_err();
        tracing::warn!(%error, "refused");
    }
    let by_token = store(
        &bao.address,
        json!({"headers": {"X-Api-Key": CANARY}, "auth": {"tokenSecretRef": {"name": "vault", "key": "token"}}}),
    );
    let given = Given::token(&format!("hvs.{CANARY}"));
    let error = backend
        .get_secret(&by_token, &given, &key("login"))
        .await
        .unwrap_err();
    tracing::warn!(%error, "refused");
    let error = backend.validate(&by_token, &given).await.unwrap_err();
    tracing::warn!(%error, "refused");
    backend.shutdown().await;
}

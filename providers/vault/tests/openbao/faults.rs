//! Faults: what a real server does when it is sealed or gone, and what only a scripted one does on demand (providers
//! specification 2.4, 2.5 and 16.8).

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use latchkey_provider_sdk::ErrorClass::{
    BackendUnavailable, Internal, InvalidConfig, InvalidPayload, ResultTooLarge, Throttled,
};
use latchkey_provider_vault::Limits;
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::server::{Bao, ROOT, shared};
use crate::store::{Given, backend, backend_with, key, store, text};

/// A server that gives the answers of a script, one per connection, and the last one for ever. An empty answer closes the
/// connection, `stall` keeps it open and silent.
struct Scripted {
    address: String,
    /// The requests as received.
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

// === impl Scripted ===

impl Scripted {
    async fn start(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            let mut stalled = Vec::new();
            for number in 0.. {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                let mut chunk = [0; 4096];
                while !request.windows(4).any(|window| window == b"\r\n\r\n") {
                    match connection.read(&mut chunk).await {
                        Ok(0) | Err(_) => break,
                        Ok(length) => request.extend_from_slice(&chunk[..length]),
                    }
                }
                seen.lock()
                    .push(String::from_utf8_lossy(&request).into_owned());
                let answer = answers.get(number).or(answers.last()).unwrap();
                if answer == "stall" {
                    stalled.push(connection);
                    continue;
                }
                // A peer that has gone away is part of some tests.
                let _ = connection.write_all(answer.as_bytes()).await;
                let _ = connection.shutdown().await;
            }
        });
        Self {
            address,
            requests,
            task,
        }
    }

    fn count(&self) -> usize {
        self.requests.lock().len()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(status: u16, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n{body}",
        body.len()
    )
}

const GOOD: &str = r#"{"data":{"data":{"a":"b"},"metadata":{"version":1}}}"#;

#[tokio::test]
async fn a_sealed_server_is_unavailable_and_never_a_missing_secret() {
    let bao = Bao::start().await;
    bao.put("x", json!({"a": "b"})).await;
    bao.request(Method::PUT, "sys/seal", Value::Null).await;
    let (backend, store, given) = (
        backend(),
        store(&bao.address, json!({})),
        Given::token(ROOT),
    );
    let error = backend
        .get_secret(&store, &given, &key("x"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), BackendUnavailable);
    assert!(
        error.message().ends_with("is sealed"),
        "{}",
        error.message()
    );
    let error = backend.validate(&store, &given).await.unwrap_err();
    assert_eq!(error.class(), BackendUnavailable);
}

#[tokio::test]
async fn a_server_that_is_gone_is_unavailable() {
    let bao = Bao::start().await;
    let (backend, store, given) = (
        backend(),
        store(&bao.address, json!({})),
        Given::token(ROOT),
    );
    bao.put("x", json!({"a": "b"})).await;
    backend.get_secret(&store, &given, &key("x")).await.unwrap();
    drop(bao);
    let error = backend
        .get_secret(&store, &given, &key("x"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), BackendUnavailable);
    assert!(
        error.message().ends_with(": connection refused"),
        "{}",
        error.message()
    );
    let nowhere = crate::store::store("http://vault.invalid:8200", json!({}));
    let error = backend_with(
        Limits {
            attempts: 1,
            ..Limits::default()
        },
        8,
    )
    .get_secret(&nowhere, &given, &key("x"))
    .await;
    assert_eq!(error.unwrap_err().class(), BackendUnavailable);
}

#[tokio::test]
async fn server_errors_are_tried_three_times_in_all() {
    for (answers, attempts, is_ok) in [
        (
            vec![
                answer(500, "", "{}"),
                answer(502, "", "<html>"),
                answer(200, "", GOOD),
            ],
            3,
            true,
        ),
        (vec![String::new(), answer(200, "", GOOD)], 2, true),
        (vec![answer(412, "", "{}"), answer(200, "", GOOD)], 2, true),
        (
            vec![
                answer(429, "Retry-After: 1\r\n", "{}"),
                answer(200, "", GOOD),
            ],
            2,
            true,
        ),
        (vec![answer(500, "", "{}")], 3, false),
        (vec![answer(501, "", "{}")], 1, false),
        (
            vec![answer(403, "", r#"{"errors":["permission denied"]}"#)],
            1,
            false,
        ),
    ] {
        let scripted = Scripted::start(answers.clone()).await;
        let found = backend()
            .get_secret(
                &store(&scripted.address, json!({})),
                &Given::token(ROOT),
                &key("x"),
            )
            .await;
        assert_eq!(
            (scripted.count(), found.is_ok()),
            (attempts, is_ok),
            "{answers:?} {found:?}"
        );
        if let Ok(value) = found {
            assert_eq!(text(&value), r#"{"a":"b"}"#);
        }
    }
}

#[tokio::test]
async fn a_long_retry_after_is_passed_on_instead_of_waited_for() {
    for (status, class) in [(429, Throttled), (503, BackendUnavailable)] {
        let scripted = Scripted::start(vec![answer(status, "Retry-After: 60\r\n", "{}")]).await;
        let store = store(&scripted.address, json!({}));
        let error = backend()
            .get_secret(&store, &Given::token(ROOT), &key("x"))
            .await
            .unwrap_err();
        assert_eq!(
            (error.class(), error.retry_after()),
            (class, Some(Duration::from_secs(60)))
        );
        assert_eq!(scripted.count(), 1);
    }
}

#[tokio::test]
async fn only_an_engines_own_404_is_a_missing_secret() {
    let scripted = |body: &'static str, status| async move {
        let scripted = Scripted::start(vec![answer(status, "", body)]).await;
        let store = store(&scripted.address, json!({"path": null}));
        let limits = Limits {
            attempts: 1,
            ..Limits::default()
        };
        backend_with(limits, 8)
            .get_secret(&store, &Given::token(ROOT), &key("secret/x"))
            .await
            .unwrap_err()
    };
    for (status, body, class) in [
        (404, "default backend - 404 canary", BackendUnavailable),
        (404, "", BackendUnavailable),
        (404, "{}", BackendUnavailable),
        (404, r#"{"message":"canary"}"#, BackendUnavailable),
        (
            404,
            r#"{"errors":["no handler for route \"x\". route entry not found."]}"#,
            InvalidConfig,
        ),
        (
            404,
            r#"{"errors":["1 error occurred:\n\t* unsupported path\n\n"]}"#,
            InvalidConfig,
        ),
        (
            405,
            r#"{"errors":["unsupported operation"]}"#,
            InvalidConfig,
        ),
        (200, "<html>canary</html>", BackendUnavailable),
        (200, "{}", InvalidPayload),
        (200, r#"{"data":{"metadata":{}}}"#, InvalidPayload),
        (200, r#"{"data":{"data":"canary"}}"#, InvalidPayload),
        (200, r#"{"data":{"data":["canary"]}}"#, InvalidPayload),
        (418, "canary", Internal),
    ] {
        let error = scripted(body, status).await;
        assert_eq!(error.class(), class, "{status} {body}");
        assert!(!error.message().contains("canary"), "{}", error.message());
    }
}

#[tokio::test]
async fn a_slow_or_cut_answer_is_unavailable() {
    let limits = Limits {
        timeout: Duration::from_millis(300),
        attempts: 3,
    };
    let cut = answer(200, "", GOOD);
    let cut = cut[..cut.len() - 10].to_owned();
    for (script, attempts) in [("stall".to_owned(), 1), (cut, 3)] {
        let scripted = Scripted::start(vec![script]).await;
        let backend = backend_with(limits, 8);
        let store = store(&scripted.address, json!({}));
        let error = backend
            .get_secret(&store, &Given::token(ROOT), &key("x"))
            .await
            .unwrap_err();
        assert_eq!(error.class(), BackendUnavailable);
        assert_eq!(scripted.count(), attempts, "{}", error.message());
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let body = "x".repeat((8 << 20) + 1);
    let scripted = Scripted::start(vec![answer(200, "", &body)]).await;
    let error = backend()
        .get_secret(
            &store(&scripted.address, json!({})),
            &Given::token(ROOT),
            &key("x"),
        )
        .await
        .unwrap_err();
    assert_eq!(error.class(), ResultTooLarge);
}

#[tokio::test]
async fn a_standbys_redirect_is_followed_once_with_the_token() {
    let bao = shared().await;
    bao.put("redirected", json!({"a": "b"})).await;
    let given = Given::token(ROOT);
    let location = format!("Location: {}/v1/secret/data/redirected\r\n", bao.address);
    let standby = Scripted::start(vec![answer(307, &location, "")]).await;
    let value = backend()
        .get_secret(
            &store(&standby.address, json!({})),
            &given,
            &key("redirected"),
        )
        .await
        .unwrap();
    assert_eq!(text(&value), r#"{"a":"b"}"#);

    let looping = format!(
        "Location: {}/v1/secret/data/redirected\r\n",
        standby.address
    );
    for headers in [looping.as_str(), "Location: ftp://vault/\r\n", ""] {
        let scripted = Scripted::start(vec![answer(307, headers, "")]).await;
        let error = backend()
            .get_secret(
                &store(&scripted.address, json!({})),
                &given,
                &key("redirected"),
            )
            .await
            .unwrap_err();
        assert_eq!(error.class(), InvalidConfig, "{headers}");
    }
}

#[tokio::test]
async fn both_flags_ask_a_standby_to_forward() {
    for (read, forward, expected) in [
        (true, true, true),
        (true, false, false),
        (false, true, false),
    ] {
        let scripted = Scripted::start(vec![answer(200, "X-Vault-Index: index-1\r\n", GOOD)]).await;
        let changes = json!({"readYourWrites": read, "forwardInconsistent": forward});
        let (backend, store, given) = (
            backend(),
            store(&scripted.address, changes),
            Given::token(ROOT),
        );
        for _ in 0..2 {
            backend.get_secret(&store, &given, &key("x")).await.unwrap();
        }
        let requests = scripted.requests.lock().clone();
        assert_eq!(
            requests[0].contains("x-vault-inconsistent: forward-active-node"),
            expected
        );
        assert!(!requests[0].contains("x-vault-index"));
        assert!(requests[1].contains("x-vault-index: index-1"));
    }
}

/// The child of the next test: reads one secret with whatever environment it was given.
#[tokio::test]
async fn a_read_for_the_environment_test() {
    let bao = shared().await;
    bao.put("environment", json!({"a": "b"})).await;
    backend()
        .get_secret(
            &store(&bao.address, json!({})),
            &Given::token(ROOT),
            &key("environment"),
        )
        .await
        .unwrap();
}

#[test]
fn p_29_the_environment_does_not_influence_the_client() {
    let nowhere = "http://127.0.0.1:1";
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "faults::a_read_for_the_environment_test"])
        .envs([
            ("VAULT_ADDR", nowhere),
            ("VAULT_TOKEN", "other"),
            ("VAULT_NAMESPACE", "nowhere"),
            ("VAULT_HEADERS", "X-Vault-Token: other"),
            ("BAO_ADDR", nowhere),
            ("HTTP_PROXY", nowhere),
            ("http_proxy", nowhere),
            ("ALL_PROXY", nowhere),
            ("NO_PROXY", ""),
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

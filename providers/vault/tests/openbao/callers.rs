//! Pods that log in for themselves (csi.md 9.2): whoever may not read is told so, and nobody reads with another's login.

use latchkey_provider_sdk::ErrorClass::{InvalidConfig, PermissionDenied, Unauthenticated};
use latchkey_provider_sdk::{ProviderError, request::Verdict};
use serde_json::{Value, json};

use crate::login::Method;
use crate::store::{Given, backend, key, property, text};

/// A method whose role `app` is for service account `web` of namespace `team`.
async fn mount(name: &'static str) -> Method {
    let bound =
        json!({"/kubernetes.io/namespace": "team", "/kubernetes.io/serviceaccount/name": "web"});
    Method::mount(name, json!({ "bound_claims": bound })).await
}

/// The claims of a token of pod `pod` and service account `account`.
fn claims(account: &str, pod: &str) -> Value {
    json!({"kubernetes.io": {
        "namespace": "team", "serviceaccount": {"name": account, "uid": account}, "pod": {"name": pod, "uid": pod},
    }})
}

fn pod(method: &Method, account: &str, pod: &str) -> Given {
    Given::pod(&method.token_with("vault", claims(account, pod)))
}

fn shows_no_token(error: &ProviderError, given: &Given) {
    let token = given.caller.as_ref().unwrap().token();
    let signature = text(token).rsplit('.').next().unwrap();
    assert!(!error.message().contains(signature), "{error}");
}

#[tokio::test]
async fn each_pod_reads_with_its_own_login_and_never_with_anothers() {
    let method = mount("pods").await;
    let (backend, store) = (
        backend(),
        method.store_with(json!({"useCallerToken": true})),
    );
    let remote = property("login", "password");
    let web = pod(&method, "web", "web-0");
    for _ in 0..3 {
        let value = backend.get_secret(&store, &web, &remote).await.unwrap();
        assert_eq!(text(&value), "p");
    }
    method.expect_logins(1).await;

    let worker = pod(&method, "worker", "worker-0");
    for _ in 0..2 {
        let error = backend
            .get_secret(&store, &worker, &remote)
            .await
            .unwrap_err();
        assert_eq!(error.class(), PermissionDenied, "{error}");
        let message = error.message();
        assert!(
            message.contains("service account team/worker") && message.contains("role \"app\""),
            "{message}"
        );
        shows_no_token(&error, &worker);
    }

    // What merely claims to be the pod that has logged in: its own login has to prove it.
    let stranger = mount("pods-elsewhere").await;
    let forged = pod(&stranger, "web", "web-0");
    let error = backend
        .get_secret(&store, &forged, &remote)
        .await
        .unwrap_err();
    assert_eq!(error.class(), PermissionDenied, "{error}");

    // Another pod of the account is another login, and the first pod's is still good or made anew.
    let other = pod(&method, "web", "web-1");
    for given in [&other, &web, &other] {
        backend.get_secret(&store, given, &remote).await.unwrap();
    }
    method.expect_logins(2).await;
}

#[tokio::test]
async fn a_renewed_token_is_another_login_and_ends_the_one_before() {
    let method = mount("pods-renewed").await;
    let (backend, store) = (
        backend(),
        method.store_with(json!({"useCallerToken": true})),
    );
    for number in 0..3 {
        let mut claims = claims("web", "web-0");
        claims["jti"] = json!(number.to_string());
        let given = Given::pod(&method.token_with("vault", claims));
        backend
            .get_secret(&store, &given, &key("login"))
            .await
            .unwrap();
    }
    method.expect_logins(1).await;
}

#[tokio::test]
async fn sessions_of_pods_whose_tokens_have_ended_are_dropped_with_the_next_login() {
    let method = mount("pods-ended").await;
    let (backend, store) = (
        backend(),
        method.store_with(json!({"useCallerToken": true})),
    );
    let mut ending = claims("web", "web-0");
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    ending["exp"] = json!(since.as_secs() + 1);
    let ending = Given::pod(&method.token_with("vault", ending));
    backend
        .get_secret(&store, &ending, &key("login"))
        .await
        .unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    let other = pod(&method, "web", "web-1");
    backend
        .get_secret(&store, &other, &key("login"))
        .await
        .unwrap();
    method.expect_logins(1).await;
}

#[tokio::test]
async fn a_path_that_the_role_may_not_read_is_refused_with_role_and_account() {
    let method = mount("pods-denied").await;
    let (backend, store) = (
        backend(),
        method.store_with(json!({"useCallerToken": true})),
    );
    let web = pod(&method, "web", "web-0");
    let error = backend
        .get_secret(&store, &web, &key("not-allowed"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), PermissionDenied, "{error}");
    assert!(
        error
            .message()
            .ends_with("(role \"app\", service account team/web)"),
        "{error}"
    );
    shows_no_token(&error, &web);
}

#[tokio::test]
async fn nobody_reads_in_the_place_of_a_pod() {
    let method = mount("pods-only").await;
    let backend = backend();
    let store = method.store_with(json!({"useCallerToken": true}));
    // The provider's own identity could log in; it is not even looked at.
    let own = Given::account(&method.token_with("vault", claims("web", "provider")));
    let error = backend
        .get_secret(&store, &own, &key("login"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), Unauthenticated, "{error}");
    assert!(error.message().contains("caller-identity"), "{error}");

    // A store that asks for the pod, and a resource that makes no use of it.
    let error = backend
        .get_secret(
            &method.store(),
            &pod(&method, "web", "web-0"),
            &key("login"),
        )
        .await
        .unwrap_err();
    assert_eq!(error.class(), InvalidConfig, "{error}");
    assert!(error.message().contains("useCallerToken"), "{error}");

    // Nothing can be said without a pod.
    let validation = backend.validate(&store, &own).await.unwrap();
    assert!(matches!(validation.verdict, Verdict::Unknown(_)));
    method.expect_logins(0).await;
}

//! Tokens: providers specification 8.2 and 8.3.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use latchkey_provider_sdk::ErrorClass::{CredentialsNotFound, PermissionDenied, Unauthenticated};
use latchkey_provider_vault::Limits;
use latchkey_provider_vault::backend::Store;
use serde_json::{Value, json};

use crate::server::{Bao, ROOT, shared};
use crate::store::{Given, backend, backend_with, key, property, store, text};

/// An auth method that takes what Kubernetes auth takes: a role and a signed token with an audience.
pub(crate) struct Method {
    pub(crate) bao: Arc<Bao>,
    mount: &'static str,
    key: EcdsaKeyPair,
}

// === impl Method ===

impl Method {
    /// Mounts the method with a role `app` that may read `secret/data/login`, changed by `role`.
    pub(crate) async fn mount(mount: &'static str, role: Value) -> Self {
        let bao = shared().await;
        let pair = rcgen::KeyPair::generate().unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pair.serialize_der())
            .unwrap();
        let policy = "path \"secret/data/login\" { capabilities = [\"read\"] }";
        bao.post("sys/policies/acl/login", json!({ "policy": policy }))
            .await;
        bao.put("login", json!({"password": "p"})).await;
        bao.post(&format!("sys/auth/{mount}"), json!({"type": "jwt"}))
            .await;
        let public = pair.public_key_pem();
        bao.post(
            &format!("auth/{mount}/config"),
            json!({"jwt_validation_pubkeys": [public]}),
        )
        .await;
        let mut body = json!({
            "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "token_policies": ["login"],
            "token_ttl": "1h",
        });
        for (name, value) in role.as_object().unwrap() {
            body[name] = value.clone();
        }
        bao.post(&format!("auth/{mount}/role/app"), body).await;
        Self { bao, mount, key }
    }

    /// A signed token for `audience`.
    fn account_token(&self, audience: &str) -> String {
        self.token_with(audience, json!({}))
    }

    /// A signed token for `audience` with more claims.
    pub(crate) fn token_with(&self, audience: &str, more: Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let mut claims = json!({"sub": "team:app", "aud": audience, "iat": now, "nbf": now - 5, "exp": now + 600});
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let signed = format!(
            "{}.{}",
            part(&json!({"alg": "ES256", "typ": "JWT"})),
            part(&claims)
        );
        let signature = self
            .key
            .sign(&SystemRandom::new(), signed.as_bytes())
            .unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    pub(crate) fn store(&self) -> Store {
        self.store_with(json!({"serviceAccountRef": {"name": "app", "audiences": ["vault"]}}))
    }

    pub(crate) fn store_with(&self, kubernetes: Value) -> Store {
        let mut method = json!({"mountPath": self.mount, "role": "app"});
        for (name, value) in kubernetes.as_object().unwrap() {
            method[name] = value.clone();
        }
        store(&self.bao.address, json!({"auth": {"kubernetes": method}}))
    }

    pub(crate) fn given(&self) -> Given {
        Given::account(&self.account_token("vault"))
    }

    /// Waits until the number of living tokens is `expected`: revocation happens in the background.
    pub(crate) async fn expect_logins(&self, expected: usize) {
        for _ in 0..100 {
            if self.bao.logins(self.mount).await == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(self.bao.logins(self.mount).await, expected);
    }
}

#[tokio::test]
async fn concurrent_reads_share_one_login() {
    let method = Method::mount("kubernetes", json!({})).await;
    let (backend, given) = (backend(), method.given());
    // The default mount path is `kubernetes`.
    let account = json!({"name": "app", "audiences": ["vault"]});
    let auth = json!({"kubernetes": {"role": "app", "serviceAccountRef": account}});
    let store = store(&method.bao.address, json!({ "auth": auth }));
    let remote = property("login", "password");
    let reads = (0..50).map(|_| backend.get_secret(&store, &given, &remote));
    for value in futures::future::join_all(reads).await {
        assert_eq!(text(&value.unwrap()), "p");
    }
    assert_eq!(given.requests.load(Ordering::Relaxed), 1);
    assert_eq!(*given.audiences.lock(), ["vault"]);
    method.expect_logins(1).await;
}

#[tokio::test]
async fn a_token_is_replaced_a_minute_before_it_expires() {
    // Usable for five seconds.
    let method = Method::mount("k8s-expiry", json!({"token_ttl": "65s"})).await;
    let (backend, given, store) = (backend(), method.given(), method.store());
    let started = std::time::Instant::now();
    let logins = || given.requests.load(Ordering::Relaxed);
    for _ in 0..3 {
        backend
            .get_secret(&store, &given, &key("login"))
            .await
            .unwrap();
    }
    assert_eq!(logins(), 1);
    while logins() == 1 && started.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        backend
            .get_secret(&store, &given, &key("login"))
            .await
            .unwrap();
    }
    assert_eq!(logins(), 2);
    assert!(started.elapsed() >= Duration::from_secs(4), "too early");
}

#[tokio::test]
async fn a_revoked_token_leads_to_exactly_one_login_and_a_value() {
    let method = Method::mount("k8s-revoked", json!({})).await;
    let (backend, given, store) = (backend(), method.given(), method.store());
    backend
        .get_secret(&store, &given, &key("login"))
        .await
        .unwrap();
    method.bao.revoke_logins(method.mount).await;
    let remote = key("login");
    let reads = (0..20).map(|_| backend.get_secret(&store, &given, &remote));
    for value in futures::future::join_all(reads).await {
        value.unwrap();
    }
    assert_eq!(given.requests.load(Ordering::Relaxed), 2);
    method.expect_logins(1).await;
}

#[tokio::test]
async fn a_missing_permission_does_not_cost_a_login_per_read() {
    let method = Method::mount("k8s-denied", json!({})).await;
    let (backend, given, store) = (backend(), method.given(), method.store());
    for _ in 0..5 {
        let error = backend
            .get_secret(&store, &given, &key("not-allowed"))
            .await
            .unwrap_err();
        assert_eq!(error.class(), PermissionDenied);
        assert!(
            error.message().contains("secret/data/not-allowed"),
            "{}",
            error.message()
        );
    }
    assert_eq!(given.requests.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_refused_login_is_unauthenticated_and_shows_no_token() {
    let method = Method::mount("k8s-refused", json!({})).await;
    let backend = backend();
    let wrong_audience = method.account_token("other");
    let broken = "canary.canary.canary".to_owned();
    for (changes, token) in [
        (json!({}), &wrong_audience),
        (json!({}), &broken),
        (json!({"role": "nobody"}), &method.account_token("vault")),
    ] {
        let store = method.store_with(changes);
        let given = Given::account(token);
        let error = backend
            .get_secret(&store, &given, &key("login"))
            .await
            .unwrap_err();
        assert_eq!(error.class(), Unauthenticated, "{}", error.message());
        assert!(
            !error.message().contains(token.as_str()),
            "{}",
            error.message()
        );
        // The same failure has the same text each time.
        assert_eq!(
            backend
                .get_secret(&store, &given, &key("login"))
                .await
                .unwrap_err(),
            error
        );
    }
    // Without a token the server does not tell that there is no such method.
    let store = method.store_with(json!({"mountPath": "k8s-absent"}));
    let error = backend
        .get_secret(&store, &method.given(), &key("login"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), Unauthenticated, "{}", error.message());
}

#[tokio::test]
async fn tokens_are_revoked_at_shutdown_and_when_the_resource_changes() {
    let method = Method::mount("k8s-shutdown", json!({})).await;
    let (backend, given, mut store) = (backend(), method.given(), method.store());
    backend
        .get_secret(&store, &given, &key("login"))
        .await
        .unwrap();
    method.expect_logins(1).await;
    store.revision = "uid/2".to_owned();
    backend
        .get_secret(&store, &given, &key("login"))
        .await
        .unwrap();
    assert_eq!(given.requests.load(Ordering::Relaxed), 2);
    method.expect_logins(1).await;
    backend.shutdown().await;
    assert_eq!(method.bao.logins(method.mount).await, 0);
}

#[tokio::test]
async fn without_a_cache_each_request_logs_in_and_revokes() {
    let method = Method::mount("k8s-uncached", json!({})).await;
    let (backend, given, store) = (
        backend_with(Limits::default(), 0),
        method.given(),
        method.store(),
    );
    for _ in 0..3 {
        backend
            .get_secret(&store, &given, &key("login"))
            .await
            .unwrap();
    }
    assert_eq!(given.requests.load(Ordering::Relaxed), 3);
    method.expect_logins(0).await;
}

#[tokio::test]
async fn the_least_recently_used_token_is_revoked_when_the_cache_is_full() {
    let method = Method::mount("k8s-evicted", json!({})).await;
    let (backend, given) = (backend_with(Limits::default(), 2), method.given());
    let named = |name: &str| Store {
        name: name.to_owned(),
        ..method.store()
    };
    for name in ["a", "b", "a", "c", "a"] {
        backend
            .get_secret(&named(name), &given, &key("login"))
            .await
            .unwrap();
    }
    assert_eq!(
        given.requests.load(Ordering::Relaxed),
        3,
        "`a` was used last and stays"
    );
    method.expect_logins(2).await;
}

#[tokio::test]
async fn batch_tokens_are_cached_and_not_revoked() {
    let method = Method::mount("k8s-batch", json!({"token_type": "batch"})).await;
    let (backend, given, store) = (backend(), method.given(), method.store());
    for _ in 0..3 {
        backend
            .get_secret(&store, &given, &key("login"))
            .await
            .unwrap();
    }
    assert_eq!(given.requests.load(Ordering::Relaxed), 1);
    backend.shutdown().await;
}

#[tokio::test]
async fn two_credential_namespaces_never_share_a_token() {
    let method = Method::mount("k8s-tenants", json!({})).await;
    let (backend, store) = (backend(), method.store());
    let first = method.given();
    let mut second = Given::account("not a token");
    second.namespace = "other".to_owned();
    backend
        .get_secret(&store, &first, &key("login"))
        .await
        .unwrap();
    let error = backend
        .get_secret(&store, &second, &key("login"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), Unauthenticated);
}

#[tokio::test]
async fn a_token_out_of_a_secret_logs_in_and_its_rotation_counts_at_once() {
    let method = Method::mount("k8s-secret", json!({})).await;
    let (backend, store) = (
        backend(),
        method.store_with(json!({"secretRef": {"name": "jwt"}})),
    );
    let given = Given::new(&[("jwt/token", &method.account_token("vault"))]);
    backend
        .get_secret(&store, &given, &key("login"))
        .await
        .unwrap();
    given.rotate("jwt/token", "worthless");
    let error = backend
        .get_secret(&store, &given, &key("login"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), Unauthenticated);
    given.rotate("jwt/token", &method.account_token("vault"));
    backend
        .get_secret(&store, &given, &key("login"))
        .await
        .unwrap();
    // Without any reference the pod's own token is used.
    let given = method.given();
    backend
        .get_secret(&method.store_with(json!({})), &given, &key("login"))
        .await
        .unwrap();
    assert_eq!(given.requests.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_static_token_is_used_as_it_is_and_never_revoked() {
    let bao = shared().await;
    bao.put("static", json!({"a": "b"})).await;
    bao.post(
        "sys/policies/acl/static",
        json!({"policy": "path \"secret/data/static\" { capabilities = [\"read\"] }"}),
    )
    .await;
    let token = bao.token("static", "1h").await;
    let (backend, store) = (backend(), store(&bao.address, json!({})));
    let given = Given::token(&token);
    backend
        .get_secret(&store, &given, &key("static"))
        .await
        .unwrap();
    given.rotate("vault/token", "hvs.canary");
    let error = backend
        .get_secret(&store, &given, &key("static"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), PermissionDenied);
    assert!(!error.message().contains("canary"));
    given.rotate("vault/token", &format!("{token}\n"));
    let error = backend
        .get_secret(&store, &given, &key("static"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), Unauthenticated, "a line end is not trimmed");
    given.rotate("vault/token", &token);
    backend
        .get_secret(&store, &given, &key("static"))
        .await
        .unwrap();
    backend.shutdown().await;
    backend
        .get_secret(&store, &given, &key("static"))
        .await
        .unwrap();
    given.objects.lock().clear();
    let error = backend
        .get_secret(&store, &given, &key("static"))
        .await
        .unwrap_err();
    assert_eq!(
        error.class(),
        CredentialsNotFound,
        "P-04: never like a missing secret"
    );
}

#[tokio::test]
async fn without_auth_no_token_is_sent() {
    let bao = shared().await;
    let store = store(&bao.address, json!({"auth": null}));
    let error = backend()
        .get_secret(&store, &Given::token(ROOT), &key("login"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), PermissionDenied);
}

#[tokio::test]
async fn the_login_has_a_namespace_of_its_own() {
    let method = Method::mount("k8s-root", json!({"token_policies": ["login-child"]})).await;
    let bao = &method.bao;
    bao.post("sys/namespaces/login", json!({})).await;
    bao.post(
        "login/sys/mounts/kv",
        json!({"type": "kv", "options": {"version": "2"}}),
    )
    .await;
    bao.post("login/kv/data/app", json!({"data": {"a": "b"}}))
        .await;
    let policy = "path \"login/kv/data/*\" { capabilities = [\"read\"] }";
    bao.post("sys/policies/acl/login-child", json!({ "policy": policy }))
        .await;
    let kubernetes =
        json!({"mountPath": method.mount, "role": "app", "serviceAccountRef": {"name": "app"}});
    let changes = |namespace: &str| json!({"path": "kv", "namespace": "login", "auth": {"namespace": namespace, "kubernetes": kubernetes}});
    let (backend, given) = (backend(), method.given());
    // The method is mounted in the root namespace, which is written `root/` where it must be named.
    let value = backend
        .get_secret(
            &store(&bao.address, changes("root")),
            &given,
            &property("app", "a"),
        )
        .await
        .unwrap();
    assert_eq!(text(&value), "b");
    let error = backend
        .get_secret(&store(&bao.address, changes("login")), &given, &key("app"))
        .await
        .unwrap_err();
    assert_eq!(
        error.class(),
        Unauthenticated,
        "no such method in that namespace: {}",
        error.message()
    );
}

#[tokio::test]
async fn calls_and_tokens_are_counted() {
    let method = Method::mount("k8s-metrics", json!({})).await;
    let mut registry = prometheus_client::registry::Registry::default();
    let backend = latchkey_provider_vault::Backend::new(latchkey_provider_vault::BackendOptions {
        limits: Limits::default(),
        token_cache_size: 8,
        read_cache_ttl: Duration::ZERO,
        metrics: latchkey_provider_sdk::Metrics::register(&mut registry),
        stop: tokio_util::sync::CancellationToken::new(),
    });
    let (given, store) = (method.given(), method.store());
    for name in ["login", "login", "denied"] {
        let _ = backend.get_secret(&store, &given, &key(name)).await;
    }
    let refused = Given::account("worthless");
    let other = Store {
        name: "other".to_owned(),
        ..method.store()
    };
    let _ = backend.get_secret(&other, &refused, &key("login")).await;
    backend.shutdown().await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let count = |call: &str, status: &str| {
        format!(
            "externalsecret_provider_api_calls_count{{provider=\"HashiCorp/Vault\",call=\"{call}\",status=\"{status}\"}}"
        )
    };
    for (series, expected) in [
        (count("Login", "success"), 1),
        (count("Login", "error"), 1),
        (count("ReadSecretData", "success"), 2),
        (count("ReadSecretData", "error"), 1),
        (count("LookupSelf", "success"), 1),
        (count("RevokeSelf", "success"), 1),
        ("provider_token_cache_hits_total".to_owned(), 2),
        ("provider_token_cache_misses_total".to_owned(), 2),
        ("provider_token_cache_evictions_total".to_owned(), 1),
    ] {
        let line = format!("{series} {expected}");
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

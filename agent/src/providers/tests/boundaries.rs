//! Borders between tenants and around the transport (pushsecret-and-stores.md B8), where a test of its own is clearer.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::process::Command;
use std::sync::Arc;

use axum::http::{StatusCode, header};
use latchkey_engine::source::{FailureClass, FetchError, Source as _};
use latchkey_transport::{Incoming, ServerOptions};
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::server::{Authority, Provider, providers};
use super::source::{Held, caller, cluster, failure, namespaced, reference, remote};
use crate::providers::{Identities, OwnIdentity, ProviderSource};
use crate::stores::StoreKey;

#[tokio::test]
async fn a_tenant_without_an_object_gets_an_error_and_nobody_else_s_credentials() {
    // SB-12, SB-13, P-NS-1.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    let held = Arc::new(Held::default());
    held.add(cluster(
        &provider.address(),
        json!({"providerNamespace": "p", "authenticationScope": "ManifestNamespace"}),
    ));
    let source = ProviderSource::new(held, Arc::new(providers(&authority)));
    let (store, remote) = (reference("ClusterSecretStore"), remote());
    for (status, class) in [
        (
            Status::failed_precondition("not found"),
            FailureClass::Configuration,
        ),
        // Upstream's servers know no other code.
        (Status::unknown("not found"), FailureClass::Provider),
    ] {
        provider.script.seen.lock().clear();
        let answer = status.clone();
        provider.script.on_secret(move || Err(answer.clone()));
        let error = source
            .secret(&caller("team-a"), &store, &remote)
            .await
            .unwrap_err();
        assert_eq!(
            failure(error),
            (
                class,
                "HashicorpVault \"vault\" of namespace \"team-a\": failed to get secret via gRPC: not found".to_owned()
            )
        );
        let seen = provider.script.seen.lock();
        let [(reference, source)] = &seen[..] else {
            panic!("asked {} times", seen.len());
        };
        assert_eq!(
            (&*reference.namespace, &**source, &*reference.store_ref_kind),
            ("team-a", "team-a", "SecretStore")
        );
    }
    // A missing secret stays what it is.
    provider.script.on_secret(|| Err(Status::not_found("x")));
    let error = source.secret(&caller("team-a"), &store, &remote).await;
    assert!(matches!(error, Err(FetchError::NoSecret)));
}

#[tokio::test]
async fn nothing_is_served_once_the_store_is_gone_changed_or_denies() {
    // SB-25, SB-26: reads for Secrets keep no values, and what rests on a store is told apart by it.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    provider.script.on_secret(|| Ok(b"value".to_vec()));
    let held = Arc::new(Held::default());
    let labels = |team: &str| BTreeMap::from([("team".to_owned(), team.to_owned())]);
    for namespace in ["team-a", "team-b"] {
        held.namespaces.lock().insert(namespace.into(), labels("x"));
    }
    let conditions = json!([{"namespaceSelector": {"matchLabels": {"team": "x"}}}]);
    let store = cluster(
        &provider.address(),
        json!({"providerNamespace": "p", "conditions": conditions}),
    );
    held.add(store.clone());
    let source = ProviderSource::new(held.clone(), Arc::new(providers(&authority)));
    let (reference, remote) = (reference("ClusterSecretStore"), remote());
    let read = async |namespace: &str| {
        source
            .secret(&caller(namespace), &reference, &remote)
            .await
            .map(drop)
            .map_err(|error| failure(error).0)
    };
    let stands = async |namespace: &str| {
        let standing = source.standing(&caller(namespace), &[&reference]).await;
        standing.map_err(|error| failure(error).0)
    };
    assert_eq!(read("team-a").await, Ok(()));
    let before = stands("team-a").await.unwrap();
    assert_eq!(stands("team-a").await, Ok(before.clone()));

    let mut changed = store.clone();
    changed.generation = Some(2);
    held.add(changed);
    assert_ne!(stands("team-a").await.unwrap(), before);
    assert_eq!(read("team-a").await, Ok(()));
    assert_eq!(provider.script.count("GetSecret"), 2, "asked anew");
    let mut again = store.clone();
    again.uid = "another".into();
    held.add(again);
    assert_ne!(stands("team-a").await.unwrap(), before);

    held.add(store);
    held.namespaces.lock().insert("team-a".into(), labels("y"));
    assert_eq!(stands("team-a").await, Err(FailureClass::Denied));
    assert_eq!(read("team-a").await, Err(FailureClass::Denied));
    assert_eq!(stands("team-b").await, Ok(before));

    held.stores.lock().remove(&StoreKey::cluster("bao"));
    assert_eq!(stands("team-b").await, Err(FailureClass::StoreMissing));
    assert_eq!(read("team-b").await, Err(FailureClass::StoreMissing));
    assert_eq!(provider.script.count("GetSecret"), 2);
}

#[tokio::test]
async fn an_unchanged_store_costs_no_new_connection_and_no_new_look_at_its_certificate() {
    // PC-25.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    provider.script.on_secret(|| Ok(Vec::new()));
    let root = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        let directory = root.path().join(name);
        std::fs::create_dir(&directory).unwrap();
        let pem = authority.pem(&[], ExtendedKeyUsagePurpose::ClientAuth);
        for (file, content) in ["ca.crt", "tls.crt", "tls.key"].iter().zip(pem) {
            std::fs::write(directory.join(file), content).unwrap();
        }
    }
    let mut providers = providers(&authority);
    providers.identities = Identities::from_files(
        OwnIdentity::new("x"),
        root.path().to_owned(),
        "latchkey".into(),
    );
    let providers = Arc::new(providers);
    let held = Arc::new(Held::default());
    let source = ProviderSource::new(held.clone(), providers.clone());
    let put = |secret: &str, generation: i64| {
        let auth = json!({"auth": {"clientCertificate": {"secretRef": {"name": secret}}}});
        let mut store = namespaced("latchkey", &provider.address(), auth);
        store.generation = Some(generation);
        held.add(store);
    };
    let read = async || {
        source
            .secret(&caller("latchkey"), &reference("SecretStore"), &remote())
            .await
            .unwrap();
        (providers.pool.len(), provider.counts.get().accepted)
    };
    put("one", 1);
    assert_eq!(read().await, (1, 1));
    std::fs::remove_dir_all(root.path().join("one")).unwrap();
    assert_eq!(read().await, (1, 1));
    // Another generation with the same identity leaves the connection; one with another gets its own.
    put("one", 2);
    assert_eq!(read().await, (1, 1));
    put("two", 3);
    assert_eq!(read().await, (2, 2));
}

#[tokio::test]
async fn texts_of_providers_are_cut_to_a_kibibyte() {
    // SB-24, P-ERR-4.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    let text = "x".repeat(4096);
    provider
        .script
        .on_secret(move || Err(Status::unknown(format!("token: canary {text}"))));
    let held = Arc::new(Held::default());
    held.add(namespaced("team-a", &provider.address(), json!({})));
    let source = ProviderSource::new(held, Arc::new(providers(&authority)));
    let error = source
        .secret(&caller("team-a"), &reference("SecretStore"), &remote())
        .await
        .unwrap_err();
    let (_, message) = failure(error);
    let text = message
        .strip_prefix("failed to get secret via gRPC: ")
        .unwrap();
    assert!(text.len() <= 1024, "{}", text.len());
    assert!(text.contains("xxxx") && !text.contains("canary"), "{text}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other_and_not_followed() {
    // SB-23.
    let authority = Authority::new();
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let location = format!(
        "https://localhost:{}/provider.v1.SecretStoreProvider/GetSecret",
        elsewhere.local_addr().unwrap().port()
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    let cancel = CancellationToken::new();
    let incoming = Incoming::new(
        listener,
        authority.server().into(),
        &ServerOptions::default(),
        &cancel,
    );
    let redirect = move || {
        let answer = [(header::LOCATION, location.clone())];
        std::future::ready((StatusCode::TEMPORARY_REDIRECT, answer))
    };
    let routes = tonic::service::Routes::from(axum::Router::new().fallback(redirect));
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, cancel.clone().cancelled_owned()),
    );
    let held = Arc::new(Held::default());
    held.add(namespaced("team-a", &address, json!({})));
    let source = ProviderSource::new(held, Arc::new(providers(&authority)));
    let answer = source
        .secret(&caller("team-a"), &reference("SecretStore"), &remote())
        .await;
    assert!(answer.is_err());
    assert_eq!(
        elsewhere.accept().unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    cancel.cancel();
}

/// Set in the process that has proxies in its environment.
const PROXIED: &str = "LATCHKEY_TEST_PROXIED";

#[test]
fn proxies_of_the_environment_are_ignored() {
    // SB-23. Whoever looks at the environment does so once, so that it takes a process of its own.
    if std::env::var_os(PROXIED).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        return runtime.block_on(read_directly());
    }
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args([
            "--exact",
            &format!("{module}::proxies_of_the_environment_are_ignored"),
        ])
        .env(PROXIED, "1")
        .env_remove("NO_PROXY")
        .env_remove("no_proxy");
    for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "GRPC_PROXY"] {
        child.env(name, &address);
        child.env(name.to_ascii_lowercase(), &address);
    }
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    assert_eq!(proxy.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

async fn read_directly() {
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    provider.script.on_secret(|| Ok(b"value".to_vec()));
    let held = Arc::new(Held::default());
    held.add(namespaced("team-a", &provider.address(), json!({})));
    let source = ProviderSource::new(held, Arc::new(providers(&authority)));
    let value = source
        .secret(&caller("team-a"), &reference("SecretStore"), &remote())
        .await
        .unwrap();
    assert_eq!(value.expose(), b"value");
}

//! What is refused before it is sent, and what is kept between calls.

use std::sync::Arc;
use std::time::Duration;

use latchkey_engine::source::{FailureClass, Source as _};
use latchkey_transport::Identity;
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::json;

use super::server::{Authority, Provider, providers};
use super::source::{Held, caller, failure, namespaced, object};
use crate::providers::{Identities, OwnIdentity, ProviderSource};
use crate::stores::{CertificateSource, Usable};

fn reference_to_store() -> latchkey_crds::external_secret::SecretStoreRef {
    serde_json::from_value(json!({
        "apiVersion": "secretstore.external-secrets.io/v2alpha1", "kind": "SecretStore", "name": "bao",
    }))
    .unwrap()
}

#[tokio::test]
async fn a_store_without_a_provider_reference_is_refused_before_anything_is_sent() {
    // PC-07: the client's half.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    let held = Arc::new(Held::default());
    let source = ProviderSource::new(held.clone(), Arc::new(providers(&authority)));
    let remote = serde_json::from_value(json!({"key": "db"})).unwrap();
    let metadata = json!({"name": "bao", "namespace": "team-a", "uid": "u", "generation": 1});
    for (field, text) in [
        ("kind", "spec.providerConfig.providerRef.kind is required"),
        ("name", "spec.providerConfig.providerRef.name is required"),
    ] {
        let mut store = object(metadata.clone(), &provider.address(), json!({}));
        store["spec"]["providerConfig"]["providerRef"][field] = "".into();
        let store: latchkey_crds::secret_store::SecretStore =
            serde_json::from_value(store).unwrap();
        held.add((&store).into());
        let error = source
            .secret(&caller("team-a"), &reference_to_store(), &remote)
            .await
            .unwrap_err();
        let (class, message) = failure(error);
        assert_eq!(class, FailureClass::Configuration);
        assert!(message.contains(text), "{message}");
    }
    // Without any it is no store: such an object is never read.
    let mut store = object(metadata, &provider.address(), json!({}));
    let config = store["spec"]["providerConfig"].as_object_mut().unwrap();
    config.remove("providerRef");
    assert!(serde_json::from_value::<latchkey_crds::secret_store::SecretStore>(store).is_err());
    assert_eq!(
        (
            provider.script.count("GetSecret"),
            provider.counts.get().accepted
        ),
        (0, 0)
    );
}

/// Writes a client identity of `authority` as a mounted Secret, and returns which it is.
fn mount(
    root: &std::path::Path,
    name: &str,
    authority: &Authority,
) -> latchkey_transport::Fingerprint {
    let leaf = authority.pem(&[], ExtendedKeyUsagePurpose::ClientAuth);
    let directory = root.join(name);
    std::fs::create_dir_all(&directory).unwrap();
    for (name, content) in ["ca.crt", "tls.crt", "tls.key"].iter().zip(&leaf) {
        std::fs::write(directory.join(name), content).unwrap();
    }
    let [ca, certificate, key] = leaf.map(String::into_bytes);
    Identity::from_pem(&ca, &certificate, &key)
        .unwrap()
        .fingerprint()
}

#[tokio::test]
async fn a_changed_store_gets_another_client_and_an_unchanged_one_reads_no_secret_again() {
    // PC-25, X-104, P-CL-2: what is kept is found by what is in the store, so a new generation cannot meet an old client.
    let authority = Authority::new();
    let (first, second) = (
        Provider::start(&authority).await,
        Provider::start(&authority).await,
    );
    for provider in [&first, &second] {
        provider.script.on_secret(|| Ok(b"value".to_vec()));
    }
    let root = tempfile::tempdir().unwrap();
    mount(root.path(), "one", &authority);
    mount(root.path(), "two", &authority);
    let mut providers = providers(&authority);
    let own = OwnIdentity::new("none");
    providers.identities = Identities::from_files(own, root.path().to_owned(), "latchkey".into());
    let providers = Arc::new(providers);
    let held = Arc::new(Held::default());
    let source = ProviderSource::new(held.clone(), providers.clone());
    let store = |address: &str, secret: &str| {
        let auth = json!({"clientCertificate": {"secretRef": {"name": secret}}});
        namespaced("latchkey", address, json!({"auth": auth}))
    };
    let get = async || {
        let remote = serde_json::from_value(json!({"key": "db"})).unwrap();
        let (caller, store) = (caller("latchkey"), reference_to_store());
        let value = source.secret(&caller, &store, &remote).await;
        value.map(|value| value.expose().to_vec()).ok()
    };
    let accepted = || (first.counts.get().accepted, second.counts.get().accepted);
    held.add(store(&first.address(), "one"));
    assert!(get().await.is_some());
    // The Secret is gone: who reads it again fails.
    std::fs::remove_dir_all(root.path().join("one")).unwrap();
    for _ in 0..10 {
        assert!(get().await.is_some());
    }
    assert_eq!((accepted(), providers.pool.len()), ((1, 0), 1));
    // Another Secret, then another address.
    held.add(store(&first.address(), "two"));
    assert!(get().await.is_some());
    assert_eq!(accepted(), (2, 0));
    held.add(store(&second.address(), "two"));
    assert!(get().await.is_some());
    assert_eq!(accepted(), (2, 1));
    held.add(store(&second.address(), "three"));
    assert!(
        get().await.is_none(),
        "a Secret that does not exist was read"
    );
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_read_again_after_half_a_minute() {
    // PC-22, PC-25: a rotated Secret is in use within 60 s; until then it is not asked for.
    let authority = Authority::new();
    let root = tempfile::tempdir().unwrap();
    let before = mount(root.path(), "one", &authority);
    let identities = Identities::from_files(
        OwnIdentity::new("none"),
        root.path().to_owned(),
        "latchkey".into(),
    );
    let store = Usable {
        address: "p.secrets.svc:1".parse().unwrap(),
        certificate: Some(CertificateSource {
            namespace: "latchkey".into(),
            name: "one".into(),
            ca_key: None,
            cert_key: None,
            key_key: None,
        }),
        token: None,
        caller: Default::default(),
        server_name: None,
        retry: None,
    };
    let seen = async || identities.resolve(&store).await.unwrap().fingerprint();
    assert_eq!(seen().await, before);
    let after = mount(root.path(), "one", &authority);
    tokio::time::advance(Duration::from_secs(29)).await;
    assert_eq!(seen().await, before);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(seen().await, after);
}

//! From a reference in an ExternalSecret to what the provider is asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use latchkey_crds::external_secret::{Find, RemoteRef, SecretStoreRef};
use latchkey_engine::source::{Caller, FailureClass, FetchError, Source as _};
use latchkey_proto::provider::v1 as wire;
use parking_lot::Mutex;
use serde_json::json;
use tonic::Status;

use super::server::{Authority, Provider, providers, providers_with};
use crate::providers::ProviderSource;
use crate::stores::{ReadError, Store, StoreKey, StoreReader};

/// Stores and namespaces in a map.
#[derive(Default)]
pub(super) struct Held {
    pub(super) stores: Mutex<BTreeMap<StoreKey, Store>>,
    pub(super) namespaces: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
}

impl StoreReader for Held {
    async fn store(&self, key: &StoreKey) -> Result<Arc<Store>, ReadError> {
        self.stores
            .lock()
            .get(key)
            .cloned()
            .map(Arc::new)
            .ok_or(ReadError::Missing)
    }

    async fn namespace_labels(
        &self,
        name: &str,
    ) -> Result<Arc<BTreeMap<String, String>>, ReadError> {
        self.namespaces
            .lock()
            .get(name)
            .cloned()
            .map(Arc::new)
            .ok_or(ReadError::Missing)
    }
}

impl Held {
    pub(super) fn add(&self, store: Store) {
        self.stores.lock().insert(store.key.clone(), store);
    }
}

pub(super) fn namespaced(namespace: &str, address: &str, rest: serde_json::Value) -> Store {
    let object = object(
        json!({"name": "bao", "namespace": namespace, "uid": "u", "generation": 1}),
        address,
        rest,
    );
    Store::from(
        &serde_json::from_value::<latchkey_crds::secret_store::SecretStore>(object).unwrap(),
    )
}

pub(super) fn cluster(address: &str, rest: serde_json::Value) -> Store {
    let object = object(
        json!({"name": "bao", "uid": "u", "generation": 1}),
        address,
        rest,
    );
    Store::from(
        &serde_json::from_value::<latchkey_crds::secret_store::ClusterSecretStore>(object).unwrap(),
    )
}

/// A ready store or generator; `rest` replaces parts of its spec, and `status` the status.
pub(super) fn object(
    metadata: serde_json::Value,
    address: &str,
    rest: serde_json::Value,
) -> serde_json::Value {
    let mut spec = json!({"providerConfig": {
        "address": address,
        "providerRef": {"kind": "HashicorpVault", "name": "vault"},
    }});
    let mut status =
        json!({"conditions": [{"type": "Ready", "status": "True", "reason": "Valid"}]});
    for (key, value) in rest.as_object().cloned().unwrap_or_default() {
        match key.as_str() {
            "status" => status = value,
            "providerNamespace" => spec["providerConfig"]["providerRef"]["namespace"] = value,
            "auth" => spec["providerConfig"]["auth"] = value,
            _ => spec[key] = value,
        }
    }
    json!({"metadata": metadata, "spec": spec, "status": status})
}

pub(super) fn caller(namespace: &str) -> Caller {
    Caller {
        namespace: namespace.into(),
        name: "app".into(),
        uid: "1".into(),
        pod: None,
    }
}

pub(super) fn reference(kind: &str) -> SecretStoreRef {
    serde_json::from_value(json!({
        "apiVersion": "secretstore.external-secrets.io/v2alpha1",
        "kind": kind,
        "name": "bao",
    }))
    .unwrap()
}

pub(super) fn remote() -> RemoteRef {
    serde_json::from_value(
        json!({"key": "/app/Db", "property": "pass", "version": "3", "metadataPolicy": "Fetch"}),
    )
    .unwrap()
}

pub(super) fn failure(error: FetchError) -> (FailureClass, String) {
    match error {
        FetchError::NoSecret => panic!("NoSecret"),
        FetchError::Failed { class, message, .. } => (class, message),
    }
}

#[tokio::test]
async fn namespaces_of_callers_reach_the_provider_over_one_connection() {
    // PC-23, SB-02, SB-25, X-105.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    provider.script.on_secret(|| Ok(b"value".to_vec()));
    let held = Arc::new(Held::default());
    held.add(cluster(
        &provider.address(),
        json!({"providerNamespace": "p"}),
    ));
    held.add(namespaced("team-a", &provider.address(), json!({})));
    let source = ProviderSource::new(held, Arc::new(providers(&authority)));
    for (namespace, kind) in [
        ("team-a", "ClusterSecretStore"),
        ("team-b", "ClusterSecretStore"),
        ("team-a", "SecretStore"),
    ] {
        let value = source
            .secret(&caller(namespace), &reference(kind), &remote())
            .await
            .unwrap();
        assert_eq!(value.expose(), b"value");
    }
    let seen: Vec<_> = provider
        .script
        .seen
        .lock()
        .iter()
        .map(|(reference, source)| {
            (
                reference.namespace.clone(),
                reference.store_ref_kind.clone(),
                source.clone(),
            )
        })
        .collect();
    let expected = [
        ("p", "ClusterSecretStore", "team-a"),
        ("p", "ClusterSecretStore", "team-b"),
        ("team-a", "SecretStore", "team-a"),
    ];
    assert_eq!(
        seen,
        expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()))
    );
    assert_eq!(provider.counts.get().accepted, 1);
}

#[tokio::test]
async fn missing_secret_and_other_failures_are_told_apart() {
    // PC-04.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    let held = Arc::new(Held::default());
    held.add(namespaced("team-a", &provider.address(), json!({})));
    let source = ProviderSource::new(held, Arc::new(providers(&authority)));
    provider.script.on_secret(|| Err(Status::not_found("x")));
    let error = source
        .secret(&caller("team-a"), &reference("SecretStore"), &remote())
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::NoSecret));
    provider.script.on_map(|| Err(Status::unknown("not found")));
    let error = source
        .secret_map(&caller("team-a"), &reference("SecretStore"), &remote())
        .await
        .unwrap_err();
    assert_eq!(failure(error).0, FailureClass::Provider);
}

#[tokio::test]
async fn a_search_is_sent_as_it_is_written() {
    // provider-protocol.md 1.5, 13.2, providers.md 2.1; externalsecret.md E146, E147, E148: path and tags are the provider's.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    let held = Arc::new(Held::default());
    held.add(cluster(
        &provider.address(),
        json!({"providerNamespace": "p"}),
    ));
    let source = ProviderSource::new(held, Arc::new(providers(&authority)));
    provider
        .script
        .on_all(|| Ok(BTreeMap::from([("a/b".to_owned(), vec![0xff, 0])])));
    let name = |regexp: &str| {
        Some(wire::FindName {
            regexp: regexp.into(),
        })
    };
    let default = || wire::ExternalSecretFind {
        conversion_strategy: "Default".into(),
        ..wire::ExternalSecretFind::default()
    };
    let tags = BTreeMap::from([("env".to_owned(), "dev".to_owned())]);
    for (find, expected) in [
        (json!({}), default()),
        (
            json!({"name": {}}),
            wire::ExternalSecretFind {
                name: name(""),
                ..default()
            },
        ),
        (
            json!({
                "path": "/App", "name": {"regexp": "^x.+"}, "tags": tags.clone(), "conversionStrategy": "Unicode",
                "decodingStrategy": "Base64URL", "nullBytePolicy": "Fail",
            }),
            wire::ExternalSecretFind {
                path: "/App".into(),
                name: name("^x.+"),
                tags,
                conversion_strategy: "Unicode".into(),
                decoding_strategy: "Base64URL".into(),
            },
        ),
    ] {
        let find: Find = serde_json::from_value(find).unwrap();
        let found = source
            .find(&caller("team-a"), &reference("ClusterSecretStore"), &find)
            .await
            .unwrap();
        assert_eq!(found["a/b"].expose(), [0xff, 0]);
        assert_eq!(provider.script.finds.lock().pop(), Some(expected));
    }
    let (sent, from) = provider.script.seen.lock().pop().unwrap();
    assert_eq!(
        (&*sent.namespace, &*sent.store_ref_kind, &*from),
        ("p", "ClusterSecretStore", "team-a")
    );
}

#[tokio::test]
async fn a_search_never_says_that_a_secret_is_missing() {
    // provider-protocol.md 2 and 4
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    let held = Arc::new(Held::default());
    held.add(namespaced("team-a", &provider.address(), json!({})));
    let source = ProviderSource::new(held, Arc::new(providers(&authority)));
    let find = async || {
        source
            .find(
                &caller("team-a"),
                &reference("SecretStore"),
                &Find::default(),
            )
            .await
    };
    provider.script.on_all(|| Ok(BTreeMap::new()));
    assert_eq!(find().await.unwrap(), BTreeMap::new());
    for (status, class, text) in [
        (
            Status::not_found("no such path"),
            FailureClass::Provider,
            "failed to get all secrets via gRPC: no such path",
        ),
        (
            Status::invalid_argument("unsupported find operator"),
            FailureClass::Configuration,
            "failed to get all secrets via gRPC: unsupported find operator",
        ),
    ] {
        provider.script.on_all(move || Err(status.clone()));
        let error = find().await.unwrap_err();
        assert!(!error.is_of_store());
        assert_eq!(failure(error), (class, text.to_owned()));
    }
    let error = source
        .find(
            &caller("team-b"),
            &reference("SecretStore"),
            &Find::default(),
        )
        .await
        .unwrap_err();
    assert!(error.is_of_store(), "{error}");
}

#[tokio::test]
async fn rules_refuse_before_anything_is_sent() {
    // SB-07, X-081, X-143
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    provider.script.on_secret(|| Ok(Vec::new()));
    let address = provider.address();
    let provider_namespace = json!({"providerNamespace": "p"});
    let with = |extra: serde_json::Value| {
        let mut rest = provider_namespace.clone();
        for (key, value) in extra.as_object().cloned().unwrap_or_default() {
            rest[key] = value;
        }
        cluster(&address, rest)
    };
    let not_ready = json!({"conditions": [{"type": "Ready", "status": "False", "reason": "InvalidProviderConfig"}]});
    let cases = [
        (
            None,
            FailureClass::StoreMissing,
            "could not get ClusterSecretStore \"bao\", ClusterSecretStore.secretstore.external-secrets.io \"bao\" not found",
        ),
        (
            Some(with(json!({"controller": "other"}))),
            FailureClass::Denied,
            "can not reference unmanaged store",
        ),
        (
            Some(with(json!({"conditions": [{"namespaces": ["team-b"]}]}))),
            FailureClass::Denied,
            "using cluster store \"bao\" is not allowed from namespace \"team-a\": denied by spec.condition",
        ),
        (
            Some(with(json!({"conditions": [{"namespaceRegexes": ["("]}]}))),
            FailureClass::Configuration,
            "ClusterSecretStore \"bao\": failed to compile regex (",
        ),
        (
            Some(with(json!({"status": {}}))),
            FailureClass::StoreNotValidated,
            "ClusterSecretStore \"bao\" is not ready",
        ),
        (
            Some(with(json!({"status": not_ready}))),
            FailureClass::StoreNotReady,
            "ClusterSecretStore \"bao\" is not ready",
        ),
        (
            Some(with(json!({"status": {
                "conditions": [{"type": "Ready", "status": "True"}], "capabilities": "WriteOnly",
            }}))),
            FailureClass::Configuration,
            "ClusterSecretStore \"bao\" is write-only",
        ),
        (
            Some(with(json!({"auth": {"serviceAccountRef": {"name": "a"}}}))),
            FailureClass::Configuration,
            "serviceAccountRef.namespace is required",
        ),
        (
            Some(cluster("unix:///p", provider_namespace.clone())),
            FailureClass::Configuration,
            "scheme \"unix\"",
        ),
    ];
    for (store, class, text) in cases {
        let held = Arc::new(Held::default());
        let labels = BTreeMap::from([(
            "kubernetes.io/metadata.name".to_owned(),
            "team-a".to_owned(),
        )]);
        held.namespaces.lock().insert("team-a".into(), labels);
        if let Some(store) = store {
            held.add(store);
        }
        let source = ProviderSource::new(held, Arc::new(providers(&authority)));
        let error = source
            .secret(
                &caller("team-a"),
                &reference("ClusterSecretStore"),
                &remote(),
            )
            .await
            .unwrap_err();
        let (found, message) = failure(error);
        assert_eq!(found, class, "{message}");
        assert!(message.contains(text), "{message}");
    }
    assert_eq!(
        (
            provider.script.count("GetSecret"),
            provider.counts.get().accepted
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn namespaced_store_is_looked_up_beside_its_caller_only() {
    // SB-01.
    let authority = Authority::new();
    let held = Arc::new(Held::default());
    held.add(namespaced("team-a", "localhost:1", json!({})));
    let source = ProviderSource::new(held, Arc::new(providers(&authority)));
    let error = source
        .secret(&caller("team-b"), &reference("SecretStore"), &remote())
        .await
        .unwrap_err();
    assert_eq!(
        failure(error),
        (
            FailureClass::StoreMissing,
            "could not get SecretStore \"bao\", SecretStore.secretstore.external-secrets.io \"bao\" not found".into()
        )
    );
}

#[tokio::test]
async fn other_apis_are_refused_without_fall_back() {
    // B5, SB-34. SB-31: stores of the API v1 are refused, so that they can break none of the statements.
    let authority = Authority::new();
    let held = Arc::new(Held::default());
    held.add(namespaced("team-a", "localhost:1", json!({})));
    let source = ProviderSource::new(held, Arc::new(providers(&authority)));
    let cases = [
        (None, "of external-secrets.io/v1 is not supported yet"),
        (
            Some("external-secrets.io/v1"),
            "of external-secrets.io/v1 is not supported yet",
        ),
        (
            Some("example.com/v1"),
            "unsupported secretStoreRef apiVersion \"example.com/v1\"",
        ),
    ];
    for (api, text) in cases {
        let store = SecretStoreRef {
            api_version: api.map(str::to_owned),
            ..reference("SecretStore")
        };
        let error = source
            .secret(&caller("team-a"), &store, &remote())
            .await
            .unwrap_err();
        let (class, message) = failure(error);
        assert_eq!(class, FailureClass::Configuration);
        assert!(message.contains(text), "{message}");
    }
}

#[tokio::test]
async fn missing_identities_are_told_apart_from_wrong_ones() {
    let authority = Authority::new();
    let held = Arc::new(Held::default());
    held.add(namespaced("team-a", "localhost:1", json!({})));
    let pending = providers_with(None, std::time::Duration::from_secs(1));
    let source = ProviderSource::new(held.clone(), Arc::new(pending));
    let error = source
        .secret(&caller("team-a"), &reference("SecretStore"), &remote())
        .await
        .unwrap_err();
    let (class, message) = failure(error);
    assert_eq!(class, FailureClass::Unavailable);
    assert!(
        message.contains("the client certificate of the agent is not there yet (the test)"),
        "{message}"
    );

    let auth = json!({"clientCertificate": {"secretRef": {"name": "team-cert"}}});
    held.add(namespaced("latchkey", "localhost:1", json!({"auth": auth})));
    let source = ProviderSource::new(held, Arc::new(providers(&authority)));
    let error = source
        .secret(&caller("latchkey"), &reference("SecretStore"), &remote())
        .await
        .unwrap_err();
    let (class, message) = failure(error);
    assert_eq!(class, FailureClass::Configuration);
    assert!(
        message.contains("add \"team-cert\" to the chart value node.clientCertificates"),
        "{message}"
    );
}

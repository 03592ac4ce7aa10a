use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use parking_lot::Mutex;
use serde_json::json;

use super::*;
use crate::source::{GenerateError, Generated};
use crate::template::{ObjectError, ObjectKind, Settings, TemplateObjects};

type Fields<'a> = &'a [(&'a str, &'a [u8])];

/// Values by `<store>/<key>`; an absent one does not exist. Keys that start with `slow` answer last.
#[derive(Default)]
struct Shelf {
    values: BTreeMap<String, Result<BTreeMap<String, Vec<u8>>, String>>,
    running: AtomicUsize,
    most: AtomicUsize,
    /// Entries and generators that were asked, in this order.
    generated: Mutex<Vec<(usize, String)>>,
}

impl Shelf {
    fn with(entries: &[(&str, Fields<'_>)]) -> Self {
        let values = entries.iter().map(|(key, fields)| {
            let fields = fields
                .iter()
                .map(|(field, value)| ((*field).to_owned(), value.to_vec()))
                .collect();
            ((*key).to_owned(), Ok(fields))
        });
        Self {
            values: values.collect(),
            ..Self::default()
        }
    }

    fn failing(mut self, key: &str, message: &str) -> Self {
        self.values.insert(key.to_owned(), Err(message.to_owned()));
        self
    }

    async fn look_up(
        &self,
        store: &SecretStoreRef,
        remote: &RemoteRef,
    ) -> Result<BTreeMap<String, SecretValue>, FetchError> {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        let pauses = if remote.key.starts_with("slow") {
            50
        } else {
            5
        };
        for _ in 0..pauses {
            tokio::task::yield_now().await;
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        match self.values.get(&format!("{}/{}", store.name(), remote.key)) {
            None => Err(FetchError::NoSecret),
            Some(Err(message)) => Err(FetchError::Failed {
                class: FailureClass::Unavailable,
                message: message.clone(),
                retry_after: Some(Duration::from_secs(7)),
            }),
            Some(Ok(fields)) => Ok(fields
                .iter()
                .map(|(key, value)| (key.clone(), SecretValue::new(value.clone())))
                .collect()),
        }
    }
}

impl Source for Shelf {
    async fn secret(
        &self,
        caller: &Caller,
        store: &SecretStoreRef,
        remote: &RemoteRef,
    ) -> Result<SecretValue, FetchError> {
        assert_eq!(caller, &test_caller());
        let fields = self.look_up(store, remote).await?;
        fields
            .get(remote.property.as_deref().unwrap_or_default())
            .cloned()
            .ok_or(FetchError::NoSecret)
    }

    async fn secret_map(
        &self,
        _: &Caller,
        store: &SecretStoreRef,
        remote: &RemoteRef,
    ) -> Result<BTreeMap<String, SecretValue>, FetchError> {
        self.look_up(store, remote).await
    }

    /// The field without a name of every secret whose key contains the expression. An error under `find` answers instead, and
    /// the expression `gone` is answered as if a secret were missing.
    async fn find(
        &self,
        caller: &Caller,
        store: &SecretStoreRef,
        find: &Find,
    ) -> Result<SecretData, FetchError> {
        assert_eq!(caller, &test_caller());
        let pattern = find.name.as_ref().and_then(|name| name.regexp.as_deref());
        let pattern = pattern.unwrap_or_default();
        if let Some(Err(_)) = self.values.get(&format!("{}/find", store.name())) {
            let remote = RemoteRef {
                key: "find".into(),
                ..RemoteRef::default()
            };
            return self.look_up(store, &remote).await;
        }
        if pattern == "gone" {
            return Err(FetchError::NoSecret);
        }
        let prefix = format!("{}/", store.name());
        let found = self.values.iter().filter_map(|(key, fields)| {
            let key = key
                .strip_prefix(&prefix)
                .filter(|key| key.contains(pattern))?;
            let value = fields.as_ref().ok()?.get("")?;
            Some((key.to_owned(), SecretValue::new(value.clone())))
        });
        Ok(found.collect())
    }

    /// The secret under `generator/<name>`. The name `wrong` is no reference to one.
    async fn generate(
        &self,
        caller: &Caller,
        entry: usize,
        generator: &GeneratorRef,
    ) -> Result<Generated, GenerateError> {
        assert_eq!(caller, &test_caller());
        if generator.name == "wrong" {
            return Err(GenerateError::Get(FetchError::Failed {
                class: FailureClass::Reference,
                message: "no such kind".into(),
                retry_after: None,
            }));
        }
        self.generated.lock().push((entry, generator.name.clone()));
        let store = SecretStoreRef {
            name: Some("generator".into()),
            ..SecretStoreRef::default()
        };
        let remote = RemoteRef {
            key: generator.name.clone(),
            ..RemoteRef::default()
        };
        let data = self
            .look_up(&store, &remote)
            .await
            .map_err(GenerateError::Use)?;
        Ok(Generated { data, state: None })
    }
}

/// For rewrites, which need no objects.
fn renderer() -> Renderer {
    Renderer::new(Settings::default(), Arc::new(NoObjects))
}

struct NoObjects;

impl TemplateObjects for NoObjects {
    fn read<'a>(
        &'a self,
        _: &'a str,
        _: ObjectKind,
        name: &'a str,
        _: &'a BTreeSet<&'a str>,
    ) -> BoxFuture<'a, Result<SecretData, ObjectError>> {
        ready(Err(ObjectError::Missing(name.to_owned()))).boxed()
    }
}

fn test_caller() -> Caller {
    Caller {
        namespace: "team-a".into(),
        name: "db".into(),
        uid: "1".into(),
        pod: None,
    }
}

mod find;
mod generate;

async fn run(shelf: &Shelf, spec: serde_json::Value) -> Result<Resolution, String> {
    let mut spec: ExternalSecretSpec = serde_json::from_value(spec).unwrap();
    if spec.secret_store_ref.is_none() {
        spec.secret_store_ref = Some(SecretStoreRef {
            name: Some("s".into()),
            ..SecretStoreRef::default()
        });
    }
    resolve(&spec, &test_caller(), shelf, &renderer(), Timestamp::now())
        .await
        .map_err(|error| error.to_string())
}

fn texts(resolution: &Resolution) -> Vec<(&str, String)> {
    let text = |value: &SecretValue| String::from_utf8_lossy(value.expose()).into_owned();
    resolution
        .data
        .iter()
        .map(|(key, value)| (key.as_str(), text(value)))
        .collect()
}

#[tokio::test]
async fn later_entries_override_earlier_ones_and_data_overrides_data_from() {
    // externalsecret.md 2.3, E049, E052, E082, E138; X-088; the corpus scenario src-precedence.
    let shelf = Shelf::with(&[
        (
            "s/slow",
            &[("a", b"1"), ("b", b"1"), ("c", b"1"), ("d", b"1")],
        ),
        ("other/two", &[("b", b"2"), ("c", b"2")]),
        ("s/one", &[("", b"3")]),
        ("s/slow-one", &[("p", b"4")]),
    ]);
    let spec = json!({
        "dataFrom": [
            { "extract": { "key": "slow" } },
            { "extract": { "key": "two" }, "sourceRef": { "storeRef": { "name": "other" } } },
            { "sourceRef": { "storeRef": { "name": "contributes-nothing" } } },
        ],
        "data": [
            { "secretKey": "c", "remoteRef": { "key": "slow-one", "property": "p" } },
            { "secretKey": "c", "remoteRef": { "key": "one" } },
        ],
    });
    let resolution = run(&shelf, spec).await.unwrap();
    let expected =
        [("a", "1"), ("b", "2"), ("c", "3"), ("d", "1")].map(|(key, text)| (key, text.to_owned()));
    assert_eq!(texts(&resolution), expected);
    assert!(resolution.missing.is_empty());
}

#[tokio::test]
async fn fetches_overlap_within_the_bound() {
    let data: Vec<_> = (0..40)
        .map(|n| json!({ "secretKey": format!("k{n}"), "remoteRef": { "key": "one" } }))
        .collect();
    let shelf = Shelf::with(&[("s/one", &[("", b"v")])]);
    assert_eq!(
        run(&shelf, json!({ "data": data }))
            .await
            .unwrap()
            .data
            .len(),
        40
    );
    assert_eq!(shelf.most.load(Ordering::SeqCst), CONCURRENT_FETCHES);
}

#[tokio::test]
async fn the_first_error_in_the_order_of_the_spec_is_reported() {
    // externalsecret.md 2.3, X07
    let shelf = Shelf::with(&[("s/fine", &[("", b"v")])])
        .failing("s/slow-broken", "first")
        .failing("s/broken", "second");
    let spec = json!({ "data": [
        { "secretKey": "a", "remoteRef": { "key": "fine" } },
        { "secretKey": "b", "remoteRef": { "key": "slow-broken" } },
        { "secretKey": "c", "remoteRef": { "key": "broken" } },
    ] });
    assert_eq!(
        run(&shelf, spec).await.unwrap_err(),
        "error processing spec.data[1] (key: slow-broken), err: first"
    );
}

#[tokio::test]
async fn each_failure_has_its_wrapper() {
    // externalsecret.md 1.1, 2.3, 3.5, 3.7, 3.8, E053, E055
    let shelf = Shelf::with(&[
        ("s/one", &[("", b"f\0o")]),
        ("s/map", &[("a/b", b"foo"), ("a$b", b"foo")]),
        ("s/bad", &[("k", b"foo")]),
        ("s/nul", &[("z", b"\0"), ("b", b"\0"), ("c", b"x")]),
    ])
    .failing("s/down", "provider is down");
    for (spec, expected) in [
        (
            json!({ "data": [{ "secretKey": "a", "remoteRef": { "key": "gone" } }] }),
            "error processing spec.data[0] (key: gone), err: Secret does not exist",
        ),
        (
            json!({ "dataFrom": [{ "extract": { "key": "gone" } }] }),
            "error processing spec.dataFrom[0].extract, err: Secret does not exist",
        ),
        (
            json!({ "dataFrom": [{ "extract": { "key": "down" } }] }),
            "error processing spec.dataFrom[0].extract, err: provider is down",
        ),
        (
            json!({ "dataFrom": [{ "extract": { "key": "map" } }] }),
            "error processing spec.dataFrom[0].extract, err: error applying conversion strategy  to keys: secret name collision during conversion: a_b",
        ),
        (
            json!({ "dataFrom": [{ "extract": { "key": "map", "conversionStrategy": "Default" } }] }),
            "error processing spec.dataFrom[0].extract, err: error applying conversion strategy Default to keys: secret name collision during conversion: a_b",
        ),
        (
            json!({ "dataFrom": [{ "extract": { "key": "bad", "decodingStrategy": "Base64" } }] }),
            "error processing spec.dataFrom[0].extract, err: error applying decoding strategy Base64 to data: failure decoding key k: illegal base64 data at input byte 0",
        ),
        (
            json!({ "data": [{ "secretKey": "a", "remoteRef": { "key": "one", "decodingStrategy": "Base64URL" } }] }),
            "error processing spec.data[0] (key: one), err: error applying decoding strategy Base64URL to data: illegal base64 data at input byte 1",
        ),
        (
            json!({ "data": [{ "secretKey": "a", "remoteRef": { "key": "one", "nullBytePolicy": "Fail" } }] }),
            "error processing spec.data[0] (key: one), err: fetched secret value for key \"a\" contains null bytes; use a text-safe format such as PEM/base64 or leave nullBytePolicy unset for intentional binary data",
        ),
        (
            json!({ "dataFrom": [{ "extract": { "key": "nul", "nullBytePolicy": "Fail" } }] }),
            "error processing spec.dataFrom[0].extract, err: fetched secret value for key \"b\" contains null bytes; use a text-safe format such as PEM/base64 or leave nullBytePolicy unset for intentional binary data",
        ),
        (
            json!({ "data": [{ "secretKey": "a", "remoteRef": { "key": "one" }, "sourceRef": { "generatorRef": { "kind": "UUID", "name": "u" } } }] }),
            "error processing spec.data[0] (key: one), err: could not get SecretStore \"\", SecretStore.external-secrets.io \"\" not found",
        ),
    ] {
        assert_eq!(
            run(&shelf, spec.clone()).await.unwrap_err(),
            expected,
            "{spec}"
        );
    }
    let invalid = Shelf::with(&[("s/long", &[(&"k".repeat(254), b"x")])]);
    let error = run(
        &invalid,
        json!({ "dataFrom": [{ "extract": { "key": "long" } }] }),
    )
    .await
    .unwrap_err();
    assert!(error.starts_with("error processing spec.dataFrom[0].extract, err: invalid secret keys (TIP: use rewrite or conversionStrategy to change keys): key has length 254"), "{error}");
}

#[tokio::test]
async fn failures_keep_their_class_and_pause() {
    let shelf = Shelf::default().failing("s/down", "down");
    let spec = |key: &str| ExternalSecretSpec {
        secret_store_ref: Some(SecretStoreRef {
            name: Some("s".into()),
            ..SecretStoreRef::default()
        }),
        data: vec![Data {
            remote_ref: RemoteRef {
                key: key.into(),
                ..RemoteRef::default()
            },
            ..Data::default()
        }],
        ..ExternalSecretSpec::default()
    };
    let error = resolve(
        &spec("down"),
        &test_caller(),
        &shelf,
        &renderer(),
        Timestamp::now(),
    )
    .await
    .unwrap_err();
    assert_eq!(
        (error.class(), error.retry_after()),
        (
            Some(FailureClass::Unavailable),
            Some(Duration::from_secs(7))
        )
    );
    let error = resolve(
        &spec("gone"),
        &test_caller(),
        &shelf,
        &renderer(),
        Timestamp::now(),
    )
    .await
    .unwrap_err();
    assert_eq!((error.class(), error.retry_after()), (None, None));
}

#[tokio::test]
async fn missing_secrets_are_skipped_unless_they_are_to_be_retained() {
    // externalsecret.md 2.3, 2.9, D-12
    let shelf = Shelf::with(&[("s/one", &[("", b"v")])]);
    for policy in ["Delete", "Merge"] {
        let spec = json!({
            "target": { "deletionPolicy": policy },
            "dataFrom": [{ "extract": { "key": "gone" } }],
            "data": [
                { "secretKey": "a", "remoteRef": { "key": "one" } },
                { "secretKey": "b", "remoteRef": { "key": "gone-too" } },
            ],
        });
        let resolution = run(&shelf, spec).await.unwrap();
        assert_eq!(texts(&resolution), [("a", "v".to_owned())]);
        assert_eq!(
            resolution.missing,
            [
                "secret does not exist at provider using spec.dataFrom[0]",
                "secret does not exist at provider using spec.dataFrom[1] (key=gone-too)",
            ]
        );
    }
}

#[tokio::test]
async fn what_is_available_is_told_beside_what_is_missing() {
    // csi.md 8, `optional`
    let shelf = Shelf::with(&[("s/one", &[("", b"v")])]).failing("s/broken", "no");
    let available = async |policy: &str, second: &str| {
        let spec = json!({
            "secretStoreRef": { "name": "s" },
            "target": { "deletionPolicy": policy },
            "data": [
                { "secretKey": "a", "remoteRef": { "key": "gone" } },
                { "secretKey": "b", "remoteRef": { "key": second } },
                { "secretKey": "c", "remoteRef": { "key": "gone-too" } },
            ],
        });
        let spec: ExternalSecretSpec = serde_json::from_value(spec).unwrap();
        resolve_available(&spec, &test_caller(), &shelf, &renderer(), Timestamp::now()).await
    };
    let found = available("Retain", "one").await.unwrap();
    assert_eq!(texts(&found.resolution), [("b", "v".to_owned())]);
    assert_eq!(found.resolution.missing.len(), 2);
    let failure = found.failure.unwrap().to_string();
    assert!(
        failure.starts_with("error processing spec.data[0] (key: gone)"),
        "{failure}"
    );
    let found = available("Delete", "one").await.unwrap();
    assert_eq!(found.resolution.missing.len(), 2);
    assert!(found.failure.is_none());
    let error = available("Retain", "broken").await.unwrap_err().to_string();
    assert!(error.contains("spec.data[1]"), "{error}");
}

#[tokio::test]
async fn keys_are_converted_dropped_and_decoded_in_that_order() {
    // externalsecret.md 2.3, 3.5, X14, X15
    let shelf = Shelf::with(&[("s/map", &[("a/b", b"YmFy\n"), ("", b"YmFy")])]);
    let spec =
        json!({ "dataFrom": [{ "extract": { "key": "map", "decodingStrategy": "Base64" } }] });
    assert_eq!(
        texts(&run(&shelf, spec).await.unwrap()),
        [("a_b", "bar".to_owned())]
    );
    let spec =
        json!({ "dataFrom": [{ "extract": { "key": "map", "conversionStrategy": "Unicode" } }] });
    assert_eq!(
        texts(&run(&shelf, spec).await.unwrap()),
        [("a_U002f_b", "YmFy\n".to_owned())]
    );
}

#[tokio::test]
async fn rewritten_keys_are_validated_and_not_converted() {
    // externalsecret.md 2.3, 3.4; SB-37
    let shelf = Shelf::with(&[("s/map", &[("a/b", b"MQ=="), ("c", b"Mg==")])]);
    let spec = |template: &str| {
        json!({ "dataFrom": [{
            "extract": { "key": "map", "decodingStrategy": "Base64" },
            "rewrite": [{ "transform": { "template": template } }],
        }] })
    };
    let resolution = run(&shelf, spec("{{ .value | replace \"/\" \"-\" | upper }}"))
        .await
        .unwrap();
    assert_eq!(
        texts(&resolution),
        [("A-B", "1".to_owned()), ("C", "2".to_owned())]
    );
    assert_eq!(
        run(&shelf, spec("x-{{ .value }}")).await.unwrap_err(),
        "error processing spec.dataFrom[0].extract, err: invalid secret keys (TIP: use rewrite or conversionStrategy to change \
         keys): key has invalid character /, only alphanumeric, '-', '.' and '_' are allowed: x-a/b"
    );
    assert!(
        run(&shelf, spec("{{")).await.unwrap_err().starts_with(
            "error processing spec.dataFrom[0].extract, err: error applying rewrite to keys: failed rewrite operation[0]: \
             transform failed with failed to parse template: template: transform:1: "
        )
    );
}

//! Reads: providers specification 8.4, 8.5 and the rows of section 15 that concern them.

use latchkey_provider_sdk::ErrorClass::{
    InvalidArgument, InvalidConfig, InvalidPayload, PermissionDenied, PropertyNotFound,
    SecretNotFound,
};
use latchkey_provider_sdk::RemoteRef;
use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{ROOT, shared};
use crate::store::{Given, backend, key, metadata, property, store, text, version};

#[tokio::test]
async fn a_whole_secret_is_sorted_json_with_html_escapes() {
    // externalsecret.md 3.6, E150
    let bao = shared().await;
    bao.put(
        "reads/whole",
        json!({"z": "<&>", "a": {"y": 1, "x": [true, null]}, "n": 1.5}),
    )
    .await;
    let value = backend()
        .get_secret(
            &store(&bao.address, json!({})),
            &Given::token(ROOT),
            &key("reads/whole"),
        )
        .await
        .unwrap();
    assert_eq!(
        text(&value),
        r#"{"a":{"x":[true,null],"y":1},"n":1.5,"z":"\u003c\u0026\u003e"}"#
    );
}

#[tokio::test]
async fn properties_are_literal_keys_first_and_paths_second() {
    // externalsecret.md 3.6, X17: what is missing is no missing secret.
    let bao = shared().await;
    let data = json!({"user": "u", "a.b": "literal", "a": {"b": "nested", "c": {"d": "<"}}, "f": 2.0, "nul": null, "l": [1, {"k": "v"}]});
    bao.put("reads/properties", data).await;
    let (backend, store, given) = (
        backend(),
        store(&bao.address, json!({})),
        Given::token(ROOT),
    );
    for (path, expected) in [
        ("user", "u"),
        ("a.b", "literal"),
        ("a.c.d", "<"),
        ("a.c", r#"{"d":"\u003c"}"#),
        ("f", "2"),
        ("nul", ""),
        ("l.1.k", "v"),
    ] {
        let value = backend
            .get_secret(&store, &given, &property("reads/properties", path))
            .await
            .unwrap();
        assert_eq!(text(&value), expected, "{path}");
    }
    for path in ["missing", "a.missing", "user.x"] {
        let error = backend
            .get_secret(&store, &given, &property("reads/properties", path))
            .await
            .unwrap_err();
        assert_eq!(error.class(), PropertyNotFound);
        assert_eq!(
            error.message(),
            format!("cannot find secret data for key: \"{path}\"")
        );
    }
}

#[tokio::test]
async fn a_map_has_every_member_by_conversion_b() {
    // externalsecret.md 3.1, 3.6, E150
    let bao = shared().await;
    let data = json!({"s": "x", "o": {"b": 1, "a": "<"}, "l": [1], "i": 7, "f": 1.5, "t": false, "n": null, "inner": "{\"p\":\"q\",\"k\":2}"});
    bao.put("reads/map", data).await;
    let (backend, store, given) = (
        backend(),
        store(&bao.address, json!({})),
        Given::token(ROOT),
    );
    let map = backend
        .get_secret_map(&store, &given, &key("reads/map"))
        .await
        .unwrap();
    for (name, expected) in [
        ("s", "x"),
        ("o", r#"{"a":"\u003c","b":1}"#),
        ("l", "[1]"),
        ("i", "7"),
        ("f", "1.5"),
        ("t", "false"),
        ("n", ""),
        ("inner", r#"{"p":"q","k":2}"#),
    ] {
        assert_eq!(text(&map[name]), expected, "{name}");
    }
    assert_eq!(map.len(), 8);
    let inner = backend
        .get_secret_map(&store, &given, &property("reads/map", "inner"))
        .await
        .unwrap();
    assert_eq!(
        (text(&inner["p"]), text(&inner["k"]), inner.len()),
        ("q", "2", 2)
    );
    let nested = backend
        .get_secret_map(&store, &given, &property("reads/map", "o"))
        .await
        .unwrap();
    assert_eq!(
        (text(&nested["a"]), text(&nested["b"]), nested.len()),
        ("<", "1", 2)
    );
    let error = backend
        .get_secret_map(&store, &given, &property("reads/map", "s"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), InvalidPayload);
}

#[tokio::test]
async fn versions_deleted_and_destroyed_ones_included() {
    let bao = shared().await;
    for number in 1..=3 {
        bao.put("reads/versions", json!({"v": number.to_string()}))
            .await;
    }
    bao.post("secret/delete/reads/versions", json!({"versions": [1]}))
        .await;
    bao.post("secret/destroy/reads/versions", json!({"versions": [2]}))
        .await;
    let (backend, store, given) = (
        backend(),
        store(&bao.address, json!({})),
        Given::token(ROOT),
    );
    for (number, expected) in [
        ("", r#"{"v":"3"}"#),
        ("0", r#"{"v":"3"}"#),
        ("3", r#"{"v":"3"}"#),
    ] {
        let value = backend
            .get_secret(&store, &given, &version("reads/versions", number))
            .await
            .unwrap();
        assert_eq!(text(&value), expected);
    }
    for number in ["1", "2", "4"] {
        let error = backend
            .get_secret(&store, &given, &version("reads/versions", number))
            .await
            .unwrap_err();
        assert_eq!(error.class(), SecretNotFound, "{number}");
        let error = backend
            .get_secret_map(&store, &given, &version("reads/versions", number))
            .await
            .unwrap_err();
        assert_eq!(error.class(), SecretNotFound, "{number}");
    }
    for number in ["latest", "-1", "1.5", "1&list=true"] {
        let error = backend
            .get_secret(&store, &given, &version("reads/versions", number))
            .await
            .unwrap_err();
        assert_eq!(error.class(), InvalidArgument, "{number}");
    }
    bao.request(Method::DELETE, "secret/data/reads/versions", Value::Null)
        .await;
    let error = backend
        .get_secret(&store, &given, &key("reads/versions"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), SecretNotFound);
}

#[tokio::test]
async fn keys_are_addressed_as_the_table_of_section_8_4_says() {
    let bao = shared().await;
    bao.post(
        "sys/mounts/team/kv",
        json!({"type": "kv", "options": {"version": "2"}}),
    )
    .await;
    bao.post("team/kv/data/foo", json!({"data": {"at": "team/kv foo"}}))
        .await;
    bao.put("path/foo", json!({"at": "secret path/foo"})).await;
    let strange = "reads/a b/é%2F?x#y/100%/+";
    let encoded = "reads/a%20b/%C3%A9%252F%3Fx%23y/100%25/%2B";
    bao.put(encoded, json!({"at": "strange"})).await;
    let (backend, given) = (backend(), Given::token(ROOT));
    for (path, name, expected) in [
        (Some("team/kv"), "foo", "team/kv foo"),
        (Some("/team/kv/"), "foo", "team/kv foo"),
        (Some("team/kv"), "team/kv/foo", "team/kv foo"),
        (Some("team/kv"), "team/kv/data/foo", "team/kv foo"),
        (None, "secret/path/foo", "secret path/foo"),
        (None, "secret/data/path/foo", "secret path/foo"),
        (None, "team/kv/data/foo", "team/kv foo"),
        (Some("secret"), strange, "strange"),
    ] {
        let store = store(&bao.address, json!({"path": path}));
        let found = backend
            .get_secret(&store, &given, &property(name, "at"))
            .await;
        assert_eq!(found.as_ref().map(text), Ok(expected), "{path:?} {name}");
    }
}

#[tokio::test]
async fn a_key_cannot_leave_the_engine() {
    let bao = shared().await;
    let (backend, given) = (backend(), Given::token(ROOT));
    for (path, name) in [
        (Some("secret"), "../../auth/token/lookup-self"),
        (Some("secret"), "x/%2e%2e/y/../../../sys/mounts"),
        (None, "auth/token/lookup-self"),
        (None, "sys/mounts"),
    ] {
        for engine in ["v1", "v2"] {
            let store = store(&bao.address, json!({"path": path, "version": engine}));
            let error = backend
                .get_secret(&store, &given, &key(name))
                .await
                .unwrap_err();
            assert_eq!(error.class(), InvalidArgument, "{path:?} {engine} {name}");
        }
    }
    // An encoded dot segment is a name like any other, not a way up.
    let store = store(&bao.address, json!({}));
    let error = backend
        .get_secret(&store, &given, &key("%2e%2e/%2e%2e/sys/mounts"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), SecretNotFound);
}

#[tokio::test]
async fn version_1_reads_values_maps_and_properties() {
    let bao = shared().await;
    bao.post(
        "sys/mounts/kv1",
        json!({"type": "kv", "options": {"version": "1"}}),
    )
    .await;
    bao.post(
        "kv1/app/db",
        json!({"user": "u", "port": 5432, "o": {"k": "v"}}),
    )
    .await;
    let (backend, given) = (backend(), Given::token(ROOT));
    let settings = |path: Option<&str>| store(&bao.address, json!({"version": "v1", "path": path}));
    for (path, name) in [
        (Some("kv1"), "app/db"),
        (Some("kv1"), "kv1/app/db"),
        (None, "kv1/app/db"),
    ] {
        let value = backend
            .get_secret(&settings(path), &given, &key(name))
            .await
            .unwrap();
        assert_eq!(
            text(&value),
            r#"{"o":{"k":"v"},"port":5432,"user":"u"}"#,
            "{path:?} {name}"
        );
    }
    let value = backend
        .get_secret(&settings(Some("kv1")), &given, &property("app/db", "o.k"))
        .await
        .unwrap();
    assert_eq!(text(&value), "v");
    let map = backend
        .get_secret_map(&settings(Some("kv1")), &given, &key("app/db"))
        .await
        .unwrap();
    assert_eq!(text(&map["port"]), "5432");
    let error = backend
        .get_secret(&settings(Some("kv1")), &given, &key("app/missing"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), SecretNotFound);
}

#[tokio::test]
async fn p_32_version_1_refuses_a_version() {
    let bao = shared().await;
    let store = store(&bao.address, json!({"version": "v1"}));
    let error = backend()
        .get_secret(&store, &Given::token(ROOT), &version("x", "1"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), InvalidArgument);
}

#[tokio::test]
async fn p_33_a_wrong_mount_namespace_or_engine_version_is_not_a_missing_secret() {
    let bao = shared().await;
    bao.post(
        "sys/mounts/p33v1",
        json!({"type": "kv", "options": {"version": "1"}}),
    )
    .await;
    bao.put("p33", json!({"a": "b"})).await;
    let (backend, given) = (backend(), Given::token(ROOT));
    for (changes, name) in [
        (json!({"path": "nope"}), "x"),
        (json!({"path": null}), "nope/x"),
        (json!({"path": "secret/deeper"}), "x"),
        (json!({"version": "v1"}), "p33"),
        (json!({"path": "p33v1"}), "x"),
        (json!({"namespace": "nowhere"}), "p33"),
        (json!({"path": "sys"}), "mounts"),
    ] {
        let store = store(&bao.address, changes.clone());
        for remote in [key(name), property(name, "a")] {
            let error = backend
                .get_secret(&store, &given, &remote)
                .await
                .unwrap_err();
            assert_eq!(
                error.class(),
                InvalidConfig,
                "{changes} {}",
                error.message()
            );
        }
    }
    // With a token that may not look elsewhere the server does not tell what is missing.
    bao.post(
        "sys/policies/acl/p33",
        json!({"policy": "path \"secret/data/p33\" { capabilities = [\"read\"] }"}),
    )
    .await;
    let given = Given::token(&bao.token("p33", "1h").await);
    let found = backend
        .get_secret(&store(&bao.address, json!({})), &given, &key("p33"))
        .await;
    assert!(found.is_ok());
    let error = backend
        .get_secret(
            &store(&bao.address, json!({"path": "nope"})),
            &given,
            &key("x"),
        )
        .await
        .unwrap_err();
    assert_eq!(error.class(), PermissionDenied);
}

#[tokio::test]
async fn fetch_mode_reads_metadata_as_strings() {
    let bao = shared().await;
    bao.put("reads/meta", json!({"password": "canary"})).await;
    bao.put("reads/meta", json!({"password": "canary"})).await;
    bao.post(
        "secret/metadata/reads/meta",
        json!({"custom_metadata": {"owner": "team", "created_time": "mine"}}),
    )
    .await;
    let (backend, store, given) = (
        backend(),
        store(&bao.address, json!({})),
        Given::token(ROOT),
    );
    let value = backend
        .get_secret(&store, &given, &metadata("reads/meta"))
        .await
        .unwrap();
    let expected = r#"{"created_time":"mine","current_version":"2","delete_version_after":"0s","owner":"team"}"#;
    assert_eq!(text(&value), expected);
    let value = backend
        .get_secret(&store, &given, &metadata("secret/data/reads/meta"))
        .await
        .unwrap();
    assert_eq!(
        text(&value),
        expected,
        "P-31: the mount is cut like in a data path"
    );
    let owner = RemoteRef {
        property: "owner".to_owned(),
        ..metadata("reads/meta")
    };
    assert_eq!(
        text(&backend.get_secret(&store, &given, &owner).await.unwrap()),
        "team"
    );
    let missing = RemoteRef {
        property: "password".to_owned(),
        ..metadata("reads/meta")
    };
    assert_eq!(
        backend
            .get_secret(&store, &given, &missing)
            .await
            .unwrap_err()
            .class(),
        PropertyNotFound
    );
    let map = backend
        .get_secret_map(&store, &given, &metadata("reads/meta"))
        .await
        .unwrap();
    assert_eq!((text(&map["owner"]), map.len()), ("team", 4));
}

#[tokio::test]
async fn p_17_fetch_mode_on_a_missing_secret_is_secret_not_found() {
    let bao = shared().await;
    let given = Given::token(ROOT);
    let error = backend()
        .get_secret(
            &store(&bao.address, json!({})),
            &given,
            &metadata("reads/none"),
        )
        .await
        .unwrap_err();
    assert_eq!(error.class(), SecretNotFound);
    let store = store(&bao.address, json!({"version": "v1"}));
    let error = backend()
        .get_secret(&store, &given, &metadata("reads/none"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), InvalidArgument);
    assert_eq!(
        error.message(),
        "cannot perform metadata fetch operations with kv version v1"
    );
}

#[tokio::test]
async fn namespaces_and_headers_of_the_store_are_sent() {
    let bao = shared().await;
    bao.post("sys/namespaces/reads", json!({})).await;
    bao.post(
        "reads/sys/mounts/kv",
        json!({"type": "kv", "options": {"version": "2"}}),
    )
    .await;
    bao.post("reads/kv/data/app", json!({"data": {"in": "namespace"}}))
        .await;
    let (backend, given) = (backend(), Given::token(ROOT));
    let by_field = store(&bao.address, json!({"path": "kv", "namespace": "reads"}));
    let by_header = store(
        &bao.address,
        json!({"path": "kv", "headers": {"X-Vault-Namespace": "reads"}}),
    );
    for store in [by_field, by_header] {
        let value = backend
            .get_secret(&store, &given, &property("app", "in"))
            .await
            .unwrap();
        assert_eq!(text(&value), "namespace");
    }
    // A header of the user's own cannot replace the token.
    let store = store(
        &bao.address,
        json!({"path": "kv", "namespace": "reads", "headers": {"X-Vault-Token": "other"}}),
    );
    assert!(
        backend
            .get_secret(&store, &given, &key("app"))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn large_and_unicode_values_arrive_unchanged() {
    let bao = shared().await;
    let large = "0123456789abcdef".repeat(4096 * 4);
    let unicode = "päss\u{1f600}\u{2028}\u{0}\"\\\n";
    bao.put(
        "reads/large",
        json!({"large": large, "unicode": unicode, "empty": "", "": "empty key"}),
    )
    .await;
    let (backend, store, given) = (
        backend(),
        store(&bao.address, json!({})),
        Given::token(ROOT),
    );
    let map = backend
        .get_secret_map(&store, &given, &key("reads/large"))
        .await
        .unwrap();
    assert!(text(&map["large"]) == large, "the large value differs");
    assert_eq!(text(&map["unicode"]), unicode);
    assert_eq!((text(&map["empty"]), text(&map[""])), ("", "empty key"));
}

#[tokio::test]
async fn reads_of_one_reconcile_share_one_fetch_and_see_one_version() {
    let bao = shared().await;
    bao.put("reads/shared", json!({"a": "1", "b": "1"})).await;
    let (backend, store) = (backend(), store(&bao.address, json!({})));
    let mut given = Given::token(ROOT);
    given.reconcile_id = Some("first".to_owned());
    let a = backend
        .get_secret(&store, &given, &property("reads/shared", "a"))
        .await
        .unwrap();
    bao.put("reads/shared", json!({"a": "2", "b": "2"})).await;
    let b = backend
        .get_secret(&store, &given, &property("reads/shared", "b"))
        .await
        .unwrap();
    assert_eq!((text(&a), text(&b)), ("1", "1"));
    // Another mode, version or reconcile is another fetch.
    let other = backend
        .get_secret(&store, &given, &version("reads/shared", "2"))
        .await
        .unwrap();
    assert_eq!(text(&other), r#"{"a":"2","b":"2"}"#);
    let other = RemoteRef {
        property: "current_version".to_owned(),
        ..metadata("reads/shared")
    };
    let other = backend.get_secret(&store, &given, &other).await.unwrap();
    assert_eq!(text(&other), "2");
    given.reconcile_id = Some("second".to_owned());
    let b = backend
        .get_secret(&store, &given, &property("reads/shared", "b"))
        .await
        .unwrap();
    assert_eq!(text(&b), "2");
}

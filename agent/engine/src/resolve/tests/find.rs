//! `dataFrom[].find`, and what it shares with the other sources.

use super::*;

fn attic() -> Shelf {
    Shelf::with(&[
        ("s/app/one", &[("", b"MQ==")]),
        ("s/app/two", &[("", b"Mg==")]),
        ("s/other", &[("", b"words")]),
        ("s/nul-b", &[("", b"\0")]),
        ("s/nul-a", &[("", b"AA==")]),
        ("side/app/three", &[("", b"Mw==")]),
        ("s/map", &[("o", b"1"), ("q", b"2")]),
        ("s/slashed", &[("a/b", b"1")]),
    ])
}

fn named(regexp: &str) -> serde_json::Value {
    json!({ "name": { "regexp": regexp } })
}

fn owned(pairs: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    pairs
        .iter()
        .map(|(key, value)| (*key, (*value).to_owned()))
        .collect()
}

#[tokio::test]
async fn found_secrets_become_keys() {
    // externalsecret.md 2.3, 3.2, E050, E051, E052, E144, E145
    let side = json!({ "storeRef": { "name": "side" } });
    let with = |mut find: serde_json::Value, field: &str, value: &str| {
        find[field] = json!(value);
        find
    };
    let rewrite = json!([{ "regexp": { "source": "^app/(.*)$", "target": "my-$1" } }]);
    for (entry, expected) in [
        (
            json!({ "find": named("app/") }),
            &[("app_one", "MQ=="), ("app_two", "Mg==")][..],
        ),
        (
            json!({ "find": with(named("app/"), "decodingStrategy", "Base64") }),
            &[("app_one", "1"), ("app_two", "2")],
        ),
        (
            json!({ "find": with(named("app/o"), "conversionStrategy", "Unicode") }),
            &[("app_U002f_one", "MQ==")],
        ),
        (
            json!({ "find": named("app/"), "rewrite": rewrite }),
            &[("my-one", "MQ=="), ("my-two", "Mg==")],
        ),
        (
            json!({ "find": named("app/"), "sourceRef": side }),
            &[("app_three", "Mw==")],
        ),
        // The first source of an entry counts.
        (
            json!({ "find": named("other"), "extract": { "key": "map" } }),
            &[("other", "words")],
        ),
        (json!({ "find": named("nothing") }), &[]),
    ] {
        let resolution = run(&attic(), json!({ "dataFrom": [entry.clone()] }))
            .await
            .unwrap();
        assert_eq!(texts(&resolution), owned(expected), "{entry}");
        // Nothing found is nothing missing (E043).
        assert!(resolution.missing.is_empty(), "{entry}");
    }
}

#[tokio::test]
async fn an_entry_with_a_store_alone_contributes_nothing() {
    // externalsecret.md 2.3
    let entry = json!({ "sourceRef": { "storeRef": { "name": "nowhere" } } });
    let spec = json!({ "dataFrom": [entry, {}] });
    assert_eq!(run(&attic(), spec).await, Ok(Resolution::default()));
}

#[tokio::test]
async fn failures_of_a_find_have_their_wrappers() {
    // externalsecret.md 2.3, 3.8, E042, E048, E053
    let down = || Shelf::default().failing("s/find", "provider is down");
    for (shelf, find, rewrite, expected) in [
        (
            down(),
            named("x"),
            json!([]),
            "error getting all secrets: provider is down",
        ),
        (
            attic(),
            named("gone"),
            json!([]),
            "error getting all secrets: Secret does not exist",
        ),
        (
            attic(),
            named("app/"),
            json!([{ "regexp": { "source": "(.*)", "target": "$1" } }]),
            "invalid secret keys (TIP: use rewrite or conversionStrategy to change keys): key has invalid character /, only \
             alphanumeric, '-', '.' and '_' are allowed: app/one",
        ),
        (
            attic(),
            named("app/"),
            json!([{ "merge": {} }]),
            "error applying rewrite to keys: failed rewrite operation[0]: merge failed with failed to unmarshal JSON: the value \
             is not valid JSON; the reason could show a part of it and is left out",
        ),
        (
            attic(),
            json!({ "name": { "regexp": "other" }, "decodingStrategy": "Base64" }),
            json!([]),
            "error applying decoding strategy Base64 to data: failure decoding key other: illegal base64 data at input byte 4",
        ),
        (
            attic(),
            json!({ "name": { "regexp": "nul" }, "decodingStrategy": "Auto", "nullBytePolicy": "Fail" }),
            json!([]),
            "fetched secret value for key \"nul-a\" contains null bytes; use a text-safe format such as PEM/base64 or leave \
             nullBytePolicy unset for intentional binary data",
        ),
    ] {
        let spec = json!({ "dataFrom": [{ "find": find, "rewrite": rewrite }] });
        assert_eq!(
            run(&shelf, spec).await.unwrap_err(),
            format!("error processing spec.dataFrom[0].find, err: {expected}"),
            "{find}"
        );
    }
    // A store that cannot be used is no answer of its provider.
    let nowhere = json!({ "dataFrom": [{ "find": {}, "sourceRef": { "generatorRef": { "kind": "UUID", "name": "u" } } }] });
    assert_eq!(
        run(&attic(), nowhere).await.unwrap_err(),
        "error processing spec.dataFrom[0].find, err: could not get SecretStore \"\", SecretStore.external-secrets.io \"\" not found"
    );
}

#[tokio::test]
async fn null_bytes_pass_unless_they_are_to_fail() {
    // externalsecret.md 3.8, E054
    for policy in [json!(null), json!("Ignore")] {
        let spec = json!({ "dataFrom": [{ "find": { "name": { "regexp": "nul-b" }, "nullBytePolicy": policy } }] });
        let resolution = run(&attic(), spec).await.unwrap();
        assert_eq!(texts(&resolution), owned(&[("nul-b", "\0")]));
    }
    for (find, count) in [("other", 1), ("nothing", 0)] {
        let spec = json!({ "dataFrom": [{ "find": { "name": { "regexp": find }, "nullBytePolicy": "Fail" } }] });
        assert_eq!(run(&attic(), spec).await.unwrap().data.len(), count);
    }
}

#[tokio::test]
async fn what_is_missing_is_skipped_entry_by_entry() {
    // externalsecret.md 2.3, 2.9, E041, E045
    let spec = |data_from: serde_json::Value| {
        json!({
            "target": { "deletionPolicy": "Delete" },
            "dataFrom": data_from,
            "data": [
                { "secretKey": "a", "remoteRef": { "key": "lost" } },
                { "secretKey": "b", "remoteRef": { "key": "map", "property": "lost" } },
            ],
        })
    };
    let resolution = run(&attic(), spec(json!([{ "find": named("gone") }])))
        .await
        .unwrap();
    assert!(resolution.data.is_empty());
    assert_eq!(
        resolution.missing,
        [
            "secret does not exist at provider using spec.dataFrom[0]",
            "secret does not exist at provider using spec.dataFrom[0] (key=lost)",
            "secret does not exist at provider using spec.dataFrom[1] (key=map)",
        ]
    );
    let found = run(&attic(), spec(json!([{ "find": named("app/o") }])))
        .await
        .unwrap();
    assert_eq!(texts(&found), owned(&[("app_one", "MQ==")]));
    assert_eq!(found.missing.len(), 2);
    // Any other failure still fails the whole.
    let broken = attic().failing("s/find", "down");
    assert!(
        run(&broken, spec(json!([{ "find": named("x") }])))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn one_secret_may_be_extracted_twice() {
    // externalsecret.md 3.4, E046, E047
    let entry = |target: &str| {
        json!({
            "extract": { "key": "map" },
            "rewrite": [{ "regexp": { "source": "(.*)", "target": target } }],
        })
    };
    let spec = json!({ "dataFrom": [entry("n-$1"), entry("o-$1")] });
    assert_eq!(
        texts(&run(&attic(), spec).await.unwrap()),
        owned(&[("n-o", "1"), ("n-q", "2"), ("o-o", "1"), ("o-q", "2")])
    );
    let mut same = entry("$1");
    same["extract"]["key"] = json!("slashed");
    let error = run(&attic(), json!({ "dataFrom": [same] }))
        .await
        .unwrap_err();
    assert!(
        error.starts_with(
            "error processing spec.dataFrom[0].extract, err: invalid secret keys (TIP: "
        ),
        "{error}"
    );
}

#[tokio::test]
async fn every_source_has_its_own_decoding() {
    // externalsecret.md 3.7, E149
    let shelf = Shelf::with(&[
        (
            "s/map",
            &[
                ("encoded", b"aGVsbG8+"),
                ("url", b"aGVsbG8-_w=="),
                ("sentence", b"not at all"),
                ("looks-so", b"pass1234"),
            ],
        ),
        ("s/one", &[("", b"aGVsbG8+")]),
    ]);
    let data = |key: &str, strategy: &str| json!({ "secretKey": key, "remoteRef": { "key": "one", "decodingStrategy": strategy } });
    let spec = json!({
        "dataFrom": [{ "extract": { "key": "map", "decodingStrategy": "Auto" } }],
        "data": [
            data("decoded", "Base64"),
            data("none", "None"),
            { "secretKey": "unset", "remoteRef": { "key": "one" } },
        ],
    });
    let resolution = run(&shelf, spec).await.unwrap();
    let expected: [(&str, &[u8]); 7] = [
        ("decoded", b"hello>"),
        ("encoded", b"hello>"),
        ("looks-so", b"\xa5\xab,\xd7m\xf8"),
        ("none", b"aGVsbG8+"),
        ("sentence", b"not at all"),
        ("unset", b"aGVsbG8+"),
        ("url", b"hello>\xff"),
    ];
    let found: Vec<_> = resolution
        .data
        .iter()
        .map(|(key, value)| (key.as_str(), value.expose()))
        .collect();
    assert_eq!(found, expected);
}

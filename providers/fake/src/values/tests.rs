use latchkey_crds::provider_fake::FakeData;
use latchkey_provider_sdk::ConversionStrategy;

use super::*;

fn data(key: &str, value: &str, version: &str) -> FakeData {
    FakeData {
        key: Some(key.into()),
        value: Some(value.into()),
        version: Some(version.into()).filter(|version: &String| !version.is_empty()),
        ..FakeData::default()
    }
}

fn values(data: Vec<FakeData>) -> Result<Values> {
    Values::from_spec(&FakeSpec {
        data,
        ..FakeSpec::default()
    })
}

fn remote(key: &str, version: &str, property: &str) -> RemoteRef {
    RemoteRef {
        key: key.into(),
        version: version.into(),
        property: property.into(),
        ..RemoteRef::default()
    }
}

fn push(data: &[(&str, &[u8])], secret_key: &str, remote_key: &str) -> Push {
    Push {
        data: data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), SecretValue::new(value.to_vec())))
            .collect(),
        secret_type: String::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        secret_key: secret_key.into(),
        remote_key: remote_key.into(),
        property: String::new(),
        metadata: Vec::new(),
    }
}

#[test]
fn lookups_are_by_key_and_version() {
    // Specification 12.1 and P-58: `a` in version `1` is not `a1`; PC-04, PC-05, PC-10.
    let values = values(vec![
        data("a", "plain", ""),
        data("a", "first", "1"),
        data("j", r#"{"x":{"y":"deep"},"n":1.50,"l":[1, 2]}"#, ""),
        data("v", "only", "v2"),
    ])
    .unwrap();
    let none = Pushed::new();
    for (reference, expected) in [
        (remote("a", "", ""), Some("plain")),
        (remote("a", "1", ""), Some("first")),
        (remote("a1", "", ""), None),
        (remote("a", "2", ""), None),
        (remote("v", "", ""), None),
        (remote("v", "v2", ""), Some("only")),
        (remote("j", "", "x.y"), Some("deep")),
        (remote("j", "", "n"), Some("1.5")),
        (remote("j", "", "x.z"), None),
        (remote("a", "", "x"), None),
    ] {
        let result = values.get(&none, &reference);
        match expected {
            Some(expected) => assert_eq!(
                result.unwrap().expose(),
                expected.as_bytes(),
                "{reference:?}"
            ),
            None => assert_eq!(
                result.unwrap_err().class(),
                ErrorClass::SecretNotFound,
                "{reference:?}"
            ),
        }
    }
    let map = values.get_map(&none, &remote("j", "", "")).unwrap();
    assert_eq!(
        (map["n"].expose(), map["l"].expose()),
        (b"1.50".as_slice(), b"[1, 2]".as_slice())
    );
    let error = values.get_map(&none, &remote("a", "", "")).unwrap_err();
    assert_eq!(
        (error.class(), error.message()),
        (ErrorClass::InvalidPayload, "unable to unmarshal secret a")
    );
}

#[test]
fn incomplete_entries_are_an_invalid_configuration() {
    for (entries, message) in [
        (
            vec![FakeData {
                value: Some("v".into()),
                ..FakeData::default()
            }],
            "key must be set in data 0",
        ),
        (
            vec![data("a", "v", ""), data("b", "", "")],
            "at least one value must be set in data 1",
        ),
    ] {
        let error = values(entries).unwrap_err();
        assert_eq!(
            (error.class(), error.message()),
            (ErrorClass::InvalidConfig, message)
        );
    }
}

#[test]
fn a_value_map_becomes_json_and_value_wins() {
    // P-57.
    let map = BTreeMap::from([
        ("b".to_owned(), "<2>".to_owned()),
        ("a".to_owned(), "1".to_owned()),
    ]);
    let mut entry = FakeData {
        key: Some("m".into()),
        value_map: map,
        ..FakeData::default()
    };
    let none = Pushed::new();
    let from_map = values(vec![entry.clone()]).unwrap();
    assert_eq!(
        from_map.get(&none, &remote("m", "", "")).unwrap().expose(),
        br#"{"a":"1","b":"<2>"}"#
    );
    entry.value = Some("v".into());
    assert_eq!(
        values(vec![entry])
            .unwrap()
            .get(&none, &remote("m", "", ""))
            .unwrap()
            .expose(),
        b"v"
    );
}

#[test]
fn fetch_answers_metadata_where_an_entry_has_any() {
    let mut entry = data("a", "value", "");
    entry.metadata = BTreeMap::from([("team.name".to_owned(), "x".to_owned())]);
    let values = values(vec![entry, data("b", "value", "")]).unwrap();
    let fetch = |key: &str, property: &str| {
        let reference = RemoteRef {
            metadata_policy: MetadataPolicy::Fetch,
            ..remote(key, "", property)
        };
        values.get(&Pushed::new(), &reference)
    };
    assert_eq!(fetch("a", "").unwrap().expose(), br#"{"team.name":"x"}"#);
    assert_eq!(fetch("a", "team.name").unwrap().expose(), b"x");
    assert_eq!(
        fetch("a", "other").unwrap_err().class(),
        ErrorClass::SecretNotFound
    );
    assert_eq!(fetch("b", "").unwrap().expose(), b"value");
}

#[test]
fn finds_take_the_greatest_version_as_text() {
    // PC-11, X-128.
    let values = values(vec![
        data("db/a", "ten", "v10"),
        data("db/a", "two", "v2"),
        data("db/b", "b", ""),
        data("x", "x", ""),
    ])
    .unwrap();
    let pushed = Pushed::from([("db/c".to_owned(), SecretValue::from("c".to_owned()))]);
    let find = |pattern: &str| Find {
        name: Some(pattern.into()),
        ..Find::default()
    };
    let found = values.find_all(&pushed, &find("^db/")).unwrap();
    let shown: Vec<_> = found
        .iter()
        .map(|(key, value)| (key.as_str(), value.expose()))
        .collect();
    assert_eq!(
        shown,
        [("db_a", b"two".as_slice()), ("db_b", b"b"), ("db_c", b"c")]
    );
    let unicode = Find {
        conversion_strategy: ConversionStrategy::Unicode,
        ..find("b/b")
    };
    assert!(
        values
            .find_all(&pushed, &unicode)
            .unwrap()
            .contains_key("db_U002f_b")
    );
    assert_eq!(values.find_all(&pushed, &find("")).unwrap().len(), 4);
    assert!(
        values
            .find_all(&pushed, &find("nothing"))
            .unwrap()
            .is_empty()
    );
    let tags = Find {
        tags: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        ..Find::default()
    };
    let ignored = Find {
        path: Some("elsewhere".into()),
        name: Some("x".into()),
        ..tags.clone()
    };
    assert_eq!(values.find_all(&pushed, &ignored).unwrap().len(), 1);
    for (find, message) in [
        (tags, "unsupported find operator"),
        (Find::default(), "unexpected find operator"),
        (
            find("("),
            "could not compile find.name.regexp [(]: error: unclosed group",
        ),
    ] {
        let error = values.find_all(&pushed, &find).unwrap_err();
        assert_eq!(
            (error.class(), error.message()),
            (ErrorClass::InvalidArgument, message)
        );
    }
}

#[test]
fn pushes_are_kept_apart_from_the_manifest() {
    // PC-12, PC-13, X-128.
    let values = values(vec![data("spec", "v", ""), data("versioned", "v", "1")]).unwrap();
    let mut pushed = Pushed::new();
    let source: &[(&str, &[u8])] = &[("b", b"\xff"), ("a", b"1")];
    values.push(&mut pushed, &push(source, "a", "one")).unwrap();
    values
        .push(&mut pushed, &push(source, "", "whole"))
        .unwrap();
    assert_eq!(pushed["one"].expose(), b"1");
    // Specification 3.6.
    assert_eq!(pushed["whole"].expose(), br#"{"a":"1","b":"\ufffd"}"#);
    let error = values
        .push(&mut pushed, &push(source, "a", "spec"))
        .unwrap_err();
    assert_eq!(
        (error.class(), error.message()),
        (ErrorClass::Conflict, "key already exists")
    );
    let error = values
        .push(&mut pushed, &push(source, "c", "one"))
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::InvalidArgument);
    assert_eq!(pushed["one"].expose(), b"1");
    for (key, expected) in [
        ("spec", true),
        ("one", true),
        ("versioned", false),
        ("none", false),
    ] {
        assert_eq!(values.exists(&pushed, key), expected, "{key}");
    }
}

fn texts(data: &SecretData) -> Vec<(&str, &str)> {
    data.iter()
        .map(|(key, value)| {
            let text = std::str::from_utf8(value.expose()).unwrap();
            (key.as_str(), text)
        })
        .collect()
}

#[test]
fn properties_are_paths_into_the_value() {
    // externalsecret.md 3.6, E139, E142, X17; the corpus scenarios src-property-paths and src-property-no-literal-fallback.
    let document = r#"{"a":{"b":"deep","b.c":"dotted"},"fav.movie":"heat","items":[{"n":"x","v":1},{"n":"y","v":2},{"n":"x","v":3}],"wild1":{"k":"w"},"n1":12345678901234567890,"n2":1.500,"n3":1e3,"n4":-0.00,"t":true,"nul":null,"o":{"z":1, "a" :[ ]},"s":"é\n\"q\""}"#;
    let values = values(vec![data("/j", document, "")]).unwrap();
    for (path, expected) in [
        ("", Some(document)),
        ("a.b", Some("deep")),
        (r"a.b\.c", Some("dotted")),
        (r"fav\.movie", Some("heat")),
        ("fav.movie", None),
        ("items.1.n", Some("y")),
        ("items.#", Some("3")),
        ("items.#.v", Some("[1,2,3]")),
        (r#"items.#(n=="y").v"#, Some("2")),
        (r#"items.#(n=="x")#.v"#, Some("[1,3]")),
        ("wi*1.k", Some("w")),
        ("wild?.k", Some("w")),
        ("n1", Some("12345678901234567890")),
        ("n2", Some("1.5")),
        ("n3", Some("1000")),
        ("n4", Some("-0")),
        ("t", Some("true")),
        ("nul", Some("")),
        ("o", Some(r#"{"z":1, "a" :[ ]}"#)),
        ("s", Some("é\n\"q\"")),
        ("o|@keys", Some(r#"["z","a"]"#)),
        ("items.#.v|@reverse", Some("[3,2,1]")),
        (r#"{t,"q":a.b}"#, Some(r#"{"t":true,"q":"deep"}"#)),
        ("lost", None),
        ("a.lost", None),
    ] {
        let result = values.get(&Pushed::new(), &remote("/j", "", path));
        match expected {
            Some(text) => assert_eq!(result.unwrap().expose(), text.as_bytes(), "{path}"),
            None => assert_eq!(
                result.unwrap_err().class(),
                ErrorClass::SecretNotFound,
                "{path}"
            ),
        }
    }
}

#[test]
fn objects_become_maps() {
    // PC-10; externalsecret.md 3.1, 3.6, E140, E141, E174; the corpus scenarios src-extract-*, src-empty-values and src-versions.
    let values = values(vec![
        data(
            "/doc",
            "\n  { \"greek\" : \"λάμβδα\", \"line\":\"a\\u2028b\", \"ctl\":\"\\u0001\\u001f\", \"lone\":\"x\\ud800y\", \"del\":\"\\u007f\" } \n",
            "",
        ),
        data(
            "/app",
            r#"{"db":{"user":"ibis","port":5432,"tls":{"on": true}},"text":"{\"k\":\"v\",\"n\":7}","list":[{"q":"1"},{"q":"2"}]}"#,
            "",
        ),
        data("/m", r#"{"e":"","n":null,"x":"1","o":{"a": 1},"x":"2"}"#, ""),
        data("/list", r#"["a","b"]"#, ""),
        data("/tok", "plain", ""),
        data("/tok", r#"{"n":"newer"}"#, "v2"),
    ])
    .unwrap();
    let none = Pushed::new();
    for (reference, expected) in [
        (
            remote("/doc", "", ""),
            &[
                ("ctl", "\u{1}\u{1f}"),
                ("del", "\u{7f}"),
                ("greek", "λάμβδα"),
                ("line", "a\u{2028}b"),
                ("lone", "x\u{fffd}y"),
            ][..],
        ),
        (
            remote("/app", "", "db"),
            &[
                ("port", "5432"),
                ("tls", r#"{"on": true}"#),
                ("user", "ibis"),
            ],
        ),
        (remote("/app", "", "text"), &[("k", "v"), ("n", "7")]),
        (remote("/app", "", "list.1"), &[("q", "2")]),
        (
            remote("/m", "", ""),
            &[("e", ""), ("n", ""), ("o", r#"{"a": 1}"#), ("x", "2")],
        ),
        (remote("/tok", "v2", ""), &[("n", "newer")]),
    ] {
        let map = values.get_map(&none, &reference).unwrap();
        assert_eq!(texts(&map), expected, "{reference:?}");
    }
    for (reference, class) in [
        (remote("/list", "", ""), ErrorClass::InvalidPayload),
        (remote("/tok", "", ""), ErrorClass::InvalidPayload),
        (remote("/app", "", "db.user"), ErrorClass::InvalidPayload),
        (remote("/app", "", "lost"), ErrorClass::SecretNotFound),
        (remote("/tok", "v9", ""), ErrorClass::SecretNotFound),
        (remote("/lost", "", ""), ErrorClass::SecretNotFound),
    ] {
        let error = values.get_map(&none, &reference).unwrap_err();
        assert_eq!(error.class(), class, "{reference:?}");
    }
}

#[test]
fn found_names_are_converted() {
    // externalsecret.md 3.2, 3.5; the corpus scenarios src-find-unicode-keys, src-find-versions and rw-find.
    let values = values(vec![
        data("a/b c", "1", ""),
        data("ok.name-x_y", "2", ""),
        data("p:q", "3", ""),
        data("sn@w😀", "4", ""),
        data("cfg-", "bare", ""),
        data("cfg-", "nine", "v9"),
        data("cfg-", "ten", "v10"),
        data("solo", "s", "a"),
    ])
    .unwrap();
    let find = |name: &str, conversion_strategy| {
        let find = Find {
            name: Some(name.into()),
            conversion_strategy,
            ..Find::default()
        };
        values.find_all(&Pushed::new(), &find)
    };
    let special = "^(a|ok|p|sn)\\W|ok|sn";
    assert_eq!(
        texts(&find(special, ConversionStrategy::Unicode).unwrap()),
        [
            ("a_U002f_b_U0020_c", "1"),
            ("ok.name-x_y", "2"),
            ("p_U003a_q", "3"),
            ("sn_U0040_w_U1f600_", "4")
        ]
    );
    assert_eq!(
        texts(&find(special, ConversionStrategy::Default).unwrap()),
        [
            ("a_b_c", "1"),
            ("ok.name-x_y", "2"),
            ("p_q", "3"),
            ("sn_w_", "4")
        ]
    );
    assert_eq!(
        texts(&find("^(cfg|solo)", ConversionStrategy::Default).unwrap()),
        [("cfg-", "nine"), ("solo", "s")]
    );
}

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
    // Specification 12.1 and P-58: `a` in version `1` is not `a1`.
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
        ..find("x")
    };
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

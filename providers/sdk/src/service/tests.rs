use std::time::Duration;

use super::convert::{MAX_WARNING_BYTES, deadline, find, remote_ref};
use super::*;
use crate::request::{ConversionStrategy, Find, MAX_WARNINGS, MetadataPolicy, RemoteRef};

#[test]
fn deadlines_are_read_in_all_units() {
    let read = |text: &str| {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", text.parse().unwrap());
        deadline(&metadata)
    };
    for (text, expected) in [
        ("2H", Some(Duration::from_secs(7200))),
        ("3M", Some(Duration::from_secs(180))),
        ("4S", Some(Duration::from_secs(4))),
        ("30000000u", Some(Duration::from_secs(30))),
        ("250m", Some(Duration::from_millis(250))),
        ("5n", Some(Duration::from_nanos(5))),
        ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
        ("123456789S", None),
        ("S", None),
        ("5", None),
        ("-5S", None),
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
    assert_eq!(deadline(&MetadataMap::new()), None);
}

#[test]
fn verdicts_go_on_the_wire_as_the_specification_says() {
    // Specification 2.9 and 2.10; X-117.
    let ready = verdict(Ok(Validation::ready().with_warning("old"))).unwrap();
    assert_eq!(
        (ready.valid, ready.error.as_str(), ready.warnings.as_slice()),
        (true, "", ["old".to_owned()].as_slice())
    );
    let unknown = verdict(Ok(Validation::unknown("no caller"))).unwrap();
    assert_eq!(
        (unknown.valid, unknown.warnings[0].as_str()),
        (true, "validation unknown: no caller")
    );
    let invalid = verdict(Err(ProviderError::invalid_config("region is empty"))).unwrap();
    assert_eq!(
        (invalid.valid, invalid.error.as_str()),
        (false, "INVALID_CONFIG: region is empty")
    );
    for class in ErrorClass::ALL {
        let answer = verdict(Err(ProviderError::new(class, "x")));
        assert_eq!(answer.is_ok(), class.is_verdict(), "{class:?}");
    }
    let many = (0..10).fold(Validation::ready(), |validation, _| {
        validation.with_warning("é".repeat(300))
    });
    let many = verdict(Ok(many)).unwrap();
    assert_eq!(many.warnings.len(), MAX_WARNINGS);
    assert!(
        many.warnings
            .iter()
            .all(|warning| warning.len() <= MAX_WARNING_BYTES)
    );
}

#[test]
fn what_a_read_asks_for_arrives_as_it_was_sent() {
    // all but the decoding strategy, which is the caller's work.
    let read = |policy: &str| {
        remote_ref(Some(wire::ExternalSecretDataRemoteRef {
            key: "/App/Db ".into(),
            version: "v 3".into(),
            property: "a.b".into(),
            decoding_strategy: "Base64".into(),
            metadata_policy: policy.into(),
        }))
        .unwrap()
    };
    for (policy, expected) in [
        ("", MetadataPolicy::None),
        ("None", MetadataPolicy::None),
        ("Fetch", MetadataPolicy::Fetch),
    ] {
        let expected = RemoteRef {
            key: "/App/Db ".into(),
            version: "v 3".into(),
            property: "a.b".into(),
            metadata_policy: expected,
        };
        assert_eq!(read(policy), expected, "{policy}");
    }
}

#[test]
fn what_a_search_asks_for_arrives_as_it_was_sent() {
    // an empty path is none, and a name may match everything.
    let tags = std::collections::BTreeMap::from([("env".to_owned(), "dev".to_owned())]);
    let name = |regexp: &str| {
        Some(wire::FindName {
            regexp: regexp.into(),
        })
    };
    for (sent, expected) in [
        (wire::ExternalSecretFind::default(), Find::default()),
        (
            wire::ExternalSecretFind {
                name: name(""),
                ..Default::default()
            },
            Find {
                name: Some(String::new()),
                ..Find::default()
            },
        ),
        (
            wire::ExternalSecretFind {
                path: "/App".into(),
                name: name("^x"),
                tags: tags.clone(),
                conversion_strategy: "Unicode".into(),
                decoding_strategy: "Auto".into(),
            },
            Find {
                path: Some("/App".into()),
                name: Some("^x".into()),
                tags,
                conversion_strategy: ConversionStrategy::Unicode,
            },
        ),
    ] {
        assert_eq!(find(Some(sent)).unwrap(), expected);
    }
}

use std::time::Duration;

use super::convert::{MAX_WARNING_BYTES, deadline};
use super::*;
use crate::request::MAX_WARNINGS;

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

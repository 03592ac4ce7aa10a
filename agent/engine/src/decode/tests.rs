use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::prelude::*;

use super::*;

fn value(text: &str) -> SecretValue {
    SecretValue::from(text.to_owned())
}

fn offset_or_bytes(strategy: DecodingStrategy, text: &str) -> Result<Vec<u8>, usize> {
    match decode(Some(strategy), value(text)) {
        Ok(decoded) => Ok(decoded.expose().to_vec()),
        Err(IllegalBase64(offset)) => Err(offset),
    }
}

#[test]
fn both_alphabets_decode_as_go_does() {
    // externalsecret.md 3.7, E176; vectors by Go 1.26 encoding/base64 DecodeString.
    let same_in_both: &[(&str, Result<&[u8], usize>)] = &[
        ("YmFy", Ok(b"bar")),
        ("foo", Err(0)),
        ("YmFyCg==", Ok(b"bar\n")),
        ("Ym Fy", Err(2)),
        ("YmF", Err(0)),
        ("YmFyYg", Err(4)),
        ("YmFyYg=", Err(7)),
        ("YmFyYg==x", Err(8)),
        ("YmFy=", Err(4)),
        ("=", Err(0)),
        ("Y===", Err(1)),
        ("YmFyYh==", Ok(b"barb")),
        ("Ym\nFy\r\n", Ok(b"bar")),
        ("YmFyYg=\n=", Ok(b"barb")),
        ("YmFyYg=\nx", Err(7)),
        ("YmF\n", Err(1)),
        ("Y\nmF", Err(1)),
        ("YmFyYg\n", Err(5)),
        ("YmFyYmF=", Ok(b"barba")),
        ("YmFyYmF=\n", Ok(b"barba")),
        ("YmFyYmF==", Err(8)),
        ("é===", Err(0)),
        ("pass1234", Ok(b"\xa5\xab,\xd7m\xf8")),
        ("Y", Err(0)),
        ("", Ok(b"")),
        ("\n", Ok(b"")),
        ("YmFyYg==\n", Ok(b"barb")),
        ("YmFyYg==YmFy", Err(8)),
    ];
    for (text, expected) in same_in_both {
        for strategy in [DecodingStrategy::Base64, DecodingStrategy::Base64Url] {
            assert_eq!(
                offset_or_bytes(strategy, text),
                expected.map(<[u8]>::to_vec),
                "{text:?} {strategy}"
            );
        }
    }
    assert_eq!(offset_or_bytes(DecodingStrategy::Base64, "-_-_"), Err(0));
    assert_eq!(
        offset_or_bytes(DecodingStrategy::Base64Url, "-_-_"),
        Ok(b"\xfb\xff\xbf".to_vec())
    );
    assert_eq!(
        offset_or_bytes(DecodingStrategy::Base64, "+/+/"),
        Ok(b"\xfb\xff\xbf".to_vec())
    );
    assert_eq!(offset_or_bytes(DecodingStrategy::Base64Url, "+/+/"), Err(0));
    assert_eq!(
        IllegalBase64(7).to_string(),
        "illegal base64 data at input byte 7"
    );
}

#[test]
fn none_and_absent_change_nothing_and_auto_falls_back() {
    // externalsecret.md 3.7, E176
    for strategy in [None, Some(DecodingStrategy::None)] {
        assert_eq!(decode(strategy, value("YmFy")), Ok(value("YmFy")));
    }
    for (text, expected) in [
        ("YmFy", &b"bar"[..]),
        ("-_-_", b"\xfb\xff\xbf"),
        ("foo", b"foo"),
        ("1234", b"\xd7m\xf8"),
    ] {
        assert_eq!(
            decode(Some(DecodingStrategy::Auto), value(text))
                .unwrap()
                .expose(),
            expected,
            "{text}"
        );
    }
}

#[test]
fn one_bad_value_fails_the_map_unless_auto() {
    // externalsecret.md 3.7, E177
    let map = || {
        SecretData::from([
            ("a".to_owned(), value("YmFy")),
            ("b".to_owned(), value("foo")),
        ])
    };
    let error = decode_map(Some(DecodingStrategy::Base64), map()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "failure decoding key b: illegal base64 data at input byte 0"
    );
    let decoded = decode_map(Some(DecodingStrategy::Auto), map()).unwrap();
    assert_eq!(
        decoded,
        SecretData::from([
            ("a".to_owned(), value("bar")),
            ("b".to_owned(), value("foo"))
        ])
    );
}

#[test]
fn null_bytes_fail_only_where_the_policy_says_so() {
    // externalsecret.md 3.8, E053, E054
    let (clean, dirty) = (value("ab"), SecretValue::new(b"a\0b".to_vec()));
    for policy in [None, Some(NullBytePolicy::Ignore)] {
        assert_eq!(check_null_bytes(policy, "k", &dirty), Ok(()));
    }
    assert_eq!(
        check_null_bytes(Some(NullBytePolicy::Fail), "k", &clean),
        Ok(())
    );
    assert_eq!(
        check_null_bytes(Some(NullBytePolicy::Fail), "k", &dirty)
            .unwrap_err()
            .to_string(),
        "fetched secret value for key \"k\" contains null bytes; use a text-safe format such as PEM/base64 or leave nullBytePolicy unset for intentional binary data"
    );
}

proptest! {
    #[test]
    fn what_an_encoder_writes_decodes_to_the_same_bytes(bytes: Vec<u8>, breaks in proptest::collection::vec(0_usize..200, 0..4)) {
        for (strategy, mut text) in [
            (DecodingStrategy::Base64, STANDARD.encode(&bytes)),
            (DecodingStrategy::Base64Url, URL_SAFE.encode(&bytes)),
        ] {
            for at in &breaks {
                text.insert(at % (text.len() + 1), '\n');
            }
            prop_assert_eq!(offset_or_bytes(strategy, &text), Ok(bytes.clone()));
        }
    }

    #[test]
    fn any_text_decodes_or_names_an_offset_within_it(text in "[A-Za-z0-9+/=\r\n é-]{0,24}") {
        for strategy in [DecodingStrategy::Base64, DecodingStrategy::Base64Url] {
            match offset_or_bytes(strategy, &text) {
                Ok(bytes) => prop_assert!(bytes.len() <= text.len() / 4 * 3 + 3),
                Err(offset) => prop_assert!(offset <= text.len()),
            }
        }
        prop_assert!(decode(Some(DecodingStrategy::Auto), value(&text)).is_ok());
    }

    #[test]
    fn valid_text_agrees_with_a_strict_decoder(text in "[A-Za-z0-9+/]{0,12}={0,2}") {
        if let Ok(strict) = STANDARD.decode(&text) {
            prop_assert_eq!(offset_or_bytes(DecodingStrategy::Base64, &text), Ok(strict));
        }
    }
}

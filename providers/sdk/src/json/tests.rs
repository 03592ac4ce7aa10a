use super::*;

fn shown(data: &SecretData) -> Vec<(&str, String)> {
    data.iter()
        .map(|(key, value)| {
            (
                key.as_str(),
                String::from_utf8_lossy(value.expose()).into_owned(),
            )
        })
        .collect()
}

const PAYLOAD: &str = r#"{"s":"a\"b\u00e9","n":null,"t":true,"i":12345678901234567890,"f":1.50,"e":1e3,"o":{ "z":[1, 2],"a":"<&>" },"dup":1,"dup":"two","neg":-0}"#;

#[test]
fn conversion_a_keeps_text_as_stored() {
    // Specification 3.3.
    assert_eq!(
        shown(&raw_map(PAYLOAD.as_bytes()).unwrap()),
        [
            ("dup", "two".into()),
            ("e", "1e3".into()),
            ("f", "1.50".into()),
            ("i", "12345678901234567890".into()),
            ("n", String::new()),
            ("neg", "-0".into()),
            ("o", r#"{ "z":[1, 2],"a":"<&>" }"#.into()),
            ("s", "a\"bé".into()),
            ("t", "true".into()),
        ]
    );
}

#[test]
fn conversion_b_is_typed() {
    // Specification 3.4 and P-06.
    assert_eq!(
        shown(&typed_map(PAYLOAD.as_bytes()).unwrap()),
        [
            ("dup", "two".into()),
            ("e", "1000".into()),
            ("f", "1.5".into()),
            ("i", "12345678901234567890".into()),
            ("n", String::new()),
            ("neg", "-0".into()),
            ("o", r#"{"a":"\u003c\u0026\u003e","z":[1,2]}"#.into()),
            ("s", "a\"bé".into()),
            ("t", "true".into()),
        ]
    );
    assert_eq!(typed_value(b" 1.0 ").unwrap().expose(), b"1");
}

#[test]
fn what_is_not_an_object_is_refused_without_a_word_of_it() {
    for text in [
        "",
        "plain",
        "\"str\"",
        "123",
        "[1,2]",
        "{bad",
        "{\"a\":1}trailing",
        "{\"a\":1,}",
        "null",
        "{\"a\" 1}",
    ] {
        for result in [raw_map(text.as_bytes()), typed_map(text.as_bytes())] {
            assert_eq!(
                result.unwrap_err().to_string(),
                "not a JSON object",
                "{text}"
            );
        }
    }
}

#[test]
fn the_two_writers_differ_only_in_html_characters() {
    let bytes = "<>&\u{2028}\u{2029}\u{7f}\u{1}\u{8}\u{c}\n\r\té\"\\/".as_bytes();
    let mut plain = Vec::new();
    write_string(&mut plain, bytes, Escape::Plain);
    assert_eq!(
        String::from_utf8(plain).unwrap(),
        "\"<>&\\u2028\\u2029\u{7f}\\u0001\\b\\f\\n\\r\\té\\\"\\\\/\""
    );
    let mut html = Vec::new();
    write_string(&mut html, b"<>&\xff", Escape::Html);
    assert_eq!(html, br#""\u003c\u003e\u0026\ufffd""#);
}

#[test]
fn canonical_text_is_sorted_and_compact() {
    let text = br#" { "b" : [ 1 , {"y":1.50,"x":null} ] , "a" : "<" , "a" : "<2" } "#;
    assert_eq!(
        &*canonical(text, Escape::Plain).unwrap(),
        br#"{"a":"<2","b":[1,{"x":null,"y":1.50}]}"#
    );
    assert_eq!(
        &*canonical(text, Escape::Html).unwrap(),
        br#"{"a":"\u003c2","b":[1,{"x":null,"y":1.50}]}"#
    );
    assert_eq!(canonical(b"{bad", Escape::Plain), Err(InvalidJson));
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    assert_eq!(canonical(deep.as_bytes(), Escape::Plain), Err(InvalidJson));
}

#[test]
fn escapes_are_read_as_go_reads_them() {
    for (quoted, expected) in [
        (r#""q\"\u00e9\n""#, "q\"é\n"),
        (r#""\ud83d\ude00""#, "😀"),
        (r#""\ud83dx""#, "\u{fffd}x"),
        (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
        (r#""\/\\""#, "/\\"),
        (r#""\u12""#, "\u{fffd}"),
    ] {
        assert_eq!(
            unescape(quoted.as_bytes()).as_slice(),
            expected.as_bytes(),
            "{quoted}"
        );
    }
    assert_eq!(
        raw_map(b"{\"a\":\"\xff\xfe\"}").unwrap()["a"].expose(),
        "\u{fffd}\u{fffd}".as_bytes()
    );
}

#[test]
fn members_are_found_by_their_literal_key() {
    assert_eq!(
        member(br#"{"a.b":1,"a":{"b":2},"a.b": [3]}"#, "a.b"),
        Some(b"[3]".as_slice())
    );
    assert_eq!(member(br#"{"a":1}"#, "b"), None);
    assert_eq!(member(b"[1]", "0"), None);
}

proptest::proptest! {
    #[test]
    fn no_input_makes_the_readers_panic(text in proptest::collection::vec(proptest::sample::select(br#"{}[]:,"\u0e1-.n <"#.to_vec()), 0..60)) {
        let _ = raw_map(&text);
        let _ = typed_map(&text);
        let _ = canonical(&text, Escape::Html);
        let _ = members(&text).count();
        let _ = elements(&text).count();
        let _ = unescape(&text);
    }

    #[test]
    fn written_strings_read_back(text in ".*") {
        for escape in [Escape::Plain, Escape::Html] {
            let mut quoted = Vec::new();
            write_string(&mut quoted, text.as_bytes(), escape);
            let read = unescape(&quoted);
            proptest::prop_assert_eq!(read.as_slice(), text.as_bytes());
            proptest::prop_assert!(is_valid(&quoted));
        }
    }
}

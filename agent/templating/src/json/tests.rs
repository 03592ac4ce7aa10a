use super::{Style, read, write};
use crate::functions::testing::context;
use crate::value::{Element, List, Text, Value};

const COMPACT: Style = Style {
    escape_html: true,
    pretty: false,
};

/// Reads and writes again; a failure as its text.
fn round(text: &str) -> String {
    let cx = &mut context();
    match read(cx, text.as_bytes()) {
        Ok(document) => {
            let written = write(cx, &document.value, COMPACT).unwrap();
            let written = String::from_utf8(written.bytes().to_vec()).unwrap();
            match document.failure {
                Some(failure) => format!("{written} {}", failure.text()),
                None => written,
            }
        }
        Err(failure) => failure.text().to_owned(),
    }
}

#[test]
fn reads_what_go_reads() {
    for (text, expected) in [
        ("{}", "{}"),
        (" [ ] ", "[]"),
        (
            "{\"b\":1,\"a\":[null,true,false],\"b\":2}",
            r#"{"a":[null,true,false],"b":2}"#,
        ),
        ("-0", "-0"),
        ("1E3", "1000"),
        ("1e-7", "1e-7"),
        ("1e21", "1e+21"),
        ("123456789012345678901", "123456789012345680000"),
        ("0.000001", "0.000001"),
        (
            r#""\ud83d\ude00\ud800\u0041\ud800\ud800""#,
            "\"😀\u{fffd}A\u{fffd}\u{fffd}\"",
        ),
        (r#""\/\b\f\n\r\t\"\\<""#, r#""/\b\f\n\r\t\"\\\u003c""#),
        (
            "[1,1e400,-1e999]",
            "[1,null,null] json: cannot unmarshal number 1e400 into Go value of type float64",
        ),
    ] {
        assert_eq!(round(text), expected, "{text}");
    }
}

#[test]
fn names_the_first_bad_character_as_go_does() {
    for (text, expected) in [
        ("", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        ("[1", "unexpected end of JSON input"),
        ("\"", "unexpected end of JSON input"),
        (
            "{\"a\":1,}",
            "invalid character '}' looking for beginning of object key string",
        ),
        (
            "[1,]",
            "invalid character ']' looking for beginning of value",
        ),
        ("{\"a\" 1}", "invalid character '1' after object key"),
        (
            "{\"a\":1 \"b\"",
            "invalid character '\"' after object key:value pair",
        ),
        ("[1 2]", "invalid character '2' after array element"),
        ("01", "invalid character '1' after top-level value"),
        ("1 é", "invalid character 'Ã' after top-level value"),
        (
            "tru",
            "invalid character ' ' in literal true (expecting 'e')",
        ),
        (
            "fals\u{7f}",
            "invalid character '\\x7f' in literal false (expecting 'e')",
        ),
        ("-", "invalid character ' ' in numeric literal"),
        (
            "1.",
            "invalid character ' ' after decimal point in numeric literal",
        ),
        (
            "1e+",
            "invalid character ' ' in exponent of numeric literal",
        ),
        ("\"\\x\"", "invalid character 'x' in string escape code"),
        (
            "\"\\u12g4\"",
            "invalid character 'g' in \\u hexadecimal character escape",
        ),
        ("\"a\tb\"", "invalid character '\\t' in string literal"),
        (
            "'s'",
            "invalid character '\\'' looking for beginning of value",
        ),
        (
            "\u{80}",
            "invalid character 'Â' looking for beginning of value",
        ),
    ] {
        assert_eq!(round(text), expected, "{text:?}");
    }
}

#[test]
fn bytes_that_are_not_utf8_become_replacement_characters() {
    let cx = &mut context();
    let document = read(cx, b"\"a\xff\xe2\x82b\"").unwrap();
    assert_eq!(
        document.value.as_bytes().unwrap(),
        "a\u{fffd}\u{fffd}\u{fffd}b".as_bytes()
    );
    let written = write(cx, &Value::Text(Text::new(b"\xe2\x80".to_vec())), COMPACT).unwrap();
    assert_eq!(written.bytes(), br#""\ufffd\ufffd""#);
}

#[test]
fn a_dict_that_contains_itself_is_an_error() {
    let cx = &mut context();
    let dict = cx.dict().unwrap();
    let list = List::new(Element::Any, vec![Value::Dict(dict.clone())]);
    dict.insert(Text::from("self"), Value::List(list));
    let failure = write(cx, &Value::Dict(dict), COMPACT).unwrap_err();
    assert_eq!(
        failure.text(),
        "json: unsupported value: encountered a cycle via map[string]interface {}"
    );
}

#[test]
fn nesting_is_bounded() {
    let cx = &mut context();
    let deep = vec![b'['; 100_000];
    let failure = read(cx, &deep).err().unwrap();
    assert_eq!(failure.text(), "the render exceeds its limit of nesting");
}

#[test]
fn output_is_bounded() {
    let cx = &mut context();
    let mut value = Value::from("x".repeat(1000).as_str());
    for _ in 0..40 {
        value = cx.list(Element::Any, vec![value.clone(), value]).unwrap();
    }
    assert!(write(cx, &value, COMPACT).is_err());
}

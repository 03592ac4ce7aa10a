mod trees;

use std::collections::BTreeMap;

use super::string_map;
use crate::functions::testing::context;
use crate::json::{self, Style};
use crate::limits::{Limit, Limits};
use crate::value::{Element, Text, Value};

fn map(text: &str) -> Result<BTreeMap<String, String>, String> {
    match string_map(text.as_bytes(), &Limits::default()) {
        Ok(map) => Ok(map
            .into_iter()
            .map(|(key, value)| (key, String::from_utf8(value.to_vec()).unwrap()))
            .collect()),
        Err(error) => Err(error.full_text().to_owned()),
    }
}

/// The value of `k` in `k: TEXT`.
fn value(text: &str) -> String {
    let map = map(&format!("k: {text}")).unwrap();
    map.get("k").unwrap().clone()
}

#[test]
fn scalars_of_a_string_map_become_strings() {
    for (text, expected) in [
        ("0x1F", "31"),
        ("017", "15"),
        ("0o17", "15"),
        ("0b11", "3"),
        ("1_000", "1000"),
        ("08", "8"),
        ("18446744073709551615", "18446744073709551615"),
        ("1.10", "1.1"),
        ("1e3", "1000"),
        ("100000000.0", "1e+08"),
        ("123456789.123", "1.2345679e+08"),
        ("1e300", "+Inf"),
        (".inf", "+Inf"),
        (".nan", "NaN"),
        ("yes", "true"),
        ("Off", "false"),
        ("y", "true"),
        ("null", ""),
        ("~", ""),
        ("", ""),
        ("2024-01-02", "2024-01-02"),
        ("1:30", "1:30"),
        ("'017'", "017"),
        ("!!binary aGk=", "hi"),
        ("!custom v", "v"),
        ("|\n  one\n  two\n", "one\ntwo\n"),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn keys_of_a_string_map_are_strings_too() {
    let map = map("n: 1\nyes: 2\n1.50: 3\n0x10: 4\na: 5\na: 6\n").unwrap();
    let entries: Vec<_> = map.iter().map(|(key, value)| (&**key, &**value)).collect();
    let expected = [
        ("1.5", "3"),
        ("16", "4"),
        ("a", "6"),
        ("false", "1"),
        ("true", "2"),
    ];
    assert_eq!(entries, expected);
}

#[test]
fn no_text_is_an_empty_string_map() {
    // externalsecret.md E129
    for text in ["", "\n", "# comment\n", "---\n...\n", "null", "~"] {
        assert_eq!(map(text), Ok(BTreeMap::new()), "{text:?}");
    }
    let first = map("a: 1\n---\nb: 2\n").unwrap();
    assert_eq!(first.keys().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn what_is_no_string_map_is_refused() {
    for (text, expected) in [
        (
            "- a",
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go value of type map[string]string",
        ),
        (
            "text",
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal string into Go value of type map[string]string",
        ),
        (
            "a: [1]",
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go value of type string",
        ),
        (
            "a: {}",
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal object into Go value of type string",
        ),
        (
            "a: [.inf]",
            "error converting YAML to JSON: json: unsupported value: +Inf",
        ),
        (
            "a: 1\nb",
            "error converting YAML to JSON: yaml: line 3: could not find expected ':'",
        ),
    ] {
        assert_eq!(map(text), Err(expected.to_owned()), "{text}");
    }
}

#[test]
fn errors_do_not_quote_the_text() {
    for text in [
        "a: *s3cret",
        "a: !!int s3cret",
        "? [s3cret]\n: b",
        "~: s3cret",
        "a: &s3cret [*s3cret]",
        "a: \u{1}s3cret",
        "s3cret",
        "a: [s3cret",
    ] {
        let error = string_map(text.as_bytes(), &Limits::default()).unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
}

#[test]
fn a_string_map_is_bounded() {
    let deep = format!("a: {}", "[".repeat(5000));
    let error = string_map(deep.as_bytes(), &Limits::default()).unwrap_err();
    assert_eq!(error.limit(), Some(Limit::Nesting));

    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let alias = format!("*a{}", level - 1);
        bomb += &format!(
            "a{level}: &a{level} [{}]\n",
            [alias.as_str(); 10].join(", ")
        );
    }
    let error = string_map(bomb.as_bytes(), &Limits::default()).unwrap_err();
    assert_eq!(
        error.full_text(),
        "error converting YAML to JSON: yaml: document contains excessive aliasing"
    );

    let long = format!("a: {}", "x".repeat(40 << 20));
    let error = string_map(long.as_bytes(), &Limits::default()).unwrap_err();
    assert_eq!(error.limit(), Some(Limit::Memory));
}

/// `fromYaml` of a text as JSON.
fn read(text: &[u8]) -> String {
    let cx = &mut context();
    let dict = super::read(cx, text).unwrap();
    let style = Style {
        escape_html: false,
        pretty: false,
    };
    let written = json::write(cx, &Value::Dict(dict), style).unwrap();
    String::from_utf8(written.bytes().to_vec()).unwrap()
}

/// The message of `fromYaml`, behind the words that all have.
fn problem(text: impl AsRef<[u8]>) -> String {
    let cx = &mut context();
    let dict = super::read(cx, text.as_ref()).unwrap();
    let message = dict.get(b"Error").expect("the text is refused");
    let message = String::from_utf8_lossy(message.as_bytes().unwrap()).into_owned();
    let inner = message.strip_prefix("error converting YAML to JSON: ");
    inner.unwrap_or(&message).to_owned()
}

/// `toYaml` of a JSON text.
fn write(text: &str) -> String {
    let cx = &mut context();
    let value = json::read(cx, text.as_bytes()).unwrap().value;
    let written = super::write(cx, &value).unwrap().unwrap_or_default();
    String::from_utf8(written.bytes().to_vec()).unwrap()
}

#[test]
fn yaml_1_1_is_read() {
    for (text, expected) in [
        (
            "a: 1\nb: 'it''s'\nc: [1, 2.5, yes, ~]\nd: {e: f}\n",
            r#"{"a":1,"b":"it's","c":[1,2.5,true,null],"d":{"e":"f"}}"#,
        ),
        (
            "l: |\n  a\n   b\n\nf: >\n  a\n  b\n\n  c\nk: |+\n  d\n\n",
            r#"{"f":"a b\nc\n","k":"d\n\n","l":"a\n b\n"}"#,
        ),
        (
            "a: &x {k: v}\nb: *x\nc:\n  k: w\n  <<: [*x, {k: y, j: z}]\n",
            r#"{"a":{"k":"v"},"b":{"k":"v"},"c":{"j":"z","k":"v"}}"#,
        ),
        (
            "{a:1, \"b\":2, c: , ? d : e, f}",
            r#"{"a:1":null,"b":2,"c":null,"d":"e","f":null}"#,
        ),
        (
            "a:\n- b\n-\n  - c\n? d\n: e\n",
            r#"{"a":["b",["c"]],"d":"e"}"#,
        ),
        (
            "a: \"x \\\n  y\\u00e9\\N\"\nb: one\n  two\n\n  three\n",
            "{\"a\":\"x yé\u{85}\",\"b\":\"one two\\nthree\"}",
        ),
        (
            "%TAG !e! tag:e.test,2000:\n--- # c\na: !e!x 1\nb: !!str 1\nc: ! 2\n...\nd",
            r#"{"a":"1","b":"1","c":"2"}"#,
        ),
        ("&a a: &b b\n*a : *b\n", r#"{"a":"b"}"#),
        (
            "a: !!float 1\nb: !!null ''\nc: !!bool on\nd: !!binary /w==\n",
            "{\"a\":1,\"b\":null,\"c\":true,\"d\":\"\u{fffd}\"}",
        ),
        (
            "a: - b\n",
            r#"{"Error":"error converting YAML to JSON: yaml: block sequence entries are not allowed in this context"}"#,
        ),
        ("{a: 1}}", r#"{"a":1}"#),
        (
            "a: x\r\nb: |\r\n  y\r\n  z\r\n",
            r#"{"a":"x","b":"y\nz\n"}"#,
        ),
    ] {
        assert_eq!(read(text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn yaml_is_read_in_utf_16_with_a_byte_order_mark() {
    let units = "\u{feff}a: é😀\n".encode_utf16();
    let little: Vec<u8> = units.clone().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = units.flat_map(u16::to_be_bytes).collect();
    assert_eq!(read(&little), r#"{"a":"é😀"}"#);
    assert_eq!(read(&big), r#"{"a":"é😀"}"#);
    assert_eq!(read(b"\xef\xbb\xbfa: 1"), r#"{"a":1}"#);
}

#[test]
fn faults_have_the_words_and_lines_of_go_yaml() {
    for (text, expected) in [
        ("a: [1", "yaml: line 1: did not find expected ',' or ']'"),
        (
            "a: {b: c\nd: e",
            "yaml: line 1: did not find expected ',' or '}'",
        ),
        (
            "a: b: c",
            "yaml: mapping values are not allowed in this context",
        ),
        (
            "a: 1\n b: 2",
            "yaml: line 2: mapping values are not allowed in this context",
        ),
        ("a: 1\nb", "yaml: line 3: could not find expected ':'"),
        (
            "a:\n\t- b\n",
            "yaml: line 2: found character that cannot start any token",
        ),
        (
            "\tx: 1",
            "yaml: found character that cannot start any token",
        ),
        ("k: @x", "yaml: found character that cannot start any token"),
        ("\"open", "yaml: found unexpected end of stream"),
        (
            "a: 'x\n--- y'",
            "yaml: line 2: found unexpected document indicator",
        ),
        (
            "a:\n  - b\n c: d",
            "yaml: line 2: did not find expected key",
        ),
        (
            "- a\nb: c",
            "yaml: line 1: did not find expected '-' indicator",
        ),
        ("a: b\n- c", "yaml: line 1: did not find expected key"),
        ("a: }", "yaml: did not find expected node content"),
        ("a: \"\\q\"", "yaml: found unknown escape character"),
        (
            "a: \"\\xg0\"",
            "yaml: did not find expected hexdecimal number",
        ),
        (
            "a: \"\\ud800\"",
            "yaml: found invalid Unicode character escape code",
        ),
        (
            "a: |0\n x",
            "yaml: found an indentation indicator equal to 0",
        ),
        (
            "a: |x\n y",
            "yaml: did not find expected comment or line break",
        ),
        (
            "a: |\n\tx",
            "yaml: line 2: found a tab character where an indentation space is expected",
        ),
        ("a: *x", "yaml: unknown anchor 'x' referenced"),
        (
            "a: &",
            "yaml: did not find expected alphabetic or numeric character",
        ),
        ("a: &x [*x]", "yaml: anchor 'x' value contains itself"),
        ("a: !x!y z", "yaml: found undefined tag handle"),
        ("%YAML 1.2\n---\n", "yaml: found incompatible YAML document"),
        ("%FOO\n---\n", "yaml: found unknown directive name"),
        ("a: !!int x", "yaml: cannot decode !!str `x` as a !!int"),
        (
            "<<: x",
            "yaml: map merge requires map or sequence of maps as the value",
        ),
        (
            "? [1, x, ~]\n: b",
            "yaml: invalid map key: []interface {}{1, \"x\", interface {}(nil)}",
        ),
        (
            "~: z",
            "unsupported map key of type: %!s(<nil>), key: <nil>, value: \"z\"",
        ),
        ("a: [.inf]", "json: unsupported value: +Inf"),
        ("a: \u{1}", "yaml: control characters are not allowed"),
        (
            "- 1",
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (
            "42",
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal number into Go value of type map[string]interface {}",
        ),
    ] {
        assert_eq!(problem(text), expected, "{text:?}");
    }
}

#[test]
fn bytes_count_in_the_portions_in_which_go_reads_them() {
    // A fault of the encoding within the first 512 bytes comes before one of the syntax, a later one behind it.
    let mut text = b"@ #".to_vec();
    text.resize(500, b'x');
    text.push(0xff);
    assert_eq!(problem(&text), "yaml: invalid leading UTF-8 octet");
    text.pop();
    text.resize(600, b'x');
    text.push(0xff);
    assert_eq!(
        problem(&text),
        "yaml: found character that cannot start any token"
    );
    assert_eq!(problem(b"a: \xc3"), "yaml: incomplete UTF-8 octet sequence");
    assert_eq!(problem(b"a: \xc3b"), "yaml: invalid trailing UTF-8 octet");
    assert_eq!(
        problem(b"a: \xc0\x80"),
        "yaml: invalid length of a UTF-8 sequence"
    );
}

#[test]
fn strings_are_written_so_that_they_read_back() {
    for (text, expected) in [
        (r#""""#, "\"\""),
        (r#""yes""#, "\"yes\""),
        (r#""1:30""#, "\"1:30\""),
        (r#""1:60""#, "1:60"),
        (r#""0b+1""#, "\"0b+1\""),
        (r#""2001-2-3""#, "\"2001-2-3\""),
        (r#""2001-2-30""#, "2001-2-30"),
        (
            r#""2001-02-03T04:05:06+01:00""#,
            "\"2001-02-03T04:05:06+01:00\"",
        ),
        (r#""- x""#, "'- x'"),
        (r#""a: b""#, "'a: b'"),
        (r#""it's""#, "it's"),
        (r#""'q'""#, "'''q'''"),
        (r#""a\tb""#, "\"a\\tb\""),
        (r#""a\nb""#, "|-\n  a\n  b"),
        (r#"{"k":" a\nb\n\n"}"#, "k: |2+\n   a\n  b\n"),
        (r#""a \nb""#, "\"a \\nb\""),
        ("\"é\u{a0}\"", "é\u{a0}"),
        ("\"😀\"", "\"\\U0001F600\""),
        ("\"\u{feff}a\"", "\"\\uFEFF\\x61\""),
        ("\"a \u{85} \u{85} b\"", "|-\n  a\n  b"),
        ("\"a\u{2028}b\"", "'a\u{2028}  b'"),
        ("\"a\u{7f}b\"", ""),
        ("\"a\u{9f}b\"", ""),
        ("\"\u{85}---\u{85}\"", ""),
    ] {
        assert_eq!(write(text), expected, "{text}");
    }
}

#[test]
fn long_lines_are_folded() {
    let words = "word ".repeat(20);
    let folded = format!("{}word\n  {}", "word ".repeat(16), "word ".repeat(3));
    assert_eq!(
        write(&format!("\"{}\"", words.trim_end())),
        folded.trim_end()
    );
    let quoted = format!(
        "k: '# {}word\n  {}'",
        "word ".repeat(15),
        "word ".repeat(4).trim_end()
    );
    assert_eq!(
        write(&format!("{{\"k\":\"# {}\"}}", words.trim_end())),
        quoted
    );
}

#[test]
fn collections_are_written_as_blocks() {
    for (text, expected) in [
        ("[]", "[]"),
        ("{}", "{}"),
        (
            r#"{"a":[1,[2,[3]],{}],"b":{"c":[]}}"#,
            "a:\n- 1\n- - 2\n  - - 3\n- {}\nb:\n  c: []",
        ),
        (
            r#"[{"a":[1],"b":2},[{"c":null}]]"#,
            "- a:\n  - 1\n  b: 2\n- - c: null",
        ),
        (r#"{"a\nb":[1],"c":2}"#, "? |-\n  a\n  b\n: - 1\nc: 2"),
        (
            "[1e6,1e21,1.5,1e-7,-0.0,9223372036854775808,1e20]",
            "- 1000000\n- 1e+21\n- 1.5\n- 1e-07\n- 0\n- 9223372036854776000\n- 1e+20",
        ),
        (
            r#"{"k10":1,"k9":2,"K":3,"_":4,"1":5,"":6,"k01":7,"é":8,".":9}"#,
            "\"\": 6\n.: 9\n_: 4\n\"1\": 5\nK: 3\nk01: 7\nk9: 2\nk10: 1\né: 8",
        ),
    ] {
        assert_eq!(write(text), expected, "{text}");
    }
}

#[test]
fn keys_that_are_too_long_cannot_be_written() {
    let key = |length: usize| format!("{{\"{}\":1}}", "k".repeat(length));
    assert_eq!(write(&key(128)), format!("{}: 1", "k".repeat(128)));
    assert_eq!(write(&key(129)), format!("? {}\n: 1", "k".repeat(129)));
    assert_eq!(write(&key(1022)), format!("? {}\n: 1", "k".repeat(1022)));
    assert_eq!(write(&key(1023)), "");
}

#[test]
fn a_dict_that_contains_itself_cannot_be_written() {
    let cx = &mut context();
    let dict = cx.dict().unwrap();
    dict.insert(Text::from("self"), Value::Dict(dict.clone()));
    assert!(super::write(cx, &Value::Dict(dict)).unwrap().is_none());
}

#[test]
fn writing_is_bounded() {
    let cx = &mut context();
    let mut value = Value::from("x\n".repeat(1000).as_str());
    for _ in 0..30 {
        value = cx.list(Element::Any, vec![value.clone(), value]).unwrap();
    }
    assert!(super::write(cx, &value).is_err());
}

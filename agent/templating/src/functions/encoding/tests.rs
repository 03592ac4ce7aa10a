use crate::functions::testing::call;
use crate::value::Value;

#[test]
fn base64_fails_with_the_offset_of_go() {
    for (encoded, expected) in [
        ("", ""),
        ("dmlz", "vis"),
        ("dm\r\nlz\n", "vis"),
        ("YR==", "a"),
        ("Y\nQ=\n=\n", "a"),
        ("dml", "illegal base64 data at input byte 0"),
        ("dmlzd", "illegal base64 data at input byte 4"),
        ("dmlzd\n", "illegal base64 data at input byte 5"),
        ("YWJj=", "illegal base64 data at input byte 4"),
        ("YW Jj", "illegal base64 data at input byte 2"),
        ("_-8=", "illegal base64 data at input byte 0"),
        ("YQ=", "illegal base64 data at input byte 3"),
        ("YQ=x", "illegal base64 data at input byte 2"),
        ("YQ==x", "illegal base64 data at input byte 4"),
        ("YQ==YQ==", "illegal base64 data at input byte 4"),
        ("YWI=\n=", "illegal base64 data at input byte 5"),
        ("=", "illegal base64 data at input byte 0"),
    ] {
        assert_eq!(call("b64dec", &[encoded.into()]), expected, "{encoded:?}");
    }
}

#[test]
fn base32_fails_with_the_offset_of_go() {
    for (encoded, expected) in [
        ("", ""),
        ("MY======", "f"),
        ("MZXQ====", "fo"),
        ("MZXW6===", "foo"),
        ("MZXW6YQ=", "foob"),
        ("MZ\nXW6YTB", "fooba"),
        ("MZXW6YTBOI======", "foobar"),
        ("my======", "illegal base32 data at input byte 0"),
        ("MY", "illegal base32 data at input byte 0"),
        ("M1======", "illegal base32 data at input byte 1"),
        ("MY=====", "illegal base32 data at input byte 7"),
        ("MY==A===", "illegal base32 data at input byte 3"),
        ("MZX=====", "illegal base32 data at input byte 3"),
        ("MZXW6Y==", "illegal base32 data at input byte 6"),
    ] {
        assert_eq!(call("b32dec", &[encoded.into()]), expected, "{encoded:?}");
    }
}

#[test]
fn hexadecimal_names_the_first_bad_byte() {
    for (encoded, expected) in [
        ("", ""),
        ("48656C6c6f", "Hello"),
        ("abc", "encoding/hex: odd length hex string"),
        ("zz", "encoding/hex: invalid byte: U+007A 'z'"),
        ("4\n", "encoding/hex: invalid byte: U+000A"),
        ("é", "encoding/hex: invalid byte: U+00C3 'Ã'"),
        ("4 4", "encoding/hex: invalid byte: U+0020 ' '"),
    ] {
        assert_eq!(call("hexdec", &[encoded.into()]), expected, "{encoded:?}");
    }
}

#[test]
fn what_is_encoded_decodes_to_itself() {
    for length in 0..40_u8 {
        let bytes: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(37)).collect();
        let plain = Value::from(bytes.as_slice());
        let shown = call(
            "b64dec",
            &[call("b64enc", std::slice::from_ref(&plain)).as_str().into()],
        );
        let expected = call("hexdec", &[hex(&bytes).as_str().into()]);
        assert_eq!(shown, expected);
        let encoded = call("b32enc", &[plain]);
        assert_eq!(call("b32dec", &[encoded.as_str().into()]), expected);
    }
}

#[test]
fn digests_of_nothing() {
    for (function, expected) in [
        ("sha1sum", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        (
            "sha256sum",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        ("adler32sum", "1"),
    ] {
        assert_eq!(call(function, &["".into()]), expected);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

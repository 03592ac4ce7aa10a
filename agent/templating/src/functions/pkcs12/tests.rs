use super::*;
use crate::functions::testing::{call, context};

#[test]
fn passwords_are_utf_16() {
    let encode = |text: &[u8]| bmp_password(text).ok().map(|bytes| bytes.to_vec());
    assert_eq!(encode(b"").unwrap(), [0, 0]);
    assert_eq!(
        encode("p\u{df}".as_bytes()).unwrap(),
        [0, b'p', 0, 0xdf, 0, 0]
    );
    assert_eq!(encode(b"\xe2\x82").unwrap(), b"\xff\xfd\xff\xfd\0\0");
    assert_eq!(encode("\u{10000}".as_bytes()), None);
    let back = |text: &[u8]| utf8_password(&bmp_password(text).ok().unwrap()).to_vec();
    assert_eq!(back("p\u{df}\0".as_bytes()), "p\u{df}\0".as_bytes());
    assert_eq!(back(b"\xff"), "\u{fffd}".as_bytes());
    assert!(utf8_password(&[]).is_empty());
}

const PASSWORD: &str = "p\u{e4}";
const KEY: &str = include_str!("vectors/key.pem");
const CERTIFICATE: &str = include_str!("vectors/certificate.pem");

/// Files of every cipher and MAC; the README beside them says how they were made.
const FILES: [(&str, &[u8]); 7] = [
    ("3des", include_bytes!("vectors/3des.p12")),
    ("rc2-40", include_bytes!("vectors/rc2-40.p12")),
    ("rc2-128", include_bytes!("vectors/rc2-128.p12")),
    ("aes-128", include_bytes!("vectors/aes-128.p12")),
    ("aes-192", include_bytes!("vectors/aes-192.p12")),
    ("aes-256", include_bytes!("vectors/aes-256.p12")),
    ("pbmac1", include_bytes!("vectors/pbmac1.p12")),
];

#[test]
fn files_of_every_cipher_and_mac_are_read() {
    for (name, file) in FILES {
        let arguments = [Value::from(PASSWORD), Value::from(file)];
        assert_eq!(call("pkcs12keyPass", &arguments), KEY, "{name}");
        assert_eq!(call("pkcs12certPass", &arguments), CERTIFICATE, "{name}");
    }
}

#[test]
fn a_wrong_password_is_told_from_a_broken_file() {
    for (name, file) in FILES {
        assert_eq!(
            call("pkcs12keyPass", &[Value::from("p"), Value::from(file)]),
            "error: unable to decode pkcs12 with password: pkcs12: decryption password incorrect",
            "{name}"
        );
        let start = &file[..file.len() - 1];
        assert_eq!(
            call("pkcs12cert", &[Value::from(start)]),
            "error: unable to decode pkcs12 certificate with password: pkcs12: error reading P12 data: asn1: syntax error: \
             data truncated",
            "{name}"
        );
    }
}

#[test]
fn no_file_makes_the_reader_panic() {
    for (_, file) in FILES {
        for at in 0..60.min(file.len()) {
            for byte in [0, 1, 0x30, 0x7f, 0x80, 0xff] {
                let mut broken = file.to_vec();
                broken[at] = byte;
                call("pkcs12key", &[Value::from(broken.as_slice())]);
            }
        }
    }
}

#[test]
fn what_is_written_is_read_again() {
    for password in ["", "pw", PASSWORD] {
        let pem = [Value::from(CERTIFICATE), Value::from(KEY), password.into()];
        for function in ["pemToPkcs12Pass", "fullPemToPkcs12Pass"] {
            let encoded = call(function, &pem);
            let file = radix64::decode(radix64::Alphabet::Standard, encoded.as_bytes()).unwrap();
            let arguments = [Value::from(password), Value::from(file.as_slice())];
            assert_eq!(call("pkcs12keyPass", &arguments), KEY);
            assert_eq!(call("pkcs12certPass", &arguments), CERTIFICATE);
        }
    }
}

#[test]
fn iterations_are_paid_for_before_they_are_made() {
    // RFC 7292's derivation as often as a file can say.
    let mut cx = context();
    let key = kdf::Hash::Sha1.pkcs12(&mut cx, b"", b"salt", i64::MAX, kdf::Purpose::Mac, 20);
    assert!(matches!(key, Err(Failed::Error(failure)) if failure.is_limit()));
    let mut cx = context();
    let key = kdf::Hash::Sha256.pbkdf2(&mut cx, b"", b"salt", 1 << 40, 32);
    assert!(matches!(key, Err(Failed::Error(failure)) if failure.is_limit()));
    let mut cx = context();
    let key = kdf::Hash::Sha256.pbkdf2(&mut cx, b"", b"salt", 1, usize::MAX / 2);
    assert!(matches!(key, Err(Failed::Error(failure)) if failure.is_limit()));
}

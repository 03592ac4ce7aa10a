use super::parse::{any, pem};
use crate::functions::testing::context;

const KEY: &str = include_str!("../functions/pkcs12/vectors/key.pem");

fn error(text: &str) -> String {
    match pem(&mut context(), text.as_bytes()) {
        Ok(_) => "none".to_owned(),
        Err(failure) => failure.text().to_owned(),
    }
}

#[test]
fn a_key_in_the_form_of_another_label_is_named() {
    assert_eq!(error(KEY), "none");
    let cases = [
        (
            "RSA PRIVATE KEY",
            "parsing RSA private key from PEM: x509: failed to parse private key (use ParsePKCS8PrivateKey instead for this \
             key format)",
        ),
        (
            "EC PRIVATE KEY",
            "parsing EC private key from PEM: x509: failed to parse private key (use ParsePKCS8PrivateKey instead for this key \
             format)",
        ),
        (
            "OPENSSH PRIVATE KEY",
            "invalid private key type OPENSSH PRIVATE KEY",
        ),
        (
            "PUBLIC KEY",
            "no private key data in PEM block of type PUBLIC KEY",
        ),
    ];
    for (label, expected) in cases {
        assert_eq!(error(&KEY.replace("PRIVATE KEY", label)), expected);
    }
    assert_eq!(error("junk"), "no PEM data in input");
}

#[test]
fn a_key_is_written_in_the_form_it_had() {
    let (block, _) = crate::pem::decode(KEY.as_bytes());
    let der = block.unwrap().bytes;
    let key = any(&mut context(), &der).ok().unwrap();
    assert_eq!(key.pkcs8().ok().unwrap().as_slice(), der.as_slice());
    let (label, sec1) = key.sprig().ok().unwrap();
    assert_eq!(label, "EC PRIVATE KEY");
    let again = any(&mut context(), &sec1).ok().unwrap();
    assert_eq!(again.pkcs8().ok().unwrap().as_slice(), der.as_slice());
}

#[test]
fn no_key_makes_the_reader_panic() {
    let (block, _) = crate::pem::decode(KEY.as_bytes());
    let der = block.unwrap().bytes;
    for at in 0..der.len() {
        for byte in [0, 0x30, 0x7f, 0x80, 0xff] {
            let mut broken = der.to_vec();
            broken[at] = byte;
            // Whether it is a key does not matter.
            let _ = any(&mut context(), &broken);
            let _ = any(&mut context(), &broken[..at]);
        }
    }
}

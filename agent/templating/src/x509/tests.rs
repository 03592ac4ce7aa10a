use super::*;
use crate::functions::testing::context;
use crate::pem;

const CERTIFICATE: &str = include_str!("../functions/pkcs12/vectors/certificate.pem");

fn der() -> Vec<u8> {
    let (block, _) = pem::decode(CERTIFICATE.as_bytes());
    block.unwrap().bytes.to_vec()
}

fn error(der: &[u8]) -> String {
    match parse(&mut context(), der) {
        Ok(_) => "none".to_owned(),
        Err(failure) => failure.text().to_owned(),
    }
}

#[test]
fn a_certificate_is_read() {
    let der = der();
    let certificate = parse(&mut context(), &der).ok().unwrap();
    assert_eq!(certificate.subject.rfc2253(), "CN=t");
    assert!(matches!(
        certificate.public_key,
        PublicKey::Ec(Curve::P256, _)
    ));
    assert_eq!(certificate.raw, der);
}

#[test]
fn broken_certificates_fail_in_the_words_of_go() {
    let der = der();
    assert_eq!(error(b""), "x509: malformed certificate");
    assert_eq!(error(&der[..der.len() - 1]), "x509: malformed certificate");
    assert_eq!(
        error(&[der.clone(), vec![0]].concat()),
        "x509: trailing data"
    );
    assert_eq!(error(b"\x30\x00"), "x509: malformed tbs certificate");
    let spki = b"\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04";
    let at = der
        .windows(spki.len())
        .position(|part| part == spki)
        .unwrap()
        + spki.len();
    let with = |at: usize, bytes: &[u8]| {
        let mut broken = der.clone();
        broken[at..at + bytes.len()].copy_from_slice(bytes);
        broken
    };
    assert_eq!(
        error(&with(at - 1, &[5])),
        "ecdsa: invalid uncompressed public key"
    );
    assert_eq!(
        error(&with(at, &[0xff; 32])),
        "invalid P256 element encoding"
    );
    assert_eq!(error(&with(at, &[1; 32])), "P256 point not on curve");
    assert_eq!(
        error(&with(at - 5, &[8])),
        "x509: unsupported elliptic curve"
    );
}

#[test]
fn no_certificate_makes_the_reader_panic() {
    let der = der();
    for at in 0..der.len() {
        for byte in [0, 0x30, 0x7f, 0x80, 0xff] {
            let mut broken = der.clone();
            broken[at] = byte;
            error(&broken);
            error(&broken[..at]);
        }
    }
}

#[test]
fn bits_are_aligned_to_the_right() {
    let bits = |bytes, unused| right_aligned(Bits { bytes, unused });
    assert_eq!(bits(&[0xab, 0xcd], 0), [0xab, 0xcd]);
    assert_eq!(bits(&[0xab, 0xc0], 4), [0x0a, 0xbc]);
}

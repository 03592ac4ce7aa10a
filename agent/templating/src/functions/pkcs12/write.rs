//! Writing PKCS#12 files as go-pkcs12's `Modern` encoder does: PBES2 with AES-256 for certificates and key, HMAC-SHA-256 for
//! the whole.

use aws_lc_rs::digest;
use zeroize::Zeroizing;

use super::kdf::{Hash, Purpose};
use super::{Failed, bmp, bmp_password, cipher, utf8_password};
use crate::context::Context;
use crate::der::{self, Element, oid, tag};
use crate::functions::crypto::random;
use crate::keys::PrivateKey;
use crate::x509;

/// Rounds of both key derivations.
const ROUNDS: i64 = 2048;
/// Bytes of every salt.
const SALT: usize = 16;

/// A key with its certificate and further ones.
pub(super) fn key_store(
    cx: &mut Context,
    key: &PrivateKey,
    certificates: &[Zeroizing<Vec<u8>>],
    password: &[u8],
) -> Result<Element, Failed> {
    let password = bmp_password(password)?;
    pay(cx, certificates)?;
    let leaf = certificates.first().map_or(&[][..], |leaf| leaf);
    let fingerprint = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, leaf);
    let local_key_id = attribute(oid::LOCAL_KEY_ID, &der::octets(fingerprint.as_ref()));
    let mut bags = Element::default();
    for (index, certificate) in certificates.iter().enumerate() {
        let attributes = [local_key_id.clone()];
        let attributes = if index == 0 { &attributes[..] } else { &[] };
        bags.extend_from_slice(&certificate_bag(certificate, attributes));
    }
    let (algorithm, data) = shroud(cx, &key.pkcs8()?, &password)?;
    let shrouded = der::sequence(&[&algorithm, &der::octets(&data)]);
    let key_bag = bag(oid::SHROUDED_KEY_BAG, &shrouded, &[local_key_id]);
    let safes = der::sequence(&[
        &encrypted_safe(cx, &der::sequence(&[&bags]), &password)?,
        &content(oid::PKCS7_DATA, &der::octets(&der::sequence(&[&key_bag]))),
    ]);
    pfx(cx, &safes, &password)
}

/// Certificates that Java takes for trusted.
pub(super) fn trust_store(
    cx: &mut Context,
    certificates: &[Zeroizing<Vec<u8>>],
    password: &[u8],
) -> Result<Element, Failed> {
    let password = bmp_password(password)?;
    pay(cx, certificates)?;
    let trusted = attribute(
        oid::JAVA_TRUST_STORE,
        &der::object(oid::ANY_EXTENDED_KEY_USAGE),
    );
    let mut bags = Element::default();
    for certificate in certificates {
        let name = x509::parse(cx, certificate)?.subject.rfc2253();
        let name = der::element(tag::BMP_STRING, &[&bmp(name.as_bytes())?]);
        let attributes = [trusted.clone(), attribute(oid::FRIENDLY_NAME, &name)];
        bags.extend_from_slice(&certificate_bag(certificate, &attributes));
    }
    let safe = encrypted_safe(cx, &der::sequence(&[&bags]), &password)?;
    pfx(cx, &der::sequence(&[&safe]), &password)
}

/// Every level of the file is written once.
fn pay(cx: &mut Context, certificates: &[Zeroizing<Vec<u8>>]) -> Result<(), Failed> {
    let length: usize = certificates
        .iter()
        .map(|certificate| certificate.len())
        .sum();
    cx.allocate(length.saturating_mul(8))?;
    Ok(())
}

/// The file: the safes and their MAC.
fn pfx(cx: &mut Context, safes: &[u8], password: &[u8]) -> Result<Element, Failed> {
    let salt: [u8; SALT] = random()?;
    let hash = Hash::Sha256;
    let key = hash.pkcs12(cx, password, &salt, ROUNDS, Purpose::Mac, hash.size())?;
    let mac = hash.hmac(&key, safes);
    let mac = der::sequence(&[
        &der::sequence(&[
            &der::algorithm(oid::SHA256, &[]),
            &der::octets(mac.as_ref()),
        ]),
        &der::octets(&salt),
        &der::small_integer(ROUNDS as u64),
    ]);
    Ok(der::sequence(&[
        &der::small_integer(3),
        &content(oid::PKCS7_DATA, &der::octets(safes)),
        &mac,
    ]))
}

fn encrypted_safe(cx: &mut Context, bags: &[u8], password: &[u8]) -> Result<Element, Failed> {
    let (algorithm, data) = shroud(cx, bags, password)?;
    let info = der::sequence(&[
        &der::object(oid::PKCS7_DATA),
        &algorithm,
        &der::element(tag::context(0), &[&data]),
    ]);
    let data = der::sequence(&[&der::small_integer(0), &info]);
    Ok(content(oid::PKCS7_ENCRYPTED_DATA, &data))
}

/// Encrypts; the algorithm with its parameters, and the data.
fn shroud(cx: &mut Context, plain: &[u8], password: &[u8]) -> Result<(Element, Element), Failed> {
    let salt: [u8; SALT] = random()?;
    let vector: [u8; 16] = random()?;
    let password = utf8_password(password);
    let key = Hash::Sha256.pbkdf2(cx, &password, &salt, ROUNDS, 32)?;
    let kdf = der::sequence(&[
        &der::octets(&salt),
        &der::small_integer(ROUNDS as u64),
        &der::algorithm(oid::HMAC_SHA256, &[]),
    ]);
    let parameters = der::sequence(&[
        &der::algorithm(oid::PBKDF2, &kdf),
        &der::algorithm(oid::AES_256_CBC, &der::octets(&vector)),
    ]);
    Ok((
        der::algorithm(oid::PBES2, &parameters),
        cipher::encrypt(plain, &key, vector)?,
    ))
}

fn content(kind: &[u8], contents: &[u8]) -> Element {
    der::sequence(&[
        &der::object(kind),
        &der::element(tag::explicit(0), &[contents]),
    ])
}

fn certificate_bag(certificate: &[u8], attributes: &[Element]) -> Element {
    let contents = content(oid::X509_CERTIFICATE, &der::octets(certificate));
    bag(oid::CERTIFICATE_BAG, &contents, attributes)
}

fn bag(kind: &[u8], contents: &[u8], attributes: &[Element]) -> Element {
    // The elements of a DER set are ordered by their bytes. go-pkcs12 writes an empty one too.
    let mut sorted: Vec<&[u8]> = attributes
        .iter()
        .map(|element| element.as_slice())
        .collect();
    sorted.sort_unstable();
    der::sequence(&[
        &der::object(kind),
        &der::element(tag::explicit(0), &[contents]),
        &der::element(tag::SET, &sorted),
    ])
}

fn attribute(kind: &[u8], value: &[u8]) -> Element {
    der::sequence(&[&der::object(kind), &der::element(tag::SET, &[value])])
}

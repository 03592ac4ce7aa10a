//! X.509 certificates, read with the checks and the texts of Go's `crypto/x509`.
//!
//! Go's reader is more lenient than most in some places and stricter in others, and its texts reach the user; so it is
//! followed check by check.

mod constraints;
mod extensions;
pub(crate) mod name;
mod time;

use crate::context::Context;
use crate::der::read::{Bits, Reader};
use crate::der::{oid, read, tag};
use crate::failure::{Failure, Result};
use crate::keys::PublicKey;
use crate::keys::ec::Curve;
use name::Name;

pub(crate) use extensions::AlternativeNames;

/// What template functions need of a certificate.
pub(crate) struct Certificate<'a> {
    /// The whole certificate.
    pub(crate) raw: &'a [u8],
    /// The encoded subject.
    pub(crate) raw_subject: &'a [u8],
    pub(crate) subject: Name<'a>,
    pub(crate) public_key: PublicKey,
    pub(crate) subject_key_id: Option<&'a [u8]>,
    pub(crate) authority_key_id: Option<&'a [u8]>,
    pub(crate) names: AlternativeNames<'a>,
}

/// Go's `ParseCertificate`: one certificate and nothing behind it.
pub(crate) fn parse<'a>(cx: &mut Context, der: &'a [u8]) -> Result<Certificate<'a>> {
    let certificate = parse_first(cx, der)?;
    if certificate.raw.len() != der.len() {
        return Err(Failure::plain("x509: trailing data"));
    }
    Ok(certificate)
}

/// The first certificate of several.
pub(crate) fn parse_first<'a>(cx: &mut Context, der: &'a [u8]) -> Result<Certificate<'a>> {
    cx.allocate(der.len())?;
    let malformed = || malformed("certificate");
    let raw = Reader::new(der).full(tag::SEQUENCE).ok_or_else(malformed)?;
    let mut input = Reader::new(raw)
        .element(tag::SEQUENCE)
        .ok_or_else(malformed)?;
    let mut tbs = input
        .element(tag::SEQUENCE)
        .ok_or_else(|| self::malformed("tbs certificate"))?;
    let version = version(&mut tbs)?;
    let serial = tbs
        .integer()
        .ok_or_else(|| self::malformed("serial number"))?;
    if serial.first().is_some_and(|first| first & 0x80 != 0) {
        return Err(Failure::plain("x509: negative serial number"));
    }
    signature_algorithm(&mut tbs, &mut input)?;
    let (_, _issuer) = name(&mut tbs)?;
    let validity = tbs
        .element(tag::SEQUENCE)
        .ok_or_else(|| self::malformed("validity"))?;
    time::validity(validity)?;
    let (raw_subject, subject) = name(&mut tbs)?;
    let public_key = public_key(cx, &mut tbs)?;
    let mut certificate = Certificate {
        raw,
        raw_subject,
        subject,
        public_key,
        subject_key_id: None,
        authority_key_id: None,
        names: AlternativeNames::default(),
    };
    if version > 1 {
        skip_unique_ids(&mut tbs)?;
    }
    if version == 3 {
        extensions::read(cx, &mut tbs, &mut certificate)?;
    }
    input
        .bit_string()
        .ok_or_else(|| self::malformed("signature"))?;
    Ok(certificate)
}

/// From 1, as people count.
fn version(tbs: &mut Reader) -> Result<i64> {
    let malformed = || malformed("version");
    let explicit = tbs.optional(tag::explicit(0)).ok_or_else(malformed)?;
    let version = match explicit {
        None => 0,
        Some(mut inner) => {
            let version = inner.small_integer().ok_or_else(malformed)?;
            if !inner.is_empty() || version < 0 {
                return Err(malformed());
            }
            version
        }
    };
    if version > 2 {
        return Err(Failure::plain("x509: invalid version"));
    }
    Ok(version + 1)
}

fn signature_algorithm(tbs: &mut Reader, input: &mut Reader) -> Result<()> {
    let inner = tbs
        .element(tag::SEQUENCE)
        .ok_or_else(|| malformed("signature algorithm identifier"))?;
    let outer = input
        .element(tag::SEQUENCE)
        .ok_or_else(|| malformed("algorithm identifier"))?;
    if inner.bytes() != outer.bytes() {
        return Err(Failure::plain(
            "x509: inner and outer signature algorithm identifiers don't match",
        ));
    }
    algorithm(inner)?;
    Ok(())
}

/// Issuer or subject; Go speaks of the issuer for both.
fn name<'a>(tbs: &mut Reader<'a>) -> Result<(&'a [u8], Name<'a>)> {
    let raw = tbs.full(tag::SEQUENCE).ok_or_else(|| malformed("issuer"))?;
    Ok((raw, Name::parse(raw)?))
}

fn skip_unique_ids(tbs: &mut Reader) -> Result<()> {
    for (number, what) in [(1, "issuerUniqueID"), (2, "subjectUniqueID")] {
        tbs.optional(tag::context(number))
            .ok_or_else(|| malformed(what))?;
    }
    Ok(())
}

/// The arcs and the encoded parameters of an AlgorithmIdentifier's contents.
fn algorithm(mut contents: Reader<'_>) -> Result<(&[u8], &[u8])> {
    let object = contents.object().ok_or_else(|| malformed("OID"))?;
    if contents.is_empty() {
        return Ok((object, &[]));
    }
    match contents.any() {
        Some(parameters) => Ok((object, parameters.full)),
        None => Err(malformed("parameters")),
    }
}

fn public_key(cx: &mut Context, tbs: &mut Reader) -> Result<PublicKey> {
    let mut spki = tbs
        .element(tag::SEQUENCE)
        .ok_or_else(|| malformed("spki"))?;
    let contents = spki
        .element(tag::SEQUENCE)
        .ok_or_else(|| malformed("public key algorithm identifier"))?;
    let (object, parameters) = algorithm(contents)?;
    let bits = spki
        .bit_string()
        .ok_or_else(|| malformed("subjectPublicKey"))?;
    let data = right_aligned(bits);
    match object {
        oid::RSA => rsa_key(parameters, &data),
        oid::EC => {
            cx.cryptography_time(20)?;
            ec_key(parameters, &data)
        }
        oid::ED25519 if !parameters.is_empty() => Err(Failure::plain(
            "x509: Ed25519 key encoded with illegal parameters",
        )),
        oid::ED25519 if data.len() != 32 => {
            Err(Failure::plain("x509: wrong Ed25519 public key size"))
        }
        oid::ED25519 => Ok(PublicKey::Ed25519(data)),
        oid::DSA => dsa_key(parameters, &data),
        _ => Ok(PublicKey::Unknown),
    }
}

fn rsa_key(parameters: &[u8], data: &[u8]) -> Result<PublicKey> {
    if parameters != crate::der::NULL {
        return Err(Failure::plain("x509: RSA key missing NULL parameters"));
    }
    let mut key = Reader::new(data)
        .element(tag::SEQUENCE)
        .ok_or_else(|| Failure::plain("x509: invalid RSA public key"))?;
    let modulus = key
        .integer()
        .ok_or_else(|| Failure::plain("x509: invalid RSA modulus"))?;
    let exponent = key
        .small_integer()
        .ok_or_else(|| Failure::plain("x509: invalid RSA public exponent"))?;
    if !is_positive(modulus) {
        return Err(Failure::plain("x509: RSA modulus is not a positive number"));
    }
    if exponent <= 0 {
        return Err(Failure::plain(
            "x509: RSA public exponent is not a positive number",
        ));
    }
    Ok(PublicKey::Rsa(
        crate::der::strip_zeros(modulus).to_vec(),
        crate::der::strip_zeros(&exponent.to_be_bytes()).to_vec(),
    ))
}

fn ec_key(parameters: &[u8], data: &[u8]) -> Result<PublicKey> {
    let object = Reader::new(parameters)
        .object()
        .ok_or_else(|| Failure::plain("x509: invalid ECDSA parameters"))?;
    let curve = Curve::from_oid(object)
        .ok_or_else(|| Failure::plain("x509: unsupported elliptic curve"))?;
    curve.check_uncompressed(data)?;
    Ok(PublicKey::Ec(curve, data.to_vec()))
}

fn dsa_key(parameters: &[u8], data: &[u8]) -> Result<PublicKey> {
    let y = Reader::new(data)
        .integer()
        .ok_or_else(|| Failure::plain("x509: invalid DSA public key"))?;
    let numbers = Reader::new(parameters)
        .element(tag::SEQUENCE)
        .and_then(|mut numbers| Some([numbers.integer()?, numbers.integer()?, numbers.integer()?]))
        .ok_or_else(|| Failure::plain("x509: invalid DSA parameters"))?;
    if !is_positive(y) || !numbers.into_iter().all(is_positive) {
        return Err(Failure::plain("x509: zero or negative DSA parameter"));
    }
    Ok(PublicKey::Dsa)
}

/// Whether an INTEGER is above zero.
fn is_positive(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first & 0x80 == 0) && bytes.iter().any(|byte| *byte != 0)
}

/// The bits with those that do not count moved out at the end.
fn right_aligned(bits: Bits) -> Vec<u8> {
    let shift = u32::from(bits.unused);
    let mut before = 0u8;
    bits.bytes
        .iter()
        .map(|byte| {
            let shifted = before.checked_shl(8 - shift).unwrap_or(0) | byte >> shift;
            before = *byte;
            shifted
        })
        .collect()
}

fn malformed(what: &str) -> Failure {
    Failure::plain(format!("x509: malformed {what}"))
}

/// The value of an INTEGER that Go reads into an `int` or a `uint`.
fn natural(bytes: &[u8]) -> Option<i64> {
    i64::try_from(read::unsigned(bytes)?).ok()
}

#[cfg(test)]
mod tests;

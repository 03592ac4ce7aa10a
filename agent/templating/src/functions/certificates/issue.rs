//! Issuing a certificate: what Go's `x509.CreateCertificate` makes of sprig's templates.

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::context::Context;
use crate::der::{self, Element, oid, tag};
use crate::failure::{Failure, Result};
use crate::functions::crypto::random;
use crate::keys::ec::{Curve, EcKey};
use crate::keys::rsa::RsaKey;
use crate::keys::{PrivateKey, PublicKey};
use crate::x509::{self, name};

/// What is asked for.
pub(super) struct Request<'a> {
    pub(super) common_name: &'a [u8],
    /// Of 4 or 16 bytes.
    pub(super) ips: Vec<Vec<u8>>,
    /// DNS names.
    pub(super) names: Vec<&'a [u8]>,
    /// Days of validity from now on.
    pub(super) days: i64,
    /// Whether it is a certificate of an authority.
    pub(super) is_authority: bool,
}

/// Who signs.
pub(super) struct Authority<'a> {
    key: &'a PrivateKey,
    /// None: the certificate signs itself.
    certificate: Option<&'a x509::Certificate<'a>>,
}

impl<'a> Authority<'a> {
    pub(super) fn oneself(key: &'a PrivateKey) -> Self {
        Self {
            key,
            certificate: None,
        }
    }

    pub(super) fn of(certificate: &'a x509::Certificate<'a>, key: &'a PrivateKey) -> Self {
        Self {
            key,
            certificate: Some(certificate),
        }
    }
}

/// The encoded certificate of `key`.
pub(super) fn issue(
    cx: &mut Context,
    request: &Request,
    key: &PrivateKey,
    authority: &Authority,
) -> Result<Element> {
    let algorithm = signature_algorithm(authority.key)?;
    let public = key.public()?;
    let Some((key_algorithm, bits)) = signable(&public)? else {
        return Err(Failure::unexpected_type());
    };
    let subject = subject(request.common_name)?;
    let issuer = authority
        .certificate
        .map_or(subject.as_slice(), |certificate| certificate.raw_subject);
    let known = authority
        .certificate
        .map(|certificate| &certificate.public_key);
    if known.is_some_and(|known| *known != PublicKey::Unknown)
        && known != Some(&authority.key.public()?)
    {
        return Err(Failure::plain(
            "x509: provided PrivateKey doesn't match parent's PublicKey",
        ));
    }
    let authority_key_id = authority
        .certificate
        .and_then(|certificate| certificate.subject_key_id)
        .filter(|id| !id.is_empty() && issuer != subject.as_slice());
    let extensions = extensions(request, &bits, authority_key_id)?;
    let serial: [u8; 16] = random()?;
    let tbs = der::sequence(&[
        &der::element(tag::explicit(0), &[&der::small_integer(2)]),
        &der::integer(&serial),
        &algorithm,
        issuer,
        &validity(cx.now(), request.days),
        &subject,
        &der::sequence(&[&key_algorithm, &der::bits(&bits)]),
        &der::element(tag::explicit(3), &[&extensions]),
    ]);
    cx.allocate(tbs.len().saturating_mul(4))?;
    let signature = sign(cx, authority.key, &tbs)?;
    Ok(der::sequence(&[&tbs, &algorithm, &der::bits(&signature)]))
}

/// Algorithm and bits of a key that a certificate may carry; Go names the type of others.
fn signable(public: &PublicKey) -> Result<Option<(Element, Element)>> {
    let name = match public {
        PublicKey::Dsa => "*dsa.PublicKey",
        PublicKey::X25519(_) => "*ecdh.PublicKey",
        _ => return Ok(public.info()),
    };
    Err(Failure::plain(format!(
        "x509: unsupported public key type: {name}"
    )))
}

fn signature_algorithm(key: &PrivateKey) -> Result<Element> {
    Ok(match key {
        PrivateKey::Rsa(_) => der::algorithm(oid::SHA256_WITH_RSA, der::NULL),
        PrivateKey::Ec(key) => {
            let object = match key.curve {
                Curve::P224 | Curve::P256 => oid::ECDSA_WITH_SHA256,
                Curve::P384 => oid::ECDSA_WITH_SHA384,
                Curve::P521 => oid::ECDSA_WITH_SHA512,
            };
            der::algorithm(object, &[])
        }
        PrivateKey::Ed25519(_) => der::algorithm(oid::ED25519, &[]),
        PrivateKey::X25519(_) | PrivateKey::Dsa(_) => {
            return Err(Failure::plain(
                "x509: certificate private key does not implement crypto.Signer",
            ));
        }
    })
}

/// A name with a common name only, or with nothing.
fn subject(common_name: &[u8]) -> Result<Element> {
    let Ok(common_name) = std::str::from_utf8(common_name) else {
        return Err(Failure::plain("asn1: string not valid UTF-8"));
    };
    if common_name.is_empty() {
        return Ok(der::sequence(&[]));
    }
    let attribute = der::sequence(&[&der::object(oid::COMMON_NAME), &name::marshal(common_name)]);
    Ok(der::sequence(&[&der::element(tag::SET, &[&attribute])]))
}

/// From now on for `days` of 24 hours, which wrap around as Go's durations do.
fn validity(now: Timestamp, days: i64) -> Element {
    const DAY: i64 = 24 * 60 * 60 * 1_000_000_000;
    let duration = SignedDuration::from_nanos(DAY.wrapping_mul(days));
    let end = now.saturating_add(duration).unwrap_or(now);
    der::sequence(&[&moment(now), &moment(end)])
}

fn moment(moment: Timestamp) -> Element {
    let moment = TimeZone::UTC.to_datetime(moment);
    let year = moment.year();
    let (tag, year) = match year {
        1950..2050 => (tag::UTC_TIME, format!("{:02}", year % 100)),
        _ => (tag::GENERALIZED_TIME, format!("{year:04}")),
    };
    let rest = format!(
        "{:02}{:02}{:02}{:02}{:02}Z",
        moment.month(),
        moment.day(),
        moment.hour(),
        moment.minute(),
        moment.second()
    );
    der::element(tag, &[year.as_bytes(), rest.as_bytes()])
}

fn extensions(
    request: &Request,
    public_key: &[u8],
    authority_key_id: Option<&[u8]>,
) -> Result<Element> {
    // digitalSignature, keyEncipherment and, for an authority, keyCertSign.
    let usage: [u8; 2] = if request.is_authority {
        [2, 0xa4]
    } else {
        [5, 0xa0]
    };
    let truth = der::element(tag::BOOLEAN, &[&[0xff]]);
    let constraints = if request.is_authority {
        truth.as_slice()
    } else {
        &[]
    };
    let mut list = vec![
        extension(
            oid::KEY_USAGE,
            true,
            &der::element(tag::BIT_STRING, &[&usage]),
        ),
        extension(
            oid::EXTENDED_KEY_USAGE,
            false,
            &der::sequence(&[
                &der::object(oid::SERVER_AUTH),
                &der::object(oid::CLIENT_AUTH),
            ]),
        ),
        extension(oid::BASIC_CONSTRAINTS, true, &der::sequence(&[constraints])),
    ];
    if request.is_authority {
        // RFC 7093, section 2, method 1.
        let sum = digest::digest(&digest::SHA256, public_key);
        let id = sum.as_ref().get(..20).unwrap_or_default();
        list.push(extension(oid::SUBJECT_KEY_ID, false, &der::octets(id)));
    }
    if let Some(id) = authority_key_id {
        let id = der::sequence(&[&der::element(tag::context(0), &[id])]);
        list.push(extension(oid::AUTHORITY_KEY_ID, false, &id));
    }
    if !request.names.is_empty() || !request.ips.is_empty() {
        let critical = request.common_name.is_empty();
        let names = alternative_names(request)?;
        list.push(extension(oid::SUBJECT_ALT_NAME, critical, &names));
    }
    let list: Vec<&[u8]> = list.iter().map(|extension| extension.as_slice()).collect();
    Ok(der::sequence(&list))
}

fn extension(object: &[u8], critical: bool, value: &[u8]) -> Element {
    let truth = der::element(tag::BOOLEAN, &[&[0xff]]);
    let critical = if critical { truth.as_slice() } else { &[] };
    der::sequence(&[&der::object(object), critical, &der::octets(value)])
}

fn alternative_names(request: &Request) -> Result<Element> {
    let mut names = Element::default();
    for name in &request.names {
        if !name.is_ascii() {
            let mut quoted = Vec::new();
            crate::format::quote(name, &mut quoted);
            return Err(Failure::showing_data(format!(
                "x509: {} cannot be encoded as an IA5String",
                String::from_utf8_lossy(&quoted)
            )));
        }
        names.extend_from_slice(&der::element(tag::context(2), &[name]));
    }
    for ip in &request.ips {
        names.extend_from_slice(&der::element(tag::context(7), &[ip]));
    }
    Ok(der::sequence(&[&names]))
}

fn sign(cx: &mut Context, key: &PrivateKey, message: &[u8]) -> Result<Vec<u8>> {
    match key {
        PrivateKey::Rsa(key) => sign_rsa(cx, key, message),
        PrivateKey::Ec(key) => {
            cx.cryptography_time(key.curve.cost() * 2)?;
            sign_ec(key, message)
        }
        PrivateKey::Ed25519(seed) => {
            cx.cryptography_time(500)?;
            let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice());
            let pair = pair.map_err(|_| unsupported("this key is"))?;
            Ok(pair.sign(message).as_ref().to_vec())
        }
        PrivateKey::X25519(_) | PrivateKey::Dsa(_) => Err(unsupported("this type of key is")),
    }
}

fn sign_rsa(cx: &mut Context, key: &RsaKey, message: &[u8]) -> Result<Vec<u8>> {
    let bits = key.bits();
    cx.cryptography_time(key.cost())?;
    if bits < 1024 {
        return Err(Failure::plain(format!(
            "crypto/rsa: {bits}-bit keys are insecure \
             (see https://go.dev/pkg/crypto/rsa#hdr-Minimum_key_size)"
        )));
    }
    let failed = || unsupported("RSA keys of this size are");
    let pair = RsaKeyPair::from_der(&key.pkcs1()).map_err(|_| failed())?;
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        message,
        &mut signature,
    )
    .map_err(|_| failed())?;
    Ok(signature)
}

fn sign_ec(key: &EcKey, message: &[u8]) -> Result<Vec<u8>> {
    let algorithm = match key.curve {
        Curve::P224 => return Err(unsupported("signing on P-224 is")),
        Curve::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
        Curve::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        Curve::P521 => &ECDSA_P521_SHA512_ASN1_SIGNING,
    };
    let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, &key.scalar, &key.point)
        .map_err(|_| unsupported("this key is"))?;
    let signature = pair
        .sign(&SystemRandom::new(), message)
        .map_err(|_| unsupported("this key is"))?;
    Ok(signature.as_ref().to_vec())
}

/// What Go can do and this cannot.
fn unsupported(what: &str) -> Failure {
    Failure::plain(format!("x509: {what} not supported here"))
}

//! Private and public keys: the encodings that Go's `crypto/x509` reads and writes, checked as Go checks them.

pub(crate) mod ec;
pub(crate) mod parse;
pub(crate) mod rsa;

use aws_lc_rs::agreement;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use zeroize::Zeroizing;

use crate::der::{self, Element, oid};
use crate::failure::{Failure, Result};
use ec::{Curve, EcKey};
use rsa::RsaKey;

/// Bytes of an Ed25519 seed and of an X25519 scalar.
pub(crate) const SEED: usize = 32;

/// A private key of a type that Go knows.
pub(crate) enum PrivateKey {
    Rsa(RsaKey),
    Ec(EcKey),
    Ed25519(Zeroizing<[u8; SEED]>),
    X25519(Zeroizing<[u8; SEED]>),
    Dsa(DsaKey),
}

/// The numbers of a DSA key, as the bytes of DER integers. They sign nothing here and are not checked, as in Go.
pub(crate) struct DsaKey {
    /// p, q, g, y and x.
    pub(crate) numbers: [Zeroizing<Vec<u8>>; 5],
}

/// A public key, by value.
#[derive(PartialEq, Eq)]
pub(crate) enum PublicKey {
    /// Modulus and exponent, big-endian and without leading zeros.
    Rsa(Vec<u8>, Vec<u8>),
    /// The point in its uncompressed form.
    Ec(Curve, Vec<u8>),
    Ed25519(Vec<u8>),
    X25519(Vec<u8>),
    Dsa,
    /// Of an algorithm that Go's `crypto/x509` does not know; nil there.
    Unknown,
}

// === impl PrivateKey ===

impl PrivateKey {
    /// The key in PKCS#8.
    pub(crate) fn pkcs8(&self) -> Result<Element> {
        let (algorithm, key) = match self {
            Self::Rsa(key) => (der::algorithm(oid::RSA, der::NULL), key.pkcs1()),
            Self::Ec(key) => {
                let curve = der::object(key.curve.oid());
                (der::algorithm(oid::EC, &curve), key.sec1(false))
            }
            Self::Ed25519(seed) => (
                der::algorithm(oid::ED25519, &[]),
                der::octets(seed.as_slice()),
            ),
            Self::X25519(scalar) => (
                der::algorithm(oid::X25519, &[]),
                der::octets(scalar.as_slice()),
            ),
            Self::Dsa(_) => {
                return Err(Failure::plain(
                    "x509: unknown key type while marshaling PKCS#8: *dsa.PrivateKey",
                ));
            }
        };
        Ok(der::sequence(&[
            &der::small_integer(0),
            &algorithm,
            &der::octets(&key),
        ]))
    }

    /// The key in the form that sprig writes for its type, with the words of its PEM block.
    pub(crate) fn sprig(&self) -> Result<(&'static str, Element)> {
        Ok(match self {
            Self::Rsa(key) => ("RSA PRIVATE KEY", key.pkcs1()),
            Self::Ec(key) => ("EC PRIVATE KEY", key.sec1(true)),
            Self::Dsa(key) => ("DSA PRIVATE KEY", key.der()),
            Self::Ed25519(_) | Self::X25519(_) => ("PRIVATE KEY", self.pkcs8()?),
        })
    }

    pub(crate) fn public(&self) -> Result<PublicKey> {
        Ok(match self {
            Self::Rsa(key) => key.public(),
            Self::Ec(key) => PublicKey::Ec(key.curve, key.point.clone()),
            Self::Ed25519(seed) => PublicKey::Ed25519(ed25519_public(seed)?),
            Self::X25519(scalar) => PublicKey::X25519(x25519_public(scalar)?),
            Self::Dsa(_) => PublicKey::Dsa,
        })
    }
}

// === impl DsaKey ===

impl DsaKey {
    /// sprig's own form: version 0 and the five numbers.
    fn der(&self) -> Element {
        let mut contents = der::small_integer(0);
        for number in &self.numbers {
            contents.extend_from_slice(&der::element(der::tag::INTEGER, &[number]));
        }
        der::sequence(&[&contents])
    }
}

// === impl PublicKey ===

impl PublicKey {
    /// The algorithm and the bits of a SubjectPublicKeyInfo. `None` for one that is not written here.
    pub(crate) fn info(&self) -> Option<(Element, Element)> {
        Some(match self {
            Self::Rsa(modulus, exponent) => (
                der::algorithm(oid::RSA, der::NULL),
                der::sequence(&[&der::integer(modulus), &der::integer(exponent)]),
            ),
            Self::Ec(curve, point) => (
                der::algorithm(oid::EC, &der::object(curve.oid())),
                Zeroizing::new(point.clone()),
            ),
            Self::Ed25519(point) => (
                der::algorithm(oid::ED25519, &[]),
                Zeroizing::new(point.clone()),
            ),
            Self::X25519(point) => (
                der::algorithm(oid::X25519, &[]),
                Zeroizing::new(point.clone()),
            ),
            Self::Dsa | Self::Unknown => return None,
        })
    }
}

/// The public half of an Ed25519 seed.
pub(crate) fn ed25519_public(seed: &[u8; SEED]) -> Result<Vec<u8>> {
    match Ed25519KeyPair::from_seed_unchecked(seed) {
        Ok(pair) => Ok(pair.public_key().as_ref().to_vec()),
        Err(_) => Err(Failure::plain("invalid Ed25519 seed")),
    }
}

/// The public half of an X25519 scalar.
pub(crate) fn x25519_public(scalar: &[u8; SEED]) -> Result<Vec<u8>> {
    let public = agreement::PrivateKey::from_private_key(&agreement::X25519, scalar)
        .ok()
        .and_then(|key| key.compute_public_key().ok());
    match public {
        Some(public) => Ok(public.as_ref().to_vec()),
        None => Err(Failure::plain("invalid X25519 scalar")),
    }
}

#[cfg(test)]
mod tests;

//! Keys on the NIST curves.

use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384, ECDH_P521};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA512_ASN1, ParsedPublicKey,
    VerificationAlgorithm,
};
use zeroize::Zeroizing;

use crate::der::{self, Element, oid};
use crate::failure::{Failure, Result};

/// A curve that Go's `crypto/x509` knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    /// Known to Go, not to aws-lc-rs: keys are read and written, but nothing is computed on the curve.
    P224,
    P256,
    P384,
    P521,
}

/// A private key whose two halves belong together.
pub(crate) struct EcKey {
    pub(crate) curve: Curve,
    /// As long as the curve says.
    pub(crate) scalar: Zeroizing<Vec<u8>>,
    /// The public point, uncompressed.
    pub(crate) point: Vec<u8>,
}

// === impl Curve ===

impl Curve {
    pub(crate) fn from_oid(oid: &[u8]) -> Option<Self> {
        [Self::P224, Self::P256, Self::P384, Self::P521]
            .into_iter()
            .find(|curve| curve.oid() == oid)
    }

    pub(crate) fn oid(self) -> &'static [u8] {
        match self {
            Self::P224 => oid::P224,
            Self::P256 => oid::P256,
            Self::P384 => oid::P384,
            Self::P521 => oid::P521,
        }
    }

    /// Bytes of a scalar and of a coordinate.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::P224 => 28,
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// Bits of a coordinate.
    pub(crate) fn bits(self) -> usize {
        match self {
            Self::P521 => 521,
            _ => self.size() * 8,
        }
    }

    /// Microseconds of computing a public point from its scalar, measured; a signature takes about twice as long.
    pub(crate) fn cost(self) -> u64 {
        match self {
            Self::P224 => 0,
            Self::P256 => 200,
            Self::P384 => 1_500,
            Self::P521 => 3_500,
        }
    }

    /// As Go's error texts have it.
    fn name(self) -> &'static str {
        match self {
            Self::P224 => "P224",
            Self::P256 => "P256",
            Self::P384 => "P384",
            Self::P521 => "P521",
        }
    }

    /// The order of the group, big-endian.
    fn order(self) -> Vec<u8> {
        let low: &[u8] = match self {
            Self::P224 => b"\x16\xa2\xe0\xb8\xf0\x3e\x13\xdd\x29\x45\x5c\x5c\x2a\x3d",
            Self::P256 => {
                b"\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\
                  \xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51"
            }
            Self::P384 => {
                b"\xc7\x63\x4d\x81\xf4\x37\x2d\xdf\x58\x1a\x0d\xb2\x48\xb0\xa7\x7a\
                  \xec\xec\x19\x6a\xcc\xc5\x29\x73"
            }
            Self::P521 => {
                b"\xfa\x51\x86\x87\x83\xbf\x2f\x96\x6b\x7f\xcc\x01\x48\xf7\x09\xa5\xd0\
                  \x3b\xb5\xc9\xb8\x89\x9c\x47\xae\xbb\x6f\xb7\x1e\x91\x38\x64\x09"
            }
        };
        self.filled(low)
    }

    /// The prime of the field, big-endian.
    fn prime(self) -> Vec<u8> {
        let low: &[u8] = match self {
            Self::P224 => b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01",
            Self::P256 => {
                b"\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
                  \xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
            }
            Self::P384 => {
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\
                  \xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff"
            }
            Self::P521 => b"\xff",
        };
        self.filled(low)
    }

    /// `low` with ones before it, as wide as the curve.
    fn filled(self, low: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xff; self.size() - low.len()];
        if let (Self::P521, Some(first)) = (self, bytes.first_mut()) {
            *first = 1;
        }
        bytes.extend_from_slice(low);
        bytes
    }

    /// What checks that a point lies on the curve; none for P-224.
    fn verification(self) -> Option<&'static dyn VerificationAlgorithm> {
        match self {
            Self::P224 => None,
            Self::P256 => Some(&ECDSA_P256_SHA256_ASN1),
            Self::P384 => Some(&ECDSA_P384_SHA384_ASN1),
            Self::P521 => Some(&ECDSA_P521_SHA512_ASN1),
        }
    }

    fn agreement(self) -> Option<&'static agreement::Algorithm> {
        match self {
            Self::P224 => None,
            Self::P256 => Some(&ECDH_P256),
            Self::P384 => Some(&ECDH_P384),
            Self::P521 => Some(&ECDH_P521),
        }
    }

    /// Go's `ecdsa.NewPublicKey` on an uncompressed point.
    pub(crate) fn check_point(self, point: &[u8]) -> Result<()> {
        let name = self.name();
        let coordinates = match point.split_first() {
            Some((4, coordinates)) if coordinates.len() == 2 * self.size() => coordinates,
            _ => return Err(Failure::plain(format!("invalid {name} point encoding"))),
        };
        let prime = self.prime();
        if coordinates
            .chunks(self.size())
            .any(|coordinate| coordinate >= prime.as_slice())
        {
            let blank = if self == Self::P256 { " e" } else { "E" };
            return Err(Failure::plain(format!(
                "invalid {name}{blank}lement encoding"
            )));
        }
        match self.verification() {
            Some(algorithm) if ParsedPublicKey::new(algorithm, point).is_err() => {
                Err(Failure::plain(format!("{name} point not on curve")))
            }
            _ => Ok(()),
        }
    }

    /// Go's `ecdsa.ParseUncompressedPublicKey`.
    pub(crate) fn check_uncompressed(self, point: &[u8]) -> Result<()> {
        if point.first() != Some(&4) {
            return Err(Failure::plain("ecdsa: invalid uncompressed public key"));
        }
        self.check_point(point)
    }

    /// Whether a scalar is zero or too large, in Go's words.
    pub(crate) fn check_scalar(self, scalar: &[u8]) -> Result<()> {
        if scalar > self.order().as_slice() {
            return Err(Failure::plain("input overflows the modulus"));
        }
        Ok(())
    }
}

// === impl EcKey ===

impl EcKey {
    /// A key from its scalar. `file` is the point that came with it, for the curve that nothing can be computed on.
    pub(crate) fn new(curve: Curve, scalar: Zeroizing<Vec<u8>>, file: &[u8]) -> Result<Self> {
        let order = curve.order();
        if scalar.iter().all(|byte| *byte == 0) || *scalar == order {
            // The point at infinity.
            return Err(Failure::plain("ecdsa: invalid public key encoding"));
        }
        curve.check_scalar(&scalar)?;
        let Some(algorithm) = curve.agreement() else {
            curve.check_point(file)?;
            return Ok(Self {
                curve,
                scalar,
                point: file.to_vec(),
            });
        };
        let public = agreement::PrivateKey::from_private_key(algorithm, &scalar)
            .ok()
            .and_then(|key| key.compute_public_key().ok());
        match public {
            Some(public) => Ok(Self {
                curve,
                scalar,
                point: public.as_ref().to_vec(),
            }),
            None => Err(Failure::plain("ecdsa: invalid private key")),
        }
    }

    /// The key as SEC 1 has it, with the curve's name or, inside PKCS#8, without.
    pub(crate) fn sec1(&self, named: bool) -> Element {
        let curve = if named {
            der::element(der::tag::explicit(0), &[&der::object(self.curve.oid())])
        } else {
            Element::default()
        };
        der::sequence(&[
            &der::small_integer(1),
            &der::octets(&self.scalar),
            &curve,
            &der::element(der::tag::explicit(1), &[&der::bits(&self.point)]),
        ])
    }
}

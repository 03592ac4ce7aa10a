//! What a JSON web key holds, and its encodings.

use zeroize::Zeroizing;

use crate::context::Context;
use crate::der::{self, Element, oid};
use crate::failure::{Failure, Result};
use crate::keys::ec::{Curve, EcKey};
use crate::keys::rsa::{Crt, Numbers, RsaKey};
use crate::keys::{self, PrivateKey, SEED};
use crate::value::Text;

/// The type of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Rsa,
    Ec,
    Okp,
    Octets,
}

type Bytes = Option<Zeroizing<Vec<u8>>>;

/// A key's fields as they were read.
pub(super) struct Jwk {
    pub(super) kind: Kind,
    is_private: bool,
    pub(super) curve: Option<Text>,
    d: Bytes,
    dp: Bytes,
    dq: Bytes,
    e: Bytes,
    k: Bytes,
    n: Bytes,
    p: Bytes,
    q: Bytes,
    qi: Bytes,
    x: Bytes,
    y: Bytes,
}

// === impl Kind ===

impl Kind {
    /// The word in a key.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rsa => "RSA",
            Self::Ec => "EC",
            Self::Okp => "OKP",
            Self::Octets => "oct",
        }
    }
}

// === impl Jwk ===

impl Jwk {
    pub(super) fn new(kind: Kind, is_private: bool) -> Self {
        Self {
            kind,
            is_private,
            curve: None,
            d: None,
            dp: None,
            dq: None,
            e: None,
            k: None,
            n: None,
            p: None,
            q: None,
            qi: None,
            x: None,
            y: None,
        }
    }

    /// The Go library's type.
    pub(super) fn go_name(&self) -> &'static str {
        match (self.kind, self.is_private) {
            (Kind::Rsa, false) => "rsaPublicKey",
            (Kind::Rsa, true) => "rsaPrivateKey",
            (Kind::Ec, false) => "ecdsaPublicKey",
            (Kind::Ec, true) => "ecdsaPrivateKey",
            (Kind::Okp, false) => "okpPublicKey",
            (Kind::Okp, true) => "okpPrivateKey",
            (Kind::Octets, _) => "symmetricKey",
        }
    }

    /// The type that the Go library makes of it.
    fn raw_type(&self, curve: &[u8]) -> &'static str {
        match (self.kind, self.is_private) {
            (Kind::Rsa, false) => "*rsa.PublicKey",
            (Kind::Rsa, true) => "*rsa.PrivateKey",
            (Kind::Ec, false) => "*ecdsa.PublicKey",
            (Kind::Ec, true) => "*ecdsa.PrivateKey",
            (Kind::Okp, false) if curve == b"X25519" => "x25519.PublicKey",
            (Kind::Okp, true) if curve == b"X25519" => "x25519.PrivateKey",
            (Kind::Okp, false) => "ed25519.PublicKey",
            (Kind::Okp, true) => "ed25519.PrivateKey",
            (Kind::Octets, _) => "[]uint8",
        }
    }

    /// Where a field of bytes goes; none if this type of key has no such field.
    pub(super) fn slot(&mut self, name: &str) -> Option<&mut Bytes> {
        let is_private = self.is_private;
        match (self.kind, name) {
            (Kind::Rsa, "e") => Some(&mut self.e),
            (Kind::Rsa, "n") => Some(&mut self.n),
            (Kind::Rsa, "dp") if is_private => Some(&mut self.dp),
            (Kind::Rsa, "dq") if is_private => Some(&mut self.dq),
            (Kind::Rsa, "p") if is_private => Some(&mut self.p),
            (Kind::Rsa, "q") if is_private => Some(&mut self.q),
            (Kind::Rsa, "qi") if is_private => Some(&mut self.qi),
            (Kind::Rsa | Kind::Ec | Kind::Okp, "d") if is_private => Some(&mut self.d),
            (Kind::Ec | Kind::Okp, "x") => Some(&mut self.x),
            (Kind::Ec, "y") => Some(&mut self.y),
            (Kind::Octets, "k") => Some(&mut self.k),
            _ => None,
        }
    }

    pub(super) fn check_required(&self) -> Result<()> {
        let curve = ("crv", self.curve.is_some());
        let d = ("d", self.d.is_some() || !self.is_private);
        let (x, y) = (("x", self.x.is_some()), ("y", self.y.is_some()));
        let required = match self.kind {
            Kind::Rsa => vec![d, ("e", self.e.is_some()), ("n", self.n.is_some())],
            Kind::Ec => vec![curve, d, x, y],
            Kind::Okp => vec![curve, d, x],
            Kind::Octets => vec![("k", self.k.is_some())],
        };
        match required.iter().find(|(_, is_there)| !is_there) {
            None => Ok(()),
            Some((name, _)) => Err(Failure::plain(format!("required field {name} is missing"))),
        }
    }

    /// The curve's name; empty for types without.
    fn curve(&self) -> &[u8] {
        self.curve.as_ref().map_or(&[], Text::bytes)
    }

    /// The curve of an EC key.
    fn nist_curve(&self) -> Result<Curve> {
        match self.curve() {
            b"P-256" => Ok(Curve::P256),
            b"P-384" => Ok(Curve::P384),
            b"P-521" => Ok(Curve::P521),
            _ => Err(self.unknown_curve()),
        }
    }

    fn unknown_curve(&self) -> Failure {
        let name = String::from_utf8_lossy(self.curve());
        Failure::showing_data(format!(
            "failed to build public key: invalid curve algorithm {name}"
        ))
    }

    /// Fails where the Go library cannot make its raw key, whichever form is wanted then.
    fn check_raw(&self) -> Result<()> {
        match self.kind {
            Kind::Rsa | Kind::Octets => Ok(()),
            Kind::Ec => self.nist_curve().map(drop),
            Kind::Okp => self.check_okp(),
        }
    }

    fn check_okp(&self) -> Result<()> {
        let failed = |text: String| {
            Err(Failure::plain(format!(
                "failed to build public key: {text}"
            )))
        };
        let d = bytes(&self.d);
        if self.is_private && d.is_empty() {
            return failed("cannot use empty seed".to_owned());
        }
        let seed = Zeroizing::new(<[u8; SEED]>::try_from(d).unwrap_or_default());
        let fits = d.len() == SEED;
        let public = match self.curve() {
            b"Ed25519" | b"X25519" if !self.is_private => return Ok(()),
            b"Ed25519" if !fits => return failed("wrong private key size".to_owned()),
            b"Ed25519" => keys::ed25519_public(&seed)?,
            b"X25519" if !fits => {
                return failed(format!(
                    "unable to construct x25519 private key from seed: unexpected seed size: {}",
                    d.len()
                ));
            }
            b"X25519" => keys::x25519_public(&seed)?,
            _ => return Err(self.unknown_curve()),
        };
        if bytes(&self.x) != public {
            return failed("invalid x value given d value".to_owned());
        }
        Ok(())
    }

    /// Go's `x509.MarshalPKIXPublicKey` of the raw key.
    pub(super) fn spki(&self) -> Result<Element> {
        self.check_raw()?;
        let (algorithm, bits) = match (self.kind, self.is_private, self.curve()) {
            (Kind::Rsa, false, _) => (
                der::algorithm(oid::RSA, der::NULL),
                der::sequence(&[
                    &der::integer(bytes(&self.n)),
                    &der::signed_integer(self.exponent()),
                ]),
            ),
            (Kind::Ec, false, _) => {
                let curve = self.nist_curve()?;
                let point = self.point(curve)?;
                curve.check_point(&point)?;
                (
                    der::algorithm(oid::EC, &der::object(curve.oid())),
                    Zeroizing::new(point),
                )
            }
            // Of any length.
            (Kind::Okp, false, b"Ed25519") => (
                der::algorithm(oid::ED25519, &[]),
                Zeroizing::new(bytes(&self.x).to_vec()),
            ),
            (_, _, curve) => {
                return Err(Failure::plain(format!(
                    "x509: unsupported public key type: {}",
                    self.raw_type(curve)
                )));
            }
        };
        Ok(der::sequence(&[&algorithm, &der::bits(&bits)]))
    }

    /// Go's `x509.MarshalPKCS8PrivateKey` of the raw key.
    pub(super) fn pkcs8(&self, cx: &mut Context) -> Result<Element> {
        self.check_raw()?;
        let key = match (self.kind, self.is_private, self.curve()) {
            (Kind::Rsa, true, _) => PrivateKey::Rsa(self.rsa(cx)?),
            (Kind::Ec, true, _) => PrivateKey::Ec(self.ec().map_err(|failure| {
                failure.within("x509: failed to marshal EC private key while building PKCS#8: ")
            })?),
            (Kind::Okp, true, b"Ed25519") => {
                let seed = <[u8; SEED]>::try_from(bytes(&self.d)).unwrap_or_default();
                PrivateKey::Ed25519(Zeroizing::new(seed))
            }
            (_, _, curve) => {
                return Err(Failure::plain(format!(
                    "x509: unknown key type while marshaling PKCS#8: {}",
                    self.raw_type(curve)
                )));
            }
        };
        key.pkcs8()
    }

    /// Go keeps the low 64 bits.
    fn exponent(&self) -> i64 {
        let digits = bytes(&self.e).iter().rev().take(8).rev();
        digits.fold(0, |value, byte| value << 8 | i64::from(*byte))
    }

    fn rsa(&self, cx: &mut Context) -> Result<RsaKey> {
        let secret = |field: &Bytes| Zeroizing::new(der::strip_zeros(bytes(field)).to_vec());
        let numbers = Numbers {
            modulus: der::strip_zeros(bytes(&self.n)).to_vec(),
            exponent: self.exponent(),
            private: secret(&self.d),
            first: secret(&self.p),
            second: secret(&self.q),
        };
        let given = [&self.dp, &self.dq, &self.qi];
        let crt = given.iter().all(|field| !bytes(field).is_empty());
        let crt = crt.then(|| Crt {
            first: secret(&self.dp),
            second: secret(&self.dq),
            coefficient: secret(&self.qi),
        });
        RsaKey::new(cx, numbers, crt)
    }

    /// The two halves are not checked against each other, as in Go.
    fn ec(&self) -> Result<EcKey> {
        let curve = self.nist_curve()?;
        let point = self.point(curve)?;
        let digits = der::strip_zeros(bytes(&self.d));
        if bits(digits) > curve.bits() {
            return Err(Failure::plain("ecdsa: private key scalar too large"));
        }
        if digits.is_empty() {
            return Err(Failure::plain(
                "ecdsa: private key scalar is zero or negative",
            ));
        }
        let mut scalar = Zeroizing::new(vec![0; curve.size() - digits.len()]);
        scalar.extend_from_slice(digits);
        curve.check_point(&point)?;
        curve.check_scalar(&scalar)?;
        Ok(EcKey {
            curve,
            scalar,
            point,
        })
    }

    /// The point of an EC key, uncompressed. It need not lie on the curve.
    fn point(&self, curve: Curve) -> Result<Vec<u8>> {
        let mut point = vec![4];
        for coordinate in [&self.x, &self.y] {
            let digits = der::strip_zeros(bytes(coordinate));
            if bits(digits) > curve.bits() {
                return Err(Failure::plain("overflowing coordinate"));
            }
            point.resize(point.len() + curve.size() - digits.len(), 0);
            point.extend_from_slice(digits);
        }
        Ok(point)
    }
}

fn bytes(field: &Bytes) -> &[u8] {
    field.as_ref().map_or(&[], |bytes| bytes.as_slice())
}

/// Bits of a number without leading zeros.
fn bits(digits: &[u8]) -> usize {
    let zeros = digits.first().map_or(0, |first| first.leading_zeros());
    digits.len() * 8 - zeros as usize
}

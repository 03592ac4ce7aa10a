//! Reading private keys: PKCS#1, PKCS#8, SEC 1 and sprig's DSA form, with Go's texts.

use zeroize::Zeroizing;

use super::ec::{Curve, EcKey};
use super::rsa::{Crt, Numbers, RsaKey};
use super::{DsaKey, PrivateKey, SEED};
use crate::context::Context;
use crate::der::unmarshal::{Field, Sequence, Value, trailing_data};
use crate::der::{self, oid};
use crate::failure::{Failure, Result};
use crate::pem;

/// What follows the name of a key's type in the words of its PEM block.
const SUFFIX: &[u8] = b" PRIVATE KEY";

/// Fields of a PKCS#8 key.
struct Pkcs8<'a> {
    algorithm: &'a [u8],
    /// The encoded parameters; empty if there are none.
    parameters: &'a [u8],
    key: &'a [u8],
}

/// Fields of a SEC 1 key.
struct Sec1<'a> {
    version: i64,
    scalar: &'a [u8],
    curve: Option<&'a [u8]>,
    point: &'a [u8],
}

/// A key in any of three forms, whatever the words of its PEM block say.
pub(crate) fn any(cx: &mut Context, der: &[u8]) -> Result<PrivateKey> {
    for read in [pkcs1, pkcs8, sec1] {
        match read(cx, der) {
            Ok(key) => return Ok(key),
            Err(failure) if failure.is_limit() => return Err(failure),
            Err(_) => {}
        }
    }
    Err(Failure::plain("unable to parse private key type"))
}

/// The first key of a PEM text, in the form that its words say.
pub(crate) fn pem(cx: &mut Context, text: &[u8]) -> Result<PrivateKey> {
    cx.allocate(text.len())?;
    let (Some(block), _) = pem::decode(text) else {
        return Err(Failure::plain("no PEM data in input"));
    };
    if block.kind == b"PRIVATE KEY" {
        return pkcs8(cx, &block.bytes)
            .map_err(|failure| failure.within("decoding PEM as PKCS#8: "));
    }
    let kind = || String::from_utf8_lossy(&block.kind).into_owned();
    let Some(name) = block.kind.strip_suffix(SUFFIX) else {
        return Err(Failure::showing_data(format!(
            "no private key data in PEM block of type {}",
            kind()
        )));
    };
    match name {
        b"RSA" => pkcs1(cx, &block.bytes)
            .map_err(|failure| failure.within("parsing RSA private key from PEM: ")),
        b"EC" => sec1(cx, &block.bytes)
            .map_err(|failure| failure.within("parsing EC private key from PEM: ")),
        b"DSA" => dsa(&block.bytes)
            .map_err(|failure| failure.within("parsing DSA private key from PEM: ")),
        _ => Err(Failure::showing_data(format!(
            "invalid private key type {}",
            kind()
        ))),
    }
}

/// Go's `x509.ParsePKCS8PrivateKey`.
pub(crate) fn pkcs8(cx: &mut Context, der: &[u8]) -> Result<PrivateKey> {
    let fields = match Pkcs8::read(der) {
        Ok(fields) => fields,
        Err(_) if Sec1::read(der).is_ok() => return Err(other_form("ParseECPrivateKey")),
        Err(_) if is_pkcs1(der) => return Err(other_form("ParsePKCS1PrivateKey")),
        Err(failure) => return Err(failure),
    };
    match fields.algorithm {
        oid::RSA => pkcs1(cx, fields.key).map_err(|failure| {
            failure.within("x509: failed to parse RSA private key embedded in PKCS#8: ")
        }),
        oid::EC => {
            let curve = Sequence::new(fields.parameters)
                .field(&Field::OBJECT)
                .and_then(|value| value.object());
            ec(cx, curve.ok(), fields.key).map_err(|failure| {
                failure.within("x509: failed to parse EC private key embedded in PKCS#8: ")
            })
        }
        oid::ED25519 => {
            let seed = fields.seed("Ed25519")?;
            match Zeroizing::<[u8; SEED]>::try_from_slice(seed) {
                Some(seed) => Ok(PrivateKey::Ed25519(seed)),
                None => Err(Failure::plain(format!(
                    "x509: invalid Ed25519 private key length: {}",
                    seed.len()
                ))),
            }
        }
        oid::X25519 => match Zeroizing::<[u8; SEED]>::try_from_slice(fields.seed("X25519")?) {
            Some(scalar) => Ok(PrivateKey::X25519(scalar)),
            None => Err(Failure::plain("crypto/ecdh: invalid private key size")),
        },
        unknown => Err(Failure::plain(format!(
            "x509: PKCS#8 wrapping contained private key with unknown algorithm: {}",
            oid::dotted(unknown)
        ))),
    }
}

/// Go's `x509.ParsePKCS1PrivateKey`.
pub(crate) fn pkcs1(cx: &mut Context, der: &[u8]) -> Result<PrivateKey> {
    let (key, rest) = match read_pkcs1(der) {
        Ok(read) => read,
        Err(_) if Sec1::read(der).is_ok() => return Err(other_form("ParseECPrivateKey")),
        Err(_) if Pkcs8::read(der).is_ok() => return Err(other_form("ParsePKCS8PrivateKey")),
        Err(failure) => return Err(failure),
    };
    if !rest.is_empty() {
        return Err(trailing_data());
    }
    if key.version > 1 {
        return Err(Failure::plain("x509: unsupported private key version"));
    }
    if key.more_primes {
        return Err(Failure::plain(
            "x509: RSA keys of more than two primes are not supported",
        ));
    }
    let [modulus, private, first, second] = key.numbers.map(positive);
    let crt = key.crt.map(|value| value.map(positive));
    let (Some(modulus), Some(private), Some(first), Some(second)) =
        (modulus, private, first, second)
    else {
        return Err(not_positive());
    };
    if crt.contains(&Some(None)) {
        return Err(not_positive());
    }
    let secret = |bytes: &[u8]| Zeroizing::new(bytes.to_vec());
    let crt = match crt.map(Option::flatten) {
        [Some(first), Some(second), Some(coefficient)] => Some(Crt {
            first: secret(first),
            second: secret(second),
            coefficient: secret(coefficient),
        }),
        _ => None,
    };
    let numbers = Numbers {
        modulus: modulus.to_vec(),
        exponent: key.exponent,
        private: secret(private),
        first: secret(first),
        second: secret(second),
    };
    RsaKey::new(cx, numbers, crt).map(PrivateKey::Rsa)
}

/// Go's `x509.ParseECPrivateKey`.
pub(crate) fn sec1(cx: &mut Context, der: &[u8]) -> Result<PrivateKey> {
    ec(cx, None, der)
}

/// A SEC 1 key whose curve may be named outside of it.
fn ec(cx: &mut Context, named: Option<&[u8]>, der: &[u8]) -> Result<PrivateKey> {
    let fields = match Sec1::read(der) {
        Ok(fields) => fields,
        Err(_) if Pkcs8::read(der).is_ok() => return Err(other_form("ParsePKCS8PrivateKey")),
        Err(_) if is_pkcs1(der) => return Err(other_form("ParsePKCS1PrivateKey")),
        Err(failure) => return Err(failure.within("x509: failed to parse EC private key: ")),
    };
    if fields.version != 1 {
        return Err(Failure::showing_data(format!(
            "x509: unknown EC private key version {}",
            fields.version
        )));
    }
    let Some(curve) = named.or(fields.curve).and_then(Curve::from_oid) else {
        return Err(Failure::plain("x509: unknown elliptic curve"));
    };
    // Leading zeros may be too many, and may lack.
    let digits = der::strip_zeros(fields.scalar);
    if digits.len() > curve.size() {
        return Err(Failure::plain("x509: invalid private key length"));
    }
    let mut scalar = Zeroizing::new(vec![0; curve.size() - digits.len()]);
    scalar.extend_from_slice(digits);
    cx.cryptography_time(curve.cost())?;
    EcKey::new(curve, scalar, fields.point).map(PrivateKey::Ec)
}

/// sprig's form of a DSA key: version, p, q, g, y, x.
fn dsa(der: &[u8]) -> Result<PrivateKey> {
    let value = Sequence::new(der).field(&Field::structure("DSAKeyFormat"))?;
    let mut fields = value.fields();
    fields.field(&Field::INTEGER)?.int()?;
    let mut number = || -> Result<Zeroizing<Vec<u8>>> {
        let value = fields.field(&Field::BIG_INTEGER)?;
        Ok(Zeroizing::new(value.big()?.to_vec()))
    };
    let numbers = [number()?, number()?, number()?, number()?, number()?];
    Ok(PrivateKey::Dsa(DsaKey { numbers }))
}

/// Fields of a PKCS#1 key.
struct Pkcs1<'a> {
    version: i64,
    exponent: i64,
    /// n, d, p and q.
    numbers: [&'a [u8]; 4],
    crt: [Option<&'a [u8]>; 3],
    more_primes: bool,
}

/// The fields and what follows the key.
fn read_pkcs1(der: &[u8]) -> Result<(Pkcs1<'_>, &[u8])> {
    let mut outer = Sequence::new(der);
    let value = outer.field(&Field::structure("pkcs1PrivateKey"))?;
    let mut fields = value.fields();
    let version = fields.field(&Field::INTEGER)?.int()?;
    let modulus = fields.field(&Field::BIG_INTEGER)?.big()?;
    let exponent = fields.field(&Field::INTEGER)?.int()?;
    let private = fields.field(&Field::BIG_INTEGER)?.big()?;
    let first = fields.field(&Field::BIG_INTEGER)?.big()?;
    let second = fields.field(&Field::BIG_INTEGER)?.big()?;
    let mut optional = || -> Result<Option<&[u8]>> {
        let value = fields.optional(&Field::BIG_INTEGER.optional())?;
        value.map(|value| value.big()).transpose()
    };
    let crt = [optional()?, optional()?, optional()?];
    let primes = fields.optional(&Field::SLICE.optional())?;
    let more_primes = match primes {
        Some(primes) => more_primes(&primes)?,
        None => false,
    };
    let key = Pkcs1 {
        version,
        exponent,
        numbers: [modulus, private, first, second],
        crt,
        more_primes,
    };
    Ok((key, outer.rest()))
}

fn more_primes(primes: &Value) -> Result<bool> {
    let field = Field::structure("pkcs1AdditionalRSAPrime");
    let mut elements = primes.elements(&field)?;
    let any = !elements.is_empty();
    while !elements.is_empty() {
        let value = elements.field(&field)?;
        let mut fields = value.fields();
        for _ in 0..3 {
            fields.field(&Field::BIG_INTEGER)?.big()?;
        }
    }
    Ok(any)
}

fn is_pkcs1(der: &[u8]) -> bool {
    read_pkcs1(der).is_ok()
}

fn other_form(function: &str) -> Failure {
    Failure::plain(format!(
        "x509: failed to parse private key (use {function} instead for this key format)"
    ))
}

fn not_positive() -> Failure {
    Failure::plain("x509: private key contains zero or negative value")
}

/// The digits of a number above zero.
fn positive(bytes: &[u8]) -> Option<&[u8]> {
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let digits = der::strip_zeros(bytes);
    (!negative && !digits.is_empty()).then_some(digits)
}

// === impl Pkcs8 ===

impl<'a> Pkcs8<'a> {
    fn read(der: &'a [u8]) -> Result<Self> {
        let value = Sequence::new(der).field(&Field::structure("pkcs8"))?;
        let mut fields = value.fields();
        fields.field(&Field::INTEGER)?.int()?;
        let (algorithm, parameters) = algorithm(&mut fields)?;
        let key = fields.field(&Field::OCTETS)?.contents;
        Ok(Self {
            algorithm,
            parameters,
            key,
        })
    }

    /// The bytes of a key on a Montgomery or Edwards curve.
    fn seed(&self, name: &str) -> Result<&'a [u8]> {
        if !self.parameters.is_empty() {
            return Err(Failure::plain(format!(
                "x509: invalid {name} private key parameters"
            )));
        }
        match Sequence::new(self.key).field(&Field::OCTETS) {
            Ok(value) => Ok(value.contents),
            Err(failure) => Err(failure.within(&format!("x509: invalid {name} private key: "))),
        }
    }
}

// === impl Sec1 ===

impl<'a> Sec1<'a> {
    fn read(der: &'a [u8]) -> Result<Self> {
        let value = Sequence::new(der).field(&Field::structure("ecPrivateKey"))?;
        let mut fields = value.fields();
        let version = fields.field(&Field::INTEGER)?.int()?;
        let scalar = fields.field(&Field::OCTETS)?.contents;
        let curve = fields.optional(&Field::OBJECT.optional().explicit(0))?;
        let curve = curve.map(|value| value.object()).transpose()?;
        let point = fields.optional(&Field::BITS.optional().explicit(1))?;
        let point = point.map(|value| value.bits()).transpose()?;
        Ok(Self {
            version,
            scalar,
            curve,
            point: point.unwrap_or_default(),
        })
    }
}

/// An AlgorithmIdentifier: the arcs and the encoded parameters.
pub(crate) fn algorithm<'a>(fields: &mut Sequence<'a>) -> Result<(&'a [u8], &'a [u8])> {
    let value = fields.field(&Field::structure("AlgorithmIdentifier"))?;
    algorithm_of(&value)
}

/// What an AlgorithmIdentifier holds.
pub(crate) fn algorithm_of<'a>(value: &Value<'a>) -> Result<(&'a [u8], &'a [u8])> {
    let mut fields = value.fields();
    let object = fields.field(&Field::OBJECT)?.object()?;
    let parameters = fields.optional(&Field::ANY.optional())?;
    Ok((object, parameters.map_or(&[], |value| value.full)))
}

/// A fixed number of secret bytes.
trait TryFromSlice: Sized {
    fn try_from_slice(bytes: &[u8]) -> Option<Self>;
}

impl<const N: usize> TryFromSlice for Zeroizing<[u8; N]> {
    fn try_from_slice(bytes: &[u8]) -> Option<Self> {
        let mut own = Zeroizing::new([0; N]);
        if bytes.len() != N {
            return None;
        }
        own.copy_from_slice(bytes);
        Some(own)
    }
}

//! New private keys.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::encoding::Pkcs8V1Der;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, RsaKeyPair};
use dsa::{Components, SigningKey};
use rand::rngs::SysRng;
use zeroize::Zeroizing;

use super::super::text;
use crate::context::Context;
use crate::der;
use crate::failure::{Failure, Result};
use crate::keys::ec::Curve;
use crate::keys::{DsaKey, PrivateKey, parse};
use crate::pem;
use crate::value::{Text, Value};

/// Steps for the public part of a key on an Edwards curve.
const ED25519: u64 = 500;

/// Random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Failure::plain("the operating system gives no random bytes"))?;
    Ok(bytes)
}

/// `genPrivateKey`.
pub(super) fn private_key(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let key = match text(arguments, 0)?.bytes() {
        b"" | b"rsa" => rsa(cx, KeySize::Rsa4096)?,
        b"ecdsa" => ecdsa(cx)?,
        b"ed25519" => {
            cx.work(ED25519)?;
            PrivateKey::Ed25519(Zeroizing::new(random()?))
        }
        b"dsa" => dsa(cx)?,
        other => {
            let mut text = b"Unknown type ".to_vec();
            text.extend_from_slice(other);
            return cx.text(text);
        }
    };
    pem_text(cx, &key)
}

/// A key in PEM, in the form that sprig writes for its type.
pub(crate) fn pem_text(cx: &mut Context, key: &PrivateKey) -> Result<Value> {
    let (kind, der) = key.sprig()?;
    let length = pem::encoded_length(kind, der.len());
    cx.allocate(length)?;
    let mut out = Vec::with_capacity(length);
    pem::encode(kind, &der, &mut out);
    Ok(Value::Text(Text::new(out)))
}

/// A new RSA key. Takes about 100 ms for 2048 bits and 400 ms for 4096 on average; the search for primes may take three times as
/// long.
pub(crate) fn rsa(cx: &mut Context, size: KeySize) -> Result<PrivateKey> {
    cx.cryptography(match size {
        KeySize::Rsa2048 => 1,
        _ => 4,
    })?;
    let pair = RsaKeyPair::generate(size).map_err(|_| failed("RSA"))?;
    let der: Pkcs8V1Der = pair.as_der().map_err(|_| failed("RSA"))?;
    parse::pkcs8(cx, der.as_ref())
}

fn ecdsa(cx: &mut Context) -> Result<PrivateKey> {
    cx.cryptography_time(Curve::P256.cost())?;
    let pair =
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| failed("ECDSA"))?;
    let der = pair.to_pkcs8v1().map_err(|_| failed("ECDSA"))?;
    parse::pkcs8(cx, der.as_ref())
}

fn dsa(cx: &mut Context) -> Result<PrivateKey> {
    cx.cryptography(12)?;
    let size = dsa::KeySize::DSA_2048_256;
    let components = Components::try_generate_from_rng_with_key_size(&mut SysRng, size)
        .map_err(|_| failed("DSA"))?;
    let key = SigningKey::try_generate_from_rng_with_components(&mut SysRng, components)
        .map_err(|_| failed("DSA"))?;
    let public = key.verifying_key();
    let components = public.components();
    let number = |bytes: Box<[u8]>| {
        let bytes = Zeroizing::new(bytes.into_vec());
        let digits = der::strip_zeros(&bytes);
        let sign = digits
            .first()
            .filter(|first| **first & 0x80 != 0)
            .map(|_| 0);
        Zeroizing::new(sign.into_iter().chain(digits.iter().copied()).collect())
    };
    Ok(PrivateKey::Dsa(DsaKey {
        numbers: [
            number(components.p().to_be_bytes()),
            number(components.q().to_be_bytes()),
            number(components.g().to_be_bytes()),
            number(public.y().to_be_bytes()),
            number(key.x().to_be_bytes()),
        ],
    }))
}

fn failed(kind: &str) -> Failure {
    Failure::plain(format!("cannot generate an {kind} key"))
}

//! RSA-OAEP.

use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA512_MGF1SHA512, OaepPrivateDecryptingKey,
    PrivateDecryptingKey,
};
use zeroize::Zeroizing;

use super::super::text;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::keys::{PrivateKey, parse};
use crate::pem;
use crate::value::Value;

/// `rsaDecrypt`.
pub(super) fn decrypt(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let scheme = text(arguments, 0)?;
    match scheme.bytes() {
        b"None" => Ok(Value::Text(text(arguments, 2)?.clone())),
        b"RSA-OAEP" => oaep(cx, arguments),
        _ => Err(Failure::showing_data(format!(
            "decryption scheme {} is not supported",
            scheme.to_lossy()
        ))),
    }
}

fn oaep(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let input = text(arguments, 2)?.bytes();
    let key = text(arguments, 3)?.bytes();
    cx.allocate(key.len())?;
    let (Some(block), _) = pem::decode(key) else {
        return Err(Failure::plain("failed to decode PEM block"));
    };
    let key = parse::any(cx, &block.bytes)
        .map_err(|failure| failure.within("could not parse private key: "))?;
    let PrivateKey::Rsa(rsa) = &key else {
        return Err(Failure::plain("could not parse RSA private key"));
    };
    cx.cryptography_time(rsa.cost())?;
    let failed = |text: &str| {
        Failure::plain(format!(
            "error decrypting data with RSA: crypto/rsa: {text}"
        ))
    };
    if rsa.bits() < 1024 {
        return Err(failed(&format!(
            "{}-bit keys are insecure (see https://go.dev/pkg/crypto/rsa#hdr-Minimum_key_size)",
            rsa.bits()
        )));
    }
    let private = PrivateDecryptingKey::from_pkcs8(&key.pkcs8()?)
        .and_then(|key| OaepPrivateDecryptingKey::new(key).map_err(Into::into))
        .map_err(|_| failed("keys of this size are not supported"))?;
    let algorithm = match text(arguments, 1)?.bytes() {
        b"SHA1" => &OAEP_SHA1_MGF1SHA1,
        b"SHA512" => &OAEP_SHA512_MGF1SHA512,
        _ => &OAEP_SHA256_MGF1SHA256,
    };
    // Go takes a short input for a number with leading zeros.
    let size = private.key_size_bytes();
    let Some(missing) = size.checked_sub(input.len()) else {
        return Err(failed("decryption error"));
    };
    let mut whole = vec![0; missing];
    whole.extend_from_slice(input);
    let mut out = Zeroizing::new(vec![0; size]);
    match private.decrypt(algorithm, &whole, &mut out, None) {
        Ok(plain) => cx.text(&*plain),
        Err(_) => Err(failed("decryption error")),
    }
}

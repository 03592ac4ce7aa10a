//! sprig's AES-256-CBC.

use aws_lc_rs::cipher::{
    AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use zeroize::Zeroizing;

use super::super::text;
use super::random;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::radix64::{self, Alphabet};
use crate::value::Value;

/// Steps for the key and the random vector.
const CALL: u64 = 15;
/// Bytes of a block and of the initialization vector.
const BLOCK: usize = 16;

/// `encryptAES`: base64 of a random vector and the padded text.
pub(super) fn encrypt(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (password, plain) = (text(arguments, 0)?, text(arguments, 1)?.bytes());
    if plain.is_empty() {
        return Ok(Value::of(""));
    }
    cx.work(CALL)?;
    cx.allocate(plain.len().saturating_mul(2))?;
    let padding = BLOCK - plain.len() % BLOCK;
    let mut body = Zeroizing::new(Vec::with_capacity(plain.len() + padding));
    body.extend_from_slice(plain);
    body.extend(std::iter::repeat_n(padding as u8, padding));
    let vector: [u8; BLOCK] = random()?;
    let context = EncryptionContext::Iv128(FixedLength::from(vector));
    EncryptingKey::cbc(key(password.bytes())?)
        .and_then(|key| key.less_safe_encrypt(&mut body, context))
        .map_err(|_| Failure::plain("AES failed"))?;
    let mut out = vector.to_vec();
    out.extend_from_slice(&body);
    cx.text(radix64::encode(&out))
}

/// `decryptAES`. The padding is not checked; where Go's slices go out of bounds, its texts are given.
pub(super) fn decrypt(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (password, encoded) = (text(arguments, 0)?, text(arguments, 1)?.bytes());
    if encoded.is_empty() {
        return Ok(Value::of(""));
    }
    let capacity = radix64::decoded_capacity(Alphabet::Standard, encoded.len());
    cx.allocate(capacity.saturating_mul(2))?;
    let mut bytes = radix64::decode(Alphabet::Standard, encoded)
        .map_err(|offset| Failure::plain(format!("illegal base64 data at input byte {offset}")))?;
    let length = bytes.len();
    let Some((vector, body)) = bytes.split_first_chunk_mut::<BLOCK>() else {
        return Err(bounds(&if capacity < BLOCK {
            format!("[:{BLOCK}] with capacity {capacity}")
        } else {
            format!("[{BLOCK}:{length}]")
        }));
    };
    if !body.len().is_multiple_of(BLOCK) {
        return Err(Failure::plain("crypto/cipher: input not full blocks"));
    }
    let context = DecryptionContext::Iv128(FixedLength::from(*vector));
    DecryptingKey::cbc(key(password.bytes())?)
        .and_then(|key| key.decrypt(body, context).map(drop))
        .map_err(|_| Failure::plain("AES failed"))?;
    let Some(last) = body.last() else {
        return Err(Failure::plain("runtime error: index out of range [-1]"));
    };
    let padding = usize::from(*last);
    let Some(end) = body.len().checked_sub(padding) else {
        // A number that tells of the text: kept from logs.
        return Err(Failure::showing_data(format!(
            "runtime error: slice bounds out of range [:-{}]",
            padding - body.len()
        )));
    };
    cx.text(body.get(..end).unwrap_or_default())
}

/// The first 32 bytes of the password, with zeros behind.
fn key(password: &[u8]) -> Result<UnboundCipherKey> {
    let mut key = Zeroizing::new([0; 32]);
    for (byte, given) in key.iter_mut().zip(password) {
        *byte = *given;
    }
    UnboundCipherKey::new(&AES_256, key.as_slice()).map_err(|_| Failure::plain("AES failed"))
}

fn bounds(what: &str) -> Failure {
    Failure::plain(format!("runtime error: slice bounds out of range {what}"))
}

#[cfg(test)]
mod tests {
    use crate::functions::testing::call;
    use crate::value::Value;

    fn decrypt(encoded: &str) -> String {
        call("decryptAES", &[Value::from("p"), Value::from(encoded)])
    }

    #[test]
    fn slices_go_out_of_bounds_as_in_go() {
        let cases = [
            ("", ""),
            ("***", "error: illegal base64 data at input byte 0"),
            (
                "YWI=",
                "error: runtime error: slice bounds out of range [:16] with capacity 3",
            ),
            // 15 bytes in a buffer that line ends have made larger.
            (
                "AAAAAAAAAAAAAAAAAAAA\n\n\n\n",
                "error: runtime error: slice bounds out of range [16:15]",
            ),
            (
                "AAAAAAAAAAAAAAAAAAAAAA==",
                "error: runtime error: index out of range [-1]",
            ),
            (
                "AAAAAAAAAAAAAAAAAAAAAAA=",
                "error: crypto/cipher: input not full blocks",
            ),
        ];
        for (encoded, expected) in cases {
            assert_eq!(decrypt(encoded), expected, "{encoded}");
        }
    }

    #[test]
    fn what_is_encrypted_is_decrypted_again() {
        for plain in ["x", "sixteen bytes ok", "more than one block of bytes"] {
            let encoded = call("encryptAES", &[Value::from("p"), Value::from(plain)]);
            assert_eq!(decrypt(&encoded), plain);
        }
    }
}

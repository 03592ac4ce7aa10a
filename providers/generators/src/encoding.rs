//! How a password is written.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use latchkey_crds::provider_generators::PasswordEncoding;
use latchkey_secret::SecretValue;

/// The alphabet of base32, RFC 4648 section 6.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// `value` as `encoding` writes it. The argument is wiped when its last owner drops it, the result is a secret of its own.
#[must_use]
pub fn encode(encoding: PasswordEncoding, value: SecretValue) -> SecretValue {
    match encoding {
        PasswordEncoding::Raw => value,
        PasswordEncoding::Base64 => SecretValue::from(STANDARD.encode(value.expose())),
        PasswordEncoding::Base64Url => SecretValue::from(URL_SAFE.encode(value.expose())),
        PasswordEncoding::Base32 => SecretValue::new(base32(value.expose())),
        PasswordEncoding::Hex => SecretValue::new(hex(value.expose())),
    }
}

fn base32(bytes: &[u8]) -> Vec<u8> {
    // Its final size at once: a buffer that grows leaves copies behind.
    let mut text = Vec::with_capacity(bytes.len().div_ceil(5) * 8);
    for chunk in bytes.chunks(5) {
        let mut bits = [0; 8];
        bits[3..3 + chunk.len()].copy_from_slice(chunk);
        let bits = u64::from_be_bytes(bits);
        let digits = (chunk.len() * 8).div_ceil(5);
        for digit in 0..8 {
            text.push(if digit < digits {
                BASE32[(bits >> (35 - 5 * digit) & 0x1f) as usize]
            } else {
                b'='
            });
        }
    }
    text
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(HEX[usize::from(byte >> 4)]);
        text.push(HEX[usize::from(byte & 0x0f)]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_those_of_rfc_4648() {
        // E236.
        for (encoding, text, expected) in [
            (PasswordEncoding::Raw, "a~b", "a~b"),
            (PasswordEncoding::Hex, "a~b/", "617e622f"),
            (PasswordEncoding::Base64, "<<???>>", "PDw/Pz8+Pg=="),
            (PasswordEncoding::Base64Url, "<<???>>", "PDw_Pz8-Pg=="),
            (PasswordEncoding::Base32, "", ""),
            (PasswordEncoding::Base32, "f", "MY======"),
            (PasswordEncoding::Base32, "fo", "MZXQ===="),
            (PasswordEncoding::Base32, "foo", "MZXW6==="),
            (PasswordEncoding::Base32, "foob", "MZXW6YQ="),
            (PasswordEncoding::Base32, "fooba", "MZXW6YTB"),
            (PasswordEncoding::Base32, "foobar", "MZXW6YTBOI======"),
        ] {
            let encoded = encode(encoding, SecretValue::from(text.to_owned()));
            assert_eq!(
                std::str::from_utf8(encoded.expose()).unwrap(),
                expected,
                "{encoding} {text}"
            );
        }
    }
}

//! PKCS#12: keys and certificates out of key stores, and key stores and trust stores out of PEM.

mod cipher;
mod kdf;
mod mac;
mod read;
mod write;

use zeroize::Zeroizing;

use super::{Function, Parameter, pem as blocks, text};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::keys::parse;
use crate::pem;
use crate::radix64;
use crate::value::{Text, Value};
use crate::x509;

/// What precedes a failure to read a key, and one to read certificates.
const KEY_PREFIX: &str = "unable to decode pkcs12 with password: ";
const CERTIFICATE_PREFIX: &str = "unable to decode pkcs12 certificate with password: ";

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "fullPemToPkcs12",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "Base64 of a PKCS#12 file with the certificates and the key of two PEM texts, under the empty password.",
        source: "External Secrets",
        example: (
            "{{ with genCAWithKey \"x\" 1 (genPrivateKey \"ed25519\") }}{{ fullPemToPkcs12 .Cert .Key | b64dec | pkcs12cert | eq .Cert }}{{ end }}",
            "true",
        ),
        call: |cx, arguments| from_pem(cx, arguments, true, None),
    },
    Function {
        name: "fullPemToPkcs12Pass",
        parameters: &[Parameter::Text, Parameter::Text, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "Base64 of a PKCS#12 file with the certificates and the key of two PEM texts, under a password.",
        source: "External Secrets",
        example: (
            "{{ with genCAWithKey \"x\" 1 (genPrivateKey \"ed25519\") }}{{ fullPemToPkcs12Pass .Cert .Key \"pw\" | b64dec | pkcs12keyPass \"pw\" | eq .Key }}{{ end }}",
            "true",
        ),
        call: |cx, arguments| from_pem(cx, arguments, true, Some(2)),
    },
    Function {
        name: "pemToPkcs12",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "Base64 of a PKCS#12 file with the first certificate and the key of two PEM texts, under the empty password.",
        source: "External Secrets",
        example: (
            "{{ with genCAWithKey \"x\" 1 (genPrivateKey \"ed25519\") }}{{ pemToPkcs12 .Cert .Key | b64dec | pkcs12key | eq .Key }}{{ end }}",
            "true",
        ),
        call: |cx, arguments| from_pem(cx, arguments, false, None),
    },
    Function {
        name: "pemToPkcs12Pass",
        parameters: &[Parameter::Text, Parameter::Text, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "Base64 of a PKCS#12 file with the first certificate and the key of two PEM texts, under a password.",
        source: "External Secrets",
        example: (
            "{{ with genCAWithKey \"x\" 1 (genPrivateKey \"ed25519\") }}{{ pemToPkcs12Pass .Cert .Key \"pw\" | b64dec | pkcs12certPass \"pw\" | eq .Cert }}{{ end }}",
            "true",
        ),
        call: |cx, arguments| from_pem(cx, arguments, false, Some(2)),
    },
    Function {
        name: "pemTruststoreToPKCS12",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "string",
        summary: "Base64 of a Java trust store (PKCS#12) with the certificates of a PEM text, under the empty password.",
        source: "External Secrets",
        example: (
            "{{ pemTruststoreToPKCS12 \"\" | b64dec | len | lt 100 }}",
            "true",
        ),
        call: |cx, arguments| trust_store(cx, arguments, None),
    },
    Function {
        name: "pemTruststoreToPKCS12Pass",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "Base64 of a Java trust store (PKCS#12) with the certificates of a PEM text, under a password.",
        source: "External Secrets",
        example: (
            "{{ pemTruststoreToPKCS12Pass \"\" \"pw\" | b64dec | len | lt 100 }}",
            "true",
        ),
        call: |cx, arguments| trust_store(cx, arguments, Some(1)),
    },
    Function {
        name: "pkcs12cert",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The certificates of a PKCS#12 file with the empty password in PEM, from the leaf to the root.",
        source: "External Secrets",
        example: (
            "{{ with genCAWithKey \"x\" 1 (genPrivateKey \"ed25519\") }}{{ pemToPkcs12 .Cert .Key | b64dec | pkcs12cert | eq .Cert }}{{ end }}",
            "true",
        ),
        call: |cx, arguments| certificates(cx, &Text::default(), text(arguments, 0)?),
    },
    Function {
        name: "pkcs12certPass",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The certificates of a PKCS#12 file with a password in PEM, from the leaf to the root.",
        source: "External Secrets",
        example: (
            "{{ with genCAWithKey \"x\" 1 (genPrivateKey \"ed25519\") }}{{ pemToPkcs12Pass .Cert .Key \"pw\" | b64dec | pkcs12certPass \"pw\" | eq .Cert }}{{ end }}",
            "true",
        ),
        call: |cx, arguments| certificates(cx, text(arguments, 0)?, text(arguments, 1)?),
    },
    Function {
        name: "pkcs12key",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The private key of a PKCS#12 file with the empty password, in PEM as PKCS#8.",
        source: "External Secrets",
        example: (
            "{{ with genCAWithKey \"x\" 1 (genPrivateKey \"ed25519\") }}{{ pemToPkcs12 .Cert .Key | b64dec | pkcs12key | eq .Key }}{{ end }}",
            "true",
        ),
        call: |cx, arguments| key(cx, &Text::default(), text(arguments, 0)?),
    },
    Function {
        name: "pkcs12keyPass",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The private key of a PKCS#12 file with a password, in PEM as PKCS#8.",
        source: "External Secrets",
        example: (
            "{{ with genCAWithKey \"x\" 1 (genPrivateKey \"ed25519\") }}{{ pemToPkcs12Pass .Cert .Key \"pw\" | b64dec | pkcs12keyPass \"pw\" | eq .Key }}{{ end }}",
            "true",
        ),
        call: |cx, arguments| key(cx, text(arguments, 0)?, text(arguments, 1)?),
    },
];

/// A failure of a reader or writer.
enum Failed {
    /// An error, which Go wraps.
    Error(Failure),
    /// A panic in Go, whose text stands for itself.
    Panic(Failure),
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self::Error(failure)
    }
}

impl Failed {
    /// A plain error of the PKCS#12 reader.
    fn plain(text: impl std::fmt::Display) -> Self {
        Self::Error(Failure::plain(format!("pkcs12: {text}")))
    }

    fn within(self, prefix: &str) -> Failure {
        match self {
            Self::Error(failure) => failure.within(prefix),
            Self::Panic(failure) => failure,
        }
    }
}

fn key(cx: &mut Context, password: &Text, file: &Text) -> Result<Value> {
    let store = read::decode(cx, file.bytes(), password.bytes())
        .map_err(|failed| failed.within(KEY_PREFIX))?;
    let der = store.key.pkcs8()?;
    let length = pem::encoded_length("PRIVATE KEY", der.len());
    cx.allocate(length)?;
    let mut out = Vec::with_capacity(length);
    pem::encode("PRIVATE KEY", &der, &mut out);
    Ok(Value::Text(Text::new(out)))
}

fn certificates(cx: &mut Context, password: &Text, file: &Text) -> Result<Value> {
    let store = read::decode(cx, file.bytes(), password.bytes())
        .map_err(|failed| failed.within(CERTIFICATE_PREFIX))?;
    // In the file's order if no chain can be made of them.
    let chain = match blocks::chain::ordered(cx, &store.certificates) {
        Ok(chain) => chain.iter().map(|certificate| certificate.raw).collect(),
        Err(failure) if failure.is_limit() => return Err(failure),
        Err(_) => store
            .certificates
            .iter()
            .map(|raw| raw.as_slice())
            .collect(),
    };
    blocks::certificates(cx, chain)
}

/// `all` certificates of the first argument or only the first, and the key of the second.
fn from_pem(
    cx: &mut Context,
    arguments: &[Value],
    all: bool,
    password: Option<usize>,
) -> Result<Value> {
    let mut certificates = Vec::new();
    let mut rest = text(arguments, 0)?.bytes();
    cx.allocate(rest.len())?;
    while certificates.is_empty() || (all && !rest.is_empty()) {
        certificates.push(next_certificate(cx, &mut rest)?);
    }
    let key = text(arguments, 1)?.bytes();
    cx.allocate(key.len())?;
    let (Some(block), _) = pem::decode(key) else {
        return Err(Failure::nil_pointer());
    };
    let key = parse::any(cx, &block.bytes)?;
    let password = self::password(arguments, password)?;
    let file = write::key_store(cx, &key, &certificates, password);
    encoded(cx, file)
}

fn trust_store(cx: &mut Context, arguments: &[Value], password: Option<usize>) -> Result<Value> {
    let mut certificates = Vec::new();
    let mut rest = text(arguments, 0)?.bytes();
    cx.allocate(rest.len())?;
    while !rest.is_empty() {
        certificates.push(next_certificate(cx, &mut rest)?);
    }
    let password = self::password(arguments, password)?;
    let file = write::trust_store(cx, &certificates, password);
    encoded(cx, file)
}

fn password(arguments: &[Value], index: Option<usize>) -> Result<&[u8]> {
    match index {
        Some(index) => Ok(text(arguments, index)?.bytes()),
        None => Ok(&[]),
    }
}

/// The next certificate of a PEM text; Go dereferences nil where there is none.
fn next_certificate(cx: &mut Context, rest: &mut &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let (block, after) = pem::decode(rest);
    *rest = after;
    let Some(block) = block else {
        return Err(Failure::nil_pointer());
    };
    x509::parse(cx, &block.bytes)?;
    Ok(block.bytes)
}

fn encoded(cx: &mut Context, file: Result<Zeroizing<Vec<u8>>, Failed>) -> Result<Value> {
    let file = file.map_err(|failed| failed.within(""))?;
    cx.allocate(radix64::encoded_length(file.len()))?;
    Ok(Value::Text(Text::new(radix64::encode(&file))))
}

/// A password as PKCS#12 has it: UTF-16, big-endian, two zero bytes behind.
fn bmp_password(password: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failed> {
    let mut encoded = bmp(password)?;
    encoded.extend_from_slice(&[0, 0]);
    Ok(encoded)
}

/// UTF-16, big-endian; characters above U+FFFF are refused.
fn bmp(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failed> {
    let mut encoded = Zeroizing::new(Vec::with_capacity(text.len() * 2 + 2));
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            let Ok(unit) = u16::try_from(u32::from(character)) else {
                return Err(Failed::plain(
                    "string contains characters that cannot be encoded in UCS-2",
                ));
            };
            encoded.extend_from_slice(&unit.to_be_bytes());
        }
        // Go takes every byte of its own that is no UTF-8 for U+FFFD.
        chunk
            .invalid()
            .iter()
            .for_each(|_| encoded.extend_from_slice(b"\xff\xfd"));
    }
    Ok(encoded)
}

/// What PBES2 and PBMAC1 take for the password: its characters as UTF-8. `encoded` is none for the second try of an empty password.
fn utf8_password(encoded: &[u8]) -> Zeroizing<Vec<u8>> {
    let units = encoded.strip_suffix(&[0, 0]).unwrap_or(encoded).chunks(2);
    let units = units.map(|pair| {
        pair.iter()
            .fold(0, |unit, byte| unit << 8 | u16::from(*byte))
    });
    let mut out = Zeroizing::new(Vec::with_capacity(encoded.len() * 2));
    for character in char::decode_utf16(units) {
        let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    out
}

#[cfg(test)]
mod tests;

//! JSON web keys into PEM.

mod key;
mod parse;

use super::{Function, Parameter, text};
use crate::context::Context;
use crate::failure::Result;
use crate::pem;
use crate::value::{Text, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "jwkPrivateKeyPem",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "string",
        summary: "A private JSON web key (RSA, EC, Ed25519) in PEM as PKCS#8.",
        source: "External Secrets",
        example: (
            "{{ jwkPrivateKeyPem `{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"hd32gYEWPYp096CFTTcvM8rje2XKfqLIXqlVFvirYPI\",\
             \"d\":\"Mnyqi_jcG_2SsE5OB7okB4m6IieTy7AwDcfiTEpOBbU\"}` }}",
            "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIDJ8qov43Bv9krBOTge6JAeJuiInk8uwMA3H4kxKTgW1\n-----END PRIVATE KEY-----\n",
        ),
        call: |cx, arguments| {
            let key = parse::parse(cx, text(arguments, 0)?.bytes())?;
            let der = key.pkcs8(cx)?;
            in_pem(cx, "PRIVATE KEY", &der)
        },
    },
    Function {
        name: "jwkPublicKeyPem",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "string",
        summary: "A public JSON web key (RSA, EC, Ed25519) in PEM.",
        source: "External Secrets",
        example: (
            "{{ jwkPublicKeyPem `{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"hd32gYEWPYp096CFTTcvM8rje2XKfqLIXqlVFvirYPI\"}` }}",
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAhd32gYEWPYp096CFTTcvM8rje2XKfqLIXqlVFvirYPI=\n-----END PUBLIC KEY-----\n",
        ),
        call: |cx, arguments| {
            let key = parse::parse(cx, text(arguments, 0)?.bytes())?;
            let der = key.spki()?;
            in_pem(cx, "PUBLIC KEY", &der)
        },
    },
];

fn in_pem(cx: &mut Context, kind: &str, der: &[u8]) -> Result<Value> {
    let length = pem::encoded_length(kind, der.len());
    cx.allocate(length)?;
    let mut out = Vec::with_capacity(length);
    pem::encode(kind, der, &mut out);
    Ok(Value::Text(Text::new(out)))
}

#[cfg(test)]
mod tests;

//! Base64, base32, hexadecimal and digests.
//!
//! A text that cannot be decoded is no error here: the result is Go's message.

mod decode;

use aws_lc_rs::digest;

use self::decode::{base32_decode, hex_decode};
use super::{Function, Parameter, text};
use crate::context::Context;
use crate::failure::Result;
use crate::radix64;
use crate::value::{Text, Value};

/// Steps of a digest of nothing.
const CALL: u64 = 10;
/// The alphabet of base32, RFC 4648 section 6.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const HEX: &[u8; 16] = b"0123456789abcdef";

pub(super) const FUNCTIONS: &[Function] = &[
    text_function(
        "adler32sum",
        "The Adler-32 checksum of a string, in decimal.",
        ("{{ adler32sum \"vis\" }}", "44695891"),
        |cx, arguments| {
            let bytes = text(arguments, 0)?.bytes();
            cx.work(bytes.len() as u64 / 64)?;
            cx.text(adler32(bytes).to_string())
        },
    ),
    text_function(
        "b32dec",
        "Decodes a string from base32 with padding. If it is none, the result is the message.",
        ("{{ b32dec \"OZUXG===\" }}", "vis"),
        |cx, arguments| decoded(cx, text(arguments, 0)?, base32_decode),
    ),
    text_function(
        "b32enc",
        "Encodes a string as base32 with padding.",
        ("{{ b32enc \"vis\" }}", "OZUXG==="),
        |cx, arguments| base32_encode(cx, text(arguments, 0)?.bytes()),
    ),
    text_function(
        "b64dec",
        "Decodes a string from base64 with padding. If it is none, the result is the message.",
        ("{{ b64dec \"dmlz\" }}", "vis"),
        |cx, arguments| decoded(cx, text(arguments, 0)?, radix64::decode_or_message),
    ),
    text_function(
        "b64enc",
        "Encodes a string as base64 with padding.",
        ("{{ b64enc \"vis\" }}", "dmlz"),
        |cx, arguments| base64_encode(cx, text(arguments, 0)?.bytes()),
    ),
    Function {
        source: "External Secrets",
        ..text_function(
            "hexdec",
            "Decodes a string from hexadecimal. If it is none, the result is the message.",
            ("{{ hexdec \"766973\" }}", "vis"),
            |cx, arguments| decoded(cx, text(arguments, 0)?, hex_decode),
        )
    },
    text_function(
        "sha1sum",
        "The SHA-1 digest of a string, in hexadecimal.",
        (
            "{{ sha1sum \"vis\" }}",
            "675c84dc906716398704dcd8c7d214010630834a",
        ),
        |cx, arguments| hashed(cx, arguments, &digest::SHA1_FOR_LEGACY_USE_ONLY),
    ),
    text_function(
        "sha256sum",
        "The SHA-256 digest of a string, in hexadecimal.",
        ("{{ sha256sum \"vis\" | trunc 16 }}", "ddbbfd66eec42b0d"),
        |cx, arguments| hashed(cx, arguments, &digest::SHA256),
    ),
    text_function(
        "sha512sum",
        "The SHA-512 digest of a string, in hexadecimal.",
        ("{{ sha512sum \"vis\" | trunc 16 }}", "7266a82f62eb7934"),
        |cx, arguments| hashed(cx, arguments, &digest::SHA512),
    ),
];

const fn text_function(
    name: &'static str,
    summary: &'static str,
    example: (&'static str, &'static str),
    call: super::Call,
) -> Function {
    Function {
        name,
        parameters: &[Parameter::Text],
        variadic: None,
        result: "string",
        summary,
        source: "sprig",
        example,
        call,
    }
}

/// What a decoder returns, or its message. No decoder writes more than it reads.
fn decoded(
    cx: &mut Context,
    encoded: &Text,
    decode: fn(&[u8]) -> Result<Vec<u8>, String>,
) -> Result<Value> {
    cx.allocate(encoded.bytes().len())?;
    match decode(encoded.bytes()) {
        Ok(bytes) => Ok(Value::Text(Text::new(bytes))),
        Err(message) => cx.text(message),
    }
}

fn base64_encode(cx: &mut Context, bytes: &[u8]) -> Result<Value> {
    cx.allocate(radix64::encoded_length(bytes.len()))?;
    Ok(Value::Text(Text::new(radix64::encode(bytes))))
}

fn base32_encode(cx: &mut Context, bytes: &[u8]) -> Result<Value> {
    let length = bytes.len().div_ceil(5).saturating_mul(8);
    cx.allocate(length)?;
    let mut out = Vec::with_capacity(length);
    for quantum in bytes.chunks(5) {
        let mut bits = [0; 8];
        for (to, from) in bits.iter_mut().skip(3).zip(quantum) {
            *to = *from;
        }
        let bits = u64::from_be_bytes(bits);
        let digits = (quantum.len() * 8).div_ceil(5);
        for position in 0..8 {
            let digit = (bits >> (35 - 5 * position)) & 31;
            out.push(if position < digits {
                BASE32[digit as usize]
            } else {
                b'='
            });
        }
    }
    Ok(Value::Text(Text::new(out)))
}

fn hashed(
    cx: &mut Context,
    arguments: &[Value],
    algorithm: &'static digest::Algorithm,
) -> Result<Value> {
    let bytes = text(arguments, 0)?.bytes();
    cx.work(CALL + bytes.len() as u64 / 64)?;
    let digest = digest::digest(algorithm, bytes);
    let hex = digest.as_ref().iter().flat_map(|byte| {
        let digits = [byte >> 4, byte & 15];
        digits.map(|digit| HEX[usize::from(digit)])
    });
    cx.text(hex.collect::<Vec<_>>())
}

/// Adler-32, RFC 1950 section 8.
fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65521;
    /// How many bytes can be added before the sums may overflow.
    const RUN: usize = 5552;
    let (mut low, mut high) = (1, 0);
    for run in bytes.chunks(RUN) {
        for &byte in run {
            low += u32::from(byte);
            high += low;
        }
        low %= MODULUS;
        high %= MODULUS;
    }
    high << 16 | low
}

#[cfg(test)]
mod tests;

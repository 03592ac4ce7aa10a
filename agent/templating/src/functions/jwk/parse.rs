//! Reading a JSON web key, field by field as the Go library jwx 2 does.

use zeroize::Zeroizing;

use super::key::{Jwk, Kind};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::json::{self, First, Member};
use crate::radix64::{self, Alphabet};
use crate::value::{Text, Value};

/// The Go type of what is read first.
const HINT: &str =
    "struct { Kty string \"json:\\\"kty\\\"\"; D json.RawMessage \"json:\\\"d\\\"\" }";

/// Reads a key.
///
/// # Errors
///
/// Go's text. Fields of a key's type must be there and of their types; others may be anything.
pub(super) fn parse(cx: &mut Context, text: &[u8]) -> Result<Jwk> {
    let hinted = |failure: Failure| failure.within("failed to unmarshal JSON into key hint: ");
    let members = match json::read_first(cx, text).map_err(hinted)? {
        First::Members(members) => members,
        First::Other(Value::Nil) => Vec::new(),
        First::Other(other) => {
            return Err(hinted(mismatch(
                &other,
                &format!("Go value of type {HINT}"),
            )));
        }
    };
    let (kind, is_private) = hint(&members).map_err(hinted)?;
    let mut key = match kind.bytes() {
        b"RSA" => Jwk::new(Kind::Rsa, is_private),
        b"EC" => Jwk::new(Kind::Ec, is_private),
        b"OKP" => Jwk::new(Kind::Okp, is_private),
        b"oct" => Jwk::new(Kind::Octets, false),
        _ => {
            return Err(Failure::showing_data(format!(
                "invalid key type from JSON ({})",
                kind.to_lossy()
            )));
        }
    };
    let name = key.go_name();
    let read = members
        .iter()
        .try_for_each(|member| field(cx, &mut key, member));
    read.and_then(|()| key.check_required())
        .map_err(|failure| {
            failure.within(&format!(
                "failed to unmarshal JSON into key (*jwk.{name}): "
            ))
        })?;
    Ok(key)
}

/// The type, and whether there is a private part. Go finds these two fields whatever the case of their names.
fn hint(members: &[Member]) -> Result<(Text, bool)> {
    let mut kind = Text::default();
    let mut is_private = false;
    let mut failure = None;
    for member in members {
        if is_named(&member.key, "d") {
            is_private = true;
        }
        if !is_named(&member.key, "kty") {
            continue;
        }
        match &member.value {
            Value::Text(text) => kind = text.clone(),
            Value::Nil if member.failure.is_none() => {}
            other => {
                let field = "Go struct field .kty of type string";
                failure.get_or_insert_with(|| mismatch(other, field));
            }
        }
    }
    match failure {
        Some(failure) => Err(failure),
        None => Ok((kind, is_private)),
    }
}

/// Whether a name is `name` but for case. The Kelvin sign is a capital k to Go.
fn is_named(key: &Text, name: &str) -> bool {
    let key = key.to_lossy();
    let folded = key.chars().map(|character| match character {
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    });
    folded.eq(name.chars())
}

/// Reads one member into the key.
fn field(cx: &mut Context, key: &mut Jwk, member: &Member) -> Result<()> {
    let name = member.key.to_lossy();
    let value = |type_name: &str| string(member, type_name);
    let failed =
        |failure: Failure| failure.within(&format!("failed to decode value for key {name}: "));
    let next = |failure: Failure| failure.within("error reading next value: ");
    match name.as_ref() {
        "kty" => {
            let kind =
                value("string").map_err(|failure| next(failure).within("error reading token: "))?;
            if kind.bytes() != key.kind.name().as_bytes() {
                return Err(Failure::showing_data(format!(
                    "invalid kty value for RSAPublicKey ({})",
                    kind.to_lossy()
                )));
            }
        }
        "alg" => drop(value("string").map_err(failed)?),
        "kid" | "use" | "x5t" | "x5t#S256" | "x5u" => {
            value("string").map_err(|failure| failed(next(failure)))?;
        }
        "key_ops" => strings(member, "jwk.KeyOperationList", "jwk.KeyOperation").map_err(failed)?,
        "x5c" => strings(member, "[]string", "string")
            .map_err(|failure| failed(failure.within("failed to unmarshal certificate chain: ")))?,
        "crv" if matches!(key.kind, Kind::Ec | Kind::Okp) => {
            key.curve = Some(value("jwa.EllipticCurveAlgorithm").map_err(failed)?);
        }
        other => {
            let Some(slot) = key.slot(other) else {
                return match &member.failure {
                    None => Ok(()),
                    Some(failure) => Err(Failure::showing_data(format!(
                        "could not decode field {name}: failed to decode field {name}: {}",
                        failure.text()
                    ))),
                };
            };
            let text = value("string").map_err(|failure| failed(next(failure)))?;
            *slot = Some(bytes(cx, text.bytes()).map_err(failed)?);
        }
    }
    Ok(())
}

/// A string; null leaves it empty.
fn string(member: &Member, type_name: &str) -> Result<Text> {
    match &member.value {
        Value::Text(text) => Ok(text.clone()),
        Value::Nil if member.failure.is_none() => Ok(Text::default()),
        other => Err(mismatch(other, &format!("Go value of type {type_name}"))),
    }
}

/// A list of strings, which is not kept.
fn strings(member: &Member, list_type: &str, element_type: &str) -> Result<()> {
    // A number that is too large reads as nil.
    let has_number = member.failure.is_some();
    let values = match &member.value {
        Value::Nil if !has_number => return Ok(()),
        Value::List(list) => list.values(),
        other => return Err(mismatch(other, &format!("Go value of type {list_type}"))),
    };
    let wrong = values.iter().find(|value| match value {
        Value::Text(_) => false,
        Value::Nil => has_number,
        _ => true,
    });
    match wrong {
        None => Ok(()),
        Some(other) => Err(mismatch(other, &format!("Go value of type {element_type}"))),
    }
}

/// Bytes in base64 of any alphabet, with padding or without.
fn bytes(cx: &mut Context, text: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    cx.allocate(text.len())?;
    let is_url = !text.iter().any(|byte| matches!(byte, b'+' | b'/'));
    let alphabet = match (text.ends_with(b"="), is_url) {
        (false, true) => Alphabet::UrlRaw,
        (true, true) => Alphabet::Url,
        (false, false) => Alphabet::StandardRaw,
        (true, false) => Alphabet::Standard,
    };
    radix64::decode(alphabet, text)
        .map_err(|_| Failure::plain("expected base64 encoded []byte (string)"))
}

/// Go's text for a value of another JSON type than was wanted.
fn mismatch(value: &Value, wanted: &str) -> Failure {
    let found = match value {
        Value::Text(_) => "string",
        Value::Bool(_) => "bool",
        Value::List(_) => "array",
        Value::Dict(_) => "object",
        // A number that is too large reads as nil.
        _ => "number",
    };
    Failure::plain(format!("json: cannot unmarshal {found} into {wanted}"))
}

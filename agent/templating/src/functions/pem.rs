//! PEM: picking blocks, ordering certificate chains, reading names.

pub(super) mod chain;

use super::{Function, Parameter, text};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::pem;
use crate::value::{Element, Text, Value};
use crate::x509::{self, Certificate};

/// The words of a certificate's block.
pub(super) const CERTIFICATE: &str = "CERTIFICATE";

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "certSANs",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "strings",
        summary: "The subject alternative names of the first certificate: DNS names, IPs, e-mail addresses, URIs.",
        source: "External Secrets",
        example: (
            "{{ (genSelfSignedCertWithKey \"x\" nil (list \"a.test\") 1 (genPrivateKey \"ed25519\")).Cert | certSANs }}",
            "[a.test]",
        ),
        call: cert_sans,
    },
    Function {
        name: "filterCertChain",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The `leaf`, the `intermediate`s or the `root` of a chain of certificates in any order.",
        source: "External Secrets",
        example: (
            "{{ with genCAWithKey \"x\" 1 (genPrivateKey \"ed25519\") }}{{ filterCertChain \"root\" .Cert | eq .Cert }}{{ end }}",
            "true",
        ),
        call: filter_cert_chain,
    },
    Function {
        name: "filterPEM",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The PEM blocks of a type, whatever the case of its letters.",
        source: "External Secrets",
        example: (
            "{{ \"-----BEGIN X-----\\nZm9v\\n-----END X-----\" | filterPEM \"x\" }}",
            "-----BEGIN X-----\nZm9v\n-----END X-----\n",
        ),
        call: filter_pem,
    },
];

fn filter_pem(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let kind = fold(text(arguments, 0)?.bytes());
    let mut rest = without_junk(text(arguments, 1)?.bytes());
    // What is read and what is written.
    cx.allocate(rest.len().saturating_mul(3))?;
    let mut out = Vec::new();
    let mut found = false;
    loop {
        let (block, next) = pem::decode(rest);
        rest = next;
        let Some(block) = block else { break };
        if fold(&block.kind) == kind {
            block.encode(&mut out);
            found = true;
        }
    }
    if !found && !rest.is_empty() {
        return Err(Failure::plain("error filtering pem: found junk"));
    }
    Ok(Value::Text(Text::new(out)))
}

fn filter_cert_chain(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let which = text(arguments, 0)?.bytes();
    let blocks = chain::blocks(cx, text(arguments, 1)?.bytes())?;
    let chain = chain::ordered(cx, &blocks)?;
    let (Some(first), Some(last)) = (chain.first(), chain.last()) else {
        return Ok(Value::of(""));
    };
    let chosen: Vec<&[u8]> = match which {
        b"leaf" if !is_root(first) => vec![first.raw],
        b"intermediate" => {
            let others = chain.iter().skip(1);
            let intermediates = others.take_while(|certificate| !is_root(certificate));
            intermediates.map(|certificate| certificate.raw).collect()
        }
        b"root" if is_root(last) => vec![last.raw],
        _ => Vec::new(),
    };
    certificates(cx, chosen)
}

fn cert_sans(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let input = without_junk(text(arguments, 0)?.bytes());
    cx.allocate(input.len())?;
    let (Some(block), _) = pem::decode(input) else {
        return Err(Failure::plain("failed to decode PEM block"));
    };
    let certificate = x509::parse(cx, &block.bytes)
        .map_err(|failure| failure.within("failed to parse certificate: "))?;
    let names = &certificate.names;
    let mut values = Vec::new();
    for name in &names.dns {
        values.push(cx.text(*name)?);
    }
    for ip in &names.ips {
        values.push(cx.text(crate::ip::text(ip))?);
    }
    for name in &names.emails {
        values.push(cx.text(*name)?);
    }
    for uri in &names.uris {
        values.push(cx.text(uri.as_slice())?);
    }
    cx.list(Element::Text, values)
}

/// Certificates in PEM.
pub(super) fn certificates(cx: &mut Context, certificates: Vec<&[u8]>) -> Result<Value> {
    let lengths = certificates.iter().map(|certificate| certificate.len());
    let length = lengths
        .map(|length| pem::encoded_length(CERTIFICATE, length))
        .sum();
    cx.allocate(length)?;
    let mut out = Vec::with_capacity(length);
    for certificate in certificates {
        pem::encode(CERTIFICATE, certificate, &mut out);
    }
    Ok(Value::Text(Text::new(out)))
}

/// Whether a certificate says that it signed itself, or not who did.
fn is_root(certificate: &Certificate) -> bool {
    let own = certificate.subject_key_id.unwrap_or_default();
    certificate
        .authority_key_id
        .is_none_or(|authority| authority == own)
}

/// Everything from the first block on, even if that stands in the middle of a line.
fn without_junk(input: &[u8]) -> &[u8] {
    const BEGIN: &[u8] = b"-----BEGIN";
    let start = input
        .windows(BEGIN.len())
        .position(|window| window == BEGIN);
    input.get(start.unwrap_or(0)..).unwrap_or_default()
}

/// For Go's `strings.EqualFold`: simple case folding of every character. The few characters beyond ASCII that fold to ASCII
/// letters are the long s and the Kelvin sign.
fn fold(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .chars()
        .map(|character| match character {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            other => other.to_lowercase().next().unwrap_or(other),
        })
        .collect()
}

#[cfg(test)]
mod tests;

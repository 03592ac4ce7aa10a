//! Certificate authorities and certificates, with new keys or given ones.

mod issue;

use std::rc::Rc;

use aws_lc_rs::rsa::KeySize;

use super::{Function, Parameter, crypto, int, list, text};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::keys::{PrivateKey, parse};
use crate::pem;
use crate::radix64::{self, Alphabet};
use crate::value::{Certificate, Text, Value};
use crate::x509;
use issue::{Authority, Request};

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "buildCustomCert",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "certificate",
        summary: "A certificate and its key from base64 of their PEM texts, checked to be such.",
        source: "sprig",
        example: (
            "{{ with genCAWithKey \"x\" 1 (genPrivateKey \"ecdsa\") }}{{ (buildCustomCert (b64enc .Cert) (b64enc .Key)).Cert | eq .Cert }}{{ end }}",
            "true",
        ),
        call: build_custom,
    },
    Function {
        name: "genCA",
        parameters: &[Parameter::Text, Parameter::Int],
        variadic: None,
        result: "certificate",
        summary: "A new certificate authority with a common name, valid for a number of days, with a new RSA key of 2048 bits.",
        source: "sprig",
        example: (
            "{{ (genCA \"my ca\" 365).Cert | trunc 27 }}",
            "-----BEGIN CERTIFICATE-----",
        ),
        call: |cx, arguments| {
            let key = crypto::rsa(cx, KeySize::Rsa2048)?;
            authority(cx, arguments, key)
        },
    },
    Function {
        name: "genCAWithKey",
        parameters: &[Parameter::Text, Parameter::Int, Parameter::Text],
        variadic: None,
        result: "certificate",
        summary: "A new certificate authority with a common name, valid for a number of days, with a private key in PEM.",
        source: "sprig",
        example: (
            "{{ (genCAWithKey \"my ca\" 365 (genPrivateKey \"ecdsa\")).Cert | trunc 27 }}",
            "-----BEGIN CERTIFICATE-----",
        ),
        call: |cx, arguments| {
            let key = given_key(cx, arguments, 2)?;
            authority(cx, arguments, key)
        },
    },
    Function {
        name: "genSelfSignedCert",
        parameters: &[
            Parameter::Text,
            Parameter::List,
            Parameter::List,
            Parameter::Int,
        ],
        variadic: None,
        result: "certificate",
        summary: "A new self-signed certificate with a common name, IPs and DNS names, valid for a number of days, with a new RSA key.",
        source: "sprig",
        example: (
            "{{ (genSelfSignedCert \"x\" (list \"192.0.2.1\") (list \"x.test\") 30).Cert | certSANs }}",
            "[x.test 192.0.2.1]",
        ),
        call: |cx, arguments| {
            let key = crypto::rsa(cx, KeySize::Rsa2048)?;
            self_signed(cx, arguments, key)
        },
    },
    Function {
        name: "genSelfSignedCertWithKey",
        parameters: &[
            Parameter::Text,
            Parameter::List,
            Parameter::List,
            Parameter::Int,
            Parameter::Text,
        ],
        variadic: None,
        result: "certificate",
        summary: "A new self-signed certificate with a common name, IPs and DNS names, valid for a number of days, with a private key in PEM.",
        source: "sprig",
        example: (
            "{{ (genSelfSignedCertWithKey \"x\" nil (list \"x.test\") 30 (genPrivateKey \"ed25519\")).Cert | certSANs }}",
            "[x.test]",
        ),
        call: |cx, arguments| {
            let key = given_key(cx, arguments, 4)?;
            self_signed(cx, arguments, key)
        },
    },
    Function {
        name: "genSignedCert",
        parameters: &[
            Parameter::Text,
            Parameter::List,
            Parameter::List,
            Parameter::Int,
            Parameter::Certificate,
        ],
        variadic: None,
        result: "certificate",
        summary: "A new certificate with a common name, IPs and DNS names, valid for a number of days, signed by an authority, with a new RSA key.",
        source: "sprig",
        example: (
            "{{ (genSignedCert \"x\" nil (list \"x.test\") 30 (genCA \"my ca\" 365)).Cert | certSANs }}",
            "[x.test]",
        ),
        call: |cx, arguments| {
            let key = crypto::rsa(cx, KeySize::Rsa2048)?;
            signed(cx, arguments, key)
        },
    },
    Function {
        name: "genSignedCertWithKey",
        parameters: &[
            Parameter::Text,
            Parameter::List,
            Parameter::List,
            Parameter::Int,
            Parameter::Certificate,
            Parameter::Text,
        ],
        variadic: None,
        result: "certificate",
        summary: "A new certificate with a common name, IPs and DNS names, valid for a number of days, signed by an authority, with a private key in PEM.",
        source: "sprig",
        example: (
            "{{ $key := genPrivateKey \"ecdsa\" }}{{ (genSignedCertWithKey \"x\" nil (list \"x.test\") 30 (genCAWithKey \"my ca\" 365 $key) $key).Cert | certSANs }}",
            "[x.test]",
        ),
        call: |cx, arguments| {
            let key = given_key(cx, arguments, 5)?;
            signed(cx, arguments, key)
        },
    },
];

fn build_custom(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let mut decode = |index: usize, what: &str| {
        let encoded = text(arguments, index)?.bytes();
        cx.allocate(encoded.len())?;
        radix64::decode(Alphabet::Standard, encoded)
            .map_err(|_| Failure::plain(format!("unable to decode base64 {what}")))
    };
    let certificate = decode(0, "certificate")?;
    let key = decode(1, "private key")?;
    let (Some(block), _) = pem::decode(&certificate) else {
        return Err(Failure::plain("unable to decode certificate"));
    };
    x509::parse(cx, &block.bytes)
        .map_err(|failure| failure.within("error parsing certificate: decodedCert.Bytes: "))?;
    parse::pem(cx, &key).map_err(|failure| failure.within("error parsing private key: "))?;
    Ok(value(
        Text::new(certificate.to_vec()),
        Text::new(key.to_vec()),
    ))
}

fn value(certificate: Text, key: Text) -> Value {
    Value::Certificate(Rc::new(Certificate { certificate, key }))
}

/// The key of a `WithKey` function.
fn given_key(cx: &mut Context, arguments: &[Value], index: usize) -> Result<PrivateKey> {
    parse::pem(cx, text(arguments, index)?.bytes())
        .map_err(|failure| failure.within("parsing private key: "))
}

fn authority(cx: &mut Context, arguments: &[Value], key: PrivateKey) -> Result<Value> {
    let request = Request {
        common_name: text(arguments, 0)?.bytes(),
        ips: Vec::new(),
        names: Vec::new(),
        days: int(arguments, 1)?,
        is_authority: true,
    };
    finish(cx, &request, &key, &Authority::oneself(&key))
}

fn self_signed(cx: &mut Context, arguments: &[Value], key: PrivateKey) -> Result<Value> {
    let request = request(cx, arguments)?;
    finish(cx, &request, &key, &Authority::oneself(&key))
}

fn signed(cx: &mut Context, arguments: &[Value], key: PrivateKey) -> Result<Value> {
    let Some(Value::Certificate(authority)) = arguments.get(4) else {
        return Err(Failure::unexpected_type());
    };
    cx.allocate(authority.certificate.bytes().len())?;
    let (Some(block), _) = pem::decode(authority.certificate.bytes()) else {
        return Err(Failure::plain("unable to decode certificate"));
    };
    let signer = x509::parse(cx, &block.bytes).map_err(|failure| {
        failure.within("error parsing certificate: decodedSignerCert.Bytes: ")
    })?;
    let signer_key = parse::pem(cx, authority.key.bytes())
        .map_err(|failure| failure.within("error parsing private key: "))?;
    let request = request(cx, arguments)?;
    finish(cx, &request, &key, &Authority::of(&signer, &signer_key))
}

/// Common name, IPs, DNS names and days, which stand first.
fn request<'a>(cx: &mut Context, arguments: &'a [Value]) -> Result<Request<'a>> {
    let mut ips = Vec::new();
    for value in list(arguments, 1)?.values() {
        let Value::Text(address) = value else {
            return Err(not_a_string(cx, "parsing ip", value));
        };
        let parsed = std::str::from_utf8(address.bytes()).ok();
        let Some(ip) = parsed.and_then(crate::ip::parse) else {
            return Err(Failure::showing_data(format!(
                "error parsing ip: {}",
                address.to_lossy()
            )));
        };
        cx.allocate(ip.len() + size_of_val(&ip))?;
        ips.push(ip);
    }
    let mut names = Vec::new();
    for value in list(arguments, 2)?.values() {
        let Value::Text(name) = value else {
            return Err(not_a_string(cx, "processing alternate dns name", value));
        };
        cx.allocate(name.bytes().len() + size_of::<&[u8]>())?;
        names.push(name.bytes());
    }
    Ok(Request {
        common_name: text(arguments, 0)?.bytes(),
        ips,
        names,
        days: int(arguments, 3)?,
        is_authority: false,
    })
}

fn not_a_string(cx: &mut Context, what: &str, value: &Value) -> Failure {
    match crate::convert::to_text(cx, value) {
        Ok(text) => {
            Failure::showing_data(format!("error {what}: {} is not a string", text.to_lossy()))
        }
        Err(failure) => failure,
    }
}

/// Issues the certificate and puts it and its key into PEM.
fn finish(
    cx: &mut Context,
    request: &Request,
    key: &PrivateKey,
    authority: &Authority,
) -> Result<Value> {
    let der = issue::issue(cx, request, key, authority)
        .map_err(|failure| failure.within("error creating certificate: "))?;
    let certificate = super::pem::certificates(cx, vec![&der])?;
    match (certificate, crypto::pem_text(cx, key)?) {
        (Value::Text(certificate), Value::Text(key)) => Ok(value(certificate, key)),
        _ => Err(Failure::unexpected_type()),
    }
}

//! Certificate extensions: those that functions use, and the checks of all that Go reads.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::constraints::{is_domain, quoted};
use super::{Certificate, malformed, natural};
use crate::context::Context;
use crate::der::read::{Reader, signed};
use crate::der::{oid, tag};
use crate::failure::{Failure, Result};

/// Subject alternative names by kind, each in the order of the certificate.
#[derive(Default)]
pub(crate) struct AlternativeNames<'a> {
    pub(crate) dns: Vec<&'a str>,
    pub(crate) emails: Vec<&'a str>,
    /// Of 4 or 16 bytes.
    pub(crate) ips: Vec<&'a [u8]>,
    /// As Go writes them.
    pub(crate) uris: Vec<Vec<u8>>,
}

struct Extension<'a> {
    object: &'a [u8],
    critical: bool,
    value: &'a [u8],
}

/// Reads the extensions of a version 3 certificate.
pub(super) fn read<'a>(
    cx: &mut Context,
    tbs: &mut Reader<'a>,
    certificate: &mut Certificate<'a>,
) -> Result<()> {
    let explicit = tbs
        .optional(tag::explicit(3))
        .ok_or_else(|| malformed("extensions"))?;
    let Some(mut explicit) = explicit else {
        return Ok(());
    };
    let mut sequence = explicit
        .element(tag::SEQUENCE)
        .ok_or_else(|| malformed("extensions"))?;
    let mut extensions = Vec::new();
    let mut seen = BTreeSet::new();
    while !sequence.is_empty() {
        cx.work(1)?;
        let contents = sequence
            .element(tag::SEQUENCE)
            .ok_or_else(|| malformed("extension"))?;
        let extension = Extension::parse(contents)?;
        if !seen.insert(extension.object) {
            return Err(Failure::plain(format!(
                "x509: certificate contains duplicate extension with OID \"{}\"",
                oid::dotted(extension.object)
            )));
        }
        extensions.push(extension);
    }
    // All are split before the first is read.
    extensions
        .iter()
        .try_for_each(|extension| extension.read_into(certificate))
}

impl<'a> Extension<'a> {
    fn parse(mut contents: Reader<'a>) -> Result<Self> {
        let object = contents
            .object()
            .ok_or_else(|| malformed("extension OID field"))?;
        let critical = if contents.peek(tag::BOOLEAN) {
            contents
                .boolean()
                .ok_or_else(|| malformed("extension critical field"))?
        } else {
            false
        };
        let value = contents
            .element(tag::OCTET_STRING)
            .ok_or_else(|| malformed("extension value field"))?;
        Ok(Self {
            object,
            critical,
            value: value.bytes(),
        })
    }

    fn read_into(&self, certificate: &mut Certificate<'a>) -> Result<()> {
        let value = Reader::new(self.value);
        match self.object {
            oid::SUBJECT_ALT_NAME => certificate.names = alternative_names(value)?,
            oid::SUBJECT_KEY_ID => certificate.subject_key_id = Some(self.subject_key_id()?),
            oid::AUTHORITY_KEY_ID => certificate.authority_key_id = self.authority_key_id()?,
            oid::KEY_USAGE => check(key_usage(value), "key usage")?,
            oid::BASIC_CONSTRAINTS => check(basic_constraints(value), "basic constraints")?,
            oid::NAME_CONSTRAINTS => super::constraints::check(value)?,
            oid::CRL_DISTRIBUTION_POINTS => distribution_points(value)?,
            oid::POLICY_CONSTRAINTS => {
                check(policy_constraints(value), "policy constraints extension")?;
            }
            oid::EXTENDED_KEY_USAGE => check(extended_key_usage(value), "extended key usages")?,
            oid::CERTIFICATE_POLICIES => check(policies(value), "certificate policies")?,
            oid::POLICY_MAPPINGS => check(policy_mappings(value), "policy mappings extension")?,
            oid::INHIBIT_ANY_POLICY => check(
                Reader::new(self.value).small_integer().map(drop),
                "inhibit any policy extension",
            )?,
            oid::AUTHORITY_INFO_ACCESS => {
                self.not_critical("authority info access")?;
                check(info_access(value), "authority info access")?;
            }
            _ => {}
        }
        Ok(())
    }

    fn not_critical(&self, what: &str) -> Result<()> {
        if self.critical {
            return Err(Failure::plain(format!(
                "x509: {what} incorrectly marked critical"
            )));
        }
        Ok(())
    }

    fn subject_key_id(&self) -> Result<&'a [u8]> {
        self.not_critical("subject key identifier")?;
        match Reader::new(self.value).element(tag::OCTET_STRING) {
            Some(id) => Ok(id.bytes()),
            None => Err(invalid("subject key identifier")),
        }
    }

    fn authority_key_id(&self) -> Result<Option<&'a [u8]>> {
        self.not_critical("authority key identifier")?;
        let id = Reader::new(self.value)
            .element(tag::SEQUENCE)
            .and_then(|mut contents| contents.optional(tag::context(0)));
        match id {
            Some(id) => Ok(id.map(Reader::bytes)),
            None => Err(invalid("authority key identifier")),
        }
    }
}

fn invalid(what: &str) -> Failure {
    Failure::plain(format!("x509: invalid {what}"))
}

fn check(outcome: Option<()>, what: &str) -> Result<()> {
    outcome.ok_or_else(|| invalid(what))
}

fn alternative_names(mut value: Reader<'_>) -> Result<AlternativeNames<'_>> {
    let mut names = AlternativeNames::default();
    let mut sequence = value
        .element(tag::SEQUENCE)
        .ok_or_else(|| invalid("subject alternative names"))?;
    while !sequence.is_empty() {
        let name = sequence
            .any()
            .ok_or_else(|| invalid("subject alternative name"))?;
        let text = |what: &str| {
            ascii(name.contents)
                .ok_or_else(|| Failure::plain(format!("x509: SAN {what} is malformed")))
        };
        match name.tag ^ 0x80 {
            1 => names.emails.push(text("rfc822Name")?),
            2 => names.dns.push(text("dNSName")?),
            6 => names.uris.push(uri(text("uniformResourceIdentifier")?)?),
            7 if matches!(name.contents.len(), 4 | 16) => names.ips.push(name.contents),
            7 => {
                return Err(Failure::plain(format!(
                    "x509: cannot parse IP address of length {}",
                    name.contents.len()
                )));
            }
            _ => {}
        }
    }
    Ok(names)
}

/// A URI as Go writes it.
fn uri(text: &str) -> Result<Vec<u8>> {
    let failed = |problem: &str| {
        Failure::showing_data(format!(
            "x509: cannot parse URI {}: {problem}",
            quoted(text.as_bytes())
        ))
    };
    let url = crate::functions::normal_url(text.as_bytes()).map_err(|text| failed(&text))?;
    let host = String::from_utf8_lossy(&url.host);
    if !is_domain(&host, false) {
        return Err(failed("invalid domain"));
    }
    Ok(url.text)
}

/// The text, if an IA5String may hold it.
pub(super) fn ascii(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes)
        .ok()
        .filter(|text| text.is_ascii())
}

fn key_usage(mut value: Reader) -> Option<()> {
    value.bit_string().map(drop)
}

fn basic_constraints(mut value: Reader) -> Option<()> {
    let mut contents = value.element(tag::SEQUENCE)?;
    if contents.peek(tag::BOOLEAN) {
        contents.boolean()?;
    }
    if contents.peek(tag::INTEGER) {
        natural(contents.integer()?)?;
    }
    Some(())
}

fn distribution_points(mut value: Reader) -> Result<()> {
    let mut points = value
        .element(tag::SEQUENCE)
        .ok_or_else(|| invalid("CRL distribution points"))?;
    while !points.is_empty() {
        check(distribution_point(&mut points), "CRL distribution point")?;
    }
    Ok(())
}

fn distribution_point(points: &mut Reader) -> Option<()> {
    let mut point = points.element(tag::SEQUENCE)?;
    let Some(mut name) = point.optional(tag::explicit(0))? else {
        return Some(());
    };
    let mut names = name.element(tag::explicit(0))?;
    while names.peek(tag::context(6)) {
        names.element(tag::context(6))?;
    }
    Some(())
}

fn policy_constraints(mut value: Reader) -> Option<()> {
    let mut contents = value.element(tag::SEQUENCE)?;
    for number in [0, 1] {
        if contents.peek(tag::context(number)) {
            signed(contents.integer_tagged(tag::context(number))?)?;
        }
    }
    Some(())
}

fn extended_key_usage(mut value: Reader) -> Option<()> {
    let mut usages = value.element(tag::SEQUENCE)?;
    while !usages.is_empty() {
        usages.object()?;
    }
    Some(())
}

fn policies(mut value: Reader) -> Option<()> {
    let mut policies = value.element(tag::SEQUENCE)?;
    let mut seen = BTreeSet::new();
    while !policies.is_empty() {
        let mut policy = policies.element(tag::SEQUENCE)?;
        let object = policy.element(tag::OBJECT_IDENTIFIER)?.bytes();
        if !seen.insert(object) || !is_identifier(object) {
            return None;
        }
    }
    Some(())
}

/// Whether the arcs are minimal and whole; they may be of any size.
fn is_identifier(bytes: &[u8]) -> bool {
    let mut first = true;
    for byte in bytes {
        if first && *byte == 0x80 {
            return false;
        }
        first = byte & 0x80 == 0;
    }
    first && !bytes.is_empty()
}

fn policy_mappings(mut value: Reader) -> Option<()> {
    let mut mappings = value.element(tag::SEQUENCE)?;
    while !mappings.is_empty() {
        let mut mapping = mappings.element(tag::SEQUENCE)?;
        mapping.element(tag::OBJECT_IDENTIFIER)?;
        mapping.element(tag::OBJECT_IDENTIFIER)?;
    }
    Some(())
}

fn info_access(mut value: Reader) -> Option<()> {
    let mut descriptions = value.element(tag::SEQUENCE)?;
    while !descriptions.is_empty() {
        let mut description = descriptions.element(tag::SEQUENCE)?;
        description.object()?;
        if description.peek(tag::context(6)) {
            description.element(tag::context(6))?;
        }
    }
    Some(())
}

/// Bytes in lower hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

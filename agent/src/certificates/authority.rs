//! Makes and checks certificates. Pure but for random numbers: time comes in, PEM goes out.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use latchkey_secret::SecretValue;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType,
    SerialNumber,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a CA is valid.
pub const CA_LIFETIME: Duration = DAY.saturating_mul(365);

/// How long before its end a CA stops issuing.
pub const CA_RENEW: Duration = DAY.saturating_mul(60);

/// How long a leaf is valid; never longer than its CA.
pub const LEAF_LIFETIME: Duration = DAY.saturating_mul(90);

/// How long before its end a leaf is issued anew.
pub const LEAF_RENEW: Duration = DAY.saturating_mul(35);

/// How far `notBefore` lies in the past, for nodes whose clock is behind.
pub const BACKDATE: Duration = Duration::from_secs(60 * 60);

/// Organisation in every subject.
const ORGANIZATION: &str = "latchkey";

/// Common name of the agents' client identity.
const CLIENT_NAME: &str = "latchkey-agent";

/// Why a certificate could not be made or read. Never quotes key material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not PEM, not X.509, or a time that cannot be represented.
    #[error("the certificate cannot be parsed")]
    Certificate,
    /// Not a PEM private key of a kind that can sign.
    #[error("the private key cannot be parsed")]
    Key,
    /// The key is not the one in the certificate.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// The certificate may not sign others.
    #[error("the certificate is not a CA")]
    NotACa,
    /// The CA has expired, or is not allowed to sign such a certificate.
    #[error("the CA has expired or may not issue it, so nobody would trust it")]
    Untrusted,
    /// Signing failed.
    #[error("signing failed")]
    Signing,
}

/// What a leaf is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Profile {
    /// A provider, reachable under these DNS names. The first one is also its common name.
    Server(Vec<String>),
    /// The agents towards providers.
    Client,
}

// === impl Profile ===

impl Profile {
    /// The server profile of a Service: the four names that a client in the cluster may use (provider-protocol.md 8.1).
    #[must_use]
    pub fn of_service(name: &str, namespace: &str, cluster_domain: &str) -> Self {
        Self::Server(vec![
            name.to_owned(),
            format!("{name}.{namespace}"),
            format!("{name}.{namespace}.svc"),
            format!("{name}.{namespace}.svc.{cluster_domain}"),
        ])
    }
}

/// A certificate with its private key, both PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key (PKCS #8).
    pub key: SecretValue,
}

/// A CA that can issue.
#[derive(Clone)]
pub struct Authority {
    identity: Identity,
    facts: Facts,
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// First second of validity.
    pub not_before: Timestamp,
    /// Last second of validity.
    pub not_after: Timestamp,
    /// DNS names of the subjectAltName.
    pub names: BTreeSet<String>,
    /// Whether it may sign certificates.
    pub is_ca: bool,
    public_key: Vec<u8>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Identity")
            .field("key", &"...")
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Authority")
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

// === impl Facts ===

impl Facts {
    /// Reads the first certificate of a PEM text.
    ///
    /// # Errors
    ///
    /// [`Error::Certificate`].
    pub fn of(pem: &[u8]) -> Result<Self, Error> {
        let der = CertificateDer::from_pem_slice(pem).map_err(|_| Error::Certificate)?;
        let (_, certificate) = parse_x509_certificate(&der).map_err(|_| Error::Certificate)?;
        let time = |seconds| Timestamp::from_second(seconds).map_err(|_| Error::Certificate);
        let alternative = certificate
            .subject_alternative_name()
            .map_err(|_| Error::Certificate)?;
        let names = alternative
            .iter()
            .flat_map(|extension| &extension.value.general_names);
        Ok(Self {
            not_before: time(certificate.validity().not_before.timestamp())?,
            not_after: time(certificate.validity().not_after.timestamp())?,
            names: names
                .filter_map(|name| {
                    if let GeneralName::DNSName(name) = name {
                        Some((*name).to_owned())
                    } else {
                        None
                    }
                })
                .collect(),
            is_ca: certificate.is_ca(),
            public_key: certificate.public_key().subject_public_key.data.to_vec(),
        })
    }

    /// How much validity is left, zero if none.
    #[must_use]
    pub fn remaining(&self, now: Timestamp) -> Duration {
        Duration::try_from(self.not_after.duration_since(now)).unwrap_or_default()
    }

    /// For how long it has been valid, zero if not yet.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        Duration::try_from(now.duration_since(self.not_before)).unwrap_or_default()
    }

    /// Whether `key` (PEM) is the certificate's own.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] if it is no key, [`Error::Mismatch`] if it is another one.
    pub fn check_key(&self, key: &SecretValue) -> Result<(), Error> {
        let key = parse_key(key)?;
        if key.der_bytes() == self.public_key {
            Ok(())
        } else {
            Err(Error::Mismatch)
        }
    }
}

// === impl Authority ===

impl Authority {
    /// Makes a new CA whose validity begins now.
    ///
    /// # Errors
    ///
    /// [`Error::Signing`] if no key can be made.
    pub fn generate(now: Timestamp) -> Result<Self, Error> {
        let serial: [u8; 16] = rand::random();
        // Two CAs of one cluster must not share a name: some verifiers look an issuer up by its name alone.
        let tag: String = serial[1..5]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let mut parameters = parameters(
            &format!("latchkey CA {tag}"),
            &serial,
            now,
            now + CA_LIFETIME,
        )?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|_| Error::Signing)?;
        let certificate = parameters.self_signed(&key).map_err(|_| Error::Signing)?;
        Self::from_pem(certificate.pem(), SecretValue::from(key.serialize_pem()))
    }

    /// Takes over an existing CA. Of several certificates the first one counts.
    ///
    /// # Errors
    ///
    /// [`Error`] says what does not fit.
    pub fn from_pem(certificate: String, key: SecretValue) -> Result<Self, Error> {
        let facts = Facts::of(certificate.as_bytes())?;
        facts.check_key(&key)?;
        if !facts.is_ca {
            return Err(Error::NotACa);
        }
        Ok(Self {
            identity: Identity { certificate, key },
            facts,
        })
    }

    /// Certificate and key.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What the certificate says.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// When a leaf issued now would end.
    #[must_use]
    pub fn leaf_end(&self, now: Timestamp) -> Timestamp {
        (now + LEAF_LIFETIME).min(self.facts.not_after)
    }

    /// Issues a leaf with a new key.
    ///
    /// # Errors
    ///
    /// [`Error::Signing`] if this CA cannot sign.
    pub fn issue(&self, profile: &Profile, now: Timestamp) -> Result<Identity, Error> {
        let der = CertificateDer::from_pem_slice(self.identity.certificate.as_bytes())
            .map_err(|_| Error::Certificate)?;
        let issuer = Issuer::from_ca_cert_der(&der, parse_key(&self.identity.key)?)
            .map_err(|_| Error::Certificate)?;
        let (name, usage) = match profile {
            Profile::Server(names) => (
                names.first().map_or("provider", String::as_str),
                ExtendedKeyUsagePurpose::ServerAuth,
            ),
            Profile::Client => (CLIENT_NAME, ExtendedKeyUsagePurpose::ClientAuth),
        };
        let mut parameters = parameters(name, &rand::random(), now, self.leaf_end(now))?;
        parameters.use_authority_key_identifier_extension = true;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![usage];
        if let Profile::Server(names) = profile {
            let names = names
                .iter()
                .map(|name| name.clone().try_into().map(SanType::DnsName));
            parameters.subject_alt_names = names
                .collect::<Result<_, _>>()
                .map_err(|_| Error::Signing)?;
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|_| Error::Signing)?;
        let certificate = parameters
            .signed_by(&key, &issuer)
            .map_err(|_| Error::Signing)?;
        Ok(Identity {
            certificate: certificate.pem(),
            key: SecretValue::from(key.serialize_pem()),
        })
    }
}

/// Whether a leaf is trusted by `bundle` for its profile at `now`: signature, validity, usage and, for servers, every name.
#[must_use]
pub fn is_trusted(certificate: &[u8], profile: &Profile, bundle: &str, now: Timestamp) -> bool {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(bundle.as_bytes()).flatten() {
        // A root that webpki cannot read is none.
        let _ = roots.add(root);
    }
    let Ok(mut chain) = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>()
    else {
        return false;
    };
    if chain.is_empty() {
        return false;
    }
    let leaf = chain.remove(0);
    let time = UnixTime::since_unix_epoch(Duration::from_secs(
        u64::try_from(now.as_second()).unwrap_or_default(),
    ));
    let (roots, provider) = (
        Arc::new(roots),
        Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
    );
    match profile {
        Profile::Server(names) => {
            let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(roots, provider).build()
            else {
                return false;
            };
            names.iter().all(|name| {
                ServerName::try_from(name.as_str()).is_ok_and(|name| {
                    verifier
                        .verify_server_cert(&leaf, &chain, &name, &[], time)
                        .is_ok()
                })
            })
        }
        Profile::Client => WebPkiClientVerifier::builder_with_provider(roots, provider)
            .build()
            .is_ok_and(|verifier| verifier.verify_client_cert(&leaf, &chain, time).is_ok()),
    }
}

fn parse_key(key: &SecretValue) -> Result<KeyPair, Error> {
    std::str::from_utf8(key.expose())
        .ok()
        .and_then(|pem| KeyPair::from_pem(pem).ok())
        .ok_or(Error::Key)
}

fn parameters(
    name: &str,
    serial: &[u8; 16],
    now: Timestamp,
    end: Timestamp,
) -> Result<CertificateParams, Error> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let seconds = |time: Timestamp| {
        u64::try_from(time.as_second())
            .map(Duration::from_secs)
            .map_err(|_| Error::Certificate)
    };
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, ORGANIZATION);
    subject.push(DnType::CommonName, name);
    // RFC 5280, 4.1.2.2: positive and at most 20 bytes. The first byte is made neither negative nor zero.
    let mut serial = *serial;
    serial[0] = (serial[0] & 0x7f) | 0x40;
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = subject;
    parameters.serial_number = Some(SerialNumber::from_slice(&serial));
    parameters.not_before = epoch + seconds(now - BACKDATE)?;
    parameters.not_after = epoch + seconds(end)?;
    Ok(parameters)
}

#[cfg(test)]
mod tests;

//! Certificates made for one test.

use base64::Engine as _;
use latchkey_transport::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize,
    SerialNumber,
};

/// An authority and what it issues.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    rsa: bool,
}

/// A leaf as PEM texts.
pub(crate) struct Leaf {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// What a leaf is for.
pub(crate) struct Request<'a> {
    pub(crate) name: &'a str,
    pub(crate) hosts: &'a [&'a str],
    pub(crate) usage: ExtendedKeyUsagePurpose,
    pub(crate) years: (i32, i32),
}

pub(crate) const SERVER: ExtendedKeyUsagePurpose = ExtendedKeyUsagePurpose::ServerAuth;
pub(crate) const CLIENT: ExtendedKeyUsagePurpose = ExtendedKeyUsagePurpose::ClientAuth;
const VALID: (i32, i32) = (2020, 2090);

fn subject(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "external-secrets");
    subject.push(DnType::CommonName, name);
    subject
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, None, KeyPair::generate().unwrap(), false)
    }

    /// As upstream's certificate controller makes it: RSA and serial number 0 (provider-protocol.md 8.1).
    pub(crate) fn upstream() -> Self {
        Self::with(
            "external-secrets",
            Some(SerialNumber::from(0)),
            rsa_key(),
            true,
        )
    }

    fn with(name: &str, serial: Option<SerialNumber>, key: KeyPair, rsa: bool) -> Self {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name = subject(name);
        params.serial_number = serial;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::KeyCertSign,
        ];
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).unwrap(),
            rsa,
        }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(crate) fn issue(&self, request: &Request<'_>) -> Leaf {
        let hosts: Vec<String> = request
            .hosts
            .iter()
            .map(|host| (*host).to_owned())
            .collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name = subject(request.name);
        params.extended_key_usages = vec![request.usage.clone()];
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.use_authority_key_identifier_extension = true;
        params.not_before = rcgen::date_time_ymd(request.years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(request.years.1, 1, 1);
        let key = if self.rsa {
            rsa_key()
        } else {
            KeyPair::generate().unwrap()
        };
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = if self.rsa {
            pkcs1(&key)
        } else {
            key.serialize_pem()
        };
        Leaf {
            certificate: certificate.pem(),
            key,
        }
    }

    pub(crate) fn server(&self) -> Leaf {
        self.issue(&Request {
            name: "external-secrets-provider",
            hosts: &["localhost", "127.0.0.1"],
            usage: SERVER,
            years: VALID,
        })
    }

    /// Without any name, as upstream's client certificate.
    pub(crate) fn client(&self) -> Leaf {
        self.issue(&Request {
            name: "external-secrets-controller",
            hosts: &[],
            usage: CLIENT,
            years: VALID,
        })
    }
}

impl Leaf {
    pub(crate) fn identity(&self, trust: &Authority) -> Identity {
        Identity::from_pem(
            trust.pem().as_bytes(),
            self.certificate.as_bytes(),
            self.key.as_bytes(),
        )
        .unwrap()
    }
}

fn rsa_key() -> KeyPair {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap()
}

/// `RSA PRIVATE KEY`: the inner structure of PKCS#8, which for RSA-2048 begins after 26 bytes (RFC 5208 5).
fn pkcs1(key: &KeyPair) -> String {
    let der = key.serialize_der();
    let body = base64::engine::general_purpose::STANDARD.encode(&der[26..]);
    let lines: Vec<&str> = (0..body.len())
        .step_by(64)
        .map(|at| &body[at..body.len().min(at + 64)])
        .collect();
    format!(
        "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----\n",
        lines.join("\n")
    )
}

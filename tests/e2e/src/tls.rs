//! Certificates of a test run: one authority in each test program, which signs for everybody in it.

use std::sync::LazyLock;

use anyhow::Result;
use latchkey_transport::Identity;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

pub use rcgen::ExtendedKeyUsagePurpose as Usage;

/// One for all tests of a program: what watches all namespaces must be able to reach the servers of all.
static AUTHORITY: LazyLock<CertifiedIssuer<'static, KeyPair>> = LazyLock::new(|| {
    let mut parameters = CertificateParams::new(vec!["test".to_owned()]).expect("the name is fine");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("keys can be made");
    CertifiedIssuer::self_signed(parameters, key).expect("an authority can sign itself")
});

/// A key and its certificate for `localhost`, by name and by address.
pub struct Issued {
    /// Signed by the authority.
    pub certificate: rcgen::Certificate,
    /// Its key.
    pub key: KeyPair,
}

/// The authority, as PEM.
#[must_use]
pub fn authority() -> String {
    AUTHORITY.pem()
}

/// A new key and certificate.
///
/// # Errors
/// When the system has no random numbers.
pub fn issue(usage: Usage) -> Result<Issued> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut parameters = CertificateParams::new(names)?;
    parameters.extended_key_usages = vec![usage];
    let key = KeyPair::generate()?;
    let certificate = parameters.signed_by(&key, &*AUTHORITY)?;
    Ok(Issued { certificate, key })
}

/// Authority, certificate and key as PEM texts.
///
/// # Errors
/// As for [`issue`].
pub fn pem(usage: Usage) -> Result<[String; 3]> {
    let issued = issue(usage)?;
    let (certificate, key) = (issued.certificate.pem(), issued.key.serialize_pem());
    Ok([authority(), certificate, key])
}

/// A new identity.
///
/// # Errors
/// As for [`issue`].
pub fn identity(usage: Usage) -> Result<Identity> {
    let [authority, certificate, key] = pem(usage)?;
    Ok(Identity::from_pem(
        authority.as_bytes(),
        certificate.as_bytes(),
        key.as_bytes(),
    )?)
}

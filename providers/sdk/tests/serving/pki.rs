//! Certificates made for one test.

use latchkey_transport::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// An authority and what it issues.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(vec!["authority".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn server(&self) -> Identity {
        self.identity(ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub(crate) fn client(&self) -> Identity {
        self.identity(ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// Authority, certificate and key as PEM texts.
    pub(crate) fn pem(&self, usage: ExtendedKeyUsagePurpose) -> (String, String, String) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (self.0.pem(), certificate.pem(), key.serialize_pem())
    }

    fn identity(&self, usage: ExtendedKeyUsagePurpose) -> Identity {
        let (authority, certificate, key) = self.pem(usage);
        Identity::from_pem(authority.as_bytes(), certificate.as_bytes(), key.as_bytes()).unwrap()
    }
}

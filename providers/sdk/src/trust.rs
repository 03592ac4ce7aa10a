//! Which certificate authorities a backend is verified with: `caBundle` and `caProvider` (specification 2.3).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use latchkey_crds::selectors::{CaProvider, CaProviderType};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::cluster::{Cluster, KeySelector};
use crate::error::{ProviderError, Result};
use crate::request::RequestContext;

/// Authorities that replace the system's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustBundle {
    /// The certificates, each of which can be trusted.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Where they came from and in which version; part of cache keys.
    pub version: String,
}

impl Cluster {
    /// The authorities that a resource names; `None` if it names none and the system's apply. `ca_bundle` is the base64 text
    /// of the resource and wins over `ca_provider`.
    ///
    /// # Errors
    ///
    /// - [`crate::ErrorClass::InvalidConfig`] if the bundle holds no certificate, or a namespace is missing or not allowed;
    /// - those of [`Cluster::secret_key`].
    pub async fn trust_bundle(
        &self,
        context: &RequestContext,
        ca_bundle: Option<&str>,
        ca_provider: Option<&CaProvider>,
    ) -> Result<Option<TrustBundle>> {
        if let Some(bundle) = ca_bundle.filter(|bundle| !bundle.is_empty()) {
            return bundle_certificates(bundle).map(|certificates| {
                Some(TrustBundle {
                    certificates,
                    version: String::new(),
                })
            });
        }
        let Some(provider) = ca_provider else {
            return Ok(None);
        };
        let scope = context.credential_scope();
        if scope.follows_foreign_namespaces()
            && provider.namespace.as_deref().unwrap_or_default().is_empty()
        {
            return Err(ProviderError::invalid_config(
                "missing namespace on caProvider secret",
            ));
        }
        let selector = KeySelector {
            name: &provider.name,
            namespace: provider.namespace.as_deref(),
            key: provider.key.as_deref().unwrap_or_default(),
        };
        let found = match provider.type_ {
            CaProviderType::Secret => self.secret_key(&scope, selector).await?,
            CaProviderType::ConfigMap => self.config_map_key(&scope, selector).await?,
        };
        let certificates = certificates(found.value.expose()).ok_or_else(|| {
            ProviderError::invalid_config("caProvider holds no certificates in PEM form")
        })?;
        Ok(Some(TrustBundle {
            certificates,
            version: found.version,
        }))
    }
}

/// The certificates of a `caBundle`: base64 around PEM, or around one more layer of base64 around PEM.
///
/// # Errors
///
/// [`crate::ErrorClass::InvalidConfig`] if it holds no certificate, or one that cannot be trusted.
pub fn bundle_certificates(text: &str) -> Result<Vec<CertificateDer<'static>>> {
    let invalid = || ProviderError::invalid_config("failed to decode ca bundle");
    let outer = decode(text.as_bytes()).ok_or_else(invalid)?;
    if let Some(found) = certificates(&outer) {
        return Ok(found);
    }
    decode(&outer)
        .as_deref()
        .and_then(certificates)
        .ok_or_else(invalid)
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let compact: Vec<u8> = text
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    STANDARD
        .decode(&compact)
        .or_else(|_| URL_SAFE.decode(&compact))
        .ok()
}

/// All certificates of a PEM text; `None` if there is none or one of them cannot be trusted.
#[must_use]
pub fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let mut roots = RootCertStore::empty();
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.ok()?;
        roots.add(certificate.clone()).ok()?;
        found.push(certificate);
    }
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorClass;

    fn pem() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(vec!["ca".into()])
            .unwrap()
            .self_signed(&key)
            .unwrap()
            .pem()
    }

    #[test]
    fn a_bundle_may_have_one_more_layer_of_base64() {
        let pem = pem();
        let once = STANDARD.encode(&pem);
        for text in [
            once.clone(),
            STANDARD.encode(&once),
            STANDARD.encode(URL_SAFE.encode(&pem)),
        ] {
            assert_eq!(bundle_certificates(&text).unwrap().len(), 1);
        }
        let two = STANDARD.encode(format!("{pem}{pem}"));
        assert_eq!(bundle_certificates(&two).unwrap().len(), 2);
    }

    #[test]
    fn what_holds_no_certificate_is_an_invalid_configuration() {
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for text in [
            pem(),
            String::new(),
            "%%%".into(),
            STANDARD.encode("no pem"),
            STANDARD.encode(broken),
        ] {
            let error = bundle_certificates(&text).unwrap_err();
            assert_eq!(
                (error.class(), error.message()),
                (ErrorClass::InvalidConfig, "failed to decode ca bundle")
            );
        }
    }
}

//! Trusted roots and client certificates (providers specification 2.3 and 8.1).

use std::sync::{Arc, OnceLock};

use latchkey_provider_sdk::{ProviderError, trust};
use latchkey_secret::SecretValue;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A client certificate with its key, both in PEM form.
pub(crate) struct ClientCertificate<'a> {
    pub(crate) chain: &'a SecretValue,
    pub(crate) key: &'a SecretValue,
}

/// The configuration of a connection that trusts `authorities` alone, or those of the system without any.
///
/// # Errors
///
/// `INVALID_CONFIG` if an authority, the certificate or its key cannot be used, or if the system has no roots.
pub(crate) fn client_config(
    authorities: Option<Vec<CertificateDer<'static>>>,
    certificate: Option<ClientCertificate<'_>>,
) -> Result<Arc<ClientConfig>, ProviderError> {
    let roots = match authorities {
        Some(authorities) => Arc::new(only(authorities)?),
        None => system_roots()?,
    };
    let builder = builder().with_root_certificates(roots);
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some(certificate) => {
            let chain = trust::certificates(certificate.chain.expose()).ok_or_else(|| {
                ProviderError::invalid_config("the client certificate is not PEM")
            })?;
            // The parser's text could quote the key.
            let key =
                PrivateKeyDer::from_pem_slice(certificate.key.expose()).map_err(|_error| {
                    ProviderError::invalid_config("the key of the client certificate is not PEM")
                })?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|_error| {
                    ProviderError::invalid_config(
                        "the client certificate and its key do not belong together",
                    )
                })?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The configuration behind a plain `http://` address: it trusts nobody, so that no redirect can turn it into TLS with
/// whatever roots happen to be there.
pub(crate) fn plain() -> Arc<ClientConfig> {
    static PLAIN: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    Arc::clone(PLAIN.get_or_init(|| {
        Arc::new(
            builder()
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth(),
        )
    }))
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default versions of TLS")
}

fn only(authorities: Vec<CertificateDer<'static>>) -> Result<RootCertStore, ProviderError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots
            .add(authority)
            .map_err(|_error| ProviderError::invalid_config("failed to decode ca bundle"))?;
    }
    Ok(roots)
}

/// The roots of the system, read once. `SSL_CERT_FILE` and `SSL_CERT_DIR` choose other places.
fn system_roots() -> Result<Arc<RootCertStore>, ProviderError> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        let (added, ignored) = roots.add_parsable_certificates(found.certs);
        tracing::debug!(added, ignored, "read the root certificates of the system");
        Arc::new(roots)
    });
    if roots.is_empty() {
        return Err(ProviderError::invalid_config(
            "there are no root certificates in this image: set caBundle or caProvider, or mount a bundle and set SSL_CERT_FILE",
        ));
    }
    Ok(Arc::clone(roots))
}

#[cfg(test)]
mod tests {
    use super::*;
    use latchkey_provider_sdk::ErrorClass;

    fn authority(name: &str) -> rcgen::CertifiedKey<rcgen::KeyPair> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec![]).unwrap();
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let cert = parameters.self_signed(&key).unwrap();
        rcgen::CertifiedKey {
            cert,
            signing_key: key,
        }
    }

    #[test]
    fn a_client_certificate_needs_its_own_key() {
        let pair = authority("client");
        let other = authority("other");
        let chain = SecretValue::from(pair.cert.pem());
        let with_key = |key: &SecretValue| {
            client_config(
                Some(vec![pair.cert.der().clone()]),
                Some(ClientCertificate { chain: &chain, key }),
            )
            .map(|_config| ())
        };
        assert!(with_key(&SecretValue::from(pair.signing_key.serialize_pem())).is_ok());
        for key in [
            other.signing_key.serialize_pem(),
            "canary".to_owned(),
            String::new(),
        ] {
            let error = with_key(&SecretValue::from(key)).unwrap_err();
            assert_eq!(error.class(), ErrorClass::InvalidConfig);
            assert!(!error.message().contains("canary"));
        }
    }
}

//! What a resource refers to, looked up anew for each request: trusted roots, a client certificate, credentials, and the pod that
//! a value is for. Whatever is found leaves its version behind, so that a session goes with anything that it was made of.

use std::fmt::Write as _;

use latchkey_provider_sdk::{CallerToken, Credential, ProviderError, trust};
use latchkey_secret::SecretValue;
use rustls_pki_types::CertificateDer;

use crate::client::Token;
use crate::credentials::CredentialSource;
use crate::session::{Material, no_caller};
use crate::settings::{AccountToken, Auth, CertificateReference, KeyReference, Roots, Settings};

/// The lookups of one request.
pub(crate) struct References<'a, C> {
    credentials: &'a C,
    version: String,
}

// === impl References ===

impl<'a, C: CredentialSource> References<'a, C> {
    /// Lookups for a resource of this revision.
    pub(crate) fn new(credentials: &'a C, revision: &str) -> Self {
        Self {
            credentials,
            version: revision.to_owned(),
        }
    }

    /// The versions of the resource and of everything that was found, as one opaque text.
    pub(crate) fn into_version(self) -> String {
        self.version
    }

    /// The authorities that the resource trusts; `None` for those of the system.
    ///
    /// # Errors
    ///
    /// `INVALID_CONFIG` if they cannot be used or must not be looked up, and those of the lookup.
    pub(crate) async fn authorities(
        &mut self,
        roots: Option<&Roots>,
    ) -> Result<Option<Vec<CertificateDer<'static>>>, ProviderError> {
        let found = match roots {
            None => return Ok(None),
            Some(Roots::Bundle(bundle)) => return trust::bundle_certificates(bundle).map(Some),
            Some(Roots::Secret(reference) | Roots::ConfigMap(reference))
                if self.credentials.is_cluster_wide() && reference.namespace.is_none() =>
            {
                return Err(ProviderError::invalid_config(
                    "missing namespace on caProvider secret",
                ));
            }
            Some(Roots::Secret(reference)) => self.secret(reference).await?,
            Some(Roots::ConfigMap(reference)) => {
                let selector = reference.selector();
                let credential = self.credentials.config_map_key(selector).await?;
                self.note(credential)
            }
        };
        let certificates = trust::certificates(found.expose()).ok_or_else(|| {
            ProviderError::invalid_config("caProvider holds no certificates in PEM form")
        })?;
        Ok(Some(certificates))
    }

    /// A client certificate and its key.
    ///
    /// # Errors
    ///
    /// Those of the lookup.
    pub(crate) async fn certificate(
        &mut self,
        reference: &CertificateReference,
    ) -> Result<(SecretValue, SecretValue), ProviderError> {
        let certificate = self.secret(&reference.certificate).await?;
        let key = self.secret(&reference.key).await?;
        Ok((certificate, key))
    }

    /// What a login takes, as far as it is known before one.
    ///
    /// # Errors
    ///
    /// `UNAUTHENTICATED` or `INVALID_CONFIG` if the request has no pod although the login is that of one, or the other way round;
    /// those of the lookup.
    pub(crate) async fn material(
        &mut self,
        settings: &Settings,
    ) -> Result<Material, ProviderError> {
        let mut material = Material::default();
        match &settings.auth {
            Auth::Token(reference) => {
                material.static_token = Some(Token::try_new(self.secret(reference).await?)?);
            }
            Auth::Kubernetes {
                account: AccountToken::Secret(reference),
                ..
            } => material.account_token = Some(self.secret(reference).await?),
            Auth::None | Auth::Kubernetes { .. } => {}
        }
        material.caller = self.caller(settings)?;
        Ok(material)
    }

    /// The token of the pod that logs in for itself, if the store is of that kind.
    fn caller(&mut self, settings: &Settings) -> Result<Option<CallerToken>, ProviderError> {
        match (settings.logs_in_as_caller(), self.credentials.caller()) {
            (false, None) => Ok(None),
            (true, None) => Err(no_caller()),
            // Its own credentials would give each pod what any of them may read.
            (false, Some(_)) => Err(ProviderError::invalid_config(
                "the store is read under the identity of pods, and auth makes no use of it: set useCallerToken, or remove \
                 annotation latchkey.dev/caller-identity from the store",
            )),
            (true, Some(caller)) => {
                // Writing to a string cannot fail.
                let _ = write!(self.version, " {}", caller.digest());
                Ok(Some(caller.clone()))
            }
        }
    }

    async fn secret(&mut self, reference: &KeyReference) -> Result<SecretValue, ProviderError> {
        let credential = self.credentials.secret_key(reference.selector()).await?;
        Ok(self.note(credential))
    }

    fn note(&mut self, credential: Credential) -> SecretValue {
        // Writing to a string cannot fail.
        let _ = write!(self.version, " {}", credential.version);
        credential.value
    }
}

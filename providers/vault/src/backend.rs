//! The operations on a store (providers specification 8.5 and 8.9), independent of how a request arrived.

mod engine;

use std::sync::Arc;
use std::time::Duration;

use latchkey_provider_sdk::{
    MetadataPolicy, Metrics, ProviderError, ReadCache, RemoteRef, Validation,
};
use latchkey_secret::{SecretData, SecretValue};
use rustls_pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::client::tls::{self, ClientCertificate};
use crate::client::{Call, ClientOptions, Limits, VaultClient};
use crate::credentials::CredentialSource;
use crate::paths::{KvVersion, data_path, metadata_path};
use crate::references::References;
use crate::session::{REVOKE_TIMEOUT, Session, SessionParts};
use crate::sessions::{SessionId, Sessions};
use crate::settings::Settings;
use crate::values;

/// A configured store: its settings and the identity of the resource they came from.
#[derive(Clone)]
pub struct Store {
    /// Namespace of the resource.
    pub namespace: String,
    /// Name of the resource.
    pub name: String,
    /// Changes whenever the resource does: its uid and generation.
    pub revision: String,
    /// The checked content.
    pub settings: Settings,
}

/// All stores that this process serves, with their clients and tokens.
pub struct Backend {
    sessions: Sessions,
    revocations: TaskTracker,
    /// Data and metadata as they were read, for the reads of one reconcile.
    reads: ReadCache<Zeroizing<Vec<u8>>>,
    limits: Limits,
    metrics: Metrics,
}

/// What a backend is made with.
pub struct BackendOptions {
    /// Bounds of the calls to a server.
    pub limits: Limits,
    /// Stores whose tokens are kept; with zero each request logs in and revokes.
    pub token_cache_size: usize,
    /// How long reads are shared when the caller names no reconcile; zero for not at all.
    pub read_cache_ttl: Duration,
    /// The series of this process.
    pub metrics: Metrics,
    /// Ends the tasks of the backend.
    pub stop: CancellationToken,
}

// === impl Backend ===

impl Backend {
    /// A backend without any session. Must be called inside a Tokio runtime.
    #[must_use]
    pub fn new(options: BackendOptions) -> Self {
        let hits = options.metrics.read_cache_hits.clone();
        Self {
            sessions: Sessions::new(options.token_cache_size),
            revocations: TaskTracker::new(),
            reads: ReadCache::new(options.read_cache_ttl, hits, options.stop),
            limits: options.limits,
            metrics: options.metrics,
        }
    }

    /// Reads one value: the whole secret as JSON, or one property of it; of its data or, in fetch mode, of its metadata.
    ///
    /// # Errors
    ///
    /// - `SECRET_NOT_FOUND` only if the engine says that the secret or version is absent or deleted;
    /// - `PROPERTY_NOT_FOUND`, `INVALID_PAYLOAD`, `INVALID_ARGUMENT`, `INVALID_CONFIG`, `UNAUTHENTICATED`,
    ///   `PERMISSION_DENIED` and those of the connection and of the credential lookup.
    pub async fn get_secret(
        &self,
        store: &Store,
        credentials: &impl CredentialSource,
        remote: &RemoteRef,
    ) -> Result<SecretValue, ProviderError> {
        let data = self.read(store, credentials, remote).await?;
        if !remote.property.is_empty() {
            return values::property(&data, &remote.property);
        }
        // Upstream answers a secret without any metadata with nothing rather than with `{}`.
        if remote.metadata_policy == MetadataPolicy::Fetch && data.as_slice() == b"{}" {
            return Ok(SecretValue::default());
        }
        values::whole(&data)
    }

    /// Reads one secret, or one property that is an object, as a map.
    ///
    /// # Errors
    ///
    /// As for [`Backend::get_secret`]; `INVALID_PAYLOAD` if there is no object to take apart.
    pub async fn get_secret_map(
        &self,
        store: &Store,
        credentials: &impl CredentialSource,
        remote: &RemoteRef,
    ) -> Result<SecretData, ProviderError> {
        let data = self.read(store, credentials, remote).await?;
        if remote.property.is_empty() {
            return values::members(&data);
        }
        values::members(values::property(&data, &remote.property)?.expose())
    }

    /// Checks that a token can be obtained and, as far as the server tells, that the mount is a key-value engine of the right
    /// version. Reads no secret.
    ///
    /// # Errors
    ///
    /// `INVALID_CONFIG`, `UNAUTHENTICATED` and those of the connection and of the credential lookup.
    pub async fn validate(
        &self,
        store: &Store,
        credentials: &impl CredentialSource,
    ) -> Result<Validation, ProviderError> {
        if store.settings.logs_in_as_caller() {
            return Ok(Validation::unknown(
                "each pod logs in for itself (useCallerToken)",
            ));
        }
        let session = self.session(store, credentials).await?;
        session.check_token(credentials).await?;
        engine::check_mount(&session, credentials).await?;
        Ok(Validation::ready())
    }

    /// Revokes all tokens, best effort within two seconds.
    pub async fn shutdown(&self) {
        self.sessions.clear();
        self.revocations.close();
        if tokio::time::timeout(REVOKE_TIMEOUT, self.revocations.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                "not all vault tokens could be revoked before the end; they are left to expire"
            );
        }
    }

    /// The data of a secret, or the map of strings that fetch mode makes of its metadata, as the text of a JSON object.
    async fn read(
        &self,
        store: &Store,
        credentials: &impl CredentialSource,
        remote: &RemoteRef,
    ) -> Result<Arc<Zeroizing<Vec<u8>>>, ProviderError> {
        let settings = &store.settings;
        let mount = settings.mount.as_deref();
        let is_fetch = remote.metadata_policy == MetadataPolicy::Fetch;
        let version = engine::version_query(settings.version, remote)?;
        let mut call = if is_fetch {
            if settings.version == KvVersion::V1 {
                return Err(ProviderError::invalid_argument(
                    "cannot perform metadata fetch operations with kv version v1",
                ));
            }
            Call::get(
                engine::READ_METADATA,
                metadata_path(mount, settings.version, &remote.key)?,
            )
        } else {
            Call::get(
                engine::READ,
                data_path(mount, settings.version, &remote.key)?,
            )
        };
        if !is_fetch {
            call.query = version.map(|version| ("version", version.to_string()));
        }
        let session = self.session(store, credentials).await?;
        let version = version.unwrap_or_default();
        let object = format!("{} {} {version} {}", session.identity, call.name, call.path);
        self.reads
            .fetch(credentials.reconcile_id(), &object, || {
                engine::fetch(&session, credentials, &call)
            })
            .await
    }

    /// The session of a store, after its references were looked up.
    async fn session(
        &self,
        store: &Store,
        credentials: &impl CredentialSource,
    ) -> Result<Arc<Session>, ProviderError> {
        let settings = &store.settings;
        let mut references = References::new(credentials, &store.revision);
        let authorities = references.authorities(settings.roots.as_ref()).await?;
        let certificate = match &settings.certificate {
            Some(reference) => Some(references.certificate(reference).await?),
            None => None,
        };
        let material = references.material(settings).await?;
        let version = references.into_version();
        let id = SessionId {
            namespace: store.namespace.clone(),
            name: store.name.clone(),
            credential_namespace: credentials.namespace().to_owned(),
            is_cluster_wide: credentials.is_cluster_wide(),
            caller: material.caller.as_ref().map(SessionId::caller),
        };
        let identity = format!("{id:?} {version}");
        self.sessions.get_or_make(id, &version, || {
            let certificate = certificate
                .as_ref()
                .map(|(chain, key)| ClientCertificate { chain, key });
            Ok(Session::new(SessionParts {
                identity,
                settings: settings.clone(),
                client: self.client(settings, authorities, certificate)?,
                material,
                revocations: self.revocations.clone(),
                metrics: self.metrics.clone(),
            }))
        })
    }

    fn client(
        &self,
        settings: &Settings,
        authorities: Option<Vec<CertificateDer<'static>>>,
        certificate: Option<ClientCertificate<'_>>,
    ) -> Result<VaultClient, ProviderError> {
        let tls = if settings.server.scheme() == "https" {
            tls::client_config(authorities, certificate)?
        } else {
            tls::plain()
        };
        VaultClient::try_new(ClientOptions {
            server: settings.server.clone(),
            headers: settings.headers.clone(),
            tls,
            consistency: settings.consistency,
            limits: self.limits,
            metrics: self.metrics.clone(),
        })
    }
}

//! Whom we trust and who we are.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use rustls::client::Resumption;
use rustls::client::WebPkiServerVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use zeroize::{Zeroize as _, Zeroizing};

use crate::ALPN_H2;

/// Largest file that is read as a part of an identity, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Most certificates in a chain or a bundle of authorities.
const MAX_CERTIFICATES: usize = 64;

/// One end's material: the authorities it trusts, its certificate chain and its key.
///
/// Everything is checked when it is made: a value of this type can serve and connect. The private key lives inside the crypto
/// library only; it cannot be read back, and `Debug` shows the [`Fingerprint`].
#[derive(Clone)]
pub struct Identity {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    fingerprint: Fingerprint,
    expiry: Expiry,
}

/// SHA-256 over authorities, chain and key: equal exactly if the whole material is equal. Part of every pool key (P-TLS-4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

/// When the parts of an identity end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// End of the authority that lasts longest.
    pub authority: SystemTime,
    /// End of the own certificate.
    pub certificate: SystemTime,
}

/// Names of the files (or keys of a Secret) that hold an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileNames {
    /// Certificates of the trusted authorities, PEM.
    pub authority: String,
    /// Own certificate, followed by intermediates, PEM.
    pub certificate: String,
    /// Own private key, PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: String,
}

/// Why material is no identity. Names the part at fault, never its content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file could not be read.
    #[error("failed to read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system reported.
        #[source]
        source: std::io::Error,
    },
    /// A file is larger than 1 MiB.
    #[error("{path} is too large for a certificate or key")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The authorities are missing, no PEM, or no certificates.
    #[error("the certificate authority (ca.crt) is missing or cannot be parsed")]
    Authority,
    /// The chain is missing, no PEM, or no certificates.
    #[error("the certificate is missing or cannot be parsed")]
    Certificate,
    /// The key is missing, no PEM, or of an unknown kind.
    #[error("the private key is missing or cannot be parsed")]
    Key,
    /// The key belongs to another certificate.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}

/// An identity that can be replaced while connections are open. Clones share it.
///
/// Established connections keep what they were made with; every later handshake uses what was set last.
#[derive(Clone)]
pub struct SharedIdentity(Arc<Shared>);

struct Shared {
    current: ArcSwap<Identity>,
    changed: watch::Sender<Fingerprint>,
    reloads: AtomicU64,
    failures: AtomicU64,
}

/// How often an identity was replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReloadCounts {
    /// Replacements by another identity.
    pub reloads: u64,
    /// Attempts whose material was refused, so that the old identity stayed.
    pub failures: u64,
}

// === impl Identity ===

impl Identity {
    /// Makes an identity from PEM texts.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Authority`], [`IdentityError::Certificate`], [`IdentityError::Key`] if a part is missing or cannot be
    /// parsed, [`IdentityError::Mismatch`] if key and certificate do not belong together. Dates and names are not checked
    /// here but by the other end of each handshake.
    pub fn from_pem(
        authority: &[u8],
        certificate: &[u8],
        key: &[u8],
    ) -> Result<Self, IdentityError> {
        let authorities = certificates(authority).ok_or(IdentityError::Authority)?;
        let chain = certificates(certificate).ok_or(IdentityError::Certificate)?;
        let mut key = PrivateKeyDer::from_pem_slice(key).map_err(|_| IdentityError::Key)?;
        let made = Self::from_der(&authorities, &chain, &key);
        key.zeroize();
        made
    }

    /// Makes an identity from the files of a directory. Blocks on the file system.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Read`] or [`IdentityError::TooLarge`] for a file, otherwise as [`Identity::from_pem`].
    pub fn from_directory(directory: &Path, names: &FileNames) -> Result<Self, IdentityError> {
        let authority = read(&directory.join(&names.authority))?;
        let certificate = read(&directory.join(&names.certificate))?;
        let key = read(&directory.join(&names.key))?;
        Self::from_pem(&authority, &certificate, &key)
    }

    fn from_der(
        authorities: &[CertificateDer<'static>],
        chain: &[CertificateDer<'static>],
        key: &PrivateKeyDer<'static>,
    ) -> Result<Self, IdentityError> {
        let fingerprint = Fingerprint::of(authorities, chain, key);
        let expiry = Expiry {
            authority: authorities
                .iter()
                .map(not_after)
                .try_fold(SystemTime::UNIX_EPOCH, |latest, end| {
                    end.map(|end| latest.max(end))
                })
                .ok_or(IdentityError::Authority)?,
            certificate: chain
                .first()
                .and_then(not_after)
                .ok_or(IdentityError::Certificate)?,
        };

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots
                .add(authority.clone())
                .map_err(|_| IdentityError::Authority)?;
        }
        let roots = Arc::new(roots);

        let signing = provider
            .key_provider
            .load_private_key(key.clone_key())
            .map_err(|_| IdentityError::Key)?;
        let certified = CertifiedKey::new(chain.to_vec(), signing);
        match certified.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
                return Err(IdentityError::Mismatch);
            }
            Err(rustls::Error::InvalidCertificate(_)) => return Err(IdentityError::Certificate),
            Err(_) => return Err(IdentityError::Key),
        }
        let resolver = Arc::new(SingleCertAndKey::from(certified));

        let verifier = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|_| IdentityError::Authority)?;
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|_| IdentityError::Key)?
            .with_webpki_verifier(verifier)
            .with_client_cert_resolver(resolver.clone());
        client.alpn_protocols = vec![ALPN_H2.to_vec()];
        // A resumed session would skip the checks of certificates that were replaced or have expired since.
        client.resumption = Resumption::disabled();

        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|_| IdentityError::Authority)?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| IdentityError::Key)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(resolver);
        server.alpn_protocols = vec![ALPN_H2.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        Ok(Self {
            client: Arc::new(client),
            server: Arc::new(server),
            fingerprint,
            expiry,
        })
    }

    /// Tells this material from any other.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// When the certificates end.
    #[must_use]
    pub const fn expiry(&self) -> Expiry {
        self.expiry
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        self.client.clone()
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        self.server.clone()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Identity")
            .field("fingerprint", &self.fingerprint)
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let parsed: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .take(MAX_CERTIFICATES + 1)
        .collect::<Result<_, _>>()
        .ok()?;
    (!parsed.is_empty() && parsed.len() <= MAX_CERTIFICATES).then_some(parsed)
}

fn not_after(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    use std::io::Read as _;
    let failed = |source| IdentityError::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    if size > MAX_FILE {
        return Err(IdentityError::TooLarge {
            path: path.to_owned(),
        });
    }
    // Reserved at once, so that growing never leaves a copy behind.
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1));
    file.take(size).read_to_end(&mut content).map_err(failed)?;
    Ok(content)
}

// === impl Fingerprint ===

impl Fingerprint {
    fn of(
        authorities: &[CertificateDer<'_>],
        chain: &[CertificateDer<'_>],
        key: &PrivateKeyDer<'_>,
    ) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        let mut part = |bytes: &[u8]| {
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        };
        part(&(authorities.len() as u64).to_be_bytes());
        for certificate in authorities.iter().chain(chain) {
            part(certificate);
        }
        part(key.secret_der());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }

    /// The digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Eight bytes tell identities apart in a log.
        for byte in &self.0[..8] {
            write!(formatter, "{byte:02x}")?;
        }
        Ok(())
    }
}

// === impl FileNames ===

impl Default for FileNames {
    /// `ca.crt`, `tls.crt`, `tls.key`.
    fn default() -> Self {
        Self {
            authority: "ca.crt".into(),
            certificate: "tls.crt".into(),
            key: "tls.key".into(),
        }
    }
}

impl FileNames {
    /// `ca.crt`, `client.crt`, `client.key`, as in upstream's shared Secret (provider-protocol.md 8.2).
    #[must_use]
    pub fn client() -> Self {
        Self {
            authority: "ca.crt".into(),
            certificate: "client.crt".into(),
            key: "client.key".into(),
        }
    }
}

// === impl SharedIdentity ===

impl SharedIdentity {
    /// Shares `identity`.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        let (changed, _) = watch::channel(identity.fingerprint());
        Self(Arc::new(Shared {
            current: ArcSwap::from_pointee(identity),
            changed,
            reloads: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }))
    }

    /// What was set last.
    #[must_use]
    pub fn load(&self) -> Arc<Identity> {
        self.0.current.load_full()
    }

    /// Replaces the identity for all later handshakes. Returns whether it is another one.
    pub fn replace(&self, identity: Identity) -> bool {
        let fingerprint = identity.fingerprint();
        let before = self.0.current.swap(Arc::new(identity));
        if before.fingerprint() == fingerprint {
            return false;
        }
        self.0.reloads.fetch_add(1, Ordering::Relaxed);
        self.0.changed.send_replace(fingerprint);
        true
    }

    /// Counts an attempt to replace the identity whose material was refused; the old one stays.
    pub fn count_failure(&self) {
        self.0.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Follows the fingerprint: whoever pools connections drains the old ones when it changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Fingerprint> {
        self.0.changed.subscribe()
    }

    /// How often it was replaced.
    #[must_use]
    pub fn counts(&self) -> ReloadCounts {
        ReloadCounts {
            reloads: self.0.reloads.load(Ordering::Relaxed),
            failures: self.0.failures.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for SharedIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("SharedIdentity")
            .field(&*self.load())
            .finish()
    }
}

impl From<Identity> for SharedIdentity {
    fn from(identity: Identity) -> Self {
        Self::new(identity)
    }
}

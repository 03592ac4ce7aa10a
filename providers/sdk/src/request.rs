//! The requests of the provider contract, checked and in terms that a backend can use.
//!
//! The wire messages leave almost everything optional; the service behind [`crate::Provider`] turns them into these types or
//! answers `INVALID_ARGUMENT` itself, so that a backend never sees a request without namespace or reference.

mod pattern;
mod strategy;

use std::collections::BTreeMap;
use std::fmt;

use latchkey_secret::{SecretData, SecretValue};

use crate::caller::Caller;
use crate::error::{ErrorClass, ProviderError, Result};
pub use pattern::name_pattern;
pub use strategy::{ConversionStrategy, MetadataPolicy};

/// `store_ref_kind` of a cluster-scoped store; anything else is treated as a namespaced store (specification 2.2).
pub const CLUSTER_SECRET_STORE: &str = "ClusterSecretStore";

/// Request metadata: the namespace that credentials are read from (specification 2.2 case 4).
pub const METADATA_AUTH_NAMESPACE: &str = "eso-auth-namespace";
/// Request metadata: opaque id of the reconcile that the read belongs to (specification 2.6).
pub const METADATA_RECONCILE_ID: &str = "eso-reconcile-id";
/// Request metadata: metadata of the last push, as raw JSON, on delete and exists (specification 2.10).
pub const METADATA_PUSH_METADATA: &str = "eso-push-metadata-bin";
/// Request metadata: opaque id of one Generate; a repetition carries the same one (generators.md 1.2).
pub const METADATA_ATTEMPT_ID: &str = "eso-attempt-id";
/// Response trailer: a warning outside of Validate (specification 2.10).
pub const METADATA_WARNING: &str = "eso-warning-bin";
/// Most warnings in one answer.
pub const MAX_WARNINGS: usize = 5;

/// The operations of `provider.v1.SecretStoreProvider` and `generator.v1.GeneratorProvider`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Read one value.
    GetSecret,
    /// Read one object as a map.
    GetSecretMap,
    /// Find many objects.
    GetAllSecrets,
    /// Create or update one object.
    PushSecret,
    /// Delete one object.
    DeleteSecret,
    /// Ask whether an object exists.
    SecretExists,
    /// Check the configuration and that credentials can be obtained.
    Validate,
    /// Tell the abilities of a kind.
    Capabilities,
    /// Make new values.
    Generate,
    /// Revoke what was made.
    Cleanup,
}

/// A resource that configures a store, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProviderReference {
    /// Group and version, such as `provider.secretstore.external-secrets.io/v2alpha1`.
    pub api_version: String,
    /// Kind, such as `Fake`.
    pub kind: String,
    /// Name of the resource.
    pub name: String,
    /// Namespace of the resource. Empty only for Validate and Capabilities without any namespace.
    pub namespace: String,
}

/// Where credentials are looked up for a request, and whether a selector may point elsewhere (specification 2.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CredentialScope {
    namespace: String,
    follows_foreign_namespaces: bool,
}

/// Everything about a request but its operand: whose it is and which resource configures it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestContext {
    operation: Operation,
    provider: ProviderReference,
    source_namespace: String,
    cluster_store: bool,
    auth_namespace: Option<String>,
    reconcile_id: Option<String>,
    caller: Option<Caller>,
}

/// One remote object, or a property in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RemoteRef {
    /// Key of the object, verbatim.
    pub key: String,
    /// Version, empty for the current one.
    pub version: String,
    /// Property inside the object, empty for all of it.
    pub property: String,
    /// Value or metadata.
    pub metadata_policy: MetadataPolicy,
}

/// Criteria of a find.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Find {
    /// Folder or prefix, meaning per provider.
    pub path: Option<String>,
    /// Regular expression over names. `Some("")` matches all names, `None` is no search by name.
    pub name: Option<String>,
    /// Tags that must all match exactly.
    pub tags: BTreeMap<String, String>,
    /// How names are converted.
    pub conversion_strategy: ConversionStrategy,
}

/// One remote object as push, delete and exists address it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PushRemoteRef {
    /// Key of the object, verbatim.
    pub key: String,
    /// Property inside the object, empty for all of it.
    pub property: String,
    /// Metadata of the last push as raw JSON, where the caller sent it; empty otherwise.
    pub metadata: Vec<u8>,
}

/// A push: the whole source Secret and what of it goes where.
#[derive(Clone, PartialEq, Eq)]
pub struct Push {
    /// The source's data.
    pub data: SecretData,
    /// The source's type.
    pub secret_type: String,
    /// The source's labels.
    pub labels: BTreeMap<String, String>,
    /// The source's annotations. May hold values in clear (`last-applied-configuration`): never log them.
    pub annotations: BTreeMap<String, String>,
    /// Key of the source that is pushed, empty for the whole Secret.
    pub secret_key: String,
    /// Key of the remote object.
    pub remote_key: String,
    /// Property inside the remote object, empty for all of it.
    pub property: String,
    /// Provider-specific settings as raw JSON, empty for none.
    pub metadata: Vec<u8>,
}

/// Outcome of Validate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The configuration is fine and credentials can be obtained.
    Ready,
    /// Nothing can be said without a caller, or now; the store counts as usable.
    Unknown(String),
    /// The configuration cannot work; the text says why.
    Invalid(String),
}

/// Outcome of Validate with its warnings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validation {
    /// The outcome.
    pub verdict: Verdict,
    /// Remarks for the user, at most [`MAX_WARNINGS`] are sent.
    pub warnings: Vec<String>,
}

/// What a kind can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Capability {
    /// Reads only.
    ReadOnly,
    /// Writes only.
    WriteOnly,
    /// Reads and writes.
    ReadWrite,
}

/// A kind that a server serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedKind {
    /// Group and version.
    pub api_version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Its ability, answered without touching the backend.
    pub capability: Capability,
}

/// A kind of generator that a server serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratorKind {
    /// Group and version.
    pub api_version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Whether a Generate may leave a state that has to be cleaned up.
    pub is_stateful: bool,
}

/// What a generator made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generated {
    /// The values.
    pub data: SecretData,
    /// What is needed to revoke them: JSON, at most 4 KiB, with no value and no credential in it. `None` if there is nothing to
    /// revoke.
    pub state: Option<Vec<u8>>,
}

// === impl Operation ===

impl Operation {
    /// All operations, in the order of the contract.
    pub const ALL: [Self; 10] = [
        Self::GetSecret,
        Self::GetSecretMap,
        Self::GetAllSecrets,
        Self::PushSecret,
        Self::DeleteSecret,
        Self::SecretExists,
        Self::Validate,
        Self::Capabilities,
        Self::Generate,
        Self::Cleanup,
    ];

    /// Name of the rpc.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::GetSecret => "GetSecret",
            Self::GetSecretMap => "GetSecretMap",
            Self::GetAllSecrets => "GetAllSecrets",
            Self::PushSecret => "PushSecret",
            Self::DeleteSecret => "DeleteSecret",
            Self::SecretExists => "SecretExists",
            Self::Validate => "Validate",
            Self::Capabilities => "Capabilities",
            Self::Generate => "Generate",
            Self::Cleanup => "Cleanup",
        }
    }

    /// Whether the request may come without `source_namespace` (specification 2.1).
    #[must_use]
    pub const fn may_lack_source_namespace(self) -> bool {
        matches!(self, Self::Validate | Self::Capabilities)
    }
}

// === impl CredentialScope ===

impl CredentialScope {
    /// A scope in `namespace`; `follows_foreign_namespaces` allows a selector to name another one.
    #[must_use]
    pub fn new(namespace: impl Into<String>, follows_foreign_namespaces: bool) -> Self {
        Self {
            namespace: namespace.into(),
            follows_foreign_namespaces,
        }
    }

    /// The namespace of a selector without one (`cred_ns`).
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether a selector's own namespace is followed (cluster stores in provider scope only).
    #[must_use]
    pub const fn follows_foreign_namespaces(&self) -> bool {
        self.follows_foreign_namespaces
    }

    /// The namespace that a selector addresses.
    ///
    /// # Errors
    ///
    /// [`ErrorClass::InvalidConfig`] if it names another namespace and that is not allowed (P-03).
    pub fn resolve<'a>(&'a self, selector_namespace: Option<&'a str>) -> Result<&'a str> {
        match selector_namespace.filter(|namespace| !namespace.is_empty()) {
            None => Ok(&self.namespace),
            Some(namespace) if self.follows_foreign_namespaces || namespace == self.namespace => {
                Ok(namespace)
            }
            Some(namespace) => Err(ProviderError::invalid_config(format!(
                "namespace of a reference must be empty or \"{}\", not \"{namespace}\"",
                self.namespace
            ))),
        }
    }
}

// === impl RequestContext ===

impl RequestContext {
    /// Checks the namespaces of a request (specification 2.2).
    ///
    /// `store_ref_kind`, `source_namespace` and `auth_namespace` are as sent. An empty namespace of `provider` becomes the
    /// source namespace; an empty source namespace, where the operation allows it, becomes the provider's.
    ///
    /// # Errors
    ///
    /// - [`ErrorClass::InvalidArgument`] without a source namespace, unless the operation allows it;
    /// - [`ErrorClass::NamespaceMismatch`] if a namespaced store names a resource or credentials of another namespace.
    pub fn try_new(
        operation: Operation,
        mut provider: ProviderReference,
        source_namespace: &str,
        store_ref_kind: &str,
        auth_namespace: Option<String>,
    ) -> Result<Self> {
        if source_namespace.is_empty() && !operation.may_lack_source_namespace() {
            return Err(ProviderError::invalid_argument(
                "source namespace is required",
            ));
        }
        if provider.namespace.is_empty() {
            source_namespace.clone_into(&mut provider.namespace);
        }
        let source_namespace = if source_namespace.is_empty() {
            &provider.namespace
        } else {
            source_namespace
        }
        .to_owned();
        let cluster_store = store_ref_kind == CLUSTER_SECRET_STORE;
        let auth_namespace = auth_namespace.filter(|namespace| !namespace.is_empty());
        if !cluster_store {
            for namespace in std::iter::once(&provider.namespace).chain(&auth_namespace) {
                if *namespace != source_namespace {
                    return Err(ProviderError::new(
                        ErrorClass::NamespaceMismatch,
                        format!(
                            "a namespaced store in \"{source_namespace}\" must not use objects of namespace \"{namespace}\""
                        ),
                    ));
                }
            }
        }
        Ok(Self {
            operation,
            provider,
            source_namespace,
            cluster_store,
            auth_namespace,
            reconcile_id: None,
            caller: None,
        })
    }

    /// The request of a generator: its resource is in the named namespace, credentials are read in `source_namespace` alone
    /// (provider-protocol.md 9.5). An empty namespace of `provider` becomes the source namespace.
    ///
    /// # Errors
    ///
    /// [`ErrorClass::InvalidArgument`] without a source namespace.
    pub fn try_for_generator(
        operation: Operation,
        mut provider: ProviderReference,
        source_namespace: &str,
    ) -> Result<Self> {
        if source_namespace.is_empty() {
            return Err(ProviderError::invalid_argument(
                "source namespace is required",
            ));
        }
        if provider.namespace.is_empty() {
            source_namespace.clone_into(&mut provider.namespace);
        }
        Ok(Self {
            operation,
            provider,
            source_namespace: source_namespace.to_owned(),
            cluster_store: false,
            auth_namespace: Some(source_namespace.to_owned()),
            reconcile_id: None,
            caller: None,
        })
    }

    /// Adds the id of the reconcile that this read belongs to.
    #[must_use]
    pub fn with_reconcile_id(mut self, id: Option<String>) -> Self {
        self.reconcile_id = id.filter(|id| !id.is_empty());
        self
    }

    /// Adds the pod that this read is for.
    #[must_use]
    pub fn with_caller(mut self, caller: Option<Caller>) -> Self {
        self.caller = caller;
        self
    }

    /// The operation.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        self.operation
    }

    /// The resource that configures the store.
    #[must_use]
    pub const fn provider(&self) -> &ProviderReference {
        &self.provider
    }

    /// Namespace of the ExternalSecret or PushSecret. Empty only for a Validate or Capabilities without any namespace.
    #[must_use]
    pub fn source_namespace(&self) -> &str {
        &self.source_namespace
    }

    /// Whether the store is a ClusterSecretStore in provider scope.
    #[must_use]
    pub const fn is_cluster_store(&self) -> bool {
        self.cluster_store
    }

    /// Id of the reconcile that a read belongs to; reads with one id may share a backend fetch.
    #[must_use]
    pub fn reconcile_id(&self) -> Option<&str> {
        self.reconcile_id.as_deref()
    }

    /// The pod that a read is for, if the agent says so. Nothing of it is verified: see [`crate::caller`].
    #[must_use]
    pub const fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    /// Where credentials are looked up (specification 2.2, cases 1 to 4).
    #[must_use]
    pub fn credential_scope(&self) -> CredentialScope {
        match &self.auth_namespace {
            Some(namespace) => CredentialScope::new(namespace, false),
            None => CredentialScope::new(&self.provider.namespace, self.cluster_store),
        }
    }

    /// Whether neither the resource's nor the caller's namespace is known. Such a Validate answers Unknown without resolving
    /// anything (specification 2.2, rule 4).
    #[must_use]
    pub fn lacks_namespace(&self) -> bool {
        self.provider.namespace.is_empty()
    }
}

// === impl Validation ===

impl Validation {
    /// Fine, without remarks.
    #[must_use]
    pub const fn ready() -> Self {
        Self {
            verdict: Verdict::Ready,
            warnings: Vec::new(),
        }
    }

    /// Nothing can be said, for the given reason.
    #[must_use]
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Unknown(reason.into()),
            warnings: Vec::new(),
        }
    }

    /// The configuration cannot work, for the given reason.
    #[must_use]
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Invalid(reason.into()),
            warnings: Vec::new(),
        }
    }

    /// Adds a remark.
    #[must_use]
    pub fn with_warning(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }
}

// === impl Push ===

impl Push {
    /// The value that is pushed when a single key is named; `None` if the whole Secret is.
    ///
    /// # Errors
    ///
    /// [`ErrorClass::InvalidArgument`] if the source has no such key (P-08).
    pub fn value(&self) -> Result<Option<&SecretValue>> {
        if self.secret_key.is_empty() {
            return Ok(None);
        }
        match self.data.get(&self.secret_key) {
            Some(value) => Ok(Some(value)),
            None => Err(ProviderError::invalid_argument(format!(
                "failed to find secret key in secret with key: {}",
                self.secret_key
            ))),
        }
    }
}

impl fmt::Debug for Push {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Push")
            .field("remote_key", &self.remote_key)
            .field("property", &self.property)
            .field("secret_key", &self.secret_key)
            .field("keys", &self.data.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "request/tests.rs"]
mod tests;

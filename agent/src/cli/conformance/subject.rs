//! What is asked about: a store and a generator as the agent would know them.

use latchkey_proto::generator::v1 as generator;
use latchkey_proto::provider::v1 as wire;

use super::reference::Reference;
use super::{ConformanceArgs, Failure, exit};

/// Version and group of this project's kinds of stores (provider-protocol.md 13.2).
const STORE_API: &str = "provider.secretstore.external-secrets.io/v2alpha1";

/// The same of generators.
const GENERATOR_API: &str = "provider.generator.external-secrets.io/v2alpha1";

/// A store as the agent would know it.
pub(super) struct Store {
    /// With its namespace filled in.
    pub(super) reference: wire::ProviderReference,
    pub(super) source: String,
}

/// A generator as the agent would know it.
pub(super) struct Generator {
    pub(super) reference: generator::GeneratorRef,
    pub(super) source: String,
}

// === impl Store ===

impl Store {
    pub(super) fn of(reference: &Reference, args: &ConformanceArgs) -> Result<Self, Failure> {
        let (namespace, source) = namespaces("--provider-ref", reference, args)?;
        let api_version = reference.api_version.as_deref().unwrap_or(STORE_API);
        let kind = kind_of_store(&namespace, &source);
        Ok(Self {
            reference: wire::ProviderReference {
                api_version: api_version.to_owned(),
                kind: reference.kind.clone(),
                name: reference.name.clone(),
                namespace,
                store_ref_kind: kind.to_owned(),
            },
            source,
        })
    }

    /// Another object that the same caller uses.
    pub(super) fn sibling(&self, reference: &Reference) -> wire::ProviderReference {
        let own = &self.reference;
        let namespace = reference.namespace.as_ref().unwrap_or(&own.namespace);
        wire::ProviderReference {
            api_version: reference
                .api_version
                .as_ref()
                .unwrap_or(&own.api_version)
                .clone(),
            kind: reference.kind.clone(),
            name: reference.name.clone(),
            namespace: namespace.clone(),
            store_ref_kind: kind_of_store(namespace, &self.source).to_owned(),
        }
    }

    /// Asks for the whole of one value.
    pub(super) fn request(&self, key: &str) -> wire::GetSecretRequest {
        self.request_of(key, "", "")
    }

    /// Asks for a version or a part, either of which may be empty.
    pub(super) fn request_of(
        &self,
        key: &str,
        version: &str,
        property: &str,
    ) -> wire::GetSecretRequest {
        wire::GetSecretRequest {
            remote_ref: Some(wire::ExternalSecretDataRemoteRef {
                key: key.to_owned(),
                version: version.to_owned(),
                property: property.to_owned(),
                ..Default::default()
            }),
            provider_ref: Some(self.reference.clone()),
            source_namespace: self.source.clone(),
        }
    }
}

// === impl Generator ===

impl Generator {
    pub(super) fn of(reference: &Reference, args: &ConformanceArgs) -> Result<Self, Failure> {
        let (namespace, source) = namespaces("--generator-ref", reference, args)?;
        let api_version = reference.api_version.as_deref().unwrap_or(GENERATOR_API);
        Ok(Self {
            reference: generator::GeneratorRef {
                api_version: api_version.to_owned(),
                kind: reference.kind.clone(),
                name: reference.name.clone(),
                namespace,
            },
            source,
        })
    }
}

/// The kind of store that may use an object there: only a cluster-wide one reaches another namespace (provider-protocol.md 9).
fn kind_of_store(namespace: &str, source: &str) -> &'static str {
    if namespace == source {
        "SecretStore"
    } else {
        "ClusterSecretStore"
    }
}

/// Where the object is, and for whom it is used; each stands for the other.
fn namespaces(
    flag: &str,
    reference: &Reference,
    args: &ConformanceArgs,
) -> Result<(String, String), Failure> {
    let namespace = reference.namespace.as_ref();
    let source = args.source_namespace.as_ref().or(namespace);
    match (namespace.or(source), source) {
        (Some(namespace), Some(source)) => Ok((namespace.clone(), source.clone())),
        _ => Err(Failure::new(
            exit::USAGE,
            format!(
                "{flag} has no namespace: write it as KIND/NAMESPACE/NAME or give --source-namespace"
            ),
        )),
    }
}

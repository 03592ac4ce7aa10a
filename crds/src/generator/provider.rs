//! `spec.providerConfig` of generators: that of stores, with another default for the configuration object's API.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::secret_store::{Auth, ProviderConfig, ProviderRef};
use crate::selectors::{DNS_LABEL, DNS_SUBDOMAIN};

/// `apiVersion` of a configuration object that names none.
pub const DEFAULT_GENERATOR_API_VERSION: &str = "provider.generator.external-secrets.io/v2alpha1";

/// How one provider is reached and which of its configuration objects is used.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GeneratorProviderConfig {
    /// Where the provider listens, as `host:port`, for example `provider-generators.secrets.svc:8080`. The prefixes `https://`,
    /// `grpcs://` and `dns:///` are allowed and change nothing: connections always use mutual TLS. Generators in a namespace may
    /// only name hosts that the administrator allows, by default Services of the cluster.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = (
        "!self.matches('^(http\\\\+)?unix(-abstract)?:')",
        "unix sockets are not supported: a provider is reached over the network with mutual TLS, as host:port"
    ))]
    #[x_kube(validation = (
        "!self.startsWith('http://')",
        "connections without TLS are not supported, use host:port"
    ))]
    #[x_kube(validation = (
        "self.matches('^(https://|grpcs://|dns:///)?(\\\\[[0-9a-fA-F:.]+\\\\]|[a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?):([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$')",
        "must be host:port with a port from 1 to 65535, optionally behind https://, grpcs:// or dns:///, without path, query or user"
    ))]
    pub address: String,
    /// The identity that is shown to the provider. Default: found by convention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// The provider's own configuration object: what is made, and how.
    pub provider_ref: GeneratorProviderRef,
}

/// A reference to a provider's configuration object.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GeneratorProviderRef {
    /// API of the object. Default `provider.generator.external-secrets.io/v2alpha1`. Providers made for External Secrets itself
    /// serve `generators.external-secrets.io/v1alpha1`.
    #[serde(
        default = "default_api_version",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(min = 1, max = 317))]
    #[x_kube(validation = ("self.matches('^[^/]+/[^/]+$')", "must be group/version"))]
    #[x_kube(validation = (
        "self.matches('^[^/]*[.][^/]*/') && !self.matches('^([^/]*[.])?k8s[.]io/')",
        "must be a provider's group, not one of Kubernetes itself"
    ))]
    pub api_version: Option<String>,
    /// Kind of the object, such as `Password`.
    #[schemars(regex(pattern = "^[A-Z][A-Za-z0-9]*$"), length(min = 1, max = 63))]
    pub kind: String,
    /// Name of the object.
    #[schemars(regex(pattern = DNS_SUBDOMAIN), length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the object. In a Generator empty or the own namespace, in a ClusterGenerator required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DNS_LABEL), length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

fn default_api_version() -> Option<String> {
    Some(DEFAULT_GENERATOR_API_VERSION.to_owned())
}

/// The same in the terms of stores, with the default of generators filled in.
impl From<&GeneratorProviderConfig> for ProviderConfig {
    fn from(config: &GeneratorProviderConfig) -> Self {
        let reference = &config.provider_ref;
        Self {
            address: config.address.clone(),
            auth: config.auth.clone(),
            provider_ref: ProviderRef {
                api_version: reference.api_version.clone().or_else(default_api_version),
                kind: reference.kind.clone(),
                name: reference.name.clone(),
                namespace: reference.namespace.clone(),
            },
        }
    }
}

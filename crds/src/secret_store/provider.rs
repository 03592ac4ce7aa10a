//! `spec.providerConfig`: the provider's address, the identity towards it, and its configuration object.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::selectors::{DATA_KEY, DNS_LABEL, DNS_SUBDOMAIN, SecretReference};

/// `apiVersion` of a provider's configuration object that names none.
pub const DEFAULT_PROVIDER_API_VERSION: &str = "provider.secretstore.external-secrets.io/v2alpha1";

/// How one provider is reached and which of its configuration objects is used.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderConfig {
    /// Where the provider listens, as `host:port`, for example `provider-vault.secrets.svc:8080`. The prefixes `https://`,
    /// `grpcs://` and `dns:///` are allowed and change nothing: connections always use mutual TLS. Stores in a namespace may
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
    /// The provider's own configuration object.
    pub provider_ref: ProviderRef,
}

/// The identity that is shown to a provider.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// Certificate of the connection. Absent or empty: found by convention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
    /// ServiceAccount whose token accompanies every call. Absent or empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_ref: Option<ServiceAccountTokenRef>,
}

/// Certificate, key and trusted authorities of a connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificate {
    /// Secret with `ca.crt` and `client.crt`, `client.key` or `tls.crt`, `tls.key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
    /// Key of the trusted authorities. Default `ca.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DATA_KEY), length(min = 1, max = 253))]
    pub ca_key: Option<String>,
    /// Key of the certificate. Default `client.crt`, else `tls.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DATA_KEY), length(min = 1, max = 253))]
    pub cert_key: Option<String>,
    /// Key of the private key. Default `client.key`, else `tls.key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DATA_KEY), length(min = 1, max = 253))]
    pub key_key: Option<String>,
    /// Name that the provider's certificate must carry. Default: the host of the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
}

/// Audience of a token whose store names none (provider-protocol.md P-TLS-5).
pub const DEFAULT_AUDIENCE: &str = "external-secrets-provider";

/// A ServiceAccount whose token accompanies every call. It needs no rights of its own, and should have none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountTokenRef {
    /// Name of the ServiceAccount. Absent: no token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DNS_SUBDOMAIN), length(min = 1, max = 253))]
    pub name: Option<String>,
    /// Namespace of the ServiceAccount. Empty or the own namespace in a SecretStore, required in a ClusterSecretStore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DNS_LABEL), length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// Who may accept the token. Default `external-secrets-provider`. Audiences of the API server are refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 512)))]
    pub audiences: Vec<String>,
}

/// A reference to a provider's configuration object.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderRef {
    /// API of the object. Default `provider.secretstore.external-secrets.io/v2alpha1`.
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
    /// Kind of the object, such as `HashicorpVault`.
    #[schemars(regex(pattern = "^[A-Z][A-Za-z0-9]*$"), length(min = 1, max = 63))]
    pub kind: String,
    /// Name of the object.
    #[schemars(regex(pattern = DNS_SUBDOMAIN), length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the object. In a SecretStore empty or the own namespace. In a ClusterSecretStore required, unless
    /// `authenticationScope` is `ManifestNamespace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DNS_LABEL), length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

fn default_api_version() -> Option<String> {
    Some(DEFAULT_PROVIDER_API_VERSION.to_owned())
}

// === impl ServiceAccountTokenRef ===

impl ServiceAccountTokenRef {
    /// Whether it names an account; one that does not means no token (pushsecret-and-stores.md AMB-08).
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.name.as_deref().is_some_and(|name| !name.is_empty())
    }

    /// Who may accept the token; [`DEFAULT_AUDIENCE`] if none is given.
    #[must_use]
    pub fn audiences(&self) -> Vec<String> {
        if self.audiences.is_empty() {
            return vec![DEFAULT_AUDIENCE.to_owned()];
        }
        self.audiences.clone()
    }
}

// === impl ProviderRef ===

impl ProviderRef {
    /// API of the object; [`DEFAULT_PROVIDER_API_VERSION`] if none is given.
    #[must_use]
    pub fn api_version(&self) -> &str {
        self.api_version
            .as_deref()
            .unwrap_or(DEFAULT_PROVIDER_API_VERSION)
    }
}

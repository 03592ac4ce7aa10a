//! `provider.secretstore.external-secrets.io/v2alpha1` HashicorpVault: a KV engine of HashiCorp Vault or OpenBao
//! (`providers.md` 8.1).

mod auth;

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use auth::{
    VaultAppRole, VaultAuth, VaultAwsCredentials, VaultCert, VaultGcp, VaultGcpSecretRef,
    VaultGcpWorkloadIdentity, VaultIam, VaultIamJwt, VaultJwt, VaultKubernetes,
    VaultKubernetesServiceAccountToken, VaultLdap, VaultUserPass,
};

use crate::provider_fake::ProviderResourceStatus;
use crate::selectors::{CaProvider, SecretKeySelector};
use crate::text_enum::text_enum;

/// How a Vault server is reached, which engine is read, and how to log in.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "provider.secretstore.external-secrets.io",
    version = "v2alpha1",
    kind = "HashicorpVault",
    plural = "hashicorpvaults",
    namespaced,
    status = "ProviderResourceStatus",
    derive = "Default",
    derive = "PartialEq",
    shortname = "hcvault",
    category = "external-secrets",
    category = "external-secrets-providers",
    doc = "HashicorpVault configures the provider for HashiCorp Vault and OpenBao.",
    printcolumn(name = "Server", type_ = "string", json_path = ".spec.server"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(validation = (
    "!has(self.checkAndSet) || !has(self.checkAndSet.required) || !self.checkAndSet.required || !has(self.version) || self.version == 'v2'",
    "checkAndSet is not supported with Vault KV version v1"
))]
pub struct HashicorpVaultSpec {
    /// URL of the server, for example `https://vault.example.com:8200`. `http://` is allowed.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = ("self.matches('^https?://[^/]')", "must start with http:// or https://"))]
    pub server: String,
    /// Mount path of the KV engine, for example `secret`; may contain `/`. With version `v2` it may be left out: then every key
    /// starts with the mount path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Version of the KV engine: `v1` or `v2`. Default `v2`.
    #[serde(default = "default_version", skip_serializing_if = "Option::is_none")]
    pub version: Option<VaultKvVersion>,
    /// Namespace in Vault for reading and writing secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Certificate authorities to trust for `https`, in PEM form and base64-encoded. Then no others are trusted. Wins over
    /// `caProvider`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "byte"))]
    pub ca_bundle: Option<String>,
    /// Object that holds the certificate authorities to trust for `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_provider: Option<CaProvider>,
    /// Client certificate for every call, login included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<VaultClientTls>,
    /// Whether reads see what was written just before, in a cluster of Vault Enterprise. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_your_writes: Option<bool>,
    /// Whether reads that a standby cannot answer yet are forwarded to the active node. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_inconsistent: Option<bool>,
    /// Headers for every request, login included.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How writes are protected against overwriting each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_and_set: Option<VaultCheckAndSet>,
    /// How to log in. Absent: no token is sent; something between here and the server adds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<VaultAuth>,
}

fn default_version() -> Option<VaultKvVersion> {
    Some(VaultKvVersion::V2)
}

text_enum! {
    /// Version of a KV engine.
    pub enum VaultKvVersion {
        /// Without versions of secrets.
        V1 = "v1",
        /// With versions of secrets.
        V2 = "v2",
    }
}

/// Client certificate for every call; both parts or none.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.certSecretRef) == has(self.keySecretRef)",
    "certSecretRef and keySecretRef must be set together"
))]
pub struct VaultClientTls {
    /// The certificate. Its default key is `tls.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_secret_ref: Option<SecretKeySelector>,
    /// The private key. Its default key is `tls.key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_secret_ref: Option<SecretKeySelector>,
}

/// How writes are protected against overwriting each other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultCheckAndSet {
    /// Whether every write names the version that it replaces. Default false; version `v2` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
}

// === impl HashicorpVaultSpec ===

impl HashicorpVaultSpec {
    /// Version of the KV engine; `v2` if none is given.
    #[must_use]
    pub fn version(&self) -> VaultKvVersion {
        self.version.unwrap_or(VaultKvVersion::V2)
    }
}

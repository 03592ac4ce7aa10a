//! `generator.external-secrets.io/v2alpha1` Generator and ClusterGenerator: how a provider that makes new values is reached and
//! used (`pushsecret-and-stores.md` B6).
//!
//! The group is not that of v1, `generators.external-secrets.io`, of which only [`crate::generator_state`] is left here. As for
//! stores, the rule that a Generator refers to its own namespace only cannot be stated in a schema; the agent checks it.

mod provider;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use provider::{DEFAULT_GENERATOR_API_VERSION, GeneratorProviderConfig, GeneratorProviderRef};

use crate::conditions::Condition;
use crate::secret_store::{GatingPolicy, NamespaceCondition, RetrySettings};
use crate::text_enum::text_enum;

/// Group and version of both kinds.
pub const API_VERSION: &str = "generator.external-secrets.io/v2alpha1";

/// How a provider that makes new values is reached and used, for one namespace.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "generator.external-secrets.io",
    version = "v2alpha1",
    kind = "Generator",
    plural = "generators",
    namespaced,
    status = "GeneratorStatus",
    derive = "Default",
    derive = "PartialEq",
    shortname = "gen2",
    category = "external-secrets",
    category = "external-secrets-generators",
    doc = "Generator tells how the ExternalSecrets of its namespace have new values made by a provider.",
    printcolumn(
        name = "AGE",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    )
)]
pub struct GeneratorSpec {
    /// Class of the controller that handles this generator. Default: every controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub controller: Option<String>,
    /// Time between two looks at the provider's health, as a duration such as `5m`. Default, and for `0s`: the controller's
    /// setting (5 minutes). It does not pace the making of values: that follows the ExternalSecret's own interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = ("duration(self) >= duration('0s')", "must be a duration of zero or more, such as 5m"))]
    pub refresh_interval: Option<String>,
    /// `Enabled` (the default) holds consumers back while this generator is not ready; `Disabled` never does.
    #[serde(
        default = "default_gating_policy",
        skip_serializing_if = "Option::is_none"
    )]
    pub gating_policy: Option<GatingPolicy>,
    /// How clean-ups at the provider are repeated. The making of values is never repeated within a sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_settings: Option<RetrySettings>,
    /// The provider: its address, the identity towards it, and its configuration object.
    pub provider_config: GeneratorProviderConfig,
}

/// How a provider that makes new values is reached and used, for many namespaces.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "generator.external-secrets.io",
    version = "v2alpha1",
    kind = "ClusterGenerator",
    plural = "clustergenerators",
    status = "GeneratorStatus",
    derive = "Default",
    derive = "PartialEq",
    shortname = "cgen2",
    category = "external-secrets",
    category = "external-secrets-generators",
    doc = "ClusterGenerator tells how ExternalSecrets of many namespaces have new values made by a provider.",
    printcolumn(
        name = "AGE",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    )
)]
#[x_kube(validation = (
    "has(self.providerConfig.providerRef.__namespace__)",
    "providerConfig.providerRef.namespace is required"
))]
#[x_kube(validation = (
    "!has(self.providerConfig.auth) || !has(self.providerConfig.auth.clientCertificate) || !has(self.providerConfig.auth.clientCertificate.secretRef) || has(self.providerConfig.auth.clientCertificate.secretRef.__namespace__)",
    "providerConfig.auth.clientCertificate.secretRef.namespace is required"
))]
#[x_kube(validation = (
    "!has(self.providerConfig.auth) || !has(self.providerConfig.auth.serviceAccountRef) || !has(self.providerConfig.auth.serviceAccountRef.name) || has(self.providerConfig.auth.serviceAccountRef.__namespace__)",
    "providerConfig.auth.serviceAccountRef.namespace is required"
))]
pub struct ClusterGeneratorSpec {
    /// Class of the controller that handles this generator. Default: every controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub controller: Option<String>,
    /// Time between two looks at the provider's health, as a duration such as `5m`. Default, and for `0s`: the controller's
    /// setting (5 minutes). It does not pace the making of values: that follows the ExternalSecret's own interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = ("duration(self) >= duration('0s')", "must be a duration of zero or more, such as 5m"))]
    pub refresh_interval: Option<String>,
    /// `Enabled` (the default) holds consumers back while this generator is not ready; `Disabled` never does.
    #[serde(
        default = "default_gating_policy",
        skip_serializing_if = "Option::is_none"
    )]
    pub gating_policy: Option<GatingPolicy>,
    /// How clean-ups at the provider are repeated. The making of values is never repeated within a sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_settings: Option<RetrySettings>,
    /// The provider: its address, the identity towards it, and its configuration object.
    pub provider_config: GeneratorProviderConfig,
    /// Which namespace supplies the provider's credentials: `ProviderReference` (the default), that of the provider's
    /// configuration object, or `ManifestReference`, that of the ExternalSecret.
    #[serde(
        default = "default_authentication_namespace",
        skip_serializing_if = "Option::is_none"
    )]
    pub authentication_namespace: Option<AuthenticationNamespace>,
    /// Namespaces that may use this generator; one matching entry is enough. Default: every namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub conditions: Vec<NamespaceCondition>,
}

fn default_gating_policy() -> Option<GatingPolicy> {
    Some(GatingPolicy::Enabled)
}

fn default_authentication_namespace() -> Option<AuthenticationNamespace> {
    Some(AuthenticationNamespace::ProviderReference)
}

text_enum! {
    /// Which namespace supplies the credentials of a cluster-wide generator (AMB-06).
    pub enum AuthenticationNamespace {
        /// That of the provider's configuration object.
        ProviderReference = "ProviderReference",
        /// That of the ExternalSecret.
        ManifestReference = "ManifestReference",
    }
}

/// What was observed of a generator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GeneratorStatus {
    /// Conditions. `Ready` tells whether the generator can be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The generation of this object that the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

//! `secretstore.external-secrets.io/v2alpha1` SecretStore and ClusterSecretStore: how a provider is reached and used
//! (`pushsecret-and-stores.md` part B).
//!
//! CEL in a schema cannot see an object's namespace. The rule that a SecretStore only refers to its own namespace is therefore
//! in code: [`SecretStore::namespace_violations`].

mod provider;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use provider::{
    Auth, ClientCertificate, DEFAULT_AUDIENCE, DEFAULT_PROVIDER_API_VERSION, ProviderConfig,
    ProviderRef, ServiceAccountTokenRef,
};

use crate::conditions::Condition;
use crate::duration::{self, InvalidDuration};
use crate::selectors::DNS_LABEL;
use crate::text_enum::text_enum;

/// Retries of a store whose `retrySettings` name no number.
pub const DEFAULT_MAX_RETRIES: u32 = 3;
/// Pause of a store whose `retrySettings` name none.
pub const DEFAULT_RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// How a provider is reached and used, for one namespace.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "secretstore.external-secrets.io",
    version = "v2alpha1",
    kind = "SecretStore",
    plural = "secretstores",
    namespaced,
    status = "SecretStoreStatus",
    derive = "Default",
    derive = "PartialEq",
    shortname = "ss2",
    category = "external-secrets",
    doc = "SecretStore tells how the ExternalSecrets of its namespace reach a provider.",
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
        name = "Capabilities",
        type_ = "string",
        json_path = ".status.capabilities"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    )
)]
pub struct SecretStoreSpec {
    /// Class of the controller that handles this store. Default: every controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub controller: Option<String>,
    /// Time between two validations of this store, as a duration such as `5m`. Default, and for `0s`: the controller's setting
    /// (5 minutes). It does not pace the refresh of secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = ("duration(self) >= duration('0s')", "must be a duration of zero or more, such as 5m"))]
    pub refresh_interval: Option<String>,
    /// `Enabled` (the default) holds consumers back while this store is not ready; `Disabled` never does.
    #[serde(
        default = "default_gating_policy",
        skip_serializing_if = "Option::is_none"
    )]
    pub gating_policy: Option<GatingPolicy>,
    /// How calls to the provider are repeated. Default: 3 attempts with growing pauses from 100 ms to 10 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_settings: Option<RetrySettings>,
    /// The provider: its address, the identity towards it, and its configuration object.
    pub provider_config: ProviderConfig,
}

/// How a provider is reached and used, for many namespaces.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "secretstore.external-secrets.io",
    version = "v2alpha1",
    kind = "ClusterSecretStore",
    plural = "clustersecretstores",
    status = "SecretStoreStatus",
    derive = "Default",
    derive = "PartialEq",
    shortname = "css2",
    category = "external-secrets",
    doc = "ClusterSecretStore tells how ExternalSecrets of many namespaces reach a provider.",
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
        name = "Capabilities",
        type_ = "string",
        json_path = ".status.capabilities"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    )
)]
#[x_kube(validation = (
    "(has(self.authenticationScope) && self.authenticationScope == 'ManifestNamespace') || has(self.providerConfig.providerRef.__namespace__)",
    "providerConfig.providerRef.namespace is required when authenticationScope is ProviderNamespace"
))]
#[x_kube(validation = (
    "!has(self.providerConfig.auth) || !has(self.providerConfig.auth.clientCertificate) || !has(self.providerConfig.auth.clientCertificate.secretRef) || has(self.providerConfig.auth.clientCertificate.secretRef.__namespace__)",
    "providerConfig.auth.clientCertificate.secretRef.namespace is required"
))]
#[x_kube(validation = (
    "!has(self.providerConfig.auth) || !has(self.providerConfig.auth.serviceAccountRef) || !has(self.providerConfig.auth.serviceAccountRef.name) || has(self.providerConfig.auth.serviceAccountRef.__namespace__)",
    "providerConfig.auth.serviceAccountRef.namespace is required"
))]
pub struct ClusterSecretStoreSpec {
    /// Class of the controller that handles this store. Default: every controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub controller: Option<String>,
    /// Time between two validations of this store, as a duration such as `5m`. Default, and for `0s`: the controller's setting
    /// (5 minutes). It does not pace the refresh of secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = ("duration(self) >= duration('0s')", "must be a duration of zero or more, such as 5m"))]
    pub refresh_interval: Option<String>,
    /// `Enabled` (the default) holds consumers back while this store is not ready; `Disabled` never does.
    #[serde(
        default = "default_gating_policy",
        skip_serializing_if = "Option::is_none"
    )]
    pub gating_policy: Option<GatingPolicy>,
    /// How calls to the provider are repeated. Default: 3 attempts with growing pauses from 100 ms to 10 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_settings: Option<RetrySettings>,
    /// The provider: its address, the identity towards it, and its configuration object.
    pub provider_config: ProviderConfig,
    /// Which namespace supplies the provider's credentials: `ProviderNamespace` (the default), that of the provider's
    /// configuration object, or `ManifestNamespace`, that of the ExternalSecret.
    #[serde(
        default = "default_authentication_scope",
        skip_serializing_if = "Option::is_none"
    )]
    pub authentication_scope: Option<AuthenticationScope>,
    /// Namespaces that may use this store; one matching entry is enough. Default: every namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub conditions: Vec<NamespaceCondition>,
}

fn default_gating_policy() -> Option<GatingPolicy> {
    Some(GatingPolicy::Enabled)
}

fn default_authentication_scope() -> Option<AuthenticationScope> {
    Some(AuthenticationScope::ProviderNamespace)
}

text_enum! {
    /// Whether consumers wait for a store to be ready.
    pub enum GatingPolicy {
        /// They wait.
        Enabled = "Enabled",
        /// Health is reported, nothing waits.
        Disabled = "Disabled",
    }
}

text_enum! {
    /// Which namespace supplies the credentials of a cluster-wide store.
    pub enum AuthenticationScope {
        /// That of the provider's configuration object.
        ProviderNamespace = "ProviderNamespace",
        /// That of the ExternalSecret.
        ManifestNamespace = "ManifestNamespace",
    }
}

/// How calls to a provider are repeated.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetrySettings {
    /// Retries after the first attempt, 0 to 10. Default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10))]
    pub max_retries: Option<i32>,
    /// Pause before a retry, `100ms` to `5m`; up to a quarter is added at random. Default `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = (
        "duration(self) >= duration('100ms') && duration(self) <= duration('5m')",
        "must be a duration from 100ms to 5m"
    ))]
    pub retry_interval: Option<String>,
}

/// Namespaces that may use a store. What is set is ORed; an entry with nothing set matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceCondition {
    /// Matches labels of the namespace. `{}` matches every namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Names of namespaces, compared with their label `kubernetes.io/metadata.name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(pattern = DNS_LABEL), length(min = 1, max = 63)))]
    pub namespaces: Vec<String>,
    /// Regular expressions in RE2 syntax for names of namespaces. They may match anywhere in the name unless anchored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespace_regexes: Vec<String>,
}

text_enum! {
    /// What a store can do.
    pub enum Capabilities {
        /// Values can be read.
        ReadOnly = "ReadOnly",
        /// Values can be written.
        WriteOnly = "WriteOnly",
        /// Both.
        ReadWrite = "ReadWrite",
    }
}

/// What was observed of a store (`pushsecret-and-stores.md` B3).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretStoreStatus {
    /// Conditions. `Ready` tells whether the store can be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What the provider can do: `ReadOnly`, `WriteOnly` or `ReadWrite`. Set by the first successful validation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// The generation of this object that the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What the provider tells about itself, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderStatus>,
}

/// What a provider tells about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderStatus {
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The optional features that it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
}

// === impl SecretStore ===

impl SecretStore {
    /// References to other namespaces than the store's own, one message each (SB-03, SB-04). Empty means that there is none.
    #[must_use]
    pub fn namespace_violations(&self) -> Vec<String> {
        let own = self.metadata.namespace.as_deref().unwrap_or_default();
        let config = &self.spec.provider_config;
        let auth = config.auth.as_ref();
        let certificate = auth.and_then(|auth| {
            auth.client_certificate
                .as_ref()?
                .secret_ref
                .as_ref()?
                .namespace
                .as_deref()
        });
        let account = auth.and_then(|auth| auth.service_account_ref.as_ref()?.namespace.as_deref());
        [
            (
                "providerConfig.providerRef.namespace",
                config.provider_ref.namespace.as_deref(),
            ),
            (
                "providerConfig.auth.clientCertificate.secretRef.namespace",
                certificate,
            ),
            ("providerConfig.auth.serviceAccountRef.namespace", account),
        ]
        .into_iter()
        .filter_map(|(field, namespace)| {
            let namespace =
                namespace.filter(|namespace| !namespace.is_empty() && *namespace != own)?;
            Some(format!(
                "spec.{field} must be empty or \"{own}\", not \"{namespace}\""
            ))
        })
        .collect()
    }
}

// === impl RetrySettings ===

impl RetrySettings {
    /// Retries after the first attempt, within 0 to 10; [`DEFAULT_MAX_RETRIES`] if none are given.
    #[must_use]
    pub fn max_retries(&self) -> u32 {
        self.max_retries.map_or(DEFAULT_MAX_RETRIES, |retries| {
            u32::try_from(retries.clamp(0, 10)).unwrap_or_default()
        })
    }

    /// Pause before a retry; [`DEFAULT_RETRY_INTERVAL`] if none is given.
    ///
    /// # Errors
    ///
    /// The text is no duration.
    pub fn retry_interval(&self) -> Result<Duration, InvalidDuration> {
        match self.retry_interval.as_deref() {
            None => Ok(DEFAULT_RETRY_INTERVAL),
            Some(text) => {
                let parsed = duration::parse("spec.retrySettings.retryInterval", text)?;
                Ok(parsed.positive().unwrap_or_default())
            }
        }
    }
}

/// The time between two validations that `text` asks for; `None` for no text or zero, which mean the controller's setting.
///
/// # Errors
///
/// The text is no duration, or a negative one.
pub fn validation_interval(text: Option<&str>) -> Result<Option<Duration>, InvalidDuration> {
    let Some(text) = text else { return Ok(None) };
    let parsed = duration::parse("spec.refreshInterval", text)?;
    if parsed.is_negative {
        return Err(InvalidDuration {
            field: "spec.refreshInterval",
            text: text.to_owned(),
        });
    }
    Ok(parsed.positive())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_may_only_refer_to_its_own_namespace() {
        // pushsecret-and-stores.md SB-03, SB-04, AMB-04
        let store = |namespace: &str| -> SecretStore {
            serde_json::from_value(serde_json::json!({
                "apiVersion": "secretstore.external-secrets.io/v2alpha1",
                "kind": "SecretStore",
                "metadata": { "name": "s", "namespace": "a" },
                "spec": { "providerConfig": {
                    "address": "p.a.svc:8080",
                    "auth": {
                        "clientCertificate": { "secretRef": { "name": "c", "namespace": namespace } },
                        "serviceAccountRef": { "name": "x", "namespace": namespace },
                    },
                    "providerRef": { "kind": "Fake", "name": "f", "namespace": namespace },
                } },
            }))
            .unwrap()
        };
        assert_eq!(store("a").namespace_violations(), Vec::<String>::new());
        assert_eq!(
            store("b").namespace_violations(),
            [
                "spec.providerConfig.providerRef.namespace must be empty or \"a\", not \"b\"",
                "spec.providerConfig.auth.clientCertificate.secretRef.namespace must be empty or \"a\", not \"b\"",
                "spec.providerConfig.auth.serviceAccountRef.namespace must be empty or \"a\", not \"b\"",
            ]
        );
    }

    #[test]
    fn validation_intervals_are_zero_or_more() {
        // pushsecret-and-stores.md B2, X-091; externalsecret.md E225 (all but whole seconds, which only v1 takes)
        for none in [None, Some("0s"), Some("0")] {
            assert_eq!(validation_interval(none), Ok(None), "{none:?}");
        }
        for (text, seconds) in [("90s", 90), ("5m", 300), ("1h", 3600)] {
            assert_eq!(
                validation_interval(Some(text)),
                Ok(Some(Duration::from_secs(seconds)))
            );
        }
        for bad in ["nonsense", "-5m", "-5", "10", "300"] {
            assert!(validation_interval(Some(bad)).is_err(), "{bad}");
        }
    }
}

//! One model behind both kinds of store and both kinds of generator.

use std::fmt;

use kube::ResourceExt as _;
use latchkey_crds::conditions::{self, Condition};
use latchkey_crds::external_secret::StoreKind;
use latchkey_crds::generator::{
    AuthenticationNamespace, ClusterGenerator, Generator, GeneratorStatus,
};
use latchkey_crds::secret_store::{
    AuthenticationScope, Capabilities, ClusterSecretStore, GatingPolicy, NamespaceCondition,
    ProviderConfig, RetrySettings, SecretStore, SecretStoreStatus,
};

use super::callers::CallerAnnotations;

/// Which store or generator. The API groups are always those of v2alpha1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreKey {
    /// Namespace of a SecretStore or Generator; empty for the cluster-wide kinds.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    cluster: bool,
    generator: bool,
}

// === impl StoreKey ===

impl StoreKey {
    /// A SecretStore.
    #[must_use]
    pub fn namespaced(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            cluster: false,
            generator: false,
        }
    }

    /// A ClusterSecretStore.
    #[must_use]
    pub fn cluster(name: &str) -> Self {
        Self {
            namespace: String::new(),
            name: name.to_owned(),
            cluster: true,
            generator: false,
        }
    }

    /// A Generator.
    #[must_use]
    pub fn generator(namespace: &str, name: &str) -> Self {
        Self {
            generator: true,
            ..Self::namespaced(namespace, name)
        }
    }

    /// A ClusterGenerator.
    #[must_use]
    pub fn cluster_generator(name: &str) -> Self {
        Self {
            generator: true,
            ..Self::cluster(name)
        }
    }

    /// The kind of the object.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match (self.generator, self.cluster) {
            (true, true) => "ClusterGenerator",
            (true, false) => "Generator",
            (false, _) => self.scope().as_str(),
        }
    }

    /// The API group of the object.
    #[must_use]
    pub const fn group(&self) -> &'static str {
        if self.generator {
            "generator.external-secrets.io"
        } else {
            "secretstore.external-secrets.io"
        }
    }

    /// The kind of store whose rules about namespaces hold for it: those of a Generator are those of a SecretStore.
    #[must_use]
    pub const fn scope(&self) -> StoreKind {
        if self.cluster {
            StoreKind::ClusterSecretStore
        } else {
            StoreKind::SecretStore
        }
    }

    /// Whether it is a ClusterSecretStore or ClusterGenerator.
    #[must_use]
    pub const fn is_cluster(&self) -> bool {
        self.cluster
    }

    /// Whether it is a Generator or ClusterGenerator.
    #[must_use]
    pub const fn is_generator(&self) -> bool {
        self.generator
    }
}

impl fmt::Display for StoreKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} \"{}\"", self.kind(), self.name)
    }
}

/// A store or generator of either kind, as it was read. Nothing in it has been checked: see [`super::Policy::check`].
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// Which one.
    pub key: StoreKey,
    /// UID of the object.
    pub uid: String,
    /// `metadata.generation`; part of every key under which something derived from the store is kept (P-CL-2).
    pub generation: Option<i64>,
    /// Class of the controller that handles it; empty means every one.
    pub controller: String,
    /// `spec.refreshInterval` as written.
    pub refresh_interval: Option<String>,
    /// Whether consumers wait for it to be ready.
    pub is_gated: bool,
    /// `spec.retrySettings`.
    pub retry: Option<RetrySettings>,
    /// `spec.providerConfig`.
    pub provider: ProviderConfig,
    /// Which namespace supplies credentials; that of the object for a SecretStore and a Generator. The words of generators mean
    /// the same (AMB-06).
    pub scope: AuthenticationScope,
    /// Namespaces that may use it; empty means every one. Always empty for a SecretStore and a Generator.
    pub conditions: Vec<NamespaceCondition>,
    /// Annotations by which it is read under the identity of pods.
    pub caller: CallerAnnotations,
    /// The status as it was read.
    pub status: SecretStoreStatus,
}

// === impl Store ===

impl Store {
    /// The condition `Ready`, if it was ever written.
    #[must_use]
    pub fn ready(&self) -> Option<&Condition> {
        conditions::find(&self.status.conditions, conditions::READY)
    }

    /// What its provider supports, if that is known.
    #[must_use]
    pub const fn capabilities(&self) -> Option<Capabilities> {
        self.status.capabilities
    }

    /// References to foreign namespaces that its kind does not allow, one message each (SB-03, SB-04), and missing ones that
    /// its kind requires.
    #[must_use]
    pub fn namespace_violations(&self) -> Vec<String> {
        let config = &self.provider;
        let auth = config.auth.as_ref();
        let certificate =
            auth.and_then(|auth| auth.client_certificate.as_ref()?.secret_ref.as_ref());
        let account = auth.and_then(|auth| {
            auth.service_account_ref
                .as_ref()
                .filter(|account| account.is_set())
        });
        let own = self.key.namespace.as_str();
        let references = [
            // The provider's object may be left to the caller's namespace, but not that of a generator.
            (
                "providerConfig.providerRef.namespace",
                Some(config.provider_ref.namespace.as_deref()),
                self.scope == AuthenticationScope::ProviderNamespace || self.key.is_generator(),
            ),
            (
                "providerConfig.auth.clientCertificate.secretRef.namespace",
                certificate.map(|reference| reference.namespace.as_deref()),
                true,
            ),
            (
                "providerConfig.auth.serviceAccountRef.namespace",
                account.map(|reference| reference.namespace.as_deref()),
                true,
            ),
        ];
        references
            .into_iter()
            .filter_map(|(field, namespace, is_required)| {
                let namespace = namespace?.unwrap_or_default();
                if self.key.is_cluster() {
                    (namespace.is_empty() && is_required)
                        .then(|| format!("spec.{field} is required"))
                } else {
                    (!namespace.is_empty() && namespace != own).then(|| {
                        format!("spec.{field} must be empty or \"{own}\", not \"{namespace}\"")
                    })
                }
            })
            .collect()
    }
}

impl From<&SecretStore> for Store {
    fn from(object: &SecretStore) -> Self {
        let spec = &object.spec;
        Self {
            key: StoreKey::namespaced(&object.namespace().unwrap_or_default(), &object.name_any()),
            uid: object.uid().unwrap_or_default(),
            generation: object.metadata.generation,
            controller: spec.controller.clone().unwrap_or_default(),
            refresh_interval: spec.refresh_interval.clone(),
            is_gated: spec.gating_policy != Some(GatingPolicy::Disabled),
            retry: spec.retry_settings.clone(),
            provider: spec.provider_config.clone(),
            scope: AuthenticationScope::ProviderNamespace,
            conditions: Vec::new(),
            caller: CallerAnnotations::of(object.annotations()),
            status: object.status.clone().unwrap_or_default(),
        }
    }
}

impl From<&ClusterSecretStore> for Store {
    fn from(object: &ClusterSecretStore) -> Self {
        let spec = &object.spec;
        Self {
            key: StoreKey::cluster(&object.name_any()),
            uid: object.uid().unwrap_or_default(),
            generation: object.metadata.generation,
            controller: spec.controller.clone().unwrap_or_default(),
            refresh_interval: spec.refresh_interval.clone(),
            is_gated: spec.gating_policy != Some(GatingPolicy::Disabled),
            retry: spec.retry_settings.clone(),
            provider: spec.provider_config.clone(),
            scope: spec
                .authentication_scope
                .unwrap_or(AuthenticationScope::ProviderNamespace),
            conditions: spec.conditions.clone(),
            caller: CallerAnnotations::of(object.annotations()),
            status: object.status.clone().unwrap_or_default(),
        }
    }
}

impl From<&Generator> for Store {
    fn from(object: &Generator) -> Self {
        let spec = &object.spec;
        Self {
            key: StoreKey::generator(&object.namespace().unwrap_or_default(), &object.name_any()),
            uid: object.uid().unwrap_or_default(),
            generation: object.metadata.generation,
            controller: spec.controller.clone().unwrap_or_default(),
            refresh_interval: spec.refresh_interval.clone(),
            is_gated: spec.gating_policy != Some(GatingPolicy::Disabled),
            retry: spec.retry_settings.clone(),
            provider: ProviderConfig::from(&spec.provider_config),
            scope: AuthenticationScope::ProviderNamespace,
            conditions: Vec::new(),
            caller: CallerAnnotations::of(object.annotations()),
            status: status_of(object.status.as_ref()),
        }
    }
}

impl From<&ClusterGenerator> for Store {
    fn from(object: &ClusterGenerator) -> Self {
        let spec = &object.spec;
        Self {
            key: StoreKey::cluster_generator(&object.name_any()),
            uid: object.uid().unwrap_or_default(),
            generation: object.metadata.generation,
            controller: spec.controller.clone().unwrap_or_default(),
            refresh_interval: spec.refresh_interval.clone(),
            is_gated: spec.gating_policy != Some(GatingPolicy::Disabled),
            retry: spec.retry_settings.clone(),
            provider: ProviderConfig::from(&spec.provider_config),
            scope: match spec.authentication_namespace {
                Some(AuthenticationNamespace::ManifestReference) => {
                    AuthenticationScope::ManifestNamespace
                }
                Some(AuthenticationNamespace::ProviderReference) | None => {
                    AuthenticationScope::ProviderNamespace
                }
            },
            conditions: spec.conditions.clone(),
            caller: CallerAnnotations::of(object.annotations()),
            status: status_of(object.status.as_ref()),
        }
    }
}

fn status_of(status: Option<&GeneratorStatus>) -> SecretStoreStatus {
    let status = status.cloned().unwrap_or_default();
    SecretStoreStatus {
        conditions: status.conditions,
        observed_generation: status.observed_generation,
        ..SecretStoreStatus::default()
    }
}

/// Stores for the tests of this crate.
#[cfg(test)]
pub(crate) mod fixtures {
    use super::{ClusterGenerator, ClusterSecretStore, Generator, SecretStore, Store};

    /// A SecretStore `bao` in `team-a` with the given `spec` beside a default `providerConfig`.
    pub(crate) fn namespaced(provider_config: serde_json::Value, rest: serde_json::Value) -> Store {
        let object: SecretStore = serde_json::from_value(serde_json::json!({
            "apiVersion": "secretstore.external-secrets.io/v2alpha1",
            "kind": "SecretStore",
            "metadata": { "name": "bao", "namespace": "team-a", "uid": "u1", "generation": 2 },
            "spec": merged(provider_config, rest),
        }))
        .unwrap();
        Store::from(&object)
    }

    /// A ClusterSecretStore `bao`.
    pub(crate) fn cluster(provider_config: serde_json::Value, rest: serde_json::Value) -> Store {
        let object: ClusterSecretStore = serde_json::from_value(serde_json::json!({
            "apiVersion": "secretstore.external-secrets.io/v2alpha1",
            "kind": "ClusterSecretStore",
            "metadata": { "name": "bao", "uid": "u2", "generation": 3 },
            "spec": merged(provider_config, rest),
        }))
        .unwrap();
        Store::from(&object)
    }

    /// A Generator `pass` in `team-a`.
    pub(crate) fn generator(provider_config: serde_json::Value, rest: serde_json::Value) -> Store {
        let object: Generator = serde_json::from_value(serde_json::json!({
            "apiVersion": latchkey_crds::generator::API_VERSION,
            "kind": "Generator",
            "metadata": { "name": "pass", "namespace": "team-a", "uid": "u3", "generation": 4 },
            "spec": merged(provider_config, rest),
        }))
        .unwrap();
        Store::from(&object)
    }

    /// A ClusterGenerator `pass`.
    pub(crate) fn cluster_generator(
        provider_config: serde_json::Value,
        rest: serde_json::Value,
    ) -> Store {
        let object: ClusterGenerator = serde_json::from_value(serde_json::json!({
            "apiVersion": latchkey_crds::generator::API_VERSION,
            "kind": "ClusterGenerator",
            "metadata": { "name": "pass", "uid": "u4", "generation": 5 },
            "spec": merged(provider_config, rest),
        }))
        .unwrap();
        Store::from(&object)
    }

    fn merged(provider_config: serde_json::Value, rest: serde_json::Value) -> serde_json::Value {
        let mut config = serde_json::json!({
            "address": "provider-bao.secrets.svc:8080",
            "providerRef": { "kind": "HashicorpVault", "name": "vault" },
        });
        overlay(&mut config, provider_config);
        let mut spec = serde_json::json!({ "providerConfig": config });
        overlay(&mut spec, rest);
        spec
    }

    fn overlay(base: &mut serde_json::Value, over: serde_json::Value) {
        match (base, over) {
            (serde_json::Value::Object(base), serde_json::Value::Object(over)) => {
                for (key, value) in over {
                    overlay(base.entry(key).or_insert(serde_json::Value::Null), value);
                }
            }
            (base, over) => *base = over,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::fixtures::{cluster, cluster_generator, generator, namespaced};

    #[test]
    fn generators_stay_in_their_namespace_and_cluster_ones_always_name_theirs() {
        // SB-14, B6.
        let none = Vec::<String>::new();
        let foreign = json!({"providerRef": {"namespace": "team-b"}});
        assert_eq!(generator(json!({}), json!({})).namespace_violations(), none);
        assert_eq!(
            generator(foreign.clone(), json!({})).namespace_violations(),
            [
                "spec.providerConfig.providerRef.namespace must be empty or \"team-a\", not \"team-b\""
            ]
        );
        assert_eq!(
            cluster_generator(foreign, json!({})).namespace_violations(),
            none
        );
        for scope in ["ProviderReference", "ManifestReference"] {
            let rest = json!({ "authenticationNamespace": scope });
            assert_eq!(
                cluster_generator(json!({}), rest).namespace_violations(),
                ["spec.providerConfig.providerRef.namespace is required"],
                "{scope}"
            );
        }
    }

    #[test]
    fn namespaced_stores_stay_in_their_namespace_and_cluster_ones_name_theirs() {
        // SB-03, SB-04, AMB-04, B2.
        let none = Vec::<String>::new();
        assert_eq!(
            namespaced(json!({}), json!({})).namespace_violations(),
            none
        );
        assert_eq!(
            namespaced(json!({"providerRef": {"namespace": "team-a"}}), json!({}))
                .namespace_violations(),
            none
        );
        let foreign = namespaced(
            json!({
                "providerRef": {"namespace": "team-b"},
                "auth": {
                    "clientCertificate": {"secretRef": {"name": "c", "namespace": "team-b"}},
                    "serviceAccountRef": {"name": "s", "namespace": "team-b"},
                },
            }),
            json!({}),
        );
        assert_eq!(foreign.namespace_violations().len(), 3);
        let missing = cluster(
            json!({"auth": {"clientCertificate": {"secretRef": {"name": "c"}}}}),
            json!({}),
        );
        assert_eq!(
            missing.namespace_violations(),
            [
                "spec.providerConfig.providerRef.namespace is required",
                "spec.providerConfig.auth.clientCertificate.secretRef.namespace is required",
            ]
        );
        let manifest = cluster(
            json!({}),
            json!({"authenticationScope": "ManifestNamespace"}),
        );
        assert_eq!(manifest.namespace_violations(), none);
    }
}

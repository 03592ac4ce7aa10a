//! What this agent allows of stores.

use std::time::Duration;

use latchkey_crds::conditions::{ConditionStatus, store_reasons};
use latchkey_crds::secret_store::{
    ClientCertificate, ProviderRef, RetrySettings, validation_interval,
};
use latchkey_engine::source::CallerNeeds;
use latchkey_transport::Address;

use super::accounts::{self, TokenSource};
use super::callers;
use super::conditions;
use super::hosts::AllowedHosts;
use super::model::Store;

/// Settings that decide whether a store is used.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `--controller-class`.
    pub controller_class: String,
    /// `--allowed-provider-hosts`; binds stores of a namespace.
    pub allowed_hosts: AllowedHosts,
    /// `--enable-flood-gate`; off, no store holds consumers back.
    pub flood_gate: bool,
}

/// A store that passed every local check.
#[derive(Clone, Debug)]
pub struct Usable {
    /// Where its provider listens.
    pub address: Address,
    /// The Secret with its own client certificate, if it names one.
    pub certificate: Option<CertificateSource>,
    /// Whose token accompanies its calls, if it names an account.
    pub token: Option<TokenSource>,
    /// What it wants to know of the pods that read it.
    pub caller: CallerNeeds,
    /// Name that the provider's certificate must carry instead of the host.
    pub server_name: Option<String>,
    /// How calls are repeated, if the store says so.
    pub retry: Option<RetryOverride>,
}

/// `spec.retrySettings` in numbers (P-RT-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryOverride {
    /// Retries after the first attempt.
    pub retries: u32,
    /// Pause before each.
    pub interval: Duration,
}

/// `auth.clientCertificate`: which Secret and which of its keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateSource {
    /// Namespace of the Secret, never empty.
    pub namespace: String,
    /// Name of the Secret.
    pub name: String,
    /// Key of the authorities.
    pub ca_key: Option<String>,
    /// Key of the certificate.
    pub cert_key: Option<String>,
    /// Key of the private key.
    pub key_key: Option<String>,
}

/// Why a store cannot be used, whoever asks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unusable {
    /// Reason of the condition: `UnsupportedAddress` or `InvalidStoreConfiguration`.
    pub reason: &'static str,
    /// What is wrong, naming fields.
    pub message: String,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            controller_class: "default".into(),
            allowed_hosts: AllowedHosts::default(),
            flood_gate: true,
        }
    }
}

impl Policy {
    /// Whether this agent handles `store` at all.
    #[must_use]
    pub fn manages(&self, store: &Store) -> bool {
        store.controller.is_empty() || store.controller == self.controller_class
    }

    /// Whether consumers may use `store` now (B4). A store that was never validated holds them back.
    #[must_use]
    pub fn gate(&self, store: &Store) -> bool {
        if !self.flood_gate || !store.is_gated {
            return true;
        }
        store
            .ready()
            .is_some_and(|ready| ready.status != ConditionStatus::False)
    }

    /// Checks everything about `store` that needs no other object: what admission checks too, and what it cannot.
    ///
    /// # Errors
    ///
    /// [`Unusable`] with the condition's reason and message.
    pub fn check(&self, store: &Store) -> Result<Usable, Unusable> {
        let address = self.address(store)?;
        let mut violations = store.namespace_violations();
        violations.extend(accounts::violations(store));
        violations.extend(callers::violations(store));
        violations.extend(reference_violations(&store.provider.provider_ref));
        if let Err(error) = validation_interval(store.refresh_interval.as_deref()) {
            violations.push(error.to_string());
        }
        let retry = store.retry.as_ref().map(retry_override).transpose();
        let retry = retry.unwrap_or_else(|violation| {
            violations.push(violation);
            None
        });
        violations.extend(conditions::violations(&store.conditions));
        if !violations.is_empty() {
            return Err(Unusable {
                reason: store_reasons::INVALID_STORE_CONFIGURATION,
                message: violations.join("; "),
            });
        }
        let auth = store.provider.auth.as_ref();
        let certificate = auth.and_then(|auth| auth.client_certificate.as_ref());
        Ok(Usable {
            address,
            certificate: certificate.and_then(|certificate| certificate_source(store, certificate)),
            token: TokenSource::of(store),
            caller: store.caller.needs(),
            server_name: certificate.and_then(|certificate| certificate.server_name.clone()),
            retry,
        })
    }

    fn address(&self, store: &Store) -> Result<Address, Unusable> {
        let unsupported = |message| Unusable {
            reason: store_reasons::UNSUPPORTED_ADDRESS,
            message,
        };
        let address = store.provider.address.parse::<Address>();
        let address = address.map_err(|error| {
            unsupported(format!(
                "spec.providerConfig.address cannot be used: {error}"
            ))
        })?;
        if store.key.is_cluster() || self.allowed_hosts.allows(address.host()) {
            return Ok(address);
        }
        Err(unsupported(format!(
            "spec.providerConfig.address names the host \"{}\", a {} may only use {}",
            address.host(),
            store.key.kind(),
            self.allowed_hosts.patterns()
        )))
    }
}

/// What is wrong with the reference to the provider's object, field by field.
fn reference_violations(reference: &ProviderRef) -> Vec<String> {
    let api_version = reference.api_version();
    let wrong = api_version_violation(api_version).map(|violation| {
        format!("spec.providerConfig.providerRef.apiVersion \"{api_version}\" {violation}")
    });
    let needed = [("kind", &reference.kind), ("name", &reference.name)];
    let missing = needed.iter().filter(|(_, value)| value.is_empty());
    let missing =
        missing.map(|(field, _)| format!("spec.providerConfig.providerRef.{field} is required"));
    wrong.into_iter().chain(missing).collect()
}

/// The store's own retries, or what is wrong with them.
fn retry_override(settings: &RetrySettings) -> Result<RetryOverride, String> {
    let interval = settings.retry_interval();
    Ok(RetryOverride {
        retries: settings.max_retries(),
        // The schema bounds it; an object that is older than the schema must not spin.
        interval: interval
            .map_err(|error| error.to_string())?
            .clamp(Duration::from_millis(100), Duration::from_secs(300)),
    })
}

/// Where the store's own certificate is, if it has one.
fn certificate_source(store: &Store, certificate: &ClientCertificate) -> Option<CertificateSource> {
    let reference = certificate.secret_ref.as_ref()?;
    let namespace = reference.namespace.as_deref();
    let namespace = namespace.filter(|namespace| !namespace.is_empty());
    Some(CertificateSource {
        namespace: namespace.unwrap_or(&store.key.namespace).to_owned(),
        name: reference.name.clone(),
        ca_key: certificate.ca_key.clone(),
        cert_key: certificate.cert_key.clone(),
        key_key: certificate.key_key.clone(),
    })
}

/// Why `api_version` cannot name a provider's object (B2, AMB-27).
fn api_version_violation(api_version: &str) -> Option<&'static str> {
    match api_version.split_once('/') {
        Some((group, version))
            if !group.is_empty() && !version.is_empty() && !version.contains('/') =>
        {
            (!group.contains('.') || group == "k8s.io" || group.ends_with(".k8s.io"))
                .then_some("must be of a provider's group, not of one of Kubernetes itself")
        }
        _ => Some("must be group/version"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::super::model::fixtures::{cluster, cluster_generator, generator, namespaced};
    use super::{Policy, RetryOverride};

    #[test]
    fn unusable_stores_are_named_with_reason_and_field() {
        let address = |text: &str| namespaced(json!({ "address": text }), json!({}));
        let cases = [
            (
                address("unix:///run/p.sock"),
                "UnsupportedAddress",
                "scheme \"unix\"",
            ),
            (
                address("http+unix://x"),
                "UnsupportedAddress",
                "scheme \"http+unix\"",
            ),
            (address("provider"), "UnsupportedAddress", "port"),
            (
                address("provider.example.com:443"),
                "UnsupportedAddress",
                "may only use *.svc, *.svc.cluster.local",
            ),
            // SB-22: an address is outside the list too.
            (address("10.0.0.1:443"), "UnsupportedAddress", "10.0.0.1"),
            (
                namespaced(json!({"providerRef": {"namespace": "team-b"}}), json!({})),
                "InvalidStoreConfiguration",
                "spec.providerConfig.providerRef.namespace must be empty or \"team-a\"",
            ),
            (
                namespaced(
                    json!({"auth": {"serviceAccountRef": {"name": "a", "namespace": "team-b"}}}),
                    json!({}),
                ),
                "InvalidStoreConfiguration",
                "serviceAccountRef.namespace must be empty or \"team-a\"",
            ),
            (
                cluster(
                    json!({"providerRef": {"namespace": "p"}, "auth": {"serviceAccountRef": {"name": "a"}}}),
                    json!({}),
                ),
                "InvalidStoreConfiguration",
                "serviceAccountRef.namespace is required",
            ),
            // SB-29.
            (
                namespaced(
                    json!({"auth": {"serviceAccountRef": {
                        "name": "a", "audiences": ["bao", "https://kubernetes.default.svc"],
                    }}}),
                    json!({}),
                ),
                "InvalidStoreConfiguration",
                "serviceAccountRef.audiences[1] \"https://kubernetes.default.svc\" is the API server's",
            ),
            (
                namespaced(
                    json!({"auth": {"serviceAccountRef": {"name": "a", "audiences": [""]}}}),
                    json!({}),
                ),
                "InvalidStoreConfiguration",
                "serviceAccountRef.audiences[0] is empty",
            ),
            (
                namespaced(json!({"providerRef": {"apiVersion": "v1"}}), json!({})),
                "InvalidStoreConfiguration",
                "must be group/version",
            ),
            (
                namespaced(json!({"providerRef": {"apiVersion": "apps/v1"}}), json!({})),
                "InvalidStoreConfiguration",
                "provider's group",
            ),
            (
                namespaced(
                    json!({"providerRef": {"apiVersion": "rbac.authorization.k8s.io/v1"}}),
                    json!({}),
                ),
                "InvalidStoreConfiguration",
                "provider's group",
            ),
            (
                namespaced(json!({}), json!({"refreshInterval": "5"})),
                "InvalidStoreConfiguration",
                "spec.refreshInterval \"5\"",
            ),
            //
            (
                cluster(
                    json!({"providerRef": {"namespace": "p"}}),
                    json!({"conditions": [{"namespaceRegexes": ["("]}]}),
                ),
                "InvalidStoreConfiguration",
                "spec.conditions[0].namespaceRegexes: failed to compile regex (",
            ),
            (
                cluster(json!({}), json!({})),
                "InvalidStoreConfiguration",
                "providerRef.namespace is required",
            ),
            // SB-14, SB-16, SB-22: the same rules bind generators.
            (
                generator(json!({"address": "provider.example.com:443"}), json!({})),
                "UnsupportedAddress",
                "a Generator may only use *.svc",
            ),
            (
                generator(json!({"providerRef": {"apiVersion": "apps/v1"}}), json!({})),
                "InvalidStoreConfiguration",
                "provider's group",
            ),
            (
                generator(json!({"providerRef": {"namespace": "team-b"}}), json!({})),
                "InvalidStoreConfiguration",
                "spec.providerConfig.providerRef.namespace must be empty or \"team-a\"",
            ),
            (
                cluster_generator(
                    json!({}),
                    json!({"authenticationNamespace": "ManifestReference"}),
                ),
                "InvalidStoreConfiguration",
                "providerRef.namespace is required",
            ),
        ];
        for (store, reason, text) in cases {
            let error = Policy::default().check(&store).unwrap_err();
            assert_eq!(error.reason, reason, "{error}");
            assert!(error.message.contains(text), "{error}");
        }
    }

    #[test]
    fn usable_stores_come_with_what_they_override() {
        let plain = Policy::default()
            .check(&namespaced(json!({}), json!({})))
            .unwrap();
        assert_eq!(plain.address.to_string(), "provider-bao.secrets.svc:8080");
        assert_eq!(
            (plain.certificate, plain.retry, plain.token),
            (None, None, None)
        );

        let store = namespaced(
            json!({"auth": {
                "clientCertificate": {"secretRef": {"name": "c"}, "certKey": "a.crt", "serverName": "bao.test"},
                "serviceAccountRef": {},
            }}),
            json!({"retrySettings": {"maxRetries": 1, "retryInterval": "1s"}}),
        );
        let usable = Policy::default().check(&store).unwrap();
        let certificate = usable.certificate.unwrap();
        assert_eq!(
            (certificate.namespace.as_str(), certificate.name.as_str()),
            ("team-a", "c")
        );
        assert_eq!(certificate.cert_key.as_deref(), Some("a.crt"));
        assert_eq!(usable.server_name.as_deref(), Some("bao.test"));
        assert_eq!(
            usable.retry,
            Some(RetryOverride {
                retries: 1,
                interval: Duration::from_secs(1)
            })
        );

        // A cluster store may name any host.
        let anywhere = cluster(
            json!({"address": "provider.example.com:443", "providerRef": {"namespace": "p"}}),
            json!({"retrySettings": {}}),
        );
        let usable = Policy::default().check(&anywhere).unwrap();
        assert_eq!(
            usable.retry,
            Some(RetryOverride {
                retries: 3,
                interval: Duration::from_secs(10)
            })
        );
    }

    #[test]
    fn gate_passes_true_and_unknown_and_holds_false_and_missing() {
        // B4, AMB-10.
        let with = |status: Option<&str>, gating: &str| {
            let mut store = namespaced(json!({}), json!({ "gatingPolicy": gating }));
            if let Some(status) = status {
                store.status = serde_json::from_value(json!({
                    "conditions": [{"type": "Ready", "status": status, "reason": "R"}],
                }))
                .unwrap();
            }
            store
        };
        let cases = [
            (Some("True"), "Enabled", true),
            (Some("Unknown"), "Enabled", true),
            (Some("False"), "Enabled", false),
            (None, "Enabled", false),
            (Some("False"), "Disabled", true),
            (None, "Disabled", true),
        ];
        for (status, gating, expected) in cases {
            assert_eq!(
                Policy::default().gate(&with(status, gating)),
                expected,
                "{status:?} {gating}"
            );
            let open = Policy {
                flood_gate: false,
                ..Policy::default()
            };
            assert!(open.gate(&with(status, gating)));
        }
    }

    #[test]
    fn stores_of_another_class_are_not_ours() {
        //
        let cases = [("", true), ("default", true), ("other", false)];
        for (class, expected) in cases {
            let store = namespaced(json!({}), json!({ "controller": class }));
            assert_eq!(Policy::default().manages(&store), expected, "{class}");
        }
    }
}

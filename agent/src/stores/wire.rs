//! Which namespaces and which kind a provider sees (provider-protocol.md 9.3).

use latchkey_crds::external_secret::StoreKind;
use latchkey_crds::secret_store::AuthenticationScope;
use latchkey_proto::generator::v1::GeneratorRef;
use latchkey_proto::provider::v1::ProviderReference;

use super::model::Store;

/// The part of every request that says on whose behalf and with which object.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The provider's configuration object.
    pub provider_ref: ProviderReference,
    /// Namespace of the caller; never empty in a read (P-NS-4).
    pub source_namespace: String,
}

/// The same for requests to generators.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratorTarget {
    /// The provider's configuration object.
    pub generator_ref: GeneratorRef,
    /// Namespace that credentials are read from; never empty.
    pub source_namespace: String,
}

/// What is sent to a generator for a caller in `caller`, which is never empty (provider-protocol.md 9.5).
///
/// | generator | credentials of | namespace of the object | source namespace |
/// |---|---|---|---|
/// | Generator in S | | S | S |
/// | ClusterGenerator | ProviderReference | its `providerRef.namespace` | the same |
/// | ClusterGenerator | ManifestReference | its `providerRef.namespace` | the caller's |
#[must_use]
pub fn for_generator(store: &Store, caller: &str) -> GeneratorTarget {
    let reference = &store.provider.provider_ref;
    let own = store.key.namespace.as_str();
    let provider = reference.namespace.as_deref().unwrap_or_default();
    let (namespace, source) = match (store.key.is_cluster(), store.scope) {
        (false, _) => (own, own),
        (true, AuthenticationScope::ProviderNamespace) => (provider, provider),
        (true, AuthenticationScope::ManifestNamespace) => (provider, caller),
    };
    GeneratorTarget {
        generator_ref: GeneratorRef {
            api_version: reference.api_version().to_owned(),
            kind: reference.kind.clone(),
            name: reference.name.clone(),
            namespace: namespace.to_owned(),
        },
        source_namespace: source.to_owned(),
    }
}

/// What is sent for a caller in `caller`, which is never empty.
///
/// | store | scope | namespace of the object | kind |
/// |---|---|---|---|
/// | SecretStore in S | | S | `SecretStore` |
/// | ClusterSecretStore | ProviderNamespace | its `providerRef.namespace` | `ClusterSecretStore` |
/// | ClusterSecretStore | ManifestNamespace | the caller's | `SecretStore` |
///
/// In the last row the object is the tenant's own, so the kind that would let it point into other namespaces is not sent
/// (P-NS-2), and a `providerRef.namespace` is ignored rather than combined with a foreign caller (P-NS-1, SB-13).
#[must_use]
pub fn for_caller(store: &Store, caller: &str) -> Target {
    let (namespace, kind) = match (store.key.scope(), store.scope) {
        (StoreKind::SecretStore, _) => (store.key.namespace.as_str(), StoreKind::SecretStore),
        (StoreKind::ClusterSecretStore, AuthenticationScope::ProviderNamespace) => (
            store
                .provider
                .provider_ref
                .namespace
                .as_deref()
                .unwrap_or_default(),
            StoreKind::ClusterSecretStore,
        ),
        (StoreKind::ClusterSecretStore, AuthenticationScope::ManifestNamespace) => {
            (caller, StoreKind::SecretStore)
        }
    };
    target(store, namespace, kind, caller)
}

/// What is sent to validate the store itself, or `None` if that takes a caller (P-NS-4).
#[must_use]
pub fn for_validation(store: &Store) -> Option<Target> {
    let namespace = match (store.key.scope(), store.scope) {
        (StoreKind::SecretStore, _) => store.key.namespace.as_str(),
        (StoreKind::ClusterSecretStore, AuthenticationScope::ProviderNamespace) => store
            .provider
            .provider_ref
            .namespace
            .as_deref()
            .unwrap_or_default(),
        (StoreKind::ClusterSecretStore, AuthenticationScope::ManifestNamespace) => return None,
    };
    Some(target(store, namespace, store.key.scope(), namespace))
}

/// What is sent to ask for the capabilities of the store's kind of object, which need none (provider-protocol.md 2).
#[must_use]
pub fn for_capabilities(store: &Store) -> Target {
    for_validation(store).unwrap_or_else(|| target(store, "", StoreKind::SecretStore, ""))
}

fn target(store: &Store, namespace: &str, kind: StoreKind, source: &str) -> Target {
    let reference = &store.provider.provider_ref;
    Target {
        provider_ref: ProviderReference {
            api_version: reference.api_version().to_owned(),
            kind: reference.kind.clone(),
            name: reference.name.clone(),
            namespace: namespace.to_owned(),
            store_ref_kind: kind.as_str().to_owned(),
        },
        source_namespace: source.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::model::Store;
    use super::super::model::fixtures::{cluster, cluster_generator, generator, namespaced};
    use super::{for_caller, for_capabilities, for_generator, for_validation};

    #[test]
    fn generators_find_their_object_and_their_credentials_by_namespace() {
        // provider-protocol.md 9.5; SB-14.
        let provider = || json!({"providerRef": {"namespace": "p"}});
        let manifest = json!({"authenticationNamespace": "ManifestReference"});
        for (store, namespace, source) in [
            (generator(json!({}), json!({})), "team-a", "team-a"),
            (cluster_generator(provider(), json!({})), "p", "p"),
            (cluster_generator(provider(), manifest), "p", "team-a"),
        ] {
            let target = for_generator(&store, "team-a");
            let reference = &target.generator_ref;
            assert_eq!(
                (
                    reference.namespace.as_str(),
                    target.source_namespace.as_str()
                ),
                (namespace, source),
                "{store:?}"
            );
            assert_eq!(
                reference.api_version,
                "provider.generator.external-secrets.io/v2alpha1"
            );
        }
        let upstream =
            json!({"providerRef": {"apiVersion": "generators.external-secrets.io/v1alpha1"}});
        let target = for_generator(&generator(upstream, json!({})), "team-a");
        assert_eq!(
            target.generator_ref.api_version,
            "generators.external-secrets.io/v1alpha1"
        );
    }

    #[test]
    fn namespaces_and_kind_follow_scope() {
        // provider-protocol.md 9.3; SB-02, SB-05, SB-13; P-NS-3.
        let provider = || json!({"providerRef": {"namespace": "p"}});
        let manifest = || json!({"authenticationScope": "ManifestNamespace"});
        type Sent<'a> = (&'a str, &'a str, &'a str);
        let cases: [(Store, Sent<'_>, Option<Sent<'_>>); 4] = [
            (
                namespaced(json!({}), json!({})),
                ("team-a", "team-a", "SecretStore"),
                Some(("team-a", "team-a", "SecretStore")),
            ),
            (
                cluster(provider(), json!({})),
                ("p", "team-a", "ClusterSecretStore"),
                Some(("p", "p", "ClusterSecretStore")),
            ),
            (
                cluster(json!({}), manifest()),
                ("team-a", "team-a", "SecretStore"),
                None,
            ),
            // PC-30, SB-12: a provider namespace beside a caller's is never combined with it.
            (
                cluster(provider(), manifest()),
                ("team-a", "team-a", "SecretStore"),
                None,
            ),
        ];
        for (store, caller, validation) in cases {
            let sent = |target: super::Target| {
                (
                    target.provider_ref.namespace,
                    target.source_namespace,
                    target.provider_ref.store_ref_kind,
                )
            };
            let owned = |(a, b, c): Sent<'_>| (a.to_owned(), b.to_owned(), c.to_owned());
            assert_eq!(
                sent(for_caller(&store, "team-a")),
                owned(caller),
                "{store:?}"
            );
            assert_eq!(
                for_validation(&store).map(sent),
                validation.map(owned),
                "{store:?}"
            );
        }
    }

    #[test]
    fn a_store_of_a_namespace_never_reads_in_another_whoever_asks() {
        // X-100, SB-02: no caller of another namespace gets that far (SB-01)
        let target = for_caller(&namespaced(json!({}), json!({})), "team-b");
        assert_eq!(target.provider_ref.namespace, "team-a");
        assert_eq!(target.provider_ref.store_ref_kind, "SecretStore");
    }

    #[test]
    fn reference_is_passed_through_with_its_default() {
        let target = for_caller(&namespaced(json!({}), json!({})), "team-a");
        assert_eq!(
            target.provider_ref.api_version,
            "provider.secretstore.external-secrets.io/v2alpha1"
        );
        assert_eq!(
            (
                target.provider_ref.kind.as_str(),
                target.provider_ref.name.as_str()
            ),
            ("HashicorpVault", "vault")
        );
        let upstream = json!({"providerRef": {"apiVersion": "provider.external-secrets.io/v2alpha1", "kind": "Fake"}});
        let target = for_capabilities(&cluster(
            upstream,
            json!({"authenticationScope": "ManifestNamespace"}),
        ));
        assert_eq!(
            target.provider_ref.api_version,
            "provider.external-secrets.io/v2alpha1"
        );
        assert_eq!(
            (
                target.provider_ref.namespace.as_str(),
                target.source_namespace.as_str()
            ),
            ("", "")
        );
    }
}

//! A generator as it was when it made values, for the day they are revoked (pushsecret-and-stores.md B6).
//!
//! It is the manifest, with the consumer's namespace, so that the provider is found again after edits and deletions. It names
//! Secrets and holds none.

use latchkey_crds::generator::{API_VERSION, ClusterGenerator, Generator};
use latchkey_crds::secret_store::AuthenticationScope;
use serde_json::{Value, json};

use crate::stores::Store;

/// Why a snapshot cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It is of a kind that this agent does not run, such as those of External Secrets itself.
    #[error("its generator is of a kind that is not run here")]
    ForeignKind,
    /// It is not the manifest of a generator.
    #[error("its generator cannot be decoded")]
    Malformed,
}

/// The snapshot of `generator` for an object in `consumer`.
#[must_use]
pub fn of(generator: &Store, consumer: &str) -> Value {
    let mut spec = json!({ "providerConfig": generator.provider });
    if let Some(retry) = &generator.retry {
        spec["retrySettings"] = json!(retry);
    }
    if generator.key.is_cluster() {
        let authentication = match generator.scope {
            AuthenticationScope::ProviderNamespace => "ProviderReference",
            AuthenticationScope::ManifestNamespace => "ManifestReference",
        };
        spec["authenticationNamespace"] = authentication.into();
    }
    json!({
        "apiVersion": API_VERSION,
        "kind": generator.key.kind(),
        "metadata": {
            "name": generator.key.name,
            "namespace": consumer,
            "uid": generator.uid,
        },
        "spec": spec,
    })
}

/// Whether a snapshot is one of a generator that this agent runs.
#[must_use]
pub fn is_ours(snapshot: &Value) -> bool {
    snapshot["apiVersion"] == API_VERSION
        && matches!(
            snapshot["kind"].as_str(),
            Some("Generator" | "ClusterGenerator")
        )
}

/// The generator of a snapshot that is kept in `namespace`, which overrides what the snapshot says.
///
/// # Errors
///
/// [`SnapshotError`]. Its fields are not quoted.
pub fn read(snapshot: &Value, namespace: &str) -> Result<Store, SnapshotError> {
    if !is_ours(snapshot) {
        return Err(SnapshotError::ForeignKind);
    }
    let decoded = if snapshot["kind"] == "ClusterGenerator" {
        serde_json::from_value::<ClusterGenerator>(snapshot.clone())
            .map(|object| Store::from(&object))
    } else {
        serde_json::from_value::<Generator>(snapshot.clone()).map(|mut object| {
            object.metadata.namespace = Some(namespace.to_owned());
            Store::from(&object)
        })
    };
    decoded.map_err(|_| SnapshotError::Malformed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stores::fixtures::{cluster_generator, generator};
    use crate::stores::{StoreKey, wire};

    #[test]
    fn a_generator_is_reached_by_its_snapshot_as_it_was() {
        let config = || {
            json!({
                "providerRef": { "namespace": "p" },
                "auth": { "clientCertificate": { "secretRef": { "name": "c", "namespace": "n" } } },
            })
        };
        let rest = || {
            json!({
                "authenticationNamespace": "ManifestReference",
                "retrySettings": { "maxRetries": 1 },
                "conditions": [{ "namespaces": ["a"] }],
            })
        };
        for before in [
            generator(json!({}), json!({})),
            cluster_generator(config(), rest()),
            cluster_generator(config(), json!({})),
        ] {
            let snapshot = of(&before, "team-a");
            assert_eq!(snapshot["metadata"]["namespace"], "team-a");
            let after = read(&snapshot, "team-a").unwrap();
            assert_eq!(after.key, before.key);
            assert_eq!(after.provider, before.provider);
            assert_eq!(
                (after.retry, after.scope),
                (before.retry.clone(), before.scope)
            );
            assert_eq!(
                wire::for_generator(&read(&snapshot, "team-a").unwrap(), "team-a"),
                wire::for_generator(&before, "team-a")
            );
            // AMB-28: who may use it is no question any more.
            assert!(after.conditions.is_empty());
        }
    }

    #[test]
    fn the_namespace_of_a_state_is_where_it_lies() {
        // SB-15: a state cannot name a Generator of another namespace.
        let snapshot = of(&generator(json!({}), json!({})), "team-b");
        assert_eq!(
            read(&snapshot, "team-a").unwrap().key,
            StoreKey::generator("team-a", "pass")
        );
    }

    #[test]
    fn foreign_and_malformed_snapshots_are_refused() {
        let foreign =
            json!({ "apiVersion": "generators.external-secrets.io/v1alpha1", "kind": "Grafana" });
        assert_eq!(read(&foreign, "a"), Err(SnapshotError::ForeignKind));
        assert_eq!(read(&json!("x"), "a"), Err(SnapshotError::ForeignKind));
        let malformed = json!({ "apiVersion": API_VERSION, "kind": "Generator", "spec": 1 });
        assert_eq!(read(&malformed, "a"), Err(SnapshotError::Malformed));
    }
}

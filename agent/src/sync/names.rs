//! Well-known keys (`externalsecret.md` 1.3) and names derived from an object (2.6, 2.7).

use latchkey_crds::external_secret::ExternalSecret;
use latchkey_engine::hash;

/// Label of every target; value `true`.
pub(super) const MANAGED_LABEL: &str = "reconcile.external-secrets.io/managed";
/// Label of targets that an ExternalSecret owns; the value is a digest of its namespace and name.
pub(super) const OWNER_LABEL: &str = "reconcile.external-secrets.io/created-by";
/// Annotation of every target: a digest of its data.
pub(super) const DATA_HASH_ANNOTATION: &str = "reconcile.external-secrets.io/data-hash";
/// Finalizer of every live ExternalSecret.
pub(super) const FINALIZER: &str = "externalsecrets.external-secrets.io/externalsecret-cleanup";
/// Field manager of writes to the ExternalSecret itself.
pub(super) const OWN_FIELD_MANAGER: &str = "latchkey";
/// Group of ExternalSecret.
pub(super) const GROUP: &str = "external-secrets.io";
/// Kind of ExternalSecret.
pub(super) const KIND: &str = "ExternalSecret";

const FIELD_MANAGER_PREFIX: &str = "externalsecrets.external-secrets.io/";
/// Longest field manager name that is used as it is, in bytes.
const LONGEST_FIELD_MANAGER: usize = 63;

/// Name of the field manager that writes the target of the ExternalSecret `name`.
pub(super) fn field_manager(name: &str) -> String {
    let plain = format!("{FIELD_MANAGER_PREFIX}{name}");
    if plain.len() <= LONGEST_FIELD_MANAGER {
        return plain;
    }
    format!("{FIELD_MANAGER_PREFIX}sha3/{}", hash::of_text(name))
}

/// Value of [`OWNER_LABEL`].
pub(super) fn owner_label_value(namespace: &str, name: &str) -> String {
    hash::of_text(&format!("{namespace}/{name}"))
}

/// The value that `status.syncedResourceVersion` has after a successful sync of the object as it is now.
pub(super) fn current_version(object: &ExternalSecret) -> String {
    let metadata = &object.metadata;
    hash::synced_resource_version(
        metadata.generation.unwrap_or_default(),
        metadata.labels.as_ref(),
        metadata.annotations.as_ref(),
    )
}

/// Whether the object changed since its last success. One that never had any did not.
pub(super) fn is_changed(object: &ExternalSecret) -> bool {
    let synced = object
        .status
        .as_ref()
        .and_then(|status| status.synced_resource_version.as_deref());
    synced.is_some_and(|version| version != current_version(object))
}

#[cfg(test)]
mod tests {
    use super::{current_version, field_manager};

    #[test]
    fn long_names_are_hashed_into_the_field_manager() {
        // externalsecret.md 2.7, appendix A: 63 bytes are the limit, 27 of them the name
        assert_eq!(
            field_manager("db"),
            "externalsecrets.external-secrets.io/db"
        );
        let longest = "n".repeat(27);
        assert_eq!(
            field_manager(&longest),
            format!("externalsecrets.external-secrets.io/{longest}")
        );
        assert_eq!(
            field_manager("a-rather-long-external-secret-name"),
            "externalsecrets.external-secrets.io/sha3/924a5b0ea0441c671777b353036555d127bd4d4faef565e357731412"
        );
        assert!(field_manager(&"n".repeat(28)).contains("/sha3/"));
    }

    #[test]
    fn the_version_follows_generation_labels_and_annotations() {
        // E101
        let version = |generation: i64, note: &str| {
            let object = serde_json::from_value(serde_json::json!({
                "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
                "metadata": { "name": "x", "generation": generation, "labels": { "a": "b" }, "annotations": { "note": note } },
                "spec": {},
            }));
            current_version(&object.unwrap())
        };
        let digest = |version: String| version.split_once('-').unwrap().1.to_owned();
        assert_eq!(version(1, "x"), version(1, "x"));
        assert_ne!(version(1, "x"), version(2, "x"));
        assert_eq!(digest(version(1, "x")), digest(version(2, "x")));
        assert_ne!(digest(version(1, "x")), digest(version(1, "y")));
    }
}

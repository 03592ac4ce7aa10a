//! What of a target is ours, by `metadata.managedFields` (`externalsecret.md` 2.7).

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

/// Keys that a field manager set, by any operation.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct OwnedKeys {
    pub(super) data: BTreeSet<String>,
    pub(super) labels: BTreeSet<String>,
    pub(super) annotations: BTreeSet<String>,
}

// === impl OwnedKeys ===

impl OwnedKeys {
    pub(super) fn of(metadata: &ObjectMeta, manager: &str) -> Self {
        let mut owned = Self::default();
        for entry in metadata.managed_fields.iter().flatten() {
            if entry.manager.as_deref() != Some(manager) {
                continue;
            }
            let Some(fields) = &entry.fields_v1 else {
                continue;
            };
            for (pointer, keys) in [
                ("/f:data", &mut owned.data),
                ("/f:metadata/f:labels", &mut owned.labels),
                ("/f:metadata/f:annotations", &mut owned.annotations),
            ] {
                let members = fields.0.pointer(pointer).and_then(Value::as_object);
                keys.extend(
                    members
                        .into_iter()
                        .flatten()
                        .filter_map(|(key, _)| key.strip_prefix("f:").map(str::to_owned)),
                );
            }
        }
        owned
    }
}

//! `external-secrets.io/v1` ClusterExternalSecret: one ExternalSecret for many namespaces (`externalsecret.md` 1.5).
//!
//! The embedded ExternalSecret spec is kept as it was written: what is copied into namespaces must neither lose fields nor gain
//! any on the way. Its schema is that of an ExternalSecret, which has no rules beyond single fields: a spec that breaks a rule of
//! admission is admitted here, as upstream admits it, and is refused where the ExternalSecret is made (`externalsecret.md` 1.4).

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::conditions::ConditionStatus;
use crate::duration::{self, InvalidDuration};
use crate::external_secret::ExternalSecretSpec;
use crate::selectors::{DNS_LABEL, DNS_SUBDOMAIN};

/// The time between two looks at a ClusterExternalSecret that names none: one hour.
pub const DEFAULT_REFRESH_TIME: Duration = Duration::from_secs(3600);

/// What a ClusterExternalSecret asks for.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "external-secrets.io",
    version = "v1",
    kind = "ClusterExternalSecret",
    plural = "clusterexternalsecrets",
    status = "ClusterExternalSecretStatus",
    derive = "Default",
    derive = "PartialEq",
    shortname = "ces",
    category = "external-secrets",
    doc = "ClusterExternalSecret makes the same ExternalSecret in every namespace that it selects.",
    printcolumn(
        name = "Store",
        type_ = "string",
        json_path = ".spec.externalSecretSpec.secretStoreRef.name"
    ),
    printcolumn(
        name = "Refresh Interval",
        type_ = "string",
        json_path = ".spec.refreshTime"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    )
)]
pub struct ClusterExternalSecretSpec {
    /// The spec of every ExternalSecret that is made. Its stores are looked up from the namespace of each, so that most name a
    /// ClusterSecretStore.
    #[schemars(schema_with = "embedded_spec")]
    pub external_secret_spec: Value,
    /// Name of the ExternalSecrets. Default: this object's name. After a change the ones of the former name are deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DNS_SUBDOMAIN), length(min = 1, max = 253))]
    pub external_secret_name: Option<String>,
    /// Labels and annotations of the ExternalSecrets; they have no others. The annotation `external-secrets.io/force-sync` of
    /// this object is copied in addition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_secret_metadata: Option<ExternalSecretMetadata>,
    /// Selects namespaces by their labels. `{}` selects every namespace. Deprecated: use `namespaceSelectors`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Each selects namespaces by their labels; one match is enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespace_selectors: Vec<LabelSelector>,
    /// Names of namespaces, in addition to those that are selected. Namespaces that do not exist are ignored until they do.
    /// Deprecated: use `namespaceSelectors` with the label `kubernetes.io/metadata.name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(pattern = DNS_LABEL), length(min = 1, max = 63)))]
    pub namespaces: Vec<String>,
    /// Time between two looks at all namespaces, as a duration such as `15m`. Default one hour; zero means only after changes.
    /// It does not pace the refresh of secrets: that is `externalSecretSpec.refreshInterval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub refresh_time: Option<String>,
}

/// Metadata of the ExternalSecrets that are made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalSecretMetadata {
    /// Their labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Their annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What was observed of a ClusterExternalSecret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterExternalSecretStatus {
    /// The name that the ExternalSecrets have now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_secret_name: Option<String>,
    /// Namespaces in which something went wrong, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_namespaces: Vec<FailedNamespace>,
    /// Namespaces that have the ExternalSecret, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provisioned_namespaces: Vec<String>,
    /// Conditions. `Ready` tells whether every selected namespace has the ExternalSecret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<ClusterExternalSecretCondition>,
}

/// A namespace in which something went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailedNamespace {
    /// Its name; `unknown` where the namespaces could not be told.
    pub namespace: String,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One observation about a ClusterExternalSecret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterExternalSecretCondition {
    /// The aspect that is reported: `Ready`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether the condition holds: `True`, `False` or `Unknown`.
    pub status: ConditionStatus,
    /// A sentence for why, made for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

// === impl ClusterExternalSecret ===

impl ClusterExternalSecret {
    /// Name of the ExternalSecrets that are made: `spec.externalSecretName`, else the object's own name.
    #[must_use]
    pub fn external_secret_name(&self) -> &str {
        match self.spec.external_secret_name.as_deref() {
            None | Some("") => self.metadata.name.as_deref().unwrap_or_default(),
            Some(name) => name,
        }
    }
}

// === impl ClusterExternalSecretSpec ===

impl ClusterExternalSecretSpec {
    /// The time between two looks; [`DEFAULT_REFRESH_TIME`] if none is given, `None` for zero or less, which mean never.
    ///
    /// # Errors
    ///
    /// The text is no duration. Only this object must suffer from it.
    pub fn refresh_time(&self) -> Result<Option<Duration>, InvalidDuration> {
        match self.refresh_time.as_deref() {
            None => Ok(Some(DEFAULT_REFRESH_TIME)),
            Some(text) => Ok(duration::parse("spec.refreshTime", text)?.positive()),
        }
    }
}

/// The schema of what the type here does not say.
fn embedded_spec(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<ExternalSecretSpec>()
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt as _;
    use serde_json::json;

    use super::*;

    /// What `kubectl apply` can keep in its annotation, in bytes.
    const LONGEST_ANNOTATION: usize = 262_144;

    #[test]
    fn the_embedded_spec_is_that_of_an_external_secret_and_has_no_cel() {
        // externalsecret.md 1.4, 1.5
        let of = |definition: Value| {
            definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
                .clone()
        };
        let whole = serde_json::to_value(ClusterExternalSecret::crd()).unwrap();
        let text = whole.to_string();
        assert!(text.len() < LONGEST_ANNOTATION / 2, "{} bytes", text.len());
        assert!(!text.contains("x-kubernetes-validations"));
        let spec = of(whole);
        assert_eq!(spec["required"], json!(["externalSecretSpec"]));
        let own = of(serde_json::to_value(crate::external_secret::ExternalSecret::crd()).unwrap());
        let embedded = &spec["properties"]["externalSecretSpec"];
        assert_eq!(embedded["properties"], own["properties"]);
        assert_eq!(embedded["required"], own["required"]);
    }

    #[test]
    fn the_embedded_spec_is_kept_as_it_was_written() {
        let spec = json!({ "data": [], "target": {}, "fromTheFuture": [1, { "x": null }] });
        let object: ClusterExternalSecret = serde_json::from_value(json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ClusterExternalSecret", "metadata": { "name": "spread" },
            "spec": { "externalSecretSpec": spec, "externalSecretName": "" },
        }))
        .unwrap();
        assert_eq!(object.spec.external_secret_spec, spec);
        assert_eq!(object.external_secret_name(), "spread");
    }

    #[test]
    fn a_refresh_time_of_zero_means_never_and_a_broken_one_is_an_error() {
        // externalsecret.md 1.5, 6.2 step 9, D-15
        let of = |text: Option<&str>| {
            ClusterExternalSecretSpec {
                refresh_time: text.map(str::to_owned),
                ..ClusterExternalSecretSpec::default()
            }
            .refresh_time()
        };
        assert_eq!(of(None), Ok(Some(DEFAULT_REFRESH_TIME)));
        assert_eq!(of(Some("90s")), Ok(Some(Duration::from_secs(90))));
        assert_eq!(of(Some("0")), Ok(None));
        assert!(of(Some("soon")).is_err());
    }
}

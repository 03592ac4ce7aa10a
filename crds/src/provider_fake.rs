//! `provider.secretstore.external-secrets.io/v2alpha1` Fake: values written in the manifest, for tests and first steps
//! (`providers.md` 12).

mod simulation;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use simulation::{
    AuthSimulation, Disconnect, DisconnectMode, FailureRule, Latency, LatencyDistribution,
    LatencyShape, Notifications, Payload, PayloadKind, Rotation, Simulation, Stall, TimelineEntry,
    TimelineValue, VersionSkew,
};

use crate::conditions::Condition;
use crate::secret_store::Capabilities;
use crate::text_enum::text_enum;

/// Values that the fake provider serves.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "provider.secretstore.external-secrets.io",
    version = "v2alpha1",
    kind = "Fake",
    plural = "fakes",
    namespaced,
    status = "ProviderResourceStatus",
    derive = "Default",
    derive = "PartialEq",
    shortname = "fake",
    category = "external-secrets",
    category = "external-secrets-providers",
    doc = "Fake configures the fake provider: its values are written in the manifest. For tests and first steps only.",
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
pub struct FakeSpec {
    /// The values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<FakeData>,
    /// What validation answers: `Ready` or 0 (the default), `Unknown` or 1, `Error` or 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (
        "type(self) == int ? (self >= 0 && self <= 2) : (self in ['Ready', 'Unknown', 'Error'])",
        "must be Ready, Unknown, Error, 0, 1 or 2"
    ))]
    pub validation_result: Option<IntOrString>,
    /// Faults and changes to simulate. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulation: Option<Simulation>,
}

/// One value that the fake provider serves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FakeData {
    /// Key that remote references name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// A value that is the JSON object of this map. `value` wins.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub value_map: BTreeMap<String, String>,
    /// Version of the value. A reference must name it exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What `metadataPolicy: Fetch` answers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

text_enum! {
    /// What validation answers.
    pub enum ValidationResult {
        /// The configuration is fine.
        Ready = "Ready",
        /// Nobody can tell.
        Unknown = "Unknown",
        /// The configuration is wrong.
        Error = "Error",
    }
}

/// What a provider observed of its configuration object (`providers.md` 1.2).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderResourceStatus {
    /// Conditions. `Ready` tells whether the provider can use the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The generation of this object that the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What the provider can do with it: `ReadOnly`, `WriteOnly` or `ReadWrite`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
}

// === impl FakeSpec ===

impl FakeSpec {
    /// What validation answers; `Ready` if nothing is given. `None` for a value that has no meaning.
    #[must_use]
    pub fn validation_result(&self) -> Option<ValidationResult> {
        Some(match &self.validation_result {
            None | Some(IntOrString::Int(0)) => ValidationResult::Ready,
            Some(IntOrString::Int(1)) => ValidationResult::Unknown,
            Some(IntOrString::Int(2)) => ValidationResult::Error,
            Some(IntOrString::String(text)) if text == "Ready" => ValidationResult::Ready,
            Some(IntOrString::String(text)) if text == "Unknown" => ValidationResult::Unknown,
            Some(IntOrString::String(text)) if text == "Error" => ValidationResult::Error,
            Some(_) => return None,
        })
    }
}

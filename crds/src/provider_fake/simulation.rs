//! `spec.simulation` of Fake: faults and changes on demand (`providers.md` 12.2). All durations are text such as `250ms`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::secret_store::Capabilities;
use crate::text_enum::text_enum;

/// Faults and changes that the fake provider simulates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Simulation {
    /// Seed of everything random; one seed gives one sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// Time that answers take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// Errors to answer; the first rule that matches wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<FailureRule>,
    /// Calls that are never answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall: Option<Stall>,
    /// Connections that are cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disconnect: Option<Disconnect>,
    /// Value of the keys `synthetic/<n>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
    /// Behaviour of an older or newer provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_skew: Option<VersionSkew>,
    /// Changes of values over time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<TimelineEntry>,
    /// Values that change regularly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rotation: Vec<Rotation>,
    /// How changes are announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notifications: Option<Notifications>,
    /// Callers that are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthSimulation>,
    /// Capabilities to answer instead of `ReadWrite`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
}

/// Time that answers take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// Time that every answer takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Width of the random part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<String>,
    /// Shape of the random part. Default `Fixed`: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<LatencyDistribution>,
    /// Other times for single operations, by their name, such as `GetSecret`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub per_operation: BTreeMap<String, LatencyShape>,
}

/// Time that the answers of one operation take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LatencyShape {
    /// Time that every answer takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Width of the random part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<String>,
    /// Shape of the random part. Default `Fixed`: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<LatencyDistribution>,
}

text_enum! {
    /// Shape of a random time.
    pub enum LatencyDistribution {
        /// No random part.
        Fixed = "Fixed",
        /// Every time within the width is equally likely.
        Uniform = "Uniform",
        /// Long times are exponentially rare.
        Exponential = "Exponential",
        /// A heavy tail.
        Pareto = "Pareto",
    }
}

/// One kind of error to answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailureRule {
    /// Operations that fail, such as `GetSecret`. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<String>,
    /// Regular expression for keys that fail. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_regexp: Option<String>,
    /// Namespaces of callers that fail. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// gRPC code, such as `UNAVAILABLE`.
    pub code: String,
    /// Class of the error, such as `THROTTLED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Text of the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Time that the answer asks the caller to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<String>,
    /// Share of calls that fail, 0 to 1. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub probability: Option<f64>,
    /// Matching calls that succeed first. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub after: Option<i64>,
    /// Matching calls that fail until the rule stops. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub times: Option<i64>,
    /// Only every so many matching calls fail. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub every: Option<i64>,
}

/// Calls that are never answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stall {
    /// Operations that stall. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<String>,
    /// Share of calls that stall, 0 to 1. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub probability: Option<f64>,
}

/// Connections that are cut.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Disconnect {
    /// When: after so many bytes (`4096 bytes`), requests (`10 requests`), or a duration (`30s`).
    pub after: String,
    /// How.
    pub mode: DisconnectMode,
    /// Time until connections are accepted again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down_for: Option<String>,
}

text_enum! {
    /// How a connection is cut.
    pub enum DisconnectMode {
        /// Orderly.
        GoAway = "GoAway",
        /// Abruptly.
        Reset = "Reset",
        /// By no longer listening.
        CloseListener = "CloseListener",
    }
}

/// Value of the keys `synthetic/<n>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Payload {
    /// Size in bytes.
    #[schemars(range(min = 0))]
    pub size: i64,
    /// Kind of the bytes. Default `Text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<PayloadKind>,
}

text_enum! {
    /// Kind of synthetic bytes.
    pub enum PayloadKind {
        /// Readable characters.
        Text = "Text",
        /// Any bytes.
        Binary = "Binary",
        /// Zero bytes among others.
        NulBytes = "NulBytes",
        /// Bytes that are no UTF-8.
        InvalidUtf8 = "InvalidUtf8",
        /// A deeply nested JSON document.
        DeepJson = "DeepJson",
        /// A map with very many fields.
        HugeMap = "HugeMap",
    }
}

/// Behaviour of an older or newer provider.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionSkew {
    /// Protocol version to answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<i32>,
    /// Lowest and highest protocol version to answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 2, max = 2))]
    pub supported: Vec<i32>,
    /// Operations that answer UNIMPLEMENTED.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unimplemented: Vec<String>,
    /// Whether answers carry fields that nobody knows. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_fields: Option<bool>,
    /// Fields to leave out of answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop_fields: Vec<String>,
    /// Whether answers carry enumeration values that nobody knows. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_enum: Option<bool>,
}

/// One change of a value; one of `set`, `delete` and `disable` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimelineEntry {
    /// When: a duration since the object was first seen (`30s`), or `@` and an RFC 3339 time.
    pub at: String,
    /// Value to set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<TimelineValue>,
    /// Key of a value to delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete: Option<String>,
    /// Key of a value to refuse from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable: Option<String>,
}

/// A value to set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimelineValue {
    /// Key of the value.
    pub key: String,
    /// The value.
    pub value: String,
    /// Version of the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A value that changes regularly.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// Key of the value. The versions `current` and `previous` exist too.
    pub key: String,
    /// Time between two changes.
    pub every: String,
    /// Template of the value; `{n}`, `{time}` and `{rand:<length>}` are replaced.
    pub template: String,
}

/// How changes are announced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notifications {
    /// Whether changes are announced at all. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Time between a change and its announcement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// Share of announcements that are lost, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub drop_probability: Option<f64>,
    /// Share of announcements that come twice, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub duplicate_probability: Option<f64>,
    /// Number of announcements that may change places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub reorder_window: Option<i64>,
    /// Time between two signs of life. Default `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<String>,
}

/// Callers that are refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthSimulation {
    /// Common names of client certificates that are accepted. Empty: all.
    #[serde(
        default,
        rename = "requireClientCN",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub require_client_cn: Vec<String>,
    /// Label that the caller's namespace must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_namespace_label: Option<String>,
    /// Time after which everybody is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reject_after: Option<String>,
}

//! `provider.generator.external-secrets.io/v2alpha1` Password, UUID and Fake: what the server `provider-generators` makes
//! (`generators.md` 2).

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions::Condition;
use crate::text_enum::text_enum;

/// Length of a password whose spec names none, or one below 1.
pub const DEFAULT_PASSWORD_LENGTH: i64 = 24;
/// Longest password, in characters (G-03).
pub const MAX_PASSWORD_LENGTH: i64 = 4096;

/// Random passwords.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "provider.generator.external-secrets.io",
    version = "v2alpha1",
    kind = "Password",
    plural = "passwords",
    namespaced,
    status = "GeneratorResourceStatus",
    derive = "Default",
    derive = "PartialEq",
    category = "external-secrets",
    category = "external-secrets-generators",
    doc = "Password makes random passwords.",
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
pub struct PasswordSpec {
    /// Characters in a password, at most 4096. Default, and for 0 or less: 24.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 4096))]
    pub length: Option<i64>,
    /// How many of them are digits. Default: a quarter, rounded down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4096))]
    pub digits: Option<i64>,
    /// How many of them are symbols. Default: a quarter, rounded down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4096))]
    pub symbols: Option<i64>,
    /// The symbols to choose from. Default, and if empty: ``~!@#$%^&*()_+`-={}|[]\:"<>?,./``.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub symbol_characters: Option<String>,
    /// Leaves upper-case letters out. Default `false`.
    #[serde(default)]
    pub no_upper: bool,
    /// Whether a character may occur more than once. Default `false`.
    #[serde(default)]
    pub allow_repeat: bool,
    /// Keys of the result; each gets a password of its own. Default: `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 253)))]
    pub secret_keys: Option<Vec<String>>,
    /// How passwords are written: `raw` (the default), `base64`, `base64url`, `base32` or `hex`.
    #[serde(default = "default_encoding", skip_serializing_if = "Option::is_none")]
    pub encoding: Option<PasswordEncoding>,
}

fn default_encoding() -> Option<PasswordEncoding> {
    Some(PasswordEncoding::Raw)
}

text_enum! {
    /// How a password is written.
    pub enum PasswordEncoding {
        /// As it is.
        Raw = "raw",
        /// Standard base64 with padding.
        Base64 = "base64",
        /// Base64 for URLs, with padding.
        Base64Url = "base64url",
        /// Base32 with padding.
        Base32 = "base32",
        /// Lower-case hexadecimal.
        Hex = "hex",
    }
}

/// Random UUIDs.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "provider.generator.external-secrets.io",
    version = "v2alpha1",
    kind = "UUID",
    plural = "uuids",
    namespaced,
    status = "GeneratorResourceStatus",
    derive = "Default",
    derive = "PartialEq",
    category = "external-secrets",
    category = "external-secrets-generators",
    doc = "UUID makes random UUIDs of version 4, under the key uuid.",
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
pub struct UuidSpec {}

/// Values written in the manifest, for tests and first steps.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "provider.generator.external-secrets.io",
    version = "v2alpha1",
    kind = "Fake",
    plural = "fakes",
    namespaced,
    status = "GeneratorResourceStatus",
    derive = "Default",
    derive = "PartialEq",
    category = "external-secrets",
    category = "external-secrets-generators",
    doc = "Fake hands out values that are written in the manifest. For tests and first steps only.",
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
    /// Accepted and ignored: the class belongs to the Generator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<String>,
    /// The values, handed out as they are.
    #[serde(default)]
    pub data: BTreeMap<String, String>,
    /// Makes each call leave a state that has to be cleaned up. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stateful: Option<FakeState>,
}

/// The state that a Fake leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FakeState {
    /// Whether calls leave a state. Default `false`.
    #[serde(default)]
    pub enabled: bool,
}

/// What a provider observed of its configuration object (`providers.md` 1.2).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GeneratorResourceStatus {
    /// Conditions. `Ready` tells whether the provider can use the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The generation of this object that the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

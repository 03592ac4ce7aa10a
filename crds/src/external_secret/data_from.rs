//! `spec.dataFrom[]`: sources of many keys at once.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConversionStrategy, DecodingStrategy, NullBytePolicy, RemoteRef, SecretStoreRef};
use crate::selectors::DNS_SUBDOMAIN;
use crate::text_enum::text_enum;

/// A source of many keys: `extract`, `find`, or a generator in `sourceRef`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataFrom {
    /// One remote secret whose fields become keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extract: Option<RemoteRef>,
    /// All remote secrets that match; each becomes one key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub find: Option<Find>,
    /// Changes to keys, applied in order. With any of them no key conversion happens afterwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rewrite: Vec<Rewrite>,
    /// Another source than `secretStoreRef` for this entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ref: Option<DataFromSource>,
}

/// The source of one `dataFrom` entry; exactly one field is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct DataFromSource {
    /// Store to use instead of `spec.secretStoreRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_ref: Option<SecretStoreRef>,
    /// Generator whose output becomes keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator_ref: Option<GeneratorRef>,
}

/// A reference to a generator in this object's namespace, or to a cluster-wide one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GeneratorRef {
    /// API of the generator. Default `generators.external-secrets.io/v1alpha1`.
    #[serde(default = "default_generator_api_version")]
    pub api_version: String,
    /// Kind of the generator.
    #[schemars(extend("enum" = [
        "ACRAccessToken", "BeyondtrustWorkloadCredentialsDynamicSecret", "CloudsmithAccessToken", "ClusterGenerator",
        "ECRAuthorizationToken", "Fake", "GCRAccessToken", "Generator", "GithubAccessToken", "GitlabDeployToken", "Grafana",
        "MFA", "Password", "QuayAccessToken", "SSHKey", "STSSessionToken", "UUID", "VaultDynamicSecret", "Webhook",
    ]))]
    pub kind: String,
    /// Name of the generator.
    #[schemars(regex(pattern = DNS_SUBDOMAIN), length(min = 1, max = 253))]
    pub name: String,
}

fn default_generator_api_version() -> String {
    "generators.external-secrets.io/v1alpha1".to_owned()
}

/// A search for remote secrets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Find {
    /// Root of the search, in the provider's terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Matches names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<FindName>,
    /// Matches tags; all pairs must be there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// As in `remoteRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversion_strategy: Option<ConversionStrategy>,
    /// As in `remoteRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoding_strategy: Option<DecodingStrategy>,
    /// As in `remoteRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub null_byte_policy: Option<NullBytePolicy>,
}

/// Matches names of remote secrets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FindName {
    /// Regular expression in RE2 syntax. It may match anywhere in the name unless it is anchored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regexp: Option<String>,
}

/// One change to keys; exactly one field is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct Rewrite {
    /// Merges JSON objects that are values into one map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<RewriteMerge>,
    /// Replaces what a regular expression matches in every key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regexp: Option<RewriteRegexp>,
    /// Renders a template for every key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform: Option<RewriteTransform>,
}

/// Replaces what a regular expression matches in every key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RewriteRegexp {
    /// Regular expression in RE2 syntax.
    pub source: String,
    /// Replacement; `$1` and `${name}` stand for groups.
    pub target: String,
}

/// Renders a template for every key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RewriteTransform {
    /// Template for the new key; `{{ .value }}` is the old one.
    pub template: String,
}

/// Merges JSON objects that are values into one map.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RewriteMerge {
    /// Key that receives the merged object; needed for the strategy `JSON`.
    #[serde(default)]
    pub into: String,
    /// Keys that are processed last, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub priority: Vec<String>,
    /// What a missing priority key does: `Strict` (the default) fails, `IgnoreNotFound` goes on.
    #[serde(
        default = "default_priority_policy",
        skip_serializing_if = "Option::is_none"
    )]
    pub priority_policy: Option<RewriteMergePriorityPolicy>,
    /// What a field that occurs twice does: `Error` (the default) fails, `Ignore` lets the later one win.
    #[serde(
        default = "default_conflict_policy",
        skip_serializing_if = "Option::is_none"
    )]
    pub conflict_policy: Option<RewriteMergeConflictPolicy>,
    /// `Extract` (the default) makes each merged field a key; `JSON` puts the merged object under `into`.
    #[serde(
        default = "default_merge_strategy",
        skip_serializing_if = "Option::is_none"
    )]
    pub strategy: Option<RewriteMergeStrategy>,
}

fn default_priority_policy() -> Option<RewriteMergePriorityPolicy> {
    Some(RewriteMergePriorityPolicy::Strict)
}

fn default_conflict_policy() -> Option<RewriteMergeConflictPolicy> {
    Some(RewriteMergeConflictPolicy::Error)
}

fn default_merge_strategy() -> Option<RewriteMergeStrategy> {
    Some(RewriteMergeStrategy::Extract)
}

text_enum! {
    /// What a missing priority key does.
    pub enum RewriteMergePriorityPolicy {
        /// It is skipped.
        IgnoreNotFound = "IgnoreNotFound",
        /// It fails the sync.
        Strict = "Strict",
    }
}

text_enum! {
    /// What a field that occurs twice does.
    pub enum RewriteMergeConflictPolicy {
        /// The later one wins.
        Ignore = "Ignore",
        /// It fails the sync.
        Error = "Error",
    }
}

text_enum! {
    /// What a merge produces.
    pub enum RewriteMergeStrategy {
        /// A key for each merged field.
        Extract = "Extract",
        /// One key that holds the merged object.
        Json = "JSON",
    }
}

//! `spec.target`: where and how values are delivered.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DecodingStrategy;
use crate::selectors::{DATA_KEY, DNS_SUBDOMAIN};
use crate::text_enum::text_enum;

/// The one version of the template language.
pub const ENGINE_VERSION: &str = "v2";

/// The one place that values are written to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Name of the Secret. Default: this object's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DNS_SUBDOMAIN), length(min = 1, max = 253))]
    pub name: Option<String>,
    /// How the Secret comes into being: `Owner` (the default) creates it and owns it, `Orphan` creates it without owning it,
    /// `Merge` adds keys to one that exists, `CreateOrMerge` does either. `None` writes no Secret at all: the values are for
    /// volumes only.
    #[serde(
        default = "default_creation_policy",
        skip_serializing_if = "Option::is_none"
    )]
    pub creation_policy: Option<CreationPolicy>,
    /// What becomes of the Secret when the provider no longer has the values: `Retain` (the default) keeps it, `Delete` deletes
    /// it, `Merge` removes the keys that are gone.
    #[serde(
        default = "default_deletion_policy",
        skip_serializing_if = "Option::is_none"
    )]
    pub deletion_policy: Option<DeletionPolicy>,
    /// Makes the Secret immutable. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub immutable: Option<bool>,
    /// Writes an object of another kind than Secret. The administrator must have allowed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<TargetManifest>,
    /// How the Secret is made from the values. Its presence, even when empty, stops labels and annotations of this object from
    /// being copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
}

fn default_creation_policy() -> Option<CreationPolicy> {
    Some(CreationPolicy::Owner)
}

fn default_deletion_policy() -> Option<DeletionPolicy> {
    Some(DeletionPolicy::Retain)
}

text_enum! {
    /// How the target comes into being (`externalsecret.md` 2.8).
    pub enum CreationPolicy {
        /// Created and owned.
        Owner = "Owner",
        /// Created, not owned.
        Orphan = "Orphan",
        /// Only added to.
        Merge = "Merge",
        /// Never written: volumes only.
        None = "None",
        /// Created if missing, else added to; not owned.
        CreateOrMerge = "CreateOrMerge",
    }
}

text_enum! {
    /// What becomes of the target when the provider has nothing any more (`externalsecret.md` 2.9).
    pub enum DeletionPolicy {
        /// It is deleted.
        Delete = "Delete",
        /// Keys that are gone are removed.
        Merge = "Merge",
        /// It stays.
        Retain = "Retain",
    }
}

/// Kind of a target that is no Secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetManifest {
    /// API of the object, such as `v1`.
    #[schemars(length(min = 1))]
    pub api_version: String,
    /// Kind of the object, such as `ConfigMap`.
    #[schemars(length(min = 1))]
    pub kind: String,
}

/// How the target is made from the fetched values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// `type` of the Secret. Default: `Opaque`, or what an existing Secret has.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// Version of the template language; `v2` is the only one.
    // A text and no enumeration: an object from before the schema knew only `v2` is told what is wrong with it.
    #[serde(
        default = "default_engine_version",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(extend("enum" = [ENGINE_VERSION]))]
    pub engine_version: Option<String>,
    /// Whether fetched keys that the template does not mention are delivered too: `Replace` (the default) delivers what the
    /// template makes, `Merge` both.
    #[serde(
        default = "default_template_merge_policy",
        skip_serializing_if = "Option::is_none"
    )]
    pub merge_policy: Option<TemplateMergePolicy>,
    /// Metadata of the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMetadata>,
    /// Keys of the Secret with templates for their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
    /// Templates from ConfigMaps, Secrets or inline text, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub template_from: Vec<TemplateFrom>,
}

fn default_engine_version() -> Option<String> {
    Some(ENGINE_VERSION.to_owned())
}

fn default_template_merge_policy() -> Option<TemplateMergePolicy> {
    Some(TemplateMergePolicy::Replace)
}

text_enum! {
    /// Whether fetched keys stay beside templated ones.
    pub enum TemplateMergePolicy {
        /// Only templated keys are delivered.
        Replace = "Replace",
        /// Both are delivered.
        Merge = "Merge",
    }
}

/// Metadata of the target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateMetadata {
    /// Annotations; values are templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Labels; values are templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Finalizers to add. They are never removed again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub finalizers: Vec<String>,
}

/// Templates from another object or inline text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateFrom {
    /// Keys of a ConfigMap in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<TemplateObjectRef>,
    /// Keys of a Secret in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<TemplateObjectRef>,
    /// Inline template that renders a YAML map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub literal: Option<String>,
    /// Where the result goes: `Data` (the default), `Annotations` or `Labels`; for other kinds than Secret also a path.
    #[serde(
        default = "default_template_target",
        skip_serializing_if = "Option::is_none"
    )]
    pub target: Option<String>,
    /// How rendered values are decoded. Absent means `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values_decoding_strategy: Option<DecodingStrategy>,
}

fn default_template_target() -> Option<String> {
    Some("Data".to_owned())
}

/// A ConfigMap or Secret that holds templates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateObjectRef {
    /// Name of the object.
    #[schemars(regex(pattern = DNS_SUBDOMAIN), length(min = 1, max = 253))]
    pub name: String,
    /// Keys to use, in order.
    pub items: Vec<TemplateItem>,
}

/// One key that holds a template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateItem {
    /// Key in the object.
    #[schemars(regex(pattern = DATA_KEY), length(min = 1, max = 253))]
    pub key: String,
    /// `Values` (the default): the text renders the value of this key. `KeysAndValues`: it renders a YAML map.
    #[serde(
        default = "default_template_as",
        skip_serializing_if = "Option::is_none"
    )]
    pub template_as: Option<TemplateAs>,
}

fn default_template_as() -> Option<TemplateAs> {
    Some(TemplateAs::Values)
}

text_enum! {
    /// What a template renders.
    pub enum TemplateAs {
        /// The value of its key.
        Values = "Values",
        /// A YAML map of keys and values.
        KeysAndValues = "KeysAndValues",
    }
}

// === impl Target ===

impl Default for Target {
    fn default() -> Self {
        Self {
            name: None,
            creation_policy: default_creation_policy(),
            deletion_policy: default_deletion_policy(),
            immutable: None,
            manifest: None,
            template: None,
        }
    }
}

impl Target {
    /// The creation policy; `Owner` if none is given.
    #[must_use]
    pub fn creation_policy(&self) -> CreationPolicy {
        self.creation_policy.unwrap_or(CreationPolicy::Owner)
    }

    /// The deletion policy; `Retain` if none is given.
    #[must_use]
    pub fn deletion_policy(&self) -> DeletionPolicy {
        self.deletion_policy.unwrap_or(DeletionPolicy::Retain)
    }

    /// Whether a Secret is rendered: there is no manifest, or it names `v1` `Secret`.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.manifest
            .as_ref()
            .is_none_or(|manifest| manifest.api_version == "v1" && manifest.kind == "Secret")
    }
}

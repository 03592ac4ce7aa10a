//! `external-secrets.io/v1` ExternalSecret: which remote values become which keys of which target.
//!
//! The shape is upstream's (`externalsecret.md` 1.1) plus `secretStoreRef.apiVersion`, which tells v2alpha1 stores from v1 ones
//! (`pushsecret-and-stores.md` B5). Like upstream's, the schema has no rules over several fields: those of admission are a
//! ValidatingAdmissionPolicy of the chart, which an administrator may switch off; [`rules`] holds them once more in code.

mod data_from;
pub mod rules;
mod target;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use data_from::{
    DataFrom, DataFromSource, Find, FindName, GeneratorRef, Rewrite, RewriteMerge,
    RewriteMergeConflictPolicy, RewriteMergePriorityPolicy, RewriteMergeStrategy, RewriteRegexp,
    RewriteTransform,
};
pub use target::{
    CreationPolicy, DeletionPolicy, ENGINE_VERSION, Target, TargetManifest, Template, TemplateAs,
    TemplateFrom, TemplateItem, TemplateMergePolicy, TemplateMetadata, TemplateObjectRef,
};

use crate::conditions::Condition;
use crate::duration::{self, InvalidDuration, SignedDuration};
use crate::selectors::{DATA_KEY, DNS_SUBDOMAIN};
use crate::text_enum::text_enum;

/// `apiVersion` of a v1 store, which an absent `secretStoreRef.apiVersion` means.
pub const STORE_API_VERSION_V1: &str = "external-secrets.io/v1";
/// `apiVersion` of a v2alpha1 store.
pub const STORE_API_VERSION_V2: &str = "secretstore.external-secrets.io/v2alpha1";
/// The refresh interval of an ExternalSecret that names none: one hour.
pub const DEFAULT_REFRESH_INTERVAL: Duration = Duration::from_secs(3600);

/// What an ExternalSecret asks for.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "external-secrets.io",
    version = "v1",
    kind = "ExternalSecret",
    plural = "externalsecrets",
    namespaced,
    status = "ExternalSecretStatus",
    derive = "Default",
    derive = "PartialEq",
    shortname = "es",
    category = "external-secrets",
    doc = "ExternalSecret fetches values from a secret store and delivers them as a Secret, as files in pods, or both.",
    selectable = ".spec.secretStoreRef.name",
    selectable = ".spec.secretStoreRef.kind",
    selectable = ".spec.target.name",
    selectable = ".spec.refreshInterval",
    printcolumn(
        name = "StoreType",
        type_ = "string",
        json_path = ".spec.secretStoreRef.kind"
    ),
    printcolumn(
        name = "Store",
        type_ = "string",
        json_path = ".spec.secretStoreRef.name"
    ),
    printcolumn(
        name = "Refresh Interval",
        type_ = "string",
        json_path = ".spec.refreshInterval"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Last Sync", type_ = "date", json_path = ".status.refreshTime")
)]
pub struct ExternalSecretSpec {
    /// Store that entries of `data` and `dataFrom` use when they name no store of their own. May be absent when every entry
    /// brings its own source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_store_ref: Option<SecretStoreRef>,
    /// Where and how the values are delivered. By default a Secret of this object's name, owned by this object.
    #[serde(default)]
    pub target: Target,
    /// When values are fetched again: `Periodic` (the default, every `refreshInterval`), `CreatedOnce` or `OnChange`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_policy: Option<RefreshPolicy>,
    /// Time between two fetches, as a duration such as `90s`, `15m` or `1h30m` (units ns, us, ms, s, m, h; no days). Default
    /// `1h0m0s`. Zero or less means that values are fetched once.
    #[serde(
        default = "default_refresh_interval",
        skip_serializing_if = "Option::is_none"
    )]
    pub refresh_interval: Option<String>,
    /// Times within which periodic refreshes are allowed or denied. A first sync, a change of this object and the repair of a
    /// damaged target are never held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_windows: Option<SyncWindows>,
    /// Single values: each entry fills one key of the target. Entries override keys of `dataFrom`, later ones earlier ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<Data>,
    /// Sources of many keys at once, merged in this order; later entries override earlier ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_from: Vec<DataFrom>,
}

fn default_refresh_interval() -> Option<String> {
    Some("1h0m0s".to_owned())
}

text_enum! {
    /// When an ExternalSecret fetches again (`externalsecret.md` 2.4).
    pub enum RefreshPolicy {
        /// Fetch until the first success, then never again.
        CreatedOnce = "CreatedOnce",
        /// Fetch every `refreshInterval` and on a change of the object.
        Periodic = "Periodic",
        /// Fetch on a change of the object's spec, labels or annotations only.
        OnChange = "OnChange",
    }
}

text_enum! {
    /// The kinds of secret store.
    #[derive(Default)]
    pub enum StoreKind {
        /// A store for its own namespace.
        #[default]
        SecretStore = "SecretStore",
        /// A store for many namespaces.
        ClusterSecretStore = "ClusterSecretStore",
    }
}

/// The API that a store reference means (`pushsecret-and-stores.md` B5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreApi {
    /// `external-secrets.io/v1`.
    V1,
    /// `secretstore.external-secrets.io/v2alpha1`.
    V2Alpha1,
}

/// A store reference with an `apiVersion` that means no store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unsupported secretStoreRef apiVersion \"{0}\"")]
pub struct UnsupportedStoreApi(pub String);

/// A reference to a secret store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretStoreRef {
    /// API of the store: `secretstore.external-secrets.io/v2alpha1`, or `external-secrets.io/v1`, which absence means too. There
    /// is no fall-back from one to the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["external-secrets.io/v1", "secretstore.external-secrets.io/v2alpha1"]))]
    pub api_version: Option<String>,
    /// Name of the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DNS_SUBDOMAIN), length(min = 1, max = 253))]
    pub name: Option<String>,
    /// `SecretStore` (the default; looked up in this object's namespace) or `ClusterSecretStore`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<StoreKind>,
}

/// One key of the target and where its value comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Data {
    /// Key in the target.
    #[schemars(regex(pattern = DATA_KEY), length(min = 1, max = 253))]
    pub secret_key: String,
    /// The remote value.
    pub remote_ref: RemoteRef,
    /// Another source than `secretStoreRef` for this entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ref: Option<DataSource>,
}

/// The source of one `data` entry; exactly one field is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct DataSource {
    /// Store to use instead of `spec.secretStoreRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_ref: Option<SecretStoreRef>,
    /// Accepted for compatibility, but a generator cannot fill a single key: such an entry fails. Use `dataFrom` instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator_ref: Option<GeneratorRef>,
}

/// A value, or a map of values, at a provider (`externalsecret.md` 1.1.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoteRef {
    /// Identifier of the remote secret, in the provider's terms.
    pub key: String,
    /// Part of the remote secret to select, for example a field of a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub property: Option<String>,
    /// Version or stage of the remote secret. Absent means the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `Fetch` delivers the remote secret's tags or labels instead of its value. Absent means `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_policy: Option<MetadataPolicy>,
    /// How characters that are illegal in keys are replaced: `Default` by `_`, `Unicode` by `_U<code point>_`. Absent means
    /// `Default`. Only `extract` and `find` look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversion_strategy: Option<ConversionStrategy>,
    /// How values are decoded: `Base64`, `Base64URL`, `Auto` (try both, keep what is neither) or `None`. Absent means `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoding_strategy: Option<DecodingStrategy>,
    /// `Fail` refuses values that contain a zero byte. Absent means `Ignore`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub null_byte_policy: Option<NullBytePolicy>,
}

text_enum! {
    /// Whether a value or its metadata is fetched.
    pub enum MetadataPolicy {
        /// Fetch the value.
        None = "None",
        /// Fetch tags or labels instead of the value.
        Fetch = "Fetch",
    }
}

text_enum! {
    /// How illegal characters of keys are replaced (`externalsecret.md` 3.5).
    pub enum ConversionStrategy {
        /// Each by `_`.
        Default = "Default",
        /// Each by `_U<hexadecimal code point>_`.
        Unicode = "Unicode",
    }
}

text_enum! {
    /// How fetched values are decoded (`externalsecret.md` 3.7).
    pub enum DecodingStrategy {
        /// Base64, else Base64URL, else unchanged.
        Auto = "Auto",
        /// RFC 4648 section 4, padded.
        Base64 = "Base64",
        /// RFC 4648 section 5, padded.
        Base64Url = "Base64URL",
        /// Unchanged.
        None = "None",
    }
}

text_enum! {
    /// What becomes of values with zero bytes (`externalsecret.md` 3.8).
    pub enum NullBytePolicy {
        /// They are delivered.
        Ignore = "Ignore",
        /// They fail the sync.
        Fail = "Fail",
    }
}

/// Times in which periodic refreshes are allowed or denied (`externalsecret.md` 2.5). All times are UTC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncWindows {
    /// `allow`: periodic refreshes happen only within a window. `deny`: they never happen within one.
    pub kind: SyncWindowKind,
    /// The windows; at least one.
    #[schemars(length(min = 1))]
    pub windows: Vec<SyncWindow>,
}

text_enum! {
    /// What sync windows do to periodic refreshes.
    pub enum SyncWindowKind {
        /// Refresh only within a window.
        Allow = "allow",
        /// Never refresh within a window.
        Deny = "deny",
    }
}

/// A recurring span of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncWindow {
    /// When the window opens: five cron fields in UTC (`0 22 * * *`), or `@daily` and its kin, or `@every <duration>`.
    #[schemars(
        regex(
            pattern = r"^(@(annually|yearly|monthly|weekly|daily|midnight|hourly)|@every [^\s]+.*|[^\s]+( [^\s]+){4})$"
        ),
        length(min = 1)
    )]
    pub schedule: String,
    /// How long the window stays open, as a duration such as `8h`.
    pub duration: String,
}

/// What was observed of an ExternalSecret (`externalsecret.md` 1.2).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalSecretStatus {
    /// When the last successful sync started. Failures leave it alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_time: Option<Time>,
    /// Generation and a digest of labels and annotations of this object at the last successful sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced_resource_version: Option<String>,
    /// Conditions. `Ready` tells whether the target holds the provider's data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The Secret that was written, for tools that follow the Service Binding specification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
}

/// A reference to the written Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct Binding {
    /// Name of the Secret.
    #[serde(default)]
    pub name: String,
}

// === impl SecretStoreRef ===

impl SecretStoreRef {
    /// The store's name; empty if none is given.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// The store's kind; `SecretStore` if none is given.
    #[must_use]
    pub fn kind(&self) -> StoreKind {
        self.kind.unwrap_or_default()
    }

    /// The API that the reference means.
    ///
    /// # Errors
    ///
    /// Any text but the two known ones.
    pub fn api(&self) -> Result<StoreApi, UnsupportedStoreApi> {
        match self.api_version.as_deref() {
            None | Some("" | STORE_API_VERSION_V1) => Ok(StoreApi::V1),
            Some(STORE_API_VERSION_V2) => Ok(StoreApi::V2Alpha1),
            Some(other) => Err(UnsupportedStoreApi(other.to_owned())),
        }
    }
}

// === impl ExternalSecretSpec ===

impl ExternalSecretSpec {
    /// The time between two fetches; [`DEFAULT_REFRESH_INTERVAL`] if none is given.
    ///
    /// # Errors
    ///
    /// The text is no duration. Only this object must suffer from it.
    pub fn refresh_interval(&self) -> Result<SignedDuration, InvalidDuration> {
        match self.refresh_interval.as_deref() {
            None => Ok(SignedDuration {
                absolute: DEFAULT_REFRESH_INTERVAL,
                is_negative: false,
            }),
            Some(text) => duration::parse("spec.refreshInterval", text),
        }
    }

    /// The refresh policy; `Periodic` if none is given.
    #[must_use]
    pub fn refresh_policy(&self) -> RefreshPolicy {
        self.refresh_policy.unwrap_or(RefreshPolicy::Periodic)
    }

    /// Every store that the spec refers to by name, the default one first.
    pub fn store_refs(&self) -> impl Iterator<Item = &SecretStoreRef> {
        let data = self
            .data
            .iter()
            .filter_map(|entry| entry.source_ref.as_ref()?.store_ref.as_ref());
        let data_from = self
            .data_from
            .iter()
            .filter_map(|entry| entry.source_ref.as_ref()?.store_ref.as_ref());
        let default = self
            .secret_store_ref
            .as_ref()
            .filter(|reference| !reference.name().is_empty());
        default.into_iter().chain(data).chain(data_from)
    }

    /// The generators that fill entries of `dataFrom`, in their order: an entry that finds or extracts asks none.
    pub fn generator_refs(&self) -> impl Iterator<Item = &GeneratorRef> {
        self.data_from
            .iter()
            .filter(|entry| entry.find.is_none() && entry.extract.is_none())
            .filter_map(|entry| entry.source_ref.as_ref()?.generator_ref.as_ref())
    }
}

// === impl ExternalSecret ===

impl ExternalSecret {
    /// Name of the target: `spec.target.name`, else the object's own name.
    #[must_use]
    pub fn target_name(&self) -> &str {
        match self.spec.target.name.as_deref() {
            None | Some("") => self.metadata.name.as_deref().unwrap_or_default(),
            Some(name) => name,
        }
    }
}

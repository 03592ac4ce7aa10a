//! The `volumeAttributes` of `csi.latchkey.dev` (csi.md 8): checked text in, a [`Plan`] out.
//!
//! Pure: no I/O, and the same answer for the same request. A refusal names the attribute at fault and says what to do; values are
//! quoted up to [`SHOWN_VALUE_BYTES`] and without control characters, that of `data` never.
//!
//! | module | attributes |
//! |---|---|
//! | [`subject`] | what is shown: the key under which volumes share content |
//! | `inline` | `data` |
//! | [`items`] | `items`, and the rules of paths |
//! | `freshness` | `refreshInterval`, `startPolicy`, `maxStaleness` |
//! | `scalars` | the form of all that are one value |

mod freshness;
mod inline;
pub mod items;
mod scalars;
pub mod subject;
mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use latchkey_crds::external_secret::{STORE_API_VERSION_V2, SecretStoreRef, StoreKind};
use latchkey_csi::backend::{Refusal, VolumeRequest, VolumeSettings};
use latchkey_engine::source::{CallerScope, PodCaller};

pub use self::freshness::{Refresh, StartPolicy};
use self::items::Item;
pub(crate) use self::scalars::{is_dns1123_subdomain, parse_duration, parse_mode, parse_size};
pub use self::subject::{ContentKey, Inline, Subject};
use crate::providers::PodVolume;

/// Attribute that names the ExternalSecret, in the pod's own namespace.
pub const EXTERNAL_SECRET: &str = "externalSecret";
/// Attribute that lists keys of a store instead.
pub const DATA: &str = "data";
/// Attribute that names the store of `data`.
pub const SECRET_STORE: &str = "secretStore";
/// Attribute with the kind of that store.
pub const SECRET_STORE_KIND: &str = "secretStoreKind";
/// Attribute that picks keys and says where each is shown.
pub const ITEMS: &str = "items";
/// Attribute with the permission bits of files that name none themselves.
pub const DEFAULT_MODE: &str = "defaultMode";
/// Attribute with the owner of all files.
pub const UID: &str = "uid";
/// Attribute with the group of all files.
pub const GID: &str = "gid";
/// Attribute that says whether files may be absent.
pub const OPTIONAL: &str = "optional";
/// Attribute with the time between two fetches.
pub const REFRESH_INTERVAL: &str = "refreshInterval";
/// Attribute that says what a pod may start with.
pub const START_POLICY: &str = "startPolicy";
/// Attribute with the age that content may have then.
pub const MAX_STALENESS: &str = "maxStaleness";
/// Attribute with the audience of the pod's token.
pub const AUDIENCE: &str = "audience";
/// Attribute with the most bytes that all files may have together.
pub const SIZE_LIMIT: &str = "sizeLimit";

/// All keys, in the order shown to users.
const KEYS: [&str; 14] = [
    EXTERNAL_SECRET,
    DATA,
    SECRET_STORE,
    SECRET_STORE_KIND,
    ITEMS,
    DEFAULT_MODE,
    UID,
    GID,
    OPTIONAL,
    REFRESH_INTERVAL,
    START_POLICY,
    MAX_STALENESS,
    AUDIENCE,
    SIZE_LIMIT,
];

/// Longest value of one attribute, in bytes.
const MAX_VALUE_BYTES: usize = 16 * 1024;
/// Longest sum of all keys and values, in bytes.
const MAX_TOTAL_BYTES: usize = 64 * 1024;
/// How much of a value a refusal may quote, in bytes.
const SHOWN_VALUE_BYTES: usize = 64;
/// Most bytes of a volume whose attributes name no limit (csi.md 5.2, 8).
const DEFAULT_SIZE_LIMIT: u64 = 1 << 20;
/// Longest audience, in bytes.
const MAX_AUDIENCE_BYTES: usize = 253;

/// What the administrator lets attributes ask for.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Whether `data` is allowed (csi.md 9.3). Default true.
    pub inline_data: bool,
    /// The shortest `refreshInterval`. Default 30 s.
    pub min_refresh: Duration,
    /// The largest `sizeLimit`, in bytes. Default 16 MiB, the most that csi.md 5.2 knows.
    pub max_size: u64,
}

/// The pod a volume belongs to, as kubelet named it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pod {
    /// Name of the pod; its namespace is that of the [`ContentKey`].
    pub name: String,
    /// UID of the pod.
    pub uid: String,
    /// Service account the pod runs as.
    pub service_account: String,
    /// Handle of the volume, by which two volumes of one pod are told apart.
    pub volume_id: String,
}

/// Which keys become files, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The picked keys; `None` shows every key under its own name.
    pub items: Option<Vec<Item>>,
    /// Whether what is missing is left out: the ExternalSecret, remote secrets, keys of items. Never a reason to hide that
    /// something failed.
    pub is_optional: bool,
}

/// What the attributes of one volume came down to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What to show.
    pub key: ContentKey,
    /// Which keys, where, with which mode.
    pub layout: Layout,
    /// How files look that say nothing themselves, and how large they may be.
    pub settings: VolumeSettings,
    /// How often content is wanted anew; `None` leaves it to what is shown.
    pub refresh: Option<Refresh>,
    /// What the pod may start with.
    pub start: StartPolicy,
    /// Audience of the token of the pod that providers are shown; `None` for the only one that kubelet makes tokens for.
    pub audience: Option<String>,
    /// Whose volume it is.
    pub pod: Pod,
    /// Why the administrator does not want such a volume to be mounted. It concerns mounts only: the [`Rules`] may change while a
    /// volume is mounted, whose republish must not fail (csi.md R3).
    pub forbidden: Option<String>,
}

/// The attributes of one request, each read once.
struct Attributes<'a>(&'a BTreeMap<String, String>);

// === impl Rules ===

impl Default for Rules {
    fn default() -> Self {
        Self {
            inline_data: true,
            min_refresh: Duration::from_secs(30),
            max_size: 16 << 20,
        }
    }
}

impl Rules {
    /// Why a volume that asks for this is not to be mounted.
    fn forbid(&self, subject: &Subject, refresh: Option<Refresh>) -> Option<String> {
        if !self.inline_data && matches!(subject, Subject::Inline(_)) {
            return Some(format!(
                "attribute {DATA} is switched off in this cluster; name an ExternalSecret with attribute {EXTERNAL_SECRET}"
            ));
        }
        refresh.filter(|refresh| *refresh < self.shortest()).map(|_| {
            let seconds = self.min_refresh.as_secs_f64();
            format!(
                "attribute {REFRESH_INTERVAL} is below the {seconds} s that the agent allows; raise it, or write \"0s\" for never"
            )
        })
    }

    fn shortest(&self) -> Refresh {
        Refresh::Every(self.min_refresh)
    }
}

// === impl Plan ===

impl Plan {
    /// What to show if it is asked for as `scope`.
    #[must_use]
    pub fn key_as(&self, scope: CallerScope) -> ContentKey {
        let caller = |pod_uid| PodCaller {
            service_account: self.pod.service_account.clone(),
            pod_uid,
            audience: self.audience.clone(),
        };
        ContentKey {
            caller: match scope {
                CallerScope::Store => None,
                CallerScope::ServiceAccount => Some(caller(None)),
                CallerScope::Pod => Some(caller(Some(self.pod.uid.clone()))),
            },
            ..self.key.clone()
        }
    }

    /// The volume in the terms of those who keep tokens.
    #[must_use]
    pub fn volume(&self) -> PodVolume<'_> {
        PodVolume {
            namespace: &self.key.namespace,
            pod_name: &self.pod.name,
            pod_uid: &self.pod.uid,
            service_account: &self.pod.service_account,
            volume_id: &self.pod.volume_id,
        }
    }

    /// Checks the attributes of `request`.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] for the first rule of csi.md 8 that does not hold.
    pub fn try_new(request: &VolumeRequest, rules: &Rules) -> Result<Self, Refusal> {
        let attributes = Attributes::check(&request.attributes)?;
        let subject = attributes.subject()?;
        let refresh = attributes.read(REFRESH_INTERVAL, Refresh::parse)?;
        let forbidden = rules.forbid(&subject, refresh);
        let size_limit = attributes.read(SIZE_LIMIT, |text| size_within(text, rules.max_size))?;
        Ok(Self {
            key: ContentKey {
                namespace: request.namespace.clone(),
                subject,
                caller: None,
            },
            layout: Layout {
                items: attributes.read_list(ITEMS, items::parse)?,
                is_optional: attributes
                    .read(OPTIONAL, scalars::parse_bool)?
                    .unwrap_or(false),
            },
            refresh: refresh.map(|refresh| refresh.max(rules.shortest())),
            start: attributes.start()?,
            audience: attributes.read(AUDIENCE, parse_audience)?,
            settings: VolumeSettings {
                uid: attributes.read(UID, scalars::parse_id)?,
                gid: attributes.read(GID, scalars::parse_id)?,
                default_mode: attributes.read(DEFAULT_MODE, scalars::parse_mode)?,
                size_limit: Some(size_limit.unwrap_or(DEFAULT_SIZE_LIMIT.min(rules.max_size))),
            },
            pod: Pod {
                volume_id: request.volume_id.clone(),
                name: request.pod_name.clone(),
                uid: request.pod_uid.clone(),
                service_account: request.service_account.clone(),
            },
            forbidden,
        })
    }
}

// === impl Attributes ===

impl<'a> Attributes<'a> {
    /// The rules that hold for all attributes: sizes, names, and that none is empty.
    fn check(attributes: &'a BTreeMap<String, String>) -> Result<Self, Refusal> {
        check_sizes(attributes)?;
        check_keys(attributes)?;
        match attributes.iter().find(|(_, value)| value.is_empty()) {
            Some((key, _)) => Err(refuse(format!(
                "attribute {key} is empty; quote the value if YAML reads it as something other than text"
            ))),
            None => Ok(Self(attributes)),
        }
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.0.get(key).map(String::as_str)
    }

    /// The value of `key`; the rule that it breaks ends the sentence that begins with its name.
    fn read<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Refusal> {
        let parsed = self.get(key).map(parse).transpose();
        parsed.map_err(|rule| refuse(format!("attribute {key} {rule}")))
    }

    /// As [`Attributes::read`], for values whose rules are sentences of their own.
    fn read_list<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Refusal> {
        let parsed = self.get(key).map(parse).transpose();
        parsed.map_err(|rule| refuse(format!("attribute {key}: {rule}")))
    }

    /// What the volume shows: an ExternalSecret, or inline data.
    fn subject(&self) -> Result<Subject, Refusal> {
        match (self.get(EXTERNAL_SECRET), self.get(DATA)) {
            (Some(_), Some(_)) => Err(refuse(format!(
                "attributes {EXTERNAL_SECRET} and {DATA} exclude each other; remove one"
            ))),
            (None, None) => Err(refuse(format!(
                "attribute {EXTERNAL_SECRET} is missing; name an ExternalSecret of the pod's namespace in volumeAttributes"
            ))),
            (Some(name), None) => {
                self.only_with(SECRET_STORE, DATA)?;
                self.only_with(SECRET_STORE_KIND, DATA)?;
                check_name(EXTERNAL_SECRET, name)?;
                Ok(Subject::ExternalSecret(name.to_owned()))
            }
            (None, Some(data)) => self.inline(data).map(Subject::Inline),
        }
    }

    fn inline(&self, data: &str) -> Result<Inline, Refusal> {
        let Some(store) = self.get(SECRET_STORE) else {
            return Err(refuse(format!(
                "attribute {SECRET_STORE} is missing, which {DATA} needs; name a store"
            )));
        };
        check_name(SECRET_STORE, store)?;
        let kind = self.read(SECRET_STORE_KIND, parse_kind)?;
        let entries =
            inline::parse(data).map_err(|rule| refuse(format!("attribute {DATA}: {rule}")))?;
        Ok(Inline {
            entries,
            store: SecretStoreRef {
                api_version: Some(STORE_API_VERSION_V2.to_owned()),
                name: Some(store.to_owned()),
                kind: Some(kind.unwrap_or_default()),
            },
        })
    }

    fn start(&self) -> Result<StartPolicy, Refusal> {
        let max_staleness = self.read(MAX_STALENESS, parse_staleness)?;
        let start = self.read(START_POLICY, |text| StartPolicy::parse(text, max_staleness))?;
        let start = start.unwrap_or_default();
        if max_staleness.is_some() && start == StartPolicy::RequireFresh {
            return Err(refuse(format!(
                "attribute {MAX_STALENESS} has a meaning with {START_POLICY} AllowCached only; remove it or set that"
            )));
        }
        Ok(start)
    }

    /// Refuses `key` without `other`.
    fn only_with(&self, key: &str, other: &str) -> Result<(), Refusal> {
        if self.get(key).is_some() && self.get(other).is_none() {
            return Err(refuse(format!(
                "attribute {key} has a meaning with {other} only; remove it"
            )));
        }
        Ok(())
    }
}

fn refuse(text: String) -> Refusal {
    Refusal(text)
}

fn check_sizes(attributes: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let mut total = 0_usize;
    for (key, value) in attributes {
        if value.len() > MAX_VALUE_BYTES {
            return Err(refuse(format!(
                "attribute {} is longer than {MAX_VALUE_BYTES} bytes; shorten it",
                shown_key(key)
            )));
        }
        total = total.saturating_add(key.len()).saturating_add(value.len());
    }
    if total > MAX_TOTAL_BYTES {
        return Err(refuse(format!(
            "volumeAttributes are longer than {MAX_TOTAL_BYTES} bytes together; shorten them"
        )));
    }
    Ok(())
}

fn check_keys(attributes: &BTreeMap<String, String>) -> Result<(), Refusal> {
    for key in attributes.keys() {
        if KEYS.contains(&key.as_str()) {
            continue;
        }
        let hint = match nearest(key) {
            Some(known) => format!("did you mean {known}?"),
            None => format!("supported are {}", KEYS.join(", ")),
        };
        return Err(refuse(format!(
            "unknown attribute {}; {hint}",
            shown_key(key)
        )));
    }
    Ok(())
}

fn check_name(attribute: &str, name: &str) -> Result<(), Refusal> {
    if scalars::is_dns1123_subdomain(name) {
        return Ok(());
    }
    Err(refuse(format!(
        "attribute {attribute} is not a valid object name: {}; it names an object, without a namespace part",
        quoted(name)
    )))
}

fn parse_kind(text: &str) -> Result<StoreKind, String> {
    let known = [StoreKind::SecretStore, StoreKind::ClusterSecretStore];
    let found = known.into_iter().find(|kind| kind.as_str() == text);
    found.ok_or_else(|| {
        format!(
            "is neither SecretStore nor ClusterSecretStore: {}",
            quoted(text)
        )
    })
}

fn size_within(text: &str, most: u64) -> Result<u64, String> {
    let size = scalars::parse_size(text)?;
    if size > most {
        return Err(format!(
            "is {size} bytes, above the {most} bytes that the agent allows; lower it"
        ));
    }
    Ok(size)
}

fn parse_staleness(text: &str) -> Result<Duration, String> {
    let staleness = scalars::parse_duration(text)?;
    if staleness.is_zero() {
        return Err(String::from(
            "is zero; remove it with startPolicy, or raise it",
        ));
    }
    Ok(staleness)
}

fn parse_audience(text: &str) -> Result<String, String> {
    if text.len() > MAX_AUDIENCE_BYTES || text.chars().any(char::is_control) {
        return Err(format!(
            "has more than {MAX_AUDIENCE_BYTES} bytes or control characters; name an audience of the CSIDriver's tokenRequests"
        ));
    }
    Ok(text.to_owned())
}

/// The known key that `key` was probably meant to be, if there is one.
fn nearest(key: &str) -> Option<&'static str> {
    let wanted = key.to_ascii_lowercase();
    if wanted.len() > 4 * MAX_KEY_LENGTH {
        return None;
    }
    KEYS.iter()
        .map(|known| (distance(&wanted, &known.to_ascii_lowercase()), *known))
        .min_by_key(|(steps, _)| *steps)
        .filter(|(steps, known)| *steps <= (known.len() / 3).max(1))
        .map(|(_, known)| known)
}

/// Length of the longest known key, in bytes.
const MAX_KEY_LENGTH: usize = 15;

/// Levenshtein distance over bytes.
pub(crate) fn distance(left: &str, right: &str) -> usize {
    let right = right.as_bytes();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, byte) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(byte != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

/// `text` in quotes, escaped, cut to [`SHOWN_VALUE_BYTES`].
pub(crate) fn quoted(text: &str) -> String {
    let mut end = text.len().min(SHOWN_VALUE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let dots = if end < text.len() { "..." } else { "" };
    format!("{:?}{dots}", &text[..end])
}

fn shown_key(key: &str) -> String {
    let plain = !key.is_empty()
        && key.len() <= SHOWN_VALUE_BYTES
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'/'));
    if plain { key.to_owned() } else { quoted(key) }
}

#[cfg(test)]
mod tests;

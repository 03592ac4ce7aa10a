//! The `volumeAttributes` of `csi.latchkey.dev` (csi.md 8): checked text in, a [`Plan`] out.
//!
//! Pure: no I/O, and the same answer for the same request. A refusal names the attribute at fault; values are quoted up to
//! [`SHOWN_VALUE_BYTES`] and without control characters.

use std::collections::BTreeMap;

use latchkey_csi::backend::{Refusal, VolumeRequest};

use super::items::{self, Item};

/// Attribute that names the ExternalSecret, in the pod's own namespace.
pub const EXTERNAL_SECRET: &str = "externalSecret";
/// Attribute with the permission bits of files that name none themselves.
pub const DEFAULT_MODE: &str = "defaultMode";
/// Attribute that picks keys and says where each is shown.
pub const ITEMS: &str = "items";

/// What this version understands, in the order shown to users.
const SUPPORTED: [&str; 3] = [EXTERNAL_SECRET, DEFAULT_MODE, ITEMS];
/// Known from csi.md 8 and not served yet. Refused by name, so that nothing a pod asks for is silently ignored.
const NOT_YET: [&str; 11] = [
    "audience",
    "data",
    "gid",
    "maxStaleness",
    "optional",
    "refreshInterval",
    "secretStore",
    "secretStoreKind",
    "sizeLimit",
    "startPolicy",
    "uid",
];

/// Longest value of one attribute, in bytes.
const MAX_VALUE_BYTES: usize = 16 * 1024;
/// Longest sum of all keys and values, in bytes.
const MAX_TOTAL_BYTES: usize = 64 * 1024;
/// How much of a value a refusal may quote, in bytes.
const SHOWN_VALUE_BYTES: usize = 64;

/// Names one ExternalSecret of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Namespace of the pod, and therefore of the ExternalSecret.
    pub namespace: String,
    /// Name of the ExternalSecret.
    pub name: String,
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// The pod a volume belongs to, as kubelet named it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pod {
    /// Name of the pod; its namespace is that of the [`ObjectKey`].
    pub name: String,
    /// UID of the pod.
    pub uid: String,
    /// Service account the pod runs as.
    pub service_account: String,
}

/// How the keys of an ExternalSecret become files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The picked keys; `None` shows every key under its own name.
    pub items: Option<Vec<Item>>,
    /// Permission bits of files without a mode of their own; `None` leaves it to the CSI layer.
    pub default_mode: Option<u32>,
}

/// What the attributes of one volume came down to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The ExternalSecret to show.
    pub object: ObjectKey,
    /// Which keys, where, with which mode.
    pub layout: Layout,
    /// Whose volume it is.
    pub pod: Pod,
}

// === impl Plan ===

impl Plan {
    /// Checks the attributes of `request`.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] for the first rule of csi.md 8 that does not hold.
    pub fn try_new(request: &VolumeRequest) -> Result<Self, Refusal> {
        let attributes = &request.attributes;
        check_sizes(attributes)?;
        check_keys(attributes)?;
        let Some(name) = attributes.get(EXTERNAL_SECRET) else {
            return Err(refuse(format!(
                "attribute {EXTERNAL_SECRET} is missing; name an ExternalSecret of the pod's namespace in volumeAttributes"
            )));
        };
        if name.is_empty() {
            return Err(refuse(format!(
                "attribute {EXTERNAL_SECRET} is empty; quote the value if YAML reads it as something other than text"
            )));
        }
        if !is_dns1123_subdomain(name) {
            return Err(refuse(format!(
                "attribute {EXTERNAL_SECRET} is not a valid object name: {}; it names an object of the pod's own namespace, \
                 without a namespace part",
                quoted(name)
            )));
        }
        let default_mode = match attributes.get(DEFAULT_MODE) {
            None => None,
            Some(text) => Some(
                parse_mode(text)
                    .map_err(|rule| refuse(format!("attribute {DEFAULT_MODE} {rule}")))?,
            ),
        };
        let items = match attributes.get(ITEMS) {
            None => None,
            Some(text) => Some(
                items::parse(text).map_err(|rule| refuse(format!("attribute {ITEMS}: {rule}")))?,
            ),
        };
        Ok(Self {
            object: ObjectKey {
                namespace: request.namespace.clone(),
                name: name.clone(),
            },
            layout: Layout {
                items,
                default_mode,
            },
            pod: Pod {
                name: request.pod_name.clone(),
                uid: request.pod_uid.clone(),
                service_account: request.service_account.clone(),
            },
        })
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
                "attribute {} is longer than {MAX_VALUE_BYTES} bytes",
                shown_key(key)
            )));
        }
        total = total.saturating_add(key.len()).saturating_add(value.len());
    }
    if total > MAX_TOTAL_BYTES {
        return Err(refuse(format!(
            "volumeAttributes are longer than {MAX_TOTAL_BYTES} bytes together"
        )));
    }
    Ok(())
}

fn check_keys(attributes: &BTreeMap<String, String>) -> Result<(), Refusal> {
    if attributes.contains_key(EXTERNAL_SECRET) && attributes.contains_key("data") {
        return Err(refuse(format!(
            "attributes {EXTERNAL_SECRET} and data exclude each other; keep {EXTERNAL_SECRET}"
        )));
    }
    for key in attributes.keys() {
        if SUPPORTED.contains(&key.as_str()) {
            continue;
        }
        if NOT_YET.contains(&key.as_str()) {
            return Err(refuse(format!(
                "attribute {key} is not supported yet; supported are {}",
                SUPPORTED.join(", ")
            )));
        }
        let hint = match nearest(key) {
            Some(known) => format!("did you mean {known}?"),
            None => format!("supported are {}", SUPPORTED.join(", ")),
        };
        return Err(refuse(format!(
            "unknown attribute {}; {hint}",
            shown_key(key)
        )));
    }
    Ok(())
}

/// The known key that `key` was probably meant to be, among all keys of csi.md 8.
fn nearest(key: &str) -> Option<&'static str> {
    let wanted = key.to_ascii_lowercase();
    if wanted.len() > 4 * MAX_KEY_LENGTH {
        return None;
    }
    SUPPORTED
        .iter()
        .chain(&NOT_YET)
        .map(|known| (distance(&wanted, &known.to_ascii_lowercase()), *known))
        .min_by_key(|(steps, _)| *steps)
        .filter(|(steps, known)| *steps <= (known.len() / 3).max(1))
        .map(|(_, known)| known)
}

/// Length of the longest known key, in bytes.
const MAX_KEY_LENGTH: usize = 15;

/// Levenshtein distance over bytes.
fn distance(left: &str, right: &str) -> usize {
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

/// Reads permission bits written as octal text, as csi.md 8 wants them: `^0?[0-7]{3}$`.
///
/// Without a leading zero a text whose digits make no sense as octal permissions (a digit with write or execute but without
/// read, such as 256 or 420) is taken for the decimal number of a JSON manifest and refused.
///
/// # Errors
///
/// The broken rule, as the end of a sentence that begins with the attribute's name.
pub(super) fn parse_mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3);
    let decimal_looking = |text: &str| {
        text.len() == 3
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && text
                .bytes()
                .any(|byte| matches!(byte, b'1'..=b'3' | b'8' | b'9'))
    };
    if digits.is_none() && decimal_looking(text) {
        return Err(format!(
            "looks decimal: {}; write octal text with a leading zero, such as \"0400\"",
            quoted(text)
        ));
    }
    let digits = digits.unwrap_or(text);
    let octal = digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    if octal && digits.len() == 4 {
        return Err(format!(
            "has setuid, setgid or sticky bits: {}; only permission bits are allowed",
            quoted(text)
        ));
    }
    if !octal || digits.len() != 3 {
        return Err(format!(
            "is not octal permission bits: {}; write text such as \"0440\"",
            quoted(text)
        ));
    }
    u32::from_str_radix(digits, 8).map_err(|_| String::from("is not octal permission bits"))
}

/// Whether `name` may be the name of a Kubernetes object: DNS-1123 subdomain, at most 253 bytes.
fn is_dns1123_subdomain(name: &str) -> bool {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// `text` in quotes, escaped, cut to [`SHOWN_VALUE_BYTES`].
pub(super) fn quoted(text: &str) -> String {
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
mod tests {
    use super::*;

    fn request(attributes: &[(&str, &str)]) -> VolumeRequest {
        VolumeRequest {
            volume_id: String::from("csi-1"),
            namespace: String::from("app"),
            pod_name: String::from("web-0"),
            pod_uid: String::from("u-1"),
            service_account: String::from("web"),
            attributes: attributes
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn a_name_alone_shows_every_key_of_the_pods_namespace() {
        let plan = Plan::try_new(&request(&[("externalSecret", "db")])).unwrap();
        assert_eq!(plan.object.to_string(), "app/db");
        assert_eq!(plan.layout, Layout::default());
        assert_eq!(plan.pod.service_account, "web");
    }

    #[test]
    fn attributes_that_break_csi_md_8_are_refused_by_name() {
        let long = "x".repeat(MAX_VALUE_BYTES + 1);
        let half = "x".repeat(MAX_VALUE_BYTES);
        let dns_long = "a".repeat(254);
        for (attributes, text) in [
            (vec![], "attribute externalSecret is missing"),
            (
                vec![("externalSecret", "")],
                "attribute externalSecret is empty; quote",
            ),
            (
                vec![("externalSecret", "kube-system/db")],
                "not a valid object name: \"kube-system/db\"",
            ),
            (vec![("externalSecret", "Db")], "not a valid object name"),
            (vec![("externalSecret", "db.")], "not a valid object name"),
            (vec![("externalSecret", "../db")], "not a valid object name"),
            (
                vec![("externalSecret", &dns_long)],
                "not a valid object name",
            ),
            (
                vec![("externalsecret", "db")],
                "unknown attribute externalsecret; did you mean externalSecret?",
            ),
            (
                vec![("externalSecret", "db"), ("item", "[]")],
                "unknown attribute item; did you mean items?",
            ),
            (
                vec![("externalSecret", "db"), ("default-mode", "0400")],
                "unknown attribute default-mode; did you mean defaultMode?",
            ),
            (
                vec![("externalSecret", "db"), ("secretProviderClass", "x")],
                "supported are externalSecret, defaultMode, items",
            ),
            (
                vec![("externalSecret", "db"), ("optoinal", "true")],
                "did you mean optional?",
            ),
            (
                vec![("externalSecret", "db"), ("optional", "true")],
                "attribute optional is not supported yet",
            ),
            (
                vec![("externalSecret", "db"), ("refreshInterval", "1m")],
                "attribute refreshInterval is not supported yet",
            ),
            (
                vec![("externalSecret", "db"), ("data", "[]")],
                "attributes externalSecret and data exclude each other",
            ),
            (
                vec![("data", "[]"), ("secretStore", "s")],
                "attribute data is not supported yet",
            ),
            (
                vec![("externalSecret", "db"), ("items", &long)],
                "attribute items is longer than 16384 bytes",
            ),
            (
                vec![
                    ("a", &half),
                    ("b", &half),
                    ("c", &half),
                    ("d", &half),
                    ("externalSecret", "db"),
                ],
                "longer than 65536 bytes together",
            ),
            (
                vec![("externalSecret", "db"), ("defaultMode", "256")],
                "attribute defaultMode looks decimal: \"256\"",
            ),
            (
                vec![("externalSecret", "db"), ("items", "nonsense")],
                "attribute items: ",
            ),
            (
                vec![("externalSecret", "db"), ("a\nb", "x")],
                "unknown attribute \"a\\nb\"",
            ),
        ] {
            let refusal = Plan::try_new(&request(&attributes))
                .unwrap_err()
                .to_string();
            assert!(refusal.contains(text), "{text:?} not in {refusal:?}");
            assert!(
                refusal.len() <= 512 && !refusal.contains('\n'),
                "{refusal:?}"
            );
        }
    }

    #[test]
    fn every_key_of_the_table_is_either_served_or_refused_as_not_yet() {
        for key in NOT_YET {
            let refusal = Plan::try_new(&request(&[("externalSecret", "db"), (key, "1")]))
                .unwrap_err()
                .to_string();
            let expected = if key == "data" {
                "exclude"
            } else {
                "not supported yet"
            };
            assert!(refusal.contains(expected), "{refusal}");
        }
        let longest = SUPPORTED
            .iter()
            .chain(&NOT_YET)
            .map(|key| key.len())
            .max()
            .unwrap();
        assert_eq!(longest, MAX_KEY_LENGTH);
    }

    #[test]
    fn modes_are_octal_text() {
        for (text, expected) in [
            ("0440", Ok(0o440)),
            ("440", Ok(0o440)),
            ("0400", Ok(0o400)),
            ("0256", Ok(0o256)),
            ("000", Ok(0)),
            ("0777", Ok(0o777)),
            ("256", Err("looks decimal")),
            ("420", Err("looks decimal")),
            ("288", Err("looks decimal")),
            ("493", Err("looks decimal")),
            ("4755", Err("setuid")),
            ("2750", Err("setuid")),
            ("1777", Err("setuid")),
            ("00440", Err("octal")),
            ("0o440", Err("octal")),
            ("44", Err("octal")),
            ("", Err("octal")),
            ("-440", Err("octal")),
            ("0480", Err("octal")),
            ("rw-", Err("octal")),
            ("\u{664}\u{664}\u{660}", Err("octal")),
        ] {
            match (parse_mode(text), expected) {
                (Ok(mode), Ok(wanted)) => assert_eq!(mode, wanted, "{text}"),
                (Err(rule), Err(part)) => assert!(rule.contains(part), "{text}: {rule}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }

    #[test]
    fn a_refusal_quotes_at_most_64_bytes_of_a_value() {
        let value = "\u{e9}".repeat(200);
        let refusal = Plan::try_new(&request(&[("externalSecret", &value)]))
            .unwrap_err()
            .to_string();
        assert_eq!(refusal.matches('\u{e9}').count(), 32);
        assert!(refusal.contains("..."));
    }
}

//! Fields with one value: names, paths, durations, sizes, users.

use std::path::{Component, Path};
use std::time::Duration;

use serde_json::Value;

use super::document::{Document, Fields};
use crate::volumes::attributes::{is_dns1123_subdomain, quoted};

/// Size of an own tmpfs, bytes.
const DEFAULT_TMPFS: u64 = 4 << 20;
/// Smallest and largest own tmpfs, bytes.
const TMPFS_BOUNDS: (u64, u64) = (256 << 10, 1 << 30);

pub(super) fn object_name<'a>(fields: &Fields<'a>) -> Option<&'a str> {
    let name = fields.required("name")?;
    if !is_dns1123_subdomain(name) {
        fields.wrong(
            "name",
            "must be lower case letters, digits, '-' and '.', at most 253",
        );
        return None;
    }
    Some(name)
}

pub(super) fn required_fields<'a>(
    document: &'a Document,
    fields: &Fields<'a>,
    key: &str,
    known: &[&str],
) -> Option<Fields<'a>> {
    if fields.get(key).is_none() {
        let path = fields.at(key);
        document.wrong(
            path.strip_suffix(&format!(".{key}")).unwrap_or(&path),
            format!("lacks {key}, which is required"),
        );
    }
    fields.fields(key, known)
}

pub(super) fn is_plain(path: &Path) -> bool {
    let text = path.as_os_str().as_encoded_bytes();
    path.is_absolute()
        && path.components().count() > 1
        && path
            .components()
            .all(|component| matches!(component, Component::RootDir | Component::Normal(_)))
        // `components` hides these.
        && !text.windows(2).any(|pair| pair == b"//")
        && !text.windows(3).any(|three| three == b"/./")
        && !text.ends_with(b"/")
        && !text.ends_with(b"/.")
}

pub(super) fn duration(fields: &Fields<'_>, key: &'static str) -> Option<Duration> {
    let text = fields.text(key)?;
    match latchkey_crds::duration::parse(key, text) {
        Ok(duration) if duration.positive().is_some() => duration.positive(),
        _ => {
            let text = "must be a duration above zero, such as 500ms, 30s or 5m";
            fields.wrong(key, text);
            None
        }
    }
}

pub(super) fn tmpfs(fields: &Fields<'_>) -> Option<u64> {
    let size = match fields.get("tmpfs")? {
        Value::Bool(false) => return None,
        Value::Bool(true) => Some(DEFAULT_TMPFS),
        Value::String(text) => bytes(text),
        _ => None,
    };
    let (least, most) = TMPFS_BOUNDS;
    let size = size.filter(|size| (least..=most).contains(size));
    if size.is_none() {
        fields.wrong(
            "tmpfs",
            "must be true, or a size from 256Ki to 1Gi, such as 16Mi",
        );
    }
    size
}

fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = [("Ki", 10), ("Mi", 20), ("Gi", 30)]
        .into_iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)))
        .unwrap_or((text, 0));
    number.parse::<u64>().ok()?.checked_mul(1 << unit)
}

/// A number, or a name that `database` knows.
pub(super) fn id_of(fields: &Fields<'_>, key: &str, database: &str) -> Option<u32> {
    let value = fields.get(key)?;
    if let Some(number) = value.as_u64() {
        // 4294967295 means "leave it" to the kernel.
        let number = u32::try_from(number).ok().filter(|id| *id != u32::MAX);
        if number.is_none() {
            fields.wrong(key, "must be a number below 4294967295, or a name");
        }
        return number;
    }
    let name = fields.text(key)?;
    let text = std::fs::read_to_string(database).unwrap_or_default();
    let found = text.lines().find_map(|line| {
        let mut columns = line.split(':');
        (columns.next() == Some(name)).then(|| columns.nth(1)?.parse().ok())?
    });
    if found.is_none() {
        fields.wrong(
            key,
            format!("{} is not in {database}; use its number", quoted(name)),
        );
    }
    found
}

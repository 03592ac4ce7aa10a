//! Which keys a write changes, for the log (`externalsecret.md` 8.2). Names only, never values.

use std::fmt;

use latchkey_secret::SecretData;

/// Keys by what happens to them, each list in ascending order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in super::super) struct KeyChanges<'a> {
    added: Vec<&'a str>,
    updated: Vec<&'a str>,
    removed: Vec<&'a str>,
    /// Those that are added or updated, and empty now.
    emptied: Vec<&'a str>,
}

// === impl KeyChanges ===

impl<'a> KeyChanges<'a> {
    pub(in super::super) fn between(before: &'a SecretData, after: &'a SecretData) -> Self {
        let mut changes = Self::default();
        for (key, value) in after {
            match before.get(key) {
                Some(old) if old == value => continue,
                Some(_) => changes.updated.push(key),
                None => changes.added.push(key),
            }
            if value.is_empty() {
                changes.emptied.push(key);
            }
        }
        let removed = before.keys().filter(|key| !after.contains_key(*key));
        changes.removed.extend(removed.map(String::as_str));
        changes
    }
}

impl fmt::Display for KeyChanges<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (word, keys)) in [
            ("added", &self.added),
            ("updated", &self.updated),
            ("removed", &self.removed),
            ("emptied", &self.emptied),
        ]
        .into_iter()
        .enumerate()
        {
            let comma = if index == 0 { "" } else { ", " };
            write!(formatter, "{comma}{word} {keys:?}")?;
        }
        Ok(())
    }
}

//! The values of one Fake resource: those of its manifest, and those that were pushed.

use std::collections::BTreeMap;

use latchkey_crds::provider_fake::FakeSpec;
use latchkey_provider_sdk::json::{self, Escape};
use latchkey_provider_sdk::{
    ErrorClass, Find, MetadataPolicy, ProviderError, Push, RemoteRef, Result, gjson, name_pattern,
};
use latchkey_secret::{SecretData, SecretValue};

/// The values of a manifest, by key and version (P-58).
#[derive(Debug, Default)]
pub struct Values {
    entries: BTreeMap<(String, String), Entry>,
}

#[derive(Debug)]
struct Entry {
    value: SecretValue,
    metadata: BTreeMap<String, String>,
}

/// The values that were pushed, by key. They have no version.
pub type Pushed = BTreeMap<String, SecretValue>;

/// One value, and its metadata if it has any.
struct Found<'a> {
    value: SecretValue,
    metadata: Option<&'a BTreeMap<String, String>>,
}

// === impl Values ===

impl Values {
    /// Reads a manifest.
    ///
    /// # Errors
    ///
    /// [`ErrorClass::InvalidConfig`] for an entry without key or value.
    pub fn from_spec(spec: &FakeSpec) -> Result<Self> {
        let mut entries = BTreeMap::new();
        for (index, data) in spec.data.iter().enumerate() {
            let key = data.key.as_deref().filter(|key| !key.is_empty());
            let key = key.ok_or_else(|| {
                ProviderError::invalid_config(format!("key must be set in data {index}"))
            })?;
            let value = match data.value.as_deref().filter(|value| !value.is_empty()) {
                Some(value) => SecretValue::from(value.to_owned()),
                // P-57: a value map of older manifests.
                None if !data.value_map.is_empty() => SecretValue::new(json_of(&data.value_map)),
                None => {
                    return Err(ProviderError::invalid_config(format!(
                        "at least one value must be set in data {index}"
                    )));
                }
            };
            let version = data.version.clone().unwrap_or_default();
            entries.insert(
                (key.to_owned(), version),
                Entry {
                    value,
                    metadata: data.metadata.clone(),
                },
            );
        }
        Ok(Self { entries })
    }

    /// Sets a value, or removes it with `None`: what the control service does.
    pub fn set(&mut self, name: (String, String), value: Option<SecretValue>) {
        match value {
            Some(value) => {
                let metadata = BTreeMap::new();
                self.entries.insert(name, Entry { value, metadata });
            }
            None => {
                self.entries.remove(&name);
            }
        }
    }

    /// One value (specification 12.1).
    ///
    /// # Errors
    ///
    /// [`ErrorClass::SecretNotFound`] for an unknown key, version or property.
    pub fn get(&self, pushed: &Pushed, remote: &RemoteRef) -> Result<SecretValue> {
        let found = self.find(pushed, remote)?;
        // Upstream ignores the policy; so does an entry without metadata.
        if let (MetadataPolicy::Fetch, Some(metadata)) = (remote.metadata_policy, found.metadata) {
            if remote.property.is_empty() {
                return Ok(SecretValue::new(json_of(metadata)));
            }
            let value = metadata
                .get(&remote.property)
                .ok_or_else(ProviderError::secret_not_found)?;
            return Ok(SecretValue::from(value.clone()));
        }
        property(&found.value, &remote.property)
    }

    /// One value as a map (conversion A).
    ///
    /// # Errors
    ///
    /// [`ErrorClass::SecretNotFound`] as for [`Values::get`], [`ErrorClass::InvalidPayload`] if the value is no JSON object.
    pub fn get_map(&self, pushed: &Pushed, remote: &RemoteRef) -> Result<SecretData> {
        as_map(&self.get(pushed, remote)?, &remote.key)
    }

    /// The values whose key matches, each in its greatest version (compared as text), with converted names (P-02). Only the
    /// name counts: a path is ignored, and so are tags beside a name, as upstream does.
    ///
    /// # Errors
    ///
    /// [`ErrorClass::InvalidArgument`] for a malformed expression, and if there is no name.
    pub fn find_all(&self, pushed: &Pushed, find: &Find) -> Result<SecretData> {
        let Some(pattern) = &find.name else {
            return Err(ProviderError::invalid_argument(if find.tags.is_empty() {
                "unexpected find operator"
            } else {
                "unsupported find operator"
            }));
        };
        let pattern = name_pattern(pattern)?;
        let mut found = SecretData::new();
        // Versions of one key are neighbours in ascending order, so the last one stays.
        for ((key, _version), entry) in self
            .entries
            .iter()
            .filter(|((key, _), _)| pattern.is_match(key))
        {
            found.insert(key.clone(), entry.value.clone());
        }
        for (key, value) in pushed.iter().filter(|(key, _)| pattern.is_match(key)) {
            found.entry(key.clone()).or_insert_with(|| value.clone());
        }
        find.conversion_strategy.convert_keys(found)
    }

    /// Whether a key exists without version.
    #[must_use]
    pub fn exists(&self, pushed: &Pushed, key: &str) -> bool {
        self.has_manifest_entry(key) || pushed.contains_key(key)
    }

    /// Takes a pushed value into `pushed`.
    ///
    /// # Errors
    ///
    /// [`ErrorClass::Conflict`] if the manifest has the key; [`ErrorClass::InvalidArgument`] if the source lacks it.
    pub fn push(&self, pushed: &mut Pushed, push: &Push) -> Result<()> {
        if self.has_manifest_entry(&push.remote_key) {
            return Err(ProviderError::new(
                ErrorClass::Conflict,
                "key already exists",
            ));
        }
        let value = match push.value()? {
            Some(value) => value.clone(),
            None => {
                let texts = push
                    .data
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.expose()));
                SecretValue::new(std::mem::take(&mut *json::from_texts(texts, Escape::Plain)))
            }
        };
        pushed.insert(push.remote_key.clone(), value);
        Ok(())
    }

    fn has_manifest_entry(&self, key: &str) -> bool {
        self.entries.contains_key(&(key.to_owned(), String::new()))
    }

    fn find(&self, pushed: &Pushed, remote: &RemoteRef) -> Result<Found<'_>> {
        if let Some(entry) = self
            .entries
            .get(&(remote.key.clone(), remote.version.clone()))
        {
            let metadata = Some(&entry.metadata).filter(|metadata| !metadata.is_empty());
            return Ok(Found {
                value: entry.value.clone(),
                metadata,
            });
        }
        match pushed.get(&remote.key) {
            Some(value) if remote.version.is_empty() => Ok(Found {
                value: value.clone(),
                metadata: None,
            }),
            _ => Err(ProviderError::secret_not_found()),
        }
    }
}

/// A property of a value: a gjson path and nothing else (specification 3.1).
///
/// # Errors
///
/// [`ErrorClass::SecretNotFound`] if it does not exist.
pub fn property(value: &SecretValue, path: &str) -> Result<SecretValue> {
    if path.is_empty() {
        return Ok(value.clone());
    }
    gjson::get(value.expose(), path)
        .map(|found| found.render())
        .ok_or_else(ProviderError::secret_not_found)
}

/// A value as a map (conversion A).
///
/// # Errors
///
/// [`ErrorClass::InvalidPayload`] if it is no JSON object.
pub fn as_map(value: &SecretValue, key: &str) -> Result<SecretData> {
    json::raw_map(value.expose())
        .map_err(|_| ProviderError::invalid_payload(format!("unable to unmarshal secret {key}")))
}

fn json_of(map: &BTreeMap<String, String>) -> Vec<u8> {
    let texts = map
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_bytes()));
    std::mem::take(&mut *json::from_texts(texts, Escape::Plain))
}

#[cfg(test)]
#[path = "values/tests.rs"]
mod tests;

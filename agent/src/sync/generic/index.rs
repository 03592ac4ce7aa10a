//! Kinds of targets, and which ExternalSecrets write which target (`externalsecret.md` 2.1, 5.5).

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use kube::core::GroupVersionKind;
use latchkey_crds::external_secret::{ExternalSecret, TargetManifest};

use super::super::backoff::Key;

/// Group, version and kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Gvk {
    /// Empty for the core group.
    pub(in super::super) group: String,
    pub(in super::super) version: String,
    pub(in super::super) kind: String,
}

/// A target of another kind than Secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct TargetId {
    pub(in super::super) gvk: Gvk,
    pub(in super::super) namespace: String,
    pub(in super::super) name: String,
}

/// The ExternalSecrets with such targets.
#[derive(Default)]
pub(in super::super) struct Index {
    /// Names of ExternalSecrets by their target, which is in their namespace.
    writers: HashMap<TargetId, BTreeSet<String>>,
    targets: HashMap<Key, TargetId>,
}

// === impl Gvk ===

impl Gvk {
    pub(in super::super) fn of(manifest: &TargetManifest) -> Self {
        let version = &manifest.api_version;
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: manifest.kind.clone(),
        }
    }

    /// `v1`, or `apps/v1`.
    pub(in super::super) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Whether the API server could serve it: what an ExternalSecret says becomes part of a URL.
    pub(super) fn is_plausible(&self) -> bool {
        let is_plain = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        let labels = |text: &str| {
            text.split('.')
                .all(|label| !label.is_empty() && is_plain(label))
        };
        (self.group.is_empty() || labels(&self.group))
            && !self.version.is_empty()
            && is_plain(&self.version)
    }
}

impl From<&Gvk> for GroupVersionKind {
    fn from(gvk: &Gvk) -> Self {
        Self::gvk(&gvk.group, &gvk.version, &gvk.kind)
    }
}

/// As Go prints it: `apps/v1, Kind=Deployment`, and `/v1, Kind=ConfigMap`.
impl fmt::Display for Gvk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}/{}, Kind={}",
            self.group, self.version, self.kind
        )
    }
}

// === impl TargetId ===

impl TargetId {
    /// The target of an ExternalSecret, if it has a manifest.
    pub(in super::super) fn of(object: &ExternalSecret) -> Option<Self> {
        let manifest = object.spec.target.manifest.as_ref()?;
        Some(Self {
            gvk: Gvk::of(manifest),
            namespace: object.metadata.namespace.clone().unwrap_or_default(),
            name: object.target_name().to_owned(),
        })
    }
}

/// `<group>/<version>/<Kind>/<name>`; the namespace is that of whoever refers to it.
impl fmt::Display for TargetId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gvk {
            group,
            version,
            kind,
        } = &self.gvk;
        write!(formatter, "{group}/{version}/{kind}/{}", self.name)
    }
}

// === impl Index ===

impl Index {
    /// Takes note of the target that an ExternalSecret has now, if any. Returns whether it has lost another one.
    pub(in super::super) fn point(&mut self, key: &Key, target: Option<TargetId>) -> bool {
        if self.targets.get(key) == target.as_ref() {
            return false;
        }
        let has_lost = self.remove(key);
        if let Some(target) = target {
            let writers = self.writers.entry(target.clone()).or_default();
            writers.insert(key.1.clone());
            self.targets.insert(key.clone(), target);
        }
        has_lost
    }

    /// Forgets an ExternalSecret. Returns whether it had a target.
    pub(in super::super) fn remove(&mut self, key: &Key) -> bool {
        let Some(target) = self.targets.remove(key) else {
            return false;
        };
        if let Some(writers) = self.writers.get_mut(&target) {
            writers.remove(&key.1);
            if writers.is_empty() {
                self.writers.remove(&target);
            }
        }
        true
    }

    /// The ExternalSecrets whose target this is.
    pub(in super::super) fn writers_of(&self, target: &TargetId) -> Vec<Key> {
        let names = self.writers.get(target).into_iter().flatten();
        names
            .map(|name| (target.namespace.clone(), name.clone()))
            .collect()
    }

    /// Whether any ExternalSecret has a target of this kind.
    pub(in super::super) fn uses(&self, gvk: &Gvk) -> bool {
        self.writers.keys().any(|target| target.gvk == *gvk)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(name: &str, target: Value) -> ExternalSecret {
        serde_json::from_value(json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": { "name": name, "namespace": "a" }, "spec": { "target": target },
        }))
        .unwrap()
    }

    fn manifest(api_version: &str, kind: &str) -> Value {
        json!({ "manifest": { "apiVersion": api_version, "kind": kind } })
    }

    #[test]
    fn api_versions_split_into_group_and_version() {
        // E182
        for (api_version, group, version, shown) in [
            ("v1", "", "v1", "/v1, Kind=Thing"),
            (
                "apps.example/v1alpha1",
                "apps.example",
                "v1alpha1",
                "apps.example/v1alpha1, Kind=Thing",
            ),
        ] {
            let target = TargetId::of(&object("web", manifest(api_version, "Thing"))).unwrap();
            assert_eq!((&*target.gvk.group, &*target.gvk.version), (group, version));
            assert_eq!(target.gvk.to_string(), shown);
            assert_eq!(target.gvk.api_version(), api_version);
            assert!(target.gvk.is_plausible());
        }
    }

    #[test]
    fn what_cannot_be_an_api_is_never_asked_for() {
        for api_version in [
            "",
            "/v1",
            "a/",
            "../v1",
            "a/v1/secrets",
            "a/../v1",
            "A/v1",
            "a b/v1",
            "a/v1?x",
        ] {
            let target = TargetId::of(&object("web", manifest(api_version, "Thing"))).unwrap();
            assert_eq!(
                target.gvk.is_plausible(),
                api_version == "/v1",
                "{api_version}"
            );
        }
    }

    #[test]
    fn targets_have_an_index_key_and_secrets_have_none() {
        // E183, E196
        for (target, expected) in [
            (json!({}), None),
            (json!({ "name": "creds" }), None),
            (manifest("v1", "ConfigMap"), Some("/v1/ConfigMap/web")),
            (
                json!({ "name": "creds", "manifest": { "apiVersion": "example.com/v1", "kind": "Widget" } }),
                Some("example.com/v1/Widget/creds"),
            ),
        ] {
            let found =
                TargetId::of(&object("web", target.clone())).map(|target| target.to_string());
            assert_eq!(found.as_deref(), expected, "{target}");
        }
    }

    #[test]
    fn writers_are_found_by_kind_and_name_until_the_last_one_goes() {
        // externalsecret.md 2.1, 5.5, E197
        let mut index = Index::default();
        let key = |name: &str| ("a".to_owned(), name.to_owned());
        let shared = || {
            let mut target = manifest("v1", "ConfigMap");
            target["name"] = json!("shared");
            TargetId::of(&object("any", target)).unwrap()
        };
        let gvk = shared().gvk;
        let other = TargetId::of(&object("one", manifest("example.com/v1", "Widget"))).unwrap();
        assert!(!index.uses(&gvk));
        assert!(!index.point(&key("one"), Some(shared())));
        assert!(!index.point(&key("two"), Some(shared())));
        assert!(!index.point(&key("two"), Some(shared())), "nothing new");
        assert_eq!(index.writers_of(&shared()), [key("one"), key("two")]);
        assert!(index.writers_of(&other).is_empty());
        assert!(index.point(&key("one"), Some(other.clone())), "moved");
        assert!(index.uses(&gvk) && index.uses(&other.gvk));
        assert!(index.remove(&key("two")) && !index.remove(&key("two")));
        assert!(!index.uses(&gvk) && index.uses(&other.gvk));
        assert!(index.point(&key("one"), None));
        assert!(!index.uses(&other.gvk));
    }
}

//! The border between the engine and the ConfigMaps and Secrets that hold templates.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use futures::future::BoxFuture;
use latchkey_crds::external_secret::Template;
use latchkey_secret::SecretData;

/// The most objects that one template may name.
pub(super) const MOST_OBJECTS: usize = 64;
/// The most of them that are read at once.
const CONCURRENT_READS: usize = 8;

/// The kinds of objects that hold templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// `v1` ConfigMap, its `data`.
    ConfigMap,
    /// `v1` Secret.
    Secret,
}

/// A way to read ConfigMaps and Secrets by name. The agent asks the API server; tests and the offline command have a map.
pub trait TemplateObjects: Send + Sync {
    /// The values of those of `keys` that the object has.
    ///
    /// # Errors
    ///
    /// The object cannot be read.
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        kind: ObjectKind,
        name: &'a str,
        keys: &'a BTreeSet<&'a str>,
    ) -> BoxFuture<'a, Result<SecretData, ObjectError>>;
}

/// Why an object could not be read. The text is one line and safe to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// It does not exist.
    #[error("{0}")]
    Missing(String),
    /// It may not be read here; someone must change something.
    #[error("{0}")]
    Refused(String),
    /// It could not be read this time.
    #[error("{0}")]
    Unavailable(String),
}

/// What `templateFrom` needs of other objects, each object with its own outcome: a template that fails before an object is
/// needed says so, as upstream does.
#[derive(Clone, Debug, Default)]
pub struct Texts(BTreeMap<(ObjectKind, String), Result<SecretData, ObjectError>>);

// === impl ObjectKind ===

impl ObjectKind {
    /// As it stands in error texts.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        }
    }
}

// === impl Texts ===

impl Texts {
    /// Reads every object that `template` names, once each.
    pub async fn read(template: &Template, namespace: &str, objects: &dyn TemplateObjects) -> Self {
        let wanted = wanted(template);
        // A loop and not a closure: a closure over borrowed keys, held across an await, keeps callers from spawning this future.
        let mut reads = Vec::with_capacity(wanted.len());
        for ((kind, name), keys) in &wanted {
            reads.push(async move {
                let outcome = objects.read(namespace, *kind, name, keys).await;
                ((*kind, (*name).to_owned()), outcome)
            });
        }
        let read = futures::stream::iter(reads).buffered(CONCURRENT_READS);
        Self(read.collect().await)
    }

    pub(super) fn get(&self, kind: ObjectKind, name: &str) -> Result<&SecretData, ObjectError> {
        match self.0.get(&(kind, name.to_owned())) {
            Some(Ok(data)) => Ok(data),
            Some(Err(error)) => Err(error.clone()),
            None => Err(ObjectError::Unavailable(format!(
                "{} {name} was not read",
                kind.word()
            ))),
        }
    }
}

/// The objects that `templateFrom` names, with the keys it needs of each.
pub(super) fn wanted(template: &Template) -> BTreeMap<(ObjectKind, &str), BTreeSet<&str>> {
    let mut wanted: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
    for from in &template.template_from {
        for (kind, reference) in [
            (ObjectKind::ConfigMap, &from.config_map),
            (ObjectKind::Secret, &from.secret),
        ] {
            if let Some(reference) = reference {
                let keys = reference.items.iter().map(|item| item.key.as_str());
                wanted
                    .entry((kind, reference.name.as_str()))
                    .or_default()
                    .extend(keys);
            }
        }
    }
    wanted
}

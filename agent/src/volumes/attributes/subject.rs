//! What a volume shows, as the key under which it is fetched once for all volumes of the node.

use std::fmt;

use latchkey_crds::external_secret::{
    Data, ExternalSecret, ExternalSecretSpec, RemoteRef, SecretStoreRef, StoreKind,
};
use latchkey_engine::source::{CallerScope, PodCaller};

use crate::stable_hash::fnv1a;
use crate::volumes::objects::ObjectKey;

/// Names what is fetched once on a node and shown by any number of volumes: equal keys may share content.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContentKey {
    /// Namespace of the pod, and therefore of everything that the volume names.
    pub namespace: String,
    /// What is shown.
    pub subject: Subject,
    /// Whose pods it is for; `None` for all pods that may mount it. Stores that are read under the identity of pods give each
    /// its own (csi.md 9.2).
    pub caller: Option<PodCaller>,
}

/// Where the content of a volume is described.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// In the ExternalSecret of this name.
    ExternalSecret(String),
    /// In the attributes of the volume.
    Inline(Inline),
}

/// The attribute `data` with its store. Two texts that say the same are equal, however they are written.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Inline {
    /// The keys, in the order of the list; none appears twice.
    pub entries: Vec<InlineEntry>,
    /// The store that all of them come from.
    pub store: SecretStoreRef,
}

/// One key of the attribute `data`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct InlineEntry {
    /// Key in the result, and the name of its file if no item says otherwise.
    pub secret_key: String,
    /// The remote value.
    pub remote_ref: RemoteRef,
}

// === impl ContentKey ===

impl ContentKey {
    /// By how many it may be shared.
    #[must_use]
    pub fn scope(&self) -> CallerScope {
        let caller = self.caller.as_ref();
        caller.map_or(CallerScope::Store, PodCaller::scope)
    }

    /// The ExternalSecret, if the volume names one.
    #[must_use]
    pub fn object(&self) -> Option<ObjectKey> {
        match &self.subject {
            Subject::ExternalSecret(name) => Some(ObjectKey {
                namespace: self.namespace.clone(),
                name: name.clone(),
            }),
            Subject::Inline(_) => None,
        }
    }
}

/// As it reads at the beginning of a message: kind, namespace and name.
impl fmt::Display for ContentKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespace = &self.namespace;
        match &self.subject {
            Subject::ExternalSecret(name) => write!(formatter, "ExternalSecret {namespace}/{name}"),
            Subject::Inline(inline) => {
                let (kind, name) = (inline.store.kind(), inline.store.name());
                match kind {
                    StoreKind::SecretStore => {
                        write!(formatter, "inline data of {kind} {namespace}/{name}")
                    }
                    StoreKind::ClusterSecretStore => {
                        write!(formatter, "inline data of {kind} {name}")
                    }
                }
            }
        }
    }
}

// === impl Subject ===

/// Kind and name, as one word.
impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExternalSecret(name) => write!(formatter, "ExternalSecret/{name}"),
            Self::Inline(inline) => {
                let (kind, name) = (inline.store.kind(), inline.store.name());
                write!(formatter, "inline:{kind}/{name}")
            }
        }
    }
}

// === impl Inline ===

impl Inline {
    /// The ExternalSecret that would say the same, for the engine. It exists in memory only; its name and UID follow from what
    /// it says, so that they survive a restart.
    #[must_use]
    pub fn to_object(&self, namespace: &str) -> ExternalSecret {
        let data = self.entries.iter().map(InlineEntry::to_data).collect();
        let spec = ExternalSecretSpec {
            secret_store_ref: Some(self.store.clone()),
            data,
            ..ExternalSecretSpec::default()
        };
        let name = format!("inline-{:016x}", self.stable_hash(namespace));
        let mut object = ExternalSecret::new(&name, spec);
        object.metadata.namespace = Some(namespace.to_owned());
        object.metadata.uid = Some(name);
        object
    }

    /// Over everything that it says; each text with its length before it.
    fn stable_hash(&self, namespace: &str) -> u64 {
        let mut texts = vec![namespace, self.store.kind().as_str(), self.store.name()];
        for InlineEntry {
            secret_key,
            remote_ref,
        } in &self.entries
        {
            let decoding = remote_ref
                .decoding_strategy
                .map(|strategy| strategy.as_str());
            texts.push(secret_key);
            texts.push(&remote_ref.key);
            texts.push(remote_ref.property.as_deref().unwrap_or_default());
            texts.push(remote_ref.version.as_deref().unwrap_or_default());
            texts.push(decoding.unwrap_or_default());
        }
        fnv1a(texts.into_iter().flat_map(|text| {
            let length = text.len().to_le_bytes();
            length.into_iter().chain(text.bytes())
        }))
    }
}

/// The number of keys only: attributes are never printed (csi.md R8).
impl fmt::Debug for Inline {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Inline({} keys)", self.entries.len())
    }
}

// === impl InlineEntry ===

impl InlineEntry {
    fn to_data(&self) -> Data {
        Data {
            secret_key: self.secret_key.clone(),
            remote_ref: self.remote_ref.clone(),
            source_ref: None,
        }
    }
}

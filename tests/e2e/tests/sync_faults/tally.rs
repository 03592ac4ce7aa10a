//! What was written on the way: counted in etcd, where it is stored, and in the audit log, where it was asked for.

use std::collections::BTreeMap;

use anyhow::Result;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use latchkey_cluster::etcd;

use crate::world::{Key, World};

/// What was counted of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Versions of the Secret that were stored since it was created.
    pub(crate) secret: u64,
    /// The same of the ExternalSecret; the test's own writes included.
    pub(crate) object: u64,
    /// Events by reason.
    pub(crate) events: BTreeMap<String, u64>,
}

impl Seen {
    /// So many writes of Secret and ExternalSecret, and one event of each of these reasons.
    pub(crate) fn new(secret: u64, object: u64, events: &[&str]) -> Self {
        Self {
            secret,
            object,
            events: events
                .iter()
                .map(|reason| ((*reason).to_owned(), 1))
                .collect(),
        }
    }
}

// === impl World ===

impl World {
    /// What etcd has counted.
    pub(crate) async fn stored(&self) -> Result<BTreeMap<Key, Seen>> {
        let mut seen = BTreeMap::new();
        for namespace in &self.namespaces {
            let secrets = etcd::writes_below(&format!("/registry/secrets/{namespace}/")).await?;
            let prefix = format!("/registry/external-secrets.io/externalsecrets/{namespace}/");
            let objects = etcd::writes_below(&prefix).await?;
            for key in self.rounds.keys().filter(|key| key.0 == *namespace) {
                let of = |stored: &BTreeMap<String, u64>| stored.get(&key.1).copied();
                let counted = Seen {
                    secret: of(&secrets).unwrap_or_default(),
                    object: of(&objects).unwrap_or_default(),
                    events: BTreeMap::new(),
                };
                seen.insert(key.clone(), counted);
            }
        }
        Ok(seen)
    }

    pub(crate) async fn events(
        &self,
        namespace: &str,
    ) -> Result<BTreeMap<Key, BTreeMap<String, u64>>> {
        let events: Api<Event> = Api::namespaced(self.cx.client(), namespace);
        let mut counted: BTreeMap<Key, BTreeMap<String, u64>> = BTreeMap::new();
        for event in events.list(&ListParams::default()).await? {
            let about = event.regarding.unwrap_or_default();
            if about.kind.as_deref() != Some("ExternalSecret") {
                continue;
            }
            let repeated = event.series.map_or(1, |series| series.count);
            let key = (namespace.to_owned(), about.name.unwrap_or_default());
            let reason = event.reason.unwrap_or_default();
            *counted.entry(key).or_default().entry(reason).or_default() += u64::try_from(repeated)?;
        }
        Ok(counted)
    }

    /// Writes of Secrets that the API server accepted from an account, by object and verb. A write whose answer was lost with the
    /// API server is not among them.
    pub(crate) fn accepted(&self, account: &str) -> Result<BTreeMap<Key, BTreeMap<String, u64>>> {
        let mut accepted: BTreeMap<Key, BTreeMap<String, u64>> = BTreeMap::new();
        for event in self.cx.audit(self.cx.namespace(), account)? {
            let object = event.object_ref;
            let key = (object.namespace, object.name);
            let is_read = matches!(event.verb.as_str(), "get" | "list" | "watch");
            let is_done = (200..300).contains(&event.response_status.code);
            if object.resource == "secrets" && !is_read && is_done && self.rounds.contains_key(&key)
            {
                *accepted
                    .entry(key)
                    .or_default()
                    .entry(event.verb)
                    .or_default() += 1;
            }
        }
        Ok(accepted)
    }

    /// How often an account was answered with this code, by verb and resource.
    pub(crate) fn answered(&self, account: &str, code: u16) -> Result<BTreeMap<String, u64>> {
        let mut answered: BTreeMap<String, u64> = BTreeMap::new();
        for event in self.cx.audit(self.cx.namespace(), account)? {
            if event.response_status.code == code {
                let request = format!("{} {}", event.verb, event.object_ref.resource);
                *answered.entry(request).or_default() += 1;
            }
        }
        Ok(answered)
    }
}

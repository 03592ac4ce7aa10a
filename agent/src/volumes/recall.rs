//! Content that volumes of an earlier process show, read back from their own mounts (csi.md 6.5).
//!
//! A restart loses what was kept in memory. A pod with `startPolicy: AllowCached` that comes while nothing can be fetched is served
//! from a volume that shows the same all the while: all keys of the same version of the object, from the same stores, fetched for
//! the same identity, which [`identity`] says in the state of the volume. Nothing is read before such a pod waits. What is read
//! serves such pods only, and is told to no mounted volume: it is no news to any.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use latchkey_csi::backend::{Shown, Trigger};
use latchkey_engine::source::{Source, Standing};
use parking_lot::Mutex;
use tracing::info;

use super::attributes::{ContentKey, Plan, StartPolicy};
use super::generated::owner_of;
use super::registry::{Lease, Registry};
use super::resolve;
use super::state::{Content, Revision, Seen};
use crate::generators::journal::Owner;
use crate::stable_hash::fnv1a;

/// Volumes that an earlier process mounted, by pod and volume.
#[derive(Default)]
pub(super) struct Adopted {
    volumes: Mutex<HashMap<(String, String), (Plan, Shown)>>,
    /// One volume is read at a time; pods that come together wait for the first of them.
    turn: tokio::sync::Mutex<()>,
}

// === impl Adopted ===

impl Adopted {
    pub(super) fn keep(&self, plan: &Plan, shown: Shown) {
        let mut volumes = self.volumes.lock();
        volumes.insert(name_of(plan), (plan.clone(), shown));
    }

    pub(super) fn release(&self, plan: &Plan) {
        self.volumes.lock().remove(&name_of(plan));
    }

    /// Those that may show what `key` says, the latest success first.
    fn showing(&self, key: &ContentKey) -> Vec<Shown> {
        let volumes = self.volumes.lock();
        let showing = volumes
            .values()
            .filter(|(plan, _)| plan.key_as(key.scope()) == *key);
        let mut showing: Vec<_> = showing.map(|(_, shown)| shown.clone()).collect();
        showing.sort_by_key(|shown| std::cmp::Reverse(shown.last_success));
        showing
    }
}

fn name_of(plan: &Plan) -> (String, String) {
    (plan.pod.uid.clone(), plan.pod.volume_id.clone())
}

/// Looks in mounted volumes for content of the object that the mount of `plan` may start with. What is found is kept until content
/// is fetched or the object changes.
///
/// # Cancel safety
///
/// Dropping the future gives up the search and nothing else.
pub(super) async fn recall<S: Source + 'static>(
    registry: &Registry<S>,
    lease: &Lease<S>,
    seen: &Seen,
    plan: &Plan,
) {
    let StartPolicy::AllowCached { max_staleness } = plan.start else {
        return;
    };
    let key = lease.key();
    let mut showing = registry.adopted.showing(key);
    showing.retain(|shown| shown.last_success.elapsed() <= max_staleness);
    // What was made may have been replaced and revoked in the meantime.
    if showing.is_empty() || seen.has_generators() {
        return;
    }
    let Ok(standing) = resolve::standing(&registry.resolver, key, &seen.object).await else {
        return;
    };
    let identity = identity(key, &seen.revision, &standing);
    showing.retain(|shown| shown.revision == identity);
    let _turn = registry.adopted.turn.lock().await;
    if lease.has_recalled() {
        return;
    }
    for shown in showing {
        let Some(files) = shown.read().await else {
            continue;
        };
        let age = shown.last_success.elapsed();
        info!(object = %key, age = age.as_secs(), "its content is read back from a mounted volume");
        let data = files.into_iter().map(|file| (file.path, file.content));
        lease.recalled(Content {
            data: data.collect(),
            identity: Some(identity.into()),
            standing: Some(standing),
            revision: Arc::clone(&seen.revision),
            trigger: Trigger::Interval,
            fetched: shown.last_success,
            fetched_on: SystemTime::now()
                .checked_sub(age)
                .unwrap_or(SystemTime::UNIX_EPOCH),
            serial: 0,
        });
        return;
    }
}

/// What all of the keys of an object are known by beyond the process: the version of the object, that of its stores, and whom they
/// were fetched for. No value has part in it. Of another form in another version of the agent, it fits nothing.
pub(super) fn identity(key: &ContentKey, revision: &Revision, standing: &Standing) -> String {
    let Owner {
        namespace,
        object,
        identity,
    } = owner_of(key);
    let Revision {
        uid,
        generation,
        labels,
        annotations,
    } = revision;
    let mut texts = vec![namespace, object, identity];
    for map in [labels, annotations] {
        texts.push(map.len().to_string());
        texts.extend(texts_of(map));
    }
    for mark in &standing.0 {
        let (scope, audience) = (mark.caller.scope, &mark.caller.audience);
        texts.push(mark.uid.clone());
        texts.push(format!("{:?} {scope:?} {audience:?}", mark.generation));
    }
    let bytes = texts.iter().flat_map(|text| {
        let length = text.len().to_le_bytes();
        length.into_iter().chain(text.bytes())
    });
    let generation = generation.unwrap_or_default();
    format!("1 {uid} {generation} {:016x}", fnv1a(bytes))
}

fn texts_of(map: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    map.iter()
        .flat_map(|(key, value)| [key.clone(), value.clone()])
}

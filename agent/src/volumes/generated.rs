//! Values that generators make for volumes (csi.md 6.4): one set for each ExternalSecret, identity and node.
//!
//! The refresher of an entry has them made, so that all volumes of the entry share them; what replaces them, and the end of the
//! entry, has the old ones revoked. The [`Journal`] remembers them beyond the process.

use std::sync::Arc;
use std::time::Duration;

use latchkey_engine::source::Source;
use tokio::time::sleep;

use super::attributes::{ContentKey, Subject};
use super::registry::Registry;
use crate::generators::journal::{Journal, Owner};

/// For so long after the start values are kept that no volume shows: kubelet may still be about to mount its pods' volumes.
const UNCLAIMED: Duration = Duration::from_secs(5 * 60);

/// For whom the values of an entry are made.
pub(super) fn owner_of(key: &ContentKey) -> Owner {
    let object = match &key.subject {
        Subject::ExternalSecret(name) => name.clone(),
        // Inline data knows no generators.
        inline @ Subject::Inline(_) => inline.to_string(),
    };
    let identity = key.caller.as_ref().map(|caller| {
        let (pod, audience) = (&caller.pod_uid, &caller.audience);
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        format!(
            "{}/{}/{}",
            caller.service_account,
            text(pod),
            text(audience)
        )
    });
    Owner {
        namespace: key.namespace.clone(),
        object,
        identity: identity.unwrap_or_default(),
    }
}

/// Whether both are of one object, whoever it is fetched for.
fn is_of(owner: &Owner, key: &ContentKey) -> bool {
    let Owner {
        namespace, object, ..
    } = owner_of(key);
    (namespace, object) == (owner.namespace.clone(), owner.object.clone())
}

/// Revokes what is due until the agent stops, and once what nobody shows any more since the start.
pub(super) fn look_after<S: Source + 'static>(registry: &Arc<Registry<S>>, journal: Arc<Journal>) {
    let (cancel, revoking) = (registry.cancel.clone(), Arc::clone(&journal));
    let source = Arc::clone(&registry.resolver.source);
    registry
        .tasks
        .spawn(async move { revoking.run(&*source, cancel).await });
    let (cancel, weak) = (registry.cancel.clone(), Arc::downgrade(registry));
    registry.tasks.spawn(async move {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = sleep(UNCLAIMED) => {}
        }
        if let Some(registry) = weak.upgrade() {
            let used = registry.keys();
            journal.release(|owner| !used.iter().any(|key| is_of(owner, key)));
        }
    });
}

/// The entry of `key` is gone, and `used` are those that are left: nobody shows what was made for it.
pub(super) fn release<'a>(
    journal: &Journal,
    key: &ContentKey,
    mut used: impl Iterator<Item = &'a ContentKey>,
) {
    let gone = owner_of(key);
    // What an earlier process had made for pods' identities has no entry of its own before its first fetch.
    let is_last = !used.any(|other| is_of(&gone, other));
    journal.release(|owner| *owner == gone || is_last && is_of(owner, key));
}

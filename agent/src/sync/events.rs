//! Events about ExternalSecrets (`externalsecret.md` 8.2).

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use latchkey_engine::hash;
use tracing::debug;

use super::target;

/// The component that users see in events, as upstream's.
const COMPONENT: &str = "external-secrets";
/// Longest note of an event in bytes; the API server refuses longer ones.
const LONGEST_NOTE: usize = 1024;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes events. A failure to write one is logged and otherwise ignored.
pub(super) struct Events(Recorder);

// === impl Events ===

impl Events {
    pub(super) fn new(client: Client) -> Self {
        Self(Recorder::new(
            client,
            Reporter {
                controller: COMPONENT.to_owned(),
                instance: None,
            },
        ))
    }

    pub(super) async fn normal(&self, regarding: &ObjectReference, reason: &str, note: &str) {
        self.publish(regarding, EventType::Normal, reason, note)
            .await;
    }

    pub(super) async fn warning(&self, regarding: &ObjectReference, reason: &str, note: &str) {
        self.publish(regarding, EventType::Warning, reason, note)
            .await;
    }

    async fn publish(
        &self,
        regarding: &ObjectReference,
        type_: EventType,
        reason: &str,
        note: &str,
    ) {
        // Equal events are counted instead of repeated, but the recorder does not look at the note. The action, which nobody is
        // shown, tells different notes apart.
        let action = format!("Sync-{}", &hash::of_text(note)[..8]);
        let note = Some(note[..note.floor_char_boundary(LONGEST_NOTE)].to_owned());
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note,
            action,
            secondary: None,
        };
        match tokio::time::timeout(REQUEST_TIMEOUT, self.0.publish(&event, regarding)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!("an event was not written: {}", target::describe(&error)),
            Err(_) => debug!("an event was not written in time"),
        }
    }
}

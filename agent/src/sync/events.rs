//! Events about ExternalSecrets (`externalsecret.md` 8.2).

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Error};
use latchkey_engine::hash;
use tracing::{debug, error};

use super::target;
use crate::complaints::Told;

/// The component that users see in events, as upstream's.
const COMPONENT: &str = "external-secrets";
/// Longest note of an event in bytes; the API server refuses longer ones.
const LONGEST_NOTE: usize = 1024;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest name of an object whose events the recorder can name: it appends a dot and a number, and a name has 253 bytes.
const LONGEST_NAME: usize = 253 - 1 - 16;

/// Writes events. A failure to write one is logged and otherwise ignored; a lack of permission is told once for each namespace.
pub(super) struct Events {
    recorder: Recorder,
    client: Client,
    told: Told<String>,
}

// === impl Events ===

impl Events {
    pub(super) fn new(client: Client) -> Self {
        let reporter = Reporter {
            controller: COMPONENT.to_owned(),
            instance: None,
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            told: Told::default(),
        }
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
        match tokio::time::timeout(REQUEST_TIMEOUT, self.write(&event, regarding)).await {
            Ok(Ok(())) => {}
            Ok(Err(Error::Api(status))) if status.code == 403 => {
                let namespace = regarding.namespace.clone().unwrap_or_default();
                if self.told.is_news(namespace, "") {
                    error!(
                        "events cannot be written: {}; grant create and patch on events.events.k8s.io there",
                        status.message
                    );
                }
            }
            Ok(Err(error)) => debug!("an event was not written: {}", target::describe(&error)),
            Err(_) => debug!("an event was not written in time"),
        }
    }
    async fn write(&self, event: &Event, regarding: &ObjectReference) -> Result<(), Error> {
        let name = regarding.name.as_deref().unwrap_or_default();
        if name.len() <= LONGEST_NAME {
            return self.recorder.publish(event, regarding).await;
        }
        let namespace = regarding.namespace.as_deref().unwrap_or_default();
        let events: Api<api::Event> = Api::namespaced(self.client.clone(), namespace);
        let event = of_long_name(event, regarding, Timestamp::now());
        events.create(&PostParams::default(), &event).await?;
        Ok(())
    }
}

/// As the recorder makes it, under a shortened name. Such events are not counted together.
fn of_long_name(event: &Event, regarding: &ObjectReference, now: Timestamp) -> api::Event {
    let name = regarding.name.as_deref().unwrap_or_default();
    let stem = name[..name.floor_char_boundary(LONGEST_NAME)].trim_end_matches(['.', '-']);
    let type_ = match event.type_ {
        EventType::Normal => "Normal",
        EventType::Warning => "Warning",
    };
    api::Event {
        action: Some(event.action.clone()),
        event_time: Some(MicroTime(now)),
        metadata: ObjectMeta {
            name: Some(format!("{stem}.{:x}", now.as_nanosecond())),
            namespace: regarding.namespace.clone(),
            ..ObjectMeta::default()
        },
        note: event.note.clone(),
        reason: Some(event.reason.clone()),
        regarding: Some(regarding.clone()),
        reporting_controller: Some(COMPONENT.to_owned()),
        reporting_instance: Some(COMPONENT.to_owned()),
        type_: Some(type_.to_owned()),
        ..api::Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_with_the_longest_name_has_events_with_a_valid_one() {
        let event = Event {
            type_: EventType::Warning,
            reason: "UpdateFailed".to_owned(),
            note: Some("why".to_owned()),
            action: "Sync".to_owned(),
            secondary: None,
        };
        let long = format!("{}-{}", "a".repeat(LONGEST_NAME - 1), "b".repeat(16));
        let regarding = ObjectReference {
            name: Some(long.clone()),
            namespace: Some("n".to_owned()),
            ..ObjectReference::default()
        };
        let event = of_long_name(&event, &regarding, Timestamp::now());
        let name = event.metadata.name.unwrap_or_default();
        assert!(name.len() <= 253 && name.starts_with("aaa"), "{name}");
        assert!(!name.contains("-."), "{name}");
        assert_eq!(event.type_.as_deref(), Some("Warning"));
        assert_eq!(event.regarding, Some(regarding));
    }
}

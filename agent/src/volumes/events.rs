//! Events regarding pods (csi.md 10): `SecretMountFailed`, `SecretStale`, `SecretFresh`, `SecretRotated`, `VolumeLost`; and regarding
//! the node: `SwapExposed`, `RegistrationFailed`. A volume that a container mounts by `subPath` shows no rotation; that a pod does so
//! is nothing a node may read, so no event tells it.
//!
//! RBAC: `create` and `patch` on `events.events.k8s.io`. One event of a kind per pod and ExternalSecret in ten minutes, one write
//! per second and node; what does not fit into the queue is dropped, because an event is a courtesy and never worth memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder};
use latchkey_csi::backend::FailureClass;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::attributes::{ContentKey, Plan};
use crate::complaints::Told as Complaints;

/// Equal events are told once in this time (csi.md 10).
const DEDUPLICATION: Duration = Duration::from_secs(10 * 60);
/// Shortest time between two writes of this node (csi.md 10).
const PACE: Duration = Duration::from_secs(1);
/// Events that may wait for their turn.
const QUEUE: usize = 128;
/// Bound of the deduplication memory.
const MAX_REMEMBERED: usize = 4096;
/// Longest time one write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What can be told about a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reason {
    /// First content cannot be had.
    MountFailed(FailureClass),
    /// A refresh failed; the files are older than they should be.
    Stale,
    /// The files are current again.
    Fresh,
    /// The files show new content.
    Rotated,
    /// The mount vanished.
    Lost,
    /// Content can reach the node's swap.
    SwapExposed,
    /// kubelet does not take the plugin.
    RegistrationFailed,
}

/// One event on its way.
#[derive(Clone, Debug)]
pub(super) struct Note {
    /// The pod or the node.
    pub(super) regarding: ObjectReference,
    /// The kind.
    pub(super) reason: Reason,
    /// The text, safe to show.
    pub(super) text: String,
}

/// Tells events; cheap to clone.
#[derive(Clone)]
pub(super) struct Events {
    queue: mpsc::Sender<Note>,
    told: Arc<Mutex<HashMap<Told, Instant>>>,
}

#[derive(PartialEq, Eq, Hash)]
struct Told {
    /// UID of the pod; of a node its name.
    uid: String,
    /// `None` for what concerns no single volume.
    key: Option<ContentKey>,
    reason: Reason,
}

// === impl Reason ===

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::MountFailed(_) => "SecretMountFailed",
            Self::Stale => "SecretStale",
            Self::Fresh => "SecretFresh",
            Self::Rotated => "SecretRotated",
            Self::Lost => "VolumeLost",
            Self::SwapExposed => "SwapExposed",
            Self::RegistrationFailed => "RegistrationFailed",
        }
    }

    fn action(self) -> &'static str {
        match self {
            Self::MountFailed(_) | Self::Lost => "Mount",
            Self::Stale | Self::Fresh | Self::Rotated => "Refresh",
            Self::SwapExposed | Self::RegistrationFailed => "Start",
        }
    }

    fn event_type(self) -> EventType {
        match self {
            Self::MountFailed(_)
            | Self::Stale
            | Self::Lost
            | Self::SwapExposed
            | Self::RegistrationFailed => EventType::Warning,
            Self::Fresh | Self::Rotated => EventType::Normal,
        }
    }
}

// === impl Events ===

impl Events {
    /// A queue of events and its far end.
    pub(super) fn channel() -> (Self, mpsc::Receiver<Note>) {
        let (queue, notes) = mpsc::channel(QUEUE);
        (
            Self {
                queue,
                told: Arc::default(),
            },
            notes,
        )
    }

    /// Tells `text` about the pod of `plan`, unless the same was told within ten minutes. Returns at once.
    pub(super) fn tell(&self, plan: &Plan, reason: Reason, text: &str) {
        let regarding = ObjectReference {
            api_version: Some(String::from("v1")),
            kind: Some(String::from("Pod")),
            namespace: Some(plan.key.namespace.clone()),
            name: Some(plan.pod.name.clone()),
            uid: Some(plan.pod.uid.clone()),
            ..ObjectReference::default()
        };
        self.note(regarding, Some(&plan.key), reason, text);
    }

    /// Tells `text` about the node of this name, likewise.
    pub(super) fn tell_of_node(&self, name: &str, reason: Reason, text: &str) {
        let regarding = ObjectReference {
            api_version: Some(String::from("v1")),
            kind: Some(String::from("Node")),
            name: Some(name.to_owned()),
            // As kubelet does: what is shown with a node is found by it.
            uid: Some(name.to_owned()),
            ..ObjectReference::default()
        };
        self.note(regarding, None, reason, text);
    }

    fn note(
        &self,
        regarding: ObjectReference,
        content: Option<&ContentKey>,
        reason: Reason,
        text: &str,
    ) {
        let key = Told {
            uid: regarding.uid.clone().unwrap_or_default(),
            key: content.cloned(),
            reason,
        };
        let now = Instant::now();
        {
            let mut told = self.told.lock();
            if told
                .get(&key)
                .is_some_and(|at| now.duration_since(*at) < DEDUPLICATION)
            {
                return;
            }
            if told.len() >= MAX_REMEMBERED {
                told.retain(|_, at| now.duration_since(*at) < DEDUPLICATION);
            }
            if told.len() >= MAX_REMEMBERED {
                told.clear();
            }
            told.insert(key, now);
        }
        if self
            .queue
            .try_send(Note {
                regarding,
                reason,
                text: text.to_owned(),
            })
            .is_err()
        {
            debug!(reason = reason.as_str(), "event dropped, the queue is full");
        }
    }
}

/// Writes events until `cancel`, one a second at most.
pub(super) async fn write(
    mut notes: mpsc::Receiver<Note>,
    recorder: Recorder,
    cancel: CancellationToken,
) {
    let complaints = Complaints::default();
    let work = async {
        while let Some(note) = notes.recv().await {
            let event = Event {
                type_: note.reason.event_type(),
                reason: note.reason.as_str().to_owned(),
                note: Some(note.text),
                action: note.reason.action().to_owned(),
                secondary: None,
            };
            match tokio::time::timeout(WRITE_TIMEOUT, recorder.publish(&event, &note.regarding))
                .await
            {
                Ok(Ok(())) => {}
                Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                    if complaints.is_news(note.regarding.namespace.clone(), "") {
                        error!(
                            "events cannot be written: {}; grant create and patch on events.events.k8s.io there",
                            status.message
                        );
                    }
                }
                Ok(Err(error)) => debug!(%error, reason = event.reason, "event not written"),
                Err(_) => debug!(reason = event.reason, "event not written in time"),
            }
            tokio::time::sleep(PACE).await;
        }
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = work => {}
    }
}

#[cfg(test)]
mod tests {
    use latchkey_csi::backend::VolumeSettings;

    use super::super::attributes::{Layout, Pod, StartPolicy, Subject};
    use super::*;

    fn plan(pod_uid: &str) -> Plan {
        Plan {
            key: ContentKey {
                namespace: String::from("app"),
                subject: Subject::ExternalSecret(String::from("db")),
                caller: None,
            },
            layout: Layout::default(),
            settings: VolumeSettings::default(),
            refresh: None,
            start: StartPolicy::RequireFresh,
            audience: None,
            pod: Pod {
                volume_id: String::from("csi-1"),
                name: String::from("web"),
                uid: pod_uid.to_owned(),
                service_account: String::from("default"),
            },
            forbidden: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn equal_events_are_told_once_in_ten_minutes() {
        let (events, mut notes) = Events::channel();
        let told =
            |notes: &mut mpsc::Receiver<Note>| std::iter::from_fn(|| notes.try_recv().ok()).count();
        events.tell(&plan("1"), Reason::Stale, "a");
        events.tell(&plan("1"), Reason::Stale, "b");
        events.tell(&plan("1"), Reason::Fresh, "c");
        events.tell(&plan("2"), Reason::Stale, "d");
        events.tell(&plan("1"), Reason::MountFailed(FailureClass::NotFound), "e");
        events.tell(
            &plan("1"),
            Reason::MountFailed(FailureClass::Unavailable),
            "f",
        );
        assert_eq!(told(&mut notes), 5);
        tokio::time::advance(DEDUPLICATION).await;
        events.tell(&plan("1"), Reason::Stale, "a");
        assert_eq!(told(&mut notes), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn neither_queue_nor_memory_grow_without_bound() {
        let (events, notes) = Events::channel();
        for number in 0..3 * MAX_REMEMBERED {
            events.tell(&plan(&number.to_string()), Reason::Stale, "x");
        }
        assert!(events.told.lock().len() <= MAX_REMEMBERED);
        assert_eq!(notes.len(), QUEUE);
    }
}

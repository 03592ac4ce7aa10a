//! What is known of one ExternalSecret on this node, and what that means for a pod that waits for its first content.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use kube::ResourceExt;
use latchkey_crds::external_secret::{ExternalSecret, RefreshPolicy};
use latchkey_csi::backend::{FailureClass, Trigger};
use latchkey_engine::source::{CallerScope, Standing};
use latchkey_secret::SecretData;
use tokio::time::Instant;

use super::attributes::{ContentKey, Plan, Refresh, StartPolicy};
use super::failure::{Failed, Patience, with_advice};

/// Annotation of an ExternalSecret that restricts which service accounts of its namespace may mount it: names separated by
/// commas (csi.md 9.3). Absent admits all, empty admits none.
pub const ALLOWED_SERVICE_ACCOUNTS: &str = "latchkey.dev/allowed-service-accounts";

/// Most names in an event (csi.md 10).
const MAX_STORES: usize = 5;

/// Tells two versions of an object apart as far as fetching is concerned: status and bookkeeping do not count
/// (externalsecret.md 2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Revision {
    pub(super) uid: String,
    pub(super) generation: Option<i64>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
}

/// An object as seen last.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) object: Arc<ExternalSecret>,
    pub(super) revision: Arc<Revision>,
}

/// The state of knowledge about an object.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// The API server has not answered yet; the text is its last error.
    Unknown(Option<String>),
    /// There is no such object.
    Missing,
    /// The object cannot be understood.
    Unreadable(String),
    /// The object.
    Present(Seen),
}

/// Fetched data.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) data: SecretData,
    /// What it is known by in the state of volumes ([`super::recall::identity`]); `None` for content that is not whole or not to be
    /// kept for others.
    pub(super) identity: Option<Arc<str>>,
    /// The stores that it came from; `None` if they are not known.
    pub(super) standing: Option<Standing>,
    pub(super) revision: Arc<Revision>,
    /// Why it was fetched.
    pub(super) trigger: Trigger,
    /// When the fetch began.
    pub(super) fetched: Instant,
    /// The same on the wall clock.
    pub(super) fetched_on: SystemTime,
    /// Counts up with every content of an entry.
    pub(super) serial: u64,
}

/// The latest failure, gone with the next success.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) failed: Failed,
    /// The object that was tried; `None` if the object itself is the trouble.
    pub(super) revision: Option<Arc<Revision>>,
    /// Why it was tried.
    pub(super) trigger: Trigger,
    /// When it failed.
    pub(super) at: Instant,
    /// Until then the failure answers further mounts too.
    pub(super) hold_until: Instant,
    /// Counts up with every failure of an entry.
    pub(super) serial: u64,
}

/// Everything about one object at one moment.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) known: Known,
    pub(super) content: Option<Arc<Content>>,
    /// What the latest fetch found, if the provider did not have all of it: newer than `content`, and for volumes that can do with
    /// less. The trouble of the same serial says what is missing.
    pub(super) partial: Option<Arc<Content>>,
    /// What a volume of an earlier process showed when a pod asked that may start with it; gone as soon as content is fetched.
    pub(super) recalled: Option<Arc<Content>>,
    pub(super) trouble: Option<Arc<Trouble>>,
    /// Content up to this serial rests on stores that are not what they were: it is shown to nobody any more (SB-26).
    pub(super) doubted: u64,
}

/// What a waiting mount should do.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Show this.
    Serve(Arc<Content>),
    /// Show nothing: there is no object, and the volume can do without.
    ServeNothing,
    /// Give up.
    Refuse(Failed),
    /// Wait for a change, at the latest until the given moment; the failure, if any, is worth an event.
    Wait(Instant, Option<Failed>),
}

/// The times of one wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patient {
    /// When the wait began.
    pub(super) since: Instant,
    /// Until when to wait for an object that does not exist.
    pub(super) missing_until: Instant,
    /// When to have answered.
    pub(super) deadline: Instant,
}

// === impl Seen ===

impl Seen {
    pub(super) fn new(object: ExternalSecret) -> Self {
        let revision = Revision {
            uid: object.metadata.uid.clone().unwrap_or_default(),
            generation: object.metadata.generation,
            labels: object.labels().clone(),
            annotations: object.annotations().clone(),
        };
        Self {
            object: Arc::new(object),
            revision: Arc::new(revision),
        }
    }

    /// How often the object itself asks to be fetched: never if its policy is not to, or if `refreshInterval` is not above zero.
    pub(super) fn refresh(&self) -> Refresh {
        let spec = &self.object.spec;
        if spec.refresh_policy() != RefreshPolicy::Periodic {
            return Refresh::Never;
        }
        let interval = spec.refresh_interval().ok();
        let interval = interval.and_then(|interval| interval.positive());
        interval.map_or(Refresh::Never, Refresh::Every)
    }

    /// Whether it has values made.
    pub(super) fn has_generators(&self) -> bool {
        self.object.spec.generator_refs().next().is_some()
    }

    /// Whether values are made once, and no change of the object makes others by itself.
    pub(super) fn is_made_once(&self) -> bool {
        self.has_generators() && self.object.spec.refresh_policy() == RefreshPolicy::CreatedOnce
    }

    /// The stores that the object names, at most [`MAX_STORES`], as text.
    pub(super) fn stores(&self) -> String {
        let mut names: Vec<String> = Vec::new();
        for store in self.object.spec.store_refs() {
            let name = format!("{}/{}", store.kind(), store.name());
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.len() > MAX_STORES {
            names.truncate(MAX_STORES);
            names.push(String::from("others"));
        }
        names.join(", ")
    }

    /// Whether pods of this service account may mount the object.
    pub(super) fn admits(&self, service_account: &str) -> bool {
        match self.object.annotations().get(ALLOWED_SERVICE_ACCOUNTS) {
            None => true,
            Some(names) => names.split(',').any(|name| name.trim() == service_account),
        }
    }

    /// The failure of a pod that may not mount the object.
    pub(super) fn not_admitted(key: &ContentKey, service_account: &str) -> Failed {
        let text = format!("{key} does not admit service account {service_account}");
        let advice = format!("add it to annotation {ALLOWED_SERVICE_ACCOUNTS}");
        Failed::new(
            FailureClass::PermissionDenied,
            Patience::Never,
            with_advice(&text, &advice),
        )
    }
}

// === impl Snapshot ===

impl Snapshot {
    pub(super) fn new() -> Self {
        Self {
            known: Known::Unknown(None),
            content: None,
            partial: None,
            recalled: None,
            trouble: None,
            doubted: 0,
        }
    }

    pub(super) fn seen(&self) -> Option<&Seen> {
        match &self.known {
            Known::Present(seen) => Some(seen),
            Known::Unknown(_) | Known::Missing | Known::Unreadable(_) => None,
        }
    }

    /// The same in the eyes of the volume of `plan`: to one that can do with less, less is content and no trouble.
    pub(super) fn seen_by(mut self, plan: &Plan) -> Self {
        let Some(partial) = self.partial.take().filter(|_| plan.layout.is_optional) else {
            return self;
        };
        self.trouble = self
            .trouble
            .filter(|trouble| trouble.serial != partial.serial);
        self.content = Some(partial);
        self
    }

    /// Content that a mount may start with while the provider cannot be reached (csi.md 6.5): of the object as it is now, and from
    /// stores that nobody doubts.
    fn cached(&self, plan: &Plan, seen: &Seen, now: Instant) -> Option<&Arc<Content>> {
        let StartPolicy::AllowCached { max_staleness } = plan.start else {
            return None;
        };
        let kept = self.content.as_ref();
        kept.filter(|content| content.serial > self.doubted)
            .or(self.recalled.as_ref())
            .filter(|content| content.revision == seen.revision)
            .filter(|content| now.saturating_duration_since(content.fetched) <= max_staleness)
    }

    /// The object, if the mount of `plan` may start with older content and there is none in memory.
    pub(super) fn lacks_cached(&self, plan: &Plan) -> Option<&Seen> {
        let is_allowed = plan.start != StartPolicy::RequireFresh;
        let has_none = self.content.is_none() && self.recalled.is_none();
        self.seen().filter(|_| is_allowed && has_none)
    }

    /// As whom content is to be asked for, if `scope` is too wide.
    pub(super) fn wanted(&self, scope: CallerScope) -> Option<CallerScope> {
        let wanted = self.trouble.as_ref()?.failed.wanted;
        (wanted > scope).then_some(wanted)
    }

    /// The content if it belongs to the object as it is now and nothing failed since.
    pub(super) fn current(&self) -> Option<&Arc<Content>> {
        let seen = self.seen()?;
        self.content
            .as_ref()
            .filter(|content| self.trouble.is_none() && content.revision == seen.revision)
            .filter(|content| content.serial > self.doubted)
    }

    /// Decides for the mount that `plan` stands for, on a snapshot as it is seen by it. Never looks at a clock.
    pub(super) fn verdict(&self, plan: &Plan, times: Patient, now: Instant) -> Verdict {
        let key = &plan.key;
        let missing_until = times.missing_until.min(times.deadline);
        let seen = match &self.known {
            Known::Unknown(_) if now < missing_until => return Verdict::Wait(missing_until, None),
            Known::Unknown(trouble) => {
                let reason = trouble
                    .as_deref()
                    .unwrap_or("no answer from the API server");
                let text = format!("{key} cannot be read: {reason}");
                let text = with_advice(&text, "it is tried again by itself");
                return Verdict::Refuse(Failed::new(
                    FailureClass::Unavailable,
                    Patience::Later,
                    text,
                ));
            }
            Known::Missing if plan.layout.is_optional => return Verdict::ServeNothing,
            Known::Missing => {
                let failed = Failed::new(
                    FailureClass::NotFound,
                    Patience::Appears,
                    format!("{key} not found; create it or correct attribute externalSecret"),
                );
                return if now < missing_until {
                    Verdict::Wait(missing_until, Some(failed))
                } else {
                    Verdict::Refuse(failed)
                };
            }
            Known::Unreadable(reason) => {
                let text = with_advice(&format!("{key} is not valid: {reason}"), "correct it");
                return Verdict::Refuse(Failed::new(
                    FailureClass::FailedPrecondition,
                    Patience::Never,
                    text,
                ));
            }
            Known::Present(seen) => seen,
        };
        if !seen.admits(&plan.pod.service_account) {
            return Verdict::Refuse(Seen::not_admitted(key, &plan.pod.service_account));
        }
        if let Some(content) = self.current() {
            return Verdict::Serve(content.clone());
        }
        let telling = self.trouble.as_ref().filter(|trouble| {
            trouble.revision.as_ref() == Some(&seen.revision)
                && (trouble.at >= times.since || now < trouble.hold_until)
        });
        let is_out_of_reach = match telling {
            Some(trouble) => trouble.failed.class == FailureClass::Unavailable,
            None => now >= times.deadline,
        };
        if let Some(content) = self.cached(plan, seen, now).filter(|_| is_out_of_reach) {
            return Verdict::Serve(content.clone());
        }
        match telling.map(|trouble| &trouble.failed) {
            Some(failed) => match failed.patience {
                Patience::Never | Patience::Credentials => Verdict::Refuse(failed.clone()),
                Patience::Appears if now >= missing_until => Verdict::Refuse(failed.clone()),
                Patience::Appears => Verdict::Wait(missing_until, Some(failed.clone())),
                Patience::Later | Patience::Token if now >= times.deadline => {
                    Verdict::Refuse(failed.clone())
                }
                Patience::Later | Patience::Token => {
                    Verdict::Wait(times.deadline, Some(failed.clone()))
                }
            },
            None if now >= times.deadline => {
                let text = format!("no answer for {key} in time; it is tried again by itself");
                Verdict::Refuse(Failed::new(
                    FailureClass::DeadlineExceeded,
                    Patience::Later,
                    text,
                ))
            }
            None => Verdict::Wait(times.deadline, None),
        }
    }
}

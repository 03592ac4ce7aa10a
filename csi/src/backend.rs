//! What a volume shows is decided by a [`Backend`]; this crate knows neither ExternalSecrets nor providers.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use latchkey_secret::SecretValue;
use tokio::time::Instant;

pub use crate::tokens::{ServiceAccountToken, ServiceAccountTokens};

/// What kubelet asked for, after the checks of NodePublishVolume that need no backend.
///
/// The pod's identity was written by kubelet (CSIDriver `podInfoOnMount`), the attributes by the pod's author.
#[derive(Clone, PartialEq, Eq)]
pub struct VolumeRequest {
    /// Volume handle, as kubelet made it. Unique per pod and volume.
    pub volume_id: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod_name: String,
    /// UID of the pod.
    pub pod_uid: String,
    /// Service account the pod runs as.
    pub service_account: String,
    /// `volumeAttributes` of the pod's volume, without the keys that kubelet reserves.
    pub attributes: BTreeMap<String, String>,
}

/// Of the attributes only their number: they are the pod author's, and nothing of a volume context is printed (csi.md R8).
impl fmt::Debug for VolumeRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            volume_id,
            namespace,
            pod_name,
            pod_uid,
            service_account,
            attributes,
        } = self;
        formatter
            .debug_struct("VolumeRequest")
            .field("volume_id", volume_id)
            .field("namespace", namespace)
            .field("pod_name", pod_name)
            .field("pod_uid", pod_uid)
            .field("service_account", service_account)
            .field("attributes", &attributes.len())
            .finish()
    }
}

/// How the files of one volume look and how large they may be, where its attributes say so (csi.md 8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VolumeSettings {
    /// Owner of every file and directory; `None` for root. 4294967295 is refused.
    pub uid: Option<u32>,
    /// Group of every file and directory; `None` for the pod's `fsGroup`, or root. Wins over the pod's. 4294967295 is refused.
    pub gid: Option<u32>,
    /// Permission bits of files that name none, at most 0777; `None` for the volume's default (0444, or 0440 with a group).
    pub default_mode: Option<u32>,
    /// Most bytes that all files may have together; `None` for the agent's limit, which it cannot exceed.
    pub size_limit: Option<u64>,
}

/// One file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Path relative to the volume's root; the crate refuses what csi.md 5.5 forbids.
    pub path: String,
    /// Permission bits, `None` for the volume's default (0444, or 0440 with a group).
    pub mode: Option<u32>,
    /// The content.
    pub content: SecretValue,
}

/// The complete content of a volume at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSet {
    /// All files, in any order.
    pub files: Vec<File>,
    /// What the backend knows this content by, nothing secret: the volume's state file keeps it, and a later process hands it
    /// back as it is ([`Shown`]). `None` for content that the backend never wants back.
    pub revision: Option<Arc<str>>,
    /// How long ago the backend got it. Zero if it did at this moment.
    pub age: Duration,
}

/// What a mounted volume shows that an earlier process filled: by its revision, and read back only if the backend asks
/// (csi.md 6.5). Cheap to clone.
#[derive(Clone)]
pub struct Shown {
    /// [`FileSet::revision`] of the content.
    pub revision: String,
    /// When the earlier process last knew the content to be current.
    pub last_success: Instant,
    read: Arc<Read>,
}

/// Reads the files of a volume.
type Read = dyn Fn() -> BoxFuture<'static, Option<Vec<File>>> + Send + Sync;

/// One message of [`Backend::subscribe`].
#[derive(Clone, Debug)]
pub enum Update {
    /// The content is this now; equal content is not written again.
    Content(FileSet, Trigger),
    /// A refresh failed: the old content stays and counts as stale. The text is safe to show.
    Stale(String, Trigger),
}

/// What made a backend ask for content again (csi.md 6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Its time had come, or a failed attempt was due again.
    Interval,
    /// What says which content it is changed.
    Change,
    /// The provider said that it changed.
    Push,
    /// kubelet published the volume again, and the content was overdue.
    Republish,
}

impl Trigger {
    /// Label of `latchkey_csi_rotations_total`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Interval => "interval",
            Self::Change => "change",
            Self::Push => "push",
            Self::Republish => "republish",
        }
    }
}

/// Why the attributes of a volume were refused. Always INVALID_ARGUMENT; nothing was mounted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// Why the first content of a volume could not be had.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Decides the gRPC code (csi.md 1.6).
    pub class: FailureClass,
    /// One line for the pod's event: no secret, ends with what to do.
    pub message: String,
    /// When trying again makes sense.
    pub retry_after: Option<Duration>,
}

/// The kinds of failure of csi.md 1.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// Provider unreachable, throttled, breaker open: UNAVAILABLE.
    Unavailable,
    /// The deadline passed while waiting for content: DEADLINE_EXCEEDED.
    DeadlineExceeded,
    /// The named object or the remote secret does not exist: NOT_FOUND.
    NotFound,
    /// The named object is wrong and someone must change it: FAILED_PRECONDITION.
    FailedPrecondition,
    /// Policy or the provider refuses this caller: PERMISSION_DENIED.
    PermissionDenied,
    /// The provider does not accept the agent's or the store's credentials: UNAUTHENTICATED.
    Unauthenticated,
}

/// What an operator is told about the content of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Where it comes from, as one word for a person: kind and name of an object.
    pub source: String,
    /// Time until it is asked for again; `None` if nothing is planned.
    pub next_refresh: Option<Duration>,
    /// Why it could not be had at the latest attempt, if so. Safe to show.
    pub trouble: Option<String>,
}

// === impl Shown ===

impl Shown {
    /// Content that `read` gives back.
    pub fn new(
        revision: String,
        last_success: Instant,
        read: impl Fn() -> BoxFuture<'static, Option<Vec<File>>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            revision,
            last_success,
            read: Arc::new(read),
        }
    }

    /// Reads the files back from the volume's own mount; `None` if it shows something else by now, is gone, holds more than a
    /// volume may, or cannot be read.
    pub async fn read(&self) -> Option<Vec<File>> {
        (self.read)().await
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Shown")
            .field("revision", &self.revision)
            .field("last_success", &self.last_success)
            .finish_non_exhaustive()
    }
}

/// Where the content of volumes comes from.
///
/// It is asked on the thread that serves kubelet, within the runtime that [`crate::Plugin::run`] was called in: what takes long to
/// compute belongs to a task.
pub trait Backend: Send + Sync + 'static {
    /// What a checked request came down to.
    type Plan: Clone + Send + Sync + 'static;

    /// Checks the attributes. Pure: no I/O, and the same answer for the same request.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] that names the attribute at fault and never quotes more than 64 bytes of its value.
    fn plan(&self, request: &VolumeRequest) -> Result<Self::Plan, Refusal>;

    /// How the files of the volume look. Pure, like [`Backend::plan`].
    fn settings(&self, plan: &Self::Plan) -> VolumeSettings {
        let _ = plan;
        VolumeSettings::default()
    }

    /// kubelet handed over tokens of the pod's service account: before [`Backend::first`] and with every later publish of the
    /// volume. They replace the earlier ones (csi.md 9.2). Must return at once.
    fn tokens(&self, plan: &Self::Plan, tokens: &ServiceAccountTokens) {
        let _ = (plan, tokens);
    }

    /// Gets the first content, at the latest at `deadline`.
    ///
    /// # Errors
    ///
    /// A [`Failure`]; the volume is then not mounted.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the wait and nothing else.
    fn first(
        &self,
        plan: &Self::Plan,
        deadline: Instant,
    ) -> impl Future<Output = Result<FileSet, Failure>> + Send;

    /// Follows the content of a mounted volume until the stream is dropped.
    ///
    /// Called after each successful publish, and at start for volumes that an earlier process mounted.
    fn subscribe(&self, plan: &Self::Plan) -> BoxStream<'static, Update>;

    /// [`Backend::subscribe`] for a volume that an earlier process mounted and whose content has a revision.
    fn resume(&self, plan: &Self::Plan, shown: Shown) -> BoxStream<'static, Update> {
        drop(shown);
        self.subscribe(plan)
    }

    /// kubelet published the mounted volume again: a good moment to refresh what is overdue. Must return at once.
    fn republished(&self, plan: &Self::Plan) {
        let _ = plan;
    }

    /// What an operator is told about the volume's content. Must return at once.
    fn describe(&self, plan: &Self::Plan) -> Description {
        let _ = plan;
        Description::default()
    }

    /// The volume is gone, or was never mounted: nothing that came with it is needed any longer. Must return at once.
    fn released(&self, plan: &Self::Plan) {
        let _ = plan;
    }
}

//! What whoever administers a node asks the plugin, over a socket of its own: how the volumes are, and to let go of them
//! (csi.md 7.4, 10).
//!
//! The socket is `<plugin directory>/admin.sock`: mode 0600, served to root alone, made and kept as the two that kubelet uses. One
//! connection carries one [`Request`] as a line of JSON and one [`Answer`] as JSON up to the end of the stream; both are bounded in
//! size and time. Nothing in them is a secret value or a token.
//!
//! ```text
//! ask (client) ─> admin.sock ─> server ─> the volumes' tasks
//! offline::release ─> state files and mounts, where no agent runs
//! ```

use std::path::Path;

use serde::{Deserialize, Serialize};

mod client;
pub mod offline;
pub(crate) mod server;
#[cfg(test)]
mod tests;

pub use client::{AskError, ask};

/// Longest request, bytes.
const MAX_REQUEST: u64 = 4096;

/// Longest answer, bytes: ten thousand volumes with long texts.
const MAX_ANSWER: u64 = 32 << 20;

/// What the plugin is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "ask")]
pub enum Request {
    /// How every volume is: [`Answer::Volumes`].
    Volumes,
    /// Take volumes away: [`Answer::Released`].
    Release(Selection),
}

/// What the plugin answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// All volumes, ordered by namespace, pod and volume.
    Volumes(Vec<VolumeReport>),
    /// What became of each volume that the selection meant, in the same order.
    Released(Vec<Release>),
    /// The request was not understood; why, for a person.
    Refused(String),
}

/// Which volume is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeName {
    /// Namespace of the pod; empty where nobody remembers the volume's request.
    pub namespace: String,
    /// Name of the pod; empty likewise.
    pub pod: String,
    /// Name of the volume in the pod, as far as its path tells it.
    pub volume: String,
    /// UID of the pod.
    pub pod_uid: String,
    /// Where it is mounted.
    pub target: String,
}

/// How one volume is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeReport {
    /// Which volume.
    #[serde(flatten)]
    pub name: VolumeName,
    /// Where its content comes from, for a person; empty where that is not known.
    pub source: String,
    /// `ok`, `stale`, `lost` or `pending`, as the label of `latchkey_csi_volumes`.
    pub state: String,
    /// Seconds since the content was last known to be current; `None` before the first time.
    pub age_seconds: Option<u64>,
    /// Name of the directory that `..data` leads to.
    pub generation: Option<String>,
    /// Seconds until the content is asked for again; `None` if nothing is planned.
    pub next_refresh_seconds: Option<u64>,
    /// Why the latest refresh failed, if it did. Safe to show.
    pub last_error: Option<String>,
    /// Size of its tmpfs, bytes.
    pub bytes: u64,
}

/// Which volumes to take away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selection {
    /// Those of this pod; `None` means all.
    pub pod: Option<PodName>,
    /// Also those whose pod kubelet still knows.
    pub force: bool,
}

/// Names a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What became of one volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Which volume.
    #[serde(flatten)]
    pub name: VolumeName,
    /// What was done.
    pub outcome: Outcome,
    /// Why it was not taken away; `None` if it was.
    pub reason: Option<String>,
}

/// What was done about a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It is unmounted, and its directory and state are gone.
    Released,
    /// Its pod is there: nothing was done.
    Kept,
    /// It could not be taken away.
    Failed,
}

impl Outcome {
    /// As it is shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Kept => "kept",
            Self::Failed => "failed",
        }
    }
}

impl Selection {
    /// Whether a volume of this name is meant.
    pub(crate) fn means(&self, name: &VolumeName) -> bool {
        self.pod
            .as_ref()
            .is_none_or(|pod| pod.namespace == name.namespace && pod.name == name.pod)
    }
}

impl Release {
    pub(crate) fn released(name: VolumeName) -> Self {
        Self {
            name,
            outcome: Outcome::Released,
            reason: None,
        }
    }

    /// Only whoever runs the command can know that a pod which kubelet knows has no process any more.
    pub(crate) fn kept(name: VolumeName) -> Self {
        Self {
            name,
            outcome: Outcome::Kept,
            reason: Some(
                "kubelet still has the pod: delete or drain it while an agent runs, or use --force"
                    .to_owned(),
            ),
        }
    }

    pub(crate) fn failed(name: VolumeName, reason: impl Into<String>) -> Self {
        Self {
            name,
            outcome: Outcome::Failed,
            reason: Some(crate::error::one_line(&reason.into())),
        }
    }
}

/// Whether somebody accepts connections on the socket at `path`.
fn is_served(path: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(path).is_ok()
}

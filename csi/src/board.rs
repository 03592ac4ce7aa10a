//! What is known about each volume, for statistics, metrics and the janitor; written by the volumes' own tasks.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::target::Target;

/// How a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum VolumeHealth {
    /// Mounted, and the last refresh worked.
    Ok,
    /// Mounted, and the last refresh failed.
    Stale,
    /// Its mount vanished; the next publish rebuilds it.
    Lost,
    /// Being published for the first time.
    Pending,
}

impl VolumeHealth {
    /// Label of `latchkey_csi_volumes`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Stale => "stale",
            Self::Lost => "lost",
            Self::Pending => "pending",
        }
    }
}

/// One volume.
#[derive(Clone, Debug)]
pub(crate) struct VolumeStatus {
    pub(crate) volume_id: String,
    pub(crate) health: VolumeHealth,
    /// Id of its mount, if mounted.
    pub(crate) mount_id: Option<u64>,
    /// Size of its tmpfs, bytes: what it may take from the node's budget.
    pub(crate) bytes: u64,
    /// Inodes of its tmpfs.
    pub(crate) inodes: u64,
    /// When content was last known to be current.
    pub(crate) last_success: Option<Instant>,
}

/// All volumes of the node.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<HashMap<Target, VolumeStatus>>);

impl Board {
    pub(crate) fn set(&self, target: &Target, status: VolumeStatus) {
        self.0.lock().insert(target.clone(), status);
    }

    pub(crate) fn update(&self, target: &Target, change: impl FnOnce(&mut VolumeStatus)) {
        if let Some(status) = self.0.lock().get_mut(target) {
            change(status);
        }
    }

    pub(crate) fn remove(&self, target: &Target) {
        self.0.lock().remove(target);
    }

    pub(crate) fn get(&self, target: &Target) -> Option<VolumeStatus> {
        self.0.lock().get(target).cloned()
    }

    pub(crate) fn snapshot(&self) -> Vec<VolumeStatus> {
        self.0.lock().values().cloned().collect()
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        self.0.lock().keys().cloned().collect()
    }

    /// Sets what `target` may take from the node's budget; `false` and no change where the sum would pass `limit`.
    pub(crate) fn reserve(&self, target: &Target, bytes: u64, inodes: u64, limit: u64) -> bool {
        let mut volumes = self.0.lock();
        let others = volumes
            .iter()
            .filter(|(other, _)| *other != target)
            .map(|(_, status)| status.bytes)
            .sum::<u64>();
        if others.saturating_add(bytes) > limit {
            return false;
        }
        if let Some(status) = volumes.get_mut(target) {
            status.bytes = bytes;
            status.inodes = inodes;
        }
        true
    }
}

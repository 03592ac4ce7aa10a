//! What is known about each volume, for statistics, metrics and the janitor; written by the volumes' own tasks.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::backend::VolumeRequest;
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
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Ok, Self::Stale, Self::Lost, Self::Pending];

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
    /// What it was published for; `None` where nobody remembers.
    pub(crate) request: Option<Arc<VolumeRequest>>,
    pub(crate) health: VolumeHealth,
    /// Id of its mount, if mounted.
    pub(crate) mount_id: Option<u64>,
    /// Size of its tmpfs, bytes: what it may take from the node's budget.
    pub(crate) bytes: u64,
    /// Inodes of its tmpfs.
    pub(crate) inodes: u64,
    /// When content was last known to be current.
    pub(crate) last_success: Option<Instant>,
    /// Why the latest refresh failed, if it did. Safe to show.
    pub(crate) last_error: Option<String>,
}

impl VolumeStatus {
    /// A volume that is being published for the first time.
    pub(crate) fn pending(request: &VolumeRequest) -> Self {
        Self {
            request: Some(Arc::new(request.clone())),
            health: VolumeHealth::Pending,
            mount_id: None,
            bytes: 0,
            inodes: 0,
            last_success: None,
            last_error: None,
        }
    }

    /// A volume whose mount vanished.
    pub(crate) fn lost(request: &VolumeRequest) -> Self {
        Self {
            health: VolumeHealth::Lost,
            ..Self::pending(request)
        }
    }

    /// The handle that kubelet gave it, if it is known.
    pub(crate) fn volume_id(&self) -> Option<&str> {
        self.request
            .as_deref()
            .map(|request| request.volume_id.as_str())
    }
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

    /// All volumes with their targets.
    pub(crate) fn entries(&self) -> Vec<(Target, VolumeStatus)> {
        let volumes = self.0.lock();
        let entry = |(target, status): (&Target, &VolumeStatus)| (target.clone(), status.clone());
        volumes.iter().map(entry).collect()
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

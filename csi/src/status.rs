//! Whether the plugin is well: for Probe, `/livez` and `/readyz` (csi.md 3.4).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::socket::{Inode, inode};
use crate::tokens::TokenDelivery;

/// What of a request is believed, as the CSIDriver object says (csi.md R7, 9.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trust {
    /// kubelet overwrites the pod's keys in `volume_context`.
    pub(crate) pod_info_on_mount: bool,
    /// Where kubelet puts tokens.
    pub(crate) tokens: TokenDelivery,
}

impl Default for Trust {
    fn default() -> Self {
        Self {
            pod_info_on_mount: true,
            tokens: TokenDelivery::Off,
        }
    }
}

/// Shared by the parts of one plugin.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// The node cannot mount volumes, whatever happens.
    unfit: Mutex<Option<String>>,
    /// Sockets of ours that another process serves.
    displaced: Mutex<BTreeSet<PathBuf>>,
    recovered: AtomicBool,
    registered: AtomicBool,
    /// The socket files as they were bound.
    inodes: Mutex<BTreeMap<PathBuf, Inode>>,
}

impl Health {
    /// Why the plugin cannot serve, if so.
    pub(crate) fn unfit(&self) -> Option<String> {
        let unfit = self.unfit.lock().clone();
        let displaced = || {
            let displaced = self.displaced.lock();
            let path = displaced.first()?;
            Some(format!("another process serves {}", path.display()))
        };
        unfit.or_else(displaced)
    }

    pub(crate) fn set_unfit(&self, reason: String) {
        *self.unfit.lock() = Some(reason);
    }

    pub(crate) fn set_displaced(&self, socket: &Path, displaced: bool) {
        let mut sockets = self.displaced.lock();
        if displaced {
            sockets.insert(socket.to_owned());
        } else {
            sockets.remove(socket);
        }
    }

    pub(crate) fn set_inode(&self, socket: &Path, inode: Inode) {
        self.inodes.lock().insert(socket.to_owned(), inode);
    }

    /// Whether the file at `socket` is the one that was bound, if it was.
    pub(crate) fn is_in_place(&self, socket: &Path) -> bool {
        let Some(bound) = self.inodes.lock().get(socket).copied() else {
            return true;
        };
        inode(socket) == Some(bound)
    }

    pub(crate) fn set_recovered(&self) {
        self.recovered.store(true, Ordering::Release);
    }

    /// Until the answer to kubelet's latest question is known the driver counts as not registered (csi.md 3.4).
    pub(crate) fn set_registered(&self, registered: bool) {
        self.registered.store(registered, Ordering::Release);
    }

    pub(crate) fn is_recovered(&self) -> bool {
        self.recovered.load(Ordering::Acquire)
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.registered.load(Ordering::Acquire)
    }
}

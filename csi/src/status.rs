//! Whether the plugin is well: for Probe, `/livez` and `/readyz` (csi.md 3.4).

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// Shared by the parts of one plugin.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// The node cannot mount volumes, whatever happens.
    unfit: Mutex<Option<String>>,
    /// Another process serves one of our sockets.
    displaced: Mutex<Option<String>>,
    recovered: AtomicBool,
    registered: AtomicBool,
}

impl Health {
    /// Why the plugin cannot serve, if so.
    pub(crate) fn unfit(&self) -> Option<String> {
        self.unfit
            .lock()
            .clone()
            .or_else(|| self.displaced.lock().clone())
    }

    pub(crate) fn set_unfit(&self, reason: String) {
        *self.unfit.lock() = Some(reason);
    }

    pub(crate) fn set_displaced(&self, reason: Option<String>) {
        *self.displaced.lock() = reason;
    }

    pub(crate) fn set_recovered(&self) {
        self.recovered.store(true, Ordering::Release);
    }

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

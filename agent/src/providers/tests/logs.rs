//! What is logged while a test runs.

use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::subscriber::DefaultGuard;

/// All lines. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Logs(Arc<Mutex<Vec<u8>>>);

// === impl Logs ===

impl Logs {
    /// Gathers what this thread logs at `filter`, as the agent would write it, until the guard is dropped.
    pub(super) fn gather(&self, filter: &str) -> DefaultGuard {
        let writer = self.clone();
        let subscriber = crate::logging::subscriber(filter, move || writer.clone()).unwrap();
        tracing::subscriber::set_default(subscriber)
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }
}

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

//! What the plugin tells its host about volumes and the node; the host turns it into Kubernetes events (csi.md 10).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::VolumeRequest;

/// Something worth an event. Texts are safe to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A volume could not be mounted; kubelet tries again.
    MountFailed {
        /// Whose volume.
        request: VolumeRequest,
        /// The status that kubelet got.
        message: String,
    },
    /// A volume shows new content.
    Rotated {
        /// Whose volume.
        request: VolumeRequest,
    },
    /// A refresh failed after a success; told once until [`Event::Fresh`].
    Stale {
        /// Whose volume.
        request: VolumeRequest,
        /// Why.
        reason: String,
        /// Time since the content was last known to be current.
        age: Duration,
    },
    /// A refresh worked after [`Event::Stale`].
    Fresh {
        /// Whose volume.
        request: VolumeRequest,
    },
    /// The mount of a volume vanished; the next publish rebuilds it.
    VolumeLost {
        /// Whose volume.
        request: VolumeRequest,
    },
    /// Swap is on and tmpfs cannot be kept out of it; told once.
    SwapExposed,
    /// kubelet refused the registration.
    RegistrationFailed {
        /// What kubelet said.
        message: String,
    },
}

/// Where events go. The callback must return at once.
#[derive(Clone)]
pub(crate) struct EventSink(Arc<dyn Fn(Event) + Send + Sync>);

impl EventSink {
    pub(crate) fn new(sink: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }

    pub(crate) fn send(&self, event: Event) {
        (self.0)(event);
    }
}

impl Default for EventSink {
    fn default() -> Self {
        Self::new(drop)
    }
}

impl fmt::Debug for EventSink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("EventSink")
    }
}

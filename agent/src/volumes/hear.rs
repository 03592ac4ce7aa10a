//! What the CSI plugin notices, as events of pods and of the node (csi.md 10).

use latchkey_csi::backend::{Backend as _, VolumeRequest};
use latchkey_csi::events::Event;
use latchkey_engine::source::Source;

use super::attributes::Plan;
use super::events::Reason;
use super::{Volumes, follow};

impl<S: Source + 'static> Volumes<S> {
    /// Tells what the plugin noticed. Returns at once.
    ///
    /// What the content's own trouble is was told by its follower already, and is not told twice.
    pub fn hear(&self, event: &Event) {
        let node = &self.config.node_name;
        match event {
            Event::Rotated { request } if self.config.rotation_events => {
                self.tell(request, Reason::Rotated, |plan| {
                    format!("files of {} show new content", plan.key)
                });
            }
            Event::Rotated { .. } | Event::MountFailed { .. } => {}
            Event::Stale {
                request,
                reason,
                age,
            } => self.tell(request, Reason::Stale, |plan| {
                let stores = self.stores_of(plan);
                follow::stale_text(Some(*age), &stores, reason)
            }),
            Event::Fresh { request } => self.tell(request, Reason::Fresh, |plan| {
                format!("files of {} are current again", plan.key)
            }),
            Event::VolumeLost { request } => self.tell(request, Reason::Lost, |plan| {
                format!(
                    "the mount with {} vanished from the node; it is made anew at kubelet's next publish, within two minutes",
                    plan.key
                )
            }),
            Event::SwapExposed => self.events.tell_of_node(
                node,
                Reason::SwapExposed,
                "swap is on and this kernel cannot keep volumes out of it: their content may reach the disk; turn swap off",
            ),
            Event::RegistrationFailed { message } => self.events.tell_of_node(
                node,
                Reason::RegistrationFailed,
                &format!("kubelet refused to register the CSI driver: {message}"),
            ),
        }
    }

    fn tell(&self, request: &VolumeRequest, reason: Reason, text: impl FnOnce(&Plan) -> String) {
        // What this version refuses has no source to speak of; the log has it.
        if let Ok(plan) = self.plan(request) {
            self.events.tell(&plan, reason, &text(&plan));
        }
    }

    fn stores_of(&self, plan: &Plan) -> String {
        let entry = self.registry.find(&plan.key);
        let stores = entry.and_then(|entry| Some(entry.state.borrow().seen()?.stores()));
        stores.unwrap_or_default()
    }
}

//! What a mounted volume is told: new content, or why there is none.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use latchkey_csi::backend::{Trigger, Update};
use latchkey_engine::source::{CallerScope, Source};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::attributes::Plan;
use super::events::{Events, Reason};
use super::failure::{Failed, Patience};
use super::files;
use super::registry::{Lease, Registry};
use super::state::{Content, Known, Seen, Snapshot};

/// One mounted volume's view of its ExternalSecret.
struct Follower<S: Source + 'static> {
    registry: Arc<Registry<S>>,
    lease: Lease<S>,
    state: watch::Receiver<Snapshot>,
    cancel: CancellationToken,
    plan: Plan,
    events: Events,
    /// Serial of the content told last.
    content: u64,
    /// Serial of the trouble told last.
    trouble: u64,
    is_refused: bool,
    is_stale: bool,
    /// The stores of the object as seen last.
    stores: String,
}

/// Follows in `registry` what the volume of `plan` shows.
pub(super) fn follow<S: Source + 'static>(
    registry: Arc<Registry<S>>,
    plan: Plan,
    events: Events,
) -> BoxStream<'static, Update> {
    let scope = registry.first_scope(&plan);
    let lease = registry.acquire(&plan.key_as(scope), plan.refresh);
    let mut state = lease.state();
    state.mark_changed();
    let follower = Follower {
        cancel: lease.cancelled(),
        registry,
        lease,
        state,
        plan,
        events,
        content: 0,
        trouble: 0,
        is_refused: false,
        is_stale: false,
        stores: String::new(),
    };
    stream::unfold(follower, |mut follower| async move {
        let update = follower.next().await?;
        Some((update, follower))
    })
    .boxed()
}

// === impl Follower ===

impl<S: Source + 'static> Follower<S> {
    /// The next update; `None` when the agent stops. Losing the future loses nothing.
    async fn next(&mut self) -> Option<Update> {
        loop {
            let snapshot = self.state.borrow_and_update().clone().seen_by(&self.plan);
            if let Some(scope) = snapshot.wanted(self.lease.key().scope()) {
                self.follow_as(scope);
                continue;
            }
            if let Some(update) = self.translate(&snapshot) {
                return Some(update);
            }
            drop(snapshot);
            tokio::select! {
                () = self.cancel.cancelled() => return None,
                changed = self.state.changed() => changed.ok()?,
            }
        }
    }

    /// From now on content is the pod's own. It is asked for as soon as something proves whose it is.
    fn follow_as(&mut self, scope: CallerScope) {
        let key = self.plan.key_as(scope);
        self.lease = self.registry.acquire(&key, self.plan.refresh);
        self.state = self.lease.state();
        self.state.mark_changed();
        (self.content, self.trouble) = (0, 0);
        if self.registry.resolver.pods.has(&self.plan.pod.uid, None) {
            self.lease.hasten();
        }
    }

    /// What of `snapshot` has not been told yet; call again until there is nothing.
    fn translate(&mut self, snapshot: &Snapshot) -> Option<Update> {
        if let Some(seen) = snapshot.seen() {
            let account = &self.plan.pod.service_account;
            if !seen.admits(account) {
                let is_told = std::mem::replace(&mut self.is_refused, true);
                let failed = Seen::not_admitted(&self.plan.key, account);
                return (!is_told).then(|| self.stale(&failed, None, Trigger::Change));
            }
            self.is_refused = false;
        }
        if let Some(content) = snapshot
            .content
            .as_ref()
            .filter(|content| content.serial > self.content.max(snapshot.doubted))
        {
            self.content = content.serial;
            return Some(self.show(content));
        }
        if let Some(trouble) = snapshot
            .trouble
            .as_ref()
            .filter(|trouble| trouble.serial > self.trouble)
        {
            self.trouble = trouble.serial;
            self.stores = snapshot.seen().map(Seen::stores).unwrap_or_default();
            if self.plan.layout.is_optional
                && snapshot.content.is_none()
                && matches!(snapshot.known, Known::Missing)
            {
                // The volume has no files because there is no object, which is all right with it.
                return None;
            }
            let kept = snapshot.content.as_ref().or(snapshot.recalled.as_ref());
            let age = kept.map(|content| content.fetched.elapsed());
            return Some(self.stale(&trouble.failed, age, trouble.trigger));
        }
        None
    }

    fn show(&mut self, content: &Arc<Content>) -> Update {
        match files::show(content, &self.plan.layout) {
            Ok(files) => {
                if std::mem::replace(&mut self.is_stale, false) {
                    let text = format!("files of {} are current again", self.plan.key);
                    self.events.tell(&self.plan, Reason::Fresh, &text);
                }
                Update::Content(files, content.trigger)
            }
            Err(misfit) => self.stale(&misfit_failure(&self.plan, &misfit), None, content.trigger),
        }
    }

    fn stale(&mut self, failed: &Failed, age: Option<Duration>, trigger: Trigger) -> Update {
        self.is_stale = true;
        let text = stale_text(age, &self.stores, &failed.message);
        self.events.tell(&self.plan, Reason::Stale, &text);
        Update::Stale(failed.message.clone(), trigger)
    }
}

/// Age, store and reason (csi.md 10).
pub(super) fn stale_text(age: Option<Duration>, stores: &str, reason: &str) -> String {
    let from = if stores.is_empty() {
        String::new()
    } else {
        format!(", from {stores}")
    };
    match age {
        Some(age) => format!("files are {} s old{from}: {reason}", age.as_secs()),
        None => format!("files stay as they are{from}: {reason}"),
    }
}

/// The failure of a volume whose layout does not fit the data.
pub(super) fn misfit_failure(plan: &Plan, misfit: &super::files::Misfit) -> Failed {
    let text = format!("{} {misfit}", plan.key);
    Failed::new(
        latchkey_csi::backend::FailureClass::FailedPrecondition,
        Patience::Never,
        text,
    )
}

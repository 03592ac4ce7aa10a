//! The task of one ExternalSecret or one set of inline data in use: follows the object, fetches when it is time, keeps the latest content.
//!
//! There is one such task per ExternalSecret and node, so a hundred pods that mount the same object cost one watch and one
//! fetch per interval. It fetches
//!
//! - at once when a pod waits for content and there is none that is current;
//! - at once when the object changed, and one second after that fetch for all further changes within the second;
//! - at the object's own phase of `refreshInterval`, or at its end where generators make values;
//! - after a growing pause when a fetch failed.
//!
//! A failure never removes content. Some seconds after the last user left the content goes. Then the task sleeps: it follows the
//! object for some minutes and fetches nothing, so that a pod that comes meanwhile waits for the provider only.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use latchkey_csi::backend::{FailureClass, Trigger};
use latchkey_engine::source::Source;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::attributes::{ContentKey, Refresh, Subject};
use super::failure::{Failed, Patience};
use super::generated::owner_of;
use super::objects::{ObjectKey, Sight};
use super::recall;
use super::registry::{Entry, Registry};
use super::resolve::{self, Fetched};
use super::schedule::{hold_after, pause_after, renewal};
use super::state::{Content, Known, Revision, Seen, Trouble};

/// Changes of an object within this time are answered by one fetch (csi.md 6.4).
const DEBOUNCE: Duration = Duration::from_secs(1);

/// A finished fetch.
struct Outcome {
    revision: Arc<Revision>,
    trigger: Trigger,
    began: Instant,
    began_on: SystemTime,
    result: Result<Fetched, Failed>,
}

struct Refresher<S> {
    registry: Arc<Registry<S>>,
    entry: Arc<Entry>,
    /// When to fetch next.
    due: Option<Instant>,
    /// What `due` follows, if it is the regular refresh.
    paced: Option<Refresh>,
    /// Why.
    trigger: Trigger,
    /// What the provider was asked before is no answer to the next fetch: the end of the last one, or the change that it follows.
    fresh_since: Option<Instant>,
    /// When the latest fetch that follows a change began.
    followed_at: Option<Instant>,
    /// Failures in a row.
    failures: u32,
    /// Numbers contents and troubles.
    serial: u64,
}

/// Follows the object of `entry` until nobody uses it or the agent stops.
pub(super) async fn run<S: Source + 'static>(registry: Arc<Registry<S>>, entry: Arc<Entry>) {
    let mut sights: Option<BoxStream<'static, Sight>> = Some(sights_of(&registry, &entry.key));
    let mut attempt: Option<BoxFuture<'static, Outcome>> = None;
    let cancel = registry.cancel.clone();
    let mut refresher = Refresher::take_up(registry, Arc::clone(&entry));
    let mut forget_at = refresher.forget_at();
    loop {
        let due = refresher.due.filter(|_| attempt.is_none());
        // What runs is due now.
        let shown = attempt.as_ref().map(|_| Instant::now());
        entry.set_due(shown.or(due));
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            outcome = running(&mut attempt) => {
                attempt = None;
                refresher.finish(outcome);
            }
            sight = next_sight(&mut sights) => match sight {
                Some(sight) => refresher.see(sight),
                None => sights = None,
            },
            () = entry.wake.notified() => {
                refresher.wake_up();
                forget_at = refresher.forget_at();
                refresher.keep_pace();
                refresher.make_haste();
                refresher.hurry();
                refresher.catch_up(attempt.is_some());
            }
            () = at(due) => attempt = refresher.begin(),
            () = at(forget_at) => {
                if refresher.fall_asleep() {
                    attempt = None;
                    forget_at = refresher.forget_at();
                    continue;
                }
                if refresher.registry.forget(&entry) {
                    debug!(object = %entry.key, "no volume uses it any more");
                    return;
                }
                forget_at = None;
            }
        }
    }
}

/// Inline data needs no watch: it is what it is as long as its volumes live.
fn sights_of<S>(registry: &Registry<S>, key: &ContentKey) -> BoxStream<'static, Sight> {
    match &key.subject {
        Subject::ExternalSecret(name) => registry.objects.follow(&ObjectKey {
            namespace: key.namespace.clone(),
            name: name.clone(),
        }),
        Subject::Inline(inline) => {
            let object = Box::new(inline.to_object(&key.namespace));
            stream::iter([Sight::Present(object)]).boxed()
        }
    }
}

async fn running(attempt: &mut Option<BoxFuture<'static, Outcome>>) -> Outcome {
    match attempt {
        Some(attempt) => attempt.await,
        None => std::future::pending().await,
    }
}

async fn next_sight(sights: &mut Option<BoxStream<'static, Sight>>) -> Option<Sight> {
    match sights {
        Some(sights) => sights.next().await,
        None => std::future::pending().await,
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

// === impl Refresher ===

impl<S: Source + 'static> Refresher<S> {
    /// Begins where the entry stands: after a panic it has a history already, and its followers wait for what comes next.
    fn take_up(registry: Arc<Registry<S>>, entry: Arc<Entry>) -> Self {
        let (seen, serial) = {
            let state = entry.state.borrow();
            let content = state.content.as_ref().map_or(0, |content| content.serial);
            let trouble = state.trouble.as_ref().map_or(0, |trouble| trouble.serial);
            (state.seen().cloned(), content.max(trouble))
        };
        let mut refresher = Self {
            registry,
            entry,
            due: None,
            paced: None,
            trigger: Trigger::Interval,
            fresh_since: None,
            followed_at: None,
            failures: 0,
            serial,
        };
        // The watch shows this very object again, which is no reason to fetch it.
        refresher.due = seen.and_then(|seen| refresher.next_refresh(&seen, Instant::now()));
        refresher
    }

    /// When the content, or all of the entry, is to be forgotten; `None` while it is in use.
    fn forget_at(&self) -> Option<Instant> {
        let idle_since = self.entry.idle_since()?;
        let lives = self.registry.lives;
        let life = match self.entry.is_asleep() {
            false => lives.content,
            true => lives.content + lives.watch,
        };
        Some(idle_since + life)
    }

    /// Lets go of the content of an object that exists, and plans no fetch; the watch goes on. Inline data has none.
    fn fall_asleep(&mut self) -> bool {
        let is_watched = matches!(self.entry.key.subject, Subject::ExternalSecret(_));
        let has_object = self.entry.state.borrow().seen().is_some();
        if self.entry.is_asleep()
            || !(is_watched && has_object && self.registry.put_to_sleep(&self.entry))
        {
            return false;
        }
        (self.due, self.paced) = (None, None);
        self.entry.state.send_modify(|state| {
            (state.content, state.partial, state.recalled) = (None, None, None);
        });
        debug!(object = %self.entry.key, "no volume uses it any more: its content is gone, its watch goes on for a while");
        true
    }

    /// Somebody uses the entry again. Whoever waits for content hurries; a volume that shows some waits for its phase.
    fn wake_up(&mut self) {
        if !self.entry.is_asleep() || !self.entry.is_used() {
            return;
        }
        self.entry.awake();
        let (seen, now) = (self.entry.state.borrow().seen().cloned(), Instant::now());
        self.due = match seen {
            // Those that it had were revoked.
            Some(seen) if seen.has_generators() => Some(now),
            seen => seen.and_then(|seen| self.next_refresh(&seen, now)),
        };
    }

    /// Takes in what the watch shows.
    fn see(&mut self, sight: Sight) {
        match sight {
            Sight::Present(object) => self.see_object(Seen::new(*object)),
            Sight::Missing => {
                let key = &self.entry.key;
                let text =
                    format!("{key} does not exist any more; create it again or delete the pod");
                self.see_nothing(
                    Known::Missing,
                    Failed::new(FailureClass::NotFound, Patience::Appears, text),
                );
            }
            Sight::Unreadable(reason) => {
                let text = format!("{} is not valid: {reason}", self.entry.key);
                let failed = Failed::new(FailureClass::FailedPrecondition, Patience::Never, text);
                self.see_nothing(Known::Unreadable(reason), failed);
            }
            Sight::Trouble(reason) => {
                debug!(object = %self.entry.key, reason, "the ExternalSecret cannot be watched at the moment");
                self.entry.state.send_modify(|state| {
                    if let Known::Unknown(last) = &mut state.known {
                        *last = Some(reason);
                    }
                });
            }
        }
    }

    fn see_object(&mut self, seen: Seen) {
        let now = Instant::now();
        let (is_first, is_same, is_made) = {
            let state = self.entry.state.borrow();
            let before = state.seen().map(|before| &before.revision);
            let is_made = state.trouble.is_none()
                && before.is_some_and(|before| before.uid == seen.revision.uid);
            let is_same = before == Some(&seen.revision);
            let is_first = matches!(state.known, Known::Unknown(_));
            (is_first, is_same, is_made)
        };
        if is_same {
            return;
        }
        self.failures = 0;
        self.paced = None;
        self.due = if self.entry.is_asleep() {
            None
        } else if is_first {
            // Volumes that an earlier process mounted show good content: they wait for their phase, so that restarts of many
            // agents do not ask all at once.
            self.next_refresh(&seen, now)
        } else if is_made && seen.is_made_once() {
            // A pod that mounts it anew asks for it.
            None
        } else {
            self.trigger = Trigger::Change;
            self.fresh_since = Some(now);
            let earliest = self.followed_at.map(|at| at + DEBOUNCE);
            Some(earliest.map_or(now, |at| at.max(now)))
        };
        self.entry
            .state
            .send_modify(|state| (state.known, state.recalled) = (Known::Present(seen), None));
        self.make_haste();
        self.hurry();
    }

    /// The object is gone or useless; content stays and counts as stale.
    fn see_nothing(&mut self, known: Known, failed: Failed) {
        (self.due, self.paced) = (None, None);
        self.failures = 0;
        self.serial += 1;
        let now = Instant::now();
        let trouble = Trouble {
            failed,
            revision: None,
            trigger: Trigger::Change,
            at: now,
            hold_until: now,
            serial: self.serial,
        };
        self.entry.state.send_modify(|state| {
            (state.known, state.recalled) = (known, None);
            state.trouble = Some(Arc::new(trouble));
        });
    }

    /// Moves the next fetch forward if a pod waits for it.
    fn hurry(&mut self) {
        let Some(demanded_at) = self.entry.demanded_at() else {
            return;
        };
        let state = self.entry.state.borrow();
        let Some(seen) = state.seen() else { return };
        if state.current().is_some() {
            return;
        }
        let now = Instant::now();
        let held = state
            .trouble
            .as_ref()
            .filter(|trouble| trouble.revision.as_ref() == Some(&seen.revision));
        // A failure that the waiting pods have seen is tried again after its own pause.
        if held.is_some_and(|trouble| trouble.at >= demanded_at) {
            return;
        }
        let earliest = held.map_or(now, |trouble| trouble.hold_until.max(now));
        self.due = Some(self.due.map_or(earliest, |due| due.min(earliest)));
        self.paced = None;
    }

    /// Fetches now if a token has come that content waits for.
    fn make_haste(&mut self) {
        if self.entry.state.borrow().seen().is_none() || !self.entry.take_haste() {
            return;
        }
        let is_awaited = {
            let state = self.entry.state.borrow();
            let trouble = state.trouble.as_ref();
            state.current().is_none()
                && trouble.is_none_or(|trouble| trouble.failed.patience == Patience::Token)
        };
        if is_awaited {
            (self.due, self.paced) = (Some(Instant::now()), None);
            self.trigger = Trigger::Republish;
        }
    }

    /// Fetches now if content is overdue.
    fn catch_up(&mut self, is_fetching: bool) {
        if !is_fetching && self.entry.is_overdue() {
            self.due = Some(Instant::now());
            self.trigger = Trigger::Republish;
            self.paced = None;
        }
    }

    /// Plans anew if a volume that came or went changed how often to fetch.
    fn keep_pace(&mut self) {
        let Some(paced) = self.paced else { return };
        let seen = self.entry.state.borrow().seen().cloned();
        if let Some(seen) = seen.filter(|_| self.entry.is_used())
            && self.entry.refresh(seen.refresh()) != paced
        {
            self.due = self.next_refresh(&seen, Instant::now());
        }
    }

    /// Starts a fetch of the object as it is now.
    fn begin(&mut self) -> Option<BoxFuture<'static, Outcome>> {
        (self.due, self.paced) = (None, None);
        let seen = self.entry.state.borrow().seen().cloned()?;
        let registry = Arc::clone(&self.registry);
        let entry = Arc::clone(&self.entry);
        let (began, began_on) = (Instant::now(), SystemTime::now());
        let trigger = std::mem::replace(&mut self.trigger, Trigger::Interval);
        if trigger == Trigger::Change {
            self.followed_at = Some(began);
        }
        let fresh_since = self.fresh_since;
        let work = async move {
            let _place = registry.place(&entry).await;
            let (resolver, key) = (&registry.resolver, &entry.key);
            let result = resolve::fetch(resolver, key, &seen.object, fresh_since).await;
            Outcome {
                revision: seen.revision,
                trigger,
                began,
                began_on,
                result,
            }
        };
        Some(work.boxed())
    }

    /// Takes in the result of a fetch and plans the next.
    fn finish(&mut self, outcome: Outcome) {
        self.serial += 1;
        self.fresh_since = Some(Instant::now());
        let Outcome {
            revision,
            trigger,
            began,
            began_on,
            result,
        } = outcome;
        let is_outdated =
            self.entry.state.borrow().seen().map(|seen| &seen.revision) != Some(&revision);
        match result {
            Ok(Fetched {
                data,
                missing,
                standing,
                made,
            }) => {
                let whole = standing.as_ref().filter(|_| missing.is_none());
                let identity = whole
                    .map(|standing| recall::identity(&self.entry.key, &revision, standing).into());
                let content = Arc::new(Content {
                    data,
                    identity,
                    standing,
                    revision,
                    trigger,
                    fetched: began,
                    fetched_on: began_on,
                    serial: self.serial,
                });
                match missing {
                    None => {
                        if let Some(journal) = &self.registry.resolver.journal {
                            journal.supersede(&owner_of(&self.entry.key), &made);
                        }
                        self.take(content, is_outdated);
                    }
                    Some(_) if is_outdated => {}
                    Some(failed) => self.fail(
                        failed,
                        Arc::clone(&content.revision),
                        trigger,
                        Some(content),
                    ),
                }
            }
            Err(_) if is_outdated => {}
            Err(failed) => self.fail(failed, revision, trigger, None),
        }
        self.hurry();
    }

    /// Content arrived.
    fn take(&mut self, content: Arc<Content>, is_outdated: bool) {
        if self.failures > 0 {
            info!(object = %self.entry.key, failures = self.failures, "it can be fetched again");
        }
        self.failures = 0;
        self.entry.state.send_modify(|state| {
            state.content = Some(content);
            (state.partial, state.recalled) = (None, None);
            // Trouble with the object itself outlives a fetch that began before it.
            if state.seen().is_some() {
                state.trouble = None;
            }
        });
        if !is_outdated {
            let seen = self.entry.state.borrow().seen().cloned();
            self.due = seen.and_then(|seen| self.next_refresh(&seen, Instant::now()));
        }
    }

    /// A fetch failed, or found less than it should have: `partial`.
    fn fail(
        &mut self,
        failed: Failed,
        revision: Arc<Revision>,
        trigger: Trigger,
        partial: Option<Arc<Content>>,
    ) {
        let now = Instant::now();
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            warn!(object = %self.entry.key, class = ?failed.class, reason = failed.message, "it cannot be fetched");
        }
        let pause = pause_after(
            &failed,
            self.failures,
            self.entry.demanded_at().is_some(),
            (self.registry.jitter)(),
        );
        (self.due, self.paced) = (Some(now + pause), None);
        let hold_until = now + hold_after(&failed);
        let trouble = Trouble {
            failed,
            revision: Some(revision),
            trigger,
            at: now,
            hold_until,
            serial: self.serial,
        };
        self.entry.state.send_modify(|state| {
            state.trouble = Some(Arc::new(trouble));
            if partial.is_some() {
                state.partial = partial;
            }
        });
    }

    fn next_refresh(&mut self, seen: &Seen, now: Instant) -> Option<Instant> {
        let refresh = self.entry.refresh(seen.refresh());
        self.paced = Some(refresh);
        let Refresh::Every(interval) = refresh else {
            return None;
        };
        let jitter = (self.registry.jitter)();
        if let Some(made) = self.made(seen, now) {
            return Some(renewal(now, made, interval, jitter));
        }
        let uid = &seen.revision.uid;
        Some(self.registry.clock.next_refresh(now, uid, interval, jitter))
    }

    /// When the values of generators were made, if that is known.
    fn made(&self, seen: &Seen, now: Instant) -> Option<Instant> {
        if !seen.has_generators() {
            return None;
        }
        let content = self.entry.state.borrow().content.clone();
        if let Some(content) = content {
            return Some(content.fetched);
        }
        // An earlier process had them made.
        let journal = self.registry.resolver.journal.as_ref()?;
        now.checked_sub(journal.age(&owner_of(&self.entry.key))?)
    }
}

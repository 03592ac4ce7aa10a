//! What volumes of this node show: one entry and one task for each ExternalSecret or inline data, as long as a volume needs it.

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use latchkey_engine::source::{CallerScope, Source};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use super::attributes::{ContentKey, Plan, Refresh};
use super::objects::Objects;
use super::recall::Adopted;
use super::resolve::Resolver;
use super::schedule::Clock;
use super::state::{Content, Snapshot};
use super::{generated, refresher};

/// Fetches for waiting pods that may run at once.
const MOUNT_LANE: usize = 64;
/// Periodic fetches that may run at once.
const REFRESH_LANE: usize = 16;
/// As whom a volume may ask, the narrowest first.
const SCOPES: [CallerScope; 3] = [
    CallerScope::Pod,
    CallerScope::ServiceAccount,
    CallerScope::Store,
];
/// Content older than this many intervals is overdue: the longest regular gap is 1.2 intervals.
const OVERDUE: f64 = 1.5;
/// Most entries that nobody uses and that keep their watch: each has a connection of its own, some 50 KiB.
const MAX_ASLEEP: usize = 32;
/// Pause before a task that panicked is started again.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// One ExternalSecret, or one set of inline data, in use.
pub(super) struct Entry {
    pub(super) key: ContentKey,
    pub(super) state: watch::Sender<Snapshot>,
    /// Volumes and waiting mounts that hold the entry. Changed under the registry's lock only.
    users: AtomicUsize,
    /// How often these users want content anew, with their number; `None` is whoever leaves it to what is shown.
    wishes: Mutex<BTreeMap<Option<Refresh>, usize>>,
    /// When the latest user left.
    idle_since: Mutex<Instant>,
    /// Mounts that wait for first content.
    waiting: AtomicUsize,
    /// When the latest mount began to wait.
    demanded_at: Mutex<Option<Instant>>,
    /// When the task fetches next, for whoever looks at it.
    due: Mutex<Option<Instant>>,
    /// Tells the task that one of the counts changed.
    pub(super) wake: Notify,
    /// Tells a fetch that waits in its lane that a mount waits for it.
    demanded: Notify,
    /// Somebody has become able to ask for content that there is none of.
    hastened: AtomicBool,
    /// Nobody uses it, and of what it held only the watch is left.
    asleep: AtomicBool,
}

/// What all tasks share.
pub(super) struct Registry<S> {
    pub(super) resolver: Resolver<S>,
    pub(super) objects: Arc<dyn Objects>,
    pub(super) clock: Clock,
    pub(super) lives: Lives,
    pub(super) adopted: Adopted,
    /// A number in 0..1 for each decision that needs one.
    pub(super) jitter: fn() -> f64,
    mount_lane: Semaphore,
    pub(super) refresh_lane: Semaphore,
    pub(super) cancel: CancellationToken,
    pub(super) tasks: TaskTracker,
    entries: Mutex<HashMap<ContentKey, Arc<Entry>>>,
}

/// How long what an entry holds outlives its last user.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lives {
    /// The content, and an entry without an object: the moment between a publish and its subscription, or between two attempts of
    /// kubelet.
    pub(super) content: Duration,
    /// The watch, from the end of the content on.
    pub(super) watch: Duration,
}

/// Keeps an entry, its watch and its content alive.
pub(super) struct Lease<S: Source + 'static> {
    registry: Arc<Registry<S>>,
    entry: Arc<Entry>,
    wish: Option<Refresh>,
}

/// Marks a mount as waiting while it lives.
pub(super) struct Demand {
    entry: Arc<Entry>,
}

/// Runs the task of `entry`. A panic is a bug; it must not leave volumes without rotation until the agent restarts.
async fn keep_running<S: Source + 'static>(registry: Arc<Registry<S>>, entry: Arc<Entry>) {
    loop {
        let task = refresher::run(Arc::clone(&registry), Arc::clone(&entry));
        if AssertUnwindSafe(task).catch_unwind().await.is_ok() {
            return;
        }
        error!(object = %entry.key, "the task of a volume's content panicked and is started again");
        tokio::time::sleep(AFTER_PANIC).await;
    }
}

// === impl Entry ===

impl Entry {
    /// Since when nobody uses the entry; `None` while somebody does.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        if self.is_used() {
            None
        } else {
            Some(*self.idle_since.lock())
        }
    }

    /// How often to fetch: the shortest wish of all users, of whom those without one want what the object itself asks for
    /// (`own`). Without users nothing but that.
    pub(super) fn refresh(&self, own: Refresh) -> Refresh {
        let wishes = self.wishes.lock();
        let shortest = wishes.keys().map(|wish| wish.unwrap_or(own)).min();
        shortest.unwrap_or(own)
    }

    pub(super) fn is_used(&self) -> bool {
        self.users.load(Ordering::SeqCst) > 0
    }

    /// Content that waited for a token need not wait any longer.
    pub(super) fn hasten(&self) {
        self.hastened.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }

    /// Whether [`Self::hasten`] was called since this was asked last.
    pub(super) fn take_haste(&self) -> bool {
        self.hastened.swap(false, Ordering::SeqCst)
    }

    /// Whether the wall clock says that the object should have been fetched long ago: the monotonic clock, which plans it, stands
    /// still while a machine sleeps.
    pub(super) fn is_overdue(&self) -> bool {
        let state = self.state.borrow();
        let (Some(seen), Some(content)) = (state.seen(), state.current()) else {
            return false;
        };
        let Refresh::Every(interval) = self.refresh(seen.refresh()) else {
            return false;
        };
        let age = content.fetched_on.elapsed().unwrap_or_default();
        age > interval.mul_f64(OVERDUE)
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::SeqCst)
    }

    pub(super) fn awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    fn forget_wish(&self, wish: Option<Refresh>) {
        let mut wishes = self.wishes.lock();
        if let Some(count) = wishes.get_mut(&wish) {
            *count -= 1;
            if *count == 0 {
                wishes.remove(&wish);
            }
        }
    }

    /// When the object is fetched next; `None` if nothing is planned.
    pub(super) fn due(&self) -> Option<Instant> {
        *self.due.lock()
    }

    pub(super) fn set_due(&self, due: Option<Instant>) {
        *self.due.lock() = due;
    }

    /// When the latest of the waiting mounts began to wait; `None` if none waits.
    pub(super) fn demanded_at(&self) -> Option<Instant> {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return None;
        }
        *self.demanded_at.lock()
    }
}

// === impl Registry ===

impl<S: Source + 'static> Registry<S> {
    pub(super) fn new(
        resolver: Resolver<S>,
        objects: Arc<dyn Objects>,
        clock: Clock,
        lives: Lives,
        jitter: fn() -> f64,
        cancel: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            resolver,
            objects,
            clock,
            lives,
            adopted: Adopted::default(),
            jitter,
            mount_lane: Semaphore::new(MOUNT_LANE),
            refresh_lane: Semaphore::new(REFRESH_LANE),
            cancel,
            tasks: TaskTracker::new(),
            entries: Mutex::default(),
        })
    }

    /// Holds the entry of `key`, with a task that follows the object and fetches at least as often as `wish` says.
    pub(super) fn acquire(self: &Arc<Self>, key: &ContentKey, wish: Option<Refresh>) -> Lease<S> {
        let mut entries = self.entries.lock();
        let entry = entries.entry(key.clone()).or_insert_with(|| {
            let entry = Arc::new(Entry {
                key: key.clone(),
                state: watch::Sender::new(Snapshot::new()),
                users: AtomicUsize::new(0),
                wishes: Mutex::default(),
                idle_since: Mutex::new(Instant::now()),
                waiting: AtomicUsize::new(0),
                demanded_at: Mutex::new(None),
                due: Mutex::default(),
                wake: Notify::new(),
                demanded: Notify::new(),
                hastened: AtomicBool::new(false),
                asleep: AtomicBool::new(false),
            });
            self.tasks
                .spawn(keep_running(Arc::clone(self), Arc::clone(&entry)));
            entry
        });
        entry.users.fetch_add(1, Ordering::SeqCst);
        *entry.wishes.lock().entry(wish).or_default() += 1;
        entry.wake.notify_one();
        Lease {
            registry: Arc::clone(self),
            entry: Arc::clone(entry),
            wish,
        }
    }

    /// Forgets an entry that nobody uses; its content is wiped when the last reader lets go. Tells whether it is forgotten.
    pub(super) fn forget(&self, entry: &Arc<Entry>) -> bool {
        let mut entries = self.entries.lock();
        if entry.is_used() {
            return false;
        }
        if entries
            .get(&entry.key)
            .is_some_and(|current| Arc::ptr_eq(current, entry))
        {
            entries.remove(&entry.key);
            self.revoke(&entry.key, &entries);
        }
        true
    }

    /// Has an entry that nobody uses keep its watch. Tells whether it may: few do.
    pub(super) fn put_to_sleep(&self, entry: &Entry) -> bool {
        let entries = self.entries.lock();
        let asleep = entries.values().filter(|entry| entry.is_asleep()).count();
        if entry.is_used() || asleep >= MAX_ASLEEP {
            return false;
        }
        entry.asleep.store(true, Ordering::SeqCst);
        self.revoke(&entry.key, &entries);
        true
    }

    /// Nobody shows any more what generators made for `key`.
    fn revoke(&self, key: &ContentKey, entries: &HashMap<ContentKey, Arc<Entry>>) {
        if let Some(journal) = &self.resolver.journal {
            let showing = entries.values().filter(|entry| !entry.is_asleep());
            generated::release(journal, key, showing.map(|entry| &entry.key));
        }
    }

    /// Waits for a place to fetch what `entry` shows: in the lane of mounts if one waits for it, also if it begins to wait while
    /// the periodic ones are still in line. The lanes are never closed; without a permit the fetch would still be right.
    pub(super) async fn place(&self, entry: &Entry) -> Option<SemaphorePermit<'_>> {
        while entry.demanded_at().is_none() {
            tokio::select! {
                permit = self.refresh_lane.acquire() => return permit.ok(),
                () = entry.demanded.notified() => {}
            }
        }
        self.mount_lane.acquire().await.ok()
    }

    /// What volumes may be showing.
    pub(super) fn keys(&self) -> Vec<ContentKey> {
        let entries = self.entries.lock();
        let showing = entries.values().filter(|entry| !entry.is_asleep());
        showing.map(|entry| entry.key.clone()).collect()
    }

    /// The number of objects that are followed.
    pub(super) fn len(&self) -> usize {
        self.entries.lock().len()
    }

    /// The entries that the volume of `plan` may be showing, the narrowest first.
    pub(super) fn entries_of(&self, plan: &Plan) -> Vec<Arc<Entry>> {
        SCOPES
            .into_iter()
            .filter_map(|scope| self.find(&plan.key_as(scope)))
            .collect()
    }

    /// As whom the volume of `plan` best asks first: where content is there for its pod or its account, others need not be asked.
    pub(super) fn first_scope(&self, plan: &Plan) -> CallerScope {
        let entry = self.entries_of(plan).into_iter().next();
        entry.map_or(CallerScope::Store, |entry| entry.key.scope())
    }

    /// The entry of `key`, if it is in use.
    pub(super) fn find(&self, key: &ContentKey) -> Option<Arc<Entry>> {
        self.entries.lock().get(key).cloned()
    }
}

// === impl Lease ===

impl<S: Source + 'static> Lease<S> {
    /// What it is that is held.
    pub(super) fn key(&self) -> &ContentKey {
        &self.entry.key
    }

    /// Follows the state of the entry.
    pub(super) fn state(&self) -> watch::Receiver<Snapshot> {
        self.entry.state.subscribe()
    }

    /// Has content fetched soon that there is none of yet.
    pub(super) fn hasten(&self) {
        self.entry.hasten();
    }

    /// Cancelled when the agent stops.
    pub(super) fn cancelled(&self) -> CancellationToken {
        self.registry.cancel.clone()
    }

    /// Shows `content` to no other pod: what it rests on changed. A mount that waits has it fetched anew.
    pub(super) fn doubt(&self, content: &Content) {
        self.entry.state.send_modify(|state| {
            state.doubted = state.doubted.max(content.serial);
            state.recalled = None;
        });
        self.entry.wake.notify_one();
    }

    /// Whether [`Self::recalled`] was called since content was fetched last.
    pub(super) fn has_recalled(&self) -> bool {
        self.entry.state.borrow().recalled.is_some()
    }

    /// Keeps what a mounted volume shows, unless something better came meanwhile.
    pub(super) fn recalled(&self, content: Content) {
        self.entry.state.send_modify(|state| {
            let is_current = state.seen().map(|seen| &seen.revision) == Some(&content.revision);
            if is_current && state.content.is_none() {
                state.recalled = Some(Arc::new(content));
            }
        });
    }

    /// Asks for current content until the demand is dropped.
    pub(super) fn demand(&self) -> Demand {
        *self.entry.demanded_at.lock() = Some(Instant::now());
        self.entry.waiting.fetch_add(1, Ordering::SeqCst);
        self.entry.wake.notify_one();
        self.entry.demanded.notify_one();
        Demand {
            entry: Arc::clone(&self.entry),
        }
    }
}

impl<S: Source + 'static> Drop for Lease<S> {
    fn drop(&mut self) {
        let _entries = self.registry.entries.lock();
        *self.entry.idle_since.lock() = Instant::now();
        self.entry.users.fetch_sub(1, Ordering::SeqCst);
        self.entry.forget_wish(self.wish);
        self.entry.wake.notify_one();
    }
}

impl Drop for Demand {
    fn drop(&mut self) {
        self.entry.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

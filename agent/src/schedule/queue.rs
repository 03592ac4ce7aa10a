//! The rules of the queue, without a clock and without tasks.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use super::budget::{Accounts, Charge};
use super::lanes::{Lane, Turns, Waiting};
use super::meter::Meter;

/// Namespace and name of an object.
pub type Key = (String, String);

/// What a pass over an object takes while it runs, each account at most once; asked whenever the object's turn comes.
pub type Budget = Box<dyn Fn(&Key) -> Vec<Charge> + Send + Sync>;

/// Objects that wait, that run, and that are due later.
pub struct Queue {
    objects: HashMap<Key, Object>,
    lanes: [Waiting; 2],
    /// Objects for which a unit of an account was set aside. Their turn had come before.
    called: [VecDeque<(Key, u64)>; 2],
    accounts: Accounts,
    budget: Budget,
    /// Objects that wait, by lane, wherever they do.
    counts: [usize; 2],
    /// Due times. The number tells a current entry from one that was replaced.
    due: BTreeSet<(Instant, u64, Key)>,
    tickets: u64,
    turns: Turns,
    /// Told what waits, and for how long it did. No rule follows from it.
    meter: Option<Meter>,
}

/// Where one object is. It is in one place only: due later, waiting, or running.
#[derive(Default)]
struct Object {
    due: Option<(Instant, u64)>,
    waiting: Option<Waits>,
    /// What the running pass takes.
    running: Option<Vec<Arc<str>>>,
    /// It was triggered while it ran.
    again: Option<Lane>,
    /// It is gone; what runs is the last pass.
    is_forgotten: bool,
}

/// How an object waits. Its ticket is in one place only, however often it moves.
struct Waits {
    lane: Lane,
    ticket: u64,
    place: Place,
    /// For the meter alone.
    since: Instant,
}

enum Place {
    Lane,
    /// Its turn came when nothing was left of this account.
    Held(Arc<str>),
    /// A unit of this account was set aside for it.
    Called(Arc<str>),
}

// === impl Queue ===

impl Default for Queue {
    /// A queue without a budget.
    fn default() -> Self {
        Self::new(Box::new(|_| Vec::new()))
    }
}

impl Queue {
    /// An empty queue whose passes take what `budget` says.
    #[must_use]
    pub fn new(budget: Budget) -> Self {
        Self {
            objects: HashMap::new(),
            lanes: Default::default(),
            called: Default::default(),
            accounts: Accounts::default(),
            budget,
            counts: [0, 0],
            due: BTreeSet::new(),
            tickets: 0,
            turns: Turns::default(),
            meter: None,
        }
    }

    /// Tells `meter` what waits from now on.
    #[must_use]
    pub(super) fn with_meter(mut self, meter: Meter) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Puts the object into `lane`, or keeps its place if it waits already in one that is as urgent. While it runs, it is noted
    /// and put there when the pass has finished.
    pub fn trigger(&mut self, key: Key, lane: Lane) {
        let object = self.objects.entry(key.clone()).or_default();
        if object.running.is_some() {
            object.is_forgotten = false;
            object.again = Some(object.again.map_or(lane, |noted| noted.min(lane)));
            return;
        }
        if let Some((instant, ticket)) = object.due.take() {
            self.due.remove(&(instant, ticket, key.clone()));
        }
        let mut lane = lane;
        let mut since = None;
        if let Some(waits) = &object.waiting {
            let waits_in_vain = match &waits.place {
                // It was changed, and needs nothing of what it waits for.
                Place::Held(account) => {
                    let charges = (self.budget)(&key);
                    !charges.iter().any(|charge| charge.account == *account)
                }
                Place::Lane | Place::Called(_) => false,
            };
            if waits.lane <= lane && !waits_in_vain {
                return;
            }
            lane = lane.min(waits.lane);
            since = Some(waits.since);
            self.leave(&key);
        }
        self.tickets += 1;
        self.enter(lane, since.is_none());
        if let Some(object) = self.objects.get_mut(&key) {
            object.waiting = Some(Waits {
                lane,
                ticket: self.tickets,
                place: Place::Lane,
                since: since.unwrap_or_else(Instant::now),
            });
        }
        self.lanes[lane as usize].push(key, self.tickets);
    }

    /// Brings an object that is due later forward to `instant`. One that runs is run again afterwards: whatever made it worth a look may
    /// have come too late for it.
    pub fn hasten(&mut self, key: &Key, instant: Instant) {
        let Some(object) = self.objects.get_mut(key) else {
            return;
        };
        if object.running.is_some() && !object.is_forgotten {
            object.again = Some(object.again.unwrap_or(Lane::Refresh));
        }
        let Some((due, ticket)) = object.due.filter(|(due, _)| *due > instant) else {
            return;
        };
        self.due.remove(&(due, ticket, key.clone()));
        object.due = Some((instant, ticket));
        self.due.insert((instant, ticket, key.clone()));
    }

    /// Takes the object whose turn it is at `now` and whose budget has room. It counts as running until [`Queue::finish`].
    pub fn take(&mut self, now: Instant) -> Option<Key> {
        self.wake(now);
        let order = self.turns.next();
        loop {
            let taken = order.into_iter().find_map(|lane| self.take_from(lane));
            // Those who were called and cannot go have called others meanwhile. Each is called once: what it waits for next is running.
            if taken.is_some() || self.called.iter().all(VecDeque::is_empty) {
                return taken;
            }
        }
    }

    /// Ends the pass of an object: it is due again at `due`, or at once if it was triggered meanwhile.
    pub fn finish(&mut self, key: &Key, due: Option<Instant>) {
        let Some(object) = self.objects.get_mut(key) else {
            return;
        };
        let taken = object.running.take().unwrap_or_default();
        if object.is_forgotten {
            self.objects.remove(key);
        } else if let Some(lane) = object.again.take() {
            self.trigger(key.clone(), lane);
        } else if let Some(instant) = due {
            self.tickets += 1;
            object.due = Some((instant, self.tickets));
            self.due.insert((instant, self.tickets, key.clone()));
        } else {
            // Nothing is known of an object that rests: the map holds only what has work.
            self.objects.remove(key);
        }
        for account in taken {
            self.give_back(&account);
        }
    }

    /// Drops an object that is gone, wherever it is.
    pub fn forget(&mut self, key: &Key) {
        let Some(object) = self.objects.get_mut(key) else {
            return;
        };
        if object.running.is_some() {
            object.is_forgotten = true;
            object.again = None;
            return;
        }
        if let Some((instant, ticket)) = object.due {
            self.due.remove(&(instant, ticket, key.clone()));
        }
        self.leave(key);
        self.objects.remove(key);
    }

    /// When the next object that is not waiting becomes due.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(instant, ..)| *instant)
    }

    /// Objects that wait in a lane, for their turn or for room in their budget.
    #[must_use]
    pub fn waiting(&self, lane: Lane) -> usize {
        self.counts[lane as usize]
    }

    /// Moves what is due into the lane of refreshes.
    fn wake(&mut self, now: Instant) {
        while self
            .due
            .first()
            .is_some_and(|(instant, ..)| *instant <= now)
        {
            let Some((_, _, key)) = self.due.pop_first() else {
                return;
            };
            if let Some(object) = self.objects.get_mut(&key) {
                object.due = None;
            }
            self.trigger(key, Lane::Refresh);
        }
    }

    fn take_from(&mut self, lane: Lane) -> Option<Key> {
        loop {
            let called = self.called[lane as usize].pop_front();
            let (key, ticket) = called.or_else(|| self.lanes[lane as usize].pop())?;
            let Some(object) = self.objects.get_mut(&key) else {
                continue;
            };
            // Entries of objects that are gone or went elsewhere stay until their turn comes.
            let waits = object.waiting.take_if(|waits| waits.ticket == ticket);
            let Some(mut waits) = waits else { continue };
            let set_aside = match &waits.place {
                Place::Called(account) => Some(account.clone()),
                Place::Lane | Place::Held(_) => None,
            };
            if let Some(account) = &set_aside {
                self.accounts.release(account);
            }
            let charges = (self.budget)(&key);
            match self.accounts.exhausted(&charges, set_aside.is_some()) {
                None => {
                    self.accounts.take(&charges);
                    self.counts[lane as usize] -= 1;
                    if let Some(meter) = &self.meter {
                        meter.left(lane, 1);
                        meter.waited(waits.since.elapsed());
                    }
                    let taken = charges.into_iter().map(|charge| charge.account);
                    object.running = Some(taken.collect());
                }
                Some(charge) => {
                    self.accounts.hold(charge, lane, key.clone(), ticket);
                    waits.place = Place::Held(charge.account.clone());
                    object.waiting = Some(waits);
                }
            }
            let is_taken = object.running.is_some();
            // What was set aside and not taken is the next one's.
            if let Some(account) = &set_aside {
                self.call(account);
            }
            if is_taken {
                return Some(key);
            }
        }
    }

    /// Counts an object that waits from now on; one that only changes its lane was counted before.
    fn enter(&mut self, lane: Lane, is_new: bool) {
        self.counts[lane as usize] += 1;
        if let Some(meter) = &self.meter {
            meter.entered(lane, is_new);
        }
    }

    /// Takes an object from where it waits.
    fn leave(&mut self, key: &Key) {
        let waits = self
            .objects
            .get_mut(key)
            .and_then(|object| object.waiting.take());
        let Some(waits) = waits else { return };
        self.counts[waits.lane as usize] -= 1;
        if let Some(meter) = &self.meter {
            meter.left(waits.lane, 1);
        }
        if let Place::Called(account) = waits.place {
            self.accounts.release(&account);
            self.call(&account);
        }
    }

    fn give_back(&mut self, account: &Arc<str>) {
        self.accounts.give_back(account);
        self.call(account);
    }

    /// Calls those who wait for what is left of an account.
    fn call(&mut self, account: &Arc<str>) {
        while let Some((key, ticket)) = self.accounts.next(account) {
            let object = self.objects.get_mut(&key);
            let waits = object.and_then(|object| object.waiting.as_mut());
            if let Some(waits) = waits.filter(|waits| waits.ticket == ticket) {
                waits.place = Place::Called(account.clone());
                self.accounts.set_aside(account);
                self.called[waits.lane as usize].push_back((key, ticket));
            }
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if let Some(meter) = &self.meter {
            for lane in [Lane::First, Lane::Refresh] {
                meter.left(lane, self.counts[lane as usize]);
            }
        }
    }
}

//! The rules of the queue, without a clock and without tasks.

use std::collections::{BTreeSet, HashMap, VecDeque};

use tokio::time::Instant;

/// Namespace and name of an object.
pub type Key = (String, String);

/// How urgent a look is. Lanes are served in this order, but for one turn in [`TURNS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// The object was never synced: a workload may be waiting for it.
    First,
    /// A change, a refresh that is due, or a repair.
    Refresh,
}

/// Of so many turns one goes to the later lane first, so that an endless stream of new objects does not starve refreshes.
const TURNS: u64 = 8;

const LANES: [Lane; 2] = [Lane::First, Lane::Refresh];

/// Objects that wait, that run, and that are due later.
#[derive(Default)]
pub struct Queue {
    objects: HashMap<Key, Object>,
    lanes: [Waiting; 2],
    /// Due times. The number tells a current entry from one that was replaced.
    due: BTreeSet<(Instant, u64, Key)>,
    tickets: u64,
    turns: u64,
}

/// Where one object is. It is in one place only: due later, waiting, or running.
#[derive(Default)]
struct Object {
    due: Option<(Instant, u64)>,
    waiting: Option<(Lane, u64)>,
    is_running: bool,
    /// It was triggered while it ran.
    again: Option<Lane>,
    /// It is gone; what runs is the last pass.
    is_forgotten: bool,
}

/// The objects that wait in one lane: namespaces take turns, and within a namespace the first to come is the first to go.
#[derive(Default)]
struct Waiting {
    turns: VecDeque<String>,
    names: HashMap<String, VecDeque<(String, u64)>>,
    count: usize,
}

// === impl Queue ===

impl Queue {
    /// Puts the object into `lane`, or keeps its place if it waits already in one that is as urgent. While it runs, it is noted
    /// and put there when the pass has finished.
    pub fn trigger(&mut self, key: Key, lane: Lane) {
        let object = self.objects.entry(key.clone()).or_default();
        if object.is_running {
            object.is_forgotten = false;
            object.again = Some(object.again.map_or(lane, |noted| noted.min(lane)));
            return;
        }
        if let Some((instant, ticket)) = object.due.take() {
            self.due.remove(&(instant, ticket, key.clone()));
        }
        match object.waiting {
            Some((current, _)) if current <= lane => return,
            Some((current, _)) => self.lanes[current as usize].count -= 1,
            None => {}
        }
        self.tickets += 1;
        object.waiting = Some((lane, self.tickets));
        self.lanes[lane as usize].push(key, self.tickets);
    }

    /// Takes the object whose turn it is at `now`. It counts as running until [`Queue::finish`].
    pub fn take(&mut self, now: Instant) -> Option<Key> {
        self.wake(now);
        self.turns = self.turns.wrapping_add(1);
        let mut order = LANES;
        if self.turns.is_multiple_of(TURNS) {
            order.reverse();
        }
        order.into_iter().find_map(|lane| self.take_from(lane))
    }

    /// Ends the pass of an object: it is due again at `due`, or at once if it was triggered meanwhile.
    pub fn finish(&mut self, key: &Key, due: Option<Instant>) {
        let Some(object) = self.objects.get_mut(key) else {
            return;
        };
        object.is_running = false;
        if object.is_forgotten {
            self.objects.remove(key);
            return;
        }
        if let Some(lane) = object.again.take() {
            self.trigger(key.clone(), lane);
            return;
        }
        match due {
            Some(instant) => {
                self.tickets += 1;
                object.due = Some((instant, self.tickets));
                self.due.insert((instant, self.tickets, key.clone()));
            }
            // Nothing is known of an object that rests: the map holds only what has work.
            None => {
                self.objects.remove(key);
            }
        }
    }

    /// Drops an object that is gone, wherever it is.
    pub fn forget(&mut self, key: &Key) {
        let Some(object) = self.objects.get_mut(key) else {
            return;
        };
        if object.is_running {
            object.is_forgotten = true;
            object.again = None;
            return;
        }
        if let Some((instant, ticket)) = object.due {
            self.due.remove(&(instant, ticket, key.clone()));
        }
        if let Some((lane, _)) = object.waiting {
            self.lanes[lane as usize].count -= 1;
        }
        self.objects.remove(key);
    }

    /// When the next object that is not waiting becomes due.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(instant, ..)| *instant)
    }

    /// Objects that wait in a lane.
    #[must_use]
    pub fn waiting(&self, lane: Lane) -> usize {
        self.lanes[lane as usize].count
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
            let (key, ticket) = self.lanes[lane as usize].pop()?;
            // Entries of objects that are gone or moved to another lane stay until their turn comes.
            if let Some(object) = self.objects.get_mut(&key)
                && object.waiting == Some((lane, ticket))
            {
                object.waiting = None;
                object.is_running = true;
                self.lanes[lane as usize].count -= 1;
                return Some(key);
            }
        }
    }
}

// === impl Waiting ===

impl Waiting {
    fn push(&mut self, (namespace, name): Key, ticket: u64) {
        self.count += 1;
        match self.names.get_mut(&namespace) {
            Some(names) => names.push_back((name, ticket)),
            None => {
                self.turns.push_back(namespace.clone());
                self.names
                    .insert(namespace, VecDeque::from([(name, ticket)]));
            }
        }
    }

    /// The first entry of the namespace whose turn it is; that namespace goes to the end.
    fn pop(&mut self) -> Option<(Key, u64)> {
        let namespace = self.turns.pop_front()?;
        let names = self.names.get_mut(&namespace)?;
        let entry = names.pop_front();
        if names.is_empty() {
            self.names.remove(&namespace);
        } else {
            self.turns.push_back(namespace.clone());
        }
        let (name, ticket) = entry?;
        Some(((namespace, name), ticket))
    }
}

//! Objects in the order in which they get their turn.

use std::collections::{HashMap, VecDeque};

use super::queue::Key;

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

/// Whose turn it is.
#[derive(Default)]
pub(super) struct Turns(u64);

// === impl Turns ===

impl Turns {
    /// The lanes in the order of the next turn.
    pub(super) fn next(&mut self) -> [Lane; 2] {
        self.0 = self.0.wrapping_add(1);
        if self.0.is_multiple_of(TURNS) {
            [Lane::Refresh, Lane::First]
        } else {
            [Lane::First, Lane::Refresh]
        }
    }
}

/// Objects that wait in one place: namespaces take turns, and within a namespace the first to come is the first to go. Each entry
/// has a ticket, by which one that was overtaken by events is told from one that counts.
#[derive(Default)]
pub(super) struct Waiting {
    turns: VecDeque<String>,
    names: HashMap<String, VecDeque<(String, u64)>>,
}

// === impl Waiting ===

impl Waiting {
    pub(super) fn push(&mut self, (namespace, name): Key, ticket: u64) {
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
    pub(super) fn pop(&mut self) -> Option<(Key, u64)> {
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

//! How many passes may use the same thing at once, so that a slow one does not take the place of all others.

use std::collections::HashMap;
use std::sync::Arc;

use super::lanes::{Lane, Turns, Waiting};
use super::queue::Key;

/// A unit of something that a pass holds while it runs, such as a place at a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// What it is a unit of.
    pub account: Arc<str>,
    /// The most units that are held at once; at least one is.
    pub most: usize,
}

/// What is held, and who waits for it. An object waits in one account at a time and holds nothing meanwhile, so that no two can wait
/// for each other.
#[derive(Default)]
pub(super) struct Accounts {
    accounts: HashMap<Arc<str>, Account>,
    turns: Turns,
}

/// Nobody waits while there is a unit left that is not set aside.
#[derive(Default)]
struct Account {
    used: usize,
    /// Units for those who were called and have not had their turn yet.
    set_aside: usize,
    most: usize,
    waiting: [Waiting; 2],
}

// === impl Accounts ===

impl Accounts {
    /// The first of `charges` of which no unit is left. What is set aside is for those who were called: they waited longer.
    pub(super) fn exhausted<'a>(
        &self,
        charges: &'a [Charge],
        was_called: bool,
    ) -> Option<&'a Charge> {
        charges.iter().find(|charge| {
            let account = self.accounts.get(&charge.account);
            account.is_some_and(|account| {
                let kept = if was_called { 0 } else { account.set_aside };
                account.used + kept >= charge.most.max(1)
            })
        })
    }

    /// Takes one unit of each.
    pub(super) fn take(&mut self, charges: &[Charge]) {
        for charge in charges {
            let account = self.accounts.entry(charge.account.clone()).or_default();
            account.used += 1;
            account.most = charge.most.max(1);
        }
    }

    /// Gives one unit back.
    pub(super) fn give_back(&mut self, account: &Arc<str>) {
        if let Some(account) = self.accounts.get_mut(account) {
            account.used = account.used.saturating_sub(1);
        }
    }

    /// Lets an object wait until a unit is given back.
    pub(super) fn hold(&mut self, charge: &Charge, lane: Lane, key: Key, ticket: u64) {
        let account = self.accounts.entry(charge.account.clone()).or_default();
        account.waiting[lane as usize].push(key, ticket);
    }

    /// The next that waited for a unit, if there is one now. Nothing is set aside for it yet.
    pub(super) fn next(&mut self, name: &Arc<str>) -> Option<(Key, u64)> {
        let account = self.accounts.get_mut(name)?;
        if account.used + account.set_aside >= account.most {
            return None;
        }
        let order = self.turns.next();
        let next = order
            .into_iter()
            .find_map(|lane| account.waiting[lane as usize].pop());
        if next.is_none() && account.used + account.set_aside == 0 {
            self.accounts.remove(name);
        }
        next
    }

    /// Sets a unit aside for the one that [`Accounts::next`] returned, until its turn comes.
    pub(super) fn set_aside(&mut self, name: &Arc<str>) {
        if let Some(account) = self.accounts.get_mut(name) {
            account.set_aside += 1;
        }
    }

    /// Sets it aside no more.
    pub(super) fn release(&mut self, name: &Arc<str>) {
        if let Some(account) = self.accounts.get_mut(name) {
            account.set_aside = account.set_aside.saturating_sub(1);
        }
    }
}

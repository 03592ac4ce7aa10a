//! What an agent does about the shards, from what it sees of their Leases.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a shard that was let go of is kept for the one that asked for it.
const RESERVED: Duration = Duration::from_secs(5);

/// One shard's Lease as this agent sees it. The default is one that does not exist.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Empty if it is free.
    pub(super) holder: String,
    /// Who asked for it.
    pub(super) wanted_by: Option<String>,
    /// How long its holder and the time of its renewal did not change.
    pub(super) unchanged_for: Duration,
    /// How long it protects its holder after a change.
    pub(super) duration: Duration,
}

/// What to do about one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// Keep it.
    Renew(u16),
    /// Take one that is free.
    Acquire(u16),
    /// Let go of it for the agent that asked.
    Release(u16),
    /// Ask its holder for it.
    Ask(u16),
}

// === impl Seen ===

impl Seen {
    fn live_holder(&self, me: &str) -> Option<&str> {
        let is_live =
            self.holder == me || (!self.holder.is_empty() && self.unchanged_for < self.duration);
        is_live.then_some(self.holder.as_str())
    }

    fn wanted_by_another_than(&self, me: &str) -> bool {
        self.wanted_by.as_deref().is_some_and(|wanted| wanted != me)
    }
}

/// What the agent `me` does, in this order.
///
/// Those who take part are the holders, those who ask, and `me`. Nobody acquires more than an equal share, rounded up; whoever has
/// less than one, rounded down, asks the one with the most; a holder gives only what is beyond the share, rounded down.
pub(super) fn moves(me: &str, seen: &[Seen]) -> Vec<Move> {
    let mut holdings: BTreeMap<&str, usize> = BTreeMap::from([(me, 0)]);
    for holder in seen.iter().filter_map(|shard| shard.live_holder(me)) {
        *holdings.entry(holder).or_default() += 1;
    }
    let asking = seen
        .iter()
        .filter(|shard| shard.live_holder(me).is_some())
        .filter_map(|shard| shard.wanted_by.as_deref());
    let parties: BTreeSet<&str> = holdings.keys().copied().chain(asking).collect();
    let least = seen.len() / parties.len();
    let most = seen.len().div_ceil(parties.len());
    let mut mine = holdings[me];
    // Never what was not had before, and never the only one: somebody would ask for it back.
    let mut to_give = mine.saturating_sub(least.max(1));
    let mut result = Vec::new();

    for (number, shard) in (0_u16..).zip(seen) {
        match shard.live_holder(me) {
            Some(holder) if holder == me => {
                if shard.wanted_by_another_than(me) && to_give > 0 {
                    to_give -= 1;
                    mine -= 1;
                    result.push(Move::Release(number));
                } else {
                    result.push(Move::Renew(number));
                }
            }
            Some(_) => {}
            None => {
                let is_reserved =
                    shard.wanted_by_another_than(me) && shard.unchanged_for < RESERVED;
                // Those who should take it may be gone: nobody waits for them for ever.
                let is_left =
                    shard.unchanged_for >= shard.duration * 2 && shard.duration > RESERVED;
                if !is_reserved && (mine < most || is_left) {
                    mine += 1;
                    result.push(Move::Acquire(number));
                }
            }
        }
    }
    let has_asked = seen
        .iter()
        .any(|shard| shard.wanted_by.as_deref() == Some(me) && shard.live_holder(me) != Some(me));
    if mine < least && !has_asked {
        result.extend(richest(me, mine, seen, &holdings).map(Move::Ask));
    }
    result
}

/// A shard of the agent with the most, if that has at least two more than `me`.
fn richest(me: &str, mine: usize, seen: &[Seen], holdings: &BTreeMap<&str, usize>) -> Option<u16> {
    let (holder, _) = holdings
        .iter()
        .filter(|(holder, count)| **holder != me && **count >= mine + 2)
        .max_by_key(|(_, count)| **count)?;
    (0_u16..)
        .zip(seen)
        .find(|(_, shard)| shard.live_holder(me) == Some(holder) && shard.wanted_by.is_none())
        .map(|(number, _)| number)
}

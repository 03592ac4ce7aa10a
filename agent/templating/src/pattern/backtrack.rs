//! Search by trying one way after the other, for short texts. No place is tried twice in the same step, which keeps it linear.

use super::program::{Action, Label, NO_JOIN, Program, rune_at};
use crate::context::Context;
use crate::failure::Result;

/// The most pairs of step and place that a search may visit: it pays when it is done.
const MAX_PAIRS: usize = 1 << 20;
/// States that are visited for one unit of work.
const VISITS_PER_UNIT: u64 = 8;
const WORD: usize = u64::BITS as usize;

/// The memory of searches.
#[derive(Default)]
pub(super) struct Backtracker {
    /// A bit for each place and step that several lead to, place by place. All clear between searches. The other steps are
    /// visited but once if those are.
    visited: Vec<u64>,
    jobs: Vec<Job>,
}

/// What is still to be done.
enum Job {
    Visit(Label, usize),
    /// Take back what a place was noted as.
    Restore(usize, usize),
}

// === impl Backtracker ===

impl Backtracker {
    /// Whether a text of which `left` bytes are left is short enough.
    pub(super) fn suits(program: &Program, left: usize) -> bool {
        let pairs = (left + 1).checked_mul(program.steps.len());
        pairs.is_some_and(|pairs| pairs <= MAX_PAIRS)
    }

    /// Finds the first match from `from` on and notes its places.
    pub(super) fn find(
        &mut self,
        cx: &mut Context,
        program: &Program,
        text: &[u8],
        from: usize,
        places: &mut [usize],
    ) -> Result<bool> {
        let Some(mut start) = program.candidate(text, from) else {
            return cx.work(1 + (text.len() - from) as u64 / 64).map(|()| false);
        };
        let words = (text.len() - from + 1) * program.joins / WORD + 1;
        if self.visited.len() < words {
            cx.allocate((words - self.visited.len()) * size_of::<u64>())?;
            self.visited.resize(words, 0);
        }
        let mut attempt = Attempt {
            backtracker: self,
            program,
            text,
            base: from,
            farthest: start,
            visits: 0,
        };
        let found = loop {
            if let Some(end) = attempt.run(start, places) {
                break Some((start, end));
            }
            let width = rune_at(text, start).map_or(1, |(_, width)| width);
            match program.candidate(text, start + width) {
                Some(next) => start = next,
                None => break None,
            }
        };
        let (visits, farthest) = (attempt.visits, attempt.farthest);
        let used = (farthest - from + 1) * program.joins / WORD + 1;
        if let Some(used) = self.visited.get_mut(..used) {
            used.fill(0);
        }
        cx.work(1 + visits / VISITS_PER_UNIT + (start - from) as u64 / 64)?;
        if let (Some((start, end)), [first, last, ..]) = (found, places) {
            (*first, *last) = (start, end);
        }
        Ok(found.is_some())
    }
}

/// One search.
struct Attempt<'a> {
    backtracker: &'a mut Backtracker,
    program: &'a Program,
    text: &'a [u8],
    /// The first place that can be visited.
    base: usize,
    /// The last that was.
    farthest: usize,
    visits: u64,
}

// === impl Attempt ===

impl Attempt<'_> {
    /// Where a match ends that begins at `start`.
    fn run(&mut self, start: usize, places: &mut [usize]) -> Option<usize> {
        self.backtracker.jobs.clear();
        let mut found = self.follow(self.program.start, start, places);
        while found.is_none() {
            match self.backtracker.jobs.pop()? {
                Job::Visit(label, position) => found = self.follow(label, position, places),
                Job::Restore(slot, place) => {
                    if let Some(slot) = places.get_mut(slot) {
                        *slot = place;
                    }
                }
            }
        }
        found
    }

    /// Follows the preferred way and leaves the others as jobs.
    fn follow(
        &mut self,
        mut label: Label,
        mut position: usize,
        places: &mut [usize],
    ) -> Option<usize> {
        loop {
            self.visits += 1;
            let step = self.program.step(label);
            if step.join != NO_JOIN && !self.visit(step.join, position) {
                return None;
            }
            match step.action {
                Action::Match => return Some(position),
                Action::Look(look) => {
                    if !look.holds(self.text, position) {
                        return None;
                    }
                }
                Action::Save(slot) => {
                    let slot = slot as usize;
                    if let Some(place) = places.get_mut(slot) {
                        self.backtracker.jobs.push(Job::Restore(slot, *place));
                        *place = position;
                    }
                }
                Action::Split(other) => self.backtracker.jobs.push(Job::Visit(other, position)),
                action => {
                    let (rune, width) = rune_at(self.text, position)?;
                    if !self.program.takes(action, rune) {
                        return None;
                    }
                    position += width;
                }
            }
            label = step.next;
        }
    }

    /// Notes the visit to a step that several lead to; `false` if there was one before.
    fn visit(&mut self, join: u32, position: usize) -> bool {
        self.farthest = self.farthest.max(position);
        let pair = (position - self.base) * self.program.joins + join as usize;
        let Some(word) = self.backtracker.visited.get_mut(pair / WORD) else {
            return false;
        };
        let bit = 1 << (pair % WORD);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

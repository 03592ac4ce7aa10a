//! Search in all ways at once, for long texts: the steps that could be next are kept in their order of preference.

use super::program::{Action, Label, Program, rune_at};
use super::search::NOWHERE;
use crate::context::Context;
use crate::failure::Result;

/// States that are visited for one unit of work.
const VISITS_PER_UNIT: u64 = 8;
/// How many visits are let pass before they are paid for.
const VISITS_PER_PAYMENT: u64 = 1_024;

/// The memory of searches.
pub(super) struct Threads {
    current: List,
    next: List,
    jobs: Vec<Job>,
    /// The places of the thread that is being followed.
    scratch: Vec<usize>,
    visits: u64,
}

/// Steps with the places that were noted on the way to them.
struct List {
    /// In order of preference.
    labels: Vec<Label>,
    /// For each step where it stands in `labels`, if it does.
    index: Vec<u32>,
    /// For each step its places.
    places: Vec<usize>,
    /// How many places a thread has.
    width: usize,
}

/// What is still to be done.
enum Job {
    Visit(Label),
    /// Take back what a place was noted as.
    Restore(usize, usize),
}

// === impl Threads ===

impl Threads {
    /// Memory for threads that note `width` places each.
    pub(super) fn new(cx: &mut Context, program: &Program, width: usize) -> Result<Self> {
        let steps = program.steps.len();
        let thread = width.saturating_mul(size_of::<usize>()).saturating_add(8);
        cx.allocate(steps.saturating_mul(thread).saturating_mul(2))?;
        Ok(Self {
            current: List::new(steps, width),
            next: List::new(steps, width),
            jobs: Vec::new(),
            scratch: vec![NOWHERE; width],
            visits: 0,
        })
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
        self.current.labels.clear();
        let mut position = from;
        let mut has_match = false;
        loop {
            if self.current.labels.is_empty() {
                if has_match {
                    break;
                }
                let Some(candidate) = program.candidate(text, position) else {
                    break;
                };
                cx.work((candidate - position) as u64 / 64)?;
                position = candidate;
            }
            if !has_match && (position == 0 || !program.is_anchored) {
                self.scratch.fill(NOWHERE);
                if let Some(start) = self.scratch.first_mut() {
                    *start = position;
                }
                self.visits += follow(
                    &mut self.current,
                    &mut self.jobs,
                    &mut self.scratch,
                    (program, text),
                    (program.start, position),
                );
            }
            has_match |= self.advance(program, text, position, places);
            if self.visits >= VISITS_PER_PAYMENT {
                cx.work(self.visits / VISITS_PER_UNIT)?;
                self.visits %= VISITS_PER_UNIT;
            }
            let Some((_, width)) = rune_at(text, position) else {
                break;
            };
            position += width;
            std::mem::swap(&mut self.current, &mut self.next);
        }
        cx.work(1 + self.visits / VISITS_PER_UNIT)?;
        self.visits = 0;
        Ok(has_match)
    }

    /// Lets the current threads take the rune at `position`. Whether one of them is at the end; those it is preferred to are
    /// dropped.
    fn advance(
        &mut self,
        program: &Program,
        text: &[u8],
        position: usize,
        places: &mut [usize],
    ) -> bool {
        let rune = rune_at(text, position);
        self.next.labels.clear();
        for label in &self.current.labels {
            let step = program.step(*label);
            self.visits += 1;
            if matches!(step.action, Action::Match) {
                places.copy_from_slice(self.current.places_of(*label));
                if let Some(end) = places.get_mut(1) {
                    *end = position;
                }
                return true;
            }
            let Some((rune, width)) = rune else {
                continue;
            };
            if program.takes(step.action, rune) {
                self.scratch.copy_from_slice(self.current.places_of(*label));
                self.visits += follow(
                    &mut self.next,
                    &mut self.jobs,
                    &mut self.scratch,
                    (program, text),
                    (step.next, position + width),
                );
            }
        }
        false
    }
}

/// Adds the steps to `list` that can be reached from one without taking a rune. Gives how many it looked at.
fn follow(
    list: &mut List,
    jobs: &mut Vec<Job>,
    scratch: &mut [usize],
    (program, text): (&Program, &[u8]),
    (start, position): (Label, usize),
) -> u64 {
    let mut visits = 0;
    jobs.clear();
    jobs.push(Job::Visit(start));
    while let Some(job) = jobs.pop() {
        let mut label = match job {
            Job::Visit(label) => label,
            Job::Restore(slot, place) => {
                if let Some(slot) = scratch.get_mut(slot) {
                    *slot = place;
                }
                continue;
            }
        };
        loop {
            visits += 1;
            if !list.insert(label) {
                break;
            }
            let step = program.step(label);
            match step.action {
                Action::Look(look) => {
                    if !look.holds(text, position) {
                        break;
                    }
                }
                Action::Save(slot) => {
                    let slot = slot as usize;
                    if let Some(place) = scratch.get_mut(slot) {
                        jobs.push(Job::Restore(slot, *place));
                        *place = position;
                    }
                }
                Action::Split(other) => jobs.push(Job::Visit(other)),
                _ => {
                    list.set_places(label, scratch);
                    break;
                }
            }
            label = step.next;
        }
    }
    visits
}

// === impl List ===

impl List {
    fn new(steps: usize, width: usize) -> Self {
        Self {
            labels: Vec::with_capacity(steps),
            index: vec![0; steps],
            places: vec![NOWHERE; steps * width],
            width,
        }
    }

    /// Adds a step; `false` if it is there already.
    fn insert(&mut self, label: Label) -> bool {
        let Some(index) = self.index.get_mut(label as usize) else {
            return false;
        };
        if self.labels.get(*index as usize) == Some(&label) {
            return false;
        }
        *index = self.labels.len() as u32;
        self.labels.push(label);
        true
    }

    fn places_of(&self, label: Label) -> &[usize] {
        let start = label as usize * self.width;
        self.places
            .get(start..start + self.width)
            .unwrap_or_default()
    }

    fn set_places(&mut self, label: Label, places: &[usize]) {
        let start = label as usize * self.width;
        if let Some(own) = self.places.get_mut(start..start + self.width) {
            own.copy_from_slice(places);
        }
    }
}

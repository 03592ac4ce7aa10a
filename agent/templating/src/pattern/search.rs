//! Searches of one text, one after the other, which share their memory.

use super::Pattern;
use super::backtrack::Backtracker;
use super::program::rune_at;
use super::threads::Threads;
use crate::context::Context;
use crate::failure::Result;

/// A place that was not reached.
pub(super) const NOWHERE: usize = usize::MAX;

/// A text that is searched for a pattern.
pub(crate) struct Search<'p, 't> {
    pub(super) pattern: &'p Pattern,
    pub(super) text: &'t [u8],
    /// Start and end of the groups of the last match that was found.
    places: Vec<usize>,
    backtracker: Backtracker,
    threads: Option<Threads>,
}

// === impl Search ===

impl<'p, 't> Search<'p, 't> {
    /// For matches alone, or for their groups as well.
    pub(crate) fn new(
        cx: &mut Context,
        pattern: &'p Pattern,
        text: &'t [u8],
        has_groups: bool,
    ) -> Result<Self> {
        let groups = if has_groups { pattern.groups() } else { 1 };
        cx.allocate(groups * 2 * size_of::<usize>())?;
        Ok(Self {
            pattern,
            text,
            places: vec![NOWHERE; groups * 2],
            backtracker: Backtracker::default(),
            threads: None,
        })
    }

    /// Finds the first match that begins at `from` or later.
    pub(crate) fn find(&mut self, cx: &mut Context, from: usize) -> Result<Option<(usize, usize)>> {
        let program = &self.pattern.program;
        self.places.fill(NOWHERE);
        let left = self.text.len().saturating_sub(from);
        let has_match = if Backtracker::suits(program, left) {
            self.backtracker
                .find(cx, program, self.text, from, &mut self.places)?
        } else {
            let threads = match &mut self.threads {
                Some(threads) => threads,
                None => self
                    .threads
                    .insert(Threads::new(cx, program, self.places.len())?),
            };
            threads.find(cx, program, self.text, from, &mut self.places)?
        };
        Ok(if has_match { self.group(0) } else { None })
    }

    /// Where a group of the last match is; `None` if it took no part.
    pub(crate) fn group(&self, number: usize) -> Option<(usize, usize)> {
        let start = *self.places.get(number.checked_mul(2)?)?;
        let end = *self.places.get(number * 2 + 1)?;
        (start != NOWHERE && end != NOWHERE).then_some((start, end))
    }

    /// The place behind the rune at `position`; beyond the text at its end.
    pub(crate) fn next_rune(&self, position: usize) -> usize {
        position + rune_at(self.text, position).map_or(1, |(_, width)| width)
    }

    /// Go's `allMatches`: calls `take` with each match in turn, at most `most` of them; an empty one right behind another match
    /// does not count.
    pub(crate) fn each(
        &mut self,
        cx: &mut Context,
        most: usize,
        mut take: impl FnMut(&mut Context, (usize, usize)) -> Result<()>,
    ) -> Result<()> {
        let (mut from, mut count, mut last_end) = (0, 0, None);
        while count < most && from <= self.text.len() {
            let Some((start, end)) = self.find(cx, from)? else {
                break;
            };
            let is_accepted = end != from || last_end != Some(start);
            from = if end == from {
                self.next_rune(from)
            } else {
                end
            };
            last_end = Some(end);
            if is_accepted {
                cx.work(1)?;
                take(cx, (start, end))?;
                count += 1;
            }
        }
        Ok(())
    }
}

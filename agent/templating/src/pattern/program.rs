//! What a pattern is compiled to: steps of a machine that can be in many of them at once.

use super::class::Class;
use super::tree::Look;
use crate::unicode;

/// The number of a step.
pub(super) type Label = u32;

/// A compiled pattern.
pub(super) struct Program {
    pub(super) steps: Vec<Step>,
    pub(super) classes: Vec<Class>,
    pub(super) start: Label,
    /// How many steps there are that more than one other leads to.
    pub(super) joins: usize,
    /// Whether it can match at the start of the text only.
    pub(super) is_anchored: bool,
    pub(super) first: First,
}

/// What a match can begin with.
pub(super) enum First {
    /// Anything, or it may be empty.
    Anything,
    Byte(u8),
    /// Those that are set.
    Bytes(Box<[bool; 256]>),
}

/// A step and the one after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) action: Action,
    pub(super) next: Label,
    /// Its number among the steps that more than one other leads to, or [`NO_JOIN`].
    pub(super) join: u32,
}

/// For a step to which there is one way only.
pub(super) const NO_JOIN: u32 = u32::MAX;

/// What a step does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    /// Takes this rune.
    Rune(u32),
    /// Takes one of two runes.
    Pair(u32, u32),
    /// Takes a rune of the class with this number.
    Class(u32),
    Any,
    AnyButNewline,
    /// Goes on where that holds.
    Look(Look),
    /// Notes the place: twice the group's number, and one more for its end.
    Save(u32),
    /// Goes on here and, less gladly, there.
    Split(Label),
    /// The end.
    Match,
}

// === impl Program ===

impl Program {
    pub(super) fn step(&self, label: Label) -> Step {
        let end = Step {
            action: Action::Match,
            next: 0,
            join: NO_JOIN,
        };
        self.steps.get(label as usize).copied().unwrap_or(end)
    }

    /// Whether `action` takes `rune`.
    pub(super) fn takes(&self, action: Action, rune: u32) -> bool {
        match action {
            Action::Rune(wanted) => wanted == rune,
            Action::Pair(one, other) => one == rune || other == rune,
            Action::Class(number) => {
                let class = self.classes.get(number as usize);
                class.is_some_and(|class| class.contains(rune))
            }
            Action::Any => true,
            Action::AnyButNewline => rune != u32::from(b'\n'),
            Action::Look(_) | Action::Save(_) | Action::Split(_) | Action::Match => false,
        }
    }

    /// The next place from `position` on at which a match can begin; `None` if there is none.
    pub(super) fn candidate(&self, text: &[u8], position: usize) -> Option<usize> {
        let rest = text.get(position..)?;
        if self.is_anchored {
            return (position == 0).then_some(0);
        }
        // No place inside of a rune is found: of the bytes that are not ASCII all can begin a match, then the first of a rune
        // is met first, or none can.
        let ahead = match &self.first {
            First::Anything => 0,
            First::Byte(byte) => memchr::memchr(*byte, rest)?,
            First::Bytes(first) => rest.iter().position(|byte| first[usize::from(*byte)])?,
        };
        Some(position + ahead)
    }
}

/// The rune at `position` and its width; U+FFFD and 1 for a byte that is not UTF-8, `None` at the end.
#[inline]
pub(super) fn rune_at(text: &[u8], position: usize) -> Option<(u32, usize)> {
    let byte = *text.get(position)?;
    if byte.is_ascii() {
        return Some((u32::from(byte), 1));
    }
    let rune = unicode::first_rune(text.get(position..)?);
    rune.map(|(rune, width)| (u32::from(rune), width))
}

// === impl Look ===

impl Look {
    /// Whether it holds at `position`.
    pub(super) fn holds(self, text: &[u8], position: usize) -> bool {
        let before = position.checked_sub(1).and_then(|index| text.get(index));
        let after = text.get(position);
        let is_word = |byte: Option<&u8>| {
            byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        };
        match self {
            Self::TextStart => position == 0,
            Self::TextEnd => after.is_none(),
            Self::LineStart => before.is_none_or(|byte| *byte == b'\n'),
            Self::LineEnd => after.is_none_or(|byte| *byte == b'\n'),
            Self::WordBoundary => is_word(before) != is_word(after),
            Self::NoWordBoundary => is_word(before) == is_word(after),
        }
    }
}

//! A pattern's tree, in tables: nothing to drop recursively however deep it is.

use std::ops::Range;

use super::class::Class;

/// A node's number.
pub(super) type Id = usize;

/// A pattern's tree.
pub(super) struct Tree {
    nodes: Vec<Node>,
    children: Vec<Id>,
    pub(super) classes: Vec<Class>,
    /// The names of the groups, from the whole match on; empty for one without.
    pub(super) names: Vec<Vec<u8>>,
    pub(super) root: Id,
}

/// A node with what is known of everything below it.
struct Node {
    kind: Kind,
    /// Go's height of the tree from here: sequences in sequences and choices in choices count once.
    height: u32,
    /// How often counted repetitions copy what they copy most.
    copies: u32,
    can_be_empty: bool,
}

/// What a node matches.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Empty,
    /// One rune.
    Rune(u32),
    /// One rune of the class with this number.
    Class(usize),
    Any,
    AnyButNewline,
    Look(Look),
    /// A capturing group: its number from 1.
    Group(u32, Id),
    Repeat(Repeat),
    /// A range of the children.
    Sequence(Range<usize>),
    /// A range of the children, the preferred one first.
    Choice(Range<usize>),
}

/// A repetition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repeat {
    pub(super) inner: Id,
    pub(super) least: u32,
    /// `None` for any number.
    pub(super) most: Option<u32>,
    pub(super) is_greedy: bool,
    /// Whether it is written in braces.
    pub(super) is_counted: bool,
}

/// What is asked about a place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    TextStart,
    TextEnd,
    LineStart,
    LineEnd,
    /// Between an ASCII letter, digit or underscore and something else.
    WordBoundary,
    NoWordBoundary,
}

// === impl Tree ===

impl Tree {
    pub(super) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            children: Vec::new(),
            classes: Vec::new(),
            names: vec![Vec::new()],
            root: 0,
        }
    }

    pub(super) fn kind(&self, id: Id) -> &Kind {
        self.nodes.get(id).map_or(&Kind::Empty, |node| &node.kind)
    }

    /// The nodes of a sequence or choice.
    pub(super) fn children(&self, range: &Range<usize>) -> &[Id] {
        self.children.get(range.clone()).unwrap_or_default()
    }

    pub(super) fn can_be_empty(&self, id: Id) -> bool {
        self.nodes.get(id).is_none_or(|node| node.can_be_empty)
    }

    pub(super) fn height(&self, id: Id) -> u32 {
        self.nodes.get(id).map_or(0, |node| node.height)
    }

    pub(super) fn copies(&self, id: Id) -> u32 {
        self.nodes.get(id).map_or(1, |node| node.copies)
    }

    /// The node that was added last.
    pub(super) fn last(&self) -> Id {
        self.nodes.len().saturating_sub(1)
    }

    /// Adds a node.
    pub(super) fn add(&mut self, kind: Kind) -> Id {
        let node = Node {
            height: self.height_of(&kind),
            copies: self.copies_of(&kind),
            can_be_empty: self.is_nullable(&kind),
            kind,
        };
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Adds a sequence; one of a single node is that node.
    pub(super) fn add_sequence(&mut self, items: &[Id]) -> Id {
        self.add_all(items, Kind::Sequence)
    }

    /// Adds a choice; one of a single node is that node.
    pub(super) fn add_choice(&mut self, items: &[Id]) -> Id {
        self.add_all(items, Kind::Choice)
    }

    fn add_all(&mut self, items: &[Id], kind: fn(Range<usize>) -> Kind) -> Id {
        match items {
            [] => self.add(Kind::Empty),
            [only] => *only,
            items => {
                let start = self.children.len();
                self.children.extend_from_slice(items);
                self.add(kind(start..self.children.len()))
            }
        }
    }

    fn height_of(&self, kind: &Kind) -> u32 {
        let below = match kind {
            Kind::Group(_, inner) => self.height(*inner),
            Kind::Repeat(repeat) => self.height(repeat.inner),
            // Runes in a row are one literal there, runes side by side one class.
            Kind::Sequence(range) if self.are_all(range, |kind| matches!(kind, Kind::Rune(_))) => 0,
            Kind::Choice(range) if self.are_all(range, Kind::takes_one_rune) => 0,
            Kind::Sequence(range) | Kind::Choice(range) => {
                let heights = self.children(range).iter().map(|child| {
                    let is_same =
                        std::mem::discriminant(self.kind(*child)) == std::mem::discriminant(kind);
                    self.height(*child) - u32::from(is_same)
                });
                heights.max().unwrap_or(0)
            }
            _ => 0,
        };
        below.saturating_add(1)
    }

    fn are_all(&self, range: &Range<usize>, is_one: impl Fn(&Kind) -> bool) -> bool {
        let mut children = self.children(range).iter();
        children.all(|child| is_one(self.kind(*child)))
    }

    fn copies_of(&self, kind: &Kind) -> u32 {
        match kind {
            Kind::Group(_, inner) => self.copies(*inner),
            Kind::Repeat(repeat) if repeat.is_counted => match repeat.most {
                Some(0) => 1,
                most => most
                    .unwrap_or(repeat.least)
                    .max(1)
                    .saturating_mul(self.copies(repeat.inner)),
            },
            Kind::Repeat(repeat) => self.copies(repeat.inner),
            Kind::Sequence(range) | Kind::Choice(range) => {
                let children = self.children(range).iter();
                children.map(|child| self.copies(*child)).max().unwrap_or(1)
            }
            _ => 1,
        }
    }

    fn is_nullable(&self, kind: &Kind) -> bool {
        match kind {
            Kind::Empty | Kind::Look(_) => true,
            Kind::Group(_, inner) => self.can_be_empty(*inner),
            Kind::Repeat(repeat) => repeat.least == 0 || self.can_be_empty(repeat.inner),
            Kind::Sequence(range) => {
                let mut children = self.children(range).iter();
                children.all(|child| self.can_be_empty(*child))
            }
            Kind::Choice(range) => {
                let mut children = self.children(range).iter();
                children.any(|child| self.can_be_empty(*child))
            }
            _ => false,
        }
    }
}

// === impl Kind ===

impl Kind {
    fn takes_one_rune(&self) -> bool {
        matches!(
            self,
            Self::Rune(_) | Self::Class(_) | Self::Any | Self::AnyButNewline
        )
    }
}

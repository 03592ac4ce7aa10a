//! A tree becomes a program, from its end to its beginning: each node is made to lead to a step that is already there.

use super::class::Class;
use super::program::{Action, First, Label, NO_JOIN, Program, Step};
use super::tree::{Id, Kind, Look, Repeat, Tree};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::limits::Limit;

/// How many nodes are compiled for one unit of work.
const NODES_PER_UNIT: u32 = 16;

/// Compiles a tree, whose classes move to the program.
pub(super) fn compile(cx: &mut Context, tree: &mut Tree) -> Result<Program> {
    let classes = std::mem::take(&mut tree.classes);
    let class_bytes: usize = classes.iter().map(|class| class.0.len() * 8).sum();
    let mut compiler = Compiler {
        tree,
        classes,
        steps: vec![Step {
            action: Action::Match,
            next: 0,
            join: NO_JOIN,
        }],
        visits: 0,
        most: cx.limits().pattern.saturating_sub(class_bytes) / size_of::<Step>(),
    };
    let start = compiler.node(cx, compiler.tree.root, 0)?;
    let mut program = Program {
        steps: compiler.steps,
        classes: compiler.classes,
        start,
        joins: 0,
        is_anchored: false,
        first: First::Anything,
    };
    cx.allocate(program.steps.len() * size_of::<Step>())?;
    program.joins = number_joins(&mut program);
    program.is_anchored = is_anchored(&program);
    program.first = first_bytes(&program);
    Ok(program)
}

struct Compiler<'t> {
    tree: &'t Tree,
    classes: Vec<Class>,
    steps: Vec<Step>,
    /// Nodes that were compiled and are not paid for.
    visits: u32,
    /// How many steps there may be.
    most: usize,
}

// === impl Compiler ===

impl Compiler<'_> {
    fn emit(&mut self, action: Action, next: Label) -> Result<Label> {
        if self.steps.len() >= self.most {
            return Err(Failure::limit(Limit::Pattern));
        }
        self.steps.push(Step {
            action,
            next,
            join: NO_JOIN,
        });
        Ok((self.steps.len() - 1) as Label)
    }

    /// A node that leads to `next`; gives where it begins.
    fn node(&mut self, cx: &mut Context, id: Id, next: Label) -> Result<Label> {
        self.visits += 1;
        if self.visits == NODES_PER_UNIT {
            self.visits = 0;
            cx.work(1)?;
        }
        let tree = self.tree;
        match tree.kind(id) {
            Kind::Empty => Ok(next),
            Kind::Rune(rune) => self.emit(Action::Rune(*rune), next),
            Kind::Class(number) => {
                let action = self.class(*number);
                self.emit(action, next)
            }
            Kind::Any => self.emit(Action::Any, next),
            Kind::AnyButNewline => self.emit(Action::AnyButNewline, next),
            Kind::Look(look) => self.emit(Action::Look(*look), next),
            Kind::Group(number, inner) => {
                let end = self.emit(Action::Save(2 * number + 1), next)?;
                let inner = cx.nested(|cx| self.node(cx, *inner, end))?;
                self.emit(Action::Save(2 * number), inner)
            }
            Kind::Repeat(repeat) => cx.nested(|cx| self.repeat(cx, *repeat, next)),
            Kind::Sequence(range) => {
                let children = tree.children(range).iter().rev();
                cx.nested(|cx| {
                    children
                        .copied()
                        .try_fold(next, |next, child| self.node(cx, child, next))
                })
            }
            Kind::Choice(range) => cx.nested(|cx| self.choice(cx, tree.children(range), next)),
        }
    }

    /// A class of two runes, such as a letter in both cases, is simpler than others.
    fn class(&self, number: usize) -> Action {
        let class = self.classes.get(number).map_or(&[][..], |class| &*class.0);
        match *class {
            [(one, end), (other, other_end)] if one == end && other == other_end => {
                Action::Pair(one, other)
            }
            _ => Action::Class(number as u32),
        }
    }

    fn choice(&mut self, cx: &mut Context, children: &[Id], next: Label) -> Result<Label> {
        let mut children = children.iter().rev().copied();
        let Some(last) = children.next() else {
            return Ok(next);
        };
        let mut rest = self.node(cx, last, next)?;
        for child in children {
            let first = self.node(cx, child, next)?;
            rest = self.emit(Action::Split(rest), first)?;
        }
        Ok(rest)
    }

    fn repeat(&mut self, cx: &mut Context, repeat: Repeat, next: Label) -> Result<Label> {
        let (mut entry, copies) = match repeat.most {
            None if repeat.least == 0 => (self.any_number(cx, repeat, next)?, 0),
            None => (self.some_number(cx, repeat, next)?, repeat.least - 1),
            Some(most) => {
                let mut entry = next;
                for _ in repeat.least..most {
                    entry = self.node(cx, repeat.inner, entry)?;
                    entry = self.split(repeat.is_greedy, entry, next)?;
                }
                (entry, repeat.least)
            }
        };
        for _ in 0..copies {
            entry = self.node(cx, repeat.inner, entry)?;
        }
        Ok(entry)
    }

    /// `x*`
    fn any_number(&mut self, cx: &mut Context, repeat: Repeat, next: Label) -> Result<Label> {
        if self.tree.can_be_empty(repeat.inner) {
            // As `(x+)?`, which keeps the order of preference where x is empty.
            let some = self.some_number(cx, repeat, next)?;
            return self.split(repeat.is_greedy, some, next);
        }
        let split = self.split(repeat.is_greedy, 0, next)?;
        let inner = self.node(cx, repeat.inner, split)?;
        self.lead(split, repeat.is_greedy, inner);
        Ok(split)
    }

    /// `x+`
    fn some_number(&mut self, cx: &mut Context, repeat: Repeat, next: Label) -> Result<Label> {
        let split = self.split(repeat.is_greedy, 0, next)?;
        let inner = self.node(cx, repeat.inner, split)?;
        self.lead(split, repeat.is_greedy, inner);
        Ok(inner)
    }

    /// A choice between `more` and `next`, the former preferred if greedy.
    fn split(&mut self, is_greedy: bool, more: Label, next: Label) -> Result<Label> {
        if is_greedy {
            self.emit(Action::Split(next), more)
        } else {
            self.emit(Action::Split(more), next)
        }
    }

    /// Sets the place for more of a choice that was made before that was there.
    fn lead(&mut self, split: Label, is_greedy: bool, more: Label) {
        if let Some(step) = self.steps.get_mut(split as usize) {
            if is_greedy {
                step.next = more;
            } else {
                step.action = Action::Split(more);
            }
        }
    }
}

/// Numbers the steps that more than one other leads to; gives how many there are.
fn number_joins(program: &mut Program) -> usize {
    const ONE: u32 = u32::MAX - 1;
    let mut count = 0;
    let mut lead_to = |steps: &mut [Step], label: Label| {
        let Some(step) = steps.get_mut(label as usize) else {
            return;
        };
        match step.join {
            NO_JOIN => step.join = ONE,
            ONE => {
                step.join = count;
                count += 1;
            }
            _ => {}
        }
    };
    lead_to(&mut program.steps, program.start);
    for index in 0..program.steps.len() {
        let Some(step) = program.steps.get(index).copied() else {
            break;
        };
        match step.action {
            Action::Match => continue,
            Action::Split(other) => lead_to(&mut program.steps, other),
            _ => {}
        }
        lead_to(&mut program.steps, step.next);
    }
    for step in &mut program.steps {
        if step.join == ONE {
            step.join = NO_JOIN;
        }
    }
    count as usize
}

/// Whether all that a program can do first is to look for the start of the text.
fn is_anchored(program: &Program) -> bool {
    let mut label = program.start;
    loop {
        let step = program.step(label);
        match step.action {
            Action::Look(Look::TextStart) => return true,
            Action::Look(_) | Action::Save(_) => label = step.next,
            _ => return false,
        }
    }
}

/// The bytes that a match can begin with.
fn first_bytes(program: &Program) -> First {
    let mut first = Box::new([false; 256]);
    let mut seen = vec![false; program.steps.len()];
    let mut labels = vec![program.start];
    while let Some(label) = labels.pop() {
        match seen.get_mut(label as usize) {
            Some(seen) if !*seen => *seen = true,
            _ => continue,
        }
        let step = program.step(label);
        match step.action {
            Action::Match | Action::Any | Action::AnyButNewline => return First::Anything,
            Action::Look(_) | Action::Save(_) => labels.push(step.next),
            Action::Split(other) => labels.extend([step.next, other]),
            Action::Rune(rune) => mark(&mut first, rune, rune),
            Action::Pair(one, other) => {
                mark(&mut first, one, one);
                mark(&mut first, other, other);
            }
            Action::Class(number) => {
                let class = program.classes.get(number as usize);
                let ranges = class.map_or(&[][..], |class| &*class.0);
                for (low, high) in ranges {
                    mark(&mut first, *low, *high);
                }
            }
        }
    }
    let mut set = (0..=u8::MAX).filter(|byte| first[usize::from(*byte)]);
    match (set.next(), set.next()) {
        (Some(only), None) => First::Byte(only),
        _ => First::Bytes(first),
    }
}

/// Notes the first bytes of runes in a range. Those beyond ASCII are not told apart.
fn mark(first: &mut [bool; 256], low: u32, high: u32) {
    const ASCII: u32 = 0x80;
    for byte in low..(high + 1).min(ASCII) {
        first[byte as usize] = true;
    }
    if high >= ASCII {
        first[ASCII as usize..].fill(true);
    }
}

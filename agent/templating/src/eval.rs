//! Runs a tree over data: Go's `text/template/exec.go`.
//!
//! ```text
//! walk       statements: text, actions, branches, loops, template calls
//! pipeline   commands and words of a pipeline, fields
//! call       arguments checked against parameters; functions and methods
//! builtins   what Go itself brings; comparison in `compare`
//! place      where an error happened, in Go's words
//! ```

mod builtins;
mod call;
mod compare;
mod fields;
mod pipeline;
mod place;
mod walk;

use latchkey_secret::SecretValue;

use crate::buffer::Buffer;
use crate::context::Context;
use crate::error::RenderError;
use crate::failure::{Failure, Result};
use crate::limits::{Limit, Usage};
use crate::syntax::ast::{Forest, Span};
use crate::template::{MissingKey, Options};
use crate::value::Value;

use self::place::Node;
use self::walk::Flow;

/// Go's bound on templates that call templates. Ours is [`crate::Limits::nesting`]; the text keeps Go's number, because what reaches the
/// one without an end reaches the other.
const TEMPLATE_DEPTH: u32 = 100_000;
/// How many times [`crate::Limits::nesting`] blocks and parentheses may lie in each other over all templates that are being run.
const BLOCKS_PER_NESTING: u32 = 4;
/// Variables that may be looked at for one step.
const VARIABLES_PER_STEP: u64 = 16;
/// Stack that must be left before a nested step, in bytes.
const RED_ZONE: usize = 128 << 10;
/// Stack that is added when less is left, in bytes.
const STACK: usize = 1 << 20;

/// A value, and whether Go would still see it through an empty interface.
///
/// An entry of a dict and an element of a list have the static type `interface {}` until they pass through a pipeline. It shows
/// in error texts, and a nil in there is another nil than none at all.
#[derive(Clone)]
struct Operand {
    value: Value,
    boxed: bool,
}

/// A render in progress.
struct Evaluator<'t> {
    cx: Context,
    forest: &'t Forest,
    missing_key: MissingKey,
    /// The template that is being run.
    template: &'t [u8],
    /// The node last touched, for errors.
    node: Node<'t>,
    variables: Vec<(&'t [u8], Operand)>,
    /// Where the variables of the template that is being run start.
    first_variable: usize,
    /// Arguments of the calls that are being prepared, innermost last.
    arguments: Vec<Value>,
    template_depth: u32,
    depth: u32,
    out: Buffer,
}

/// Renders the template that bears the name of `forest` with `root` as its dot, and tells what that took.
pub(crate) fn render(
    forest: &Forest,
    root: Value,
    options: &Options,
) -> Result<(SecretValue, Usage), RenderError> {
    let mut evaluator = Evaluator {
        cx: Context::new(options.limits, options.now, options.zone.clone()),
        forest,
        missing_key: options.missing_key,
        template: forest.name.as_bytes(),
        node: Node::None,
        variables: Vec::new(),
        first_variable: 0,
        arguments: Vec::new(),
        template_depth: 0,
        depth: 0,
        out: Buffer::with_capacity(forest.text.bytes().len()),
    };
    match evaluator.run(root) {
        Ok(_) => {
            let usage = evaluator.cx.usage();
            Ok((SecretValue::new(evaluator.out.into_vec()), usage))
        }
        Err(failure) => Err(evaluator.place(&forest.name, &failure)),
    }
}

// === impl Operand ===

impl Operand {
    /// A value whose own type Go sees.
    fn plain(value: Value) -> Self {
        Self {
            value,
            boxed: false,
        }
    }

    /// A value in an empty interface.
    fn boxed(value: Value) -> Self {
        Self { value, boxed: true }
    }

    /// The same value, taken out of its interface.
    fn unboxed(self) -> Self {
        Self::plain(self.value)
    }

    fn is_nil(&self) -> bool {
        matches!(self.value, Value::Nil)
    }

    /// The type as Go sees it.
    fn type_name(&self) -> &'static str {
        if self.boxed {
            return "interface {}";
        }
        self.value.type_name()
    }
}

// === impl Evaluator ===

impl<'t> Evaluator<'t> {
    fn run(&mut self, root: Value) -> Result<Flow> {
        let dot = Operand::plain(root);
        self.variables.push((b"$", dot.clone()));
        self.walk(&dot, &self.forest.own)
    }

    /// The template's text.
    fn text(&self) -> &'t [u8] {
        self.forest.text.bytes()
    }

    /// Marks `node` as the one touched last and pays for its step.
    fn at(&mut self, node: Node<'t>) -> Result<()> {
        self.node = node;
        self.cx.work(1)
    }

    /// Runs `step` one level deeper, on more stack if need be.
    fn nested<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let most = self.cx.limits().nesting.saturating_mul(BLOCKS_PER_NESTING);
        if self.depth >= most {
            return Err(Failure::limit(Limit::Nesting));
        }
        self.depth += 1;
        let result = stacker::maybe_grow(RED_ZONE, STACK, || step(self));
        self.depth -= 1;
        result
    }

    /// Appends to the output.
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.cx.work(bytes.len() as u64 / 64)?;
        let length = (self.out.len() as u64).saturating_add(bytes.len() as u64);
        if length > self.cx.limits().output {
            return Err(Failure::limit(Limit::Output));
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether what was written directly was too much; it has paid for its memory.
    fn check_output(&self) -> Result<()> {
        if self.out.len() as u64 > self.cx.limits().output {
            return Err(Failure::limit(Limit::Output));
        }
        Ok(())
    }

    fn declare(&mut self, name: Span, operand: Operand) {
        self.variables.push((name.of(self.text()), operand));
    }

    /// Sets the variable of that name declared last.
    fn assign(&mut self, name: Span, operand: Operand) -> Result<()> {
        let index = self.find_variable(name)?;
        if let Some(slot) = self.variables.get_mut(index) {
            slot.1 = operand;
        }
        Ok(())
    }

    fn variable(&mut self, name: Span) -> Result<Operand> {
        let index = self.find_variable(name)?;
        let slot = self.variables.get(index);
        Ok(slot.map_or_else(|| Operand::plain(Value::Nil), |slot| slot.1.clone()))
    }

    fn find_variable(&mut self, name: Span) -> Result<usize> {
        let name = name.of(self.text());
        let own = self.variables.get(self.first_variable..).unwrap_or(&[]);
        let found = own.iter().rposition(|(known, _)| *known == name);
        let looked_at = own.len() - found.unwrap_or(0);
        self.cx.work(looked_at as u64 / VARIABLES_PER_STEP)?;
        found
            .map(|index| self.first_variable + index)
            .ok_or_else(|| {
                let name = String::from_utf8_lossy(name);
                Failure::plain(format!("undefined variable: {name}"))
            })
    }
}

#[cfg(test)]
mod tests;

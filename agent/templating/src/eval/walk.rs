//! Statements.

use super::place::{Node, quoted};
use super::{Evaluator, Operand, TEMPLATE_DEPTH};
use crate::failure::{Failure, Result};
use crate::format;
use crate::limits::Limit;
use crate::syntax::ast::{Block, Branch, Pipeline, Statement};
use crate::value::{Text, Value};

/// How a block ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// At its end.
    Next,
    /// At a `break` of the loop around it.
    Break,
    /// At a `continue` of the loop around it.
    Continue,
}

/// What tells `if` from `with`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keyword {
    If,
    With,
}

// === impl Evaluator ===

impl<'t> Evaluator<'t> {
    pub(super) fn walk(&mut self, dot: &Operand, block: &'t Block) -> Result<Flow> {
        for statement in &block.0 {
            let flow = self.walk_statement(dot, statement)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn walk_statement(&mut self, dot: &Operand, statement: &'t Statement) -> Result<Flow> {
        self.at(Node::Statement(statement))?;
        match statement {
            Statement::Text(span) => self.write(span.of(self.text()))?,
            Statement::Action(pipeline) => {
                let operand = self.pipeline(dot, pipeline)?;
                if pipeline.variables.as_slice().is_empty() {
                    self.node = Node::Statement(statement);
                    self.print(&operand.value)?;
                }
            }
            Statement::If(branch) => {
                return self.nested(|this| this.walk_branch(Keyword::If, dot, branch));
            }
            Statement::With(branch) => {
                return self.nested(|this| this.walk_branch(Keyword::With, dot, branch));
            }
            Statement::Range(branch) => {
                return self.nested(|this| this.walk_range(dot, branch));
            }
            Statement::Template(call) => {
                self.nested(|this| this.walk_template(dot, &call.name, call.argument.as_ref()))?;
            }
            Statement::Break(_) => return Ok(Flow::Break),
            Statement::Continue(_) => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    /// Appends the value at the end of an action.
    fn print(&mut self, value: &Value) -> Result<()> {
        match value {
            Value::Text(text) => self.write(text.bytes()),
            Value::Nil => self.write(b"<no value>"),
            Value::Bool(true) => self.write(b"true"),
            Value::Bool(false) => self.write(b"false"),
            other => {
                format::display(&mut self.cx, other, self.out.as_vec_mut())?;
                self.check_output()
            }
        }
    }

    /// `if` or `with`. A chain of `else if` is walked in a loop, since it may be long.
    fn walk_branch(&mut self, keyword: Keyword, dot: &Operand, branch: &'t Branch) -> Result<Flow> {
        let mark = self.variables.len();
        let mut branch = branch;
        let flow = loop {
            let condition = self.pipeline(dot, &branch.pipeline)?;
            if condition.value.is_true() {
                let dot = match keyword {
                    Keyword::If => dot,
                    Keyword::With => &condition,
                };
                break self.walk(dot, &branch.then)?;
            }
            let Some(otherwise) = &branch.otherwise else {
                break Flow::Next;
            };
            match (keyword, &*otherwise.0) {
                (Keyword::If, [statement @ Statement::If(next)])
                | (Keyword::With, [statement @ Statement::With(next)]) => {
                    self.at(Node::Statement(statement))?;
                    branch = next;
                }
                _ => break self.walk(dot, otherwise)?,
            }
        };
        self.variables.truncate(mark);
        Ok(flow)
    }

    fn walk_template(
        &mut self,
        dot: &Operand,
        name: &'t [u8],
        argument: Option<&'t Pipeline>,
    ) -> Result<()> {
        let Some(block) = self.forest.find(name) else {
            let text = format!("template {} not defined", quoted(name));
            return Err(Failure::plain(text));
        };
        if self.template_depth >= self.cx.limits().nesting {
            let text = format!("exceeded maximum template depth ({TEMPLATE_DEPTH})");
            return Err(Failure::limit_in_words(Limit::Nesting, text));
        }
        let argument = match argument {
            Some(pipeline) => self.pipeline(dot, pipeline)?,
            None => Operand::plain(Value::Nil),
        };
        let caller = (self.template, self.first_variable);
        let mark = self.variables.len();
        self.template = name;
        self.first_variable = mark;
        self.template_depth += 1;
        self.variables.push((b"$", argument.clone()));
        self.walk(&argument, block)?;
        self.variables.truncate(mark);
        self.template_depth -= 1;
        (self.template, self.first_variable) = caller;
        Ok(())
    }

    fn walk_range(&mut self, dot: &Operand, branch: &'t Branch) -> Result<Flow> {
        let mark = self.variables.len();
        let subject = self.pipeline(dot, &branch.pipeline)?;
        let mut turns = Turns {
            branch,
            mark: self.variables.len(),
            count: 0,
        };
        self.turn_over(&mut turns, &subject.value)?;
        let flow = match (&branch.otherwise, turns.count) {
            // A `break` in here belongs to a loop around this one, but Go ends only this one.
            (Some(otherwise), 0) => match self.walk(dot, otherwise)? {
                Flow::Break => Flow::Next,
                flow => flow,
            },
            _ => Flow::Next,
        };
        self.variables.truncate(mark);
        Ok(flow)
    }

    fn turn_over(&mut self, turns: &mut Turns<'t>, subject: &Value) -> Result<()> {
        match subject {
            Value::Nil => Ok(()),
            Value::Int(end) => self.turn_to(turns, *end, Value::Int),
            Value::Int64(end) => self.turn_to(turns, *end, Value::Int64),
            Value::Duration(end) => self.turn_to(turns, *end, Value::Duration),
            Value::Uint8(end) => {
                self.turn_to(turns, i64::from(*end), |number| Value::Uint8(number as u8))
            }
            Value::Month(end) => {
                self.turn_to(turns, i64::from(*end), |number| Value::Month(number as u8))
            }
            Value::Weekday(end) => self.turn_to(turns, i64::from(*end), |number| {
                Value::Weekday(number as u8)
            }),
            Value::Uint64(end) => {
                self.turn_to(turns, i64::try_from(*end).unwrap_or(i64::MAX), |number| {
                    Value::Uint64(number as u64)
                })
            }
            Value::List(list) => {
                let boxed = list.element() == crate::value::Element::Any;
                for (index, value) in list.values().iter().enumerate() {
                    let element = Operand {
                        value: value.clone(),
                        boxed,
                    };
                    let index = i64::try_from(index).unwrap_or(i64::MAX);
                    if self.turn(turns, Value::Int(index), element)? == Flow::Break {
                        break;
                    }
                }
                Ok(())
            }
            Value::Dict(dict) => {
                self.cx
                    .allocate(dict.len().saturating_mul(size_of::<Value>()))?;
                for (key, value) in dict.entries() {
                    if self.turn(turns, Value::Text(key), Operand::boxed(value))? == Flow::Break {
                        break;
                    }
                }
                Ok(())
            }
            Value::StringMap(map) => {
                for (key, value) in map.entries() {
                    let value = Operand::plain(Value::Text(value.clone()));
                    if self.turn(turns, Value::Text(key.clone()), value)? == Flow::Break {
                        break;
                    }
                }
                Ok(())
            }
            other => Err(self.displayed("range can't iterate over ", other, "")),
        }
    }

    /// The numbers from 0 up to `end`, exclusive.
    fn turn_to(
        &mut self,
        turns: &mut Turns<'t>,
        end: i64,
        make: impl Fn(i64) -> Value,
    ) -> Result<()> {
        if turns.branch.pipeline.variables.as_slice().len() > 1 {
            let end = make(end);
            return Err(self.displayed(
                "can't use ",
                &end,
                " to iterate over more than one variable",
            ));
        }
        for number in 0..end.max(0) {
            let number = Operand::plain(make(number));
            if self.turn(turns, Value::Nil, number)? == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    /// The body of a loop, once.
    fn turn(&mut self, turns: &mut Turns<'t>, index: Value, element: Operand) -> Result<Flow> {
        self.cx.work(1)?;
        turns.count += 1;
        let branch = turns.branch;
        let index = Operand::plain(index);
        match (
            branch.pipeline.variables.as_slice(),
            branch.pipeline.is_assignment,
        ) {
            ([], _) => {}
            ([one], true) => self.assign(*one, element.clone())?,
            ([one, two, ..], true) => {
                self.assign(*one, index)?;
                self.assign(*two, element.clone())?;
            }
            ([_], false) => self.set_top_variable(turns.mark, 1, element.clone()),
            ([..], false) => {
                self.set_top_variable(turns.mark, 1, element.clone());
                self.set_top_variable(turns.mark, 2, index);
            }
        }
        let flow = self.walk(&element, &branch.then)?;
        self.variables.truncate(turns.mark);
        Ok(flow)
    }

    /// Sets the variable that lies `down` below the mark.
    fn set_top_variable(&mut self, mark: usize, down: usize, operand: Operand) {
        if let Some(slot) = self.variables.get_mut(mark.wrapping_sub(down)) {
            slot.1 = operand;
        }
    }

    /// A failure that shows a value.
    pub(super) fn displayed(&mut self, before: &str, value: &Value, after: &str) -> Failure {
        let mut text = zeroize::Zeroizing::new(Vec::new());
        if let Err(failure) = format::display(&mut self.cx, value, &mut text) {
            return failure;
        }
        let text = Text::new(std::mem::take(&mut *text));
        let shown = text.to_lossy();
        Failure::showing_data(format!("{before}{shown}{after}"))
    }
}

/// A loop that is being run.
struct Turns<'t> {
    branch: &'t Branch,
    /// The number of variables when a turn starts.
    mark: usize,
    count: u64,
}

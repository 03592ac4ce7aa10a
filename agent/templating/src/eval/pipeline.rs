//! Pipelines, commands and words.

use super::call::Written;
use super::place::Node;
use super::{Evaluator, Operand};
use crate::failure::{Failure, Result};
use crate::syntax::Shown;
use crate::syntax::ast::{Command, Expression, Number, Pipeline};
use crate::value::Value;

// === impl Evaluator ===

impl<'t> Evaluator<'t> {
    /// The value of a pipeline. Variables it declares stay; whoever opened the block drops them.
    pub(super) fn pipeline(&mut self, dot: &Operand, pipeline: &'t Pipeline) -> Result<Operand> {
        self.at(Node::Pipeline(pipeline))?;
        let mut last: Option<Operand> = None;
        for command in &pipeline.commands {
            let operand = self.command(dot, command, last)?;
            last = Some(operand.unboxed());
        }
        let value = last.unwrap_or_else(|| Operand::plain(Value::Nil));
        for name in pipeline.variables.as_slice() {
            if pipeline.is_assignment {
                self.assign(*name, value.clone())?;
            } else {
                self.declare(*name, value.clone());
            }
        }
        Ok(value)
    }

    /// One stage; `last` is the value of the stage before.
    fn command(
        &mut self,
        dot: &Operand,
        command: &'t Command,
        last: Option<Operand>,
    ) -> Result<Operand> {
        let Some((first, arguments)) = command.words.split_first() else {
            return Ok(Operand::plain(Value::Nil));
        };
        match first {
            Expression::Function(_, function) => {
                self.at(Node::Expression(first))?;
                self.call(dot, function, Node::Command(command), arguments, last)
            }
            Expression::Builtin(_, builtin) => {
                self.at(Node::Expression(first))?;
                let (words, node) = (arguments, Node::Command(command));
                let value = self.call_builtin(dot, *builtin, node, Written { words, last })?;
                Ok(Operand::plain(value))
            }
            Expression::Field(_, names) => {
                self.at(Node::Expression(first))?;
                self.field_chain(dot, dot, first, *names, arguments, last)
            }
            Expression::Variable(..) => self.variable_word(dot, first, arguments, last),
            Expression::Chain(..) => self.chain(dot, first, arguments, last),
            Expression::Pipeline(_, pipeline) => {
                self.is_no_call(first, arguments, last.as_ref())?;
                self.nested(|this| this.pipeline(dot, pipeline))
            }
            literal => {
                self.at(Node::Expression(literal))?;
                self.is_no_call(first, arguments, last.as_ref())?;
                self.constant(dot, literal)
            }
        }
    }

    /// A word that stands for itself, with the type that its own syntax gives it.
    pub(super) fn constant(&mut self, dot: &Operand, word: &'t Expression) -> Result<Operand> {
        Ok(Operand::plain(match word {
            Expression::Dot(_) => return Ok(dot.clone()),
            Expression::Bool(_, value) => Value::Bool(*value),
            Expression::Number(_, span, number) => number_value(number, span.name(self.text()))?,
            word => match word.string(&self.forest.text) {
                Some(text) => Value::Text(text),
                None => return Err(Failure::plain("nil is not a command")),
            },
        }))
    }

    /// `$x` and `$x.a.b`.
    pub(super) fn variable_word(
        &mut self,
        dot: &Operand,
        word: &'t Expression,
        arguments: &'t [Expression],
        last: Option<Operand>,
    ) -> Result<Operand> {
        self.at(Node::Expression(word))?;
        let Expression::Variable(_, name, fields) = word else {
            return Ok(Operand::plain(Value::Nil));
        };
        let value = self.variable(*name)?;
        if fields.is_empty() {
            self.is_no_call(word, arguments, last.as_ref())?;
            return Ok(value);
        }
        self.field_chain(dot, &value, word, *fields, arguments, last)
    }

    /// `(pipeline).a.b` and `f.a`.
    pub(super) fn chain(
        &mut self,
        dot: &Operand,
        word: &'t Expression,
        arguments: &'t [Expression],
        last: Option<Operand>,
    ) -> Result<Operand> {
        self.at(Node::Expression(word))?;
        let Expression::Chain(_, root, fields) = word else {
            return Ok(Operand::plain(Value::Nil));
        };
        let root = self.word(dot, root)?;
        self.field_chain(dot, &root, word, *fields, arguments, last)
    }

    /// The value of a word among arguments, before its type is looked at.
    pub(super) fn word(&mut self, dot: &Operand, word: &'t Expression) -> Result<Operand> {
        match word {
            Expression::Pipeline(_, pipeline) => {
                self.node = Node::Expression(word);
                self.nested(|this| this.pipeline(dot, pipeline))
            }
            Expression::Function(_, function) => {
                let node = Node::Expression(word);
                self.at(node)?;
                self.call(dot, function, node, &[], None)
            }
            Expression::Builtin(_, builtin) => {
                let node = Node::Expression(word);
                self.at(node)?;
                let (words, last) = (&[], None);
                let value = self.call_builtin(dot, *builtin, node, Written { words, last })?;
                Ok(Operand::plain(value))
            }
            Expression::Field(_, names) => {
                self.at(Node::Expression(word))?;
                self.field_chain(dot, dot, word, *names, &[], None)
            }
            Expression::Variable(..) => self.variable_word(dot, word, &[], None),
            Expression::Chain(..) => self.nested(|this| this.chain(dot, word, &[], None)),
            literal => {
                self.at(Node::Expression(literal))?;
                self.constant(dot, literal)
            }
        }
    }

    /// Refuses arguments for a word that takes none.
    fn is_no_call(
        &self,
        word: &Expression,
        arguments: &[Expression],
        last: Option<&Operand>,
    ) -> Result<()> {
        if arguments.is_empty() && last.is_none() {
            return Ok(());
        }
        let word = Shown(word, self.text());
        Err(Failure::plain(format!(
            "can't give argument to non-function {word}"
        )))
    }
}

/// The value of a number where nothing but its syntax tells the type.
fn number_value(number: &Number, source: &str) -> Result<Value> {
    if number.is_complex {
        return Ok(Value::Complex(number.complex.0, number.complex.1));
    }
    match (number.float, number.int) {
        (Some(float), _) if is_written_as_float(number, source) => Ok(Value::Float(float)),
        (_, Some(int)) => Ok(Value::Int(int)),
        _ => Err(Failure::plain(format!("{source} overflows int"))),
    }
}

fn is_written_as_float(number: &Number, source: &str) -> bool {
    let bytes = source.as_bytes();
    let has = |wanted: &[u8]| bytes.iter().any(|byte| wanted.contains(byte));
    let is_hexadecimal = bytes.len() > 2 && (bytes.starts_with(b"0x") || bytes.starts_with(b"0X"));
    let is_hexadecimal_int = is_hexadecimal && !has(b"pP");
    !number.is_character && !is_hexadecimal_int && has(b".eEpP")
}

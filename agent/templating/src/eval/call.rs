//! Calls: arguments checked and converted as Go does by reflection.

use super::place::Node;
use super::{Evaluator, Operand};
use crate::failure::{Failure, Kind, Result};
use crate::functions::{Function, Parameter, cost};
use crate::methods::Method;
use crate::syntax::Shown;
use crate::syntax::ast::{Expression, Number};
use crate::value::{Dict, Element, List, Text, Value};

/// What a callable takes.
#[derive(Clone, Copy)]
pub(super) struct Signature {
    pub(super) name: &'static str,
    pub(super) fixed: &'static [Parameter],
    pub(super) variadic: Option<Parameter>,
}

/// The arguments of a call as they stand in the template.
pub(super) struct Written<'t> {
    pub(super) words: &'t [Expression],
    /// The value that the pipeline adds.
    pub(super) last: Option<Operand>,
}

// === impl Evaluator ===

impl<'t> Evaluator<'t> {
    /// A call of the function table. `node` is what a failed call points at.
    pub(super) fn call(
        &mut self,
        dot: &Operand,
        function: &'static Function,
        node: Node<'t>,
        words: &'t [Expression],
        last: Option<Operand>,
    ) -> Result<Operand> {
        let signature = Signature {
            name: function.name,
            fixed: function.parameters,
            variadic: function.variadic,
        };
        let start = self.push_arguments(dot, signature, Written { words, last })?;
        let arguments = self.arguments.get(start..).unwrap_or_default();
        let bytes = arguments.iter().map(bytes_of).sum();
        let looking = cost::of_looking_at(bytes, function);
        let result = self
            .cx
            .work(looking)
            .and_then(|()| (function.call)(&mut self.cx, arguments));
        let value = self.finish(start, function.name, node, result)?;
        Ok(Operand {
            value,
            boxed: function.result == "any",
        })
    }

    pub(super) fn call_method(
        &mut self,
        dot: &Operand,
        receiver: &Value,
        method: &'static Method,
        node: Node<'t>,
        words: &'t [Expression],
        last: Option<Operand>,
    ) -> Result<Operand> {
        let signature = Signature {
            name: method.name,
            fixed: method.parameters,
            variadic: None,
        };
        let start = self.push_arguments(dot, signature, Written { words, last })?;
        let arguments = self.arguments.get(start..).unwrap_or_default();
        let result = (method.call)(&mut self.cx, receiver, arguments);
        self.finish(start, method.name, node, result)
            .map(Operand::plain)
    }

    /// Takes the arguments off and says whose failure it is.
    pub(super) fn finish(
        &mut self,
        start: usize,
        name: &str,
        node: Node<'t>,
        result: Result<Value>,
    ) -> Result<Value> {
        self.arguments.truncate(start);
        result.map_err(|failure| {
            self.node = node;
            let text = || format!("error calling {name}: {}", failure.text());
            match failure.kind() {
                Kind::Plain => Failure::plain(text()),
                Kind::ShowsData => Failure::showing_data(text()),
                Kind::Limit(_) => failure,
            }
        })
    }

    /// Evaluates the arguments onto the stack of arguments, each of its parameter's type; returns where they start.
    pub(super) fn push_arguments(
        &mut self,
        dot: &Operand,
        signature: Signature,
        written: Written<'t>,
    ) -> Result<usize> {
        check_count(signature, &written)?;
        let start = self.arguments.len();
        let mut parameters = signature.fixed.iter().copied();
        for word in written.words {
            let parameter = parameters.next().or(signature.variadic);
            let operand = self.argument(dot, parameter.unwrap_or(Parameter::Any), word)?;
            self.arguments.push(operand.value);
        }
        if let Some(last) = written.last {
            let parameter = parameters.next().or(signature.variadic);
            let operand = fit(last, parameter.unwrap_or(Parameter::Any))?;
            self.arguments.push(operand.value);
        }
        Ok(start)
    }

    /// One argument as its parameter wants it.
    pub(super) fn argument(
        &mut self,
        dot: &Operand,
        parameter: Parameter,
        word: &'t Expression,
    ) -> Result<Operand> {
        match word {
            Expression::Nil(_) => {
                self.at(Node::Expression(word))?;
                let Some(zero) = zero_of(parameter) else {
                    let type_name = parameter.type_name();
                    return Err(Failure::plain(format!("cannot assign nil to {type_name}")));
                };
                Ok(Operand::plain(zero))
            }
            Expression::Bool(..)
            | Expression::Plain(..)
            | Expression::Escaped(..)
            | Expression::Number(..)
                if parameter != Parameter::Any =>
            {
                self.at(Node::Expression(word))?;
                literal(parameter, word, &self.forest.text).map(Operand::plain)
            }
            word => {
                let operand = self.word(dot, word)?;
                fit(operand, parameter)
            }
        }
    }
}

/// Refuses too few or too many arguments, in Go's words.
pub(super) fn check_count(signature: Signature, written: &Written<'_>) -> Result<()> {
    let given = written.words.len();
    let count = given + usize::from(written.last.is_some());
    let wanted = signature.fixed.len();
    let name = signature.name;
    if signature.variadic.is_some() {
        if count < wanted {
            return Err(Failure::plain(format!(
                "wrong number of args for {name}: want at least {wanted} got {given}"
            )));
        }
    } else if count != wanted {
        return Err(Failure::plain(format!(
            "wrong number of args for {name}: want {wanted} got {count}"
        )));
    }
    Ok(())
}

fn bytes_of(value: &Value) -> u64 {
    value.as_bytes().map_or(0, |bytes| bytes.len() as u64)
}

/// The nil of a parameter's type, if it has one.
fn zero_of(parameter: Parameter) -> Option<Value> {
    match parameter {
        Parameter::Any => Some(Value::Nil),
        Parameter::List => Some(Value::List(List::nil(Element::Any))),
        Parameter::Dict => Some(Value::Dict(Dict::nil())),
        Parameter::Version => Some(Value::Version(None)),
        Parameter::Location => Some(Value::Nil),
        Parameter::Bytes => Some(Value::List(List::nil(Element::Byte))),
        Parameter::Text
        | Parameter::Int
        | Parameter::Uint32
        | Parameter::Float
        | Parameter::Bool
        | Parameter::Time
        | Parameter::Duration
        | Parameter::Certificate
        | Parameter::HashAlgorithm => None,
    }
}

/// A value as its parameter wants it, or why not.
pub(super) fn fit(operand: Operand, parameter: Parameter) -> Result<Operand> {
    if parameter == Parameter::Any || is_of_type(&operand.value, parameter) {
        return Ok(operand);
    }
    let expected = parameter.type_name();
    if !operand.is_nil() {
        let got = operand.value.type_name();
        return Err(Failure::plain(format!(
            "wrong type for value; expected {expected}; got {got}"
        )));
    }
    if operand.boxed {
        return Err(Failure::plain(format!(
            "wrong type for value; expected {expected}; got interface {{}}"
        )));
    }
    match zero_of(parameter) {
        Some(zero) => Ok(Operand::plain(zero)),
        None => Err(Failure::plain(format!(
            "invalid value; expected {expected}"
        ))),
    }
}

/// Whether a value may be passed as it is: types must be the same.
fn is_of_type(value: &Value, parameter: Parameter) -> bool {
    match parameter {
        Parameter::Any => true,
        Parameter::Text => matches!(value, Value::Text(_)),
        Parameter::Int => matches!(value, Value::Int(_)),
        Parameter::Float => matches!(value, Value::Float(_)),
        Parameter::Bool => matches!(value, Value::Bool(_)),
        Parameter::List => matches!(value, Value::List(list) if list.element() == Element::Any),
        Parameter::Dict => matches!(value, Value::Dict(_)),
        Parameter::Time => matches!(value, Value::Time(_)),
        Parameter::Duration => matches!(value, Value::Duration(_)),
        Parameter::Version => matches!(value, Value::Version(_)),
        Parameter::Location => matches!(value, Value::Location(_)),
        Parameter::Bytes => matches!(value, Value::List(list) if list.element() == Element::Byte),
        Parameter::Certificate => matches!(value, Value::Certificate(_)),
        // Types that no value has: only literals become them.
        Parameter::Uint32 | Parameter::HashAlgorithm => false,
    }
}

/// A literal as its parameter wants it.
fn literal(parameter: Parameter, word: &Expression, text: &Text) -> Result<Value> {
    let number = match word {
        Expression::Number(_, _, number) => Some(&**number),
        _ => None,
    };
    let int = || number.and_then(|number: &Number| number.int);
    let found = match parameter {
        Parameter::Bool => match word {
            Expression::Bool(_, value) => Ok(Value::Bool(*value)),
            _ => Err("bool"),
        },
        Parameter::Text | Parameter::HashAlgorithm => {
            word.string(text).map(Value::Text).ok_or("string")
        }
        Parameter::Int => int().map(Value::Int).ok_or("integer"),
        Parameter::Duration => int().map(Value::Duration).ok_or("integer"),
        Parameter::Uint32 => number
            .and_then(|number| number.uint)
            .map(|uint| Value::Int(i64::from(uint as u32)))
            .ok_or("unsigned integer"),
        Parameter::Float => number
            .and_then(|number| number.float)
            .map(Value::Float)
            .ok_or("float"),
        Parameter::Any
        | Parameter::List
        | Parameter::Dict
        | Parameter::Time
        | Parameter::Version
        | Parameter::Location
        | Parameter::Bytes
        | Parameter::Certificate => {
            let type_name = parameter.type_name();
            let word = Shown(word, text.bytes());
            return Err(Failure::plain(format!(
                "can't handle {word} for arg of type {type_name}"
            )));
        }
    };
    found.map_err(|wanted| {
        let word = Shown(word, text.bytes());
        Failure::plain(format!("expected {wanted}; found {word}"))
    })
}

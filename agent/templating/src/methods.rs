//! The methods that templates may call on times, durations, months, weekdays, locations and versions.

mod durations;
mod times;
mod versions;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::functions::Parameter;
use crate::value::{Text, Value};

/// A method with its receiver's rules.
pub(crate) struct Method {
    pub(crate) name: &'static str,
    pub(crate) parameters: &'static [Parameter],
    /// The receiver first, then as many arguments as there are parameters, each of its type.
    pub(crate) call: fn(&mut Context, &Value, &[Value]) -> Result<Value>,
}

/// What a receiver has under a name.
pub(crate) enum Found {
    /// A method that can be called.
    Method(&'static Method),
    /// A method that Go's templates refuse, with the text: `function Date has 3 return values; should be 1 or 2`.
    Refused(&'static str),
    /// None: the evaluator says that the field cannot be evaluated.
    Nothing,
}

/// What the values of one type have.
struct Type {
    methods: &'static [&'static [Method]],
    /// Names with the texts of their refusal.
    refused: &'static [(&'static str, &'static str)],
}

/// The method `name` of `receiver`'s type.
pub(crate) fn find(receiver: &Value, name: &str) -> Found {
    let kind = match receiver {
        Value::Time(_) => &times::TIME,
        Value::Location(_) => &times::LOCATION,
        Value::Duration(_) => &durations::DURATION,
        Value::Month(_) => &durations::MONTH,
        Value::Weekday(_) => &durations::WEEKDAY,
        Value::Version(_) => &versions::POINTER,
        Value::SemverStruct(_) => &versions::VALUE,
        _ => return Found::Nothing,
    };
    let mut methods = kind.methods.iter().copied().flatten();
    if let Some(method) = methods.find(|method| method.name == name) {
        return Found::Method(method);
    }
    if let Some((_, text)) = kind.refused.iter().find(|(refused, _)| *refused == name) {
        return Found::Refused(text);
    }
    Found::Nothing
}

/// Argument `index`, which the evaluator has checked to be an int or a duration.
fn integer(arguments: &[Value], index: usize) -> Result<i64> {
    match arguments.get(index) {
        Some(Value::Int(value) | Value::Int64(value) | Value::Duration(value)) => Ok(*value),
        _ => Err(Failure::unexpected_type()),
    }
}

/// Argument `index`, which the evaluator has checked to be a string.
fn text(arguments: &[Value], index: usize) -> Result<&Text> {
    match arguments.get(index) {
        Some(Value::Text(text)) => Ok(text),
        _ => Err(Failure::unexpected_type()),
    }
}

/// Argument `index`, which the evaluator has checked to be a list of bytes.
fn bytes(arguments: &[Value], index: usize) -> Result<Vec<u8>> {
    match arguments.get(index) {
        Some(Value::List(list)) => {
            let bytes = list.values().iter().map(|value| match value {
                Value::Uint8(byte) => Ok(*byte),
                _ => Err(Failure::unexpected_type()),
            });
            bytes.collect()
        }
        _ => Err(Failure::unexpected_type()),
    }
}

//! Fields: keys of maps, members of structs, methods.

use super::place::{Node, quoted};
use super::{Evaluator, Operand};
use crate::failure::{Failure, Result};
use crate::methods::{self, Found};
use crate::syntax::ast::{Expression, Span};
use crate::template::MissingKey;
use crate::value::Value;

/// The members of `semver.Version` that templates may not read.
const VERSION_MEMBERS: &[&str] = &["major", "minor", "patch", "pre", "metadata", "original"];
/// Those of `time.Time`.
const TIME_MEMBERS: &[&str] = &["wall", "ext", "loc"];
/// Those of `time.Location`.
const LOCATION_MEMBERS: &[&str] = &[
    "name",
    "zone",
    "tx",
    "extend",
    "cacheStart",
    "cacheEnd",
    "cacheZone",
];

// === impl Evaluator ===

impl<'t> Evaluator<'t> {
    /// `.a.b` of `receiver`; arguments go to the last of the names.
    pub(super) fn field_chain(
        &mut self,
        dot: &Operand,
        receiver: &Operand,
        word: &'t Expression,
        names: Span,
        arguments: &'t [Expression],
        last: Option<Operand>,
    ) -> Result<Operand> {
        // Nothing is before the first dot.
        let mut names = names.name(self.text()).split('.').skip(1);
        let Some(mut name) = names.next() else {
            return Ok(receiver.clone());
        };
        let mut owned = None;
        for next in names {
            let receiver = owned.as_ref().unwrap_or(receiver);
            owned = Some(self.field(dot, receiver, word, name, &[], None)?);
            name = next;
        }
        let receiver = owned.as_ref().unwrap_or(receiver);
        self.field(dot, receiver, word, name, arguments, last)
    }

    fn field(
        &mut self,
        dot: &Operand,
        receiver: &Operand,
        word: &'t Expression,
        name: &'t str,
        arguments: &'t [Expression],
        last: Option<Operand>,
    ) -> Result<Operand> {
        let has_arguments = !arguments.is_empty() || last.is_some();
        match &receiver.value {
            Value::Nil => self.field_of_nil(receiver, name),
            Value::StringMap(map) => {
                is_no_method(name, has_arguments)?;
                match map.get(name.as_bytes()) {
                    Some(text) => Ok(Operand::plain(Value::Text(text.clone()))),
                    None => self.absent(name),
                }
            }
            Value::Dict(dict) => {
                is_no_method(name, has_arguments)?;
                match dict.get(name.as_bytes()) {
                    Some(value) => Ok(Operand::boxed(value)),
                    None => self.absent(name),
                }
            }
            value => match methods::find(value, name) {
                Found::Method(method) => {
                    let node = Node::Expression(word);
                    self.call_method(dot, value, method, node, arguments, last)
                }
                Found::Refused(_) if has_arguments => {
                    let count = arguments.len() + usize::from(last.is_some());
                    Err(Failure::plain(format!(
                        "wrong number of args for {name}: want 0 got {count}"
                    )))
                }
                Found::Refused(text) => Err(Failure::plain(text)),
                Found::Nothing => member(receiver, name, has_arguments),
            },
        }
    }

    fn field_of_nil(&self, receiver: &Operand, name: &str) -> Result<Operand> {
        if receiver.boxed {
            return Err(nil_pointer(receiver, name));
        }
        match self.missing_key {
            MissingKey::Error => Err(Failure::plain(format!(
                "nil data; no entry for key {}",
                quoted(name.as_bytes())
            ))),
            MissingKey::Default => Ok(Operand::plain(Value::Nil)),
        }
    }

    /// A key that the map does not have.
    fn absent(&self, name: &str) -> Result<Operand> {
        match self.missing_key {
            MissingKey::Error => Err(Failure::plain(format!(
                "map has no entry for key {}",
                quoted(name.as_bytes())
            ))),
            MissingKey::Default => Ok(Operand::plain(Value::Nil)),
        }
    }
}

fn is_no_method(name: &str, has_arguments: bool) -> Result<()> {
    if has_arguments {
        return Err(Failure::plain(format!(
            "{name} is not a method but has arguments"
        )));
    }
    Ok(())
}

fn nil_pointer(receiver: &Operand, name: &str) -> Failure {
    let type_name = receiver.type_name();
    Failure::plain(format!("nil pointer evaluating {type_name}.{name}"))
}

/// A member of a struct.
fn member(receiver: &Operand, name: &str, has_arguments: bool) -> Result<Operand> {
    let hidden = match &receiver.value {
        Value::Certificate(certificate) => {
            let text = match name {
                "Cert" => &certificate.certificate,
                "Key" => &certificate.key,
                _ => return Err(no_field(receiver, name)),
            };
            if has_arguments {
                return Err(Failure::plain(format!(
                    "{name} has arguments but cannot be invoked as function"
                )));
            }
            return Ok(Operand::plain(Value::Text(text.clone())));
        }
        Value::Time(_) => TIME_MEMBERS,
        Value::Location(_) => LOCATION_MEMBERS,
        Value::Version(_) | Value::SemverStruct(_) => VERSION_MEMBERS,
        _ => &[],
    };
    if !hidden.contains(&name) {
        return Err(no_field(receiver, name));
    }
    if matches!(receiver.value, Value::Version(None)) {
        return Err(nil_pointer(receiver, name));
    }
    let type_name = receiver.type_name();
    Err(Failure::plain(format!(
        "{name} is an unexported field of struct type {type_name}"
    )))
}

fn no_field(receiver: &Operand, name: &str) -> Failure {
    let type_name = receiver.type_name();
    Failure::plain(format!("can't evaluate field {name} in type {type_name}"))
}

//! What Go's text/template brings itself.

use super::call::{Signature, Written, check_count, fit};
use super::place::Node;
use super::{Evaluator, Operand, compare};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::format;
use crate::functions::Parameter;
use crate::syntax::Shown;
use crate::syntax::ast::{Builtin, Expression};
use crate::value::Value;

// === impl Builtin ===

impl Builtin {
    fn signature(self) -> Signature {
        use Parameter::{Any, Text};
        let (fixed, variadic): (&'static [Parameter], _) = match self {
            Self::And | Self::Or | Self::Eq | Self::Index | Self::Call => (&[Any], Some(Any)),
            Self::Not | Self::Len => (&[Any], None),
            Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge => (&[Any, Any], None),
            Self::Print | Self::Println | Self::Html | Self::Js | Self::Urlquery => {
                (&[], Some(Any))
            }
            Self::Printf => (&[Text], Some(Any)),
        };
        Signature {
            name: self.name(),
            fixed,
            variadic,
        }
    }
}

// === impl Evaluator ===

impl<'t> Evaluator<'t> {
    pub(super) fn call_builtin(
        &mut self,
        dot: &Operand,
        builtin: Builtin,
        node: Node<'t>,
        written: Written<'t>,
    ) -> Result<Value> {
        match builtin {
            Builtin::And => self.choose(dot, builtin, false, written),
            Builtin::Or => self.choose(dot, builtin, true, written),
            Builtin::Len => self.length_of(dot, node, written),
            _ => {
                let words = written.words;
                let signature = builtin.signature();
                let start = self.push_arguments(dot, signature, written)?;
                let arguments = self.arguments.get(start..).unwrap_or_default();
                let result = apply(&mut self.cx, builtin, arguments, |value| {
                    no_function(words.first(), self.forest.text.bytes(), value)
                });
                self.finish(start, signature.name, node, result)
            }
        }
    }

    /// `and`, `or`: the first operand whose truth is `wanted`, else the last. Nothing behind it is evaluated.
    fn choose(
        &mut self,
        dot: &Operand,
        builtin: Builtin,
        wanted: bool,
        written: Written<'t>,
    ) -> Result<Value> {
        check_count(builtin.signature(), &written)?;
        let mut value = Value::Nil;
        for word in written.words {
            value = self.argument(dot, Parameter::Any, word)?.value;
            if value.is_true() == wanted {
                return Ok(value);
            }
        }
        Ok(written.last.map_or(value, |last| last.value))
    }

    /// `len`, the one function that tells a nil in a list or dict from none at all.
    fn length_of(&mut self, dot: &Operand, node: Node<'t>, written: Written<'t>) -> Result<Value> {
        let signature = Builtin::Len.signature();
        check_count(signature, &written)?;
        let operand = match (written.words.first(), written.last) {
            (Some(word), _) => self.argument(dot, Parameter::Any, word)?,
            (None, Some(last)) => fit(last, Parameter::Any)?,
            (None, None) => Operand::plain(Value::Nil),
        };
        let start = self.arguments.len();
        self.finish(start, signature.name, node, length(&operand))
    }
}

fn apply(
    cx: &mut Context,
    builtin: Builtin,
    arguments: &[Value],
    no_function: impl FnOnce(&Value) -> Failure,
) -> Result<Value> {
    let (first, others) = match arguments.split_first() {
        Some((first, others)) => (first, others),
        None => (&Value::Nil, arguments),
    };
    let second = others.first().unwrap_or(&Value::Nil);
    match builtin {
        Builtin::Not => Ok(Value::Bool(!first.is_true())),
        Builtin::Eq => compare::eq(cx, first, others).map(Value::Bool),
        Builtin::Ne => compare::ne(cx, first, second).map(Value::Bool),
        Builtin::Lt => compare::lt(cx, first, second).map(Value::Bool),
        Builtin::Le => compare::le(cx, first, second).map(Value::Bool),
        Builtin::Gt => compare::gt(cx, first, second).map(Value::Bool),
        Builtin::Ge => compare::ge(cx, first, second).map(Value::Bool),
        Builtin::Index => index(first, others),
        Builtin::Print => printed(cx, |cx, out| format::print(cx, arguments, out)),
        Builtin::Println => printed(cx, |cx, out| format::println(cx, arguments, out)),
        Builtin::Printf => {
            let layout = first.as_bytes().unwrap_or_default();
            printed(cx, |cx, out| format::printf(cx, layout, others, out))
        }
        Builtin::Html => printed(cx, |cx, out| format::html(cx, arguments, out)),
        Builtin::Js => printed(cx, |cx, out| format::js(cx, arguments, out)),
        Builtin::Urlquery => printed(cx, |cx, out| format::urlquery(cx, arguments, out)),
        Builtin::Call => Err(no_function(first)),
        // Handled before: they are no ordinary functions.
        Builtin::And | Builtin::Or | Builtin::Len => Err(Failure::unexpected_type()),
    }
}

fn printed(
    cx: &mut Context,
    write: impl FnOnce(&mut Context, &mut Vec<u8>) -> Result<()>,
) -> Result<Value> {
    let mut out = cx.scratch();
    write(cx, &mut out)?;
    cx.written(out).map(Value::Text)
}

/// Templates never hold functions, so `call` always fails.
fn no_function(word: Option<&Expression>, text: &[u8], value: &Value) -> Failure {
    if matches!(value, Value::Nil) {
        return Failure::plain("call of nil");
    }
    let type_name = value.type_name();
    let Some(word) = word else {
        let shown = match value {
            Value::Text(text) => text.to_lossy().into_owned(),
            _ => format!("<{type_name} Value>"),
        };
        return Failure::showing_data(format!("non-function {shown} of type {type_name}"));
    };
    let word = Shown(word, text);
    Failure::plain(format!("non-function {word} of type {type_name}"))
}

fn length(operand: &Operand) -> Result<Value> {
    let count = match &operand.value {
        Value::Text(text) => text.bytes().len(),
        Value::List(list) => list.len(),
        Value::Dict(dict) => dict.len(),
        Value::StringMap(map) => map.len(),
        Value::Nil if !operand.boxed => {
            return Err(Failure::plain(
                "reflect: call of reflect.Value.Type on zero Value",
            ));
        }
        Value::Nil | Value::Version(None) => return Err(Failure::plain("len of nil pointer")),
        other => {
            let type_name = type_behind_pointer(other);
            return Err(Failure::plain(format!("len of type {type_name}")));
        }
    };
    Ok(Value::Int(i64::try_from(count).unwrap_or(i64::MAX)))
}

fn type_behind_pointer(value: &Value) -> &'static str {
    let name = value.type_name();
    name.strip_prefix('*').unwrap_or(name)
}

fn index(item: &Value, indexes: &[Value]) -> Result<Value> {
    if matches!(item, Value::Nil) {
        return Err(Failure::plain("index of untyped nil"));
    }
    let mut item = item.clone();
    for index in indexes {
        item = entry(&item, index)?;
    }
    Ok(item)
}

fn entry(item: &Value, index: &Value) -> Result<Value> {
    match item {
        Value::Text(text) => {
            let bytes = text.bytes();
            let at = position(index, bytes.len())?;
            let byte = bytes.get(at).copied().map(Value::Uint8);
            byte.ok_or_else(|| Failure::plain("reflect: string index out of range"))
        }
        Value::List(list) => {
            let at = position(index, list.len())?;
            let value = list.values().get(at).cloned();
            value.ok_or_else(|| Failure::plain("reflect: slice index out of range"))
        }
        Value::Dict(dict) => Ok(dict.get(key(index)?).unwrap_or(Value::Nil)),
        Value::StringMap(map) => {
            let text = map.get(key(index)?).cloned();
            Ok(Value::Text(text.unwrap_or_default()))
        }
        Value::Nil | Value::Version(None) => Err(Failure::plain("index of nil pointer")),
        other => {
            let type_name = type_behind_pointer(other);
            Err(Failure::plain(format!(
                "can't index item of type {type_name}"
            )))
        }
    }
}

/// An index of a list or string of `length` elements: up to and with the length, which the access itself refuses.
fn position(index: &Value, length: usize) -> Result<usize> {
    let number = match index {
        Value::Int(number) | Value::Int64(number) | Value::Duration(number) => *number,
        Value::Uint8(number) | Value::Month(number) | Value::Weekday(number) => i64::from(*number),
        Value::Uint64(number) => *number as i64,
        Value::Nil => return Err(Failure::plain("cannot index slice/array with nil")),
        other => {
            let type_name = other.type_name();
            return Err(Failure::plain(format!(
                "cannot index slice/array with type {type_name}"
            )));
        }
    };
    match usize::try_from(number) {
        Ok(at) if at <= length => Ok(at),
        _ => Err(Failure::showing_data(format!(
            "index out of range: {number}"
        ))),
    }
}

fn key(index: &Value) -> Result<&[u8]> {
    match index {
        Value::Text(text) => Ok(text.bytes()),
        Value::Nil => Err(Failure::plain("value is nil; should be of type string")),
        other => {
            let type_name = other.type_name();
            Err(Failure::plain(format!(
                "value has type {type_name}; should be string"
            )))
        }
    }
}

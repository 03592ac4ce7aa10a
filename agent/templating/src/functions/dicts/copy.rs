//! Deep copies.

use std::rc::Rc;

use super::super::{Function, Parameter, any};
use super::insert;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::time::Zone;
use crate::value::{Dict, List, Value};

pub(in crate::functions) const FUNCTIONS: &[Function] = &[
    Function {
        name: "deepCopy",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "any",
        summary: "A copy of the value that shares no dict with it.",
        source: "sprig",
        example: (
            "{{ $d := dict \"a\" 1 }}{{ $c := deepCopy $d }}{{ $_ := set $c \"a\" 2 }}{{ $d.a }}",
            "1",
        ),
        call: deep_copy,
    },
    Function {
        name: "mustDeepCopy",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "any",
        summary: "The same as `deepCopy`.",
        source: "sprig",
        example: (
            "{{ $d := dict \"a\" 1 }}{{ $c := mustDeepCopy $d }}{{ $_ := set $c \"a\" 2 }}{{ $d.a }}",
            "1",
        ),
        call: deep_copy,
    },
];

fn deep_copy(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    match any(arguments, 0)? {
        Value::Nil => Err(Failure::plain(
            "reflect: call of reflect.Value.Type on zero Value",
        )),
        value => copy(cx, value),
    }
}

/// A copy of `value`. What cannot change is shared.
fn copy(cx: &mut Context, value: &Value) -> Result<Value> {
    match value {
        Value::Dict(dict) if !dict.is_nil() => cx.nested(|cx| copy_dict(cx, dict)),
        Value::List(list) if !list.is_nil() => cx.nested(|cx| copy_list(cx, list)),
        // The library copies only what Go exports, and these types export nothing.
        Value::Version(Some(_)) => Ok(Value::Version(Some(Rc::default()))),
        Value::SemverStruct(_) => Ok(Value::SemverStruct(Rc::default())),
        Value::Location(_) => Ok(Value::Location(Zone::fixed("", 0))),
        other => Ok(other.clone()),
    }
}

fn copy_dict(cx: &mut Context, dict: &Dict) -> Result<Value> {
    let copied = cx.dict()?;
    for (key, value) in dict.entries() {
        cx.work(4)?;
        let value = copy(cx, &value)?;
        insert(cx, &copied, key, value)?;
    }
    Ok(Value::Dict(copied))
}

fn copy_list(cx: &mut Context, list: &List) -> Result<Value> {
    cx.work(list.len() as u64)?;
    let mut values = Vec::with_capacity(list.len());
    for value in list.values() {
        values.push(copy(cx, value)?);
    }
    cx.list(list.element(), values)
}

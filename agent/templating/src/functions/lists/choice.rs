//! Values by whether they are empty.

use super::super::{Function, Parameter, any};
use crate::context::Context;
use crate::convert::is_empty;
use crate::failure::{Failure, Result};
use crate::value::Value;

pub(in crate::functions) const FUNCTIONS: &[Function] = &[
    Function {
        name: "all",
        parameters: &[],
        variadic: Some(Parameter::Any),
        result: "bool",
        summary: "Whether no argument is empty.",
        source: "sprig",
        example: ("{{ all 1 \"x\" }} {{ all 1 \"\" }}", "true false"),
        call: all,
    },
    Function {
        name: "any",
        parameters: &[],
        variadic: Some(Parameter::Any),
        result: "bool",
        summary: "Whether an argument is not empty.",
        source: "sprig",
        example: ("{{ any 0 \"x\" }} {{ any 0 \"\" }}", "true false"),
        call: any_of,
    },
    Function {
        name: "coalesce",
        parameters: &[],
        variadic: Some(Parameter::Any),
        result: "any",
        summary: "The first argument that is not empty; nil if there is none.",
        source: "sprig",
        example: ("{{ coalesce \"\" nil 0 \"found\" }}", "found"),
        call: coalesce,
    },
    Function {
        name: "empty",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "bool",
        summary: "Whether the value is nil, false, zero or of length zero.",
        source: "sprig",
        example: ("{{ empty \"\" }} {{ empty \"0\" }}", "true false"),
        call: empty,
    },
    Function {
        name: "default",
        parameters: &[Parameter::Any],
        variadic: Some(Parameter::Any),
        result: "any",
        summary: "The second value, or the first if that is empty or absent.",
        source: "sprig",
        example: ("{{ \"\" | default \"d\" }}", "d"),
        call: default,
    },
    Function {
        name: "ternary",
        parameters: &[Parameter::Any, Parameter::Any, Parameter::Bool],
        variadic: None,
        result: "any",
        summary: "The first value if the third is true, else the second.",
        source: "sprig",
        example: ("{{ true | ternary \"yes\" \"no\" }}", "yes"),
        call: ternary,
    },
];

fn all(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    Ok(Value::Bool(!arguments.iter().any(is_empty)))
}

fn any_of(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    Ok(Value::Bool(!arguments.iter().all(is_empty)))
}

fn coalesce(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let found = arguments.iter().find(|value| !is_empty(value));
    Ok(found.cloned().unwrap_or(Value::Nil))
}

fn empty(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    Ok(Value::Bool(is_empty(any(arguments, 0)?)))
}

fn default(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    match arguments {
        [_, given, ..] if !is_empty(given) => Ok(given.clone()),
        [default, ..] => Ok(default.clone()),
        [] => Err(Failure::unexpected_type()),
    }
}

fn ternary(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    match arguments {
        [one, other, Value::Bool(condition)] => Ok(if *condition { one } else { other }.clone()),
        _ => Err(Failure::unexpected_type()),
    }
}

//! Making lists, and their ends.

use super::super::{Function, Parameter, any};
use super::list_or;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::value::{Element, List, Value};

pub(in crate::functions) const FUNCTIONS: &[Function] = &[
    Function {
        name: "list",
        parameters: &[],
        variadic: Some(Parameter::Any),
        result: "list",
        summary: "A list of the arguments.",
        source: "sprig",
        example: ("{{ list 1 \"a\" }}", "[1 a]"),
        call: list,
    },
    Function {
        name: "tuple",
        parameters: &[],
        variadic: Some(Parameter::Any),
        result: "list",
        summary: "The same as `list`.",
        source: "sprig",
        example: ("{{ tuple 1 \"a\" }}", "[1 a]"),
        call: list,
    },
    Function {
        name: "concat",
        parameters: &[],
        variadic: Some(Parameter::Any),
        result: "any",
        summary: "A new list of the elements of all lists.",
        source: "sprig",
        example: ("{{ concat (list 1) (list 2 3) }}", "[1 2 3]"),
        call: concat,
    },
    Function {
        name: "append",
        parameters: &[Parameter::Any, Parameter::Any],
        variadic: None,
        result: "list",
        summary: "A new list: the elements of the list, then the value.",
        source: "sprig",
        example: ("{{ append (list 1 2) 3 }}", "[1 2 3]"),
        call: append,
    },
    Function {
        name: "mustAppend",
        parameters: &[Parameter::Any, Parameter::Any],
        variadic: None,
        result: "list",
        summary: "The same as `append`.",
        source: "sprig",
        example: ("{{ mustAppend (list 1 2) 3 }}", "[1 2 3]"),
        call: append,
    },
    Function {
        name: "push",
        parameters: &[Parameter::Any, Parameter::Any],
        variadic: None,
        result: "list",
        summary: "The same as `append`.",
        source: "sprig",
        example: ("{{ push (list 1 2) 3 }}", "[1 2 3]"),
        call: append,
    },
    Function {
        name: "mustPush",
        parameters: &[Parameter::Any, Parameter::Any],
        variadic: None,
        result: "list",
        summary: "The same as `push`.",
        source: "sprig",
        example: ("{{ mustPush (list 1 2) 3 }}", "[1 2 3]"),
        call: append,
    },
    Function {
        name: "prepend",
        parameters: &[Parameter::Any, Parameter::Any],
        variadic: None,
        result: "list",
        summary: "A new list: the value, then the elements of the list.",
        source: "sprig",
        example: ("{{ prepend (list 1 2) 0 }}", "[0 1 2]"),
        call: prepend,
    },
    Function {
        name: "mustPrepend",
        parameters: &[Parameter::Any, Parameter::Any],
        variadic: None,
        result: "list",
        summary: "The same as `prepend`.",
        source: "sprig",
        example: ("{{ mustPrepend (list 1 2) 0 }}", "[0 1 2]"),
        call: prepend,
    },
    Function {
        name: "first",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "any",
        summary: "The first element of the list; nil if it is empty.",
        source: "sprig",
        example: ("{{ first (list 4 5) }}", "4"),
        call: first,
    },
    Function {
        name: "mustFirst",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "any",
        summary: "The same as `first`.",
        source: "sprig",
        example: ("{{ mustFirst (list 4 5) }}", "4"),
        call: first,
    },
    Function {
        name: "last",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "any",
        summary: "The last element of the list; nil if it is empty.",
        source: "sprig",
        example: ("{{ last (list 4 5) }}", "5"),
        call: last,
    },
    Function {
        name: "mustLast",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "any",
        summary: "The same as `last`.",
        source: "sprig",
        example: ("{{ mustLast (list 4 5) }}", "5"),
        call: last,
    },
    Function {
        name: "rest",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "list",
        summary: "The list without its first element.",
        source: "sprig",
        example: ("{{ rest (list 4 5 6) }}", "[5 6]"),
        call: rest,
    },
    Function {
        name: "mustRest",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "list",
        summary: "The same as `rest`.",
        source: "sprig",
        example: ("{{ mustRest (list 4 5 6) }}", "[5 6]"),
        call: rest,
    },
    Function {
        name: "initial",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "list",
        summary: "The list without its last element.",
        source: "sprig",
        example: ("{{ initial (list 4 5 6) }}", "[4 5]"),
        call: initial,
    },
    Function {
        name: "mustInitial",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "list",
        summary: "The same as `initial`.",
        source: "sprig",
        example: ("{{ mustInitial (list 4 5 6) }}", "[4 5]"),
        call: initial,
    },
];

fn list(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    cx.list(Element::Any, arguments.to_vec())
}

fn concat(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let mut parts = Vec::with_capacity(arguments.len());
    for value in arguments {
        parts.push(match value {
            Value::List(list) => list.values(),
            Value::Nil => return Err(Failure::nil_pointer()),
            other => {
                let kind = other.kind_name();
                return Err(Failure::plain(format!("Cannot concat type {kind} as list")));
            }
        });
    }
    let lengths = parts.iter().map(|part| part.len());
    if lengths.clone().all(|len| len == 0) {
        return Ok(nil_list());
    }
    joined(cx, &parts)
}

/// The nil list.
fn nil_list() -> Value {
    Value::List(List::nil(Element::Any))
}

fn append(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let list = list_or(any(arguments, 0)?, "Cannot push on type")?;
    let value = std::slice::from_ref(any(arguments, 1)?);
    joined(cx, &[list.values(), value])
}

fn prepend(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let list = list_or(any(arguments, 0)?, "Cannot prepend on type")?;
    let value = std::slice::from_ref(any(arguments, 1)?);
    joined(cx, &[value, list.values()])
}

/// A new list of the elements of all `parts`.
fn joined(cx: &mut Context, parts: &[&[Value]]) -> Result<Value> {
    // The same list may stand there many times.
    let len = parts
        .iter()
        .map(|part| part.len())
        .fold(0, usize::saturating_add);
    cx.work(len as u64)?;
    cx.list(Element::Any, parts.concat())
}

fn first(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let list = list_or(any(arguments, 0)?, "Cannot find first on type")?;
    Ok(list.values().first().cloned().unwrap_or(Value::Nil))
}

fn last(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let list = list_or(any(arguments, 0)?, "Cannot find last on type")?;
    Ok(list.values().last().cloned().unwrap_or(Value::Nil))
}

fn rest(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let list = list_or(any(arguments, 0)?, "Cannot find rest on type")?;
    match list.values() {
        [] => Ok(nil_list()),
        [_, rest @ ..] => joined(cx, &[rest]),
    }
}

fn initial(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let list = list_or(any(arguments, 0)?, "Cannot find initial on type")?;
    match list.values() {
        [] => Ok(nil_list()),
        [initial @ .., _] => joined(cx, &[initial]),
    }
}

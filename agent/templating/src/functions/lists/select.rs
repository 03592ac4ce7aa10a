//! Elements by place or by value.

use std::collections::HashSet;

use super::super::{Function, Parameter, any, int};
use super::list_or;
use crate::context::Context;
use crate::convert::{deep_equal, is_empty, to_int64};
use crate::failure::{Failure, Result};
use crate::value::{Element, Value};

pub(in crate::functions) const FUNCTIONS: &[Function] = &[
    Function {
        name: "reverse",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "list",
        summary: "A new list of the elements from last to first.",
        source: "sprig",
        example: ("{{ reverse (list 1 2 3) }}", "[3 2 1]"),
        call: reverse,
    },
    Function {
        name: "mustReverse",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "list",
        summary: "The same as `reverse`.",
        source: "sprig",
        example: ("{{ mustReverse (list 1 2 3) }}", "[3 2 1]"),
        call: reverse,
    },
    Function {
        name: "uniq",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "list",
        summary: "A new list of the elements without repetitions; the type counts.",
        source: "sprig",
        example: ("{{ uniq (list \"b\" \"a\" \"b\") }}", "[b a]"),
        call: uniq,
    },
    Function {
        name: "mustUniq",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "list",
        summary: "The same as `uniq`.",
        source: "sprig",
        example: ("{{ mustUniq (list \"b\" \"a\" \"b\") }}", "[b a]"),
        call: uniq,
    },
    Function {
        name: "without",
        parameters: &[Parameter::Any],
        variadic: Some(Parameter::Any),
        result: "list",
        summary: "A new list of the elements that equal none of the values; the type counts.",
        source: "sprig",
        example: ("{{ without (list 1 2 3) 1 3 }}", "[2]"),
        call: without,
    },
    Function {
        name: "mustWithout",
        parameters: &[Parameter::Any],
        variadic: Some(Parameter::Any),
        result: "list",
        summary: "The same as `without`.",
        source: "sprig",
        example: ("{{ mustWithout (list 1 2 3) 1 3 }}", "[2]"),
        call: without,
    },
    Function {
        name: "has",
        parameters: &[Parameter::Any, Parameter::Any],
        variadic: None,
        result: "bool",
        summary: "Whether the list has an element equal to the value; the type counts.",
        source: "sprig",
        example: ("{{ has 2 (list 1 2) }}", "true"),
        call: has,
    },
    Function {
        name: "mustHas",
        parameters: &[Parameter::Any, Parameter::Any],
        variadic: None,
        result: "bool",
        summary: "The same as `has`.",
        source: "sprig",
        example: ("{{ mustHas 2 (list 1 2) }}", "true"),
        call: has,
    },
    Function {
        name: "compact",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "list",
        summary: "A new list of the elements that are not empty.",
        source: "sprig",
        example: ("{{ compact (list 0 1 \"\" \"a\" nil) }}", "[1 a]"),
        call: compact,
    },
    Function {
        name: "mustCompact",
        parameters: &[Parameter::Any],
        variadic: None,
        result: "list",
        summary: "The same as `compact`.",
        source: "sprig",
        example: ("{{ mustCompact (list 0 1 \"\" \"a\" nil) }}", "[1 a]"),
        call: compact,
    },
    Function {
        name: "slice",
        parameters: &[Parameter::Any],
        variadic: Some(Parameter::Any),
        result: "any",
        summary: "The elements from a position to before another, by default all; shares them with the list.",
        source: "sprig",
        example: ("{{ slice (list 1 2 3 4) 1 3 }}", "[2 3]"),
        call: slice,
    },
    Function {
        name: "mustSlice",
        parameters: &[Parameter::Any],
        variadic: Some(Parameter::Any),
        result: "any",
        summary: "The same as `slice`.",
        source: "sprig",
        example: ("{{ mustSlice (list 1 2 3 4) 1 3 }}", "[2 3]"),
        call: slice,
    },
    Function {
        name: "chunk",
        parameters: &[Parameter::Int, Parameter::Any],
        variadic: None,
        result: "lists",
        summary: "A list of lists: the elements in portions of so many.",
        source: "sprig",
        example: ("{{ chunk 2 (list 1 2 3) }}", "[[1 2] [3]]"),
        call: chunk,
    },
    Function {
        name: "mustChunk",
        parameters: &[Parameter::Int, Parameter::Any],
        variadic: None,
        result: "lists",
        summary: "The same as `chunk`.",
        source: "sprig",
        example: ("{{ mustChunk 2 (list 1 2 3) }}", "[[1 2] [3]]"),
        call: chunk,
    },
];

fn reverse(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let list = list_or(any(arguments, 0)?, "Cannot find reverse on type")?;
    let values = list.values().iter().rev().cloned().collect();
    cx.list(Element::Any, values)
}

fn compact(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let list = list_or(any(arguments, 0)?, "Cannot compact on type")?;
    let values = list.values().iter();
    let kept = values.filter(|value| !is_empty(value)).cloned().collect();
    cx.list(Element::Any, kept)
}

fn uniq(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let list = list_or(any(arguments, 0)?, "Cannot find uniq on type")?;
    let mut scalars = HashSet::new();
    let mut others = Vec::new();
    let mut kept = Vec::new();
    for value in list.values() {
        cx.work(1 + value.as_bytes().map_or(0, <[u8]>::len) as u64 / 64)?;
        let is_new = match Scalar::of(value) {
            Some(scalar) => scalars.insert(scalar),
            None => !contains(cx, &others, value)?,
        };
        if !is_new {
            continue;
        }
        if Scalar::of(value).is_none() {
            others.push(value.clone());
        }
        kept.push(value.clone());
    }
    cx.list(Element::Any, kept)
}

/// A value that equals only what has the same type and bits, so that it can be looked up.
#[derive(PartialEq, Eq, Hash)]
enum Scalar<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    Int64(i64),
    Text(&'a [u8]),
}

impl<'a> Scalar<'a> {
    fn of(value: &'a Value) -> Option<Self> {
        match value {
            Value::Nil => Some(Self::Nil),
            Value::Bool(value) => Some(Self::Bool(*value)),
            Value::Int(value) => Some(Self::Int(*value)),
            Value::Int64(value) => Some(Self::Int64(*value)),
            Value::Text(text) => Some(Self::Text(text.bytes())),
            _ => None,
        }
    }
}

fn without(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let Some((list, omitted)) = arguments.split_first() else {
        return Err(Failure::unexpected_type());
    };
    let list = list_or(list, "Cannot find without on type")?;
    let mut kept = Vec::new();
    for value in list.values() {
        if !contains(cx, omitted, value)? {
            kept.push(value.clone());
        }
    }
    cx.list(Element::Any, kept)
}

fn has(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (value, list) = (any(arguments, 0)?, any(arguments, 1)?);
    if matches!(list, Value::Nil) {
        return Ok(Value::Bool(false));
    }
    let list = list_or(list, "Cannot find has on type")?;
    Ok(Value::Bool(contains(cx, list.values(), value)?))
}

fn contains(cx: &mut Context, values: &[Value], value: &Value) -> Result<bool> {
    cx.work(values.len() as u64 / 8 + 1)?;
    for other in values {
        if deep_equal(cx, value, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn slice(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let list = list_or(
        any(arguments, 0)?,
        "list should be type of slice or array but",
    )?;
    if list.len() == 0 {
        return Ok(Value::Nil);
    }
    let from = arguments.get(1).map_or(Some(0), index);
    let to = arguments.get(2).map_or(Some(list.len()), index);
    let window = from.zip(to).and_then(|(from, to)| list.window(from, to));
    match window {
        Some(window) => Ok(Value::List(window)),
        None => Err(Failure::plain(
            "reflect.Value.Slice: slice index out of bounds",
        )),
    }
}

fn index(value: &Value) -> Option<usize> {
    usize::try_from(to_int64(value)).ok()
}

fn chunk(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (size, list) = (int(arguments, 0)?, any(arguments, 1)?);
    let list = list_or(list, "Cannot chunk type")?;
    let size = match (usize::try_from(size), list.len()) {
        (Ok(size @ 1..), _) => size,
        // sprig computes how many lists there are, and how long the last one is, in floats: some negative sizes pass.
        (Err(_), 1) if size < -1 => 1,
        (Err(_), len @ 2..) if size.unsigned_abs() >= len as u64 - 1 => {
            return cx.list(Element::List, Vec::new());
        }
        _ => return Err(Failure::plain("runtime error: makeslice: len out of range")),
    };
    let mut chunks = Vec::with_capacity(list.len().div_ceil(size));
    for values in list.values().chunks(size) {
        cx.work(1)?;
        chunks.push(cx.list(Element::Any, values.to_vec())?);
    }
    cx.list(Element::List, chunks)
}

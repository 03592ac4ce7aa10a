//! Dicts: references, so a change shows in every variable that holds the dict.

pub(super) mod copy;
pub(super) mod merge;

#[cfg(test)]
mod tests;

use super::{Function, Parameter, any, dict, text};
use crate::context::Context;
use crate::convert::to_text;
use crate::failure::{Failure, Result};
use crate::value::{Dict, Element, Text, Value};

pub(in crate::functions) const FUNCTIONS: &[Function] = &[
    Function {
        name: "dict",
        parameters: &[],
        variadic: Some(Parameter::Any),
        result: "dict",
        summary: "A dict of the arguments: keys and values in turn.",
        source: "sprig",
        example: ("{{ dict \"a\" 1 \"b\" \"x\" }}", "map[a:1 b:x]"),
        call: new,
    },
    Function {
        name: "get",
        parameters: &[Parameter::Dict, Parameter::Text],
        variadic: None,
        result: "any",
        summary: "The value under the key; the empty string if there is none.",
        source: "sprig",
        example: ("{{ get (dict \"a\" 1) \"a\" }}", "1"),
        call: get,
    },
    Function {
        name: "set",
        parameters: &[Parameter::Dict, Parameter::Text, Parameter::Any],
        variadic: None,
        result: "dict",
        summary: "Sets the value under the key; returns the dict.",
        source: "sprig",
        example: ("{{ set (dict \"a\" 1) \"b\" 2 }}", "map[a:1 b:2]"),
        call: set,
    },
    Function {
        name: "unset",
        parameters: &[Parameter::Dict, Parameter::Text],
        variadic: None,
        result: "dict",
        summary: "Removes the key; returns the dict.",
        source: "sprig",
        example: ("{{ unset (dict \"a\" 1 \"b\" 2) \"b\" }}", "map[a:1]"),
        call: unset,
    },
    Function {
        name: "hasKey",
        parameters: &[Parameter::Dict, Parameter::Text],
        variadic: None,
        result: "bool",
        summary: "Whether the dict has the key.",
        source: "sprig",
        example: ("{{ hasKey (dict \"a\" nil) \"a\" }}", "true"),
        call: has_key,
    },
    Function {
        name: "pluck",
        parameters: &[Parameter::Text],
        variadic: Some(Parameter::Dict),
        result: "list",
        summary: "The values under the key in those dicts that have it.",
        source: "sprig",
        example: (
            "{{ pluck \"a\" (dict \"a\" 1) (dict \"b\" 2) (dict \"a\" 3) }}",
            "[1 3]",
        ),
        call: pluck,
    },
    Function {
        name: "keys",
        parameters: &[],
        variadic: Some(Parameter::Dict),
        result: "strings",
        summary: "The keys of all dicts, sorted within each.",
        source: "sprig",
        example: ("{{ keys (dict \"b\" 1 \"a\" 2) }}", "[a b]"),
        call: keys,
    },
    Function {
        name: "values",
        parameters: &[Parameter::Dict],
        variadic: None,
        result: "list",
        summary: "The values of the dict in the order of its keys.",
        source: "sprig",
        example: ("{{ values (dict \"b\" 1 \"a\" 2) }}", "[2 1]"),
        call: values,
    },
    Function {
        name: "pick",
        parameters: &[Parameter::Dict],
        variadic: Some(Parameter::Text),
        result: "dict",
        summary: "A new dict of the entries with these keys.",
        source: "sprig",
        example: ("{{ pick (dict \"a\" 1 \"b\" 2) \"a\" }}", "map[a:1]"),
        call: pick,
    },
    Function {
        name: "omit",
        parameters: &[Parameter::Dict],
        variadic: Some(Parameter::Text),
        result: "dict",
        summary: "A new dict of the entries without these keys.",
        source: "sprig",
        example: ("{{ omit (dict \"a\" 1 \"b\" 2) \"a\" }}", "map[b:2]"),
        call: omit,
    },
    Function {
        name: "dig",
        parameters: &[],
        variadic: Some(Parameter::Any),
        result: "any",
        summary: "The value behind a path of keys through nested dicts. Arguments: the keys, the value if one is absent, the dict.",
        source: "sprig",
        example: (
            "{{ dig \"a\" \"b\" \"none\" (dict \"a\" (dict \"b\" 1)) }}",
            "1",
        ),
        call: dig,
    },
];

/// What an entry takes, in bytes.
const ENTRY: usize = 64;

/// Sets an entry, paid for. Go's text for the nil dict.
fn insert(cx: &mut Context, dict: &Dict, key: Text, value: Value) -> Result<()> {
    cx.allocate(ENTRY)?;
    if dict.insert(key, value) {
        Ok(())
    } else {
        Err(Failure::plain("assignment to entry in nil map"))
    }
}

fn new(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let dict = cx.dict()?;
    dict.reserve(arguments.len().div_ceil(2));
    for pair in arguments.chunks(2) {
        let key = to_text(cx, any(pair, 0)?)?;
        let value = match pair.get(1) {
            Some(value) => value.clone(),
            None => cx.text("")?,
        };
        insert(cx, &dict, key, value)?;
    }
    Ok(Value::Dict(dict))
}

/// Argument `index` as a key, paid for a search in `dicts` dicts.
fn key<'a>(
    cx: &mut Context,
    arguments: &'a [Value],
    index: usize,
    dicts: usize,
) -> Result<&'a Text> {
    let key = text(arguments, index)?;
    let units = key.bytes().len() / 64 + 1;
    cx.work(units.saturating_mul(dicts) as u64)?;
    Ok(key)
}

fn get(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    match dict(arguments, 0)?.get(key(cx, arguments, 1, 1)?.bytes()) {
        Some(value) => Ok(value),
        None => cx.text(""),
    }
}

fn set(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (dict, key) = (dict(arguments, 0)?, key(cx, arguments, 1, 1)?);
    insert(cx, dict, key.clone(), any(arguments, 2)?.clone())?;
    Ok(Value::Dict(dict.clone()))
}

fn unset(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let dict = dict(arguments, 0)?;
    dict.remove(key(cx, arguments, 1, 1)?.bytes());
    Ok(Value::Dict(dict.clone()))
}

fn has_key(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let key = key(cx, arguments, 1, 1)?;
    Ok(Value::Bool(dict(arguments, 0)?.contains(key.bytes())))
}

fn pluck(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let key = key(cx, arguments, 0, arguments.len())?;
    let dicts = arguments.iter().filter_map(|value| match value {
        Value::Dict(dict) => Some(dict),
        _ => None,
    });
    let values = dicts.filter_map(|dict| dict.get(key.bytes())).collect();
    cx.list(Element::Any, values)
}

fn keys(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let mut keys = Vec::new();
    for index in 0..arguments.len() {
        let dict = dict(arguments, index)?;
        // The same dict may stand there many times.
        cx.allocate(dict.len().saturating_mul(size_of::<Value>()))?;
        keys.extend(dict.keys().into_iter().map(Value::Text));
    }
    cx.list(Element::Text, keys)
}

fn values(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let entries = dict(arguments, 0)?.entries();
    cx.list(
        Element::Any,
        entries.into_iter().map(|(_, value)| value).collect(),
    )
}

fn pick(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let picked = cx.dict()?;
    let dict = dict(arguments, 0)?;
    for index in 1..arguments.len() {
        let key = key(cx, arguments, index, 1)?;
        if let Some(value) = dict.get(key.bytes()) {
            insert(cx, &picked, key.clone(), value)?;
        }
    }
    Ok(Value::Dict(picked))
}

fn omit(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let kept = cx.dict()?;
    for (key, value) in dict(arguments, 0)?.entries() {
        cx.work(4)?;
        insert(cx, &kept, key, value)?;
    }
    for index in 1..arguments.len() {
        kept.remove(key(cx, arguments, index, 1)?.bytes());
    }
    Ok(Value::Dict(kept))
}

fn dig(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let [keys @ .., default, Value::Dict(dict)] = arguments else {
        return Err(match arguments {
            [_, _, .., last] => conversion(last, "map[string]interface {}"),
            _ => too_few(),
        });
    };
    if keys.is_empty() {
        return Err(too_few());
    }
    for key in keys {
        if !matches!(key, Value::Text(_)) {
            return Err(conversion(key, "string"));
        }
    }
    let mut value = Value::Dict(dict.clone());
    for index in 0..keys.len() {
        let Value::Dict(dict) = &value else {
            return Err(conversion(&value, "map[string]interface {}"));
        };
        match dict.get(key(cx, keys, index, 1)?.bytes()) {
            Some(next) => value = next,
            None => return Ok(default.clone()),
        }
    }
    Ok(value)
}

fn too_few() -> Failure {
    Failure::plain("dig needs at least three arguments")
}

/// Go's text for a type assertion that fails.
fn conversion(value: &Value, target: &str) -> Failure {
    let name = match value {
        Value::Nil => "nil",
        other => other.type_name(),
    };
    Failure::plain(format!(
        "interface conversion: interface {{}} is {name}, not {target}"
    ))
}

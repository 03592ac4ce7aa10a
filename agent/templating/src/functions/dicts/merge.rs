//! Merging dicts, as the library mergo does.

use std::collections::BTreeMap;

use super::super::{Function, Parameter, dict};
use super::{ENTRY, insert};
use crate::context::Context;
use crate::convert::is_empty;
use crate::failure::{Failure, Result};
use crate::value::{Dict, StringMap, Text, Value};

pub(in crate::functions) const FUNCTIONS: &[Function] = &[
    Function {
        name: "merge",
        parameters: &[Parameter::Dict],
        variadic: Some(Parameter::Dict),
        result: "any",
        summary: "Fills the first dict with the entries of the others that it lacks or has empty, also inside; returns it.",
        source: "sprig",
        example: (
            "{{ merge (dict \"a\" 1) (dict \"a\" 2 \"b\" 3) }}",
            "map[a:1 b:3]",
        ),
        call: merge,
    },
    Function {
        name: "mustMerge",
        parameters: &[Parameter::Dict],
        variadic: Some(Parameter::Dict),
        result: "any",
        summary: "The same as `merge`, but fails where that gives an empty string.",
        source: "sprig",
        example: (
            "{{ mustMerge (dict \"a\" 1) (dict \"a\" 2 \"b\" 3) }}",
            "map[a:1 b:3]",
        ),
        call: must_merge,
    },
    Function {
        name: "mergeOverwrite",
        parameters: &[Parameter::Dict],
        variadic: Some(Parameter::Dict),
        result: "any",
        summary: "Sets the entries of the other dicts in the first one, also inside; returns it.",
        source: "sprig",
        example: (
            "{{ mergeOverwrite (dict \"a\" 1) (dict \"a\" 2) }}",
            "map[a:2]",
        ),
        call: merge_overwrite,
    },
    Function {
        name: "mustMergeOverwrite",
        parameters: &[Parameter::Dict],
        variadic: Some(Parameter::Dict),
        result: "any",
        summary: "The same as `mergeOverwrite`, but fails where that gives an empty string.",
        source: "sprig",
        example: (
            "{{ mustMergeOverwrite (dict \"a\" 1) (dict \"a\" 2) }}",
            "map[a:2]",
        ),
        call: must_merge_overwrite,
    },
];

/// How the entries of the first dict fare.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Those that are not empty stay.
    Fill,
    /// Later dicts win.
    Overwrite,
}

fn merge(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    forgiving(cx, arguments, Mode::Fill)
}

fn merge_overwrite(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    forgiving(cx, arguments, Mode::Overwrite)
}

fn must_merge(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    strict(cx, arguments, Mode::Fill)
}

fn must_merge_overwrite(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    strict(cx, arguments, Mode::Overwrite)
}

/// The merged dict, or the empty string where types differ.
fn forgiving(cx: &mut Context, arguments: &[Value], mode: Mode) -> Result<Value> {
    match merge_all(cx, arguments, mode)? {
        Some(merged) => Ok(Value::Dict(merged)),
        None => cx.text(""),
    }
}

fn strict(cx: &mut Context, arguments: &[Value], mode: Mode) -> Result<Value> {
    match merge_all(cx, arguments, mode)? {
        Some(merged) => Ok(Value::Dict(merged)),
        None => Err(Failure::plain("src and dst must be of same type")),
    }
}

/// The first argument with the others merged into it; a new dict if it is nil. `None` where types differ.
fn merge_all(cx: &mut Context, arguments: &[Value], mode: Mode) -> Result<Option<Dict>> {
    let mut target = dict(arguments, 0)?.clone();
    for index in 1..arguments.len() {
        let source = dict(arguments, index)?;
        if target.is_nil() && !source.is_nil() {
            target = cx.dict()?;
        }
        if !merge_dict(cx, &target, source, mode)? {
            return Ok(None);
        }
    }
    Ok(Some(target))
}

/// Merges `source` into `target`; `false` where types differ.
fn merge_dict(cx: &mut Context, target: &Dict, source: &Dict, mode: Mode) -> Result<bool> {
    for key in source.keys() {
        // A merge into a dict that both share may have changed the source.
        let Some(value) = source.get(key.bytes()) else {
            continue;
        };
        cx.work(key.bytes().len() as u64 / 64 + 6)?;
        let present = target.get(key.bytes());
        if matches!(value, Value::Nil) {
            if mode == Mode::Overwrite {
                insert(cx, target, key, value)?;
            }
            continue;
        }
        if let Some(present) = &present {
            match merge_value(cx, present, &value, mode)? {
                Inner::Done => {}
                Inner::Replaced(map) => insert(cx, target, key.clone(), Value::StringMap(map))?,
                Inner::DifferentTypes => return Ok(false),
            }
        }
        if !is_settled(present.as_ref(), &value) && is_set(present.as_ref(), mode) {
            insert(cx, target, key, value)?;
        }
    }
    Ok(true)
}

/// Whether merging two values was all there is to do: they are maps, the first of them not empty.
fn is_settled(present: Option<&Value>, value: &Value) -> bool {
    present.is_some_and(|present| is_map(present) && is_map(value) && !lacks(present))
}

/// Whether a value replaces what is `present`.
fn is_set(present: Option<&Value>, mode: Mode) -> bool {
    mode == Mode::Overwrite || present.is_none_or(lacks)
}

fn is_map(value: &Value) -> bool {
    matches!(value, Value::Dict(_) | Value::StringMap(_))
}

/// What mergo takes for empty: not complex numbers.
fn lacks(value: &Value) -> bool {
    is_empty(value) && !matches!(value, Value::Complex(..))
}

/// What became of a value that another was merged into.
enum Inner {
    /// It was changed inside, or there was nothing to change.
    Done,
    /// It is to be replaced, as it cannot be changed.
    Replaced(StringMap),
    /// mergo's `ErrDifferentArgumentsTypes`.
    DifferentTypes,
}

/// Merges what is inside of `source` into `target`.
fn merge_value(cx: &mut Context, target: &Value, source: &Value, mode: Mode) -> Result<Inner> {
    match target {
        Value::Dict(target) => merge_into_dict(cx, target, source, mode),
        Value::StringMap(target) => merge_into_string_map(cx, target, source, mode),
        Value::Version(Some(_)) | Value::Location(_) => {
            Ok(merge_into_pointer(target, source, mode))
        }
        Value::Certificate(_) if is_map(source) || is_pointer(source) => {
            Err(Failure::plain(format!(
                "reflect: call of reflect.Value.Field on {} Value",
                source.kind_name()
            )))
        }
        _ => Ok(Inner::Done),
    }
}

fn merge_into_dict(cx: &mut Context, target: &Dict, source: &Value, mode: Mode) -> Result<Inner> {
    match source {
        Value::Dict(source) if !target.is_nil() => {
            let fits = cx.nested(|cx| merge_dict(cx, target, source, mode))?;
            return Ok(if fits {
                Inner::Done
            } else {
                Inner::DifferentTypes
            });
        }
        Value::StringMap(source) if !target.is_nil() => {
            for (key, value) in source.entries() {
                if is_set(target.get(key.bytes()).as_ref(), mode) {
                    insert(cx, target, key.clone(), Value::Text(value.clone()))?;
                }
            }
        }
        _ => {}
    }
    Ok(Inner::Done)
}

fn merge_into_string_map(
    cx: &mut Context,
    target: &StringMap,
    source: &Value,
    mode: Mode,
) -> Result<Inner> {
    match source {
        Value::Dict(source) => {
            let mut entries = source.entries().into_iter();
            entries.try_for_each(|(key, value)| refuse(target.get(key.bytes()), &value, mode))?;
            Ok(Inner::Done)
        }
        Value::StringMap(source) => {
            cx.allocate((target.len() + source.len()).saturating_mul(ENTRY))?;
            let entries = target
                .entries()
                .map(|(key, value)| (key.clone(), value.clone()));
            let mut entries: BTreeMap<Text, Text> = entries.collect();
            for (key, value) in source.entries() {
                let present = entries.get(key.bytes());
                if mode == Mode::Overwrite || present.is_none_or(|text| text.bytes().is_empty()) {
                    entries.insert(key.clone(), value.clone());
                }
            }
            Ok(Inner::Replaced(StringMap::new(
                entries.into_iter().collect(),
            )))
        }
        _ => Ok(Inner::Done),
    }
}

/// Go's text where a value of any type would have to become a string. Entries that stay as they are do not fail.
fn refuse(present: Option<&Text>, value: &Value, mode: Mode) -> Result<()> {
    let type_name = match (present, value) {
        (_, Value::Nil) if mode == Mode::Fill => return Ok(()),
        (Some(_), Value::List(_)) => {
            return Err(Failure::plain(
                "reflect: call of reflect.Value.IsNil on string Value",
            ));
        }
        (None, Value::List(list)) => list.type_name(),
        (Some(text), _) if mode == Mode::Fill && !text.bytes().is_empty() => return Ok(()),
        _ => "interface {}",
    };
    Err(Failure::plain(format!(
        "reflect.Value.SetMapIndex: value of type {type_name} is not assignable to type string"
    )))
}

/// Nothing is merged into what a pointer points to, but the types have to fit.
fn merge_into_pointer(target: &Value, source: &Value, mode: Mode) -> Inner {
    let fits = match source {
        Value::Dict(source) => source.is_nil(),
        Value::SemverStruct(_) => matches!(target, Value::Version(_)),
        Value::StringMap(_) | Value::Time(_) | Value::Certificate(_) => false,
        _ => true,
    };
    if fits || mode == Mode::Overwrite {
        Inner::Done
    } else {
        Inner::DifferentTypes
    }
}

fn is_pointer(value: &Value) -> bool {
    matches!(value, Value::Version(_) | Value::Location(_))
}

//! Methods of `semver.Version` and of the pointer to one.

use std::rc::Rc;

use super::{Method, Type, times};
use crate::failure::{Failure, Result};
use crate::functions::Parameter;
use crate::value::Value;
use crate::version::Version;

/// `*semver.Version`
pub(super) const POINTER: Type = Type {
    methods: &[OF_VALUES, OF_POINTERS],
    refused: &[
        ("Scan", CHANGES),
        ("UnmarshalJSON", CHANGES),
        ("UnmarshalText", CHANGES),
    ],
};

/// `semver.Version`
pub(super) const VALUE: Type = Type {
    methods: &[OF_VALUES],
    refused: &[],
};

/// Versions are shared here, so what changes them in place is left out.
const CHANGES: &str = "methods that change a version are not supported";

/// A method of a version: its name, the types of its parameters, and its code.
macro_rules! method {
    ($name:literal, [$($parameter:ident),*], |$cx:pat_param, $version:ident, $arguments:pat_param| $body:expr) => {
        Method {
            name: $name,
            parameters: &[$(Parameter::$parameter),*],
            call: |$cx, receiver, $arguments| {
                let $version = version(receiver)?;
                Ok($body)
            },
        }
    };
}

const OF_VALUES: &[Method] = &[
    method!("String", [], |cx, it, _| cx.text(it.text())?),
    method!("Major", [], |_, it, _| Value::Uint64(it.major())),
    method!("Minor", [], |_, it, _| Value::Uint64(it.minor())),
    method!("Patch", [], |_, it, _| Value::Uint64(it.patch())),
    method!("Prerelease", [], |_, it, _| Value::Text(
        it.prerelease().clone()
    )),
    method!("Metadata", [], |_, it, _| Value::Text(
        it.metadata().clone()
    )),
    method!("IncMajor", [], |_, it, _| value(it.next_major())),
    method!("IncMinor", [], |_, it, _| value(it.next_minor())),
    method!("IncPatch", [], |_, it, _| value(it.next_patch())),
    method!("SetPrerelease", [Text], |_, it, arguments| value(
        it.with_prerelease(super::text(arguments, 0)?)?
    )),
    method!("SetMetadata", [Text], |_, it, arguments| value(
        it.with_metadata(super::text(arguments, 0)?)?
    )),
    method!("MarshalText", [], |cx, it, _| times::byte_list(
        cx,
        it.text().as_bytes()
    )?),
    method!("MarshalJSON", [], |cx, it, _| {
        times::byte_list(cx, format!("\"{}\"", it.text()).as_bytes())?
    }),
    method!("Value", [], |cx, it, _| cx.text(it.text())?),
];

const OF_POINTERS: &[Method] = &[
    method!("Original", [], |_, it, _| Value::Text(
        it.original().clone()
    )),
    method!("LessThan", [Version], |_, it, arguments| Value::Bool(
        it.compare(other(arguments)?).is_lt()
    )),
    method!("LessThanEqual", [Version], |_, it, arguments| Value::Bool(
        it.compare(other(arguments)?).is_le()
    )),
    method!("GreaterThan", [Version], |_, it, arguments| Value::Bool(
        it.compare(other(arguments)?).is_gt()
    )),
    method!("GreaterThanEqual", [Version], |_, it, arguments| {
        Value::Bool(it.compare(other(arguments)?).is_ge())
    }),
    // The one that stands a nil pointer.
    method!("Equal", [Version], |_, it, arguments| Value::Bool(
        other(arguments).is_ok_and(|other| it.compare(other).is_eq())
    )),
    method!("Compare", [Version], |_, it, arguments| Value::Int(
        it.compare(other(arguments)?) as i64
    )),
];

fn version(receiver: &Value) -> Result<&Version> {
    match receiver {
        Value::Version(Some(version)) | Value::SemverStruct(version) => Ok(version),
        Value::Version(None) => Err(Failure::nil_pointer()),
        _ => Err(Failure::unexpected_type()),
    }
}

/// The first argument, which the evaluator has checked to be a pointer to a version.
fn other(arguments: &[Value]) -> Result<&Version> {
    match arguments.first() {
        Some(Value::Version(Some(version))) => Ok(version),
        Some(Value::Version(None) | Value::Nil) => Err(Failure::nil_pointer()),
        _ => Err(Failure::unexpected_type()),
    }
}

fn value(version: Version) -> Value {
    Value::SemverStruct(Rc::new(version))
}

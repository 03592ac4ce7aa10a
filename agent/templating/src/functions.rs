//! The function table: what External Secrets gives to templates beside Go's built-ins.
//!
//! One file a subject, each with a `FUNCTIONS` slice. The evaluator checks and converts arguments by the table, so a function
//! gets as many as it has parameters, each of its type.

mod certificates;
pub(crate) mod cost;
mod crypto;
mod dates;
mod dicts;
mod encoding;
mod json;
mod jwk;
mod lists;
mod numbers;
mod paths;
mod patterns;
mod pem;
mod pkcs12;
mod random;
mod strings;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod types;
mod urls;
mod versions;
mod yaml;

pub(crate) use patterns::replaced;
pub(crate) use urls::normal as normal_url;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::value::{Dict, List, Text, Value};

/// A function of the table.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    /// The types of its parameters, in call order.
    pub(crate) parameters: &'static [Parameter],
    /// The type of any number of further arguments.
    pub(crate) variadic: Option<Parameter>,
    /// The result's type in the words of the book: `string`, `list`, `any`.
    pub(crate) result: &'static str,
    /// One line: what it does.
    pub(crate) summary: &'static str,
    /// Where it comes from: `sprig`, `External Secrets`.
    pub(crate) source: &'static str,
    /// A template and what it renders to, for the book; the test suite runs it.
    pub(crate) example: (&'static str, &'static str),
    pub(crate) call: Call,
}

/// The code of a function.
pub(crate) type Call = fn(&mut Context, &[Value]) -> Result<Value>;

/// The type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parameter {
    /// `interface {}`: takes everything, nil too.
    Any,
    /// `string`
    Text,
    /// `int`
    Int,
    /// `uint32`: a [`Value::Int`] within its range.
    Uint32,
    /// `float64`
    Float,
    /// `bool`
    Bool,
    /// `[]interface {}`; nil arrives as the nil list.
    List,
    /// `map[string]interface {}`; nil arrives as the nil dict.
    Dict,
    /// `time.Time`
    Time,
    /// `time.Duration`; takes integer literals. Of methods.
    Duration,
    /// `*semver.Version`; nil arrives as the nil pointer. Of methods.
    Version,
    /// `*time.Location`; nil arrives as [`Value::Nil`]. Of methods.
    Location,
    /// `[]uint8`; nil arrives as the nil list. Of methods.
    Bytes,
    /// `sprig.certificate`
    Certificate,
    /// `sprig.HashAlgorithm`: arrives as [`Value::Text`], taken from literals only.
    HashAlgorithm,
}

/// All functions with their subjects. Groups of one subject follow each other.
pub(crate) static GROUPS: &[(&str, &[Function])] = &[
    ("Certificates", certificates::FUNCTIONS),
    ("Cryptography", crypto::FUNCTIONS),
    ("Dates", dates::FUNCTIONS),
    ("Dicts", dicts::FUNCTIONS),
    ("Dicts", dicts::copy::FUNCTIONS),
    ("Dicts", dicts::merge::FUNCTIONS),
    ("Encoding and checksums", encoding::FUNCTIONS),
    ("JSON", json::FUNCTIONS),
    ("JSON Web Keys", jwk::FUNCTIONS),
    ("Lists", lists::choice::FUNCTIONS),
    ("Lists", lists::ends::FUNCTIONS),
    ("Lists", lists::select::FUNCTIONS),
    ("Numbers", numbers::FUNCTIONS),
    ("Paths", paths::FUNCTIONS),
    ("Regular expressions", patterns::FUNCTIONS),
    ("PEM", pem::FUNCTIONS),
    ("PKCS#12", pkcs12::FUNCTIONS),
    ("Random values", random::FUNCTIONS),
    ("Strings", strings::case::FUNCTIONS),
    ("Strings", strings::cut::FUNCTIONS),
    ("Strings", strings::join::FUNCTIONS),
    ("Strings", strings::search::FUNCTIONS),
    ("Strings", strings::split::FUNCTIONS),
    ("Strings", strings::words::FUNCTIONS),
    ("Strings", strings::wrap::FUNCTIONS),
    ("Types", types::FUNCTIONS),
    ("URLs", urls::FUNCTIONS),
    ("Versions", versions::FUNCTIONS),
    ("YAML", yaml::FUNCTIONS),
];

static TABLE: LazyLock<HashMap<&'static str, &'static Function>> = LazyLock::new(|| {
    GROUPS
        .iter()
        .flat_map(|(_, functions)| *functions)
        .map(|function| (function.name, function))
        .collect()
});

/// The function of a name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    TABLE.get(name).copied()
}

// === impl Parameter ===

impl Parameter {
    /// The Go type's name, as it stands in error texts.
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Text => "string",
            Self::Int => "int",
            Self::Uint32 => "uint32",
            Self::Float => "float64",
            Self::Bool => "bool",
            Self::List => "[]interface {}",
            Self::Dict => "map[string]interface {}",
            Self::Time => "time.Time",
            Self::Duration => "time.Duration",
            Self::Version => "*semver.Version",
            Self::Location => "*time.Location",
            Self::Bytes => "[]uint8",
            Self::Certificate => "sprig.certificate",
            Self::HashAlgorithm => "sprig.HashAlgorithm",
        }
    }
}

/// Argument `index`, which the evaluator has checked to be a string.
fn text(arguments: &[Value], index: usize) -> Result<&Text> {
    match arguments.get(index) {
        Some(Value::Text(text)) => Ok(text),
        _ => Err(Failure::unexpected_type()),
    }
}

/// Argument `index`, which the evaluator has checked to be an int.
fn int(arguments: &[Value], index: usize) -> Result<i64> {
    match arguments.get(index) {
        Some(Value::Int(value)) => Ok(*value),
        _ => Err(Failure::unexpected_type()),
    }
}

/// Argument `index`, of any type.
fn any(arguments: &[Value], index: usize) -> Result<&Value> {
    arguments.get(index).ok_or_else(Failure::unexpected_type)
}

/// Argument `index`, which the evaluator has checked to be a dict.
fn dict(arguments: &[Value], index: usize) -> Result<&Dict> {
    match arguments.get(index) {
        Some(Value::Dict(dict)) => Ok(dict),
        _ => Err(Failure::unexpected_type()),
    }
}

/// Argument `index`, which the evaluator has checked to be a list of any.
fn list(arguments: &[Value], index: usize) -> Result<&List> {
    match arguments.get(index) {
        Some(Value::List(list)) => Ok(list),
        _ => Err(Failure::unexpected_type()),
    }
}

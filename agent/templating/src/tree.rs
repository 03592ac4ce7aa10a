//! JSON whose texts wipe themselves: objects that hold secret values, on their way from a template to the API server.

use std::collections::BTreeMap;
use std::fmt;

use latchkey_secret::SecretValue;
use serde_json::{Map, Number, Value};
use zeroize::Zeroize as _;

use crate::unicode;

/// A JSON value as Kubernetes holds one: numbers are 64-bit integers or floats. `Debug` shows the shape and no content.
///
/// Keys are ordinary strings, as those of a [`latchkey_secret::SecretData`].
#[derive(Clone, PartialEq)]
pub enum Tree {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number without fraction that fits.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// A string. Always UTF-8 if it was made by [`Tree::text`].
    Text(SecretValue),
    /// An array.
    List(Vec<Tree>),
    /// An object.
    Map(BTreeMap<String, Tree>),
}

// === impl Tree ===

impl Tree {
    /// A string of `value`. Each byte that is not UTF-8 becomes U+FFFD, as it does when Go writes JSON.
    #[must_use]
    pub fn text(value: SecretValue) -> Self {
        if std::str::from_utf8(value.expose()).is_ok() {
            return Self::Text(value);
        }
        let valid: String = unicode::runes(value.expose()).collect();
        Self::Text(SecretValue::from(valid))
    }

    /// A number as Kubernetes reads it: an integer if its shortest decimal text is one that fits into 64 bits.
    pub(crate) fn number(number: f64) -> Self {
        match format!("{number}").parse() {
            Ok(integer) => Self::Integer(integer),
            Err(_) => Self::Float(number),
        }
    }

    /// The empty object.
    #[must_use]
    pub fn map() -> Self {
        Self::Map(BTreeMap::new())
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The value of a key, if this is an object that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(map) => map.get(key),
            _ => None,
        }
    }

    /// The name of its type in Go, as `%T` prints it.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "<nil>",
            Self::Bool(_) => "bool",
            Self::Integer(_) => "int64",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
        }
    }

    /// Bytes that it takes, roughly.
    #[must_use]
    pub fn weight(&self) -> u64 {
        let own = size_of::<Self>() as u64;
        own + match self {
            Self::Text(value) => value.len() as u64,
            Self::List(items) => items.iter().map(Self::weight).sum(),
            Self::Map(map) => {
                let entries = map.iter();
                entries
                    .map(|(key, value)| key.len() as u64 + value.weight())
                    .sum()
            }
            _ => 0,
        }
    }

    /// Takes a JSON value over without copying its texts.
    #[must_use]
    pub fn from_json(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(number) => match number.as_i64() {
                Some(integer) => Self::Integer(integer),
                None => Self::Float(number.as_f64().unwrap_or_default()),
            },
            Value::String(text) => Self::Text(SecretValue::from(text)),
            Value::Array(items) => Self::List(items.into_iter().map(Self::from_json).collect()),
            Value::Object(map) => {
                let entries = map.into_iter();
                Self::Map(
                    entries
                        .map(|(key, value)| (key, Self::from_json(value)))
                        .collect(),
                )
            }
        }
    }

    /// A copy outside of the wiping type. Call it only where an object leaves the program, and [`wipe`] the copy.
    ///
    /// A float that JSON cannot have becomes `null`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Integer(integer) => Value::Number(Number::from(*integer)),
            Self::Float(float) => Number::from_f64(*float).map_or(Value::Null, Value::Number),
            Self::Text(value) => {
                Value::String(String::from_utf8_lossy(value.expose()).into_owned())
            }
            Self::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Self::Map(map) => {
                let entries = map.iter();
                let object: Map<_, _> = entries
                    .map(|(key, value)| (key.clone(), value.to_json()))
                    .collect();
                Value::Object(object)
            }
        }
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(value) => write!(formatter, "Text({} bytes)", value.len()),
            Self::List(items) => write!(formatter, "List({} items)", items.len()),
            Self::Map(map) => write!(formatter, "Map({} entries)", map.len()),
            other => write!(formatter, "Tree({})", other.type_name()),
        }
    }
}

/// Overwrites every text in a JSON value.
pub fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(map) => map.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_goes_through_unchanged() {
        let value = json!({ "a": [1, -2.5, true, null, "x"], "b": { "c": {} }, "d": 9_007_199_254_740_993_i64 });
        assert_eq!(Tree::from_json(value.clone()).to_json(), value);
        let large = Tree::from_json(json!(u64::MAX));
        assert_eq!(large, Tree::Float(u64::MAX as f64));
    }

    #[test]
    fn numbers_are_integers_if_they_have_no_fraction() {
        for (number, expected) in [
            (3.0, Tree::Integer(3)),
            (-0.0, Tree::Integer(0)),
            (1e6, Tree::Integer(1_000_000)),
            (1.5, Tree::Float(1.5)),
            (1e19, Tree::Float(1e19)),
            (1e300, Tree::Float(1e300)),
        ] {
            assert_eq!(Tree::number(number), expected, "{number}");
        }
    }

    #[test]
    fn texts_are_made_utf8_and_never_shown() {
        let text = Tree::text(SecretValue::new(vec![b'a', 0xff, 0xfe, b'b']));
        assert_eq!(text.to_json(), json!("a\u{fffd}\u{fffd}b"));
        let tree = Tree::from_json(json!({ "hunter2": ["hunter2"] }));
        assert_eq!(format!("{tree:?}"), "Map(1 entries)");
        assert_eq!(
            format!("{:?}", Tree::from_json(json!("hunter2"))),
            "Text(7 bytes)"
        );
        let mut value = tree.to_json();
        wipe(&mut value);
        assert_eq!(value, json!({ "hunter2": [""] }));
    }
}

//! JSON objects outside of templates: merged field by field and written as Go's `encoding/json` and External Secrets do, with
//! the bounds of a render.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use latchkey_secret::{SecretData, SecretValue};

use crate::buffer::Buffer;
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::format;
use crate::json::{self, Style};
use crate::limits::{Limits, Usage};
use crate::value::{Dict, Text, Value};

/// Bytes that any float takes in plain decimal.
const LONGEST_NUMBER: usize = 352;

/// The fields of one or more JSON objects. The limits hold for all of them together.
pub struct JsonObject {
    cx: Context,
    fields: Dict,
}

/// A text that is no JSON object, in Go's words where those show no part of it, or a bound that was reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// It is JSON, but no object. Names the type.
    #[error("json: cannot unmarshal {0} into Go value of type map[string]interface {{}}")]
    OtherType(&'static str),
    /// It is no JSON. Go's text may quote a part of it.
    #[error("the value is not valid JSON; the reason could show a part of it and is left out")]
    Malformed,
    /// It ends too early. Shows no part of it.
    #[error("{0}")]
    Incomplete(String),
    /// A bound was reached.
    #[error("{0}")]
    Limit(String),
}

// === impl JsonObject ===

impl JsonObject {
    /// No fields.
    ///
    /// # Errors
    ///
    /// [`JsonError::Limit`] if there is no memory for an object at all.
    pub fn new(limits: &Limits) -> Result<Self, JsonError> {
        let mut cx = Context::new(*limits, Timestamp::UNIX_EPOCH, TimeZone::UTC);
        let fields = cx.dict()?;
        Ok(Self { cx, fields })
    }

    /// Sets every field of the object `text`, over those that are there; `null` has none. Of fields that `text` itself repeats,
    /// the last counts.
    ///
    /// Returns the names of the fields that were there, in ascending order.
    ///
    /// # Errors
    ///
    /// `text` is no object, or a bound was reached. Nothing is set then.
    pub fn merge(&mut self, text: &SecretValue) -> Result<Vec<String>, JsonError> {
        let document = json::read(&mut self.cx, text.expose())?;
        let object = match document.value {
            Value::Dict(dict) => dict,
            // A number without a float is read as nil.
            Value::Nil if document.failure.is_some() => return Err(JsonError::OtherType("number")),
            Value::Nil => return Ok(Vec::new()),
            other => return Err(JsonError::OtherType(type_name(&other))),
        };
        if document.failure.is_some() {
            return Err(JsonError::Malformed);
        }
        let mut repeated = Vec::new();
        for (name, value) in object.entries() {
            if self.fields.contains(name.bytes()) {
                repeated.push(name.to_lossy().into_owned());
            }
            self.fields.insert(name, value);
        }
        Ok(repeated)
    }

    /// The object as compact JSON: names in order, `<`, `>` and `&` as they are.
    ///
    /// # Errors
    ///
    /// [`JsonError::Limit`].
    pub fn to_json(&mut self) -> Result<SecretValue, JsonError> {
        let style = Style {
            escape_html: false,
            pretty: false,
        };
        let text = json::write(&mut self.cx, &Value::Dict(self.fields.clone()), style)?;
        Ok(secret(&text))
    }

    /// The fields by name, as External Secrets puts them into a Secret: texts as they are, numbers in plain decimal, booleans as
    /// words, `null` as nothing, lists and objects as compact JSON in which `<`, `>` and `&` are escaped.
    ///
    /// # Errors
    ///
    /// [`JsonError::Limit`].
    pub fn to_data(&mut self) -> Result<SecretData, JsonError> {
        let mut data = SecretData::new();
        for (name, value) in self.fields.entries() {
            let value = bytes(&mut self.cx, &value)?;
            data.insert(name.to_lossy().into_owned(), value);
        }
        Ok(data)
    }

    /// What was used so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.cx.usage()
    }
}

impl From<Failure> for JsonError {
    fn from(failure: Failure) -> Self {
        match failure.kind() {
            Kind::Limit(_) => Self::Limit(failure.text().to_owned()),
            Kind::Plain => Self::Incomplete(failure.text().to_owned()),
            Kind::ShowsData => Self::Malformed,
        }
    }
}

fn bytes(cx: &mut Context, value: &Value) -> Result<SecretValue, JsonError> {
    let style = Style {
        escape_html: true,
        pretty: false,
    };
    Ok(match value {
        Value::Text(text) => secret(text),
        Value::Nil => SecretValue::default(),
        Value::Float(number) => {
            let mut text = Buffer::with_capacity(LONGEST_NUMBER);
            format::float::append(*number, b'f', None, text.as_vec_mut());
            SecretValue::new(text.to_vec())
        }
        other => secret(&json::write(cx, other, style)?),
    })
}

fn secret(text: &Text) -> SecretValue {
    SecretValue::new(text.bytes().to_vec())
}

/// The type's name in Go's message.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Text(_) => "string",
        Value::Bool(_) => "bool",
        Value::List(_) => "array",
        _ => "number",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> SecretValue {
        SecretValue::from(text.to_owned())
    }

    fn object(texts: &[&str]) -> Result<JsonObject, JsonError> {
        let mut object = JsonObject::new(&Limits::default())?;
        for one in texts {
            object.merge(&text(one))?;
        }
        Ok(object)
    }

    #[test]
    fn later_fields_win_and_are_reported() {
        let mut object = object(&[r#"{"b":1,"a":{"x":1}}"#, "null", " {} "]).unwrap();
        let repeated = object.merge(&text(r#"{"b":2,"c":3,"a":{"y":2},"b":4}"#));
        assert_eq!(repeated.unwrap(), ["a", "b"]);
        assert_eq!(
            object.to_json().unwrap(),
            text(r#"{"a":{"y":2},"b":4,"c":3}"#)
        );
    }

    #[test]
    fn fields_become_bytes_as_go_converts_them() {
        // externalsecret.md 3.4, E175
        for (json, expected) in [
            (r#""te<x>t""#, "te<x>t"),
            (r#""\u00e9\n\ud800""#, "\u{e9}\n\u{fffd}"),
            ("123.45", "123.45"),
            ("1e3", "1000"),
            ("1e21", "1000000000000000000000"),
            ("1e-7", "0.0000001"),
            ("-0", "-0"),
            ("9007199254740993", "9007199254740992"),
            ("true", "true"),
            ("false", "false"),
            ("null", ""),
            (
                r#"{"z":"<&>", "a" : [1.0, 1e21, 1e-7, null]}"#,
                r#"{"a":[1,1e+21,1e-7,null],"z":"\u003c\u0026\u003e"}"#,
            ),
            (r#"["a", "b"]"#, r#"["a","b"]"#),
        ] {
            let mut object = object(&[&format!("{{\"k\":{json}}}")]).unwrap();
            assert_eq!(object.to_data().unwrap()["k"], text(expected), "{json}");
        }
        let mut object = object(&[r#"{"k":"<&>","l":1e3}"#]).unwrap();
        assert_eq!(object.to_json().unwrap(), text(r#"{"k":"<&>","l":1000}"#));
    }

    #[test]
    fn other_texts_fail_without_showing_them() {
        // externalsecret.md 3.4; the texts are those of Go 1.26 but for what they would quote.
        let of_type = |name: &str| {
            format!("json: cannot unmarshal {name} into Go value of type map[string]interface {{}}")
        };
        let malformed = JsonError::Malformed.to_string();
        for (json, expected) in [
            ("[1]", of_type("array")),
            ("1", of_type("number")),
            ("1e999", of_type("number")),
            ("\"s\"", of_type("string")),
            ("true", of_type("bool")),
            ("words", malformed.clone()),
            ("{\"a\":1e999}", malformed.clone()),
            ("{} x", malformed),
            ("", "unexpected end of JSON input".to_owned()),
            ("{\"a\":", "unexpected end of JSON input".to_owned()),
            (
                "tru",
                "invalid character ' ' in literal true (expecting 'e')".to_owned(),
            ),
        ] {
            let error = object(&[json]).err().unwrap();
            assert_eq!(error.to_string(), expected, "{json}");
        }
        let deep = format!("{{\"a\":{}", "[".repeat(2_000));
        assert!(matches!(object(&[&deep]), Err(JsonError::Limit(_))));
    }
}

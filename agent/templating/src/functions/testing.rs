//! What the unit tests of functions share.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::context::Context;
use crate::limits::Limits;
use crate::value::{Text, Value};

/// A context with the default limits.
pub(crate) fn context() -> Context {
    Context::new(Limits::default(), Timestamp::UNIX_EPOCH, TimeZone::UTC)
}

/// Calls a function and shows what it returns: a string as it is, bytes that are not UTF-8 as `\xNN`, a bool by its word, a
/// failure as `error: TEXT`.
pub(crate) fn call(name: &str, arguments: &[Value]) -> String {
    let function = super::find(name).expect("the function exists");
    match (function.call)(&mut context(), arguments) {
        Ok(Value::Text(text)) => show(text.bytes()),
        Ok(Value::Bool(value)) => value.to_string(),
        Ok(Value::Nil) => "<nil>".to_owned(),
        Ok(value) => format!("{} is no text", value.type_name()),
        Err(failure) => format!("error: {}", failure.text()),
    }
}

fn show(bytes: &[u8]) -> String {
    bytes
        .utf8_chunks()
        .map(|chunk| {
            let invalid = chunk.invalid().iter();
            let escapes: String = invalid.map(|byte| format!("\\x{byte:02x}")).collect();
            chunk.valid().to_owned() + &escapes
        })
        .collect()
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::of(text)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Text(Text::new(bytes.to_vec()))
    }
}

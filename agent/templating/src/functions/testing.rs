//! What the unit tests of functions share.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use latchkey_secret::SecretData;

use super::Function;
use crate::context::Context;
use crate::error::RenderError;
use crate::limits::{Limit, Limits};
use crate::template::{Options, Template};
use crate::value::{Text, Value};

/// A context with the default limits.
pub(crate) fn context() -> Context {
    Context::new(Limits::default(), Timestamp::UNIX_EPOCH, TimeZone::UTC)
}

/// Calls a function and shows what it returns: a string as it is, bytes that are not UTF-8 as `\xNN`, a bool by its word, a
/// failure as `error: TEXT`.
pub(crate) fn call(name: &str, arguments: &[Value]) -> String {
    call_within(Limits::default(), name, arguments)
}

/// [`call`] within other limits.
pub(crate) fn call_within(limits: Limits, name: &str, arguments: &[Value]) -> String {
    let function = super::find(name).expect("the function exists");
    let mut cx = Context::new(limits, Timestamp::UNIX_EPOCH, TimeZone::UTC);
    match (function.call)(&mut cx, arguments) {
        Ok(Value::Text(text)) => show(text.bytes()),
        Ok(Value::Bool(value)) => value.to_string(),
        Ok(Value::Nil) => "<nil>".to_owned(),
        Ok(value) => format!("{} is no text", value.type_name()),
        Err(failure) => format!("error: {}", failure.text()),
    }
}

/// Renders a template without data and shows the output as [`call`] does, or `error: ` and why it failed.
pub(crate) fn render(template: &str) -> String {
    match outcome(template, Limits::default()) {
        Ok(output) => show(&output),
        Err(error) => format!("error: {}", error.message),
    }
}

/// Renders a template under `limits`; a failure shows as the limit that was reached.
pub(crate) fn limited(template: &str, limits: Limits) -> Result<String, Option<Limit>> {
    let output = outcome(template, limits).map_err(|error| error.limit())?;
    Ok(show(&output))
}

/// Renders the example of each function.
pub(crate) fn check_examples(functions: &[Function]) {
    for function in functions {
        let (template, expected) = function.example;
        assert_eq!(render(template), expected, "{template}");
    }
}

fn outcome(template: &str, limits: Limits) -> Result<Vec<u8>, RenderError> {
    let options = Options {
        limits,
        ..Options::new(Timestamp::UNIX_EPOCH)
    };
    let template = Template::parse("test", template, &options).expect("the template parses");
    let output = template.render(&SecretData::default(), &options)?;
    Ok(output.expose().to_vec())
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
        Self::Text(Text::from(text))
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Text(Text::new(bytes.to_vec()))
    }
}

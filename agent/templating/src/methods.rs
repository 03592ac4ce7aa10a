//! The methods that templates may call on times, durations, months, weekdays, locations and versions.

use crate::context::Context;
use crate::failure::Result;
use crate::functions::Parameter;
use crate::value::Value;

/// A method with its receiver's rules.
pub(crate) struct Method {
    pub(crate) name: &'static str,
    pub(crate) parameters: &'static [Parameter],
    /// The receiver first, then as many arguments as there are parameters, each of its type.
    pub(crate) call: fn(&mut Context, &Value, &[Value]) -> Result<Value>,
}

/// What a receiver has under a name.
pub(crate) enum Found {
    /// A method that can be called.
    Method(&'static Method),
    /// A method that Go's templates refuse, with the text: `function Date has 3 return values; should be 1 or 2`.
    Refused(&'static str),
    /// None: the evaluator says that the field cannot be evaluated.
    Nothing,
}

/// The method `name` of `receiver`'s type.
pub(crate) fn find(_receiver: &Value, _name: &str) -> Found {
    Found::Nothing
}

//! How values print: Go's `fmt` as far as templates reach it.

use crate::context::Context;
use crate::failure::Result;
use crate::value::Value;

/// Appends `value` as `%v` prints it. nil is `<nil>`; the evaluator prints `<no value>` for one at the end of an action.
pub(crate) fn display(_cx: &mut Context, value: &Value, out: &mut Vec<u8>) -> Result<()> {
    if let Some(bytes) = value.as_bytes() {
        out.extend_from_slice(bytes);
    }
    Ok(())
}

/// Appends `arguments` as `fmt.Sprint` does.
pub(crate) fn print(_cx: &mut Context, _arguments: &[Value], _out: &mut Vec<u8>) -> Result<()> {
    Ok(())
}

/// Appends `arguments` as `fmt.Sprintln` does.
pub(crate) fn println(_cx: &mut Context, _arguments: &[Value], _out: &mut Vec<u8>) -> Result<()> {
    Ok(())
}

/// Appends `arguments` as `fmt.Sprintf` does.
pub(crate) fn printf(
    _cx: &mut Context,
    _format: &[u8],
    _arguments: &[Value],
    _out: &mut Vec<u8>,
) -> Result<()> {
    Ok(())
}

/// Appends `bytes` in Go's double quotes: `%q`.
pub(crate) fn quote(_bytes: &[u8], _out: &mut Vec<u8>) {}

/// Appends a float as `%v` does: shortest digits, exponent below -4 and from 21 decimals... see the book.
pub(crate) fn float(_value: f64, _out: &mut Vec<u8>) {}

/// Appends `arguments` as the built-in `html` does.
pub(crate) fn html(_cx: &mut Context, _arguments: &[Value], _out: &mut Vec<u8>) -> Result<()> {
    Ok(())
}

/// Appends `arguments` as the built-in `js` does.
pub(crate) fn js(_cx: &mut Context, _arguments: &[Value], _out: &mut Vec<u8>) -> Result<()> {
    Ok(())
}

/// Appends `arguments` as the built-in `urlquery` does.
pub(crate) fn urlquery(_cx: &mut Context, _arguments: &[Value], _out: &mut Vec<u8>) -> Result<()> {
    Ok(())
}

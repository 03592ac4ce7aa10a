//! Strings. Lengths and positions count bytes; strings need not be UTF-8.

pub(super) mod case;
pub(super) mod cut;
pub(super) mod join;
pub(super) mod search;
pub(super) mod split;
pub(super) mod words;
pub(super) mod wrap;

#[cfg(test)]
mod tests;

use crate::context::Context;
use crate::failure::Result;
use crate::value::{Text, Value};

/// A part of `whole`: no copy if it is all of it.
fn part(cx: &mut Context, whole: &Text, part: &[u8]) -> Result<Value> {
    if part.len() == whole.bytes().len() {
        return Ok(Value::Text(whole.clone()));
    }
    cx.text(part)
}

/// Pays for a look at each of `bytes`, where nothing is made of them that would be paid for.
fn look(cx: &mut Context, bytes: &[u8]) -> Result<()> {
    cx.work(bytes.len() as u64 / 64)
}

/// An empty buffer for up to `bytes`, paid for. It never grows, so no copy of a secret is left behind.
fn buffer(cx: &mut Context, bytes: usize) -> Result<Vec<u8>> {
    cx.allocate(bytes)?;
    Ok(Vec::with_capacity(bytes))
}

/// How many bytes the runes of `bytes` take at most once each was mapped to another.
fn mapped_len(bytes: &[u8]) -> usize {
    if bytes.is_ascii() {
        return bytes.len();
    }
    // A byte that is not UTF-8 becomes U+FFFD.
    bytes.len().saturating_mul(3)
}

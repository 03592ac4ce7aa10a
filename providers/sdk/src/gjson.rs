//! Paths into JSON text, with the syntax and results of the Go library gjson 1.14 (specification 3.2 and appendix A).
//!
//! | syntax | meaning |
//! |---|---|
//! | `a.b`, `a\.b` | member `b` of member `a`; member `a.b` |
//! | `na*`, `n?me` | the first member whose name matches |
//! | `list.0`, `list.#` | an element, the number of elements |
//! | `list.#.name` | that path in each element, as an array |
//! | `list.#(age>50)`, `list.#(age>50)#` | the first element that matches, all of them |
//! | <code>path&#124;rest</code> | like `.`, but behind `#` the rest applies to the whole array |
//! | `@keys`, `@dig:name`, … | a modifier, see the module behind |
//! | `{a,"n":b}`, `[a,b]` | several paths as one object or array |
//! | `!"text"` | a literal |
//! | `..` | the text is a sequence of values, read as an array |
//!
//! The text is not validated: what is not JSON has no members. The first of duplicate keys wins. The empty path names nothing,
//! and so does every path behind something missing. Work is linear in the text for each component of the path; paths that nest
//! too deep or cost too much name nothing.

mod modifier;
mod path;
mod query;

use std::borrow::Cow;
use std::cell::Cell;

use latchkey_secret::SecretValue;
use zeroize::Zeroize as _;

use crate::json::{self, Kind};
use path::{Component, Next};

/// Deepest nesting of paths in paths.
const MAX_DEPTH: usize = 64;
/// Bytes of text that one path may look at, for each byte of the document. A path of `n` components needs `n`.
const WORK_PER_BYTE: usize = 256;
/// Bytes of text that one path may look at in any document.
const WORK_BASE: usize = 1 << 20;

/// A value that a path names.
#[derive(Clone, PartialEq, Eq)]
pub struct Found<'a> {
    raw: Cow<'a, [u8]>,
}

/// Finds the value that `path` names in `text`; `None` if there is none.
#[must_use]
pub fn get<'a>(text: &'a [u8], path: &str) -> Option<Found<'a>> {
    let left = Cell::new(
        text.len()
            .saturating_mul(WORK_PER_BYTE)
            .saturating_add(WORK_BASE),
    );
    evaluate(
        text,
        path,
        Limits {
            depth: 0,
            left: &left,
        },
    )
}

/// `path` with every character that has a meaning escaped, so that it names one top-level member.
#[must_use]
pub fn escape_dots(path: &str) -> String {
    path.replace('.', "\\.")
}

/// What a path may still cost.
#[derive(Clone, Copy)]
struct Limits<'l> {
    depth: usize,
    left: &'l Cell<usize>,
}

// === impl Limits ===

impl Limits<'_> {
    fn deeper(self) -> Self {
        Self {
            depth: self.depth + 1,
            ..self
        }
    }

    /// Pays for looking at `text` once.
    fn pay(self, text: &[u8]) -> Option<()> {
        self.left.set(self.left.get().checked_sub(text.len() + 1)?);
        (self.depth <= MAX_DEPTH).then_some(())
    }
}

// === impl Found ===

impl Found<'_> {
    fn borrowed(raw: &[u8]) -> Found<'_> {
        Found {
            raw: Cow::Borrowed(json::trim(raw)),
        }
    }

    fn owned(raw: Vec<u8>) -> Found<'static> {
        Found {
            raw: Cow::Owned(raw),
        }
    }

    /// The JSON text of the value, as in the source.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The value as bytes: strings unescaped, `null` empty, numbers as plain decimals, everything else its text.
    #[must_use]
    pub fn render(&self) -> SecretValue {
        SecretValue::new(match json::kind(&self.raw) {
            Some(Kind::String) => std::mem::take(&mut *json::unescape(&self.raw)),
            Some(Kind::Null) => Vec::new(),
            Some(Kind::Number) => json::plain_number(&self.raw),
            Some(_) | None => self.raw.to_vec(),
        })
    }
}

impl Drop for Found<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(raw) = &mut self.raw {
            raw.zeroize();
        }
    }
}

impl std::fmt::Debug for Found<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Found({} bytes)", self.raw.len())
    }
}

/// Evaluates the whole of `path`.
fn evaluate<'a>(text: &'a [u8], path: &str, limits: Limits<'_>) -> Option<Found<'a>> {
    if path.is_empty() {
        return None;
    }
    limits.pay(text)?;
    if let Some((call, rest)) = modifier::parse(path) {
        return then(modifier::apply(&call, text, limits)?, rest, limits);
    }
    if let Some((literal, rest)) = path::literal(path) {
        return then(Found::owned(literal.to_vec()), rest, limits);
    }
    if let Some((selectors, rest)) = path::selectors(path) {
        return then(
            select(text, path.starts_with('{'), &selectors, limits),
            rest,
            limits,
        );
    }
    if let Some(rest) = path.strip_prefix("..") {
        return in_array(|| json::lines(text), rest, limits);
    }
    // Whatever stands before the first brace or bracket is skipped, as the reference does.
    let start = text.iter().position(|byte| matches!(byte, b'{' | b'['))?;
    let text = text.get(start..)?;
    match text.first()? {
        b'{' => in_object(text, path, limits),
        _ => in_array(|| json::elements(text), path, limits),
    }
}

/// Applies what follows a modifier, a literal or selectors.
fn then<'a>(found: Found<'a>, rest: &str, limits: Limits<'_>) -> Option<Found<'a>> {
    match rest.strip_prefix(['.', '|']) {
        None => Some(found),
        Some(rest) => chain(found, rest, limits),
    }
}

/// Evaluates `path` on what was found.
fn chain<'a>(found: Found<'a>, path: &str, limits: Limits<'_>) -> Option<Found<'a>> {
    // A borrowed text lives as long as the document; an owned one is copied out of.
    if let Cow::Borrowed(raw) = found.raw {
        return evaluate(raw, path, limits.deeper());
    }
    let inner = evaluate(&found.raw, path, limits.deeper())?;
    Some(Found::owned(inner.raw.to_vec()))
}

fn in_object<'a>(text: &'a [u8], path: &str, limits: Limits<'_>) -> Option<Found<'a>> {
    let Component { pattern, next } = path::component(path);
    let mut matching =
        json::members(text).filter(|member| pattern.matches(&json::unescape(member.key)));
    match next {
        Next::End => Some(Found::borrowed(matching.next()?.value)),
        Next::Pipe(rest) => chain(Found::borrowed(matching.next()?.value), rest, limits),
        // A member in which the rest of the path leads nowhere does not end the search, as in the reference; a pipe comes after it.
        Next::Path(rest) => {
            let (rest, piped) = path::split_pipe(rest);
            let found = matching.find_map(|member| descend(member.value, rest, limits))?;
            match piped {
                None => Some(found),
                Some(piped) => chain(found, piped, limits),
            }
        }
    }
}

/// Evaluates `path` inside an object or array; nothing is inside other values, also not inside a string that holds JSON.
fn descend<'a>(value: &'a [u8], path: &str, limits: Limits<'_>) -> Option<Found<'a>> {
    let container = matches!(
        json::kind(json::trim(value)),
        Some(Kind::Object | Kind::Array)
    );
    container.then(|| chain(Found::borrowed(value), path, limits))?
}

fn in_array<'a, I>(elements: impl Fn() -> I, path: &str, limits: Limits<'_>) -> Option<Found<'a>>
where
    I: Iterator<Item = &'a [u8]>,
{
    if let Some((query, all, next)) = query::parse(path) {
        let mut matching = elements().filter(|element| query.matches(element, limits));
        if !all {
            let first = Found::borrowed(matching.next()?);
            return match next {
                Next::End => Some(first),
                Next::Path(rest) | Next::Pipe(rest) => chain(first, rest, limits),
            };
        }
        return each(matching, next, limits);
    }
    if path == "#" {
        return Some(Found::owned(elements().count().to_string().into_bytes()));
    }
    if let Some(rest) = path.strip_prefix("#.") {
        return each(elements(), Next::Path(rest), limits);
    }
    if let Some(rest) = path.strip_prefix("#|") {
        return chain(
            Found::owned(elements().count().to_string().into_bytes()),
            rest,
            limits,
        );
    }
    let Component { pattern, next } = path::component(path);
    let element = elements().nth(pattern.index()?)?;
    match next {
        Next::End => Some(Found::borrowed(element)),
        Next::Path(rest) => descend(element, rest, limits),
        Next::Pipe(rest) => chain(Found::borrowed(element), rest, limits),
    }
}

/// The array of what a path names in each element; a pipe in the path applies to that array.
fn each<'a, 'b>(
    elements: impl Iterator<Item = &'b [u8]>,
    next: Next<'_>,
    limits: Limits<'_>,
) -> Option<Found<'a>> {
    let (inner, outer) = match next {
        Next::End => (None, None),
        Next::Path(rest) => {
            let (inner, outer) = path::split_pipe(rest);
            (Some(inner), outer)
        }
        Next::Pipe(rest) => (None, Some(rest)),
    };
    let mut out = vec![b'['];
    for element in elements {
        let found = match inner {
            None => Some(Found::borrowed(element)),
            Some(path) => evaluate(element, path, limits.deeper()),
        };
        if let Some(found) = found {
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(found.raw());
        }
    }
    out.push(b']');
    match outer {
        None => Some(Found::owned(out)),
        Some(rest) => chain(Found::owned(out), rest, limits),
    }
}

/// Several paths as one object or array; what is missing is left out.
fn select(
    text: &[u8],
    object: bool,
    selectors: &[path::Selector<'_>],
    limits: Limits<'_>,
) -> Found<'static> {
    let mut out = vec![if object { b'{' } else { b'[' }];
    for selector in selectors {
        let Some(found) = evaluate(text, selector.path, limits.deeper()) else {
            continue;
        };
        if out.len() > 1 {
            out.push(b',');
        }
        if object {
            selector.write_name(&mut out);
            out.push(b':');
        }
        out.extend_from_slice(found.raw());
    }
    out.push(if object { b'}' } else { b']' });
    Found::owned(out)
}

#[cfg(test)]
mod tests;

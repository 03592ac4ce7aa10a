//! Strings taken apart.

use memchr::memmem::Finder;

use super::super::{Function, Parameter, int, text};
use crate::context::Context;
use crate::failure::Result;
use crate::unicode;
use crate::value::{Element, StringMap, Text, Value};

pub(in crate::functions) const FUNCTIONS: &[Function] = &[
    Function {
        name: "split",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "smap",
        summary: "The parts of the second string between occurrences of the first, under `_0`, `_1` and so on.",
        source: "sprig",
        example: ("{{ $p := split \".\" \"a.b\" }}{{ $p._1 }}", "b"),
        call: split,
    },
    Function {
        name: "splitn",
        parameters: &[Parameter::Text, Parameter::Int, Parameter::Text],
        variadic: None,
        result: "smap",
        summary: "The same with at most so many parts; the last holds the rest.",
        source: "sprig",
        example: (
            "{{ $p := splitn \":\" 2 \"user:pa:ss\" }}{{ $p._1 }}",
            "pa:ss",
        ),
        call: split_n,
    },
    Function {
        name: "splitList",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "strings",
        summary: "The parts of the second string between occurrences of the first.",
        source: "sprig",
        example: ("{{ splitList \",\" \"a,b\" | join \"/\" }}", "a/b"),
        call: split_list,
    },
];

/// What a part takes beside its bytes: a counted vector.
const PART: usize = 48;
/// What an entry of a map takes beside that.
const ENTRY: usize = 64;

fn split(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (separator, text) = (text(arguments, 0)?, text(arguments, 1)?);
    cx.work(separator.bytes().len() as u64 / 16)?;
    numbered(cx, Parts::new(text, separator, usize::MAX))
}

fn split_n(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (separator, text) = (text(arguments, 0)?, text(arguments, 2)?);
    cx.work(separator.bytes().len() as u64 / 16)?;
    // Any negative limit is none.
    let limit = usize::try_from(int(arguments, 1)?).unwrap_or(usize::MAX);
    numbered(cx, Parts::new(text, separator, limit))
}

/// The first keys of [`numbered`].
const NUMBERS: [&str; 10] = ["_0", "_1", "_2", "_3", "_4", "_5", "_6", "_7", "_8", "_9"];

/// The parts as a map.
fn numbered(cx: &mut Context, parts: Parts<'_>) -> Result<Value> {
    let mut entries = Vec::new();
    for (index, part) in parts.enumerate() {
        cx.allocate(part.len() + 2 * PART + ENTRY)?;
        cx.work(2)?;
        let key = match NUMBERS.get(index) {
            Some(number) => Text::word(number),
            None => Text::from(format!("_{index}")),
        };
        entries.push((key, Text::copy(part)));
    }
    Ok(Value::StringMap(StringMap::new(entries)))
}

fn split_list(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (separator, text) = (text(arguments, 0)?, text(arguments, 1)?);
    cx.work(separator.bytes().len() as u64 / 16)?;
    let mut values = Vec::new();
    for part in Parts::new(text, separator, usize::MAX) {
        cx.allocate(part.len() + PART)?;
        cx.work(1)?;
        values.push(Value::Text(Text::copy(part)));
    }
    cx.list(Element::Text, values)
}

/// The parts of a text between separators, as `strings.SplitN` has them.
struct Parts<'a> {
    /// What follows the parts so far; `None` at the end.
    rest: Option<&'a [u8]>,
    /// How many parts may still come.
    limit: usize,
    /// `None` splits into runes.
    separator: Option<Finder<'a>>,
}

impl<'a> Parts<'a> {
    fn new(text: &'a Text, separator: &'a Text, limit: usize) -> Self {
        let separator = separator.bytes();
        // No runes are no parts; other separators have a part in an empty text.
        let none = separator.is_empty() && text.bytes().is_empty();
        Self {
            rest: (!none).then_some(text.bytes()),
            limit,
            separator: (!separator.is_empty()).then(|| Finder::new(separator)),
        }
    }

    /// The first part of `rest` and what follows it.
    fn divide(&self, rest: &'a [u8]) -> (&'a [u8], Option<&'a [u8]>) {
        let (end, next) = match &self.separator {
            Some(finder) => match finder.find(rest) {
                Some(end) => (end, end + finder.needle().len()),
                None => return (rest, None),
            },
            None => match unicode::first_rune(rest) {
                Some((_, width)) if width < rest.len() => (width, width),
                _ => return (rest, None),
            },
        };
        (rest.get(..end).unwrap_or_default(), rest.get(next..))
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.limit = self.limit.checked_sub(1)?;
        let rest = self.rest.take()?;
        if self.limit == 0 {
            return Some(rest);
        }
        let (part, rest) = self.divide(rest);
        self.rest = rest;
        Some(part)
    }
}

//! Values to YAML text.
//!
//! Go's `toYaml` writes JSON, reads that as YAML and writes what it got. The text between is skipped here, but for what it does
//! to strings and numbers.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::{Zeroize, Zeroizing};

use super::emitter::{Emitter, Place, Plain};
use super::order;
use super::resolve::{Guess, guess, is_base60};
use crate::context::Context;
use crate::convert;
use crate::failure::{Failure, Result};
use crate::format;
use crate::json;
use crate::unicode;
use crate::value::{Dict, Element, List, Text, Value};

/// How many characters of JSON a key may have, quotes included: go-yaml reads longer ones not as keys.
const KEY_LENGTH: usize = 1024;

/// A dict is looked for among those that it is in at every such level, as looking has its price.
const CYCLE_CHECK: usize = 32;

/// Why a value has no YAML text.
pub(super) enum Stop {
    /// Go's way over JSON fails somewhere.
    Unwritable,
    Limit(Failure),
}

struct Writer {
    emitter: Emitter,
    /// The dicts that the place is in.
    ancestors: Vec<Dict>,
}

/// The YAML text of `value`, without the line break at the end; `None` if it has none.
pub(super) fn write(cx: &mut Context, value: &Value) -> Result<Option<Text>> {
    let mut writer = Writer {
        emitter: Emitter::new(),
        ancestors: Vec::new(),
    };
    match writer.value(cx, value, Place::Root) {
        Ok(()) => writer.emitter.finish(cx).map(Some),
        Err(Stop::Unwritable) => Ok(None),
        Err(Stop::Limit(failure)) => Err(failure),
    }
}

// === impl Stop ===

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Limit(failure)
    }
}

// === impl Writer ===

impl Writer {
    fn value(&mut self, cx: &mut Context, value: &Value, place: Place) -> Result<(), Stop> {
        cx.work(1)?;
        match value {
            Value::Nil | Value::Version(None) => self.plain(cx, b"null"),
            Value::Bool(true) => self.plain(cx, b"true"),
            Value::Bool(false) => self.plain(cx, b"false"),
            Value::Int(number) | Value::Int64(number) | Value::Duration(number) => {
                self.signed(cx, *number)
            }
            Value::Uint8(number) | Value::Month(number) | Value::Weekday(number) => {
                self.unsigned(cx, u64::from(*number))
            }
            Value::Uint64(number) => self.unsigned(cx, *number),
            Value::Float(number) => self.float(cx, *number),
            Value::Complex(..) => Err(Stop::Unwritable),
            Value::Text(text) => self.text(cx, text.bytes()),
            Value::List(list) if list.is_nil() => self.plain(cx, b"null"),
            Value::List(list) if list.element() == Element::Byte => self.bytes(cx, list),
            Value::List(list) => cx.nested(|cx| self.list(cx, list, place)),
            Value::Dict(dict) if dict.is_nil() => self.plain(cx, b"null"),
            Value::Dict(dict) => cx.nested(|cx| self.dict(cx, dict)),
            Value::StringMap(map) => {
                let mut entries = Vec::new();
                for (key, value) in map.entries() {
                    push_entry(cx, &mut entries, key, Value::Text(value.clone()))?;
                }
                self.mapping(cx, entries)
            }
            Value::Certificate(pair) => {
                let mut entries = Vec::new();
                for (key, value) in [("Cert", &pair.certificate), ("Key", &pair.key)] {
                    push_entry(
                        cx,
                        &mut entries,
                        &Text::from(key),
                        Value::Text(value.clone()),
                    )?;
                }
                self.mapping(cx, entries)
            }
            Value::Location(_) => Ok(self.emitter.empty(cx, b"{}")?),
            Value::Version(_) | Value::SemverStruct(_) => {
                let text = convert::to_text(cx, value)?;
                self.text(cx, text.bytes())
            }
            Value::Time(time) => match time.rfc_3339() {
                Ok(text) => self.text(cx, &text),
                Err(_) => Err(Stop::Unwritable),
            },
        }
    }

    fn plain(&mut self, cx: &mut Context, text: &[u8]) -> Result<(), Stop> {
        Ok(self.emitter.scalar(cx, text, Plain::Fits)?)
    }

    fn signed(&mut self, cx: &mut Context, number: i64) -> Result<(), Stop> {
        let mut text = Vec::new();
        format::integer::signed(number, &mut text);
        self.plain(cx, &text)
    }

    fn unsigned(&mut self, cx: &mut Context, number: u64) -> Result<(), Stop> {
        let mut text = Vec::new();
        format::integer::unsigned(number, &mut text);
        self.plain(cx, &text)
    }

    /// A float, as go-yaml reads its JSON text: an integer if that has digits only and is not too large.
    fn float(&mut self, cx: &mut Context, number: f64) -> Result<(), Stop> {
        /// Up to here an integer's shortest digits are all its digits.
        const EXACT: f64 = 1e15;
        /// From here on JSON has an exponent.
        const EXPONENT: f64 = 1e21;
        if !number.is_finite() {
            return Err(Stop::Unwritable);
        }
        if number.fract() == 0.0 && number.abs() < EXACT {
            return self.signed(cx, number as i64);
        }
        if number.fract() == 0.0 && number.abs() < EXPONENT {
            let mut text = Vec::new();
            json::float(number, &mut text);
            match guess(&text, false) {
                Guess::Int(number) => return self.signed(cx, number),
                Guess::Uint(number) => return self.unsigned(cx, number),
                _ => {}
            }
        }
        let mut text = Vec::new();
        format::float(number, &mut text);
        self.plain(cx, &text)
    }

    fn bytes(&mut self, cx: &mut Context, list: &List) -> Result<(), Stop> {
        cx.allocate(list.len().saturating_mul(3))?;
        let bytes = list.values().iter().filter_map(|value| match value {
            Value::Uint8(byte) => Some(*byte),
            _ => None,
        });
        let bytes = Zeroizing::new(bytes.collect::<Vec<_>>());
        let encoded = Zeroizing::new(STANDARD.encode(&*bytes));
        self.text(cx, encoded.as_bytes())
    }

    fn text(&mut self, cx: &mut Context, text: &[u8]) -> Result<(), Stop> {
        cx.work(text.len() as u64 / 4)?;
        let mut read = reread(cx, text)?;
        let result = self.emitter.scalar(cx, &read, plain(&read));
        if let Cow::Owned(read) = &mut read {
            read.zeroize();
        }
        Ok(result?)
    }

    fn list(&mut self, cx: &mut Context, list: &List, place: Place) -> Result<(), Stop> {
        if list.len() == 0 {
            return Ok(self.emitter.empty(cx, b"[]")?);
        }
        let outer = self.emitter.enter_sequence(place);
        for value in list.values() {
            self.emitter.item(cx)?;
            self.value(cx, value, Place::Item)?;
        }
        self.emitter.leave(outer);
        Ok(())
    }

    fn dict(&mut self, cx: &mut Context, dict: &Dict) -> Result<(), Stop> {
        let depth = self.ancestors.len();
        if depth % CYCLE_CHECK == CYCLE_CHECK - 1
            && self.ancestors.iter().any(|ancestor| ancestor.is_same(dict))
        {
            return Err(Stop::Unwritable);
        }
        self.ancestors.push(dict.clone());
        let mut entries = Vec::new();
        dict.try_each(|key, value| push_entry(cx, &mut entries, key, value.clone()))?;
        self.mapping(cx, entries)?;
        self.ancestors.pop();
        Ok(())
    }

    fn mapping(&mut self, cx: &mut Context, mut entries: Vec<(Text, Value)>) -> Result<(), Stop> {
        if entries.is_empty() {
            return Ok(self.emitter.empty(cx, b"{}")?);
        }
        // Keys that JSON makes equal are neighbours after sorting, and the last one wins.
        order::sort(&mut entries, |one, other| {
            order::compare(one.0.bytes(), other.0.bytes())
        });
        let outer = self.emitter.enter_mapping();
        let mut entries = entries.iter().peekable();
        while let Some((key, value)) = entries.next() {
            if entries.peek().is_some_and(|(next, _)| next == key) {
                continue;
            }
            cx.work(key.bytes().len() as u64 / 16)?;
            self.emitter.key(cx, key.bytes(), plain(key.bytes()))?;
            self.value(cx, value, Place::Entry)?;
        }
        self.emitter.leave(outer);
        Ok(())
    }
}

/// Adds an entry with the key as go-yaml reads it from JSON.
fn push_entry(
    cx: &mut Context,
    entries: &mut Vec<(Text, Value)>,
    key: &Text,
    value: Value,
) -> Result<(), Stop> {
    cx.allocate(size_of::<(Text, Value)>())?;
    cx.work(6 + key.bytes().len() as u64 / 16)?;
    let read = match reread(cx, key.bytes())? {
        Cow::Borrowed(_) => key.clone(),
        Cow::Owned(read) => Text::new(read),
    };
    // A key must be on one line.
    if key.bytes().len() > KEY_LENGTH / 6 && json_length(key.bytes()) > KEY_LENGTH
        || contains(key.bytes(), "\u{85}")
    {
        return Err(Stop::Unwritable);
    }
    entries.push((read, value));
    Ok(())
}

/// How many characters the JSON text of a string has.
fn json_length(text: &[u8]) -> usize {
    let characters = unicode::runes(text).map(|character| match character {
        '"' | '\\' | '\n' | '\r' | '\t' | '\x08' | '\x0c' => 2,
        '\0'..' ' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => 6,
        _ => 1,
    });
    let invalid: usize = text.utf8_chunks().map(|chunk| chunk.invalid().len()).sum();
    2 + characters.sum::<usize>() + 5 * invalid
}

/// How a string of this text must be written.
fn plain(text: &[u8]) -> Plain {
    if guess(text, true) == Guess::Text && !is_base60(text) {
        Plain::Fits
    } else {
        Plain::Misleads
    }
}

/// A string as go-yaml reads it from its JSON text.
fn reread<'a>(cx: &mut Context, text: &'a [u8]) -> Result<Cow<'a, [u8]>, Stop> {
    if text.is_ascii() {
        if text.contains(&0x7f) {
            return Err(Stop::Unwritable);
        }
        return Ok(Cow::Borrowed(text));
    }
    let mut folds = false;
    for character in unicode::runes(text) {
        match character {
            '\u{7f}' | '\u{80}'..='\u{84}' | '\u{86}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => {
                return Err(Stop::Unwritable);
            }
            '\u{85}' => folds = true,
            _ => {}
        }
    }
    if std::str::from_utf8(text).is_ok() && !folds {
        return Ok(Cow::Borrowed(text));
    }
    // A byte that is no character grows to three.
    cx.allocate(text.len().saturating_mul(3))?;
    let valid = Zeroizing::new(unicode::runes(text).collect::<String>());
    if folds {
        return fold(&valid).map(|folded| Cow::Owned(folded.into_bytes()));
    }
    Ok(Cow::Owned(valid.as_bytes().to_vec()))
}

/// What double quotes around it make of a text with the line break U+0085, which JSON does not escape: blanks around it go, one
/// becomes a blank, of several the first goes.
fn fold(text: &str) -> Result<String, Stop> {
    let mut lines = text.split('\u{85}').peekable();
    let mut out = String::with_capacity(text.len());
    out.push_str(lines.next().unwrap_or_default());
    let mut breaks = 0;
    while let Some(line) = lines.next() {
        let is_last = lines.peek().is_none();
        if is_document_indicator(line, is_last) {
            return Err(Stop::Unwritable);
        }
        if breaks == 0 {
            out.truncate(out.trim_end_matches(' ').len());
        }
        breaks += 1;
        let line = line.trim_start_matches(' ');
        if !line.is_empty() || is_last {
            join(&mut out, breaks);
            out.push_str(line);
            breaks = 0;
        }
    }
    Ok(out)
}

fn join(out: &mut String, breaks: usize) {
    if breaks == 1 {
        out.push(' ');
    } else {
        out.extend(std::iter::repeat_n('\n', breaks - 1));
    }
}

/// Whether a line is `---` or `...`, alone or with something behind a blank. Behind the last line stands a quote.
fn is_document_indicator(line: &str, is_last: bool) -> bool {
    let rest = line.strip_prefix("---").or(line.strip_prefix("..."));
    rest.is_some_and(|rest| rest.starts_with(' ') || (rest.is_empty() && !is_last))
}

fn contains(text: &[u8], wanted: &str) -> bool {
    let wanted = wanted.as_bytes();
    text.windows(wanted.len()).any(|window| window == wanted)
}

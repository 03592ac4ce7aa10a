//! `snakecase` and `kebabcase`. Bytes that are not UTF-8 are kept, but for those inside upper words and connectors.

use super::super::{Function, Parameter, text};
use super::buffer;
use super::case::is_connector;
use crate::context::Context;
use crate::failure::Result;
use crate::unicode;
use crate::value::{Text, Value};

pub(in crate::functions) const FUNCTIONS: &[Function] = &[
    Function {
        name: "snakecase",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The string with its words in lower case, joined by underscores.",
        source: "sprig",
        example: ("{{ snakecase \"HTTPServer name2\" }}", "http_server_name2"),
        call: snake_case,
    },
    Function {
        name: "kebabcase",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The string with its words in lower case, joined by hyphens.",
        source: "sprig",
        example: ("{{ kebabcase \"HTTPServer name2\" }}", "http-server-name2"),
        call: kebab_case,
    },
];

/// What a word is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    /// Nothing at the end, or only bytes that are not UTF-8.
    Invalid,
    Number,
    /// Begins with an upper letter. Alone among the words of letters it is lowered.
    Upper,
    /// Letters without an upper one; no Han.
    Letters,
    Connector,
    Punctuation,
    Other,
}

fn snake_case(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    lower_words(cx, text(arguments, 0)?, '_')
}

fn kebab_case(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    lower_words(cx, text(arguments, 0)?, '-')
}

fn lower_words(cx: &mut Context, text: &Text, connector: char) -> Result<Value> {
    let bytes = text.bytes();
    // At most a connector after each byte, and three bytes for one that is not UTF-8.
    let factor = if bytes.is_ascii() { 2 } else { 4 };
    let mut writer = Writer {
        out: buffer(cx, bytes.len().saturating_mul(factor))?,
        connector,
        word: Word::Invalid,
        bytes: &[],
        rest: bytes,
    };
    writer.run();
    Ok(Value::Text(Text::new(writer.out)))
}

/// Walks over a text word by word.
struct Writer<'a> {
    out: Vec<u8>,
    connector: char,
    /// The present word's kind and bytes.
    word: Word,
    bytes: &'a [u8],
    /// What follows it.
    rest: &'a [u8],
}

impl Writer<'_> {
    fn run(&mut self) {
        self.next();
        while !self.rest.is_empty() {
            let previous = self.word;
            self.push();
            self.next();
            match previous {
                Word::Number => self.finish_number(),
                Word::Connector | Word::Punctuation => {}
                _ if self.word == Word::Number => self.number_after_word(),
                _ => self.connect(),
            }
        }
        self.push();
    }

    fn next(&mut self) {
        (self.word, self.bytes, self.rest) = next_word(self.rest);
    }

    /// Writes the present word.
    fn push(&mut self) {
        if !matches!(self.word, Word::Upper | Word::Connector) {
            self.out.extend_from_slice(self.bytes);
            return;
        }
        for rune in unicode::runes(self.bytes) {
            let rune = match rune {
                rune if is_connector(rune) => self.connector,
                rune if unicode::is_upper(rune) => unicode::to_lower(rune),
                rune => rune,
            };
            unicode::push(&mut self.out, rune);
        }
    }

    /// Writes a connector unless the present word is one, or punctuation.
    fn connect(&mut self) {
        if !matches!(self.word, Word::Connector | Word::Punctuation) {
            unicode::push(&mut self.out, self.connector);
        }
    }

    /// Behind a number: letters and numbers that follow stay with it.
    fn finish_number(&mut self) {
        while matches!(self.word, Word::Letters | Word::Number) {
            self.push();
            self.next();
        }
        if self.word != Word::Invalid {
            self.connect();
        }
    }

    /// The present word is a number behind letters: it belongs to them, or to lower letters that follow.
    fn number_after_word(&mut self) {
        if self.rest.is_empty() {
            return;
        }
        let number = self.bytes;
        self.next();
        if self.word == Word::Letters {
            unicode::push(&mut self.out, self.connector);
            self.out.extend_from_slice(number);
            self.finish_number();
        } else {
            self.out.extend_from_slice(number);
            self.connect();
        }
    }
}

/// The first word of `bytes` and what follows it.
fn next_word(bytes: &[u8]) -> (Word, &[u8], &[u8]) {
    let (rune, width) = next_rune(bytes, char::REPLACEMENT_CHARACTER);
    let (word, end) = match rune {
        char::REPLACEMENT_CHARACTER => (Word::Invalid, width),
        rune if is_connector(rune) => (Word::Connector, extend(bytes, width, rune, is_connector)),
        rune if unicode::is_punctuation(rune) => (
            Word::Punctuation,
            extend(bytes, width, rune, unicode::is_punctuation),
        ),
        rune if unicode::is_upper(rune) => (Word::Upper, upper_end(bytes, width, rune)),
        rune if is_letter(rune) => (Word::Letters, extend(bytes, width, rune, is_small)),
        rune if unicode::is_number(rune) => {
            (Word::Number, extend(bytes, width, rune, unicode::is_number))
        }
        rune => (Word::Other, extend(bytes, width, rune, is_other)),
    };
    match bytes.split_at_checked(end) {
        Some((word_bytes, rest)) => (word, word_bytes, rest),
        None => (word, bytes, &[]),
    }
}

/// Where a word ends that goes on from `end` as long as its runes pass.
fn extend(bytes: &[u8], mut end: usize, mut rune: char, passes: impl Fn(char) -> bool) -> usize {
    while let Some(rest @ [_, ..]) = bytes.get(end..) {
        let (next, width) = next_rune(rest, rune);
        if !passes(next) {
            break;
        }
        rune = next;
        end += width;
    }
    end
}

/// Where a word ends that begins with an upper letter: `HTTP` of `HTTPStatus`, `Status` of `StatusCode`.
fn upper_end(bytes: &[u8], first: usize, rune: char) -> usize {
    let Some(rest @ [_, ..]) = bytes.get(first..) else {
        return first;
    };
    let (mut rune, mut width) = next_rune(rest, rune);
    if !unicode::is_upper(rune) {
        if is_letter(rune) {
            return extend(bytes, first + width, rune, is_small);
        }
        return first;
    }
    let mut end = first + width;
    while let Some(rest @ [_, ..]) = bytes.get(end..) {
        let (next, next_width) = next_rune(rest, rune);
        if !unicode::is_upper(next) {
            // The last upper letter begins the next word.
            return if is_letter(next) { end - width } else { end };
        }
        (rune, width) = (next, next_width);
        end += width;
    }
    end
}

/// The first rune that is no error, and how many bytes that and the errors before it take; `previous` if there is none.
fn next_rune(bytes: &[u8], previous: char) -> (char, usize) {
    let mut end = 0;
    while let Some((rune, width)) = bytes.get(end..).and_then(unicode::first_rune) {
        end += width;
        if rune != char::REPLACEMENT_CHARACTER {
            return (rune, end);
        }
    }
    (previous, end)
}

/// A letter that is not Han.
fn is_letter(rune: char) -> bool {
    let han = matches!(rune, '\u{3400}'..='\u{4d85}' | '\u{4e00}'..='\u{9fcc}' | '\u{20000}'..='\u{2b81d}');
    unicode::is_letter(rune) && !han
}

fn is_small(rune: char) -> bool {
    is_letter(rune) && !unicode::is_upper(rune)
}

fn is_other(rune: char) -> bool {
    !(is_connector(rune)
        || is_letter(rune)
        || unicode::is_number(rune)
        || unicode::is_punctuation(rune))
}

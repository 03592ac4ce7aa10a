//! JSON text to values.

use zeroize::Zeroizing;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::unicode;
use crate::value::{Element, Text, Value};

/// What was read.
pub(crate) struct Document {
    pub(crate) value: Value,
    /// The first number that is too large for a float, in Go's words; it reads as nil.
    pub(crate) failure: Option<Failure>,
}

/// A member of an object.
pub(crate) struct Member {
    pub(crate) key: Text,
    pub(crate) value: Value,
    /// The first number in the value that is too large for a float; it reads as nil.
    pub(crate) failure: Option<Failure>,
}

/// The first value of a text.
pub(crate) enum First {
    /// An object's members in the order of the text, duplicates included.
    Members(Vec<Member>),
    /// Anything else.
    Other(Value),
}

struct Reader<'a> {
    text: &'a [u8],
    position: usize,
    failure: Option<Failure>,
    /// Keys that were read before, each where its hash says: objects in a list mostly have the same.
    keys: [Option<Text>; KEYS],
}

/// How many keys are kept to be used again.
const KEYS: usize = 32;

/// Reads a text that is one JSON value.
///
/// # Errors
///
/// Go's text if it is none.
pub(crate) fn read(cx: &mut Context, text: &[u8]) -> Result<Document> {
    cx.work(text.len() as u64 / 64)?;
    let mut reader = Reader::new(text);
    let value = reader.value(cx)?;
    match reader.next() {
        None => Ok(Document {
            value,
            failure: reader.failure,
        }),
        Some(_) => Err(reader.unexpected("after top-level value")),
    }
}

/// Reads the first value of a text as Go's `json.Decoder` does: what follows it is left alone.
///
/// # Errors
///
/// Go's text for a value that is none, `EOF` or `unexpected EOF` for one that is missing or not whole.
pub(crate) fn read_first(cx: &mut Context, text: &[u8]) -> Result<First> {
    cx.work(text.len() as u64 / 64)?;
    let mut reader = Reader::new(text);
    let first = match reader.next() {
        None => return Err(Failure::plain("EOF")),
        Some(b'{') => reader.members(cx).map(First::Members),
        Some(_) => reader.value(cx).map(First::Other),
    };
    match first {
        Err(failure) if !failure.is_limit() && reader.peek().is_none() => {
            Err(Failure::plain("unexpected EOF"))
        }
        other => other,
    }
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            position: 0,
            failure: None,
            keys: [const { None }; KEYS],
        }
    }

    /// The members of the object at the position.
    fn members(&mut self, cx: &mut Context) -> Result<Vec<Member>> {
        self.position += 1;
        let mut members = Vec::new();
        if self.next() == Some(b'}') {
            return Ok(members);
        }
        loop {
            if self.next() != Some(b'"') {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            let key = self.key(cx)?;
            if self.next() != Some(b':') {
                return Err(self.unexpected("after object key"));
            }
            self.position += 1;
            let value = self.value(cx)?;
            cx.allocate(size_of::<Member>())?;
            members.push(Member {
                key,
                value,
                failure: self.failure.take(),
            });
            match self.next() {
                Some(b',') => self.position += 1,
                Some(b'}') => return Ok(members),
                _ => return Err(self.unexpected("after object key:value pair")),
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.position).copied()
    }

    /// The next byte that is no blank.
    fn next(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.position += 1;
        }
        self.peek()
    }

    /// The failure for what stands at the position.
    fn unexpected(&self, place: &str) -> Failure {
        match self.peek() {
            Some(byte) => {
                Failure::showing_data(format!("invalid character {} {place}", quoted(byte)))
            }
            None => Failure::plain("unexpected end of JSON input"),
        }
    }

    /// The failure inside a word or number, where Go takes the end for a blank.
    fn unexpected_inside(&self, place: &str) -> Failure {
        match self.peek() {
            Some(_) => self.unexpected(place),
            None => Failure::plain(format!("invalid character ' ' {place}")),
        }
    }

    fn value(&mut self, cx: &mut Context) -> Result<Value> {
        cx.work(1)?;
        match self.next() {
            Some(b'{') => cx.nested(|cx| self.object(cx)),
            Some(b'[') => cx.nested(|cx| self.array(cx)),
            Some(b'"') => Ok(Value::Text(self.string(cx)?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Nil),
            _ => Err(self.unexpected("looking for beginning of value")),
        }
    }

    fn object(&mut self, cx: &mut Context) -> Result<Value> {
        self.position += 1;
        let dict = cx.dict()?;
        if self.next() == Some(b'}') {
            self.position += 1;
            return Ok(Value::Dict(dict));
        }
        loop {
            if self.next() != Some(b'"') {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            let key = self.key(cx)?;
            if self.next() != Some(b':') {
                return Err(self.unexpected("after object key"));
            }
            self.position += 1;
            let value = self.value(cx)?;
            cx.allocate(size_of::<(Text, Value)>())?;
            dict.insert(key, value);
            match self.next() {
                Some(b',') => self.position += 1,
                Some(b'}') => {
                    self.position += 1;
                    return Ok(Value::Dict(dict));
                }
                _ => return Err(self.unexpected("after object key:value pair")),
            }
        }
    }

    fn array(&mut self, cx: &mut Context) -> Result<Value> {
        self.position += 1;
        let mut values = Vec::new();
        if self.next() == Some(b']') {
            self.position += 1;
            return cx.list(Element::Any, values);
        }
        loop {
            values.push(self.value(cx)?);
            match self.next() {
                Some(b',') => self.position += 1,
                Some(b']') => {
                    self.position += 1;
                    return cx.list(Element::Any, values);
                }
                _ => return Err(self.unexpected("after array element")),
            }
        }
    }

    fn word(&mut self, word: &'static str, value: Value) -> Result<Value> {
        for byte in word.bytes() {
            if self.peek() != Some(byte) {
                let expected = char::from(byte);
                let place = format!("in literal {word} (expecting '{expected}')");
                return Err(self.unexpected_inside(&place));
            }
            self.position += 1;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<Value> {
        let start = self.position;
        if self.peek() == Some(b'-') {
            self.position += 1;
        }
        match self.peek() {
            Some(b'0') => self.position += 1,
            Some(b'1'..=b'9') => self.digits("in numeric literal")?,
            _ => return Err(self.unexpected_inside("in numeric literal")),
        }
        if self.peek() == Some(b'.') {
            self.position += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.position += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.position += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        let text = self.text.get(start..self.position).unwrap_or_default();
        Ok(self.float(text))
    }

    /// One digit or more.
    fn digits(&mut self, place: &str) -> Result<()> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.unexpected_inside(place));
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.position += 1;
        }
        Ok(())
    }

    fn float(&mut self, text: &[u8]) -> Value {
        // Up to 15 digits are exact, and have no sign that zero could lose.
        if text.len() <= 15 && text.iter().all(u8::is_ascii_digit) {
            let digits = text.iter().map(|digit| u64::from(digit - b'0'));
            return Value::Float(digits.fold(0, |number, digit| number * 10 + digit) as f64);
        }
        let text = std::str::from_utf8(text).unwrap_or_default();
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Value::Float(number),
            _ => {
                self.failure.get_or_insert_with(|| {
                    Failure::showing_data(format!(
                        "json: cannot unmarshal number {text} into Go value of type float64"
                    ))
                });
                Value::Nil
            }
        }
    }

    fn string(&mut self, cx: &mut Context) -> Result<Text> {
        match self.literal()? {
            Literal::Plain(raw) => {
                cx.allocate(raw.len())?;
                Ok(Text::copy(raw))
            }
            Literal::Escaped(raw) => unescaped(cx, raw),
        }
    }

    /// A string that is a key.
    fn key(&mut self, cx: &mut Context) -> Result<Text> {
        let raw = match self.literal()? {
            Literal::Plain(raw) => raw,
            Literal::Escaped(raw) => return unescaped(cx, raw),
        };
        let ends = [raw.first(), raw.last()].map(|byte| usize::from(byte.copied().unwrap_or(0)));
        let slot = (raw.len() * 7 + ends[0] * 3 + ends[1]) % KEYS;
        if let Some(Some(known)) = self.keys.get(slot)
            && known.bytes() == raw
        {
            return Ok(known.clone());
        }
        cx.allocate(raw.len())?;
        let key = Text::copy(raw);
        if let Some(place) = self.keys.get_mut(slot) {
            *place = Some(key.clone());
        }
        Ok(key)
    }

    /// What stands between the quotes of a string.
    fn literal(&mut self) -> Result<Literal<'a>> {
        self.position += 1;
        let start = self.position;
        let (mut is_escaped, mut is_ascii) = (false, true);
        loop {
            let rest = self.text.get(self.position..).unwrap_or_default();
            let run = rest
                .iter()
                .position(|&byte| matches!(byte, 0..b' ' | b'"' | b'\\' | 0x80..));
            self.position += run.unwrap_or(rest.len());
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    is_escaped = true;
                    self.escape()?;
                }
                Some(0x80..) => {
                    is_ascii = false;
                    self.position += 1;
                }
                Some(_) => return Err(self.unexpected("in string literal")),
                None => return Err(self.unexpected("")),
            }
        }
        let raw = self.text.get(start..self.position).unwrap_or_default();
        self.position += 1;
        if is_escaped || !(is_ascii || std::str::from_utf8(raw).is_ok()) {
            return Ok(Literal::Escaped(raw));
        }
        Ok(Literal::Plain(raw))
    }

    /// Checks an escape sequence.
    fn escape(&mut self) -> Result<()> {
        self.position += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.position += 1;
                Ok(())
            }
            Some(b'u') => {
                self.position += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        let place = "in \\u hexadecimal character escape";
                        return Err(self.unexpected_inside(place));
                    }
                    self.position += 1;
                }
                Ok(())
            }
            _ => Err(self.unexpected_inside("in string escape code")),
        }
    }
}

/// What stands between quotes.
enum Literal<'a> {
    /// It is the text itself.
    Plain(&'a [u8]),
    /// It has escape sequences, which are checked, or bytes that are no UTF-8.
    Escaped(&'a [u8]),
}

fn unescaped(cx: &mut Context, raw: &[u8]) -> Result<Text> {
    // A byte that is no character grows to three.
    let room = raw.len().saturating_mul(3);
    cx.allocate(room)?;
    let mut out = Zeroizing::new(Vec::with_capacity(room));
    let mut rest = raw;
    while let Some(&byte) = rest.first() {
        let width = match byte {
            b'\\' => unescape(rest, &mut out),
            0..0x80 => {
                out.push(byte);
                1
            }
            _ => match unicode::first_rune(rest) {
                Some((rune, width)) => {
                    push(&mut out, rune);
                    width
                }
                None => break,
            },
        };
        rest = rest.get(width..).unwrap_or_default();
    }
    Ok(Text::new(std::mem::take(&mut *out)))
}

/// Appends what the escape sequence at the beginning of `rest` stands for, and returns its width.
fn unescape(rest: &[u8], out: &mut Vec<u8>) -> usize {
    let plain = match rest.get(1) {
        Some(b'u') => return unescape_hexadecimal(rest, out),
        Some(b'b') => 8,
        Some(b'f') => 12,
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(&other) => other,
        None => return 1,
    };
    out.push(plain);
    2
}

fn unescape_hexadecimal(rest: &[u8], out: &mut Vec<u8>) -> usize {
    let unit = code_unit(rest).unwrap_or(0xfffd);
    let next = rest.get(6..).and_then(code_unit);
    if let (0xd800..0xdc00, Some(low @ 0xdc00..0xe000)) = (unit, next) {
        let point = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        push(
            out,
            char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER),
        );
        return 12;
    }
    push(
        out,
        char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER),
    );
    6
}

/// The number in `\uXXXX` at the beginning of `rest`.
fn code_unit(rest: &[u8]) -> Option<u32> {
    let digits = rest.strip_prefix(b"\\u")?.get(..4)?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn push(out: &mut Vec<u8>, rune: char) {
    out.extend_from_slice(rune.encode_utf8(&mut [0; 4]).as_bytes());
}

/// A byte as Go's messages show it: taken for a Latin-1 character, in single quotes.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => "'\\''".to_owned(),
        b'\\' => "'\\\\'".to_owned(),
        7 => "'\\a'".to_owned(),
        8 => "'\\b'".to_owned(),
        9 => "'\\t'".to_owned(),
        10 => "'\\n'".to_owned(),
        11 => "'\\v'".to_owned(),
        12 => "'\\f'".to_owned(),
        13 => "'\\r'".to_owned(),
        0..0x80 if !unicode::is_print(char::from(byte)) => format!("'\\x{byte:02x}'"),
        _ if !unicode::is_print(char::from(byte)) => format!("'\\u{byte:04x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}

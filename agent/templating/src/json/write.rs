//! Values to JSON text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::context::Context;
use crate::convert;
use crate::failure::{Failure, Result};
use crate::format;
use crate::output::Output;
use crate::time::Time;
use crate::unicode;
use crate::value::{Dict, Element, List, Text, Value};

/// How to write.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    /// Whether `<`, `>` and `&` are escaped.
    pub(crate) escape_html: bool,
    /// Whether each entry has a line of its own, two blanks deeper than what it is in.
    pub(crate) pretty: bool,
}

/// A dict is looked for among those that it is in at every such level, as looking has its price.
const CYCLE_CHECK: usize = 32;

/// Escape sequences that are written for one step.
const ESCAPES_PER_STEP: u64 = 4;

const HEX: &[u8; 16] = b"0123456789abcdef";

struct Writer {
    style: Style,
    out: Output,
    /// How deep the place is that is being written.
    level: usize,
    /// The dicts that the place is in.
    ancestors: Vec<Dict>,
}

/// Appends the JSON text of `value`.
///
/// # Errors
///
/// Go's text where JSON has no form for a value.
pub(crate) fn write(cx: &mut Context, value: &Value, style: Style) -> Result<Text> {
    let mut writer = Writer {
        style,
        out: Output::new(cx),
        level: 0,
        ancestors: Vec::new(),
    };
    writer.value(cx, value)?;
    writer.out.into_text(cx)
}

/// Appends a finite float: the shortest digits, with an exponent for very small and very large ones.
pub(crate) fn float(value: f64, out: &mut Vec<u8>) {
    let size = value.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        format::float::append(value, b'f', None, out);
        return;
    }
    format::float::append(value, b'e', None, out);
    // Go takes the zero from an exponent such as e-07.
    if let [.., b'-', zero @ b'0', last] = out.as_mut_slice() {
        *zero = *last;
        out.pop();
    }
}

// === impl Writer ===

impl Writer {
    fn value(&mut self, cx: &mut Context, value: &Value) -> Result<()> {
        cx.work(1)?;
        match value {
            Value::Nil | Value::Version(None) => self.out.write(cx, b"null"),
            Value::Bool(true) => self.out.write(cx, b"true"),
            Value::Bool(false) => self.out.write(cx, b"false"),
            Value::Int(number) | Value::Int64(number) | Value::Duration(number) => {
                self.out.number(cx, number)
            }
            Value::Uint8(number) | Value::Month(number) | Value::Weekday(number) => {
                self.out.number(cx, number)
            }
            Value::Uint64(number) => self.out.number(cx, number),
            Value::Float(number) => self.float(cx, *number),
            Value::Complex(..) => Err(Failure::plain("json: unsupported type: complex128")),
            Value::Text(text) => self.text(cx, text.bytes()),
            Value::List(list) if list.is_nil() => self.out.write(cx, b"null"),
            Value::List(list) if list.element() == Element::Byte => self.bytes(cx, list),
            Value::List(list) => cx.nested(|cx| self.list(cx, list)),
            Value::Dict(dict) if dict.is_nil() => self.out.write(cx, b"null"),
            Value::Dict(dict) => cx.nested(|cx| self.dict(cx, dict)),
            Value::StringMap(map) => {
                let entries = map
                    .entries()
                    .map(|(key, value)| (key.bytes(), value.bytes()));
                self.texts(cx, entries)
            }
            Value::Time(time) => self.time(cx, time),
            Value::Location(_) => self.out.write(cx, b"{}"),
            Value::Version(_) | Value::SemverStruct(_) => {
                let text = convert::to_text(cx, value)?;
                self.text(cx, text.bytes())
            }
            Value::Certificate(pair) => {
                let certificate = (&b"Cert"[..], pair.certificate.bytes());
                let key = (&b"Key"[..], pair.key.bytes());
                self.texts(cx, [certificate, key].into_iter())
            }
        }
    }

    fn float(&mut self, cx: &mut Context, number: f64) -> Result<()> {
        if number.is_finite() {
            let mut text = Vec::with_capacity(32);
            float(number, &mut text);
            return self.out.write(cx, &text);
        }
        Err(Failure::plain(if number.is_nan() {
            "json: unsupported value: NaN"
        } else if number > 0.0 {
            "json: unsupported value: +Inf"
        } else {
            "json: unsupported value: -Inf"
        }))
    }

    fn list(&mut self, cx: &mut Context, list: &List) -> Result<()> {
        self.open(cx, b'[')?;
        for (index, value) in list.values().iter().enumerate() {
            self.separate(cx, index)?;
            self.value(cx, value)?;
        }
        self.close(cx, b']', list.len())
    }

    fn dict(&mut self, cx: &mut Context, dict: &Dict) -> Result<()> {
        self.check_cycle(dict)?;
        self.ancestors.push(dict.clone());
        self.open(cx, b'{')?;
        let mut index = 0;
        dict.try_each(|key, value| {
            self.separate(cx, index)?;
            index += 1;
            self.key(cx, key.bytes())?;
            self.value(cx, value)
        })?;
        self.close(cx, b'}', index)?;
        self.ancestors.pop();
        Ok(())
    }

    /// Go looks for cycles from some depth on, too.
    fn check_cycle(&self, dict: &Dict) -> Result<()> {
        let depth = self.ancestors.len();
        if depth % CYCLE_CHECK == CYCLE_CHECK - 1
            && self.ancestors.iter().any(|ancestor| ancestor.is_same(dict))
        {
            return Err(Failure::plain(
                "json: unsupported value: encountered a cycle via map[string]interface {}",
            ));
        }
        Ok(())
    }

    /// An object of strings.
    fn texts<'a>(
        &mut self,
        cx: &mut Context,
        entries: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<()> {
        self.open(cx, b'{')?;
        let mut count = 0;
        for (key, value) in entries {
            cx.work(1)?;
            self.separate(cx, count)?;
            count += 1;
            self.key(cx, key)?;
            self.text(cx, value)?;
        }
        self.close(cx, b'}', count)
    }

    fn open(&mut self, cx: &mut Context, bracket: u8) -> Result<()> {
        self.level += 1;
        self.out.write(cx, &[bracket])
    }

    /// What stands before entry `index`.
    fn separate(&mut self, cx: &mut Context, index: usize) -> Result<()> {
        if index > 0 {
            self.out.write(cx, b",")?;
        }
        self.line(cx)
    }

    fn close(&mut self, cx: &mut Context, bracket: u8, count: usize) -> Result<()> {
        self.level -= 1;
        if count > 0 {
            self.line(cx)?;
        }
        self.out.write(cx, &[bracket])
    }

    /// A new line, if the style wants lines.
    fn line(&mut self, cx: &mut Context) -> Result<()> {
        if !self.style.pretty {
            return Ok(());
        }
        self.out.write(cx, b"\n")?;
        self.out.fill(cx, b' ', 2 * self.level)
    }

    fn key(&mut self, cx: &mut Context, key: &[u8]) -> Result<()> {
        cx.work(1)?;
        self.text(cx, key)?;
        self.out
            .write(cx, if self.style.pretty { b": " } else { b":" })
    }

    fn bytes(&mut self, cx: &mut Context, list: &List) -> Result<()> {
        let bytes: Vec<u8> = list
            .values()
            .iter()
            .filter_map(|value| match value {
                Value::Uint8(byte) => Some(*byte),
                _ => None,
            })
            .collect();
        let bytes = zeroize::Zeroizing::new(bytes);
        cx.work(bytes.len() as u64 / 64)?;
        let encoded = zeroize::Zeroizing::new(STANDARD.encode(&*bytes));
        self.out.room(cx, encoded.len() + 2)?;
        self.out.push(b'"');
        self.out.extend(encoded.as_bytes());
        self.out.push(b'"');
        Ok(())
    }

    fn time(&mut self, cx: &mut Context, time: &Time) -> Result<()> {
        let text = time.rfc_3339().map_err(|text| {
            Failure::plain(format!(
                "json: error calling MarshalJSON for type time.Time: Time.MarshalJSON: {text}"
            ))
        })?;
        self.text(cx, &text)
    }

    fn text(&mut self, cx: &mut Context, text: &[u8]) -> Result<()> {
        cx.work(text.len() as u64 / 64)?;
        if !text.is_ascii() {
            cx.work(text.len() as u64 / 8)?;
        }
        self.out.room(cx, text.len() + 2)?;
        self.out.push(b'"');
        let mut rest = text;
        let mut special = 0_u64;
        while let Some((plain, width)) = self.plain_run(rest) {
            special += 1;
            if special.is_multiple_of(ESCAPES_PER_STEP) {
                cx.work(1)?;
            }
            let (run, tail) = rest.split_at(plain);
            self.out.write(cx, run)?;
            let (special, tail) = tail.split_at(width);
            self.escape(cx, special)?;
            rest = tail;
        }
        self.out.write(cx, rest)?;
        self.out.write(cx, b"\"")
    }

    /// How many bytes can be copied, and the width of the special character after them; `None` if all can.
    fn plain_run(&self, text: &[u8]) -> Option<(usize, usize)> {
        let mut position = 0;
        while let Some(&byte) = text.get(position) {
            match byte {
                b'"' | b'\\' | 0..b' ' => return Some((position, 1)),
                b'<' | b'>' | b'&' if self.style.escape_html => return Some((position, 1)),
                0..0x80 => position += 1,
                _ => {
                    let tail = text.get(position..).unwrap_or_default();
                    match unicode::first_rune(tail) {
                        Some((char::REPLACEMENT_CHARACTER, 1)) => return Some((position, 1)),
                        Some(('\u{2028}' | '\u{2029}', width)) => return Some((position, width)),
                        Some((_, width)) => position += width,
                        None => return None,
                    }
                }
            }
        }
        None
    }

    /// A special character, or a byte that is none.
    fn escape(&mut self, cx: &mut Context, special: &[u8]) -> Result<()> {
        let short = match special {
            b"\"" => b'"',
            b"\\" => b'\\',
            b"\n" => b'n',
            b"\r" => b'r',
            b"\t" => b't',
            b"\x08" => b'b',
            b"\x0c" => b'f',
            b"\xe2\x80\xa8" => return self.out.write(cx, b"\\u2028"),
            b"\xe2\x80\xa9" => return self.out.write(cx, b"\\u2029"),
            [byte @ 0..0x80] => {
                let [high, low] = [byte >> 4, byte & 15].map(|digit| HEX[usize::from(digit)]);
                return self.out.write(cx, &[b'\\', b'u', b'0', b'0', high, low]);
            }
            _ => return self.out.write(cx, b"\\ufffd"),
        };
        self.out.write(cx, &[b'\\', short])
    }
}

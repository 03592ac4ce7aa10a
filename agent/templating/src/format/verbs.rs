//! What the verbs of `printf` make of values.

use zeroize::Zeroizing;

use super::fields::{Base, Flags};
use super::structs::{
    Content, Field, certificate_fields, location_fields, time_fields, version_fields,
};
use super::{append, integer, method_text};
use crate::context::Context;
use crate::failure::Result;
use crate::value::{Element, List, Text, Value};

/// What stands for the address of anything: real ones would tell about this process and differ with each render.
const ADDRESS: u64 = 0xc0_0001_0000;

/// Runs one directive.
pub(super) struct Printer<'a> {
    cx: &'a mut Context,
    out: &'a mut Vec<u8>,
    flags: Flags,
    /// Inside the report of a bad verb, where no `String` method is called.
    reporting: bool,
}

// === impl Printer ===

impl<'a> Printer<'a> {
    pub(super) fn new(cx: &'a mut Context, out: &'a mut Vec<u8>, flags: Flags) -> Self {
        Self {
            cx,
            out,
            flags,
            reporting: false,
        }
    }

    /// Appends `value` as `verb` says.
    pub(super) fn run(mut self, value: &Value, verb: char) -> Result<()> {
        if matches!(verb, 'v' | 'w') {
            self.flags.sharp_v = std::mem::take(&mut self.flags.sharp);
            self.flags.plus_v = std::mem::take(&mut self.flags.plus);
        }
        self.argument(value, verb)
    }

    /// A value that is an argument by itself.
    fn argument(&mut self, value: &Value, verb: char) -> Result<()> {
        match (value, verb) {
            (Value::Nil, 'T' | 'v') => self.flags.pad(self.cx, b"<nil>", self.out),
            (Value::Nil, _) => {
                self.start_report(verb)?;
                self.literal("<nil>)")
            }
            (_, 'T') => self
                .flags
                .text(self.cx, value.type_name().as_bytes(), self.out),
            (_, 'p') => self.pointer(value, verb),
            (Value::List(list), 'v' | 'd' | 's' | 'x' | 'X' | 'q')
                if list.element() == Element::Byte =>
            {
                self.byte_slice(list, verb, "[]byte")
            }
            (Value::List(list), _) if list.element() == Element::Byte => {
                self.composite(value, verb, true)
            }
            _ if has_no_methods(value) => self.composite(value, verb, true),
            _ => self.with_methods(value, verb, true),
        }
    }

    /// A value inside a list or map.
    fn element(&mut self, value: &Value, verb: char) -> Result<()> {
        self.cx.work(1)?;
        match value {
            Value::Nil if self.flags.sharp_v => self.literal("interface {}(nil)"),
            Value::Nil => self.literal("<nil>"),
            _ if has_no_methods(value) => self.composite(value, verb, false),
            _ => self.with_methods(value, verb, false),
        }
    }

    /// Calls the value's `String` or `GoString` method if the verb takes a string, else shows what it is made of.
    fn with_methods(&mut self, value: &Value, verb: char, top: bool) -> Result<()> {
        if self.reporting {
            return self.composite(value, verb, top);
        }
        if verb == 'w' {
            return self.report(value, verb);
        }
        if self.flags.sharp_v
            && let Value::Time(time) = value
        {
            return self
                .flags
                .text(self.cx, time.go_text().as_bytes(), self.out);
        }
        if !self.flags.sharp_v && matches!(verb, 'v' | 's' | 'x' | 'X' | 'q') {
            if let Value::Version(None) = value {
                return self.literal("<nil>");
            }
            let mut text = Vec::new();
            if method_text(value, &mut text) {
                return self.text(&text, verb, value);
            }
        }
        self.composite(value, verb, top)
    }

    /// What a value is made of. `top` for an argument by itself: only those pointers are followed.
    fn composite(&mut self, value: &Value, verb: char, top: bool) -> Result<()> {
        match value {
            Value::Nil => self.literal("<nil>"),
            Value::Bool(truth) => match verb {
                't' | 'v' => {
                    let word: &[u8] = if *truth { b"true" } else { b"false" };
                    self.flags.pad(self.cx, word, self.out)
                }
                _ => self.report(value, verb),
            },
            Value::Int(number) | Value::Int64(number) | Value::Duration(number) => {
                self.integer(*number as u64, true, verb, value)
            }
            Value::Month(number) | Value::Weekday(number) => {
                self.integer(u64::from(*number), true, verb, value)
            }
            Value::Uint8(number) => self.integer(u64::from(*number), false, verb, value),
            Value::Uint64(number) => self.integer(*number, false, verb, value),
            Value::Float(number) => self.float(*number, verb, value),
            Value::Complex(real, imaginary) => self.complex(*real, *imaginary, verb, value),
            Value::Text(text) => self.text(text.bytes(), verb, value),
            Value::List(list) => self.list(list, verb),
            Value::Dict(_) | Value::StringMap(_) => self.map(value, verb),
            Value::Certificate(certificate) => {
                self.structure(value.type_name(), &certificate_fields(certificate), verb)
            }
            Value::SemverStruct(version) => {
                self.structure(value.type_name(), &version_fields(version), verb)
            }
            Value::Version(Some(version)) if top => {
                self.literal("&")?;
                self.structure("semver.Version", &version_fields(version), verb)
            }
            Value::Location(zone) if top => {
                self.literal("&")?;
                self.structure("time.Location", &location_fields(zone), verb)
            }
            Value::Time(time) => self.structure("time.Time", &time_fields(time), verb),
            Value::Version(_) | Value::Location(_) => self.pointer(value, verb),
        }
    }

    fn list(&mut self, list: &List, verb: char) -> Result<()> {
        if list.element() == Element::Byte && matches!(verb, 's' | 'q' | 'x' | 'X') {
            return self.byte_slice(list, verb, "[]uint8");
        }
        if self.flags.sharp_v {
            self.literal(list.type_name())?;
            if list.is_nil() {
                return self.literal("(nil)");
            }
        }
        self.literal(self.opening("["))?;
        self.nested(|this| {
            for (index, value) in list.values().iter().enumerate() {
                this.separate(index > 0)?;
                this.element(value, verb)?;
            }
            Ok(())
        })?;
        self.literal(self.closing())
    }

    fn map(&mut self, value: &Value, verb: char) -> Result<()> {
        if self.flags.sharp_v {
            self.literal(value.type_name())?;
            if matches!(value, Value::Dict(dict) if dict.is_nil()) {
                return self.literal("(nil)");
            }
        }
        self.literal(self.opening("map["))?;
        self.nested(|this| {
            let mut later = false;
            match value {
                Value::Dict(dict) => dict.try_each(|key, value| {
                    this.key(key, verb, std::mem::replace(&mut later, true))?;
                    this.element(value, verb)
                }),
                Value::StringMap(map) => map.entries().try_for_each(|(key, value)| {
                    this.key(key, verb, std::mem::replace(&mut later, true))?;
                    this.element(&Value::Text(value.clone()), verb)
                }),
                _ => Ok(()),
            }
        })?;
        self.literal(self.closing())
    }

    fn key(&mut self, key: &Text, verb: char, later: bool) -> Result<()> {
        self.separate(later)?;
        self.element(&Value::Text(key.clone()), verb)?;
        self.literal(":")
    }

    fn structure(&mut self, type_name: &str, fields: &[Field], verb: char) -> Result<()> {
        if self.flags.sharp_v {
            self.literal(type_name)?;
        }
        self.literal("{")?;
        for (index, field) in fields.iter().enumerate() {
            self.separate(index > 0)?;
            if self.flags.plus_v || self.flags.sharp_v {
                self.literal(field.name)?;
                self.literal(":")?;
            }
            match &field.content {
                Content::Value(value) => self.composite(value, verb, false)?,
                Content::NilSlice(name) if self.flags.sharp_v => {
                    self.literal(name)?;
                    self.literal("(nil)")?;
                }
                Content::NilSlice(_) => self.literal("[]")?,
                Content::Pointer(_, Some(target)) => self.pointer(target, verb)?,
                Content::Pointer(name, None) => self.address(name, 0, verb)?,
            }
        }
        self.literal("}")
    }

    fn byte_slice(&mut self, list: &List, verb: char, type_name: &str) -> Result<()> {
        self.cx.work(list.len() as u64 / 8)?;
        self.cx.allocate(list.len())?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(list.len()));
        bytes.extend(bytes_of(list));
        match verb {
            's' => self.flags.text(self.cx, &bytes, self.out),
            'q' => self.flags.quoted(self.cx, &bytes, self.out),
            'x' => self
                .flags
                .hexadecimal(self.cx, &bytes, integer::LOWER, self.out),
            'X' => self
                .flags
                .hexadecimal(self.cx, &bytes, integer::UPPER, self.out),
            _ => {
                if self.flags.sharp_v {
                    self.literal(type_name)?;
                    if list.is_nil() {
                        return self.literal("(nil)");
                    }
                }
                self.literal(self.opening("["))?;
                let mut flags = self.flags;
                let base = if self.flags.sharp_v {
                    flags.sharp = true;
                    Base::Hexadecimal
                } else {
                    Base::Decimal
                };
                for (index, byte) in bytes.iter().enumerate() {
                    self.separate(index > 0)?;
                    flags.integer(self.cx, (u64::from(*byte), false), base, self.out)?;
                }
                self.literal(self.closing())
            }
        }
    }

    fn integer(&mut self, number: u64, signed: bool, verb: char, value: &Value) -> Result<()> {
        let mut flags = self.flags;
        let base = match verb {
            'v' if self.flags.sharp_v && !signed => {
                flags.sharp = true;
                Base::Hexadecimal
            }
            'v' | 'd' => Base::Decimal,
            'b' => Base::Binary,
            'o' => Base::Octal,
            'O' => Base::OctalPrefixed,
            'x' => Base::Hexadecimal,
            'X' => Base::HexadecimalUpper,
            'c' => return self.flags.character(self.cx, number, self.out),
            'q' => return self.flags.quoted_character(self.cx, number, self.out),
            'U' => return self.flags.unicode(self.cx, number, self.out),
            _ => return self.report(value, verb),
        };
        let negative = signed && (number as i64) < 0;
        let magnitude = if negative {
            number.wrapping_neg()
        } else {
            number
        };
        flags.integer(self.cx, (magnitude, negative), base, self.out)
    }

    fn float(&mut self, number: f64, verb: char, value: &Value) -> Result<()> {
        match float_format(verb) {
            Some((format, precision)) => self
                .flags
                .float(self.cx, number, format, precision, self.out),
            None => self.report(value, verb),
        }
    }

    fn complex(&mut self, real: f64, imaginary: f64, verb: char, value: &Value) -> Result<()> {
        let Some((format, precision)) = float_format(verb) else {
            return self.report(value, verb);
        };
        self.literal("(")?;
        self.flags
            .float(self.cx, real, format, precision, self.out)?;
        let signed = Flags {
            plus: true,
            ..self.flags
        };
        signed.float(self.cx, imaginary, format, precision, self.out)?;
        self.literal("i)")
    }

    fn text(&mut self, bytes: &[u8], verb: char, value: &Value) -> Result<()> {
        match verb {
            'v' if self.flags.sharp_v => self.flags.quoted(self.cx, bytes, self.out),
            'v' | 's' => self.flags.text(self.cx, bytes, self.out),
            'x' => self
                .flags
                .hexadecimal(self.cx, bytes, integer::LOWER, self.out),
            'X' => self
                .flags
                .hexadecimal(self.cx, bytes, integer::UPPER, self.out),
            'q' => self.flags.quoted(self.cx, bytes, self.out),
            _ => self.report(value, verb),
        }
    }

    fn pointer(&mut self, value: &Value, verb: char) -> Result<()> {
        let address = match value {
            Value::List(list) if list.is_nil() => 0,
            Value::Dict(dict) if dict.is_nil() => 0,
            Value::Version(None) => 0,
            Value::List(_)
            | Value::Dict(_)
            | Value::StringMap(_)
            | Value::Version(_)
            | Value::Location(_) => ADDRESS,
            _ => return self.report(value, verb),
        };
        if address != 0 && !matches!(verb, 'v' | 'p' | 'b' | 'o' | 'd' | 'x' | 'X') {
            return self.report(value, verb);
        }
        self.address(value.type_name(), address, verb)
    }

    fn address(&mut self, type_name: &str, address: u64, verb: char) -> Result<()> {
        let mut flags = self.flags;
        flags.sharp = !flags.sharp;
        match verb {
            'v' if self.flags.sharp_v => {
                self.literal("(")?;
                self.literal(type_name)?;
                self.literal(")(")?;
                if address == 0 {
                    self.literal("nil")?;
                } else {
                    flags.sharp = true;
                    flags.integer(self.cx, (address, false), Base::Hexadecimal, self.out)?;
                }
                self.literal(")")
            }
            'v' if address == 0 => self.flags.pad(self.cx, b"<nil>", self.out),
            'v' | 'p' => flags.integer(self.cx, (address, false), Base::Hexadecimal, self.out),
            'b' | 'o' | 'd' | 'x' | 'X' => {
                self.integer(address, false, verb, &Value::Uint64(address))
            }
            _ => {
                self.start_report(verb)?;
                self.literal(type_name)?;
                self.literal("=")?;
                self.address(type_name, address, 'v')?;
                self.literal(")")
            }
        }
    }

    /// `%!d(string=x)`
    fn report(&mut self, value: &Value, verb: char) -> Result<()> {
        self.start_report(verb)?;
        self.literal(value.type_name())?;
        self.literal("=")?;
        let outer = std::mem::replace(&mut self.reporting, true);
        self.composite(value, 'v', true)?;
        self.reporting = outer;
        self.literal(")")
    }

    fn start_report(&mut self, verb: char) -> Result<()> {
        self.literal("%!")?;
        self.literal(verb.encode_utf8(&mut [0; 4]))?;
        self.literal("(")
    }

    fn literal(&mut self, text: &str) -> Result<()> {
        append(self.cx, text.as_bytes(), self.out)
    }

    fn separate(&mut self, needed: bool) -> Result<()> {
        match (needed, self.flags.sharp_v) {
            (false, _) => Ok(()),
            (true, true) => self.literal(", "),
            (true, false) => self.literal(" "),
        }
    }

    fn opening(&self, plain: &'static str) -> &'static str {
        if self.flags.sharp_v { "{" } else { plain }
    }

    fn closing(&self) -> &'static str {
        if self.flags.sharp_v { "}" } else { "]" }
    }

    /// Runs `step` one level deeper.
    fn nested(&mut self, step: impl FnOnce(&mut Printer<'_>) -> Result<()>) -> Result<()> {
        let (flags, reporting) = (self.flags, self.reporting);
        let out = &mut *self.out;
        self.cx.nested(|cx| {
            step(&mut Printer {
                cx,
                out,
                flags,
                reporting,
            })
        })
    }
}

/// Types of which the printer knows without looking for methods, so that `%w` is an ordinary bad verb.
fn has_no_methods(value: &Value) -> bool {
    matches!(
        value,
        Value::Bool(_)
            | Value::Int(_)
            | Value::Int64(_)
            | Value::Uint8(_)
            | Value::Uint64(_)
            | Value::Float(_)
            | Value::Complex(..)
            | Value::Text(_)
    )
}

/// The format of [`super::float::append`] and the precision that a verb of floats means.
fn float_format(verb: char) -> Option<(u8, Option<usize>)> {
    Some(match verb {
        'v' | 'b' | 'g' | 'G' | 'x' | 'X' => (verb as u8, None),
        'f' | 'e' | 'E' => (verb as u8, Some(6)),
        'F' => (b'f', Some(6)),
        _ => return None,
    })
}

fn bytes_of(list: &List) -> impl Iterator<Item = u8> {
    list.values().iter().map(|value| match value {
        Value::Uint8(byte) => *byte,
        _ => 0,
    })
}

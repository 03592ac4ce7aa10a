//! The format of `printf`: text with directives, each with flags, width, precision, argument indexes and a verb.

use super::append;
use super::fields::Flags;
use super::verbs::Printer;
use crate::context::Context;
use crate::failure::Result;
use crate::value::Value;

/// Widths and precisions from arguments, and the digits read so far of one in the format, are refused above this.
const TOO_LARGE: i64 = 1_000_000;

/// Where the reading of a format stands.
struct Reader<'a> {
    format: &'a [u8],
    arguments: &'a [Value],
    /// The next byte of `format`.
    at: usize,
    /// The next of `arguments`.
    next: usize,
    /// Whether any index stood in the format: then unused arguments are not reported.
    reordered: bool,
    /// Whether the indexes of this directive are fine.
    good_index: bool,
    /// Whether an index was the last thing read.
    after_index: bool,
}

/// Appends `arguments` as `format` says.
pub(super) fn run(
    cx: &mut Context,
    format: &[u8],
    arguments: &[Value],
    out: &mut Vec<u8>,
) -> Result<()> {
    cx.work(format.len() as u64 / 32)?;
    let mut reader = Reader {
        format,
        arguments,
        at: 0,
        next: 0,
        reordered: false,
        good_index: true,
        after_index: false,
    };
    while let Some(rest) = format.get(reader.at..).filter(|rest| !rest.is_empty()) {
        cx.work(1)?;
        let text = rest.iter().position(|byte| *byte == b'%');
        let text = text.unwrap_or(rest.len());
        append(cx, &rest[..text], out)?;
        reader.at += text;
        if text == rest.len() {
            break;
        }
        reader.at += 1;
        reader.directive(cx, out)?;
    }
    if !reader.reordered {
        let unused = arguments.get(reader.next..).unwrap_or_default();
        report_unused(cx, unused, out)?;
    }
    Ok(())
}

/// `%!(EXTRA int=2, string=z)`
fn report_unused(cx: &mut Context, unused: &[Value], out: &mut Vec<u8>) -> Result<()> {
    if unused.is_empty() {
        return Ok(());
    }
    append(cx, b"%!(EXTRA ", out)?;
    for (index, argument) in unused.iter().enumerate() {
        if index > 0 {
            append(cx, b", ", out)?;
        }
        append(cx, argument.type_name().as_bytes(), out)?;
        if !matches!(argument, Value::Nil) {
            append(cx, b"=", out)?;
            super::display(cx, argument, out)?;
        }
    }
    append(cx, b")", out)
}

/// `%!d(MISSING)`
fn complain(cx: &mut Context, verb: char, what: &str, out: &mut Vec<u8>) -> Result<()> {
    append(cx, b"%!", out)?;
    append(cx, verb.encode_utf8(&mut [0; 4]).as_bytes(), out)?;
    append(cx, what.as_bytes(), out)
}

// === impl Reader ===

impl Reader<'_> {
    /// Reads and runs what follows a percent sign.
    fn directive(&mut self, cx: &mut Context, out: &mut Vec<u8>) -> Result<()> {
        self.good_index = true;
        self.after_index = false;
        let mut flags = self.flags();
        // The common case needs no more.
        if let (Some(verb @ b'a'..=b'z'), Some(argument)) =
            (self.peek(), self.arguments.get(self.next))
        {
            self.at += 1;
            self.next += 1;
            return Printer::new(cx, out, flags).run(argument, char::from(verb));
        }
        self.index();
        self.width(cx, &mut flags, out)?;
        self.precision(cx, &mut flags, out)?;
        if !self.after_index {
            self.index();
        }
        match self.verb() {
            None => append(cx, b"%!(NOVERB)", out),
            Some('%') => append(cx, b"%", out),
            Some(verb) if !self.good_index => complain(cx, verb, "(BADINDEX)", out),
            Some(verb) => match self.arguments.get(self.next) {
                None => complain(cx, verb, "(MISSING)", out),
                Some(argument) => {
                    self.next += 1;
                    Printer::new(cx, out, flags).run(argument, verb)
                }
            },
        }
    }

    fn peek(&self) -> Option<u8> {
        self.format.get(self.at).copied()
    }

    fn flags(&mut self) -> Flags {
        let mut flags = Flags::default();
        loop {
            match self.peek() {
                Some(b'#') => flags.sharp = true,
                Some(b'0') => flags.zero = true,
                Some(b'+') => flags.plus = true,
                Some(b'-') => flags.minus = true,
                Some(b' ') => flags.space = true,
                _ => return flags,
            }
            self.at += 1;
        }
    }

    fn width(&mut self, cx: &mut Context, flags: &mut Flags, out: &mut Vec<u8>) -> Result<()> {
        if self.peek() != Some(b'*') {
            flags.width = self.number();
            if self.after_index && flags.width.is_some() {
                self.good_index = false;
            }
            return Ok(());
        }
        self.at += 1;
        self.after_index = false;
        match self.argument_number() {
            None => append(cx, b"%!(BADWIDTH)", out)?,
            Some(width) => {
                if width < 0 {
                    flags.minus = true;
                    flags.zero = false;
                }
                flags.width = usize::try_from(width.unsigned_abs()).ok();
            }
        }
        Ok(())
    }

    fn precision(&mut self, cx: &mut Context, flags: &mut Flags, out: &mut Vec<u8>) -> Result<()> {
        // A point that ends the format is no precision but the verb.
        if self.peek() != Some(b'.') || self.at + 1 >= self.format.len() {
            return Ok(());
        }
        self.at += 1;
        if self.after_index {
            self.good_index = false;
        }
        self.index();
        if self.peek() != Some(b'*') {
            flags.precision = Some(self.number().unwrap_or(0));
            return Ok(());
        }
        self.at += 1;
        self.after_index = false;
        let precision = self.argument_number();
        flags.precision = precision.and_then(|precision| usize::try_from(precision).ok());
        if flags.precision.is_none() {
            append(cx, b"%!(BADPREC)", out)?;
        }
        Ok(())
    }

    /// Reads an argument index, `[3]`, if one is there.
    fn index(&mut self) {
        self.after_index = false;
        if self.peek() != Some(b'[') {
            return;
        }
        self.reordered = true;
        let rest = self.format.get(self.at..).unwrap_or_default();
        let Some(close) = rest.iter().position(|byte| *byte == b']') else {
            self.at += 1;
            self.good_index = false;
            return;
        };
        let digits = rest.get(1..close).unwrap_or_default();
        self.at += close + 1;
        let (number, length) = leading_number(digits);
        let Some(number) = number.filter(|_| length == digits.len()) else {
            self.good_index = false;
            return;
        };
        // Also an index that leads nowhere counts as one.
        self.after_index = true;
        match number.checked_sub(1) {
            Some(index) if index < self.arguments.len() => self.next = index,
            _ => self.good_index = false,
        }
    }

    /// Reads a number, if one is there. One that is far too large takes the whole rest with it.
    fn number(&mut self) -> Option<usize> {
        let rest = self.format.get(self.at..).unwrap_or_default();
        let (number, length) = leading_number(rest);
        self.at += length;
        number
    }

    /// Takes the next argument as a width or precision: an integer that is not too large.
    fn argument_number(&mut self) -> Option<i64> {
        let argument = self.arguments.get(self.next)?;
        self.next += 1;
        let number = match argument {
            Value::Int(value) | Value::Int64(value) | Value::Duration(value) => *value,
            Value::Uint8(value) | Value::Month(value) | Value::Weekday(value) => i64::from(*value),
            Value::Uint64(value) => i64::try_from(*value).ok()?,
            _ => return None,
        };
        (-TOO_LARGE..=TOO_LARGE).contains(&number).then_some(number)
    }

    /// Takes the verb; U+FFFD for a byte that is not UTF-8.
    fn verb(&mut self) -> Option<char> {
        let rest = self.format.get(self.at..)?;
        let start = &rest[..rest.len().min(4)];
        let chunk = start.utf8_chunks().next()?;
        let verb = chunk.valid().chars().next();
        self.at += verb.map_or(1, char::len_utf8);
        Some(verb.unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}

/// The number at the start of `text` and how many bytes it takes. One that goes on past [`TOO_LARGE`] is none and takes all.
fn leading_number(text: &[u8]) -> (Option<usize>, usize) {
    let mut number = None;
    for (index, byte) in text.iter().enumerate() {
        if !byte.is_ascii_digit() {
            return (number, index);
        }
        let before = number.unwrap_or(0);
        if before > TOO_LARGE as usize {
            return (None, text.len());
        }
        number = Some(before * 10 + usize::from(byte - b'0'));
    }
    (number, text.len())
}

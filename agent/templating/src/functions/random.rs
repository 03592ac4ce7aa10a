//! Random strings, numbers and identifiers.

mod source;

#[cfg(test)]
mod tests;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::Function;
use super::Parameter::{Int, Text as String};
use super::{int, text};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::format::integer::LOWER;
use crate::value::{Text, Value};
use source::Source;

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "randAlphaNum",
        parameters: &[Int],
        variadic: None,
        result: "string",
        summary: "A random string of so many ASCII letters and digits, from the operating system's generator.",
        source: "sprig",
        example: ("{{ randAlphaNum 12 | len }}", "12"),
        call: rand_alpha_num,
    },
    Function {
        name: "randAlpha",
        parameters: &[Int],
        variadic: None,
        result: "string",
        summary: "A random string of so many ASCII letters.",
        source: "sprig",
        example: ("{{ randAlpha 5 | len }}", "5"),
        call: rand_alpha,
    },
    Function {
        name: "randNumeric",
        parameters: &[Int],
        variadic: None,
        result: "string",
        summary: "A random string of so many ASCII digits.",
        source: "sprig",
        example: (r#"{{ randNumeric 6 | regexMatch "^[0-9]{6}$" }}"#, "true"),
        call: rand_numeric,
    },
    Function {
        name: "randAscii",
        parameters: &[Int],
        variadic: None,
        result: "string",
        summary: "A random string of so many printable ASCII characters, blanks included.",
        source: "sprig",
        example: ("{{ randAscii 8 | len }}", "8"),
        call: rand_ascii,
    },
    Function {
        name: "randInt",
        parameters: &[Int, Int],
        variadic: None,
        result: "int",
        summary: "A random int from the first argument on, below the second.",
        source: "sprig",
        example: ("{{ randInt 4 5 }}", "4"),
        call: rand_int,
    },
    Function {
        name: "randBytes",
        parameters: &[Int],
        variadic: None,
        result: "string",
        summary: "So many random bytes in base64.",
        source: "sprig",
        example: ("{{ randBytes 16 | b64dec | len }}", "16"),
        call: rand_bytes,
    },
    Function {
        name: "uuidv4",
        parameters: &[],
        variadic: None,
        result: "string",
        summary: "A random UUID, version 4, in lower case.",
        source: "sprig",
        example: ("{{ uuidv4 | len }}", "36"),
        call: uuidv4,
    },
    Function {
        name: "shuffle",
        parameters: &[String],
        variadic: None,
        result: "string",
        summary: "The characters of a string in random order.",
        source: "sprig",
        example: (r#"{{ shuffle "aaa" }}"#, "aaa"),
        call: shuffle,
    },
];

const ALPHA_NUM: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ALPHA: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const NUMERIC: &[u8] = b"0123456789";
/// Printable ASCII, from blank to `~`.
const ASCII: &[u8] = b" !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~";

fn rand_alpha_num(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    from_alphabet(cx, int(arguments, 0)?, ALPHA_NUM)
}

fn rand_alpha(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    from_alphabet(cx, int(arguments, 0)?, ALPHA)
}

fn rand_numeric(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    from_alphabet(cx, int(arguments, 0)?, NUMERIC)
}

fn rand_ascii(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    from_alphabet(cx, int(arguments, 0)?, ASCII)
}

fn rand_int(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let (least, end) = (int(arguments, 0)?, int(arguments, 1)?);
    // Go subtracts with wrapping, so a range of more than half of all ints counts as empty.
    let count = end.wrapping_sub(least);
    if count <= 0 {
        return Err(Failure::plain("invalid argument to Intn"));
    }
    let offset = Source::new().below(count.unsigned_abs())?;
    Ok(Value::Int(least.wrapping_add(offset as i64)))
}

fn rand_bytes(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let Ok(count) = usize::try_from(int(arguments, 0)?) else {
        return Err(Failure::plain("runtime error: makeslice: len out of range"));
    };
    cx.allocate(count)?;
    pay_for_random(cx, count)?;
    let mut bytes = Zeroizing::new(vec![0; count]);
    source::fill(&mut bytes)?;
    cx.text(STANDARD.encode(&*bytes))
}

fn uuidv4(cx: &mut Context, _arguments: &[Value]) -> Result<Value> {
    pay_for_random(cx, 16)?;
    let mut bytes = [0; 16];
    source::fill(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = Vec::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push(b'-');
        }
        text.push(LOWER[usize::from(byte >> 4)]);
        text.push(LOWER[usize::from(byte & 15)]);
    }
    cx.text(text)
}

/// Bytes that are not UTF-8 become U+FFFD.
fn shuffle(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let bytes = text(arguments, 0)?.bytes();
    // Four bytes for each character, and three for each that is not UTF-8.
    cx.allocate(bytes.len().saturating_mul(7))?;
    pay_for_random(cx, bytes.len())?;
    let mut characters: Zeroizing<Vec<char>> = Zeroizing::new(Vec::with_capacity(bytes.len()));
    for chunk in bytes.utf8_chunks() {
        characters.extend(chunk.valid().chars());
        characters.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    let mut source = Source::new();
    for last in (1..characters.len()).rev() {
        let other = source.below(last as u64 + 1)?;
        characters.swap(last, other as usize);
    }
    let mut shuffled = Vec::with_capacity(bytes.len());
    for character in characters.iter() {
        shuffled.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(Value::Text(Text::new(shuffled)))
}

/// So many letters of an alphabet, each with the same chance; a negative count is none.
fn from_alphabet(cx: &mut Context, count: i64, alphabet: &[u8]) -> Result<Value> {
    let count = usize::try_from(count).unwrap_or(0);
    cx.allocate(count)?;
    pay_for_random(cx, count)?;
    let mut source = Source::new();
    let mut letters = Zeroizing::new(Vec::with_capacity(count));
    for _ in 0..count {
        let index = source.below(alphabet.len() as u64)? as usize;
        letters.extend(alphabet.get(index));
    }
    Ok(Value::Text(Text::new(std::mem::take(&mut *letters))))
}

/// Steps for asking the operating system.
const CALL: u64 = 8;

/// Random bytes cost more than copied ones.
fn pay_for_random(cx: &mut Context, bytes: usize) -> Result<()> {
    cx.work(CALL + bytes as u64 / 4)
}

//! What a scalar is: the types of YAML 1.1 as `go-yaml` 2 tells them by their spelling.

mod timestamp;

use zeroize::Zeroizing;

use super::fault::Fault;
use super::parser::Scalar;
use crate::convert::{parse_float, parse_int, parse_uint};
use crate::radix64;
use crate::value::Text;

use self::timestamp::is_timestamp;

/// Where the tags of YAML's own types begin.
const PREFIX: &[u8] = b"tag:yaml.org,2002:";

/// A scalar's value.
pub(super) enum Data {
    Nil,
    Bool(bool),
    Int(i64),
    /// Above the largest [`Self::Int`].
    Uint(u64),
    Float(f64),
    Text(Text),
    /// Of a `!!binary`: need be no UTF-8.
    Binary(Text),
}

/// What a text looks like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Guess {
    Nil,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Timestamp,
    Text,
}

/// The value of a scalar.
pub(super) fn resolve(scalar: &Scalar) -> Result<Data, Fault> {
    let text = scalar.value.bytes();
    if scalar.tag.is_empty() {
        if !scalar.implicit {
            return Ok(Data::Text(scalar.value.clone()));
        }
        return Ok(data(guess(text, true), scalar));
    }
    let name = scalar.tag.strip_prefix(PREFIX).unwrap_or_default();
    let guess = match name {
        b"binary" => return binary(text),
        b"bool" | b"int" | b"float" | b"null" => guess(text, false),
        b"timestamp" => guess(text, true),
        // Any text may be a string, and tags of others say nothing.
        _ => Guess::Text,
    };
    match (guess, name) {
        (_, b"bool" | b"int" | b"float" | b"null" | b"timestamp") => {}
        _ => return Ok(Data::Text(scalar.value.clone())),
    }
    if let (Guess::Int(number), b"float") = (guess, name) {
        return Ok(Data::Float(number as f64));
    }
    if guess.name().as_bytes() == name {
        return Ok(data(guess, scalar));
    }
    let (is, wanted) = (guess.name(), String::from_utf8_lossy(name));
    Err(Fault::showing_data(
        format!(
            "yaml: cannot decode !!{is} `{}` as a !!{wanted}",
            scalar.value.to_lossy()
        ),
        format!("yaml: cannot decode !!{is} as a !!{wanted}"),
    ))
}

fn data(guess: Guess, scalar: &Scalar) -> Data {
    match guess {
        Guess::Nil => Data::Nil,
        Guess::Bool(value) => Data::Bool(value),
        Guess::Int(number) => Data::Int(number),
        Guess::Uint(number) => Data::Uint(number),
        Guess::Float(number) => Data::Float(number),
        // go-yaml keeps the spelling of a time that nobody asked for.
        Guess::Timestamp | Guess::Text => Data::Text(scalar.value.clone()),
    }
}

fn binary(text: &[u8]) -> Result<Data, Fault> {
    match radix64::decode_or_message(text) {
        Ok(bytes) => Ok(Data::Binary(Text::new(bytes))),
        Err(_) => Err(Fault::plain(
            "yaml: !!binary value contains invalid base64 data",
        )),
    }
}

/// What a plain text without a tag is. Times count only where they are asked for.
pub(super) fn guess(text: &[u8], timestamps: bool) -> Guess {
    let Some(first) = text.first() else {
        return Guess::Nil;
    };
    match first {
        b'~' | b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' => word(text),
        b'.' => match special_float(text) {
            Some(number) => Guess::Float(number),
            None => parse_float(text).map_or(Guess::Text, Guess::Float),
        },
        b'+' | b'-' | b'0'..=b'9' => number(text, timestamps),
        _ => Guess::Text,
    }
}

fn word(text: &[u8]) -> Guess {
    match text {
        b"y" | b"Y" | b"yes" | b"Yes" | b"YES" | b"true" | b"True" | b"TRUE" | b"on" | b"On"
        | b"ON" => Guess::Bool(true),
        b"n" | b"N" | b"no" | b"No" | b"NO" | b"false" | b"False" | b"FALSE" | b"off" | b"Off"
        | b"OFF" => Guess::Bool(false),
        b"~" | b"null" | b"Null" | b"NULL" => Guess::Nil,
        _ => Guess::Text,
    }
}

fn special_float(text: &[u8]) -> Option<f64> {
    match text {
        b".nan" | b".NaN" | b".NAN" => Some(f64::NAN),
        b".inf" | b".Inf" | b".INF" | b"+.inf" | b"+.Inf" | b"+.INF" => Some(f64::INFINITY),
        b"-.inf" | b"-.Inf" | b"-.INF" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn number(text: &[u8], timestamps: bool) -> Guess {
    if let Some(number) = special_float(text) {
        return Guess::Float(number);
    }
    if timestamps && is_timestamp(text) {
        return Guess::Timestamp;
    }
    if !text.contains(&b'_') {
        return plain_number(text);
    }
    let digits = text.iter().copied().filter(|&byte| byte != b'_');
    plain_number(&Zeroizing::new(digits.collect::<Vec<_>>()))
}

/// A number without underscores.
fn plain_number(text: &[u8]) -> Guess {
    if let Ok(number) = parse_int(text, 0, 64) {
        return Guess::Int(number);
    }
    if let Ok(number) = parse_uint(text, 0, 64) {
        return Guess::Uint(number);
    }
    if let (true, Ok(number)) = (is_float(text), parse_float(text)) {
        return Guess::Float(number);
    }
    // A second sign, which go-yaml takes.
    match text
        .strip_prefix(b"0b")
        .map(|digits| parse_int(digits, 2, 64))
    {
        Some(Ok(number)) => Guess::Int(number),
        _ => Guess::Text,
    }
}

/// Whether a text is a float to YAML: `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`.
fn is_float(text: &[u8]) -> bool {
    let unsigned = match text {
        [b'+' | b'-', rest @ ..] => rest,
        _ => text,
    };
    let (whole, rest) = digits(unsigned);
    let (decimals, rest) = match rest {
        [b'.', rest @ ..] => digits(rest),
        _ => (0, rest),
    };
    if whole == 0 && decimals == 0 {
        return false;
    }
    match rest {
        [] => true,
        [b'e' | b'E', exponent @ ..] => {
            let exponent = match exponent {
                [b'+' | b'-', rest @ ..] => rest,
                _ => exponent,
            };
            !exponent.is_empty() && digits(exponent).1.is_empty()
        }
        _ => false,
    }
}

/// How many digits a text begins with, and the rest.
fn digits(text: &[u8]) -> (usize, &[u8]) {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (count, text.get(count..).unwrap_or_default())
}

/// Whether a text is a number in base 60: `[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?`.
pub(super) fn is_base60(text: &[u8]) -> bool {
    let unsigned = match text {
        [b'+' | b'-', rest @ ..] => rest,
        _ => text,
    };
    if !unsigned.first().is_some_and(u8::is_ascii_digit) {
        return false;
    }
    let (sexagesimal, decimals) = match unsigned.iter().position(|&byte| byte == b'.') {
        Some(dot) => (
            unsigned.get(..dot).unwrap_or_default(),
            unsigned.get(dot + 1..).unwrap_or_default(),
        ),
        None => (unsigned, &[][..]),
    };
    let is_digits = |text: &[u8]| {
        text.iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b'_')
    };
    let mut groups = sexagesimal.split(|&byte| byte == b':');
    let whole = groups.next().unwrap_or_default();
    let mut count = 0;
    let all = groups.all(|group| {
        count += 1;
        matches!(group, [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9'])
    });
    all && count > 0 && is_digits(whole) && is_digits(decimals)
}

// === impl Guess ===

impl Guess {
    /// The name of its type behind `!!`.
    fn name(self) -> &'static str {
        match self {
            Self::Nil => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::Uint(_) => "int",
            Self::Float(_) => "float",
            Self::Timestamp => "timestamp",
            Self::Text => "str",
        }
    }
}

//! The pieces that [`super::parse`] takes off a text: numbers, names, fractions, offsets, abbreviations.

use super::SECOND;
use super::layout::Pad;

/// What is wrong with the text at an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is not of the element's form.
    Form,
    /// The number is too large or too small: of what.
    Range(&'static str),
}

/// Half of a day.
#[derive(Clone, Copy)]
pub(super) enum Half {
    Morning,
    Afternoon,
}

pub(super) type Outcome<T> = Result<T, Trouble>;

/// Takes `prefix` off `value`, where any run of blanks is like any other, none at the end of `value` included. Fails with what
/// is left where they part.
pub(super) fn skip<'a>(mut value: &'a [u8], mut prefix: &[u8]) -> Result<&'a [u8], &'a [u8]> {
    while let [first, rest @ ..] = prefix {
        if *first == b' ' {
            if value.first().is_some_and(|byte| *byte != b' ') {
                return Err(value);
            }
            prefix = without_blanks(prefix);
            value = without_blanks(value);
            continue;
        }
        match value {
            [byte, left @ ..] if byte == first => value = left,
            _ => return Err(value),
        }
        prefix = rest;
    }
    Ok(value)
}

/// Cuts blanks off the front; not other white space.
pub(super) fn without_blanks(text: &[u8]) -> &[u8] {
    let count = text.iter().take_while(|byte| **byte == b' ').count();
    text.get(count..).unwrap_or_default()
}

pub(super) fn skip_blank(value: &mut &[u8]) {
    if let [b' ', rest @ ..] = *value {
        *value = rest;
    }
}

pub(super) fn is_digit(text: &[u8], index: usize) -> bool {
    text.get(index).is_some_and(u8::is_ascii_digit)
}

/// Whether a separator and a digit are next.
pub(super) fn starts_fraction(value: &[u8]) -> bool {
    matches!(value.first(), Some(b'.' | b',')) && is_digit(value, 1)
}

/// Takes `length` bytes off.
pub(super) fn take<'a>(value: &mut &'a [u8], length: usize) -> Outcome<&'a [u8]> {
    let (taken, rest) = value.split_at_checked(length).ok_or(Trouble::Form)?;
    *value = rest;
    Ok(taken)
}

pub(super) fn within(
    number: i64,
    range: std::ops::RangeInclusive<i64>,
    what: &'static str,
) -> Outcome<i64> {
    if range.contains(&number) {
        Ok(number)
    } else {
        Err(Trouble::Range(what))
    }
}

/// A number of two digits, or of one unless it is filled up with zeros.
pub(super) fn number(value: &mut &[u8], pad: Pad) -> Outcome<i64> {
    match *value {
        [tens, ones, rest @ ..] if tens.is_ascii_digit() && ones.is_ascii_digit() => {
            *value = rest;
            Ok(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
        }
        [ones, rest @ ..] if ones.is_ascii_digit() && pad != Pad::Zero => {
            *value = rest;
            Ok(i64::from(ones - b'0'))
        }
        _ => Err(Trouble::Form),
    }
}

/// A number of up to three digits, of just three if it is filled up with zeros.
pub(super) fn year_day(value: &mut &[u8], pad: Pad) -> Outcome<i64> {
    if pad == Pad::Blank {
        skip_blank(value);
        skip_blank(value);
    }
    let digits = value.iter().take(3);
    let length = digits.take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 || (pad == Pad::Zero && length != 3) {
        return Err(Trouble::Form);
    }
    signed_number(take(value, length)?)
}

/// Go's `atoi` of short texts: digits with an optional sign; nothing is 0.
pub(super) fn signed_number(text: &[u8]) -> Outcome<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let mut number = 0_i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(Trouble::Form);
        }
        let shifted = number.checked_mul(10).ok_or(Trouble::Form)?;
        number = shifted
            .checked_add(i64::from(digit - b'0'))
            .ok_or(Trouble::Form)?;
    }
    Ok(if is_negative { -number } else { number })
}

/// One of `names`, cut to `length`, in any case: its number from 1.
pub(super) fn name(value: &mut &[u8], names: &[&str], length: usize) -> Outcome<i64> {
    for (index, name) in names.iter().enumerate() {
        let name = name.as_bytes();
        let name = name.get(..length).unwrap_or(name);
        if let Some((text, rest)) = value.split_at_checked(name.len())
            && text.eq_ignore_ascii_case(name)
        {
            *value = rest;
            return Ok(index as i64 + 1);
        }
    }
    Err(Trouble::Form)
}

pub(super) fn half(text: &[u8], morning: &[u8], afternoon: &[u8]) -> Outcome<Half> {
    if text == morning {
        Ok(Half::Morning)
    } else if text == afternoon {
        Ok(Half::Afternoon)
    } else {
        Err(Trouble::Form)
    }
}

/// A separator and digits behind it as nanoseconds; what is below is cut off. A sign before the digits passes in Go, too.
pub(super) fn nanoseconds(text: &[u8]) -> Outcome<i64> {
    const LENGTH: usize = 10;
    let text = text.get(..LENGTH).unwrap_or(text);
    let [b'.' | b',', digits @ ..] = text else {
        return Err(Trouble::Form);
    };
    let number = signed_number(digits)?;
    let scale = 10_i64.pow((LENGTH - text.len()) as u32);
    within(number, 0..=SECOND, "fractional second").map(|number| number * scale)
}

/// An offset in seconds. One of -1 second is like none, as upstream. Where several things are wrong, ranges count before forms
/// and later parts before earlier ones.
pub(super) fn offset(
    text: &[u8],
    hours: &[u8],
    minutes: &[u8],
    seconds: &[u8],
) -> Outcome<Option<i64>> {
    let pair = |mut text: &[u8]| number(&mut text, Pad::Zero);
    let hours = pair(hours);
    let minutes = hours.and_then(|_| pair(minutes));
    let seconds = minutes.and_then(|_| pair(seconds));
    for (part, most, what) in [
        (seconds, 60, "time zone offset second"),
        (minutes, 60, "time zone offset minute"),
        (hours, 24, "time zone offset hour"),
    ] {
        if part.is_ok_and(|part| part > most) {
            return Err(Trouble::Range(what));
        }
    }
    let offset = (hours? * 60 + minutes?) * 60 + seconds?;
    let offset = match text.first() {
        Some(b'+') => offset,
        Some(b'-') => -offset,
        _ => return Err(Trouble::Form),
    };
    Ok((offset != -1).then_some(offset))
}

/// The length of the zone abbreviation that `value` starts with.
pub(super) fn abbreviation(value: &[u8]) -> Option<usize> {
    if value.len() < 3 {
        return None;
    }
    if value.starts_with(b"ChST") || value.starts_with(b"MeST") {
        return Some(4);
    }
    if let Some(rest) = value.strip_prefix(b"GMT") {
        return Some(3 + signed_hours(rest).unwrap_or(0));
    }
    if matches!(value.first(), Some(b'+' | b'-')) {
        return signed_hours(value);
    }
    let upper = value.iter().take(6);
    let upper = upper.take_while(|byte| byte.is_ascii_uppercase()).count();
    match upper {
        3 => Some(3),
        4 if value.get(3) == Some(&b'T') || value.starts_with(b"WITA") => Some(4),
        5 if value.get(4) == Some(&b'T') => Some(5),
        _ => None,
    }
}

/// The length of a sign with a number up to 23 at the start of `value`.
pub(super) fn signed_hours(value: &[u8]) -> Option<usize> {
    let [b'+' | b'-', rest @ ..] = value else {
        return None;
    };
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let digits = rest.get(..length).filter(|digits| !digits.is_empty())?;
    let hours = signed_number(digits).ok()?;
    (hours <= 23).then_some(1 + length)
}

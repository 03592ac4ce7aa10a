//! Go's `time.Duration`: nanoseconds in 64 bits.

use super::{SECOND, quote};

/// The most that a positive duration can be, and one more.
const LIMIT: u64 = 1 << 63;

/// `time.ParseDuration`.
///
/// # Errors
///
/// Go's text, which quotes `text`.
pub(crate) fn parse(text: &[u8]) -> Result<i64, String> {
    let fail = |what: &str| describe(what, text);
    let invalid = || fail("invalid duration");
    let (is_negative, mut rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if rest == b"0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut sum = 0_u64;
    while !rest.is_empty() {
        let whole_digits = digits(rest);
        let whole = whole(whole_digits).ok_or_else(invalid)?;
        rest = &rest[whole_digits.len()..];
        let mut fraction_digits: &[u8] = &[];
        if let [b'.', behind @ ..] = rest {
            fraction_digits = digits(behind);
            rest = &behind[fraction_digits.len()..];
        }
        if whole_digits.is_empty() && fraction_digits.is_empty() {
            return Err(invalid());
        }
        let length = rest
            .iter()
            .take_while(|byte| **byte != b'.' && !byte.is_ascii_digit())
            .count();
        let (name, behind) = rest.split_at(length);
        rest = behind;
        if name.is_empty() {
            return Err(fail("missing unit in duration"));
        }
        let unit = unit(name).ok_or_else(|| fail(&unknown(name)))?;
        let part = scale(whole, fraction_digits, unit).ok_or_else(invalid)?;
        sum = sum.wrapping_add(part);
        if sum > LIMIT {
            return Err(invalid());
        }
    }
    if is_negative {
        return Ok((sum as i64).wrapping_neg());
    }
    i64::try_from(sum).map_err(|_| invalid())
}

fn describe(what: &str, text: &[u8]) -> String {
    let mut out = format!("time: {what} ").into_bytes();
    quote(text, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// `unknown unit "x" in duration`
fn unknown(name: &[u8]) -> String {
    let mut out = b"unknown unit ".to_vec();
    quote(name, &mut out);
    out.extend_from_slice(b" in duration");
    String::from_utf8_lossy(&out).into_owned()
}

/// The digits that `text` starts with.
fn digits(text: &[u8]) -> &[u8] {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    &text[..length]
}

/// `None` beyond [`LIMIT`].
fn whole(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |number, digit| {
        let number = number
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
        (number <= LIMIT).then_some(number)
    })
}

/// Nanoseconds in a unit.
fn unit(name: &[u8]) -> Option<u64> {
    Some(match name {
        b"ns" => 1,
        b"us" | b"\xc2\xb5s" | b"\xce\xbcs" => 1_000,
        b"ms" => 1_000_000,
        b"s" => 1_000_000_000,
        b"m" => 60_000_000_000,
        b"h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// `whole` units and a decimal fraction of one; `None` beyond [`LIMIT`].
fn scale(whole: u64, fraction: &[u8], unit: u64) -> Option<u64> {
    let mut sum = whole.checked_mul(unit).filter(|sum| *sum <= LIMIT)?;
    // Digits are taken for as long as they fit, and computed with floats as upstream does.
    let (mut numerator, mut denominator) = (0_u64, 1.0_f64);
    for digit in fraction {
        let next = numerator
            .checked_mul(10)
            .and_then(|next| next.checked_add(u64::from(digit - b'0')))
            .filter(|next| *next <= LIMIT);
        let Some(next) = next else {
            break;
        };
        numerator = next;
        denominator *= 10.0;
    }
    if numerator > 0 {
        let part = numerator as f64 * (unit as f64 / denominator);
        sum = sum.checked_add(part as u64).filter(|sum| *sum <= LIMIT)?;
    }
    Some(sum)
}

/// `String`: `1h2m3.5s`, `-1.5ms`, `0s`.
pub(crate) fn text(duration: i64) -> String {
    let sign = if duration < 0 { "-" } else { "" };
    let nanoseconds = duration.unsigned_abs();
    let (unit, name) = match nanoseconds {
        0 => return "0s".to_owned(),
        1..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "\u{b5}s"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (SECOND as u64, "s"),
    };
    let fraction = fraction(nanoseconds % unit, unit);
    let whole = nanoseconds / unit;
    let (minutes, seconds) = (whole / 60, whole % 60);
    match (minutes / 60, minutes % 60) {
        _ if unit != SECOND as u64 => format!("{sign}{whole}{fraction}{name}"),
        (0, 0) => format!("{sign}{seconds}{fraction}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}{fraction}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

/// A part of a unit as a decimal fraction without trailing zeros; empty for 0.
fn fraction(part: u64, unit: u64) -> String {
    if part == 0 {
        return String::new();
    }
    let width = unit.ilog10() as usize;
    let digits = format!(".{part:0width$}");
    digits.trim_end_matches('0').to_owned()
}

/// A duration in units of `unit` nanoseconds, as a float.
pub(crate) fn in_units(duration: i64, unit: i64) -> f64 {
    (duration / unit) as f64 + (duration % unit) as f64 / unit as f64
}

/// `Truncate`: toward zero to a multiple of `unit`.
pub(crate) fn truncate(duration: i64, unit: i64) -> i64 {
    if unit <= 0 {
        duration
    } else {
        duration - duration % unit
    }
}

/// `Round`: to the nearest multiple of `unit`, halves away from zero. Saturates.
pub(crate) fn round(duration: i64, unit: i64) -> i64 {
    if unit <= 0 {
        return duration;
    }
    let beyond = (duration % unit).abs();
    let is_below_half = beyond < unit - beyond;
    match (duration < 0, is_below_half) {
        (true, true) => duration + beyond,
        (true, false) => duration.saturating_sub(unit - beyond),
        (false, true) => duration - beyond,
        (false, false) => duration.saturating_add(unit - beyond),
    }
}

/// `Abs`. The least has no opposite and gives the greatest.
pub(crate) fn absolute(duration: i64) -> i64 {
    duration.saturating_abs()
}

//! Durations as Go writes them (`1h30m`, `300ms`), parsed where they are used.

use std::time::Duration;

/// Why a duration of a manifest cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} \"{text}\" is not a duration such as 90s, 15m or 1h30m")]
pub struct InvalidDuration {
    /// Path of the field within the object, such as `spec.refreshInterval`.
    pub field: &'static str,
    /// The text found there.
    pub text: String,
}

/// A duration with Go's sign: negative ones are legal in some fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedDuration {
    /// The absolute value.
    pub absolute: Duration,
    /// Whether it is below zero.
    pub is_negative: bool,
}

// === impl SignedDuration ===

impl SignedDuration {
    /// The duration if it is above zero.
    #[must_use]
    pub fn positive(self) -> Option<Duration> {
        (!self.is_negative && !self.absolute.is_zero()).then_some(self.absolute)
    }
}

/// Parses the text of `field` with Go's grammar: an optional sign, then numbers with the units ns, us, µs, ms, s, m or h; `0`
/// needs no unit. There is no unit for days.
///
/// # Errors
///
/// [`InvalidDuration`] names the field and the text.
pub fn parse(field: &'static str, text: &str) -> Result<SignedDuration, InvalidDuration> {
    let invalid = || InvalidDuration {
        field,
        text: text.chars().take(64).collect(),
    };
    let (is_negative, magnitude) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if magnitude == "0" {
        return Ok(SignedDuration {
            absolute: Duration::ZERO,
            is_negative: false,
        });
    }
    if magnitude.is_empty() {
        return Err(invalid());
    }
    let mut nanoseconds: u128 = 0;
    let mut rest = magnitude;
    while !rest.is_empty() {
        let (term, remainder) = parse_term(rest).ok_or_else(invalid)?;
        nanoseconds = nanoseconds
            .checked_add(term)
            .filter(|sum| *sum <= MAXIMUM)
            .ok_or_else(invalid)?;
        rest = remainder;
    }
    // The bound above keeps the value within 64 bits.
    let absolute = Duration::from_nanos(u64::try_from(nanoseconds).map_err(|_| invalid())?);
    Ok(SignedDuration {
        absolute,
        is_negative: is_negative && !absolute.is_zero(),
    })
}

/// Go keeps durations in a signed 64-bit number of nanoseconds, about 292 years.
const MAXIMUM: u128 = i64::MAX as u128;

/// One number with its unit, in nanoseconds, and the text behind it.
fn parse_term(text: &str) -> Option<(u128, &str)> {
    let number_end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .filter(|end| *end > 0)?;
    let (number, rest) = text.split_at(number_end);
    let unit_end = rest
        .find(|c: char| c.is_ascii_digit() || c == '.')
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_end);
    let scale: u128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let mut total = if whole.is_empty() {
        0
    } else {
        whole
            .parse::<u64>()
            .map(u128::from)
            .ok()?
            .checked_mul(scale)?
    };
    let mut place = scale;
    for digit in fraction.bytes() {
        place /= 10;
        total += u128::from(digit - b'0') * place;
    }
    Some((total, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_understood() {
        let milliseconds = |text: &str| {
            let parsed = parse("spec.refreshInterval", text).unwrap();
            i128::try_from(parsed.absolute.as_millis()).unwrap()
                * if parsed.is_negative { -1 } else { 1 }
        };
        for (text, expected) in [
            ("0", 0),
            ("0s", 0),
            ("-0s", 0),
            ("300ms", 300),
            ("1h30m", 5_400_000),
            ("1h0m0s", 3_600_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("1.s", 1_000),
            ("+2m", 120_000),
            ("-5m", -300_000),
            ("2000us", 2),
            ("2000µs", 2),
            ("3000000ns", 3),
            ("1m1m", 120_000),
        ] {
            assert_eq!(milliseconds(text), expected, "{text}");
        }
    }

    #[test]
    fn malformed_durations_are_errors_that_name_the_field() {
        for text in [
            "",
            "-",
            "10",
            "1d",
            "h",
            "1 h",
            "1h 30m",
            "1..5s",
            ".s",
            "nonsense",
            "1hh",
            "9999999999h",
            "1e3s",
            "é",
        ] {
            let error = parse("spec.refreshInterval", text).unwrap_err();
            assert_eq!(error.field, "spec.refreshInterval", "{text}");
            assert!(
                error.to_string().starts_with("spec.refreshInterval \""),
                "{error}"
            );
        }
    }

    #[test]
    fn only_values_above_zero_are_positive() {
        assert_eq!(parse("f", "0s").unwrap().positive(), None);
        assert_eq!(parse("f", "-1s").unwrap().positive(), None);
        assert_eq!(
            parse("f", "1s").unwrap().positive(),
            Some(Duration::from_secs(1))
        );
    }
}

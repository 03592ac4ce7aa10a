//! Validity. Nothing here looks at the moments, but Go refuses what it cannot read.

use super::malformed;
use crate::der::read::Reader;
use crate::der::tag;
use crate::failure::{Failure, Result};

/// Checks both ends.
pub(super) fn validity(mut validity: Reader) -> Result<()> {
    moment(&mut validity)?;
    moment(&mut validity)
}

fn moment(validity: &mut Reader) -> Result<()> {
    if validity.peek(tag::UTC_TIME) {
        let text = validity.element(tag::UTC_TIME);
        return match text {
            Some(text) if is_utc_time(text.bytes()) => Ok(()),
            _ => Err(malformed("UTCTime")),
        };
    }
    if validity.peek(tag::GENERALIZED_TIME) {
        let text = validity.element(tag::GENERALIZED_TIME);
        return match text {
            Some(text) if is_generalized_time(text.bytes()) => Ok(()),
            _ => Err(malformed("GeneralizedTime")),
        };
    }
    Err(Failure::plain("x509: unsupported time format"))
}

/// `yyMMddhhmmss` or, as Go allows, without seconds; then a zone.
fn is_utc_time(text: &[u8]) -> bool {
    let Some((year, rest)) = two(text) else {
        return false;
    };
    // Go's two-digit years turn at 69.
    let year = if year >= 69 { 1900 + year } else { 2000 + year };
    is_moment(year, rest, true) || is_moment(year, rest, false)
}

fn is_generalized_time(text: &[u8]) -> bool {
    let year = two(text).and_then(|(high, rest)| {
        let (low, rest) = two(rest)?;
        Some((high * 100 + low, rest))
    });
    year.is_some_and(|(year, rest)| is_moment(year, rest, true))
}

fn is_moment(year: u32, text: &[u8], seconds: bool) -> bool {
    read_moment(year, text, seconds).is_some()
}

fn read_moment(year: u32, text: &[u8], seconds: bool) -> Option<()> {
    let (month, text) = two(text)?;
    let (day, text) = two(text)?;
    let (hour, text) = two(text)?;
    let (minute, text) = two(text)?;
    let (second, text) = if seconds { two(text)? } else { (0, text) };
    let fits = (1..=12).contains(&month)
        && day >= 1
        && day <= days(year, month)
        && hour < 24
        && minute < 60
        && second < 60;
    (fits && is_zone(text)).then_some(())
}

/// `Z`, or an offset that Go would write the same way.
fn is_zone(text: &[u8]) -> bool {
    match text.split_first() {
        Some((b'Z', [])) => true,
        Some((b'+' | b'-', offset)) => two(offset)
            .and_then(|(hours, rest)| {
                let (minutes, rest) = two(rest)?;
                let fits = hours <= 24 && minutes < 60 && hours + minutes > 0;
                (rest.is_empty() && fits).then_some(())
            })
            .is_some(),
        _ => false,
    }
}

fn days(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Two digits and what follows them.
fn two(text: &[u8]) -> Option<(u32, &[u8])> {
    match text {
        [high @ b'0'..=b'9', low @ b'0'..=b'9', rest @ ..] => {
            Some((u32::from(high - b'0') * 10 + u32::from(low - b'0'), rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_times_are_those_that_go_reads() {
        for text in [
            "250101000000Z",
            "2501010000Z",
            "240229235959Z",
            "250101000000+0100",
            "250101000000-2400",
        ] {
            assert!(is_utc_time(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "250101000000",
            "250101000000z",
            "251301000000Z",
            "250229000000Z",
            "250100000000Z",
            "250101240000Z",
            "250101006000Z",
            "250101000060Z",
            "250101000000.5Z",
            "250101000000+0000",
            "250101000000+01:00",
            "250101000000ZZ",
        ] {
            assert!(!is_utc_time(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn generalized_times_have_seconds_and_four_digits_of_the_year() {
        assert!(is_generalized_time(b"21260101000000Z"));
        assert!(!is_generalized_time(b"212601010000Z"));
        assert!(!is_generalized_time(b"260101000000Z"));
        assert!(!is_generalized_time(b"21000229000000Z"));
    }
}

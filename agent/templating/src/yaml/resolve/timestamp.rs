//! Which texts are times.

/// Whether a text is a date, or a date and time in one of the forms of RFC 3339, or with blanks and no zone; numbers but the
/// year may have one digit.
pub(super) fn is_timestamp(text: &[u8]) -> bool {
    // Most texts end here.
    if text.get(4) != Some(&b'-') {
        return false;
    }
    date(text).is_some_and(|rest| match rest {
        [] => true,
        [b'T' | b't', rest @ ..] => time(rest).is_some_and(is_zone),
        [b' ', ..] => {
            let blanks = rest.iter().take_while(|&&byte| byte == b' ').count();
            let rest = rest.get(blanks..).unwrap_or_default();
            time(rest).is_some_and(<[u8]>::is_empty)
        }
        _ => false,
    })
}

/// What follows the date.
fn date(text: &[u8]) -> Option<&[u8]> {
    let (year, rest) = text.split_at_checked(4)?;
    if !year.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let year = year
        .iter()
        .fold(0, |year, digit| year * 10 + u32::from(digit - b'0'));
    let (month, rest) = number(rest.strip_prefix(b"-")?)?;
    let (day, rest) = number(rest.strip_prefix(b"-")?)?;
    let days = match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    (1..=days).contains(&day).then_some(rest)
}

/// What follows the time of day.
fn time(text: &[u8]) -> Option<&[u8]> {
    let (hour, rest) = number(text)?;
    let (minute, rest) = number(rest.strip_prefix(b":")?)?;
    let (second, rest) = number(rest.strip_prefix(b":")?)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    match rest {
        [b'.' | b',', fraction @ ..] => {
            let digits = fraction
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            if digits == 0 {
                return None;
            }
            fraction.get(digits..)
        }
        _ => Some(rest),
    }
}

fn is_zone(text: &[u8]) -> bool {
    match text {
        b"Z" => true,
        [b'+' | b'-', hours @ .., b':', tens, ones] if hours.len() == 2 => {
            let two = |tens: &u8, ones: &u8| {
                let digits = tens.is_ascii_digit() && ones.is_ascii_digit();
                digits.then(|| (tens - b'0') * 10 + (ones - b'0'))
            };
            let hours = hours.first().zip(hours.get(1));
            let hours = hours.and_then(|(tens, ones)| two(tens, ones));
            hours.is_some_and(|hours| hours <= 24)
                && two(tens, ones).is_some_and(|minutes| minutes <= 60)
        }
        _ => false,
    }
}

/// A number of two digits or one, and what follows.
fn number(text: &[u8]) -> Option<(u32, &[u8])> {
    let digit = |index: usize| {
        let byte = text.get(index).filter(|byte| byte.is_ascii_digit())?;
        Some(u32::from(byte - b'0'))
    };
    let first = digit(0)?;
    match digit(1) {
        Some(second) => Some((first * 10 + second, text.get(2..)?)),
        None => Some((first, text.get(1..)?)),
    }
}

//! The texts of durations, months and weekdays: what their `String` methods give in Go.

use super::integer;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000 * MICROSECOND;
const SECOND: u64 = 1_000 * MILLISECOND;

/// Appends the name of a month, counted from 1.
pub(crate) fn month(number: u8, out: &mut Vec<u8>) {
    match MONTHS.get(usize::from(number).wrapping_sub(1)) {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => no_name("%!Month(", number, out),
    }
}

/// Appends the name of a weekday, counted from Sunday as 0.
pub(crate) fn weekday(number: u8, out: &mut Vec<u8>) {
    match WEEKDAYS.get(usize::from(number)) {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => no_name("%!Weekday(", number, out),
    }
}

/// Appends a duration: `1h2m3.5s`, below a second in the largest fitting unit: `1.5ms`.
pub(crate) fn duration(nanoseconds: i64, out: &mut Vec<u8>) {
    if nanoseconds < 0 {
        out.push(b'-');
    }
    let total = nanoseconds.unsigned_abs();
    match total {
        0 => out.extend_from_slice(b"0s"),
        1..MICROSECOND => fraction(total, 0, "ns", out),
        MICROSECOND..MILLISECOND => fraction(total, 3, "\u{b5}s", out),
        MILLISECOND..SECOND => fraction(total, 6, "ms", out),
        _ => {
            let minutes = total / SECOND / 60;
            if minutes >= 60 {
                integer::unsigned(minutes / 60, out);
                out.push(b'h');
            }
            if minutes > 0 {
                integer::unsigned(minutes % 60, out);
                out.push(b'm');
            }
            fraction(total % (60 * SECOND), 9, "s", out);
        }
    }
}

/// Appends `value` divided by ten to the power of `decimals`, without trailing zeros.
fn fraction(value: u64, decimals: u32, unit: &str, out: &mut Vec<u8>) {
    let divisor = 10_u64.pow(decimals);
    integer::unsigned(value / divisor, out);
    let mut rest = value % divisor;
    if rest > 0 {
        out.push(b'.');
        let mut place = divisor;
        while rest > 0 {
            place /= 10;
            out.push(b'0' + (rest / place) as u8);
            rest %= place;
        }
    }
    out.extend_from_slice(unit.as_bytes());
}

fn no_name(start: &str, number: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(start.as_bytes());
    integer::unsigned(u64::from(number), out);
    out.push(b')');
}

//! Attributes with one value: modes, ids, names, durations, sizes (csi.md 8).
//!
//! Each error is a broken rule, as the end of a sentence that begins with the attribute's name.

use std::time::Duration;

use latchkey_crds::duration;

use super::quoted;

/// Longest key of a Kubernetes Secret, in bytes.
pub(super) const MAX_KEY_BYTES: usize = 253;

/// The highest id of a user or group. The value above it means "leave as it is" to chown(2).
const MAX_ID: u32 = u32::MAX - 1;

/// Reads permission bits written as octal text, as csi.md 8 wants them: `^0?[0-7]{3}$`.
///
/// Without a leading zero a text whose digits make no sense as octal permissions (a digit with write or execute but without
/// read, such as 256 or 420) is taken for the decimal number of a JSON manifest and refused.
///
/// # Errors
///
/// The broken rule, as the end of a sentence that begins with the attribute's name.
pub(crate) fn parse_mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3);
    let decimal_looking = |text: &str| {
        text.len() == 3
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && text
                .bytes()
                .any(|byte| matches!(byte, b'1'..=b'3' | b'8' | b'9'))
    };
    if digits.is_none() && decimal_looking(text) {
        return Err(format!(
            "looks decimal: {}; write octal text with a leading zero, such as \"0400\"",
            quoted(text)
        ));
    }
    let digits = digits.unwrap_or(text);
    let octal = digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    if octal && digits.len() == 4 {
        return Err(format!(
            "has setuid, setgid or sticky bits: {}; only permission bits are allowed",
            quoted(text)
        ));
    }
    if !octal || digits.len() != 3 {
        return Err(format!(
            "is not octal permission bits: {}; write text such as \"0440\"",
            quoted(text)
        ));
    }
    u32::from_str_radix(digits, 8).map_err(|_| String::from("is not octal permission bits"))
}

/// Whether `name` may be the name of a Kubernetes object: DNS-1123 subdomain, at most 253 bytes.
pub(crate) fn is_dns1123_subdomain(name: &str) -> bool {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Whether `key` consists of the characters that keys of Secrets may have.
pub(super) fn is_data_key(key: &str) -> bool {
    key.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

/// Reads the id of a user or group: decimal digits, 0 to 4294967294.
pub(super) fn parse_id(text: &str) -> Result<u32, String> {
    let is_decimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let id = is_decimal.then(|| text.parse::<u32>().ok()).flatten();
    id.filter(|id| *id <= MAX_ID).ok_or_else(|| {
        format!(
            "is not a decimal id from 0 to {MAX_ID}: {}; write text such as \"1000\"",
            quoted(text)
        )
    })
}

/// Reads `true` or `false`.
pub(super) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!(
            "is neither \"true\" nor \"false\": {}",
            quoted(text)
        )),
    }
}

/// Reads a Go duration that is not below zero.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse("", text)
        .ok()
        .filter(|duration| !duration.is_negative)
        .map(|duration| duration.absolute)
        .ok_or_else(|| {
            format!(
                "is not a duration: {}; write text such as \"90s\", \"15m\" or \"1h30m\"",
                quoted(text)
            )
        })
}

/// Reads a Kubernetes quantity as a number of bytes above zero; a fraction of a byte counts as one.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    bytes_of(text).filter(|bytes| *bytes > 0).ok_or_else(|| {
        format!(
            "is not a size: {}; write text such as \"512Ki\" or \"2Mi\"",
            quoted(text)
        )
    })
}

/// The grammar of `resource.Quantity` without signs: a decimal number, then a binary suffix, a decimal suffix or an exponent.
fn bytes_of(text: &str) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = whole.len() + fraction.len();
    if digits == 0 || digits > 18 || fraction.contains('.') {
        return None;
    }
    let value: u128 = format!("{whole}{fraction}").parse().ok()?;
    let (multiplier, divisor) = scale_of(suffix)?;
    let divisor = divisor.checked_mul(10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
    u64::try_from(value.checked_mul(multiplier)?.div_ceil(divisor)).ok()
}

/// What a suffix multiplies and divides by.
fn scale_of(suffix: &str) -> Option<(u128, u128)> {
    let (unit, base): (&str, u128) = match suffix.strip_suffix('i') {
        Some(unit) if !unit.is_empty() && unit != "k" => (unit, 1024),
        Some(_) => return None,
        None => (suffix, 1000),
    };
    let power = match (unit, base) {
        ("", 1000) => 0,
        ("k", 1000) | ("K", 1024) => 1,
        ("M", _) => 2,
        ("G", _) => 3,
        ("T", _) => 4,
        ("P", _) => 5,
        ("E", _) => 6,
        ("m", 1000) => return Some((1, 1000)),
        ("u", 1000) => return Some((1, 1_000_000)),
        ("n", 1000) => return Some((1, 1_000_000_000)),
        (_, 1000) => return exponent_of(unit),
        _ => return None,
    };
    Some((base.pow(power), 1))
}

/// `e3`, `E-2`: at most 18 either way, which is beyond any size here.
fn exponent_of(text: &str) -> Option<(u128, u128)> {
    let digits = text.strip_prefix(['e', 'E'])?;
    let (is_negative, digits) = match digits.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, digits.strip_prefix('+').unwrap_or(digits)),
    };
    if digits.is_empty() || digits.len() > 2 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let exponent = digits
        .parse::<u32>()
        .ok()
        .filter(|exponent| *exponent <= 18)?;
    let power = 10_u128.pow(exponent);
    Some(if is_negative { (1, power) } else { (power, 1) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn modes_are_octal_text() {
        for (text, expected) in [
            ("0440", Ok(0o440)),
            ("440", Ok(0o440)),
            ("0400", Ok(0o400)),
            ("0256", Ok(0o256)),
            ("000", Ok(0)),
            ("0777", Ok(0o777)),
            ("256", Err("looks decimal")),
            ("420", Err("looks decimal")),
            ("288", Err("looks decimal")),
            ("493", Err("looks decimal")),
            ("4755", Err("setuid")),
            ("2750", Err("setuid")),
            ("1777", Err("setuid")),
            ("00440", Err("octal")),
            ("0o440", Err("octal")),
            ("44", Err("octal")),
            ("", Err("octal")),
            ("-440", Err("octal")),
            ("0480", Err("octal")),
            ("rw-", Err("octal")),
            ("\u{664}\u{664}\u{660}", Err("octal")),
        ] {
            match (parse_mode(text), expected) {
                (Ok(mode), Ok(wanted)) => assert_eq!(mode, wanted, "{text}"),
                (Err(rule), Err(part)) => assert!(rule.contains(part), "{text}: {rule}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }

    #[test]
    fn ids_are_decimal_and_chown_can_set_them() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1000", Some(1000)),
            ("0100", Some(100)),
            ("4294967294", Some(4_294_967_294)),
            ("4294967295", None),
            ("99999999999999999999", None),
            ("-1", None),
            ("+1", None),
            ("0x10", None),
            ("nobody", None),
            ("1.0", None),
            (" 1", None),
            ("", None),
        ] {
            assert_eq!(parse_id(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn booleans_are_written_out() {
        for (text, expected) in [
            ("true", Some(true)),
            ("false", Some(false)),
            ("True", None),
            ("yes", None),
            ("1", None),
        ] {
            assert_eq!(parse_bool(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn durations_are_those_of_go_and_not_below_zero() {
        for (text, seconds) in [
            ("0s", Some(0)),
            ("0", Some(0)),
            ("90s", Some(90)),
            ("1h30m", Some(5400)),
            ("-5m", None),
            ("1d", None),
            ("60", None),
            ("", None),
        ] {
            let parsed = parse_duration(text).ok();
            assert_eq!(parsed, seconds.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_quantities_of_kubernetes() {
        for (text, expected) in [
            ("1", Some(1)),
            ("1Mi", Some(1 << 20)),
            ("512Ki", Some(512 << 10)),
            ("1.5Ki", Some(1536)),
            (".5Gi", Some(512 << 20)),
            ("2.", Some(2)),
            ("1k", Some(1000)),
            ("3M", Some(3_000_000)),
            ("1e3", Some(1000)),
            ("1E3", Some(1000)),
            ("15e-1", Some(2)),
            ("1500m", Some(2)),
            ("1n", Some(1)),
            ("1E", Some(1_000_000_000_000_000_000)),
            ("1Ei", Some(1 << 60)),
            ("16Ei", None),
            ("0", None),
            ("0Mi", None),
            ("-1Mi", None),
            ("+1Mi", None),
            ("1ki", None),
            ("1K", None),
            ("1mi", None),
            ("1MiB", None),
            ("1i", None),
            ("1e", None),
            ("1e99", None),
            ("1.2.3", None),
            ("1 Mi", None),
            ("Mi", None),
            (".", None),
            ("", None),
            ("9999999999999999999", None),
        ] {
            assert_eq!(parse_size(text).ok(), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in "[0-9.eEimkKMG+-]{0,24}|\\PC{0,40}") {
            let _ = (parse_size(&text), parse_duration(&text), parse_id(&text), parse_mode(&text));
        }
    }
}

//! How the values of flags are checked and read. What is wrong is said in words that follow the flag's name.

use std::path::PathBuf;
use std::time::Duration;

use crate::volumes::attributes::{parse_duration, parse_size};

/// Shortest interval at which stores are validated again.
const MIN_STORE_REQUEUE: Duration = Duration::from_secs(10);

/// Longest time that the previous files of a volume are kept (csi.md 6.2).
const LONGEST_GENERATION_GRACE: Duration = Duration::from_secs(60);

pub(crate) fn dns_label(value: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = value.as_bytes();
    let ends =
        bytes.first().copied().is_some_and(plain) && bytes.last().copied().is_some_and(plain);
    if ends && bytes.len() <= 63 && bytes.iter().all(|&byte| plain(byte) || byte == b'-') {
        Ok(value.to_owned())
    } else {
        Err(String::from(
            "must be lower case letters, digits and '-', at most 63 (RFC 1123 label)",
        ))
    }
}

pub(crate) fn dns_subdomain(value: &str) -> Result<String, String> {
    if value.len() <= 253 && value.split('.').all(|label| dns_label(label).is_ok()) {
        Ok(value.to_owned())
    } else {
        Err(String::from(
            "must be lower case labels joined by '.', at most 253 characters (RFC 1123 subdomain)",
        ))
    }
}

/// CSI wants at most 63 characters; csi-sanity wants a letter at both ends (csi.md 1.1).
pub(crate) fn driver_name(value: &str) -> Result<String, String> {
    let letter = |character: Option<char>| character.is_some_and(|c| c.is_ascii_alphabetic());
    if value.len() <= 63 && letter(value.chars().next()) && letter(value.chars().last()) {
        dns_subdomain(value)
    } else {
        Err(String::from(
            "must begin and end with a letter and have at most 63 characters",
        ))
    }
}

pub(crate) fn delimiter(value: &str) -> Result<String, String> {
    if value.is_empty() {
        return Err(String::from("must not be empty"));
    }
    Ok(value.to_owned())
}

pub(crate) fn absolute_path(value: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(value);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(String::from("must be an absolute path"))
    }
}

pub(crate) fn positive_duration(value: &str) -> Result<Duration, String> {
    let parsed: kube::core::Duration = value.parse().map_err(|error| format!("{error}"))?;
    if parsed.is_negative() || Duration::from(parsed).is_zero() {
        return Err(String::from("must be longer than zero"));
    }
    Ok(Duration::from(parsed))
}

pub(crate) fn store_requeue(value: &str) -> Result<Duration, String> {
    let duration = positive_duration(value)?;
    if duration < MIN_STORE_REQUEUE {
        return Err(format!("must be at least {}s", MIN_STORE_REQUEUE.as_secs()));
    }
    Ok(duration)
}

pub(crate) fn size(value: &str) -> Result<u64, String> {
    parse_size(value)
}

pub(crate) fn generation_grace(value: &str) -> Result<Duration, String> {
    let duration = parse_duration(value)?;
    if duration > LONGEST_GENERATION_GRACE {
        return Err(format!(
            "must be at most {}s",
            LONGEST_GENERATION_GRACE.as_secs()
        ));
    }
    Ok(duration)
}

//! Internet addresses, as Go's `netip.ParseAddr` takes them.

use super::escape::quoted;

/// What is wrong with an address, and where.
struct Problem<'a>(&'static str, &'a [u8]);

/// Whether an address is of version 6, or what is wrong with it.
pub(super) fn check_address(text: &[u8]) -> Result<bool, String> {
    let first = text.iter().find(|byte| matches!(byte, b'.' | b':' | b'%'));
    let (result, is_version_6) = match first {
        Some(b'.') => (check_version_4(text), false),
        Some(b':') => (check_version_6(text), true),
        // A zone of no address.
        Some(_) => (Err(Problem("missing IPv6 address", &[])), true),
        None => (Err(Problem("unable to parse IP", &[])), true),
    };
    result.map_err(|Problem(problem, place)| {
        let text = quoted(text);
        if place.is_empty() {
            format!("ParseAddr({text}): {problem}")
        } else {
            format!("ParseAddr({text}): {problem} (at {})", quoted(place))
        }
    })?;
    Ok(is_version_6)
}

fn check_version_4(text: &[u8]) -> Result<(), Problem<'_>> {
    let (mut value, mut digits, mut dots) = (0, 0, 0);
    for (index, &byte) in text.iter().enumerate() {
        let here = text.get(index..).unwrap_or_default();
        match byte {
            b'0'..=b'9' => {
                if digits == 1 && value == 0 {
                    return Err(Problem("IPv4 field has octet with leading zero", &[]));
                }
                value = value * 10 + u32::from(byte - b'0');
                digits += 1;
                if value > 255 {
                    return Err(Problem("IPv4 field has value >255", &[]));
                }
            }
            b'.' if digits == 0 || here.len() == 1 => {
                return Err(Problem("IPv4 field must have at least one digit", here));
            }
            b'.' if dots == 3 => return Err(Problem("IPv4 address too long", &[])),
            b'.' => {
                dots += 1;
                (value, digits) = (0, 0);
            }
            _ => return Err(Problem("unexpected character", here)),
        }
    }
    if dots < 3 {
        return Err(Problem("IPv4 address too short", &[]));
    }
    Ok(())
}

fn check_version_6(text: &[u8]) -> Result<(), Problem<'_>> {
    let percent = text.iter().position(|&byte| byte == b'%');
    let (address, zone) = text.split_at(percent.unwrap_or(text.len()));
    if zone.len() == 1 {
        return Err(Problem("zone must be a non-empty string", &[]));
    }
    let mut rest = address;
    let mut has_gap = false;
    if let Some(behind) = rest.strip_prefix(b"::") {
        has_gap = true;
        rest = behind;
        if rest.is_empty() {
            return Ok(());
        }
    }
    // In groups of two bytes.
    let mut groups = 0;
    while groups < 8 {
        let digits = group(rest)?;
        let behind = rest.get(digits..).unwrap_or_default();
        if behind.starts_with(b".") {
            check_embedded(rest, groups, has_gap)?;
            groups += 2;
            rest = &[];
            break;
        }
        groups += 1;
        rest = behind;
        match rest {
            [] => break,
            [b':'] => {
                let problem = "colon must be followed by more characters";
                return Err(Problem(problem, rest));
            }
            [b':', behind @ ..] => rest = behind,
            _ => return Err(Problem("unexpected character, want colon", rest)),
        }
        if let Some(behind) = rest.strip_prefix(b":") {
            if has_gap {
                return Err(Problem("multiple :: in address", rest));
            }
            has_gap = true;
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
    }
    if !rest.is_empty() {
        return Err(Problem("trailing garbage after address", rest));
    }
    match (groups < 8, has_gap) {
        (true, false) => Err(Problem("address string too short", &[])),
        (false, true) => Err(Problem(
            "the :: must expand to at least one field of zeros",
            &[],
        )),
        _ => Ok(()),
    }
}

/// How many hexadecimal digits a group has.
fn group(rest: &[u8]) -> Result<usize, Problem<'_>> {
    let digits = rest
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    match digits {
        0 => Err(Problem(
            "each colon-separated field must have at least one digit",
            rest,
        )),
        1..=4 => Ok(digits),
        _ => Err(Problem("each group must have 4 or less digits", rest)),
    }
}

/// An address of version 4 in place of the last two groups.
fn check_embedded(rest: &[u8], groups: usize, has_gap: bool) -> Result<(), Problem<'_>> {
    if !has_gap && groups != 6 {
        let problem = "embedded IPv4 address must replace the final 2 fields of the address";
        return Err(Problem(problem, rest));
    }
    if groups > 6 {
        let problem = "too many hex fields to fit an embedded IPv4 at the end of the address";
        return Err(Problem(problem, rest));
    }
    check_version_4(rest)
}

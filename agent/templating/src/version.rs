//! Semantic versions as `github.com/Masterminds/semver` v3 has them: read generously, compared by the rules of semver.org.

pub(crate) mod constraint;

#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use crate::failure::{Failure, Result};
use crate::value::Text;

/// A version. Never changes. The default is Go's zero value.
#[derive(Clone, Default)]
pub(crate) struct Version {
    major: u64,
    minor: u64,
    patch: u64,
    /// Identifiers joined by points; empty for a release.
    prerelease: Text,
    /// What is behind the plus.
    metadata: Text,
    /// As it was written.
    original: Text,
}

/// The parts of a version's text.
pub(crate) struct Parts<'a> {
    /// Major, minor and patch as far as they are there.
    numbers: [Option<&'a [u8]>; 3],
    prerelease: &'a [u8],
    metadata: &'a [u8],
}

// === impl Version ===

impl Version {
    /// `semver.NewVersion`.
    ///
    /// # Errors
    ///
    /// Where `text` is no version, with upstream's text.
    pub(crate) fn parse(text: &Text) -> Result<Self> {
        let parts =
            Parts::split(text.bytes()).ok_or_else(|| Failure::plain("invalid semantic version"))?;
        let [major, minor, patch] = parts.numbers;
        let version = Self {
            major: number(major)?,
            minor: number(minor)?,
            patch: number(patch)?,
            prerelease: Text::new(parts.prerelease.to_vec()),
            metadata: Text::new(parts.metadata.to_vec()),
            original: text.clone(),
        };
        if !parts.prerelease.is_empty() {
            check_prerelease(parts.prerelease)?;
        }
        Ok(version)
    }

    pub(crate) fn major(&self) -> u64 {
        self.major
    }

    pub(crate) fn minor(&self) -> u64 {
        self.minor
    }

    pub(crate) fn patch(&self) -> u64 {
        self.patch
    }

    pub(crate) fn prerelease(&self) -> &Text {
        &self.prerelease
    }

    pub(crate) fn metadata(&self) -> &Text {
        &self.metadata
    }

    /// The text it was read from.
    pub(crate) fn original(&self) -> &Text {
        &self.original
    }

    /// Go's `==` of two version structs, the texts they were read from included.
    pub(crate) fn is_identical(&self, other: &Self) -> bool {
        (self.major, self.minor, self.patch) == (other.major, other.minor, other.patch)
            && self.prerelease == other.prerelease
            && self.metadata == other.metadata
            && self.original == other.original
    }

    fn is_prerelease(&self) -> bool {
        !self.prerelease.bytes().is_empty()
    }

    /// `String`: three numbers, without the `v`.
    pub(crate) fn text(&self) -> String {
        let mut out = format!("{}.{}.{}", self.major, self.minor, self.patch);
        for (sign, part) in [('-', &self.prerelease), ('+', &self.metadata)] {
            if !part.bytes().is_empty() {
                out.push(sign);
                out.push_str(&part.to_lossy());
            }
        }
        out
    }

    /// `IncMajor`
    pub(crate) fn next_major(&self) -> Self {
        self.release(self.major.wrapping_add(1), 0, 0)
    }

    /// `IncMinor`
    pub(crate) fn next_minor(&self) -> Self {
        self.release(self.major, self.minor.wrapping_add(1), 0)
    }

    /// `IncPatch`: of a pre-release, the release it leads to.
    pub(crate) fn next_patch(&self) -> Self {
        let step = u64::from(!self.is_prerelease());
        self.release(self.major, self.minor, self.patch.wrapping_add(step))
    }

    fn release(&self, major: u64, minor: u64, patch: u64) -> Self {
        let version = Self {
            major,
            minor,
            patch,
            prerelease: Text::default(),
            metadata: Text::default(),
            original: self.original.clone(),
        };
        version.rewritten()
    }

    /// `SetPrerelease`
    pub(crate) fn with_prerelease(&self, prerelease: &Text) -> Result<Self> {
        if !prerelease.bytes().is_empty() {
            check_prerelease(prerelease.bytes())?;
        }
        let version = Self {
            prerelease: prerelease.clone(),
            ..self.clone()
        };
        Ok(version.rewritten())
    }

    /// `SetMetadata`
    pub(crate) fn with_metadata(&self, metadata: &Text) -> Result<Self> {
        let mut identifiers = metadata.bytes().split(|byte| *byte == b'.');
        if !metadata.bytes().is_empty() && !identifiers.all(is_identifier) {
            return Err(Failure::plain("invalid metadata string"));
        }
        let version = Self {
            metadata: metadata.clone(),
            ..self.clone()
        };
        Ok(version.rewritten())
    }

    /// Makes the original text that of the version as it is, with a `v` if it had one.
    fn rewritten(mut self) -> Self {
        let prefix = if self.original.bytes().starts_with(b"v") {
            "v"
        } else {
            ""
        };
        self.original = Text::from(format!("{prefix}{}", self.text()).as_str());
        self
    }

    /// The order of versions; metadata does not count.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        (self.major, self.minor, self.patch)
            .cmp(&(other.major, other.minor, other.patch))
            .then_with(|| match (self.is_prerelease(), other.is_prerelease()) {
                (false, false) => Ordering::Equal,
                (false, true) => Ordering::Greater,
                (true, false) => Ordering::Less,
                (true, true) => {
                    compare_prereleases(self.prerelease.bytes(), other.prerelease.bytes())
                }
            })
    }
}

// === impl Parts ===

impl<'a> Parts<'a> {
    /// Splits what `v?N(.N)?(.N)?(-PRE)?(+META)?` describes.
    fn split(text: &'a [u8]) -> Option<Self> {
        let (parts, rest) = Self::read(text, |byte| byte.is_ascii_digit())?;
        rest.is_empty().then_some(parts)
    }

    /// Reads as much of a version from the front of `text` as there is, and gives the rest. `is_digit` says what numbers are
    /// made of.
    fn read(text: &'a [u8], is_digit: fn(u8) -> bool) -> Option<(Self, &'a [u8])> {
        let mut rest = text.strip_prefix(b"v").unwrap_or(text);
        let mut numbers = [None; 3];
        for (index, number) in numbers.iter_mut().enumerate() {
            let digits = match rest {
                [b'.', digits @ ..] if index > 0 => digits,
                digits if index == 0 => digits,
                _ => break,
            };
            let length = digits.iter().take_while(|byte| is_digit(**byte)).count();
            if length == 0 {
                break;
            }
            let (digits, behind) = digits.split_at(length);
            *number = Some(digits);
            rest = behind;
        }
        numbers[0]?;
        let prerelease = identifiers(&mut rest, b'-');
        let metadata = identifiers(&mut rest, b'+');
        let parts = Self {
            numbers,
            prerelease,
            metadata,
        };
        Some((parts, rest))
    }
}

/// Takes a sign and the identifiers joined by points behind it off `rest`, as far as they go; gives them without the sign.
fn identifiers<'a>(rest: &mut &'a [u8], sign: u8) -> &'a [u8] {
    let Some(text) = rest.strip_prefix(&[sign]) else {
        return &[];
    };
    let mut length = 0;
    loop {
        let part = text.get(length..).unwrap_or_default();
        let part = part.strip_prefix(if length > 0 { b".".as_slice() } else { b"" });
        let count = part.map_or(0, |part| {
            part.iter()
                .take_while(|byte| is_identifier_byte(**byte))
                .count()
        });
        if count == 0 {
            break;
        }
        length += count + usize::from(length > 0);
    }
    let (taken, behind) = text.split_at(length);
    if length > 0 {
        *rest = behind;
    }
    taken
}

/// A number of the version; an absent one is 0.
fn number(digits: Option<&[u8]>) -> Result<u64> {
    let Some(digits) = digits else {
        return Ok(0);
    };
    parse_number(digits).ok_or_else(|| {
        let digits = String::from_utf8_lossy(digits);
        Failure::showing_data(format!(
            "error parsing version segment: strconv.ParseUint: parsing \"{digits}\": value out of range"
        ))
    })
}

/// `None` for what is no decimal number of 64 bits.
fn parse_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

fn is_identifier_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

fn is_identifier(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().copied().all(is_identifier_byte)
}

/// Checks the identifiers of a pre-release in their order.
fn check_prerelease(prerelease: &[u8]) -> Result<()> {
    for identifier in prerelease.split(|byte| *byte == b'.') {
        if !is_identifier(identifier) {
            return Err(Failure::plain("invalid prerelease string"));
        }
        let is_number = identifier.iter().all(u8::is_ascii_digit);
        if is_number && identifier.len() > 1 && identifier.first() == Some(&b'0') {
            return Err(Failure::plain("version segment starts with 0"));
        }
    }
    Ok(())
}

/// The order of two pre-releases, either of which may be empty.
fn compare_prereleases(one: &[u8], other: &[u8]) -> Ordering {
    let mut ones = one.split(|byte| *byte == b'.');
    let mut others = other.split(|byte| *byte == b'.');
    loop {
        let (one, other) = match (ones.next(), others.next()) {
            (None, None) => return Ordering::Equal,
            (one, other) => (one.unwrap_or_default(), other.unwrap_or_default()),
        };
        let order = compare_identifiers(one, other);
        if order.is_ne() {
            return order;
        }
    }
}

/// Absent ones are first, then numbers, then words. What does not fit into 64 bits counts as a word.
fn compare_identifiers(one: &[u8], other: &[u8]) -> Ordering {
    match (one.is_empty(), other.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Less,
        (false, true) => return Ordering::Greater,
        (false, false) => {}
    }
    match (parse_number(one), parse_number(other)) {
        (Some(one), Some(other)) => one.cmp(&other),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => one.cmp(other),
    }
}

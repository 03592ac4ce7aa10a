//! The order of keys that `go-yaml` 2 writes.

use std::cmp::Ordering;

use crate::unicode;

/// Whether key `one` stands before key `other`: letters by code point and behind all else, runs of digits as numbers.
///
/// This is no order in the mathematical sense where digits and letters mix (`k9 k10 k1a`), so the standard library's sorting,
/// which may panic then, must not be used with it.
pub(super) fn compare(one: &[u8], other: &[u8]) -> Ordering {
    let same = one
        .iter()
        .zip(other)
        .take_while(|(one, other)| one == other);
    let mut start = same.count();
    // Back to the beginning of the character.
    while start > 0
        && one
            .get(start)
            .or(other.get(start))
            .is_some_and(|byte| byte & 0xc0 == 0x80)
    {
        start -= 1;
    }
    let before = one.get(..start).unwrap_or_default();
    let one_rest = one.get(start..).unwrap_or_default();
    let other_rest = other.get(start..).unwrap_or_default();
    match (
        unicode::first_rune(one_rest),
        unicode::first_rune(other_rest),
    ) {
        (Some((one, _)), Some((other, _))) => {
            by_character(before, (one, one_rest), (other, other_rest))
        }
        (one, other) => one.is_some().cmp(&other.is_some()),
    }
}

/// Compares at the first characters that differ.
fn by_character(before: &[u8], one: (char, &[u8]), other: (char, &[u8])) -> Ordering {
    match (unicode::is_letter(one.0), unicode::is_letter(other.0)) {
        (true, true) => return one.0.cmp(&other.0),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // A zero behind a digit other than zero is part of that number.
    let continues = (one.0 == '0' || other.0 == '0') && ends_in_number(before);
    let start = i64::from(continues);
    let (one_number, one_length) = number(start, one.1);
    let (other_number, other_length) = number(start, other.1);
    one_number
        .cmp(&other_number)
        .then(one_length.cmp(&other_length))
        .then(one.0.cmp(&other.0))
}

/// Whether the run of digits at the end has one that is not zero.
fn ends_in_number(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some((character, width)) = unicode::last_rune(rest) {
        if !unicode::is_digit(character) {
            return false;
        }
        if character != '0' {
            return true;
        }
        rest = rest
            .get(..rest.len().saturating_sub(width))
            .unwrap_or_default();
    }
    false
}

/// The number that the digits at the beginning continue `start` to, and how many they are.
fn number(start: i64, text: &[u8]) -> (i64, usize) {
    let digits = unicode::runes(text).take_while(|&character| unicode::is_digit(character));
    digits.fold((start, 0), |(number, length), digit| {
        let value = i64::from(u32::from(digit)) - i64::from(u32::from('0'));
        (number.wrapping_mul(10).wrapping_add(value), length + 1)
    })
}

/// Sorts by a relation that need be no order: stable where it is one, and some result where not.
pub(super) fn sort<T: Clone>(items: &mut Vec<T>, compare: impl Fn(&T, &T) -> Ordering) {
    let is_before = |one: &T, other: &T| compare(one, other) != Ordering::Greater;
    if items.is_sorted_by(is_before) {
        return;
    }
    let mut width = 1;
    while width < items.len() {
        let mut sorted = Vec::with_capacity(items.len());
        for pair in items.chunks(width * 2) {
            let (mut one, mut other) = pair.split_at(width.min(pair.len()));
            while let ([first, one_rest @ ..], [second, other_rest @ ..]) = (one, other) {
                if compare(second, first) == Ordering::Less {
                    sorted.push(second.clone());
                    other = other_rest;
                } else {
                    sorted.push(first.clone());
                    one = one_rest;
                }
            }
            sorted.extend_from_slice(one);
            sorted.extend_from_slice(other);
        }
        *items = sorted;
        width *= 2;
    }
}

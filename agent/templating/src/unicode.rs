//! Go's view of text: runes in bytes that need not be UTF-8, categories and simple case mapping of Unicode 15.0.
//!
//! The standard library's tables are of a newer edition and map by the full rules (`ß` to `SS`); Go maps rune to rune.

mod table;

use self::table::RUNS;

/// Groups of general categories, as far as Go's functions tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Not a character of Unicode 15.0.
    Unassigned,
    /// Controls, formats, surrogates, private use, separators.
    Other,
    /// Lu
    Upper,
    /// Ll
    Lower,
    /// Lt
    Title,
    /// Lm, Lo
    Letter,
    /// Nd
    Digit,
    /// Nl, No
    Number,
    /// M
    Mark,
    /// P
    Punctuation,
    /// S
    Symbol,
}

/// The classes by their number in the table.
const CLASSES: [Class; 11] = [
    Class::Unassigned,
    Class::Other,
    Class::Upper,
    Class::Lower,
    Class::Title,
    Class::Letter,
    Class::Digit,
    Class::Number,
    Class::Mark,
    Class::Punctuation,
    Class::Symbol,
];

/// The number in the table of a run in which upper and lower letters take turns, an upper one first.
const PAIRS: u32 = 11;

/// What a byte that is not UTF-8 reads as.
const ERROR: char = char::REPLACEMENT_CHARACTER;

/// The class of a character.
pub(crate) fn class(c: char) -> Class {
    if c.is_ascii() {
        return ascii_class(c);
    }
    let point = u32::from(c);
    let end = RUNS.partition_point(|run| run >> 4 <= point);
    let Some(run) = end.checked_sub(1).and_then(|index| RUNS.get(index)) else {
        return Class::Unassigned;
    };
    match run & 15 {
        PAIRS if (point - (run >> 4)) % 2 == 0 => Class::Upper,
        PAIRS => Class::Lower,
        number => CLASSES
            .get(number as usize)
            .copied()
            .unwrap_or(Class::Unassigned),
    }
}

fn ascii_class(c: char) -> Class {
    match c {
        'A'..='Z' => Class::Upper,
        'a'..='z' => Class::Lower,
        '0'..='9' => Class::Digit,
        '$' | '+' | '<'..='>' | '^' | '`' | '|' | '~' => Class::Symbol,
        '!'..='~' => Class::Punctuation,
        _ => Class::Other,
    }
}

/// Go's `unicode.IsLetter`.
pub(crate) fn is_letter(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphabetic();
    }
    matches!(
        class(c),
        Class::Upper | Class::Lower | Class::Title | Class::Letter
    )
}

/// Go's `unicode.IsUpper`.
pub(crate) fn is_upper(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_uppercase();
    }
    class(c) == Class::Upper
}

/// Go's `unicode.IsDigit`.
pub(crate) fn is_digit(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_digit();
    }
    class(c) == Class::Digit
}

/// Go's `unicode.IsNumber`.
pub(crate) fn is_number(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_digit();
    }
    matches!(class(c), Class::Digit | Class::Number)
}

/// Go's `unicode.IsPunct`.
pub(crate) fn is_punctuation(c: char) -> bool {
    class(c) == Class::Punctuation
}

/// Go's `unicode.IsSpace`.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace()
}

/// Go's `unicode.IsPrint` and `strconv.IsPrint`: everything visible, and the ASCII blank.
pub(crate) fn is_print(c: char) -> bool {
    if c.is_ascii() {
        return matches!(c, ' '..='~');
    }
    !matches!(class(c), Class::Unassigned | Class::Other)
}

/// Go's `unicode.ToUpper`.
pub(crate) fn to_upper(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_uppercase();
    }
    let single = match c {
        // Greek with iota below, which the full mapping takes apart.
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => {
            char::from_u32(u32::from(c) + 8)
        }
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => char::from_u32(u32::from(c) + 9),
        _ => single(c.to_uppercase()),
    };
    mapped(c, single)
}

/// Go's `unicode.ToLower`.
pub(crate) fn to_lower(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    if c == '\u{130}' {
        return 'i';
    }
    mapped(c, single(c.to_lowercase()))
}

/// Go's `unicode.ToTitle`.
pub(crate) fn to_title(c: char) -> char {
    match c {
        '\u{1c4}'..='\u{1c6}' => '\u{1c5}',
        '\u{1c7}'..='\u{1c9}' => '\u{1c8}',
        '\u{1ca}'..='\u{1cc}' => '\u{1cb}',
        '\u{1f1}'..='\u{1f3}' => '\u{1f2}',
        // Georgian has capitals, but no title case.
        '\u{10d0}'..='\u{10ff}' => c,
        _ => to_upper(c),
    }
}

/// The only item.
fn single(mut mapped: impl Iterator<Item = char>) -> Option<char> {
    let first = mapped.next();
    match mapped.next() {
        None => first,
        Some(_) => None,
    }
}

/// `target`, or `c` if there is none in Unicode 15.0.
fn mapped(c: char, target: Option<char>) -> char {
    match target {
        Some(target)
            if target != c
                && class(c) != Class::Unassigned
                && class(target) != Class::Unassigned =>
        {
            target
        }
        _ => c,
    }
}

/// Appends a rune.
pub(crate) fn push(out: &mut Vec<u8>, c: char) {
    match u8::try_from(c) {
        Ok(byte) if byte.is_ascii() => out.push(byte),
        _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// The runes of `bytes`. A byte that is not UTF-8 is U+FFFD.
pub(crate) fn runes(bytes: &[u8]) -> impl Iterator<Item = char> + Clone {
    bytes.utf8_chunks().flat_map(|chunk| {
        let errors = std::iter::repeat_n(ERROR, chunk.invalid().len());
        chunk.valid().chars().chain(errors)
    })
}

/// The first rune of `bytes` and its width in bytes: U+FFFD and 1 if that is not UTF-8, `None` at the end.
pub(crate) fn first_rune(bytes: &[u8]) -> Option<(char, usize)> {
    let first = *bytes.first()?;
    let width = match first {
        0..0x80 => return Some((char::from(first), 1)),
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    };
    let rune = bytes.get(..width).and_then(only_rune);
    Some(rune.map_or((ERROR, 1), |rune| (rune, width)))
}

/// The last rune of `bytes` and its width in bytes: U+FFFD and 1 if that is not UTF-8, `None` for no bytes.
pub(crate) fn last_rune(bytes: &[u8]) -> Option<(char, usize)> {
    let last = *bytes.last()?;
    if last.is_ascii() {
        return Some((char::from(last), 1));
    }
    let found = (2..=4).find_map(|width| {
        let start = bytes.len().checked_sub(width)?;
        Some((bytes.get(start..).and_then(only_rune)?, width))
    });
    Some(found.unwrap_or((ERROR, 1)))
}

/// The rune that `bytes` are.
fn only_rune(bytes: &[u8]) -> Option<char> {
    single(std::str::from_utf8(bytes).ok()?.chars())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FNV-1a over a property of every code point, as a Go program with the tables of `unicode` made it.
    fn digest(property: impl Fn(char) -> u32) -> u64 {
        let bytes = (char::MIN..=char::MAX).flat_map(|c| property(c).to_le_bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
    }

    #[test]
    fn every_code_point_has_the_class_and_mappings_of_go() {
        assert_eq!(
            digest(|c| CLASSES.iter().position(|other| *other == class(c)).unwrap() as u32),
            0x3bb9_941d_5489_14e2
        );
        assert_eq!(digest(|c| to_upper(c).into()), 0x085b_7bdf_9bfc_f605);
        assert_eq!(digest(|c| to_lower(c).into()), 0x7687_652b_e5ca_dec6);
        assert_eq!(digest(|c| to_title(c).into()), 0x82d2_2aeb_2a7f_30d9);
        assert_eq!(digest(|c| is_space(c).into()), 0x445e_4d19_9030_04c4);
        assert_eq!(digest(|c| is_print(c).into()), 0xf880_fc8c_897b_5965);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_one_rune_each() {
        let cases: [(&[u8], &str); 6] = [
            (b"", ""),
            (b"a\xffb", "a\u{fffd}b"),
            (b"\xe2\x82", "\u{fffd}\u{fffd}"),
            (b"\xe2\x82\xac", "€"),
            (
                b"\xed\xa0\x80\xf0\x9f\x98",
                "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}",
            ),
            (b"\xc0\x80\xf5", "\u{fffd}\u{fffd}\u{fffd}"),
        ];
        for (bytes, runes) in cases {
            assert_eq!(super::runes(bytes).collect::<String>(), runes);
        }
    }

    #[test]
    fn first_and_last_rune_agree_with_their_widths() {
        type Rune = Option<(char, usize)>;
        let cases: [(&[u8], Rune, Rune); 5] = [
            (b"", None, None),
            ("é€".as_bytes(), Some(('é', 2)), Some(('€', 3))),
            ("😀".as_bytes(), Some(('😀', 4)), Some(('😀', 4))),
            (b"\xe2\x82", Some((ERROR, 1)), Some((ERROR, 1))),
            (b"\x80a", Some((ERROR, 1)), Some(('a', 1))),
        ];
        for (bytes, first, last) in cases {
            assert_eq!(first_rune(bytes), first);
            assert_eq!(last_rune(bytes), last);
        }
    }
}

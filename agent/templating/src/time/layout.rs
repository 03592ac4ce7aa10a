//! The elements of a layout: parts of the reference time `Mon Jan 2 15:04:05 MST 2006`.

/// An element of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// `2006`
    Year,
    /// `06`
    ShortYear,
    /// `January`
    MonthName,
    /// `Jan`
    ShortMonthName,
    /// `1`, `01`
    Month(Pad),
    /// `Monday`
    WeekdayName,
    /// `Mon`
    ShortWeekdayName,
    /// `2`, `_2`, `02`
    Day(Pad),
    /// `__2`, `002`
    YearDay(Pad),
    /// `15`
    Hour,
    /// `3`, `03`
    Hour12(Pad),
    /// `4`, `04`
    Minute(Pad),
    /// `5`, `05`
    Second(Pad),
    /// `PM`
    UpperHalf,
    /// `pm`
    LowerHalf,
    /// `MST`
    Abbreviation,
    /// `-0700`, `Z07:00` and their kin.
    Offset(Offset),
    /// `.000`, `,999`
    Fraction(Fraction),
}

/// What a short number is filled up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pad {
    /// Nothing.
    None,
    /// Blanks.
    Blank,
    /// Zeros.
    Zero,
}

/// How an offset is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offset {
    /// Whether UTC is `Z`.
    pub(super) has_z: bool,
    pub(super) has_minutes: bool,
    pub(super) has_seconds: bool,
    pub(super) has_colons: bool,
}

/// How the part of a second is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fraction {
    pub(super) digits: usize,
    /// Point or comma.
    pub(super) separator: u8,
    /// Whether trailing zeros are left out: nines in the layout.
    pub(super) is_trimmed: bool,
}

/// The next element of a layout and what stands around it.
pub(super) struct Chunk<'a> {
    /// Literal text.
    pub(super) before: &'a [u8],
    /// `None` at the end.
    pub(super) element: Option<Element>,
    /// As written.
    pub(super) source: &'a [u8],
    pub(super) rest: &'a [u8],
}

/// Offsets as they follow `-` or `Z`, in the order in which Go tries them.
const OFFSETS: [(&[u8], Offset); 5] = [
    (b"070000", Offset::new(true, true, false)),
    (b"07:00:00", Offset::new(true, true, true)),
    (b"0700", Offset::new(true, false, false)),
    (b"07:00", Offset::new(true, false, true)),
    (b"07", Offset::new(false, false, false)),
];
/// The most digits that Go can count in a fraction; more wrap around.
const DIGITS_MASK: usize = 0xfff;

// === impl Offset ===

impl Offset {
    const fn new(has_minutes: bool, has_seconds: bool, has_colons: bool) -> Self {
        Self {
            has_z: false,
            has_minutes,
            has_seconds,
            has_colons,
        }
    }
}

// === impl Chunk ===

impl<'a> Chunk<'a> {
    /// Finds the first element of `layout`.
    pub(super) fn next(layout: &'a [u8]) -> Self {
        for start in 0..layout.len() {
            let (before, from_here) = layout.split_at(start);
            let Some((mut skipped, element, length)) = element_at(from_here) else {
                continue;
            };
            // `_2006` is a literal underscore and a year.
            skipped += before.len();
            let (before, rest) = layout.split_at(skipped);
            let (source, rest) = rest.split_at(length);
            return Self {
                before,
                element: Some(element),
                source,
                rest,
            };
        }
        Self {
            before: layout,
            element: None,
            source: &[],
            rest: &[],
        }
    }
}

/// The element at the start of `text`: how many literal bytes stand before it, what it is, and its length.
fn element_at(text: &[u8]) -> Option<(usize, Element, usize)> {
    use Element as E;
    let simple = |element, length| Some((0, element, length));
    match text {
        [b'J', b'a', b'n', b'u', b'a', b'r', b'y', ..] => simple(E::MonthName, 7),
        [b'J', b'a', b'n', rest @ ..] if !starts_lower(rest) => simple(E::ShortMonthName, 3),
        [b'M', b'o', b'n', b'd', b'a', b'y', ..] => simple(E::WeekdayName, 6),
        [b'M', b'o', b'n', rest @ ..] if !starts_lower(rest) => simple(E::ShortWeekdayName, 3),
        [b'M', b'S', b'T', ..] => simple(E::Abbreviation, 3),
        [b'0', b'1', ..] => simple(E::Month(Pad::Zero), 2),
        [b'0', b'2', ..] => simple(E::Day(Pad::Zero), 2),
        [b'0', b'3', ..] => simple(E::Hour12(Pad::Zero), 2),
        [b'0', b'4', ..] => simple(E::Minute(Pad::Zero), 2),
        [b'0', b'5', ..] => simple(E::Second(Pad::Zero), 2),
        [b'0', b'6', ..] => simple(E::ShortYear, 2),
        [b'0', b'0', b'2', ..] => simple(E::YearDay(Pad::Zero), 3),
        [b'1', b'5', ..] => simple(E::Hour, 2),
        [b'1', ..] => simple(E::Month(Pad::None), 1),
        [b'2', b'0', b'0', b'6', ..] => simple(E::Year, 4),
        [b'2', ..] => simple(E::Day(Pad::None), 1),
        [b'_', b'2', b'0', b'0', b'6', ..] => Some((1, E::Year, 4)),
        [b'_', b'2', ..] => simple(E::Day(Pad::Blank), 2),
        [b'_', b'_', b'2', ..] => simple(E::YearDay(Pad::Blank), 3),
        [b'3', ..] => simple(E::Hour12(Pad::None), 1),
        [b'4', ..] => simple(E::Minute(Pad::None), 1),
        [b'5', ..] => simple(E::Second(Pad::None), 1),
        [b'P', b'M', ..] => simple(E::UpperHalf, 2),
        [b'p', b'm', ..] => simple(E::LowerHalf, 2),
        [sign @ (b'-' | b'Z'), rest @ ..] => offset_at(rest, *sign == b'Z'),
        [separator @ (b'.' | b','), rest @ ..] => fraction_at(rest, *separator),
        _ => None,
    }
}

/// Whether a lower-case letter follows, which makes `Jan` a part of `Janet`.
fn starts_lower(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_lowercase)
}

fn offset_at(text: &[u8], has_z: bool) -> Option<(usize, Element, usize)> {
    let (source, offset) = OFFSETS
        .iter()
        .find(|(source, _)| text.starts_with(source))?;
    let offset = Offset { has_z, ..*offset };
    Some((0, Element::Offset(offset), 1 + source.len()))
}

fn fraction_at(text: &[u8], separator: u8) -> Option<(usize, Element, usize)> {
    let first = *text
        .first()
        .filter(|first| **first == b'0' || **first == b'9')?;
    let length = text.iter().take_while(|byte| **byte == first).count();
    // A fraction is all zeros or all nines.
    if text.get(length).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let fraction = Fraction {
        digits: length & DIGITS_MASK,
        separator,
        is_trimmed: first == b'9',
    };
    Some((0, Element::Fraction(fraction), 1 + length))
}

/// Appends `text` in the double quotes of the time package: everything but printable ASCII as `\x` and two digits.
pub(crate) fn quote(text: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b' '..=0x7f => out.push(*byte),
            _ => out.extend_from_slice(&[
                b'\\',
                b'x',
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]),
        }
    }
    out.push(b'"');
}

//! Which quotes a scalar needs.

use super::Plain;

/// How to write a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Single,
    Double,
    /// `|`
    Literal,
}

/// What there is in a scalar.
#[derive(Default)]
pub(super) struct Analysis {
    /// It has line breaks.
    pub(super) multiline: bool,
    /// It would be taken for something else without quotes.
    indicators: bool,
    /// It has characters that must be escaped.
    special: bool,
    /// A blank or line break is at an end.
    open_ends: bool,
    trailing_space: bool,
    /// A line break is followed by a blank.
    break_space: bool,
    /// A blank is followed by a line break.
    space_break: bool,
}

/// What a character is to the analysis.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Space,
    Break,
    Other,
}

// === impl Style ===

impl Style {
    pub(super) fn choose(
        value: &[u8],
        analysis: &Analysis,
        plain: Plain,
        simple_key: bool,
    ) -> Self {
        let quotable = !analysis.special && !analysis.space_break && !analysis.break_space;
        let wanted = if value.contains(&b'\n') {
            Self::Literal
        } else if plain == Plain::Fits {
            Self::Plain
        } else {
            Self::Double
        };
        match wanted {
            _ if simple_key && analysis.multiline => Self::Double,
            Self::Literal => {
                let fits = !analysis.trailing_space && !analysis.space_break && !analysis.special;
                if fits && !simple_key {
                    Self::Literal
                } else {
                    Self::Double
                }
            }
            Self::Plain => {
                let fits = quotable && !analysis.multiline && !analysis.open_ends;
                if fits && !analysis.indicators && !(value.is_empty() && simple_key) {
                    Self::Plain
                } else if quotable {
                    Self::Single
                } else {
                    Self::Double
                }
            }
            other => other,
        }
    }
}

// === impl Analysis ===

impl Analysis {
    pub(super) fn new(value: &[u8]) -> Self {
        // A word that begins with a letter or digit: nothing in it is special.
        let is_word = value.first().is_some_and(u8::is_ascii_alphanumeric)
            && value
                .iter()
                .all(|byte| matches!(byte, b'!'..=b'~') && !matches!(byte, b':' | b'#'));
        if is_word {
            return Self::default();
        }
        let mut analysis = Self {
            indicators: value.starts_with(b"---") || value.starts_with(b"..."),
            ..Self::default()
        };
        let mut previous = Class::Other;
        let mut after_space = true;
        let mut position = 0;
        while let Some(&byte) = value.get(position) {
            let width = super::super::source::width(byte);
            let rest = value.get(position..).unwrap_or_default();
            let class = classify(rest);
            let is_last = rest.len() <= width;
            let before_space = is_last || matches!(rest.get(width), Some(b' ' | b'\t'));
            analysis.indicators |= is_indicator(byte, position == 0, before_space, after_space);
            analysis.special |= !is_printable(rest);
            analysis.multiline |= class == Class::Break;
            analysis.open_ends |= class != Class::Other && (position == 0 || is_last);
            analysis.trailing_space |= class == Class::Space && is_last;
            analysis.break_space |= class == Class::Space && previous == Class::Break;
            analysis.space_break |= class == Class::Break && previous == Class::Space;
            after_space = class != Class::Other || matches!(byte, b'\t' | 0);
            previous = class;
            position += width;
        }
        analysis
    }
}

/// Whether a character may not stand where it is without quotes.
fn is_indicator(byte: u8, first: bool, before_space: bool, after_space: bool) -> bool {
    match byte {
        b'#' | b',' | b'[' | b']' | b'{' | b'}' | b'&' | b'*' | b'!' | b'|' | b'>' | b'\''
        | b'"' | b'%' | b'@' | b'`'
            if first =>
        {
            true
        }
        b'?' | b'-' => first && before_space,
        b':' => before_space,
        b'#' => after_space,
        _ => false,
    }
}

fn classify(rest: &[u8]) -> Class {
    match rest {
        [b' ', ..] => Class::Space,
        _ if is_break(rest) => Class::Break,
        _ => Class::Other,
    }
}

/// Whether a line break stands at the beginning.
pub(super) fn is_break(rest: &[u8]) -> bool {
    matches!(
        rest,
        [b'\r' | b'\n', ..] | [0xc2, 0x85, ..] | [0xe2, 0x80, 0xa8 | 0xa9, ..]
    )
}

/// Whether the first character needs no escape. The writer takes none beyond the basic plane for printable.
pub(super) fn is_printable(rest: &[u8]) -> bool {
    match rest {
        [b'\n' | b' '..=b'~', ..] => true,
        [0xc2, second, ..] => *second >= 0xa0,
        [0xed, second, ..] => *second < 0xa0,
        [0xef, 0xbb, 0xbf, ..] | [0xef, 0xbf, 0xbe | 0xbf, ..] => false,
        [0xc3..=0xef, ..] => true,
        _ => false,
    }
}

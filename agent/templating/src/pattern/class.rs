//! Sets of runes: `[a-z]`, `\d`, `[:alpha:]`, `\p{Greek}`.

use regex_syntax::hir::{self, ClassUnicode, ClassUnicodeRange, HirKind};

use crate::context::Context;
use crate::failure::Result;

/// The greatest rune.
pub(super) const MAX_RUNE: u32 = 0x10_ffff;
/// The greatest rune that has another case.
const MAX_FOLD: u32 = 0x1_e943;

/// Runes as ranges, both ends included.
pub(super) type Ranges = [(u32, u32)];

/// A set of runes. In order, apart and complete once it is made.
pub(super) struct Class(pub(super) Box<Ranges>);

/// A class that is being made.
#[derive(Default)]
pub(super) struct Builder {
    ranges: Vec<(u32, u32)>,
}

/// Perl's classes.
pub(super) const DIGIT: &Ranges = &[(0x30, 0x39)];
pub(super) const SPACE: &Ranges = &[(0x9, 0xa), (0xc, 0xd), (0x20, 0x20)];
pub(super) const WORD: &Ranges = &[(0x30, 0x39), (0x41, 0x5a), (0x5f, 0x5f), (0x61, 0x7a)];

/// The classes of POSIX by their names.
const POSIX: [(&[u8], &Ranges); 14] = [
    (b"alnum", &[(0x30, 0x39), (0x41, 0x5a), (0x61, 0x7a)]),
    (b"alpha", &[(0x41, 0x5a), (0x61, 0x7a)]),
    (b"ascii", &[(0, 0x7f)]),
    (b"blank", &[(0x9, 0x9), (0x20, 0x20)]),
    (b"cntrl", &[(0, 0x1f), (0x7f, 0x7f)]),
    (b"digit", DIGIT),
    (b"graph", &[(0x21, 0x7e)]),
    (b"lower", &[(0x61, 0x7a)]),
    (b"print", &[(0x20, 0x7e)]),
    (
        b"punct",
        &[(0x21, 0x2f), (0x3a, 0x40), (0x5b, 0x60), (0x7b, 0x7e)],
    ),
    (b"space", &[(0x9, 0xd), (0x20, 0x20)]),
    (b"upper", &[(0x41, 0x5a)]),
    (b"word", WORD),
    (b"xdigit", &[(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)]),
];

/// General categories: the short name, and the long ones as Go looks them up.
const CATEGORIES: [(&str, &[&str]); 38] = [
    ("C", &["Other"]),
    ("Cc", &["Control", "Cntrl"]),
    ("Cf", &["Format"]),
    ("Cn", &["Unassigned"]),
    ("Co", &["Privateuse"]),
    ("Cs", &["Surrogate"]),
    ("L", &["Letter"]),
    ("LC", &["Lc", "Casedletter"]),
    ("Ll", &["Lowercaseletter"]),
    ("Lm", &["Modifierletter"]),
    ("Lo", &["Otherletter"]),
    ("Lt", &["Titlecaseletter"]),
    ("Lu", &["Uppercaseletter"]),
    ("M", &["Mark", "Combiningmark"]),
    ("Mc", &["Spacingmark"]),
    ("Me", &["Enclosingmark"]),
    ("Mn", &["Nonspacingmark"]),
    ("N", &["Number"]),
    ("Nd", &["Decimalnumber", "Digit"]),
    ("Nl", &["Letternumber"]),
    ("No", &["Othernumber"]),
    ("P", &["Punctuation", "Punct"]),
    ("Pc", &["Connectorpunctuation"]),
    ("Pd", &["Dashpunctuation"]),
    ("Pe", &["Closepunctuation"]),
    ("Pf", &["Finalpunctuation"]),
    ("Pi", &["Initialpunctuation"]),
    ("Po", &["Otherpunctuation"]),
    ("Ps", &["Openpunctuation"]),
    ("S", &["Symbol"]),
    ("Sc", &["Currencysymbol"]),
    ("Sk", &["Modifiersymbol"]),
    ("Sm", &["Mathsymbol"]),
    ("So", &["Othersymbol"]),
    ("Z", &["Separator"]),
    ("Zl", &["Lineseparator"]),
    ("Zp", &["Paragraphseparator"]),
    ("Zs", &["Spaceseparator"]),
];

/// The scripts that Go finds. Those of two words are not among them: it takes the underscore out of what is asked for, but not
/// out of its own names.
const SCRIPTS: &str = " Adlam Ahom Arabic Armenian Avestan Balinese Bamum Batak Bengali Bhaiksuki Bopomofo Brahmi Braille \
    Buginese Buhid Carian Chakma Cham Cherokee Chorasmian Common Coptic Cuneiform Cypriot Cyrillic Deseret Devanagari Dogra \
    Duployan Elbasan Elymaic Ethiopic Georgian Glagolitic Gothic Grantha Greek Gujarati Gurmukhi Han Hangul Hanunoo Hatran \
    Hebrew Hiragana Inherited Javanese Kaithi Kannada Katakana Kawi Kharoshthi Khmer Khojki Khudawadi Lao Latin Lepcha Limbu \
    Lisu Lycian Lydian Mahajani Makasar Malayalam Mandaic Manichaean Marchen Medefaidrin Miao Modi Mongolian Mro Multani \
    Myanmar Nabataean Nandinagari Newa Nko Nushu Ogham Oriya Osage Osmanya Palmyrene Phoenician Rejang Runic Samaritan \
    Saurashtra Sharada Shavian Siddham Sinhala Sogdian Soyombo Sundanese Syriac Tagalog Tagbanwa Takri Tamil Tangsa Tangut \
    Telugu Thaana Thai Tibetan Tifinagh Tirhuta Toto Ugaritic Vai Vithkuqi Wancho Yezidi Yi ";

// === impl Class ===

impl Class {
    pub(super) fn contains(&self, rune: u32) -> bool {
        const FEW: usize = 6;
        let ranges = &*self.0;
        if ranges.len() <= FEW {
            let mut ranges = ranges.iter();
            return ranges.any(|(low, high)| (*low..=*high).contains(&rune));
        }
        let after = ranges.partition_point(|(low, _)| *low <= rune);
        let last = after.checked_sub(1).and_then(|index| ranges.get(index));
        last.is_some_and(|(_, high)| rune <= *high)
    }
}

// === impl Builder ===

impl Builder {
    pub(super) fn add(&mut self, low: u32, high: u32) {
        match self.ranges.last_mut() {
            Some((start, end))
                if low <= end.saturating_add(1) && *start <= high.saturating_add(1) =>
            {
                *start = low.min(*start);
                *end = high.max(*end);
            }
            _ => self.ranges.push((low, high)),
        }
    }

    /// Adds a range with the other cases of its runes.
    pub(super) fn add_folded(&mut self, cx: &mut Context, low: u32, high: u32) -> Result<()> {
        self.add(low, high);
        for letter in low.max(0x41)..=high.min(0x7a) {
            match letter {
                0x41..=0x5a => self.add(letter + 0x20, letter + 0x20),
                0x61..=0x7a => self.add(letter - 0x20, letter - 0x20),
                _ => continue,
            }
            match letter | 0x20 {
                0x6b => self.add(KELVIN, KELVIN),
                0x73 => self.add(LONG_S, LONG_S),
                _ => {}
            }
        }
        let (low, high) = (low.max(0x80), high.min(MAX_FOLD));
        if low > high {
            return Ok(());
        }
        cx.work(1 + u64::from(high - low) / 16)?;
        let (Some(low), Some(high)) = (scalar(low, 0xe000), scalar(high, 0xd7ff)) else {
            return Ok(());
        };
        if low > high {
            return Ok(());
        }
        let mut folded = ClassUnicode::new([ClassUnicodeRange::new(low, high)]);
        if folded.try_case_fold_simple().is_ok() {
            for range in folded.ranges() {
                self.add(u32::from(range.start()), u32::from(range.end()));
            }
        }
        Ok(())
    }

    /// Adds a group of runes, with their other cases, or everything else.
    pub(super) fn add_group(
        &mut self,
        cx: &mut Context,
        group: &Ranges,
        is_folded: bool,
        is_negated: bool,
    ) -> Result<()> {
        cx.work(group.len() as u64 / 8)?;
        if !is_folded && !is_negated {
            group.iter().for_each(|(low, high)| self.add(*low, *high));
            return Ok(());
        }
        let mut class = Self::default();
        for (low, high) in group {
            if is_folded {
                class.add_folded(cx, *low, *high)?;
            } else {
                class.add(*low, *high);
            }
        }
        for (low, high) in class.finish(is_negated).0 {
            self.add(low, high);
        }
        Ok(())
    }

    /// Puts the ranges in order; `is_negated` makes the class one of everything else.
    pub(super) fn finish(mut self, is_negated: bool) -> Class {
        self.ranges.sort_unstable();
        let mut ordered: Vec<(u32, u32)> = Vec::with_capacity(self.ranges.len() + 1);
        for (low, high) in self.ranges {
            match ordered.last_mut() {
                Some((_, end)) if low <= end.saturating_add(1) => *end = high.max(*end),
                _ => ordered.push((low, high)),
            }
        }
        if is_negated {
            let mut next = 0;
            let mut gaps = Vec::with_capacity(ordered.len() + 1);
            for (low, high) in ordered {
                if next < low {
                    gaps.push((next, low - 1));
                }
                next = high.saturating_add(1);
            }
            if next <= MAX_RUNE {
                gaps.push((next, MAX_RUNE));
            }
            ordered = gaps;
        }
        Class(ordered.into_boxed_slice())
    }
}

/// Another case of `k`.
const KELVIN: u32 = 0x212a;
/// Another case of `s`.
const LONG_S: u32 = 0x17f;

/// The rune as a character; for a surrogate, which none is, the one given.
fn scalar(rune: u32, instead: u32) -> Option<char> {
    char::from_u32(rune).or_else(|| char::from_u32(instead))
}

/// The POSIX class of a name, and whether the name has a `^`.
pub(super) fn posix(name: &[u8]) -> Option<(&'static Ranges, bool)> {
    let (name, is_negated) = match name {
        [b'^', name @ ..] => (name, true),
        name => (name, false),
    };
    let (_, ranges) = POSIX.iter().find(|(known, _)| *known == name)?;
    Some((ranges, is_negated))
}

/// The Unicode class of a name. Case, blanks, hyphens and underscores do not matter.
pub(super) fn unicode(cx: &mut Context, name: &[u8]) -> Result<Option<Vec<(u32, u32)>>> {
    /// What is paid for reading a class.
    const COST: u64 = 200;
    let name = canonical(name);
    let query = match name.as_str() {
        "Any" => return Ok(Some(vec![(0, MAX_RUNE)])),
        "Ascii" => return Ok(Some(vec![(0, 0x7f)])),
        "Assigned" => r"\P{Cn}".to_owned(),
        name => match long_name(name) {
            // The tables have characters only, and surrogates are none.
            Some("Cs") => return Ok(Some(vec![(0xd800, 0xdfff)])),
            Some(name) => format!(r"\p{{{name}}}"),
            None => return Ok(None),
        },
    };
    cx.work(COST)?;
    let Ok(class) = regex_syntax::parse(&query) else {
        return Ok(None);
    };
    let ranges: Vec<_> = match class.kind() {
        HirKind::Class(hir::Class::Unicode(class)) => {
            let ranges = class.ranges().iter();
            ranges
                .map(|range| (u32::from(range.start()), u32::from(range.end())))
                .collect()
        }
        // A class of one character is a literal there.
        HirKind::Literal(literal) => {
            let text = String::from_utf8_lossy(&literal.0);
            text.chars().map(|c| (u32::from(c), u32::from(c))).collect()
        }
        _ => Vec::new(),
    };
    cx.allocate(ranges.len() * 8)?;
    Ok(Some(ranges))
}

/// The name by which the tables have a category or script that Go knows.
fn long_name(name: &str) -> Option<&str> {
    let category = CATEGORIES
        .iter()
        .find(|(short, long)| *short == name || long.contains(&name));
    if let Some((short, _)) = category {
        return Some(short);
    }
    let is_script = !name.is_empty() && SCRIPTS.contains(&format!(" {name} "));
    is_script.then_some(name)
}

/// First letter upper, others lower, without blanks, hyphens and underscores.
fn canonical(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let mut letters = name.chars().filter(|c| !matches!(c, '_' | '-' | ' '));
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    let rest = letters.map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(rest).collect()
}

//! Constraints on versions: `>=1.2, <2 || ~0.9.4`.

use super::{Parts, Version, compare_prereleases};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::value::Text;

/// Alternatives, one of which must hold.
pub(crate) struct Constraints(Vec<Alternative>);

/// Terms, all of which must hold.
struct Alternative {
    terms: Vec<Term>,
    /// Whether one of the terms names a pre-release: only then any pre-release can satisfy them.
    takes_prereleases: bool,
}

/// An operator with a version.
struct Term {
    operator: Operator,
    version: Version,
    missing: Missing,
}

/// What a term's version leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Nothing,
    Patch,
    /// The patch with it.
    Minor,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    Tilde,
    Caret,
}

// === impl Constraints ===

impl Constraints {
    /// `semver.NewConstraint`.
    ///
    /// # Errors
    ///
    /// Where `text` is none, with upstream's text.
    pub(crate) fn parse(cx: &mut Context, text: &[u8]) -> Result<Self> {
        let text = rewrite_ranges(cx, text)?;
        let mut alternatives = Vec::new();
        let mut rest = Some(text.as_slice());
        while let Some(text) = rest {
            let bars = text.windows(2).position(|pair| pair == b"||");
            let (alternative, behind) = match bars {
                Some(bars) => (&text[..bars], Some(&text[bars + 2..])),
                None => (text, None),
            };
            alternatives.push(Alternative::parse(alternative)?);
            rest = behind;
        }
        Ok(Self(alternatives))
    }

    pub(crate) fn accept(&self, version: &Version) -> bool {
        self.0
            .iter()
            .any(|alternative| alternative.accepts(version))
    }
}

/// Makes `>= A, <= B` of `A - B`.
fn rewrite_ranges(cx: &mut Context, text: &[u8]) -> Result<Vec<u8>> {
    let mut out = text.to_vec();
    let has_dash = text
        .windows(2)
        .any(|pair| is_blank(pair[0]) && pair[1] == b'-');
    let mut start = 0;
    while has_dash && start < text.len() {
        let from_here = text.get(start..).unwrap_or_default();
        let Some(range) = WrittenRange::read(cx, from_here)? else {
            start += 1;
            continue;
        };
        start += range.whole.len();
        // Upstream replaces the first occurrence, which need not be the one that was found.
        if let Some(at) = find(&out, range.whole) {
            let terms = [b">= ", range.first, b", <= ", range.last, b" "].concat();
            out.splice(at..at + range.whole.len(), terms);
        }
    }
    Ok(out)
}

/// `A - B` with the blanks around it.
struct WrittenRange<'a> {
    whole: &'a [u8],
    first: &'a [u8],
    last: &'a [u8],
}

// === impl WrittenRange ===

impl<'a> WrittenRange<'a> {
    /// Reads a range from the front of `text`.
    fn read(cx: &mut Context, text: &'a [u8]) -> Result<Option<Self>> {
        let start = without_blanks(text);
        let Some((_, rest)) = Parts::read(start, is_number_byte) else {
            return Ok(None);
        };
        // The same text is read again from its next byte on.
        cx.work(1 + (text.len() - rest.len()) as u64 / 64)?;
        let first = &start[..start.len() - rest.len()];
        let dash = without_blanks(rest);
        let (true, Some(behind)) = (dash.len() < rest.len(), dash.strip_prefix(b"-")) else {
            return Ok(None);
        };
        let second = without_blanks(behind);
        if second.len() == behind.len() {
            return Ok(None);
        }
        Ok(Parts::read(second, is_number_byte).map(|(_, rest)| Self {
            whole: &text[..text.len() - without_blanks(rest).len()],
            first,
            last: &second[..second.len() - rest.len()],
        }))
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len().max(1))
        .position(|window| window == part)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\n' | 0x0c | b'\r' | b' ')
}

fn without_blanks(text: &[u8]) -> &[u8] {
    let count = text.iter().take_while(|byte| is_blank(**byte)).count();
    text.get(count..).unwrap_or_default()
}

// === impl Alternative ===

impl Alternative {
    /// Terms parted by blanks or one comma.
    fn parse(text: &[u8]) -> Result<Self> {
        let improper = || {
            let text = String::from_utf8_lossy(text);
            Failure::showing_data(format!("improper constraint: {text}"))
        };
        let mut written = Vec::new();
        let mut rest = without_blanks(text);
        loop {
            let (term, behind) = WrittenTerm::read(rest).ok_or_else(improper)?;
            written.push(term);
            rest = without_blanks(behind);
            if rest.is_empty() {
                break;
            }
            match rest {
                [b',', next @ ..] => rest = without_blanks(next),
                // Without a blank between, the next term would be a part of this one.
                _ if rest.len() == behind.len() => return Err(improper()),
                _ => {}
            }
        }
        let terms = written.into_iter().map(WrittenTerm::finish);
        let terms = terms.collect::<Result<Vec<_>>>()?;
        let takes_prereleases = terms.iter().any(|term| term.version.is_prerelease());
        Ok(Self {
            terms,
            takes_prereleases,
        })
    }

    fn accepts(&self, version: &Version) -> bool {
        (self.takes_prereleases || !version.is_prerelease())
            && self.terms.iter().all(|term| term.accepts(version))
    }
}

/// A term's text.
struct WrittenTerm<'a> {
    operator: Operator,
    parts: Parts<'a>,
    /// The version as written.
    version: &'a [u8],
}

// === impl WrittenTerm ===

impl<'a> WrittenTerm<'a> {
    /// Reads a term from the front of `text`, and gives the rest.
    fn read(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let is_sign = |byte: &u8| matches!(byte, b'=' | b'!' | b'<' | b'>' | b'~' | b'^');
        let length = text.iter().take_while(|byte| is_sign(byte)).count();
        let (signs, rest) = text.split_at(length);
        let operator = Operator::parse(signs)?;
        let start = without_blanks(rest);
        let (parts, rest) = Parts::read(start, is_number_byte)?;
        let version = &start[..start.len() - rest.len()];
        let term = Self {
            operator,
            parts,
            version,
        };
        Some((term, rest))
    }

    fn finish(self) -> Result<Term> {
        let [major, minor, patch] = self.parts.numbers.map(known);
        let (missing, numbers) = match (major, minor, patch) {
            (None, ..) => (Missing::All, vec![b"0".as_slice(), b"0", b"0"]),
            (Some(major), None, _) => (Missing::Minor, vec![major, b"0", b"0"]),
            (Some(major), Some(minor), None) => (Missing::Patch, vec![major, minor, b"0"]),
            (Some(_), Some(_), Some(_)) => (Missing::Nothing, Vec::new()),
        };
        let text = if missing == Missing::Nothing {
            self.version.to_vec()
        } else {
            let mut text = numbers.join(b".".as_slice());
            if !self.parts.prerelease.is_empty() {
                text.push(b'-');
                text.extend_from_slice(self.parts.prerelease);
            }
            text
        };
        let version = Version::parse(&Text::new(text))
            .map_err(|_| Failure::plain("constraint parser error"))?;
        Ok(Term {
            operator: self.operator,
            version,
            missing,
        })
    }
}

/// What upstream lets a number of a constraint be made of; [`Version::parse`] sorts out the rest.
fn is_number_byte(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'x' | b'X' | b'*' | b'|')
}

/// A number unless it is left open.
fn known(number: Option<&[u8]>) -> Option<&[u8]> {
    number.filter(|number| !matches!(number, [b'x' | b'X' | b'*']))
}

// === impl Operator ===

impl Operator {
    fn parse(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"" | b"=" => Self::Equal,
            b"!=" => Self::NotEqual,
            b">" => Self::Greater,
            b"<" => Self::Less,
            b">=" | b"=>" => Self::GreaterOrEqual,
            b"<=" | b"=<" => Self::LessOrEqual,
            b"~" | b"~>" => Self::Tilde,
            b"^" => Self::Caret,
            _ => return None,
        })
    }
}

// === impl Term ===

impl Term {
    /// Whether a version satisfies it that is no pre-release or may be one.
    fn accepts(&self, version: &Version) -> bool {
        let order = version.compare(&self.version);
        match self.operator {
            Operator::Equal if self.missing == Missing::Nothing => order.is_eq(),
            Operator::Equal | Operator::Tilde => order.is_ge() && self.is_near(version),
            Operator::NotEqual => self.differs(version),
            Operator::Greater => self.is_below(version),
            Operator::Less => order.is_lt(),
            Operator::GreaterOrEqual => order.is_ge(),
            Operator::LessOrEqual if self.missing == Missing::Nothing => order.is_le(),
            Operator::LessOrEqual => self.reaches(version),
            Operator::Caret => order.is_ge() && self.is_compatible(version),
        }
    }

    fn has_same_major(&self, version: &Version) -> bool {
        self.version.major == version.major
    }

    fn has_same_minor(&self, version: &Version) -> bool {
        self.version.minor == version.minor
    }

    /// `~`: same major, and same minor if it is given. All zeros are near to everything.
    fn is_near(&self, version: &Version) -> bool {
        let own = &self.version;
        let is_zero = own.major == 0 && own.minor == 0 && own.patch == 0;
        if is_zero && matches!(self.missing, Missing::Nothing | Missing::All) {
            return true;
        }
        self.has_same_major(version)
            && (self.missing == Missing::Minor || self.has_same_minor(version))
    }

    /// `!=`
    fn differs(&self, version: &Version) -> bool {
        let has_same_numbers = self.has_same_major(version)
            && (self.missing == Missing::Minor || self.has_same_minor(version));
        match self.missing {
            Missing::Nothing => version.compare(&self.version).is_ne(),
            Missing::Minor => !has_same_numbers,
            Missing::Patch => {
                let prerelease = version.prerelease.bytes();
                !has_same_numbers
                    || compare_prereleases(prerelease, self.version.prerelease.bytes()).is_ne()
            }
            Missing::All => {
                !has_same_numbers
                    || version.patch != self.version.patch
                    || version.compare(&self.version).is_ne()
            }
        }
    }

    /// `>`: above everything that the numbers which are given describe.
    fn is_below(&self, version: &Version) -> bool {
        match self.missing {
            Missing::Nothing | Missing::All => version.compare(&self.version).is_gt(),
            Missing::Minor => version.major > self.version.major,
            Missing::Patch => {
                (version.major, version.minor) > (self.version.major, self.version.minor)
            }
        }
    }

    /// `<=` with numbers left open: not above everything that the others describe.
    fn reaches(&self, version: &Version) -> bool {
        version.major < self.version.major
            || self.has_same_major(version)
                && (self.missing == Missing::Minor || version.minor <= self.version.minor)
    }

    /// `^`: the first number that is not 0 is the same.
    fn is_compatible(&self, version: &Version) -> bool {
        let own = &self.version;
        if own.major > 0 || self.missing == Missing::Minor {
            return self.has_same_major(version);
        }
        if version.major > 0 {
            return false;
        }
        if own.minor > 0 || self.missing == Missing::Patch {
            return self.has_same_minor(version);
        }
        version.minor == 0 && own.patch == version.patch
    }
}

//! Replacement templates: `${1}-$name`.

use super::Pattern;
use super::search::Search;
use crate::context::Context;
use crate::failure::Result;
use crate::output::Output;
use crate::unicode;

/// A replacement, taken apart.
pub(crate) struct Replacement<'r> {
    parts: Vec<Part<'r>>,
}

enum Part<'r> {
    Text(&'r [u8]),
    /// The groups that a reference names, the first of which counts that took part.
    Groups(Vec<usize>),
}

/// Numbers from here on are names.
const MAX_NUMBER: usize = 100_000_000;

// === impl Replacement ===

impl<'r> Replacement<'r> {
    /// A text with no references.
    pub(crate) fn literal(text: &'r [u8]) -> Self {
        Self {
            parts: vec![Part::Text(text)],
        }
    }

    /// A template for matches of `pattern`.
    pub(crate) fn template(cx: &mut Context, pattern: &Pattern, text: &'r [u8]) -> Result<Self> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(dollar) = rest.iter().position(|byte| *byte == b'$') {
            cx.allocate(2 * size_of::<Part<'_>>())?;
            let (before, behind) = rest.split_at(dollar);
            parts.push(Part::Text(before));
            let (dollar, behind) = behind.split_at(1);
            if let Some(behind) = behind.strip_prefix(b"$") {
                parts.push(Part::Text(dollar));
                rest = behind;
                continue;
            }
            match read_reference(behind) {
                Some((name, behind)) => {
                    cx.work(pattern.names.len() as u64 / 16)?;
                    parts.push(Part::Groups(groups(pattern, name)));
                    rest = behind;
                }
                None => {
                    parts.push(Part::Text(dollar));
                    rest = behind;
                }
            }
        }
        parts.push(Part::Text(rest));
        Ok(Self { parts })
    }

    /// Whether the groups of a match are needed.
    pub(crate) fn has_groups(&self) -> bool {
        self.parts
            .iter()
            .any(|part| matches!(part, Part::Groups(_)))
    }

    /// Writes the replacement of the last match.
    pub(crate) fn write(
        &self,
        cx: &mut Context,
        search: &Search<'_, '_>,
        out: &mut Output,
    ) -> Result<()> {
        cx.work(self.parts.len() as u64 / 8)?;
        for part in &self.parts {
            match part {
                Part::Text(text) => out.write(cx, text)?,
                Part::Groups(groups) => {
                    let group = groups.iter().find_map(|group| search.group(*group));
                    let text = group.and_then(|(start, end)| search.text.get(start..end));
                    out.write(cx, text.unwrap_or_default())?;
                }
            }
        }
        Ok(())
    }
}

/// The name behind a dollar, in braces or not, and what follows. `None` where the dollar is but a dollar.
fn read_reference(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (has_brace, text) = match text {
        [b'{', text @ ..] => (true, text),
        text => (false, text),
    };
    let mut length = 0;
    while let Some((rune, width)) = unicode::first_rune(text.get(length..)?) {
        let is_part = rune == '_'
            || unicode::is_letter(rune)
            || unicode::class(rune) == unicode::Class::Digit;
        if !is_part {
            break;
        }
        length += width;
    }
    let (name, rest) = text.split_at(length);
    if name.is_empty() {
        return None;
    }
    let rest = if has_brace {
        rest.strip_prefix(b"}")?
    } else {
        rest
    };
    Some((name, rest))
}

/// The groups that a number or a name stands for.
fn groups(pattern: &Pattern, name: &[u8]) -> Vec<usize> {
    match read_number(name) {
        Some(number) if number < pattern.groups() => vec![number],
        Some(_) => Vec::new(),
        None => {
            let names = pattern.names.iter().enumerate();
            names
                .filter(|(_, known)| *known == name)
                .map(|(number, _)| number)
                .collect()
        }
    }
}

/// A number without leading zeros.
fn read_number(name: &[u8]) -> Option<usize> {
    if matches!(name, [b'0', _, ..]) {
        return None;
    }
    name.iter().try_fold(0, |number, byte| {
        let is_digit = byte.is_ascii_digit() && number < MAX_NUMBER;
        is_digit.then(|| number * 10 + usize::from(byte - b'0'))
    })
}

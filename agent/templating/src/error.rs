//! Errors of parsing and rendering, with the texts of Go's engine.

use std::fmt;

use crate::limits::Limit;

/// A template that cannot be parsed. Its text is made of the template alone and shows no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template: {name}:{line}: {message}")]
pub struct ParseError {
    /// The template's name.
    pub name: String,
    /// The line of the token at fault, from 1.
    pub line: usize,
    /// Where in its line that token begins, in bytes from 0. Go does not tell.
    pub column: usize,
    /// What is wrong, in Go's words.
    pub message: String,
}

/// A render that failed. Output up to there is discarded.
///
/// `Display` and `Debug` show where it failed and, unless the text could contain a part of a value, why. The whole text, as Go's engine has
/// it, is [`Self::full_text`].
#[derive(Clone, PartialEq, Eq)]
pub struct RenderError {
    /// Where: `template: NAME:LINE:COL: executing "TPL" at <CONTEXT>: `; empty where Go has no place either.
    pub(crate) place: String,
    /// Why, in Go's words.
    pub(crate) message: String,
    /// Whether `message` may show a part of a value.
    pub(crate) shows_data: bool,
    /// Line (from 1) and column (bytes, from 0) in the template's text.
    pub(crate) position: Option<(usize, usize)>,
    /// The bound that was reached.
    pub(crate) limit: Option<Limit>,
}

// === impl RenderError ===

impl RenderError {
    /// The whole text as Go's engine has it. It may quote values: show it only to whoever holds the secrets anyway (the offline command).
    #[must_use]
    pub fn full_text(&self) -> String {
        format!("{}{}", self.place, self.message)
    }

    /// Line (from 1) and column (bytes, from 0).
    #[must_use]
    pub fn position(&self) -> Option<(usize, usize)> {
        self.position
    }

    /// The bound that was reached, if one was.
    #[must_use]
    pub fn limit(&self) -> Option<Limit> {
        self.limit
    }
}

impl fmt::Display for RenderError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.place)?;
        if self.shows_data {
            return formatter.write_str(
                "failed; the reason could show a value and is left out (see `latchkey template`)",
            );
        }
        formatter.write_str(&self.message)
    }
}

impl fmt::Debug for RenderError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RenderError({self})")
    }
}

impl std::error::Error for RenderError {}

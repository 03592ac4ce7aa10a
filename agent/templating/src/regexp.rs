//! Replacement by regular expressions outside of templates: Go's `Regexp.ReplaceAllString`, with the bounds of a render.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::context::Context;
use crate::failure::Failure;
use crate::functions;
use crate::limits::{Limits, Usage};
use crate::pattern::{Pattern, Replacement, Trouble};
use crate::value::Text;

/// A pattern and what its matches are replaced by. The limits hold for all replacements together.
pub struct Replacer {
    cx: Context,
    pattern: Pattern,
    replacement: String,
}

/// A text that is no pattern, in Go's words, or a bound that was reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegexpError {
    /// The text is no pattern. Shows the pattern.
    #[error("{0}")]
    Syntax(String),
    /// A bound was reached.
    #[error("{0}")]
    Limit(String),
}

// === impl Replacer ===

impl Replacer {
    /// Compiles `pattern`. In `replacement`, `$1`, `${1}`, `$name` and `${name}` are groups and `$$` is a dollar.
    ///
    /// # Errors
    ///
    /// `pattern` is none, or is too large.
    pub fn new(pattern: &str, replacement: &str, limits: &Limits) -> Result<Self, RegexpError> {
        let mut cx = Context::new(*limits, Timestamp::UNIX_EPOCH, TimeZone::UTC);
        let pattern =
            Pattern::new(&mut cx, pattern.as_bytes()).map_err(|trouble| match trouble {
                Trouble::Syntax(text) => RegexpError::Syntax(text),
                Trouble::Failure(failure) => failure.into(),
            })?;
        Ok(Self {
            cx,
            pattern,
            replacement: replacement.to_owned(),
        })
    }

    /// `text` with every match replaced. Bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    ///
    /// A bound was reached.
    pub fn replace_all(&mut self, text: &str) -> Result<String, RegexpError> {
        let replacement = self.replacement.as_bytes();
        let replacement = Replacement::template(&mut self.cx, &self.pattern, replacement)?;
        let replaced =
            functions::replaced(&mut self.cx, &self.pattern, &Text::from(text), &replacement)?;
        Ok(replaced.to_lossy().into_owned())
    }

    /// What was used so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.cx.usage()
    }
}

// === impl RegexpError ===

impl From<Failure> for RegexpError {
    fn from(failure: Failure) -> Self {
        Self::Limit(failure.text().to_owned())
    }
}

//! Why a YAML text could not be used.

use crate::failure::Failure;
use crate::limits::Limit;

/// A text that is no YAML, or YAML that cannot be used.
#[derive(Debug)]
pub(super) enum Fault {
    /// The text, in the words of the Go library, and the same without any part of the text that was read.
    Text { full: String, safe: String },
    /// A bound was reached.
    Limit(Failure),
}

/// Why a text is no map of strings.
///
/// `Display` and `Debug` show no part of the text. The whole message, as the Go library has it, is [`Self::full_text`].
#[derive(Clone, PartialEq, Eq)]
pub struct YamlError {
    full: String,
    safe: String,
    limit: Option<Limit>,
}

// === impl Fault ===

impl Fault {
    /// A fault whose words show no part of the text.
    pub(super) fn plain(text: impl Into<String>) -> Self {
        let full = text.into();
        Self::Text {
            safe: full.clone(),
            full,
        }
    }

    /// A fault of the text itself, at a line if that is known.
    pub(super) fn at(line: Option<usize>, problem: &str) -> Self {
        match line {
            Some(line) => Self::plain(format!("yaml: line {line}: {problem}")),
            None => Self::plain(format!("yaml: {problem}")),
        }
    }

    /// A fault whose full words may show a part of the text.
    pub(super) fn showing_data(full: impl Into<String>, safe: impl Into<String>) -> Self {
        Self::Text {
            full: full.into(),
            safe: safe.into(),
        }
    }

    /// The same with words in front.
    pub(super) fn within(self, prefix: &str) -> Self {
        match self {
            Self::Text { full, safe } => Self::Text {
                full: prefix.to_owned() + &full,
                safe: prefix.to_owned() + &safe,
            },
            limit @ Self::Limit(_) => limit,
        }
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::Limit(failure)
    }
}

// === impl YamlError ===

impl YamlError {
    /// The whole text as the Go library has it. It may quote the text that was read.
    #[must_use]
    pub fn full_text(&self) -> &str {
        &self.full
    }

    /// The bound that was reached, if one was.
    #[must_use]
    pub fn limit(&self) -> Option<Limit> {
        self.limit
    }
}

impl From<Fault> for YamlError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Text { full, safe } => Self {
                full,
                safe,
                limit: None,
            },
            Fault::Limit(failure) => Self {
                full: failure.text().to_owned(),
                safe: failure.text().to_owned(),
                limit: match failure.kind() {
                    crate::failure::Kind::Limit(limit) => Some(limit),
                    _ => None,
                },
            },
        }
    }
}

impl std::fmt::Display for YamlError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.safe)
    }
}

impl std::fmt::Debug for YamlError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "YamlError({self})")
    }
}

impl std::error::Error for YamlError {}

//! What a function, a method or a conversion fails with, before it is known where in the template that was.

use crate::limits::Limit;

/// A failed call. The evaluator adds where it happened.
#[derive(Debug)]
pub(crate) struct Failure {
    text: String,
    kind: Kind,
}

/// What a failure's text may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Type names, counts and fixed words only: safe in logs, events and statuses.
    Plain,
    /// Parts of values, which may be secret.
    ShowsData,
    /// A bound was reached. Not wrapped in `error calling f: `.
    Limit(Limit),
}

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

// === impl Failure ===

impl Failure {
    /// A failure whose text shows no part of any value.
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            kind: Kind::Plain,
        }
    }

    /// A failure whose text may show a part of a value: it never reaches a log, an event or a status.
    pub(crate) fn showing_data(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            kind: Kind::ShowsData,
        }
    }

    /// A bound of the render was reached.
    pub(crate) fn limit(limit: Limit) -> Self {
        Self {
            text: format!("the render exceeds its limit of {limit}"),
            kind: Kind::Limit(limit),
        }
    }

    /// A bound was reached that Go has too, in its words.
    pub(crate) fn limit_in_words(limit: Limit, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            kind: Kind::Limit(limit),
        }
    }

    /// A value of another type than the table of functions promises: a defect of this crate, not of the template.
    pub(crate) fn unexpected_type() -> Self {
        Self::plain("internal error: argument of unexpected type")
    }

    /// Go's text for the use of a nil pointer.
    pub(crate) fn nil_pointer() -> Self {
        Self::plain("runtime error: invalid memory address or nil pointer dereference")
    }

    /// The same failure with `prefix` before its text, as Go wraps errors. A reached bound stays as it is.
    pub(crate) fn within(self, prefix: &str) -> Self {
        if matches!(self.kind, Kind::Limit(_)) {
            return self;
        }
        Self {
            text: format!("{prefix}{}", self.text),
            kind: self.kind,
        }
    }

    /// Whether a bound was reached, so that nothing else may be tried.
    pub(crate) fn is_limit(&self) -> bool {
        matches!(self.kind, Kind::Limit(_))
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }
}

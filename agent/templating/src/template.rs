//! The crate's face: parse a template, render it with the data of one secret.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use latchkey_secret::{SecretData, SecretValue};

use crate::error::{ParseError, RenderError};
use crate::limits::{Limits, Usage};
use crate::value::{StringMap, Value};
use crate::{eval, syntax};

/// What opens and closes an action. `{{` and `}}` unless the agent's flags say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delimiters {
    /// Opens an action.
    pub left: String,
    /// Closes it.
    pub right: String,
}

/// What an absent key of a map does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingKey {
    /// The render fails: ExternalSecret and PushSecret templates.
    #[default]
    Error,
    /// It prints `<no value>`: rewrite transforms and webhook fields.
    Default,
}

/// How to parse and render.
#[derive(Clone, Debug)]
pub struct Options {
    /// What opens and closes an action.
    pub delimiters: Delimiters,
    /// What an absent key of a map does.
    pub missing_key: MissingKey,
    /// The bounds of the work.
    pub limits: Limits,
    /// What `now` returns.
    pub now: Timestamp,
    /// Go's `Local`; UTC in upstream's images.
    pub zone: TimeZone,
}

/// A parsed template. Rendering does not change it.
pub struct Template {
    forest: syntax::ast::Forest,
}

// === impl Delimiters ===

impl Default for Delimiters {
    fn default() -> Self {
        Self {
            left: "{{".to_owned(),
            right: "}}".to_owned(),
        }
    }
}

// === impl Options ===

impl Options {
    /// Upstream's defaults for a render at the moment `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            delimiters: Delimiters::default(),
            missing_key: MissingKey::default(),
            limits: Limits::default(),
            now,
            zone: TimeZone::UTC,
        }
    }
}

// === impl Template ===

impl Template {
    /// Parses `text`. The name appears in error texts; upstream uses the key that is rendered.
    ///
    /// # Errors
    ///
    /// Where the text is no template: a syntax error, an unknown function, an undeclared variable.
    pub fn parse(name: &str, text: &str, options: &Options) -> Result<Self, ParseError> {
        Self::parse_bytes(name, text.as_bytes(), options)
    }

    /// [`Self::parse`] for a text that need not be UTF-8, such as a key of a Secret.
    ///
    /// # Errors
    ///
    /// As for [`Self::parse`].
    pub fn parse_bytes(name: &str, text: &[u8], options: &Options) -> Result<Self, ParseError> {
        let forest = syntax::parse(name, text, &options.delimiters, &options.limits)?;
        Ok(Self { forest })
    }

    /// Renders with `data` as the root: a map from string to string.
    ///
    /// # Errors
    ///
    /// Where Go's engine fails, with its text, and where a limit is reached. No output is kept then.
    pub fn render(&self, data: &SecretData, options: &Options) -> Result<SecretValue, RenderError> {
        self.render_measured(data, options)
            .map(|(output, _)| output)
    }

    /// [`Self::render`], and what it took.
    ///
    /// # Errors
    ///
    /// As for [`Self::render`].
    pub fn render_measured(
        &self,
        data: &SecretData,
        options: &Options,
    ) -> Result<(SecretValue, Usage), RenderError> {
        let root = Value::StringMap(StringMap::of_data(data));
        eval::render(&self.forest, root, options)
    }
}

//! Why a template could not be applied, in upstream's words (`externalsecret.md` 4.3, D-23).

use std::fmt;

use latchkey_templating::yaml::YamlError;
use latchkey_templating::{Limit, ParseError, RenderError};

use super::objects::{ObjectError, ObjectKind};
use crate::decode::IllegalBase64;

/// Which template of an object is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A key of `template.data`.
    Data(String),
    /// A key of `template.metadata.labels`.
    Label(String),
    /// A key of `template.metadata.annotations`.
    Annotation(String),
    /// An entry of `template.templateFrom`.
    From {
        /// Its position, from 0.
        index: usize,
        /// Which of its texts.
        origin: Origin,
    },
}

/// Where the text of a `templateFrom` entry comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The entry itself.
    Literal,
    /// A key of another object.
    Object {
        /// ConfigMap or Secret.
        kind: ObjectKind,
        /// Name of the object.
        name: String,
        /// Key in the object.
        key: String,
    },
}

/// A template that could not be applied. Nothing of its output is kept.
///
/// `Display` is safe to show: it contains neither values nor text that comes from a Secret. [`Self::full_text`] is for those who
/// hold the values anyway.
#[derive(Clone, PartialEq, Eq)]
pub struct TemplateError {
    place: Option<Place>,
    cause: Box<Cause>,
    is_of_manifest: bool,
}

/// What is wrong.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// Rules that the template breaks.
    Forbidden(Vec<String>),
    /// Another engine version than `v2`.
    Version(String),
    /// An object that holds templates cannot be read.
    Object(ObjectError),
    /// It can, and lacks the key.
    MissingKey,
    /// The text is no template.
    Parse { key: String, error: Box<ParseError> },
    /// The template failed.
    Render {
        key: String,
        error: Box<RenderError>,
    },
    /// The rendered text is no map.
    NotAMap(YamlError),
    /// A rendered value is not in the encoding that was promised.
    Undecodable {
        key: RenderedKey,
        cause: IllegalBase64,
    },
    /// A rendered key that no Secret can have.
    BadKey(RenderedKey),
    /// The rendered text is no YAML, or too large a one.
    NotYaml(YamlError),
    /// A target path of a manifest that is none, or leads through what has no fields or items.
    Path(String),
    /// More than the agent handles.
    TooMuch(&'static str),
    /// A defect of the agent.
    Internal,
}

/// A key that may have been rendered.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct RenderedKey {
    pub(super) key: String,
    /// Whether it stands in the template as it is, so that it shows no value.
    pub(super) is_literal: bool,
}

// === impl RenderedKey ===

impl RenderedKey {
    fn shown(&self, full: bool) -> &str {
        if full || self.is_literal {
            &self.key
        } else {
            "(rendered)"
        }
    }
}

// === impl Place ===

impl Place {
    /// The step that failed, for a target of another kind than Secret.
    fn step_of_manifest(&self) -> &'static str {
        match self {
            Self::From { origin, .. } => match origin {
                Origin::Literal => "failed to execute literal template: ",
                Origin::Object { kind, .. } => match kind {
                    ObjectKind::ConfigMap => "failed to merge configmap template: ",
                    ObjectKind::Secret => "failed to merge secret template: ",
                },
            },
            Self::Data(_) | Self::Label(_) | Self::Annotation(_) => {
                "failed to execute template.data: "
            }
        }
    }

    /// Whether the text of the template is secret itself.
    pub(super) fn is_secret(&self) -> bool {
        matches!(
            self,
            Self::From {
                origin: Origin::Object {
                    kind: ObjectKind::Secret,
                    ..
                },
                ..
            }
        )
    }
}

// === impl TemplateError ===

impl TemplateError {
    pub(super) fn new(cause: Cause) -> Self {
        Self {
            place: None,
            cause: Box::new(cause),
            is_of_manifest: false,
        }
    }

    pub(super) fn at(place: Place, cause: Cause) -> Self {
        Self {
            place: Some(place),
            cause: Box::new(cause),
            is_of_manifest: false,
        }
    }

    /// The same error in the words for a target of another kind than Secret.
    pub(super) fn of_manifest(self) -> Self {
        Self {
            is_of_manifest: true,
            ..self
        }
    }

    /// The template at fault, if it is one.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// Line (from 1) and column (bytes, from 0) in the text of that template.
    #[must_use]
    pub fn position(&self) -> Option<(usize, usize)> {
        match &*self.cause {
            Cause::Parse { error, .. } => Some((error.line, error.column)),
            Cause::Render { error, .. } => error.position(),
            _ => None,
        }
    }

    /// The bound of a render that was reached, if one was.
    #[must_use]
    pub fn limit(&self) -> Option<Limit> {
        match &*self.cause {
            Cause::Render { error, .. } => error.limit(),
            Cause::NotAMap(error) | Cause::NotYaml(error) => error.limit(),
            _ => None,
        }
    }

    /// The object that could not be read, if that is the reason.
    #[must_use]
    pub fn object_error(&self) -> Option<&ObjectError> {
        match &*self.cause {
            Cause::Object(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the template breaks a rule of the kind that [`super::check`] knows, whatever it renders to.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(*self.cause, Cause::Forbidden(_) | Cause::Version(_))
    }

    /// The rules that are broken.
    #[must_use]
    pub fn rules(&self) -> &[String] {
        match &*self.cause {
            Cause::Forbidden(rules) => rules,
            _ => &[],
        }
    }

    /// Whether the agent itself is at fault.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        matches!(*self.cause, Cause::Internal)
    }

    /// The whole text. It may quote values: show it only to whoever holds them anyway.
    #[must_use]
    pub fn full_text(&self) -> String {
        format!("{}{}", self.step(), self.reason(true))
    }

    /// `Display` without the steps that led to the reason: for places with little room.
    #[must_use]
    pub fn brief(&self) -> String {
        let reason = match &*self.cause {
            Cause::Parse { error, .. } => self.parse_text(error, false),
            Cause::Render { error, .. } => self.render_text(error, false),
            _ => self.reason(false),
        };
        format!("could not apply template: {reason}")
    }

    fn step(&self) -> &'static str {
        match &self.place {
            Some(place) if self.is_of_manifest => place.step_of_manifest(),
            None if self.is_of_manifest => "",
            None => "could not apply template: ",
            Some(Place::From { .. }) => {
                "could not apply template: error fetching templateFrom data: "
            }
            Some(_) => {
                "could not apply template: could not execute template: could not execute template: "
            }
        }
    }

    fn reason(&self, full: bool) -> String {
        match &*self.cause {
            Cause::Forbidden(rules) => rules.join("\n"),
            Cause::Version(version) => format!("unsupported template engine version: {version}"),
            Cause::Object(error) => error.to_string(),
            Cause::MissingKey => self.missing_key(),
            Cause::Parse { key, error } => format!(
                "unable to execute template at key {key}: unable to parse template at key {key}: {}",
                self.parse_text(error, full)
            ),
            Cause::Render { key, error } => format!(
                "unable to execute template at key {key}: unable to execute template at key {key}: {}",
                self.render_text(error, full)
            ),
            Cause::NotAMap(error) => {
                let error = if full {
                    error.full_text().to_owned()
                } else {
                    error.to_string()
                };
                format!("could not unmarshal template to 'map[string][]byte': {error}")
            }
            Cause::Undecodable { key, cause } => format!(
                "failed to decode rendered template value for key {}: {cause}",
                key.shown(full)
            ),
            Cause::BadKey(key) => format!(
                "failed to apply to target: key {} is no key of a Secret: at most 253 letters, digits, '-', '_' and '.', not \
                 beginning with '..'",
                key.shown(full)
            ),
            Cause::NotYaml(error) => {
                let error = if full {
                    error.full_text().to_owned()
                } else {
                    error.to_string()
                };
                format!("could not unmarshal template YAML: {error}")
            }
            Cause::Path(text) => text.clone(),
            Cause::TooMuch(what) => (*what).to_owned(),
            Cause::Internal => "the agent failed internally; please report it".to_owned(),
        }
    }

    fn missing_key(&self) -> String {
        match &self.place {
            Some(Place::From {
                origin: Origin::Object { kind, name, key },
                ..
            }) => format!("error in {} {name}: missing key {key}", kind.word()),
            _ => "missing key".to_owned(),
        }
    }

    fn parse_text(&self, error: &ParseError, full: bool) -> String {
        if full || !self.shows_secret_text() {
            return error.to_string();
        }
        format!("template: {}:{}: {WITHHELD}", error.name, error.line)
    }

    fn render_text(&self, error: &RenderError, full: bool) -> String {
        if full {
            return error.full_text();
        }
        if !self.shows_secret_text() {
            return error.to_string();
        }
        let place = match error.position() {
            Some((line, column)) => format!("template: line {line} column {column}: "),
            None => "template: ".to_owned(),
        };
        match error.limit() {
            Some(limit) => format!("{place}the render exceeds its limit of {limit}"),
            None => format!("{place}{WITHHELD}"),
        }
    }

    fn shows_secret_text(&self) -> bool {
        self.place.as_ref().is_some_and(Place::is_secret)
    }
}

/// Stands for a reason that quotes a template which is secret itself.
const WITHHELD: &str =
    "failed; the reason could show text of the Secret and is left out (see `latchkey template`)";

impl fmt::Display for TemplateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.step(), self.reason(false))
    }
}

impl fmt::Debug for TemplateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TemplateError({self})")
    }
}

impl std::error::Error for TemplateError {}

//! The order of `templates.md` 1.2: a pure function of the template, the fetched values and the texts it refers to.

use std::collections::BTreeMap;
use std::fmt;

use latchkey_crds::external_secret::{
    ENGINE_VERSION, ExternalSecret, Target, Template, TemplateMergePolicy, rules,
};
use latchkey_secret::{SecretData, SecretValue};
use latchkey_templating::Options;

use super::error::{Cause, Place, RenderedKey, TemplateError};
use super::objects::{MOST_OBJECTS, Texts, wanted};
use super::run::Run;
use super::sources::{Order, Scope, Text, texts_of};

/// What a target holds before a delivery adds its own marks.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// Keys and values.
    pub data: SecretData,
    /// Labels. They may hold values.
    pub labels: BTreeMap<String, String>,
    /// Annotations. They may hold values.
    pub annotations: BTreeMap<String, String>,
}

/// Which map of the target a text is rendered into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Into {
    Data,
    Labels,
    Annotations,
}

// === impl Rendered ===

impl Rendered {
    /// The target of an object without template: the fetched values, and the labels and annotations of the object itself.
    #[must_use]
    pub fn untemplated(object: &ExternalSecret, fetched: SecretData) -> Self {
        Self {
            data: fetched,
            labels: object.metadata.labels.clone().unwrap_or_default(),
            annotations: object.metadata.annotations.clone().unwrap_or_default(),
        }
    }

    fn put(&mut self, into: Into, key: String, value: SecretValue) {
        let text = |value: &SecretValue| String::from_utf8_lossy(value.expose()).into_owned();
        match into {
            Into::Data => {
                self.data.insert(key, value);
            }
            Into::Labels => {
                self.labels.insert(key, text(&value));
            }
            Into::Annotations => {
                self.annotations.insert(key, text(&value));
            }
        }
    }
}

impl fmt::Debug for Rendered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Rendered")
            .field("data", &self.data.len())
            .field("labels", &self.labels.len())
            .field("annotations", &self.annotations.len())
            .finish()
    }
}

// === impl Into ===

impl Into {
    /// Absent and empty both mean `Data` (D-17).
    fn of(target: Option<&str>) -> Option<Self> {
        let target = target.unwrap_or_default();
        [
            ("", Self::Data),
            ("data", Self::Data),
            ("labels", Self::Labels),
            ("annotations", Self::Annotations),
        ]
        .into_iter()
        .find_map(|(word, into)| target.eq_ignore_ascii_case(word).then_some(into))
    }
}

/// Checks what a template may not do (`externalsecret.md` 1.4, rules 4 and 5) and its engine version.
///
/// # Errors
///
/// The rules that are broken, or the version.
pub fn check(target: &Target) -> Result<(), TemplateError> {
    let Some(template) = &target.template else {
        return Ok(());
    };
    let mut broken = Vec::new();
    rules::template_violations(target, &mut broken);
    if !broken.is_empty() {
        return Err(TemplateError::new(Cause::Forbidden(broken)));
    }
    let version = template.engine_version.as_deref().unwrap_or(ENGINE_VERSION);
    if version != ENGINE_VERSION {
        return Err(TemplateError::new(Cause::Version(version.to_owned())));
    }
    if wanted(template).len() > MOST_OBJECTS {
        return Err(TemplateError::new(Cause::TooMuch(
            "templateFrom names more than 64 objects",
        )));
    }
    Ok(())
}

/// Renders a Secret: `templateFrom` in order, then `data`, labels and annotations, later results over earlier ones.
///
/// The limits of `options` hold for each template; all of them together may put out as much as one, and take 20 times its steps
/// and twice its cryptography. Pure and without a
/// Kubernetes client; ask [`check`] before.
///
/// # Errors
///
/// The first template that fails. Entries of one map are taken in ascending order of their keys.
pub fn render(
    template: &Template,
    fetched: &SecretData,
    texts: &Texts,
    options: &Options,
) -> Result<Rendered, TemplateError> {
    let mut run = Run::new(fetched, options);
    let mut rendered = Rendered::default();
    let makes_data = !template.data.is_empty() || !template.template_from.is_empty();
    if template.merge_policy == Some(TemplateMergePolicy::Merge) || !makes_data {
        rendered.data.clone_from(fetched);
    }
    for (index, from) in template.template_from.iter().enumerate() {
        let into = Into::of(from.target.as_deref()).ok_or_else(|| {
            TemplateError::new(Cause::TooMuch("templateFrom has an unknown target"))
        })?;
        let strategy = from.values_decoding_strategy;
        for text in texts_of(index, from, texts, Order::LiteralLast) {
            let Text { place, scope, text } = text?;
            match scope {
                Scope::Value(key) => {
                    let value = run.value(key, text, strategy);
                    let value = value.map_err(|cause| TemplateError::at(place, cause))?;
                    rendered.put(into, key.to_owned(), value);
                }
                Scope::KeysAndValues => {
                    let pairs = run.pairs(&place, text, strategy).and_then(|pairs| {
                        check_keys(into, &pairs)?;
                        Ok(pairs)
                    });
                    for (key, value) in pairs.map_err(|cause| TemplateError::at(place, cause))? {
                        rendered.put(into, key.key, value);
                    }
                }
            }
        }
    }
    let mut put = |place: Place, key: &str, text: &str, into: Into| {
        let value = run.value(key, text.as_bytes(), None);
        let value = value.map_err(|cause| TemplateError::at(place, cause))?;
        rendered.put(into, key.to_owned(), value);
        Ok::<_, TemplateError>(())
    };
    for (key, text) in &template.data {
        put(Place::Data(key.clone()), key, text, Into::Data)?;
    }
    if let Some(metadata) = &template.metadata {
        for (key, text) in &metadata.labels {
            put(Place::Label(key.clone()), key, text, Into::Labels)?;
        }
        for (key, text) in &metadata.annotations {
            put(Place::Annotation(key.clone()), key, text, Into::Annotations)?;
        }
    }
    Ok(rendered)
}

/// Refuses keys that a Secret cannot have.
fn check_keys(into: Into, pairs: &[(RenderedKey, SecretValue)]) -> Result<(), Cause> {
    let bad = pairs
        .iter()
        .find(|(key, _)| into == Into::Data && !is_key(&key.key));
    match bad {
        Some((key, _)) => Err(Cause::BadKey(key.clone())),
        None => Ok(()),
    }
}

/// Whether a Secret can have the key. The API server refuses others in words that show them, and a rendered key may show a value.
fn is_key(key: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=253).contains(&key.len()) && key.bytes().all(legal) && key != "." && !key.starts_with("..")
}

//! The order of `templates.md` 1.2: a pure function of the template, the fetched values and the texts it refers to.

use std::collections::BTreeMap;
use std::fmt;

use latchkey_crds::external_secret::{
    DecodingStrategy, ENGINE_VERSION, ExternalSecret, Target, Template as Manifest, TemplateAs,
    TemplateMergePolicy, TemplateObjectRef, rules,
};
use latchkey_secret::{SecretData, SecretValue};
use latchkey_templating::{Options, Template, yaml};

use super::error::{Cause, Origin, Place, RenderedKey, TemplateError};
use super::objects::{MOST_OBJECTS, ObjectKind, Texts, wanted};
use crate::decode::decode;

/// The most text, in bytes, of all templates of one object, each counted as often as it is rendered.
const MOST_TEXT: usize = 8 << 20;
/// How many times the steps of one template all templates of an object may take together.
const STEPS_OF_ALL: u64 = 20;
/// The same for cryptography.
const CRYPTOGRAPHY_OF_ALL: u32 = 2;
/// Bytes of values and text that count as a step: each render copies the former and reads the latter.
const BYTES_OF_A_STEP: usize = 64;

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

struct Run<'a> {
    fetched: &'a SecretData,
    /// Bytes of them.
    size: usize,
    options: Options,
    /// Bytes of template text that may still be rendered.
    text_left: usize,
    steps_left: u64,
    cryptography_left: u32,
    rendered: Rendered,
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
    template: &Manifest,
    fetched: &SecretData,
    texts: &Texts,
    options: &Options,
) -> Result<Rendered, TemplateError> {
    let mut run = Run {
        fetched,
        size: fetched.values().map(SecretValue::len).sum(),
        options: options.clone(),
        text_left: MOST_TEXT,
        steps_left: options.limits.steps.saturating_mul(STEPS_OF_ALL),
        cryptography_left: options
            .limits
            .cryptography
            .saturating_mul(CRYPTOGRAPHY_OF_ALL),
        rendered: Rendered::default(),
    };
    let makes_data = !template.data.is_empty() || !template.template_from.is_empty();
    if template.merge_policy == Some(TemplateMergePolicy::Merge) || !makes_data {
        run.rendered.data.clone_from(fetched);
    }
    for (index, from) in template.template_from.iter().enumerate() {
        let into = Into::of(from.target.as_deref()).ok_or_else(|| {
            TemplateError::new(Cause::TooMuch("templateFrom has an unknown target"))
        })?;
        let strategy = from.values_decoding_strategy;
        for (kind, reference) in [
            (ObjectKind::ConfigMap, &from.config_map),
            (ObjectKind::Secret, &from.secret),
        ] {
            if let Some(reference) = reference {
                run.object(index, kind, reference, texts, into, strategy)?;
            }
        }
        if let Some(literal) = &from.literal {
            let place = Place::From {
                index,
                origin: Origin::Literal,
            };
            run.keys_and_values(place, index, literal.as_bytes(), into, strategy)?;
        }
    }
    for (key, text) in &template.data {
        run.value(
            Place::Data(key.clone()),
            key,
            text.as_bytes(),
            Into::Data,
            None,
        )?;
    }
    if let Some(metadata) = &template.metadata {
        for (key, text) in &metadata.labels {
            run.value(
                Place::Label(key.clone()),
                key,
                text.as_bytes(),
                Into::Labels,
                None,
            )?;
        }
        for (key, text) in &metadata.annotations {
            let place = Place::Annotation(key.clone());
            run.value(place, key, text.as_bytes(), Into::Annotations, None)?;
        }
    }
    Ok(run.rendered)
}

// === impl Run ===

impl Run<'_> {
    /// Renders the keys of one object.
    fn object(
        &mut self,
        index: usize,
        kind: ObjectKind,
        reference: &TemplateObjectRef,
        texts: &Texts,
        into: Into,
        strategy: Option<DecodingStrategy>,
    ) -> Result<(), TemplateError> {
        let place = |key: &str| Place::From {
            index,
            origin: Origin::Object {
                kind,
                name: reference.name.clone(),
                key: key.to_owned(),
            },
        };
        let data = texts
            .get(kind, &reference.name)
            .map_err(|error| TemplateError::at(place(""), Cause::Object(error)))?;
        for item in &reference.items {
            let place = place(&item.key);
            let Some(text) = data.get(&item.key) else {
                return Err(TemplateError::at(place, Cause::MissingKey));
            };
            match item.template_as.unwrap_or(TemplateAs::Values) {
                TemplateAs::Values => {
                    self.value(place, &item.key, text.expose(), into, strategy)?;
                }
                TemplateAs::KeysAndValues => {
                    self.keys_and_values(place, index, text.expose(), into, strategy)?;
                }
            }
        }
        Ok(())
    }

    /// Renders a text into the value of `key`.
    fn value(
        &mut self,
        place: Place,
        key: &str,
        text: &[u8],
        into: Into,
        strategy: Option<DecodingStrategy>,
    ) -> Result<(), TemplateError> {
        let value = self
            .execute(key, text)
            .and_then(|value| decoded(strategy, key, value, true))
            .map_err(|cause| TemplateError::at(place, cause))?;
        self.put(into, key.to_owned(), value);
        Ok(())
    }

    /// Renders a text into a YAML map of keys and values.
    fn keys_and_values(
        &mut self,
        place: Place,
        index: usize,
        text: &[u8],
        into: Into,
        strategy: Option<DecodingStrategy>,
    ) -> Result<(), TemplateError> {
        // Not the whole text, as upstream has it: errors show the name (D-23).
        let name = format!("templateFrom[{index}]");
        let is_public = !matches!(
            place,
            Place::From {
                origin: Origin::Object {
                    kind: ObjectKind::Secret,
                    ..
                },
                ..
            }
        );
        let pairs = self
            .execute(&name, text)
            .and_then(|rendered| {
                yaml::string_map(rendered.expose(), &self.options.limits).map_err(Cause::NotAMap)
            })
            .and_then(|pairs| {
                let pairs = pairs.into_iter().map(|(key, mut value)| {
                    let value = SecretValue::new(std::mem::take(&mut *value));
                    let is_literal = is_public && contains(text, key.as_bytes());
                    let value = decoded(strategy, &key, value, is_literal)?;
                    if into == Into::Data && !is_key(&key) {
                        return Err(Cause::BadKey(RenderedKey { key, is_literal }));
                    }
                    Ok((key, value))
                });
                pairs.collect::<Result<Vec<_>, _>>()
            })
            .map_err(|cause| TemplateError::at(place, cause))?;
        for (key, value) in pairs {
            self.put(into, key, value);
        }
        Ok(())
    }

    /// Parses and renders one text. What it takes counts against what all may take.
    fn execute(&mut self, name: &str, text: &[u8]) -> Result<SecretValue, Cause> {
        self.text_left = self
            .text_left
            .checked_sub(text.len())
            .ok_or(Cause::TooMuch(
                "the templates are longer than 8 MiB together",
            ))?;
        let template =
            Template::parse_bytes(name, text, &self.options).map_err(|error| Cause::Parse {
                key: name.to_owned(),
                error: Box::new(error),
            })?;
        let own = ((self.size + text.len()) / BYTES_OF_A_STEP) as u64;
        self.steps_left = self.steps_left.saturating_sub(own);
        let mut options = self.options.clone();
        options.limits.steps = options.limits.steps.min(self.steps_left);
        options.limits.cryptography = options.limits.cryptography.min(self.cryptography_left);
        let (output, usage) =
            template
                .render_measured(self.fetched, &options)
                .map_err(|error| Cause::Render {
                    key: name.to_owned(),
                    error: Box::new(error),
                })?;
        self.steps_left = self.steps_left.saturating_sub(usage.steps);
        self.cryptography_left = self.cryptography_left.saturating_sub(usage.cryptography);
        let limit = &mut self.options.limits.output;
        *limit = limit.saturating_sub(output.len() as u64);
        Ok(output)
    }

    fn put(&mut self, into: Into, key: String, value: SecretValue) {
        let text = |value: &SecretValue| String::from_utf8_lossy(value.expose()).into_owned();
        match into {
            Into::Data => {
                self.rendered.data.insert(key, value);
            }
            Into::Labels => {
                self.rendered.labels.insert(key, text(&value));
            }
            Into::Annotations => {
                self.rendered.annotations.insert(key, text(&value));
            }
        }
    }
}

fn decoded(
    strategy: Option<DecodingStrategy>,
    key: &str,
    value: SecretValue,
    is_literal: bool,
) -> Result<SecretValue, Cause> {
    decode(strategy, value).map_err(|cause| Cause::Undecodable {
        key: RenderedKey {
            key: key.to_owned(),
            is_literal,
        },
        cause,
    })
}

/// Whether a Secret can have the key. The API server refuses others in words that show them, and a rendered key may show a value.
fn is_key(key: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=253).contains(&key.len()) && key.bytes().all(legal) && key != "." && !key.starts_with("..")
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

//! The texts of one object, executed one by one under bounds for all of them together.

use latchkey_crds::external_secret::DecodingStrategy;
use latchkey_secret::{SecretData, SecretValue};
use latchkey_templating::{Options, Template, Tree, yaml};

use super::error::{Cause, Place, RenderedKey};
use crate::decode::decode;

/// The most text, in bytes, of all templates of one object, each counted as often as it is rendered.
const MOST_TEXT: usize = 8 << 20;
/// How many times the steps of one template all templates of an object may take together.
const STEPS_OF_ALL: u64 = 20;
/// The same for cryptography.
const CRYPTOGRAPHY_OF_ALL: u32 = 2;
/// Bytes of values and text that count as a step: each render copies the former and reads the latter.
const BYTES_OF_A_STEP: usize = 64;
/// Depth of YAML that becomes part of an object.
const DEEPEST_TREE: u32 = 128;

/// What the texts of an object have used so far.
pub(super) struct Run<'a> {
    fetched: &'a SecretData,
    /// Bytes of them.
    size: usize,
    options: Options,
    /// Bytes of template text that may still be rendered.
    text_left: usize,
    steps_left: u64,
    cryptography_left: u32,
    /// Bytes that values which were read out of YAML may still take: aliases make much of little text.
    read_left: u64,
}

// === impl Run ===

impl<'a> Run<'a> {
    pub(super) fn new(fetched: &'a SecretData, options: &Options) -> Self {
        let limits = &options.limits;
        Self {
            fetched,
            size: fetched.values().map(SecretValue::len).sum(),
            text_left: MOST_TEXT,
            steps_left: limits.steps.saturating_mul(STEPS_OF_ALL),
            cryptography_left: limits.cryptography.saturating_mul(CRYPTOGRAPHY_OF_ALL),
            read_left: limits.memory,
            options: options.clone(),
        }
    }

    /// Renders a text into the value of `key`.
    pub(super) fn value(
        &mut self,
        key: &str,
        text: &[u8],
        strategy: Option<DecodingStrategy>,
    ) -> Result<SecretValue, Cause> {
        self.execute(key, text)
            .and_then(|value| decoded(strategy, key, value, true))
    }

    /// Renders the text of a `templateFrom` entry into a YAML map of keys and values.
    pub(super) fn pairs(
        &mut self,
        place: &Place,
        text: &[u8],
        strategy: Option<DecodingStrategy>,
    ) -> Result<Vec<(RenderedKey, SecretValue)>, Cause> {
        let rendered = self.execute(&name_of(place), text)?;
        let mut limits = self.options.limits;
        limits.memory = limits.memory.min(self.read_left);
        let pairs = yaml::string_map(rendered.expose(), &limits).map_err(Cause::NotAMap)?;
        let is_public = !place.is_secret();
        let mut result = Vec::with_capacity(pairs.len());
        for (key, mut value) in pairs {
            let value = SecretValue::new(std::mem::take(&mut *value));
            self.pay(key.len() + value.len());
            let is_literal = is_public && contains(text, key.as_bytes());
            let value = decoded(strategy, &key, value, is_literal)?;
            result.push((RenderedKey { key, is_literal }, value));
        }
        Ok(result)
    }

    /// Renders the text of a `templateFrom` entry into any YAML.
    pub(super) fn tree(&mut self, place: &Place, text: &[u8]) -> Result<Tree, Cause> {
        let rendered = self.execute(&name_of(place), text)?;
        self.read(&rendered).map_err(Cause::NotYaml)
    }

    /// What a value is as YAML; the text itself if it is none.
    pub(super) fn leaf(&mut self, value: SecretValue) -> Result<Tree, Cause> {
        match self.read(&value) {
            Ok(tree) => Ok(tree),
            Err(error) if error.limit().is_some() => Err(Cause::NotYaml(error)),
            Err(_) => Ok(Tree::text(value)),
        }
    }

    fn read(&mut self, text: &SecretValue) -> Result<Tree, yaml::YamlError> {
        let mut limits = self.options.limits;
        limits.memory = limits.memory.min(self.read_left);
        limits.nesting = limits.nesting.min(DEEPEST_TREE);
        let tree = yaml::tree(text.expose(), &limits)?;
        self.read_left = self.read_left.saturating_sub(tree.weight());
        Ok(tree)
    }

    fn pay(&mut self, bytes: usize) {
        self.read_left = self.read_left.saturating_sub(bytes as u64);
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
}

/// Not the whole text, as upstream has it: errors show the name (D-23).
fn name_of(place: &Place) -> String {
    match place {
        Place::From { index, .. } => format!("templateFrom[{index}]"),
        Place::Data(key) | Place::Label(key) | Place::Annotation(key) => key.clone(),
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

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

//! What a template makes of a target of another kind than Secret (`externalsecret.md` 5.3, 5.4; `templates.md` 1.2): a pure function
//! of the object as it is so far, the fetched values and the texts that the template refers to.

mod path;

use latchkey_crds::external_secret::Template;
use latchkey_secret::{SecretData, SecretValue};
use latchkey_templating::{Options, Tree};

use super::error::{Cause, Place, TemplateError};
use super::objects::Texts;
use super::run::Run;
use super::sources::{Order, Scope, Text, texts_of};
use path::{Path, Room, Step};

/// The target of a `templateFrom` entry that names none.
const DEFAULT_TARGET: &str = "data";

/// Where values of a text go.
enum Into {
    /// One field of the object for each key: `data` or `spec`.
    Field(&'static str),
    /// One label or annotation for each key.
    Metadata(&'static str),
    /// One place, whatever the key.
    Path(Path),
}

/// An object in the making.
struct Making<'a> {
    run: Run<'a>,
    object: Tree,
    room: Room,
}

/// The content of an object without template: the fetched values as strings. They replace `data` of a ConfigMap, and `spec.data` of
/// every other kind.
///
/// # Errors
///
/// `spec` of the object has no fields.
pub fn fill_manifest(
    kind: &str,
    mut object: Tree,
    fetched: &SecretData,
) -> Result<Tree, TemplateError> {
    let values = fetched
        .iter()
        .map(|(key, value)| (key.clone(), Tree::text(value.clone())));
    let values = Tree::Map(values.collect());
    let steps: &[&str] = if kind == "ConfigMap" {
        &["data"]
    } else {
        &["spec", "data"]
    };
    let steps: Vec<Step> = steps.iter().map(|name| Step::key(name)).collect();
    path::set(&mut object, &steps, &mut Room::default(), |place| {
        *place = values;
    })
    .map_err(|text| TemplateError::new(Cause::Path(text)).of_manifest())?;
    Ok(object)
}

/// Renders a template into `object`: `templateFrom` in order, within an entry the literal first, then `data`. Each text is
/// rendered once, and its result goes to the target that the entry names (D-16).
///
/// The bounds are those of [`super::render`]; lists that target paths make have at most 100000 items together.
///
/// # Errors
///
/// The first template that fails, or whose result cannot be put where it belongs.
pub fn render_manifest(
    template: &Template,
    object: Tree,
    fetched: &SecretData,
    texts: &Texts,
    options: &Options,
) -> Result<Tree, TemplateError> {
    let mut making = Making {
        run: Run::new(fetched, options),
        object,
        room: Room::default(),
    };
    making
        .render(template, texts)
        .map_err(TemplateError::of_manifest)?;
    Ok(making.object)
}

// === impl Making ===

impl Making<'_> {
    fn render(&mut self, template: &Template, texts: &Texts) -> Result<(), TemplateError> {
        for (index, from) in template.template_from.iter().enumerate() {
            let target = from.target.as_deref().filter(|target| !target.is_empty());
            let target = target.unwrap_or(DEFAULT_TARGET);
            let strategy = from.values_decoding_strategy;
            for text in texts_of(index, from, texts, Order::LiteralFirst) {
                let Text { place, scope, text } = text?;
                let done = match scope {
                    Scope::Value(key) => self
                        .run
                        .value(key, text, strategy)
                        .and_then(|value| self.put(target, key, value)),
                    Scope::KeysAndValues if is_map_of_strings(target) => {
                        let pairs = self.run.pairs(&place, text, strategy);
                        pairs.and_then(|pairs| {
                            let mut pairs = pairs.into_iter();
                            pairs.try_for_each(|(key, value)| self.put(target, &key.key, value))
                        })
                    }
                    Scope::KeysAndValues => {
                        let tree = self.run.tree(&place, text);
                        tree.and_then(|tree| self.merge(target, tree))
                    }
                };
                done.map_err(|cause| TemplateError::at(place, cause))?;
            }
        }
        for (key, text) in &template.data {
            let value = self.run.value(key, text.as_bytes(), None);
            value
                .and_then(|value| self.put(DEFAULT_TARGET, key, value))
                .map_err(|cause| TemplateError::at(Place::Data(key.clone()), cause))?;
        }
        Ok(())
    }

    /// Puts the value of a key where a target says.
    fn put(&mut self, target: &str, key: &str, value: SecretValue) -> Result<(), Cause> {
        let refused = |text: String| Cause::Path(format!("failed to apply to target: {text}"));
        let into = Into::of(target).map_err(refused)?;
        let (steps, tree) = match into {
            Into::Field(field) => (vec![Step::key(field), Step::key(key)], Tree::text(value)),
            Into::Metadata(field) => (
                vec![Step::key("metadata"), Step::key(field), Step::key(key)],
                Tree::text(value),
            ),
            Into::Path(path) => (path.steps, self.run.leaf(value)?),
        };
        path::set(&mut self.object, &steps, &mut self.room, |place| {
            *place = tree;
        })
        .map_err(|text| refused(failed_to_set(target, &text)))
    }

    /// Puts a tree at a path. A map is merged into a map that is there, one level deep; at a path of one step it replaces it.
    fn merge(&mut self, target: &str, tree: Tree) -> Result<(), Cause> {
        let path = Path::parse(target).map_err(Cause::Path)?;
        let replaces = path.steps.len() == 1;
        path::set(
            &mut self.object,
            &path.steps,
            &mut self.room,
            |place| match (place, tree) {
                (Tree::Map(there), Tree::Map(new)) if !replaces => there.extend(new),
                (place, tree) => *place = tree,
            },
        )
        .map_err(|text| Cause::Path(failed_to_set(target, &text)))
    }
}

// === impl Into ===

impl Into {
    /// What a target means for the value of a key: four words in any case, and else a path whose case counts.
    fn of(target: &str) -> Result<Self, String> {
        let known = [
            Self::Field("data"),
            Self::Field("spec"),
            Self::Metadata("labels"),
            Self::Metadata("annotations"),
        ];
        let known = known.into_iter().find(|known| match known {
            Self::Field(word) | Self::Metadata(word) => target.eq_ignore_ascii_case(word),
            Self::Path(_) => false,
        });
        match known {
            Some(known) => Ok(known),
            None => Path::parse(target).map(Self::Path),
        }
    }
}

/// Whether a YAML map at this target is one of strings.
fn is_map_of_strings(target: &str) -> bool {
    ["data", "labels", "annotations"]
        .iter()
        .any(|word| target.eq_ignore_ascii_case(word))
}

fn failed_to_set(target: &str, text: &str) -> String {
    format!("failed to set path {target}: {text}")
}

#[cfg(test)]
mod tests;

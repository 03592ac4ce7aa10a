//! The texts of a `templateFrom` entry, in the order in which they are rendered.

use latchkey_crds::external_secret::{TemplateAs, TemplateFrom, TemplateObjectRef};

use super::error::{Cause, Origin, Place, TemplateError};
use super::objects::{ObjectKind, Texts};

/// One text that is to be rendered.
pub(super) struct Text<'a> {
    pub(super) place: Place,
    pub(super) scope: Scope<'a>,
    pub(super) text: &'a [u8],
}

/// What a text renders to.
pub(super) enum Scope<'a> {
    /// The value of this key.
    Value(&'a str),
    /// A YAML text.
    KeysAndValues,
}

/// Where the literal of an entry stands among its texts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// For manifests (`externalsecret.md` 5.3).
    LiteralFirst,
    /// For Secrets (`externalsecret.md` 4.2).
    LiteralLast,
}

/// The texts of the entry at `index`. A text that is missing is an error in its place, so that what comes before it is rendered
/// first.
pub(super) fn texts_of<'a>(
    index: usize,
    from: &'a TemplateFrom,
    texts: &'a Texts,
    order: Order,
) -> Vec<Result<Text<'a>, TemplateError>> {
    let literal = from.literal.as_ref().map(|literal| {
        Ok(Text {
            place: Place::From {
                index,
                origin: Origin::Literal,
            },
            scope: Scope::KeysAndValues,
            text: literal.as_bytes(),
        })
    });
    let mut found = Vec::new();
    if order == Order::LiteralFirst {
        found.extend(literal);
        add_objects(index, from, texts, &mut found);
    } else {
        add_objects(index, from, texts, &mut found);
        found.extend(literal);
    }
    found
}

fn add_objects<'a>(
    index: usize,
    from: &'a TemplateFrom,
    texts: &'a Texts,
    found: &mut Vec<Result<Text<'a>, TemplateError>>,
) {
    for (kind, reference) in [
        (ObjectKind::ConfigMap, &from.config_map),
        (ObjectKind::Secret, &from.secret),
    ] {
        if let Some(reference) = reference {
            add_object(index, kind, reference, texts, found);
        }
    }
}

fn add_object<'a>(
    index: usize,
    kind: ObjectKind,
    reference: &'a TemplateObjectRef,
    texts: &'a Texts,
    found: &mut Vec<Result<Text<'a>, TemplateError>>,
) {
    let place = |key: &str| Place::From {
        index,
        origin: Origin::Object {
            kind,
            name: reference.name.clone(),
            key: key.to_owned(),
        },
    };
    let data = match texts.get(kind, &reference.name) {
        Ok(data) => data,
        Err(error) => {
            found.push(Err(TemplateError::at(place(""), Cause::Object(error))));
            return;
        }
    };
    for item in &reference.items {
        let place = place(&item.key);
        found.push(match data.get(&item.key) {
            None => Err(TemplateError::at(place, Cause::MissingKey)),
            Some(text) => Ok(Text {
                place,
                scope: match item.template_as.unwrap_or(TemplateAs::Values) {
                    TemplateAs::Values => Scope::Value(&item.key),
                    TemplateAs::KeysAndValues => Scope::KeysAndValues,
                },
                text: text.expose(),
            }),
        });
    }
}

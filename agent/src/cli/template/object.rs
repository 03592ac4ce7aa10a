//! The template of an ExternalSecret, ClusterExternalSecret or PushSecret becomes the Secret, or other object, that it makes.

use std::collections::BTreeSet;

use futures::FutureExt as _;
use kube::Resource as _;
use latchkey_crds::external_secret::{ExternalSecret, Target, Template};
use latchkey_engine::template::{
    Origin, Place, Rendered, TemplateError, TemplateObjects, Texts, check, fill_manifest,
    render as render_template, render_manifest,
};
use latchkey_engine::tree::Tree;
use latchkey_secret::SecretData;
use latchkey_templating::Options;
use serde_json::{Map, Value, json};

use super::inputs::Inputs;
use super::output::{self, Object};
use super::{Failure, Report};

/// What a manifest says about its Secret.
struct Subject {
    name: String,
    namespace: Option<String>,
    target: Target,
    /// Delivered if there is no template.
    untemplated: Box<dyn Fn(SecretData) -> Rendered>,
    /// The object before its template, if it is of another kind than Secret.
    base: Option<Tree>,
    /// Whether values stay where no template hides them: a PushSecret's source is a Secret that exists.
    keeps_values: bool,
}

/// Renders the manifest that was read.
pub(super) fn render(inputs: &Inputs, options: &Options) -> Result<output::Rendered, Failure> {
    let manifest = inputs
        .manifest
        .as_ref()
        .ok_or_else(|| Failure::usage("nothing to render"))?;
    let subject = Subject::read(manifest).map_err(Failure::data)?;
    let Some(template) = &subject.target.template else {
        let values = inputs.values(&BTreeSet::new());
        if let Some(base) = subject.base {
            let manifest = subject.target.manifest.unwrap_or_default();
            let filled = fill_manifest(&manifest.kind, base, &values)
                .map_err(|error| Report::new(error.full_text()))?;
            return Ok(output::Rendered::Manifest(filled));
        }
        let rendered = (subject.untemplated)(values);
        return Ok(output::Rendered::Object(subject.object(rendered)));
    };
    check(&subject.target).map_err(|error| Report::new(error.full_text()))?;
    let named = template
        .template_from
        .iter()
        .filter_map(|from| from.secret.as_ref())
        .map(|reference| reference.name.as_str())
        .collect();
    let values = inputs.values(&named);
    let namespace = subject.namespace.as_deref().unwrap_or_default();
    // Files never keep anybody waiting.
    let texts = Texts::read(template, namespace, &inputs.objects)
        .now_or_never()
        .unwrap_or_default();
    if let Some(base) = subject.base {
        let rendered = render_manifest(template, base, &values, &texts, options)
            .map_err(|error| report(&error, template, inputs))?;
        return Ok(output::Rendered::Manifest(rendered));
    }
    let mut rendered = render_template(template, &values, &texts, options)
        .map_err(|error| report(&error, template, inputs))?;
    if subject.keeps_values {
        let mut data = values;
        data.append(&mut rendered.data);
        rendered.data = data;
    }
    Ok(output::Rendered::Object(subject.object(rendered)))
}

/// The object that a manifest names, with the metadata that it gets, before anything is rendered (`externalsecret.md` 5.3).
fn base(object: &ExternalSecret) -> Option<Tree> {
    let target = &object.spec.target;
    let manifest = target.manifest.as_ref()?;
    let (labels, annotations) = match &target.template {
        None => (
            json!(object.meta().labels.clone().unwrap_or_default()),
            json!(object.meta().annotations.clone().unwrap_or_default()),
        ),
        Some(template) => {
            let metadata = template.metadata.clone().unwrap_or_default();
            (json!(metadata.labels), json!(metadata.annotations))
        }
    };
    let mut metadata = json!({ "name": object.target_name() });
    if let Some(namespace) = &object.meta().namespace {
        metadata["namespace"] = json!(namespace);
    }
    for (field, map) in [("labels", labels), ("annotations", annotations)] {
        if map.as_object().is_some_and(|map| !map.is_empty()) {
            metadata[field] = map;
        }
    }
    let field = match manifest.kind.as_str() {
        "ConfigMap" | "Secret" => "data",
        _ => "spec",
    };
    Some(Tree::from_json(json!({
        "apiVersion": manifest.api_version, "kind": manifest.kind, "metadata": metadata, field: {},
    })))
}

// === impl Subject ===

impl Subject {
    fn read(manifest: &Value) -> Result<Self, String> {
        let kind = manifest["kind"].as_str().unwrap_or_default();
        if kind == "PushSecret" {
            return Self::of_push_secret(manifest);
        }
        let mut manifest = manifest.clone();
        if kind == "ClusterExternalSecret" {
            manifest["spec"] = manifest["spec"]["externalSecretSpec"].take();
        }
        let object: ExternalSecret = serde_json::from_value(manifest)
            .map_err(|error| format!("the {kind} cannot be read: {error}"))?;
        Ok(Self {
            base: base(&object),
            name: object.target_name().to_owned(),
            namespace: object.meta().namespace.clone(),
            target: object.spec.target.clone(),
            untemplated: Box::new(move |data| Rendered::untemplated(&object, data)),
            keeps_values: false,
        })
    }

    fn of_push_secret(manifest: &Value) -> Result<Self, String> {
        let template: Option<Template> =
            serde_json::from_value(manifest["spec"]["template"].clone()).map_err(|error| {
                format!("spec.template of the PushSecret cannot be read: {error}")
            })?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Ok(Self {
            name: text(&manifest["spec"]["selector"]["secret"]["name"])
                .or_else(|| text(&manifest["metadata"]["name"]))
                .unwrap_or_default(),
            namespace: text(&manifest["metadata"]["namespace"]),
            target: Target {
                template,
                ..Target::default()
            },
            base: None,
            untemplated: Box::new(|data| Rendered {
                data,
                ..Rendered::default()
            }),
            keeps_values: true,
        })
    }

    /// The manifest of the Secret, without the marks that the agent puts on one.
    fn object(&self, rendered: Rendered) -> Object {
        let mut metadata = Map::new();
        metadata.insert("name".to_owned(), json!(self.name));
        if let Some(namespace) = &self.namespace {
            metadata.insert("namespace".to_owned(), json!(namespace));
        }
        for (name, map) in [
            ("labels", rendered.labels),
            ("annotations", rendered.annotations),
        ] {
            if !map.is_empty() {
                metadata.insert(name.to_owned(), json!(map));
            }
        }
        let template = self.target.template.as_ref();
        let finalizers = template
            .and_then(|template| template.metadata.as_ref())
            .map(|metadata| metadata.finalizers.as_slice())
            .unwrap_or_default();
        if !finalizers.is_empty() {
            metadata.insert("finalizers".to_owned(), json!(finalizers));
        }
        Object {
            metadata,
            type_: template.and_then(|template| template.type_.clone()),
            immutable: self.target.immutable == Some(true),
            data: rendered.data,
        }
    }
}

/// A failed template, with its line.
fn report(error: &TemplateError, template: &Template, inputs: &Inputs) -> Report {
    let report = Report::new(error.full_text());
    let (Some(place), Some(position)) = (error.place(), error.position()) else {
        return report;
    };
    let metadata = template.metadata.as_ref();
    let (name, text) = match place {
        Place::Data(key) => (
            format!("template.data[{key}]"),
            template.data.get(key).map(|text| text.clone().into_bytes()),
        ),
        Place::Label(key) => (
            format!("template.metadata.labels[{key}]"),
            metadata
                .and_then(|metadata| metadata.labels.get(key))
                .map(|text| text.clone().into_bytes()),
        ),
        Place::Annotation(key) => (
            format!("template.metadata.annotations[{key}]"),
            metadata
                .and_then(|metadata| metadata.annotations.get(key))
                .map(|text| text.clone().into_bytes()),
        ),
        Place::From {
            index,
            origin: Origin::Literal,
        } => (
            format!("template.templateFrom[{index}].literal"),
            template
                .template_from
                .get(*index)
                .and_then(|from| from.literal.clone())
                .map(String::into_bytes),
        ),
        Place::From {
            index,
            origin: Origin::Object { kind, name, key },
        } => {
            let keys = BTreeSet::from([key.as_str()]);
            let text = inputs
                .objects
                .read("", *kind, name, &keys)
                .now_or_never()
                .and_then(Result::ok)
                .and_then(|data| data.get(key).map(|text| text.expose().to_vec()));
            (
                format!("template.templateFrom[{index}], {kind:?} {name}, key {key}"),
                text,
            )
        }
    };
    match text {
        Some(text) => report.at(&name, &text, position),
        None => report,
    }
}

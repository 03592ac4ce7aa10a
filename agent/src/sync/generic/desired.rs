//! What a target of another kind looks like before and after its template (`externalsecret.md` 2.8.1, 5.3, 5.6): pure functions of the
//! object, the target as it is, and what was rendered.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use latchkey_crds::external_secret::{
    CreationPolicy, ExternalSecret, Target, Template, TemplateMetadata, rules,
};
use latchkey_engine::tree::Tree;

use super::super::mutate::{OwnedByOther, settle};
use super::super::names;
use super::live::{Live, NoContent};
use super::{Gvk, TargetId};

/// Why an object may not be written as it was rendered. The texts show nothing that was rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotSettled {
    /// Somebody else controls the target.
    #[error(transparent)]
    Owned(#[from] OwnedByOther),
    /// It would yield a token of a service account, or of the cluster.
    #[error("{0}")]
    Privileged(String),
    /// The template gave it another kind.
    #[error("rendered target GVK differs from declared target GVK \"{0}\"")]
    OtherKind(Gvk),
    /// The template gave it another name or namespace.
    #[error("rendered target has another name or namespace than {0}")]
    Renamed(String),
    /// The template made of its metadata what is none.
    #[error("rendered target has metadata that no object can have")]
    BadMetadata,
    /// The template left nothing to take a digest of.
    #[error("failed to hash target \"{name}\" content: {cause}")]
    NoContent {
        /// Of the target.
        name: String,
        /// What is missing.
        cause: NoContent,
    },
}

/// The whole object that the values are rendered into: the target as it is where the creation policy merges, and else a new one. It
/// carries the labels and annotations of the ExternalSecret or, as they stand there, of the template.
pub(super) fn base(object: &ExternalSecret, existing: Option<&Live>) -> Tree {
    let target = TargetId::of(object);
    let gvk = target.as_ref().map(|target| &target.gvk);
    let kind = gvk.map_or("", |gvk| gvk.kind.as_str());
    let merges = matches!(
        object.spec.target.creation_policy(),
        CreationPolicy::Merge | CreationPolicy::CreateOrMerge
    );
    let (mut metadata, content) = match existing.filter(|_| merges) {
        Some(live) => (live.metadata.clone(), live.content.clone()),
        None => (blank(object), blank_content(kind)),
    };
    metadata.managed_fields = None;
    let (labels, annotations) = metadata_source(object);
    let all = metadata.labels.get_or_insert_default();
    all.extend(labels);
    all.insert(names::MANAGED_LABEL.to_owned(), "true".to_owned());
    let all = metadata.annotations.get_or_insert_default();
    all.extend(annotations);

    let mut root = match content {
        Tree::Map(fields) => fields,
        _ => Default::default(),
    };
    let text = |text: &str| Tree::from_json(text.into());
    let api_version = gvk.map(Gvk::api_version).unwrap_or_default();
    root.insert("apiVersion".to_owned(), text(&api_version));
    root.insert("kind".to_owned(), text(kind));
    let metadata = serde_json::to_value(&metadata).unwrap_or_default();
    root.insert("metadata".to_owned(), Tree::from_json(metadata));
    Tree::Map(root)
}

fn blank(object: &ExternalSecret) -> ObjectMeta {
    ObjectMeta {
        name: Some(object.target_name().to_owned()),
        namespace: object.metadata.namespace.clone(),
        ..ObjectMeta::default()
    }
}

fn blank_content(kind: &str) -> Tree {
    let field = match kind {
        "ConfigMap" | "Secret" => "data",
        _ => "spec",
    };
    Tree::Map([(field.to_owned(), Tree::map())].into())
}

type Pairs = std::collections::BTreeMap<String, String>;

fn metadata_source(object: &ExternalSecret) -> (Pairs, Pairs) {
    let Some(template) = &object.spec.target.template else {
        let of = |map: &Option<Pairs>| map.clone().unwrap_or_default();
        return (
            of(&object.metadata.labels),
            of(&object.metadata.annotations),
        );
    };
    let metadata = template.metadata.clone().unwrap_or_default();
    (metadata.labels, metadata.annotations)
}

/// The object that is to be written: what was rendered, with our marks, and with the owner that the creation policy wants. The target
/// as it is decides whether it may be written (D-11); of a target that is replaced nothing but its identity is kept.
pub(super) fn finish(
    object: &ExternalSecret,
    existing: Option<&Live>,
    rendered: Tree,
) -> Result<Live, NotSettled> {
    if let Some(live) = existing {
        settle(object, &mut live.metadata.clone())?;
    }
    let mut desired = apart(object, rendered)?;
    let metadata = &mut desired.metadata;
    identify(object, existing, metadata)?;
    let labels = metadata.labels.get_or_insert_default();
    labels.insert(names::MANAGED_LABEL.to_owned(), "true".to_owned());
    let hash = desired
        .content_hash()
        .map_err(|cause| NotSettled::NoContent {
            name: object.target_name().to_owned(),
            cause,
        })?;
    let metadata = &mut desired.metadata;
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(names::DATA_HASH_ANNOTATION.to_owned(), hash);
    settle(object, metadata)?;
    check_privileges(object, &desired)?;
    Ok(desired)
}

/// Takes a rendered object apart, which must be of the kind that was declared.
fn apart(object: &ExternalSecret, rendered: Tree) -> Result<Live, NotSettled> {
    let Tree::Map(mut fields) = rendered else {
        return Err(NotSettled::BadMetadata);
    };
    let text = |field: Option<Tree>| match field {
        Some(Tree::Text(value)) => String::from_utf8(value.expose().to_vec()).unwrap_or_default(),
        _ => String::new(),
    };
    let api_version = text(fields.remove("apiVersion"));
    let kind = text(fields.remove("kind"));
    if let Some(TargetId { gvk, .. }) = TargetId::of(object)
        && (gvk.api_version() != api_version || gvk.kind != kind)
    {
        return Err(NotSettled::OtherKind(gvk));
    }
    let metadata = fields.remove("metadata").unwrap_or(Tree::Null);
    // The error of the decoder may quote what it reads.
    let metadata: Option<ObjectMeta> =
        serde_json::from_value(metadata.to_json()).map_err(|_| NotSettled::BadMetadata)?;
    Ok(Live {
        metadata: metadata.unwrap_or_default(),
        content: Tree::Map(fields),
    })
}

/// Makes sure that the object is the target and none but the one that was read.
fn identify(
    object: &ExternalSecret,
    existing: Option<&Live>,
    metadata: &mut ObjectMeta,
) -> Result<(), NotSettled> {
    let wanted = blank(object);
    let name = metadata
        .name
        .get_or_insert_with(|| object.target_name().to_owned());
    let is_same = Some(&*name) == wanted.name.as_ref();
    metadata.namespace = metadata
        .namespace
        .take()
        .or_else(|| wanted.namespace.clone());
    if !is_same || metadata.namespace != wanted.namespace {
        let (namespace, name) = (wanted.namespace.unwrap_or_default(), object.target_name());
        return Err(NotSettled::Renamed(format!("{namespace}/{name}")));
    }
    metadata.generate_name = None;
    metadata.managed_fields = None;
    metadata.uid = existing.and_then(|live| live.metadata.uid.clone());
    metadata.resource_version = existing.and_then(|live| live.metadata.resource_version.clone());
    Ok(())
}

/// What a template may not make of a Secret, it may not make of a manifest that is one (1.4 rule 4).
fn check_privileges(object: &ExternalSecret, desired: &Live) -> Result<(), NotSettled> {
    let target = &object.spec.target;
    if !target.is_secret() {
        return Ok(());
    }
    let type_ = match desired.content.get("type") {
        Some(Tree::Text(value)) => String::from_utf8(value.expose().to_vec()).ok(),
        _ => None,
    };
    let final_ = Target {
        manifest: target.manifest.clone(),
        template: Some(Template {
            type_,
            metadata: Some(TemplateMetadata {
                annotations: desired.metadata.annotations.clone().unwrap_or_default(),
                ..TemplateMetadata::default()
            }),
            ..Template::default()
        }),
        ..Target::default()
    };
    let mut broken = Vec::new();
    rules::template_violations(&final_, &mut broken);
    if broken.is_empty() {
        Ok(())
    } else {
        Err(NotSettled::Privileged(broken.join("\n")))
    }
}

#[cfg(test)]
mod tests;

//! What a target looks like after a sync (`externalsecret.md` 2.7, 2.8, 2.11): a pure function of the object, the target as it is,
//! and the data.

mod changes;
mod fields;
mod ownership;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use latchkey_crds::external_secret::{CreationPolicy, ExternalSecret, Template};
use latchkey_engine::hash;
use latchkey_engine::template::Rendered;
use latchkey_secret::SecretData;

pub(super) use changes::KeyChanges;
pub(super) use ownership::{
    OwnedByOther, is_controlled_by, is_controlled_by_other, is_ours_to_delete, settle,
};

use super::names;
use super::target::TargetSecret;
use fields::OwnedKeys;

/// Whether the target's content is left as it is, so that nothing needs to be rendered (2.11).
pub(super) fn keeps_content(object: &ExternalSecret, existing: Option<&TargetSecret>) -> bool {
    existing.is_some() && object.spec.target.immutable == Some(true)
}

/// The target with what was rendered in it, or with the content that it has. Foreign labels, annotations, owner references and
/// finalizers are kept; foreign data only where the creation policy merges.
pub(super) fn desired(
    object: &ExternalSecret,
    existing: Option<&TargetSecret>,
    rendered: Option<Rendered>,
) -> Result<TargetSecret, OwnedByOther> {
    let mut target = existing.cloned().unwrap_or_else(|| blank(object));
    if object.spec.target.immutable == Some(true) {
        target.immutable = Some(true);
    }
    if let Some(rendered) = rendered {
        fill(object, &mut target, rendered);
    }
    settle(object, &mut target.metadata)?;
    let labels = target.metadata.labels.get_or_insert_default();
    labels.insert(names::MANAGED_LABEL.to_owned(), "true".to_owned());
    let annotations = target.metadata.annotations.get_or_insert_default();
    annotations.insert(
        names::DATA_HASH_ANNOTATION.to_owned(),
        hash::of_secret_data(&target.data),
    );
    Ok(target)
}

fn blank(object: &ExternalSecret) -> TargetSecret {
    TargetSecret {
        metadata: ObjectMeta {
            name: Some(object.target_name().to_owned()),
            namespace: object.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        type_: None,
        immutable: None,
        data: SecretData::new(),
    }
}

/// Replaces what is ours by what was rendered.
fn fill(object: &ExternalSecret, target: &mut TargetSecret, rendered: Rendered) {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let ours = OwnedKeys::of(&target.metadata, &names::field_manager(name));
    let labels = target.metadata.labels.get_or_insert_default();
    labels.retain(|key, _| !ours.labels.contains(key));
    labels.extend(rendered.labels);
    let annotations = target.metadata.annotations.get_or_insert_default();
    annotations.retain(|key, _| !ours.annotations.contains(key));
    annotations.extend(rendered.annotations);
    if let Some(template) = &object.spec.target.template {
        if let Some(type_) = template.type_.as_ref().filter(|type_| !type_.is_empty()) {
            target.type_ = Some(type_.clone());
        }
        add_finalizers(template, &mut target.metadata);
    }
    match object.spec.target.creation_policy() {
        CreationPolicy::Merge | CreationPolicy::CreateOrMerge => {
            target.data.retain(|key, _| !ours.data.contains(key));
            target.data.extend(rendered.data);
        }
        CreationPolicy::Owner | CreationPolicy::Orphan | CreationPolicy::None => {
            target.data = rendered.data;
        }
    }
}

/// Adds those that are missing. They are never removed again, and not added to a target that is on its way out.
fn add_finalizers(template: &Template, metadata: &mut ObjectMeta) {
    let wanted = template
        .metadata
        .as_ref()
        .map(|metadata| metadata.finalizers.as_slice())
        .unwrap_or_default();
    if wanted.is_empty() || metadata.deletion_timestamp.is_some() {
        return;
    }
    let present = metadata.finalizers.get_or_insert_default();
    for finalizer in wanted {
        if !present.contains(finalizer) {
            present.push(finalizer.clone());
        }
    }
}

/// Whether two targets are the same to a user: everything that a write could change.
pub(super) fn same(left: &TargetSecret, right: &TargetSecret) -> bool {
    let maps = |map: &Option<BTreeMap<String, String>>| map.clone().unwrap_or_default();
    let owners = |metadata: &ObjectMeta| metadata.owner_references.clone().unwrap_or_default();
    let finalizers = |metadata: &ObjectMeta| metadata.finalizers.clone().unwrap_or_default();
    left.data == right.data
        && left.type_ == right.type_
        && left.immutable.unwrap_or_default() == right.immutable.unwrap_or_default()
        && finalizers(&left.metadata) == finalizers(&right.metadata)
        && maps(&left.metadata.labels) == maps(&right.metadata.labels)
        && maps(&left.metadata.annotations) == maps(&right.metadata.annotations)
        && owners(&left.metadata) == owners(&right.metadata)
}

#[cfg(test)]
mod tests;

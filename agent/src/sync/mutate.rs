//! What a target looks like after a sync (`externalsecret.md` 2.7, 2.8.1): a pure function of the object, the target as it is, and
//! the data.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use latchkey_crds::external_secret::{ExternalSecret, Template};
use latchkey_engine::hash;
use latchkey_engine::template::Rendered;
use latchkey_secret::SecretData;

use super::names;
use super::target::TargetSecret;

/// Somebody else controls the target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OwnedByOther {
    #[error("secret is owned by another ExternalSecret: {0}")]
    ExternalSecret(String),
    #[error(
        "could not set controller reference on secret: Object {namespace}/{secret} is already owned by another {kind} controller {owner}"
    )]
    Controller {
        namespace: String,
        secret: String,
        kind: String,
        owner: String,
    },
}

/// The target of a `creationPolicy: Owner` object with what was rendered in it. Foreign labels, annotations, owner references and
/// finalizers are kept; foreign data is not.
pub(super) fn desired(
    object: &ExternalSecret,
    existing: Option<&TargetSecret>,
    rendered: Rendered,
) -> Result<TargetSecret, OwnedByOther> {
    let Rendered {
        data,
        labels: own_labels,
        annotations: own_annotations,
    } = rendered;
    let mut target = existing.cloned().unwrap_or_else(|| TargetSecret {
        metadata: ObjectMeta {
            name: Some(object.target_name().to_owned()),
            namespace: object.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        type_: None,
        immutable: None,
        data: SecretData::new(),
    });
    let (namespace, name) = identity(object);
    let ours = OwnedKeys::of(&target.metadata, &names::field_manager(name));
    let labels = target.metadata.labels.get_or_insert_default();
    labels.retain(|key, _| !ours.labels.contains(key));
    labels.extend(own_labels);
    let annotations = target.metadata.annotations.get_or_insert_default();
    annotations.retain(|key, _| !ours.annotations.contains(key));
    annotations.extend(own_annotations);
    if let Some(template) = &object.spec.target.template {
        if let Some(type_) = template.type_.as_ref().filter(|type_| !type_.is_empty()) {
            target.type_ = Some(type_.clone());
        }
        add_finalizers(template, &mut target.metadata);
    }

    take_ownership(object, &mut target.metadata)?;
    let labels = target.metadata.labels.get_or_insert_default();
    labels.insert(
        names::OWNER_LABEL.to_owned(),
        names::owner_label_value(namespace, name),
    );
    labels.insert(names::MANAGED_LABEL.to_owned(), "true".to_owned());
    let annotations = target.metadata.annotations.get_or_insert_default();
    annotations.insert(
        names::DATA_HASH_ANNOTATION.to_owned(),
        hash::of_secret_data(&data),
    );
    target.data = data;
    Ok(target)
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

/// Whether `owners` name the object as their controller: the one thing that a forged label cannot say (D-21).
pub(super) fn is_controlled_by(metadata: &ObjectMeta, object: &ExternalSecret) -> bool {
    controller(metadata).is_some_and(|owner| {
        is_external_secret(owner)
            && Some(&owner.name) == object.metadata.name.as_ref()
            && Some(&owner.uid) == object.metadata.uid.as_ref()
    })
}

/// Makes the object the controller of its target, unless it has another one. UIDs are not compared: an object that was recreated
/// takes over what its predecessor of that name owned.
fn take_ownership(object: &ExternalSecret, metadata: &mut ObjectMeta) -> Result<(), OwnedByOther> {
    let (namespace, name) = identity(object);
    if let Some(owner) = controller(metadata) {
        if is_external_secret(owner) && owner.name != name {
            return Err(OwnedByOther::ExternalSecret(owner.name.clone()));
        }
        if !is_external_secret(owner) {
            return Err(OwnedByOther::Controller {
                namespace: namespace.to_owned(),
                secret: object.target_name().to_owned(),
                kind: owner.kind.clone(),
                owner: owner.name.clone(),
            });
        }
    }
    let reference = OwnerReference {
        api_version: format!("{}/v1", names::GROUP),
        kind: names::KIND.to_owned(),
        name: name.to_owned(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    let owners = metadata.owner_references.get_or_insert_default();
    match owners
        .iter_mut()
        .find(|owner| is_external_secret(owner) && owner.name == name)
    {
        Some(owner) => *owner = reference,
        None => owners.push(reference),
    }
    Ok(())
}

fn identity(object: &ExternalSecret) -> (&str, &str) {
    let metadata = &object.metadata;
    (
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
}

/// Group and kind; the version may differ.
fn is_external_secret(owner: &OwnerReference) -> bool {
    owner.kind == names::KIND
        && owner
            .api_version
            .split_once('/')
            .is_some_and(|(group, _)| group == names::GROUP)
}

/// Labels and annotations that a field manager set, by `metadata.managedFields`.
#[derive(Debug, Default, PartialEq, Eq)]
struct OwnedKeys {
    labels: BTreeSet<String>,
    annotations: BTreeSet<String>,
}

// === impl OwnedKeys ===

impl OwnedKeys {
    fn of(metadata: &ObjectMeta, manager: &str) -> Self {
        let mut owned = Self::default();
        for entry in metadata.managed_fields.iter().flatten() {
            if entry.manager.as_deref() != Some(manager) {
                continue;
            }
            let Some(fields) = &entry.fields_v1 else {
                continue;
            };
            for (pointer, keys) in [
                ("/f:metadata/f:labels", &mut owned.labels),
                ("/f:metadata/f:annotations", &mut owned.annotations),
            ] {
                let members = fields
                    .0
                    .pointer(pointer)
                    .and_then(serde_json::Value::as_object);
                keys.extend(
                    members
                        .into_iter()
                        .flatten()
                        .filter_map(|(key, _)| key.strip_prefix("f:").map(str::to_owned)),
                );
            }
        }
        owned
    }
}

/// Whether two targets are the same to a user: everything that a write could change.
pub(super) fn same(left: &TargetSecret, right: &TargetSecret) -> bool {
    let maps = |map: &Option<BTreeMap<String, String>>| map.clone().unwrap_or_default();
    let owners = |metadata: &ObjectMeta| metadata.owner_references.clone().unwrap_or_default();
    let finalizers = |metadata: &ObjectMeta| metadata.finalizers.clone().unwrap_or_default();
    left.data == right.data
        && left.type_ == right.type_
        && finalizers(&left.metadata) == finalizers(&right.metadata)
        && maps(&left.metadata.labels) == maps(&right.metadata.labels)
        && maps(&left.metadata.annotations) == maps(&right.metadata.annotations)
        && owners(&left.metadata) == owners(&right.metadata)
}

#[cfg(test)]
mod tests;

//! Whose a target is (`externalsecret.md` 2.8.1, D-20, D-21).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use latchkey_crds::external_secret::{CreationPolicy, ExternalSecret};

use super::super::names;
use super::fields::OwnedKeys;

/// Somebody else controls the target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum OwnedByOther {
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

/// Whether the object is the controller of what has this metadata: the one thing that a forged label cannot say (D-21).
pub(in super::super) fn is_controlled_by(metadata: &ObjectMeta, object: &ExternalSecret) -> bool {
    controller(metadata).is_some_and(|owner| {
        is_named(owner, object) && Some(&owner.uid) == object.metadata.uid.as_ref()
    })
}

/// Whether anything else is the controller of what has this metadata. UIDs are not compared.
pub(in super::super) fn is_controlled_by_other(
    metadata: &ObjectMeta,
    object: &ExternalSecret,
) -> bool {
    controller(metadata).is_some_and(|owner| !is_named(owner, object))
}

/// Whether the object may delete a target of its: it controls it, or has written it and nobody else controls it (D-20). Having put
/// our label on a Secret is not writing it.
pub(in super::super) fn is_ours_to_delete(object: &ExternalSecret, metadata: &ObjectMeta) -> bool {
    if is_controlled_by(metadata, object) {
        return true;
    }
    let (_, name) = identity(object);
    let ours = OwnedKeys::of(metadata, &names::field_manager(name));
    let has_written =
        !ours.data.is_empty() || ours.annotations.contains(names::DATA_HASH_ANNOTATION);
    has_written && controller(metadata).is_none_or(|owner| is_named(owner, object))
}

/// Makes the object the controller of its target, or stops it from being that, as its creation policy says. UIDs are not compared:
/// an object that was recreated takes over what its predecessor of that name owned.
pub(in super::super) fn settle(
    object: &ExternalSecret,
    metadata: &mut ObjectMeta,
) -> Result<(), OwnedByOther> {
    if let Some(owner) = controller(metadata)
        && is_external_secret(owner)
        && !is_named(owner, object)
    {
        return Err(OwnedByOther::ExternalSecret(owner.name.clone()));
    }
    if object.spec.target.creation_policy() == CreationPolicy::Owner {
        take(object, metadata)
    } else {
        release(object, metadata);
        Ok(())
    }
}

fn take(object: &ExternalSecret, metadata: &mut ObjectMeta) -> Result<(), OwnedByOther> {
    let (namespace, name) = identity(object);
    if let Some(owner) = controller(metadata)
        && !is_external_secret(owner)
    {
        return Err(OwnedByOther::Controller {
            namespace: namespace.to_owned(),
            secret: object.target_name().to_owned(),
            kind: owner.kind.clone(),
            owner: owner.name.clone(),
        });
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
    match owners.iter_mut().find(|owner| is_named(owner, object)) {
        Some(owner) => *owner = reference,
        None => owners.push(reference),
    }
    let labels = metadata.labels.get_or_insert_default();
    labels.insert(
        names::OWNER_LABEL.to_owned(),
        names::owner_label_value(namespace, name),
    );
    Ok(())
}

fn release(object: &ExternalSecret, metadata: &mut ObjectMeta) {
    if let Some(owners) = &mut metadata.owner_references {
        owners.retain(|owner| !(owner.controller == Some(true) && is_named(owner, object)));
    }
    if let Some(labels) = &mut metadata.labels {
        labels.remove(names::OWNER_LABEL);
    }
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

/// Whether a reference names the object, whatever UID it gives.
fn is_named(owner: &OwnerReference, object: &ExternalSecret) -> bool {
    is_external_secret(owner) && Some(&owner.name) == object.metadata.name.as_ref()
}

/// Group and kind; the version may differ.
fn is_external_secret(owner: &OwnerReference) -> bool {
    owner.kind == names::KIND
        && owner
            .api_version
            .split_once('/')
            .is_some_and(|(group, _)| group == names::GROUP)
}

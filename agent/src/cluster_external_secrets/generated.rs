//! The ExternalSecret that a ClusterExternalSecret makes (`externalsecret.md` 6.3). Pure.
//!
//! It is handled as plain JSON: the embedded spec goes through as it was written.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use kube::core::{ObjectMeta, TypeMeta};
use latchkey_crds::cluster_external_secret::ClusterExternalSecret;
use serde_json::{Value, json};

use super::{FORCE_SYNC, GROUP, KIND, plan};

const API_VERSION: &str = "external-secrets.io/v1";
const EXTERNAL_SECRET: &str = "ExternalSecret";

/// What an ExternalSecret shall be, in whatever namespace.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Desired {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    spec: Value,
    pub(super) owner: OwnerReference,
}

/// What to do about the ExternalSecret of a namespace.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decision {
    /// There is none.
    Create(Box<DynamicObject>),
    /// It differs.
    Update(Box<DynamicObject>),
    /// It is as wanted.
    Keep,
    /// One of this name exists that somebody else made.
    Foreign,
}

// === impl Desired ===

impl Desired {
    /// What `set` asks for.
    pub(super) fn of(set: &ClusterExternalSecret) -> Self {
        let metadata = set
            .spec
            .external_secret_metadata
            .clone()
            .unwrap_or_default();
        let mut annotations = metadata.annotations;
        let own = set.metadata.annotations.as_ref();
        match own.and_then(|own| own.get(FORCE_SYNC)) {
            Some(value) => annotations.insert(FORCE_SYNC.to_owned(), value.clone()),
            None => annotations.remove(FORCE_SYNC),
        };
        Self {
            name: set.external_secret_name().to_owned(),
            labels: metadata.labels,
            annotations,
            spec: set.spec.external_secret_spec.clone(),
            owner: OwnerReference {
                api_version: API_VERSION.to_owned(),
                kind: KIND.to_owned(),
                name: plan::name(set).to_owned(),
                uid: set.metadata.uid.clone().unwrap_or_default(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            },
        }
    }

    /// What to do where `existing` is found.
    pub(super) fn decide(&self, namespace: &str, existing: Option<DynamicObject>) -> Decision {
        let Some(mut object) = existing else {
            return Decision::Create(Box::new(self.create(namespace)));
        };
        let references = object.metadata.owner_references.clone().unwrap_or_default();
        if plan::controller(&references) != Some(self.owner.name.as_str()) {
            return Decision::Foreign;
        }
        let mut owners = references.clone();
        for reference in owners
            .iter_mut()
            .filter(|found| is_same(found, &self.owner))
        {
            *reference = self.owner.clone();
        }
        let is_as_wanted = owners == references
            && object.metadata.labels.clone().unwrap_or_default() == self.labels
            && object.metadata.annotations.clone().unwrap_or_default() == self.annotations
            && object.data.get("spec") == Some(&self.spec);
        if is_as_wanted {
            return Decision::Keep;
        }
        object.metadata.owner_references = Some(owners);
        object.metadata.labels = Some(self.labels.clone());
        object.metadata.annotations = Some(self.annotations.clone());
        object.data["spec"] = self.spec.clone();
        Decision::Update(Box::new(object))
    }

    fn create(&self, namespace: &str) -> DynamicObject {
        DynamicObject {
            types: Some(TypeMeta {
                api_version: API_VERSION.to_owned(),
                kind: EXTERNAL_SECRET.to_owned(),
            }),
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(namespace.to_owned()),
                labels: Some(self.labels.clone()),
                annotations: Some(self.annotations.clone()),
                owner_references: Some(vec![self.owner.clone()]),
                ..ObjectMeta::default()
            },
            data: json!({ "spec": self.spec }),
        }
    }
}

/// Whether two references mean the same owner: version and UID may have changed.
fn is_same(one: &OwnerReference, other: &OwnerReference) -> bool {
    let group = |reference: &OwnerReference| {
        reference
            .api_version
            .split_once('/')
            .map(|(group, _)| group.to_owned())
    };
    one.kind == other.kind
        && one.name == other.name
        && group(one).as_deref() == Some(GROUP)
        && group(one) == group(other)
}

#[cfg(test)]
mod tests;

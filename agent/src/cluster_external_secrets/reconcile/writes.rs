//! The single writes of a pass.

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use latchkey_crds::cluster_external_secret::{ClusterExternalSecret, ClusterExternalSecretStatus};
use serde_json::{Value, json};
use tracing::warn;

use super::super::requests::{Problem, bounded};
use super::super::{FIELD_MANAGER, FINALIZER, plan};
use super::Context;

impl Context {
    /// Deletes an ExternalSecret that `set` controls; one that is gone, or somebody else's, is as well.
    pub(super) async fn delete_owned(
        &self,
        namespace: &str,
        external_secret: &str,
        set: &str,
    ) -> Result<(), Problem> {
        let objects: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &self.external_secrets);
        let Some(found) = bounded(objects.get_metadata_opt(external_secret)).await? else {
            return Ok(());
        };
        if plan::controller(found.owner_references()) != Some(set) {
            return Ok(());
        }
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: found.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match bounded(objects.delete(external_secret, &parameters)).await {
            Ok(_) | Err(Problem::NotFound(_)) => Ok(()),
            Err(problem) => Err(problem),
        }
    }

    /// Adds our finalizer to a namespace or removes it, whatever else happens to the namespace meanwhile. Removing it from one
    /// that is gone is fine.
    pub(super) async fn mark_namespace(
        &self,
        set: &str,
        namespace: &str,
        wanted: bool,
    ) -> Result<(), Problem> {
        let finalizers = [plan::namespace_finalizer(set)];
        let patch = if wanted {
            json!({ "metadata": { "finalizers": finalizers } })
        } else {
            json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": finalizers } })
        };
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let patch = Patch::Strategic(patch);
        match bounded(namespaces.patch_metadata(namespace, &own_parameters(), &patch)).await {
            Ok(_) => Ok(()),
            Err(Problem::NotFound(_)) if !wanted => Ok(()),
            Err(problem) => Err(problem),
        }
    }

    /// Adds the finalizer of a live object or removes it, provided that the object still is the one that was read.
    pub(super) async fn set_finalizer(
        &self,
        sets: &Api<ClusterExternalSecret>,
        set: &ClusterExternalSecret,
        wanted: bool,
    ) -> Result<(), Problem> {
        let mut finalizers = set.metadata.finalizers.clone().unwrap_or_default();
        if wanted {
            finalizers.push(FINALIZER.to_owned());
        } else {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        let patch = json!({
            "metadata": { "resourceVersion": set.metadata.resource_version, "finalizers": finalizers },
        });
        match bounded(sets.patch_metadata(plan::name(set), &own_parameters(), &Patch::Merge(patch)))
            .await
        {
            Ok(_) => Ok(()),
            Err(Problem::NotFound(_)) if !wanted => Ok(()),
            Err(problem) => Err(problem),
        }
    }

    /// Writes a status that differs from the one that was read.
    pub(super) async fn write_status(
        &self,
        sets: &Api<ClusterExternalSecret>,
        set: &ClusterExternalSecret,
        status: ClusterExternalSecretStatus,
    ) -> Result<(), Problem> {
        self.metrics.ready(plan::name(set), plan::is_ready(&status));
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        for failed in &status.failed_namespaces {
            warn!(
                "namespace {}: {}",
                failed.namespace,
                failed.reason.as_deref().unwrap_or_default()
            );
        }
        let patch = json!({ "status": status_patch(&status) });
        bounded(sets.patch_status(plan::name(set), &own_parameters(), &Patch::Merge(patch)))
            .await
            .map(drop)
    }
}

/// A status as a merge patch: what it lacks is taken away.
fn status_patch(status: &ClusterExternalSecretStatus) -> Value {
    let or_null = |value: Value, is_empty: bool| if is_empty { Value::Null } else { value };
    json!({
        "externalSecretName": status.external_secret_name,
        "failedNamespaces": or_null(json!(status.failed_namespaces), status.failed_namespaces.is_empty()),
        "provisionedNamespaces": or_null(json!(status.provisioned_namespaces), status.provisioned_namespaces.is_empty()),
        "conditions": status.conditions,
    })
}

fn own_parameters() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

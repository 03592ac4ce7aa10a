//! Writing targets and removing those of former names (`externalsecret.md` 2.7, 2.8).

use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::{Resource as _, ResourceExt as _};
use latchkey_crds::external_secret::ExternalSecret;
use latchkey_engine::source::Source;
use latchkey_engine::template::Rendered;
use tracing::info;

use super::backoff::Key;
use super::outcome::{Failure, Interrupted, Retry, not_written, owned_by_other};
use super::reconcile::Context;
use super::target::{self, RequestError, TargetSecret};
use super::{mutate, names};

// === impl Context ===

impl<S: Source> Context<S> {
    /// Writes the target if it differs (2.7, 2.8).
    pub(super) async fn deliver(
        &self,
        key: &Key,
        object: &ExternalSecret,
        secrets: &Api<Secret>,
        existing: Option<TargetSecret>,
        rendered: Rendered,
    ) -> Result<(), Interrupted> {
        let name = object.target_name();
        let manager = names::field_manager(&key.1);
        let is_rendered = object.spec.target.template.is_some();
        let mut desired = mutate::desired(object, existing.as_ref(), rendered)
            .map_err(|error| owned_by_other(&error, existing.is_some().then_some(name)))?;
        let Some(existing) = existing else {
            target::create(secrets, &desired, &manager)
                .await
                .map_err(|error| not_written(error, None, is_rendered))?;
            info!("created secret {name}");
            self.events
                .normal(&object.object_ref(&()), "Created", "secret created")
                .await;
            return Ok(());
        };
        if mutate::same(&existing, &desired) {
            return Ok(());
        }
        let frozen = existing.immutable == Some(true)
            && (existing.data != desired.data || existing.type_ != desired.type_);
        if frozen {
            // The metadata, digest of the desired data included, is written all the same (2.11, D-13).
            desired.data = existing.data.clone();
            desired.type_.clone_from(&existing.type_);
        }
        if !(frozen && mutate::same(&existing, &desired)) {
            target::update(secrets, &desired, &manager)
                .await
                .map_err(|error| not_written(error, Some(name), is_rendered))?;
        }
        if frozen {
            return Err(Failure {
                message: String::from("could not update secret, target is immutable"),
                detail: format!("unable to update secret {name}: secret is immutable"),
                retry: Retry::Never,
                wrote: true,
            }
            .into());
        }
        info!("updated secret {name}");
        self.events
            .normal(&object.object_ref(&()), "Updated", "secret updated")
            .await;
        Ok(())
    }

    /// Deletes targets that the object had under other names. The label finds them, the owner reference proves them (D-21).
    pub(super) async fn remove_orphans(
        &self,
        key: &Key,
        object: &ExternalSecret,
        secrets: &Api<Secret>,
    ) -> Result<(), Interrupted> {
        let failure = |error: RequestError| Failure {
            message: String::from("could not delete orphaned secrets"),
            detail: error.to_string(),
            retry: Retry::Backoff(None),
            wrote: true,
        };
        let label = names::owner_label_value(&key.0, &key.1);
        for candidate in target::labelled(secrets, &label).await.map_err(failure)? {
            let metadata = &candidate.metadata;
            if metadata.name.as_deref() == Some(object.target_name())
                || metadata.deletion_timestamp.is_some()
                || !mutate::is_controlled_by(metadata, object)
            {
                continue;
            }
            target::delete(secrets, metadata).await.map_err(failure)?;
            info!("deleted orphaned secret {}", candidate.name_any());
            let note = "secret deleted because it was orphaned";
            self.events
                .normal(&object.object_ref(&()), "Deleted", note)
                .await;
        }
        Ok(())
    }
}

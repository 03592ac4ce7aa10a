//! Fetching, writing targets and removing what is superfluous (`externalsecret.md` 2.7 to 2.9, 2.12).

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::{Resource as _, ResourceExt as _};
use latchkey_crds::conditions::ConditionStatus;
use latchkey_crds::external_secret::{CreationPolicy, DeletionPolicy, ExternalSecret};
use latchkey_engine::source::{Caller, Source};
use latchkey_engine::template::Rendered;
use latchkey_engine::{Resolution, ResolveError, resolve};
use latchkey_secret::SecretData;
use tracing::{debug, info};

use super::backoff::Key;
use super::decide::{self, Emptied};
use super::mutate::{self, KeyChanges};
use super::names;
use super::outcome::{
    self, Achievement, Failure, Interrupted, Success, not_cleaned_up, not_written,
};
use super::reconcile::Context;
use super::target::{self, RequestError, TargetSecret};
use crate::generators::states::Keeper;
use crate::generators::{Made, Recording};

// === impl Context ===

impl<S: Source> Context<S> {
    /// Fetches what the spec names, generated values included, and tells what the provider lacks.
    pub(super) async fn fetch(
        &self,
        key: &Key,
        object: &ExternalSecret,
        now: Timestamp,
    ) -> Result<SecretData, Failure> {
        let caller = Caller {
            namespace: key.0.clone(),
            name: key.1.clone(),
            uid: object.metadata.uid.clone().unwrap_or_default(),
            pod: None,
        };
        let source = Recording::new(self.source.as_ref());
        let outcome = resolve(&object.spec, &caller, &source, &self.renderer, now).await;
        let resolution = self
            .keep_generated(object, source.into_made(), outcome)
            .await?;
        for note in &resolution.missing {
            self.events
                .normal(&object.object_ref(&()), "MissingProviderSecret", note)
                .await;
        }
        Ok(resolution.data)
    }

    /// Fetches, and does with the target what creation and deletion policy say.
    pub(super) async fn resolve(
        &self,
        key: &Key,
        object: &ExternalSecret,
        secrets: &Api<Secret>,
        existing: Option<TargetSecret>,
    ) -> Result<Success, Interrupted> {
        let now = Timestamp::now();
        if object.spec.target.creation_policy() == CreationPolicy::None
            && object.spec.generator_refs().next().is_some()
        {
            // Values that nobody is given are not made; those of an earlier policy go.
            self.keep_generated(object, Vec::new(), Ok(Resolution::default()))
                .await?;
            return Ok(Success {
                achievement: Achievement::LeftToNodes,
                binding: None,
                is_valid: true,
            });
        }
        let fetched = self.fetch(key, object, now).await;
        let data = match fetched {
            // What it holds is for each pod to ask for; the nodes that mount it do.
            Err(failure)
                if failure.is_for_pods()
                    && object.spec.target.creation_policy() == CreationPolicy::None =>
            {
                return Ok(Success {
                    achievement: Achievement::LeftToPods,
                    binding: None,
                    is_valid: true,
                });
            }
            fetched => fetched?,
        };
        if data.is_empty() {
            match decide::emptied(object, existing.as_ref()) {
                Emptied::Retain => {
                    return Ok(Success {
                        achievement: Achievement::Retained,
                        binding: None,
                        is_valid: decide::is_valid(object, existing.as_ref()),
                    });
                }
                Emptied::Delete => {
                    return self.delete_emptied(object, secrets, existing).await;
                }
                Emptied::Refuse(detail) => return Err(outcome::not_deletable(detail).into()),
                Emptied::Write => {}
            }
        }
        match (object.spec.target.creation_policy(), &existing) {
            // Nothing is rendered either: the nodes that mount it do that.
            (CreationPolicy::None, _) => Ok(Success {
                achievement: Achievement::Synced,
                binding: None,
                is_valid: true,
            }),
            (CreationPolicy::Merge, None) => Ok(Success {
                achievement: Achievement::Missing,
                binding: None,
                is_valid: false,
            }),
            _ => {
                self.render_and_write(key, object, secrets, existing, data, now)
                    .await
            }
        }
    }

    /// Keeps what generators left if all was fetched, and else has it revoked (7.3).
    async fn keep_generated(
        &self,
        object: &ExternalSecret,
        made: Vec<Made>,
        outcome: Result<Resolution, ResolveError>,
    ) -> Result<Resolution, Failure> {
        let Some(grace) = self.config.generator_grace else {
            return outcome.map_err(|error| outcome::not_fetched(&error));
        };
        let (keeper, source) = (
            Keeper::new(self.client.clone(), grace),
            self.source.as_ref(),
        );
        match outcome {
            Ok(resolution) => {
                let is_changed = names::is_changed(object);
                keeper
                    .commit(object, made, is_changed, source)
                    .await
                    .map_err(|error| outcome::not_kept(&error))?;
                Ok(resolution)
            }
            Err(error) => {
                keeper.roll_back(object, made, source).await;
                Err(outcome::not_fetched(&error))
            }
        }
    }

    async fn render_and_write(
        &self,
        key: &Key,
        object: &ExternalSecret,
        secrets: &Api<Secret>,
        existing: Option<TargetSecret>,
        data: SecretData,
        now: Timestamp,
    ) -> Result<Success, Interrupted> {
        let name = existing.is_some().then(|| object.target_name());
        let rendered = if mutate::keeps_content(object, existing.as_ref()) {
            None
        } else {
            let rendered = self.renderer.render(object, data, now).await;
            Some(rendered.map_err(|error| outcome::not_rendered(&error, name))?)
        };
        let may_have_orphans = may_have_orphans(object, existing.as_ref());
        let version = self.write(key, object, secrets, existing, rendered).await?;
        self.watched.found_valid(key, version.as_deref());
        if may_have_orphans {
            // D-22: only now is the old target of a renamed one superfluous.
            self.remove_orphans(key, object, secrets).await?;
        }
        Ok(Success {
            achievement: Achievement::Synced,
            binding: Some(object.target_name().to_owned()),
            is_valid: true,
        })
    }

    /// Writes the target if it differs (2.7, 2.8, 2.11), and returns its resource version.
    async fn write(
        &self,
        key: &Key,
        object: &ExternalSecret,
        secrets: &Api<Secret>,
        existing: Option<TargetSecret>,
        rendered: Option<Rendered>,
    ) -> Result<Option<String>, Interrupted> {
        let name = object.target_name();
        let manager = names::field_manager(&key.1);
        let is_rendered = object.spec.target.template.is_some();
        let mut desired = mutate::desired(object, existing.as_ref(), rendered)
            .map_err(|error| outcome::owned_by_other(&error, existing.is_some().then_some(name)))?;
        let Some(existing) = existing else {
            let version = target::create(secrets, &desired, &manager)
                .await
                .map_err(|error| not_written(error, None, is_rendered))?;
            info!("created secret {name}");
            self.events
                .normal(&object.object_ref(&()), "Created", "secret created")
                .await;
            return Ok(version);
        };
        let mut version = existing.metadata.resource_version.clone();
        if mutate::same(&existing, &desired) {
            return Ok(version);
        }
        let frozen = existing.immutable == Some(true)
            && (existing.data != desired.data || existing.type_ != desired.type_);
        if frozen {
            // The metadata, digest of the desired data included, is written all the same (2.11, D-13).
            desired.data = existing.data.clone();
            desired.type_.clone_from(&existing.type_);
        }
        if !(frozen && mutate::same(&existing, &desired)) {
            version = target::update(secrets, &desired, &manager)
                .await
                .map_err(|error| not_written(error, Some(name), is_rendered))?;
        }
        if frozen {
            return Err(outcome::immutable(name).into());
        }
        info!("updated secret {name}");
        // Names that a template made may show values.
        if !is_rendered {
            let changes = KeyChanges::between(&existing.data, &desired.data);
            debug!("keys of secret {name}: {changes}");
        }
        self.events
            .normal(&object.object_ref(&()), "Updated", "secret updated")
            .await;
        Ok(version)
    }

    /// Deletes targets that the object had under other names. The label finds them, the owner reference proves them (D-21).
    async fn remove_orphans(
        &self,
        key: &Key,
        object: &ExternalSecret,
        secrets: &Api<Secret>,
    ) -> Result<(), Interrupted> {
        let failure = |error: RequestError| not_cleaned_up(&error);
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

    /// Deletes a target for which the provider has nothing any more (2.9).
    async fn delete_emptied(
        &self,
        object: &ExternalSecret,
        secrets: &Api<Secret>,
        existing: Option<TargetSecret>,
    ) -> Result<Success, Interrupted> {
        if let Some(existing) = existing {
            let name = object.target_name();
            target::delete(secrets, &existing.metadata)
                .await
                .map_err(|error| outcome::not_deleted(error, name))?;
            info!("deleted secret {name}: the provider has nothing for it");
            self.events
                .normal(&object.object_ref(&()), "Deleted", outcome::DELETED)
                .await;
        }
        Ok(Success {
            achievement: Achievement::Deleted,
            binding: None,
            is_valid: false,
        })
    }

    /// What is left to do for an object that is being deleted, whether or not it still carries our finalizer (2.12). A target that
    /// it owns goes with it in any case.
    pub(super) async fn clean_up(
        &self,
        key: &Key,
        object: &ExternalSecret,
    ) -> Result<(), RequestError> {
        if self.is_generic(object) {
            return self.clean_up_generic(key, object).await;
        }
        let wanted = &object.spec.target;
        if wanted.deletion_policy() != DeletionPolicy::Delete || wanted.manifest.is_some() {
            return Ok(());
        }
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &key.0);
        let name = object.target_name();
        let Some(metadata) = target::read_metadata(&secrets, name).await? else {
            return Ok(());
        };
        if metadata.deletion_timestamp.is_none() && mutate::is_controlled_by(&metadata, object) {
            target::delete(&secrets, &metadata).await?;
            info!("deleted secret {name} together with its ExternalSecret");
        }
        Ok(())
    }
}

/// Whether the object may own Secrets of other names than its target's. Asking the API server costs a request, so it is asked only
/// if the object was bound to another Secret, did not own its target until now, or failed the last time, which may have been
/// after it was bound and before the clean-up.
fn may_have_orphans(object: &ExternalSecret, existing: Option<&TargetSecret>) -> bool {
    if object.spec.target.creation_policy() != CreationPolicy::Owner {
        return false;
    }
    let was_bound_elsewhere = object
        .status
        .as_ref()
        .and_then(|status| status.binding.as_ref())
        .is_some_and(|binding| binding.name != object.target_name());
    was_bound_elsewhere
        || super::record::ready(object).is_some_and(|status| status != ConditionStatus::True)
        || existing.is_some_and(|target| !mutate::is_controlled_by(&target.metadata, object))
}

#[cfg(test)]
mod tests;

//! Targets of other kinds than Secret: `spec.target.manifest` (`externalsecret.md` 5). Off unless [`super::Config::generic_targets`].
//!
//! | object | verbs | why |
//! |---|---|---|
//! | `/api`, `/apis` | get | which resource a kind is |
//! | objects of the kinds that the administrator allows | get, create, update, delete; metadata: list, watch | targets |
//!
//! ```text
//! pass ─> rules ─> kind ─> read ─> valid and nothing due? ─> rest
//!                                    └─> fetch ─> render into the base object ─> marks, owner (pure) ─> write ─> watch the kind
//! ```
//!
//! | module | what is in it | |
//! |---|---|---|
//! | [`decide`] | what is due, what is valid, what may be deleted | pure |
//! | [`desired`] | the base object, and an object's marks and owner | pure |
//! | [`index`] | kinds, and who writes which target | pure |
//! | [`says`] | failures and their texts | pure |
//! | [`kinds`] | which resource a kind is | asks the API server |
//! | [`live`] | reading and writing objects | asks the API server |
//! | [`informers`] | one watch of metadata for each kind in use | asks the API server |

mod decide;
mod desired;
mod index;
mod informers;
mod kinds;
mod live;
mod says;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource as _;
use latchkey_crds::external_secret::{CreationPolicy, DeletionPolicy, ExternalSecret};
use latchkey_engine::source::Source;
use latchkey_engine::tree::Tree;
use latchkey_secret::SecretData;
use tracing::{info, warn};

use super::backoff::Key;
use super::names;
use super::outcome::{Achievement, Interrupted, Success};
use super::reconcile::{Acted, Context};
use super::target::RequestError;
use decide::{Emptied, Look};
use live::{Live, Objects, WriteError};

pub(super) use index::{Gvk, Index, TargetId};
pub(super) use informers::Informers;
pub(super) use kinds::Kinds;

/// Pause after somebody else has changed the target under our hands (2.13).
const CONFLICT_PAUSE: Duration = Duration::from_secs(1);

// === impl Context ===

impl<S: Source> Context<S> {
    /// Whether the object's target is of another kind, and such targets are allowed.
    pub(super) fn is_generic(&self, object: &ExternalSecret) -> bool {
        self.config.generic_targets && object.spec.target.manifest.is_some()
    }

    /// Looks at the target, decides and acts (5.2). `lost` is the UID of the target if nothing but its disappearance from the watch
    /// made us look.
    pub(super) async fn look_at_generic(
        &self,
        key: &Key,
        object: &ExternalSecret,
        lost: Option<&str>,
    ) -> Result<Acted, Interrupted> {
        let looked = self.look(key, object, lost).await;
        if let Ok((_, Look::Rest(pause))) = looked {
            return Ok(Acted::Nothing(pause));
        }
        if self
            .belongs_to_others(key, object)
            .await
            .map_err(Interrupted::Again)?
        {
            return Ok(Acted::Foreign);
        }
        let (objects, look) = looked?;
        let existing = match look {
            Look::Rest(pause) => return Ok(Acted::Nothing(pause)),
            Look::Resolve(existing) => existing,
        };
        self.resolve_generic(key, object, objects.as_ref(), existing)
            .await
    }

    /// Reads the target and tells what is due. There is no API for a target that is never read.
    async fn look(
        &self,
        key: &Key,
        object: &ExternalSecret,
        lost: Option<&str>,
    ) -> Result<(Option<Objects>, Look), Interrupted> {
        let target = decide::target(object).map_err(says::refused)?;
        let gvk = &target.gvk;
        warn!(
            "the target is of the kind {gvk}: values in it are as safe as access policies and encryption make this kind"
        );
        let (objects, existing) = if decide::is_read(object) {
            let resource = self.kinds.find(gvk).await.map_err(says::no_kind)?;
            let objects = Objects::new(&self.client, &key.0, &resource);
            let existing = objects.read(&target.name).await.map_err(says::not_read)?;
            (Some(objects), existing)
        } else {
            (None, None)
        };
        let look = decide::look(object, existing, lost, Timestamp::now())
            .map_err(|error| Interrupted::Again(RequestError::Other(error.to_string())))?;
        if let (Some(objects), Look::Rest(_)) = (&objects, &look) {
            self.informers.hold(gvk, objects.resource());
        }
        Ok((objects, look))
    }

    /// Fetches, and does with the target what creation and deletion policy say.
    async fn resolve_generic(
        &self,
        key: &Key,
        object: &ExternalSecret,
        objects: Option<&Objects>,
        existing: Option<Box<Live>>,
    ) -> Result<Acted, Interrupted> {
        let now = Timestamp::now();
        let data = self.fetch(key, object, now).await?;
        if data.is_empty() {
            match decide::emptied(object, existing.as_deref()) {
                Emptied::Retain => {
                    let is_valid = decide::is_valid(object, existing.as_deref());
                    return Ok(synced(Achievement::Retained, is_valid.unwrap_or_default()));
                }
                Emptied::Delete => {
                    return self.delete_generic(object, objects, existing).await;
                }
                Emptied::Refuse(detail) => return Err(says::not_deletable(detail).into()),
                Emptied::Write => {}
            }
        }
        let policy = object.spec.target.creation_policy();
        if policy == CreationPolicy::Merge && existing.is_none() {
            return Ok(synced(Achievement::Missing, false));
        }
        let rendered = self.render_generic(object, existing.as_deref(), data, now);
        let rendered = rendered.await?;
        let Some(objects) = objects else {
            // `None`: nothing is written, but that it could be is checked.
            return Ok(synced(Achievement::Synced, true));
        };
        self.write_generic(object, objects, existing.as_deref(), rendered)
            .await
    }

    async fn render_generic(
        &self,
        object: &ExternalSecret,
        existing: Option<&Live>,
        data: SecretData,
        now: Timestamp,
    ) -> Result<Tree, Interrupted> {
        let base = desired::base(object, existing);
        let rendered = self.renderer.render_manifest(object, base, data, now);
        rendered
            .await
            .map_err(|error| says::not_rendered(&error).into())
    }

    async fn write_generic(
        &self,
        object: &ExternalSecret,
        objects: &Objects,
        existing: Option<&Live>,
        rendered: Tree,
    ) -> Result<Acted, Interrupted> {
        let target = decide::target(object).map_err(says::refused)?;
        let (kind, name) = (&target.gvk.kind, &target.name);
        let desired = desired::finish(object, existing, rendered).map_err(says::not_settled)?;
        let (written, reason) = match existing {
            None => (objects.create(&desired).await, "Created"),
            Some(_) => (objects.update(&desired).await, "Updated"),
        };
        match written {
            Ok(()) => {}
            Err(WriteError::Conflict) => return Ok(Acted::Again(CONFLICT_PAUSE)),
            Err(error) => {
                if matches!(error, WriteError::Missing) {
                    // The kind, it may be.
                    self.kinds.forget(&target.gvk);
                }
                return Err(says::not_written(&error, name, existing.is_some()).into());
            }
        }
        self.informers.hold(&target.gvk, objects.resource());
        let note = format!("{reason} {kind} {name}");
        info!("{note}");
        self.events
            .normal(&object.object_ref(&()), reason, &note)
            .await;
        Ok(synced(Achievement::Synced, true))
    }

    /// Deletes a target for which the provider has nothing any more (2.9).
    async fn delete_generic(
        &self,
        object: &ExternalSecret,
        objects: Option<&Objects>,
        existing: Option<Box<Live>>,
    ) -> Result<Acted, Interrupted> {
        if let (Some(objects), Some(existing)) = (objects, existing) {
            match objects.delete(&existing.metadata).await {
                Ok(()) => self.tell_deleted(object).await,
                Err(RequestError::Conflict(_)) => return Ok(Acted::Again(CONFLICT_PAUSE)),
                Err(error) => return Err(says::not_deleted(&error).into()),
            }
        }
        Ok(synced(Achievement::Deleted, false))
    }

    async fn tell_deleted(&self, object: &ExternalSecret) {
        let target = &object.spec.target;
        let kind = target.manifest.as_ref().map(|manifest| &*manifest.kind);
        let name = object.target_name();
        let note = format!("Deleted {} {name}", kind.unwrap_or_default());
        info!("{note}");
        self.events
            .normal(&object.object_ref(&()), "Deleted", &note)
            .await;
    }

    /// Deletes the target of an object that is being deleted itself, if its policy says so and the target is its own (5.6, D-11).
    pub(super) async fn clean_up_generic(
        &self,
        key: &Key,
        object: &ExternalSecret,
    ) -> Result<(), RequestError> {
        if object.spec.target.deletion_policy() != DeletionPolicy::Delete {
            return Ok(());
        }
        // What cannot be named, or is of no kind that there is, does not exist.
        let Ok(target) = decide::target(object) else {
            return Ok(());
        };
        let resource = match self.kinds.find(&target.gvk).await {
            Ok(resource) => resource,
            Err(kinds::Error::Request(error)) => return Err(error),
            Err(_) => return Ok(()),
        };
        let objects = Objects::new(&self.client, &key.0, &resource);
        let Some(metadata) = objects.read_metadata(&target.name).await? else {
            return Ok(());
        };
        if metadata.deletion_timestamp.is_none() && decide::may_delete(object, &metadata) {
            objects.delete(&metadata).await?;
            self.tell_deleted(object).await;
        }
        Ok(())
    }
}

/// Whether an object carries our label.
fn is_managed(metadata: &ObjectMeta) -> bool {
    let labels = metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(names::MANAGED_LABEL))
        .is_some_and(|value| value == "true")
}

fn synced(achievement: Achievement, is_valid: bool) -> Acted {
    Acted::Synced(Success {
        achievement,
        binding: None,
        is_valid,
    })
}

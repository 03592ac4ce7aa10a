//! What a sync does with the states of its generators.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Resource as _};
use latchkey_crds::external_secret::ExternalSecret;
use latchkey_crds::generator_state::{
    FINALIZER, GeneratorState, GeneratorStateSpec, OWNER_KEY_LABEL,
};
use latchkey_engine::hash;
use latchkey_engine::source::{GeneratedState, Source};
use serde_json::json;
use tracing::warn;

use super::{bounded, decide};
use crate::generators::Made;

/// Field manager of what is written here.
const FIELD_MANAGER: &str = "latchkey";

/// Writes states. Without one, states are dropped and values are never revoked (`--enable-generator-state=false`).
#[derive(Clone)]
pub struct Keeper {
    client: Client,
    grace: Duration,
}

/// A state could not be written down.
#[derive(Clone, Debug, thiserror::Error)]
#[error("failed to {step} the generator states of spec.dataFrom[{entry}]: {cause}")]
pub struct StateError {
    step: &'static str,
    entry: usize,
    cause: String,
}

// === impl Keeper ===

impl Keeper {
    /// Writes through `client`; replaced values are revoked after `grace`.
    #[must_use]
    pub fn new(client: Client, grace: Duration) -> Self {
        Self { client, grace }
    }

    /// Keeps what the sync of `object` made, and gives what it replaces a deadline. If the object changed since its last success,
    /// states of entries that make none any more get one too (D-18).
    ///
    /// # Errors
    ///
    /// [`StateError`]; what could not be kept was revoked, and the sync has failed.
    pub async fn commit<S: Source>(
        &self,
        object: &ExternalSecret,
        made: Vec<Made>,
        is_changed: bool,
        source: &S,
    ) -> Result<(), StateError> {
        if is_changed {
            let without: Vec<usize> = (0..object.spec.data_from.len())
                .filter(|entry| !made.iter().any(|made| made.entry == *entry))
                .collect();
            if let Err(error) = self.flag(object, &without, false).await {
                self.roll_back(object, made, source).await;
                return Err(error);
            }
        }
        let mut made = made.into_iter();
        while let Some(Made { entry, state }) = made.next() {
            let kept = match self.flag(object, &[entry], true).await {
                Ok(()) => self.create(object, entry, &state, None).await,
                Err(error) => Err(error),
            };
            if let Err(error) = kept {
                let rest = std::iter::once(Made { entry, state }).chain(made);
                self.roll_back(object, rest.collect(), source).await;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Revokes what a failed sync made. What cannot be revoked now is kept with the deadline now, so that it is tried again.
    pub async fn roll_back<S: Source>(&self, object: &ExternalSecret, made: Vec<Made>, source: &S) {
        for Made { entry, state } in made {
            let Err(error) = source.revoke(namespace(object), &state).await else {
                continue;
            };
            warn!(entry, %error, "generated values of a failed sync are revoked later");
            let now = Some(Timestamp::now());
            if let Err(error) = self.create(object, entry, &state, now).await {
                warn!(entry, %error, "generated values of a failed sync stay");
            }
        }
    }

    /// Gives the states of entries a deadline; the newest of all may be spared.
    async fn flag(
        &self,
        object: &ExternalSecret,
        entries: &[usize],
        keeps_newest: bool,
    ) -> Result<(), StateError> {
        let Some(&entry) = entries.first() else {
            return Ok(());
        };
        let failed = |error: kube::Error| StateError {
            step: "replace",
            entry,
            cause: error.to_string(),
        };
        let api = self.api(object);
        let keys: Vec<String> = entries
            .iter()
            .map(|entry| owner_key(object, *entry))
            .collect();
        let of_entries =
            ListParams::default().labels(&format!("{OWNER_KEY_LABEL} in ({})", keys.join(",")));
        let states = match bounded(api.list(&of_entries)).await {
            Ok(states) => states,
            // Without the definition there are none: objects that use no generators need it not.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let names = decide::superseded(&states.items, keeps_newest);
        if names.is_empty() {
            return Ok(());
        }
        let deadline = whole_seconds(
            Timestamp::now()
                .saturating_add(self.grace)
                .unwrap_or(Timestamp::MAX),
        );
        let patch = json!({ "spec": { "garbageCollectionDeadline": Time(deadline) } });
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        for name in names {
            let patch = Patch::Merge(&patch);
            match bounded(api.patch(&name, &parameters, &patch)).await {
                Ok(_) => {}
                // It went meanwhile, and its values with it.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    async fn create(
        &self,
        object: &ExternalSecret,
        entry: usize,
        state: &GeneratedState,
        deadline: Option<Timestamp>,
    ) -> Result<(), StateError> {
        let state = new_state(object, entry, state, deadline);
        let parameters = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let api = self.api(object);
        let created = bounded(api.create(&parameters, &state)).await;
        created.map(drop).map_err(|error| StateError {
            step: "store",
            entry,
            cause: error.to_string(),
        })
    }

    fn api(&self, object: &ExternalSecret) -> Api<GeneratorState> {
        Api::namespaced(self.client.clone(), namespace(object))
    }
}

fn namespace(object: &ExternalSecret) -> &str {
    object.metadata.namespace.as_deref().unwrap_or_default()
}

fn name(object: &ExternalSecret) -> &str {
    object.metadata.name.as_deref().unwrap_or_default()
}

/// What the states of one entry have in common (`externalsecret.md` 7.3).
fn owner_key(object: &ExternalSecret, entry: usize) -> String {
    hash::of_text(&format!(
        "ExternalSecret-{}-{}-{entry}",
        namespace(object),
        name(object)
    ))
}

fn new_state(
    object: &ExternalSecret,
    entry: usize,
    state: &GeneratedState,
    deadline: Option<Timestamp>,
) -> GeneratorState {
    GeneratorState {
        metadata: ObjectMeta {
            generate_name: Some(format!("gen-externalsecret-{}-", name(object))),
            namespace: Some(namespace(object).to_owned()),
            labels: Some(BTreeMap::from([(
                OWNER_KEY_LABEL.to_owned(),
                owner_key(object, entry),
            )])),
            owner_references: object.owner_ref(&()).map(|owner| vec![owner]),
            finalizers: Some(vec![FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: GeneratorStateSpec {
            garbage_collection_deadline: deadline.map(|time| Time(whole_seconds(time))),
            resource: state.resource.clone(),
            state: state.state.clone(),
        },
    }
}

/// More is not stored.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_belongs_to_its_object_without_being_controlled_by_it() {
        // externalsecret.md 7.3.
        let object: ExternalSecret = serde_json::from_value(json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": { "name": "db", "namespace": "team-a", "uid": "u" },
            "spec": {},
        }))
        .unwrap();
        let state = GeneratedState {
            resource: json!({ "kind": "Generator" }),
            state: json!({ "v": 1 }),
        };
        let made = new_state(&object, 2, &state, None);
        assert_eq!(
            serde_json::to_value(&made).unwrap(),
            json!({
                "apiVersion": "generators.external-secrets.io/v1alpha1",
                "kind": "GeneratorState",
                "metadata": {
                    "generateName": "gen-externalsecret-db-",
                    "namespace": "team-a",
                    "labels": { OWNER_KEY_LABEL: hash::of_text("ExternalSecret-team-a-db-2") },
                    "finalizers": [FINALIZER],
                    "ownerReferences": [{
                        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": "db", "uid": "u",
                    }],
                },
                "spec": { "resource": { "kind": "Generator" }, "state": { "v": 1 } },
            })
        );
        let late = new_state(&object, 2, &state, Some(Timestamp::new(5, 999).unwrap()));
        let deadline = serde_json::to_value(&late.spec).unwrap();
        assert_eq!(
            deadline["garbageCollectionDeadline"],
            "1970-01-01T00:00:05Z"
        );
    }
}

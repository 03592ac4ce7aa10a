//! Which objects are left to other controllers (`externalsecret.md` 2.2 steps 4 and 5).

use std::collections::BTreeSet;

use kube::api::Api;
use latchkey_crds::external_secret::{ExternalSecret, SecretStoreRef, StoreApi, StoreKind};
use latchkey_crds::generator::{ClusterGenerator, Generator};
use latchkey_crds::secret_store::{ClusterSecretStore, SecretStore};
use latchkey_engine::source::Source;

use super::backoff::Key;
use super::reconcile::Context;
use super::target::{RequestError, bounded};
use crate::generators;

// === impl Context ===

impl<S: Source> Context<S> {
    /// Whether the object is for others: its store is of a kind that is switched off here (step 4), or any store or generator that it
    /// refers to is of another controller class (step 5). Stores that do not exist, or that cannot be understood, fail later. Those of the
    /// namespace are always looked up in the object's (D-07).
    pub(super) async fn belongs_to_others(
        &self,
        key: &Key,
        object: &ExternalSecret,
    ) -> Result<bool, RequestError> {
        let default = object.spec.secret_store_ref.as_ref();
        let is_cluster =
            default.is_some_and(|reference| reference.kind() == StoreKind::ClusterSecretStore);
        if is_cluster && !self.config.cluster_stores {
            return Ok(true);
        }
        let references: BTreeSet<(StoreKindOrder, &str)> = object
            .spec
            .store_refs()
            .filter(|reference| {
                reference.api() == Ok(StoreApi::V2Alpha1) && !reference.name().is_empty()
            })
            .map(|reference| (StoreKindOrder::of(reference), reference.name()))
            .collect();
        for (kind, name) in references {
            let found = match kind {
                StoreKindOrder::Namespaced => {
                    let stores: Api<SecretStore> = Api::namespaced(self.client.clone(), &key.0);
                    understood(bounded(stores.get_opt(name)).await)?
                        .map(|store| store.spec.controller)
                }
                StoreKindOrder::Cluster => {
                    let stores: Api<ClusterSecretStore> = Api::all(self.client.clone());
                    understood(bounded(stores.get_opt(name)).await)?
                        .map(|store| store.spec.controller)
                }
            };
            if self.is_foreign(found.flatten()) {
                return Ok(true);
            }
        }
        self.generators_belong_to_others(key, object).await
    }

    /// The same for generators. References that mean none fail later.
    async fn generators_belong_to_others(
        &self,
        key: &Key,
        object: &ExternalSecret,
    ) -> Result<bool, RequestError> {
        let references = object.spec.data_from.iter().filter_map(|entry| {
            let reference = entry.source_ref.as_ref()?.generator_ref.as_ref()?;
            generators::key_of(&key.0, reference).ok()
        });
        for generator in references.collect::<BTreeSet<_>>() {
            let name = &generator.name;
            let found = if generator.is_cluster() {
                let generators: Api<ClusterGenerator> = Api::all(self.client.clone());
                understood(bounded(generators.get_opt(name)).await)?
                    .map(|generator| generator.spec.controller)
            } else {
                let generators: Api<Generator> = Api::namespaced(self.client.clone(), &key.0);
                understood(bounded(generators.get_opt(name)).await)?
                    .map(|generator| generator.spec.controller)
            };
            if self.is_foreign(found.flatten()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_foreign(&self, class: Option<String>) -> bool {
        class.is_some_and(|class| !class.is_empty() && class != self.config.controller_class)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum StoreKindOrder {
    Namespaced,
    Cluster,
}

// === impl StoreKindOrder ===

impl StoreKindOrder {
    fn of(reference: &SecretStoreRef) -> Self {
        match reference.kind() {
            StoreKind::SecretStore => Self::Namespaced,
            StoreKind::ClusterSecretStore => Self::Cluster,
        }
    }
}

/// A store that cannot be decoded counts as one without class: using it fails later, with a better text.
fn understood<K>(answer: Result<Option<K>, RequestError>) -> Result<Option<K>, RequestError> {
    match answer {
        Err(RequestError::Undecodable(_) | RequestError::NotFound) => Ok(None),
        other => other,
    }
}

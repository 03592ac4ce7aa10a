//! Which objects are left to other controllers (`externalsecret.md` 2.2 steps 4 and 5), and which refer to what this agent cannot
//! reach.

use latchkey_crds::external_secret::{ExternalSecret, StoreKind};
use latchkey_engine::source::Source;

use super::backoff::Key;
use super::outcome::{self, Failure};
use super::reconcile::Context;
use super::references;
use super::target::RequestError;
use crate::stores::{ReadError, StoreReader as _, unreachable};

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
        for store in references::of(&key.0, object) {
            let class = match self.stores.store(&store).await {
                Ok(store) => store.controller.clone(),
                Err(ReadError::Missing | ReadError::Malformed(_) | ReadError::OutOfReach(_)) => {
                    continue;
                }
                Err(ReadError::Failed(text)) => return Err(RequestError::Other(text)),
            };
            if !class.is_empty() && class != self.config.controller_class {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The failure of an object that refers to a store or generator outside namespaces, where this agent works in some namespaces
    /// only and cannot read it.
    pub(super) fn out_of_reach(&self, key: &Key, object: &ExternalSecret) -> Option<Failure> {
        let reach = &self.config.reach;
        if reach.is_all() {
            return None;
        }
        let references = references::of(&key.0, object);
        let text = references
            .iter()
            .find_map(|reference| unreachable(reference, reach))?;
        Some(outcome::refused(text.clone(), text))
    }
}

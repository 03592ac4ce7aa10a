//! Stores that are read under the identity of pods (csi.md 9.2).

use jiff::Timestamp;
use latchkey_engine::source::{Caller, CallerNeeds, CallerScope, FailureClass, FetchError};

use super::ProviderSource;
use super::request::failed;
use crate::providers::pods::{CallerProof, NoProof};
use crate::stores::{CALLER_IDENTITY, StoreKey};

impl<R> ProviderSource<R> {
    /// What the store wants to see of the pod that its values are for; `None` if it wants nothing. Never the agent's own
    /// identity in its place: that would give each pod what any of them may read (csi.md 9.2).
    pub(super) fn proof(
        &self,
        caller: &Caller,
        key: &StoreKey,
        needs: &CallerNeeds,
    ) -> Result<Option<CallerProof>, FetchError> {
        if needs.scope == CallerScope::Store {
            return Ok(None);
        }
        let (Some(pods), Some(pod)) = (&self.pods, &caller.pod) else {
            return Err(failed(
                FailureClass::PodOnly,
                format!(
                    "{key} is read under the identity of pods (annotation {CALLER_IDENTITY}), and only volumes have one"
                ),
            ));
        };
        if pod.scope() < needs.scope {
            return Err(failed(
                FailureClass::NoToken,
                format!("{key} is read by each pod for itself since a moment ago"),
            ));
        }
        let audience = match (&needs.audience, &pod.audience) {
            (Some(store), Some(volume)) if store != volume => {
                return Err(failed(
                    FailureClass::Configuration,
                    format!(
                        "attribute audience \"{volume}\" of the volume is not \"{store}\", which {key} wants"
                    ),
                ));
            }
            (store, volume) => store.as_deref().or(volume.as_deref()),
        };
        pods.proof(&caller.namespace, pod, audience, Timestamp::now())
            .map(Some)
            .map_err(|problem| {
                let class = match problem {
                    NoProof::Missing(_) | NoProof::Ending { .. } => FailureClass::NoToken,
                    NoProof::Audience(_) | NoProof::Ambiguous => FailureClass::Configuration,
                };
                failed(
                    class,
                    format!("{key} is read under the identity of pods: {problem}"),
                )
            })
    }
}

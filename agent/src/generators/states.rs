//! GeneratorStates: what is left of generated values until they are revoked (`externalsecret.md` 7.3).
//!
//! The agent that syncs an object writes them ([`Keeper`]); the elected leader ends them ([`Collector`]): once their deadline has
//! passed it deletes them, and before one goes it has the values revoked at the provider.
//!
//! ```text
//! sync ─> Generate ─> state ─> newest of its entry ─> deadline (grace) ─> deleted ─> Cleanup ─> gone
//!           └─ the sync fails ─> Cleanup at once, or a state with the deadline now
//! ```
//!
//! | object | verbs | who |
//! |---|---|---|
//! | GeneratorStates | list, create, patch | every agent with a shard |
//! | GeneratorStates | list, watch, patch, delete | the leader |

mod collector;
mod decide;
mod keeper;

use std::time::Duration;

pub use collector::Collector;
pub(super) use decide::pause;
pub use keeper::{Keeper, StateError};

/// Longest wait for one answer of the API server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A request to the API server within its time, with an error in words. States hold no secret values, so texts may be shown.
async fn bounded<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    tokio::time::timeout(REQUEST_TIMEOUT, request)
        .await
        .unwrap_or_else(|_| {
            Err(kube::Error::Service(
                format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()).into(),
            ))
        })
}

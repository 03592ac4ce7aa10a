//! The cache of sessions: at most one per resource and credential namespace (and pod, where each logs in for itself), and only as
//! long as nothing changed (providers specification 2.6 and 8.3).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use latchkey_provider_sdk::{CallerToken, ProviderError};
use parking_lot::Mutex;

use crate::session::Session;

/// Which session a request needs, whatever its version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionId {
    /// Namespace of the resource.
    pub(crate) namespace: String,
    /// Name of the resource.
    pub(crate) name: String,
    /// Where its credentials are looked up; two tenants never share a token.
    pub(crate) credential_namespace: String,
    /// Whether references may leave that namespace.
    pub(crate) is_cluster_wide: bool,
    /// Whose pod it serves, where each logs in for itself: service account, pod and audiences, as its token claims them. What
    /// was granted to one token is granted to no other: the version holds its digest.
    pub(crate) caller: Option<String>,
}

/// Least recently used sessions go first when there are too many. A session that goes revokes its token once the last call
/// that uses it has ended.
pub(crate) struct Sessions {
    /// Most sessions; zero keeps none, so that each request logs in and revokes.
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: HashMap<SessionId, Entry>,
    /// Counts uses, as a clock for what was used least recently.
    uses: u64,
}

struct Entry {
    /// Everything that the session was made of, in one opaque string.
    version: String,
    session: Arc<Session>,
    last_use: u64,
    /// When the token of the pod that it serves ends, in seconds since the epoch.
    ends: Option<u64>,
}

// === impl SessionId ===

impl SessionId {
    /// How a pod with this token is told from others.
    pub(crate) fn caller(token: &CallerToken) -> String {
        let (account, pod, audiences) = (token.account(), token.pod_uid(), token.audiences());
        format!("{account} {pod} {audiences:?}")
    }
}

// === impl State ===

impl State {
    /// Takes out the sessions of pods whose tokens have ended: nobody can ask for them any more.
    fn take_ended(&mut self, now: u64) -> Vec<Entry> {
        let has_ended = |entry: &Entry| entry.ends.is_some_and(|ends| ends <= now);
        let ended = self
            .entries
            .extract_if(|_, entry| has_ended(entry))
            .map(|(_, entry)| entry);
        ended.collect()
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

// === impl Sessions ===

impl Sessions {
    /// An empty cache for `capacity` sessions.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            state: Mutex::new(State::default()),
        }
    }

    /// The session `id` in exactly this version, made by `make` if there is none.
    ///
    /// # Errors
    ///
    /// Those of `make`.
    pub(crate) fn get_or_make(
        &self,
        id: SessionId,
        version: &str,
        make: impl FnOnce() -> Result<Session, ProviderError>,
    ) -> Result<Arc<Session>, ProviderError> {
        if let Some(session) = self.find(&id, version) {
            return Ok(session);
        }
        // Made without the lock: reading certificates takes a while. Of two that are made at once one is dropped unused.
        let made = Arc::new(make()?);
        if self.capacity == 0 {
            return Ok(made);
        }
        if let Some(session) = self.find(&id, version) {
            return Ok(session);
        }
        let mut gone = Vec::new();
        {
            let mut state = self.state.lock();
            state.uses += 1;
            let entry = Entry {
                version: version.to_owned(),
                session: Arc::clone(&made),
                last_use: state.uses,
                ends: made.caller.as_ref().map(CallerToken::expires),
            };
            gone.extend(state.take_ended(now()));
            gone.extend(state.entries.insert(id, entry));
            while state.entries.len() > self.capacity {
                let oldest = state
                    .entries
                    .iter()
                    .min_by_key(|(_, entry)| entry.last_use)
                    .map(|(id, _)| id.clone());
                gone.extend(oldest.and_then(|oldest| state.entries.remove(&oldest)));
            }
        }
        // Dropped after the lock is free: a session revokes its token when it goes.
        drop(gone);
        Ok(made)
    }

    /// Drops all sessions.
    pub(crate) fn clear(&self) {
        let entries = std::mem::take(&mut self.state.lock().entries);
        drop(entries);
    }

    fn find(&self, id: &SessionId, version: &str) -> Option<Arc<Session>> {
        let mut state = self.state.lock();
        state.uses += 1;
        let uses = state.uses;
        let entry = state
            .entries
            .get_mut(id)
            .filter(|entry| entry.version == version)?;
        entry.last_use = uses;
        Some(Arc::clone(&entry.session))
    }
}

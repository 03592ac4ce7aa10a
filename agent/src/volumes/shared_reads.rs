//! Reads that several volumes of a node have in common: asked of the provider once (csi.md 6.4).
//!
//! All volumes of one ExternalSecret share its refresher. What differs is the ExternalSecrets: many of a namespace read the same
//! key of the same store, at the same moment when a node starts. Such reads join the one that runs, and for [`KEPT`] after it take
//! its answer. Failures are told to those who joined and kept for nobody.
//!
//! Whom an answer may serve is the [`Key`]: namespace, identity, the store with UID and generation, and the request itself. The
//! source is asked for the store's standing before every read, so that a store which changed or does not admit the caller any more
//! serves nothing old (SB-26). A reader says how fresh the answer must be: one that follows a change takes no answer of a read that
//! began before it, and no reader gets an answer that it had before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use latchkey_crds::external_secret::{Find, GeneratorRef, RemoteRef, SecretStoreRef};
use latchkey_engine::source::{
    Caller, FailureClass, FetchError, GenerateError, Generated, PodCaller, Source, Standing,
};
use latchkey_secret::{SecretData, SecretValue};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::metrics::{Metrics, Saved};
use crate::generators::journal::Batch;

/// How long an answer serves further readers, from the beginning of its read.
const KEPT: Duration = Duration::from_secs(3);
/// Most reads that run or are kept; further ones are shared with nobody.
const MAX_READS: usize = 256;
/// Most bytes in all answers that are kept.
const MAX_BYTES: usize = 4 << 20;
/// Most bytes in one of them.
const MAX_ANSWER: usize = 1 << 20;

/// A source whose answers are shared.
pub(super) struct SharedReads<S> {
    source: Arc<S>,
    reads: Arc<Reads>,
    metrics: Metrics,
}

/// [`SharedReads`] as one fetch uses it.
pub(super) struct Reader<'a, S> {
    shared: &'a SharedReads<S>,
    /// Reads that began until then are not for this fetch.
    fresh_since: Option<Instant>,
    /// Where it is noted what generators leave; without it they leave nothing.
    batch: Option<&'a Batch>,
}

/// Whom an answer may serve.
#[derive(Clone, PartialEq)]
struct Key {
    namespace: String,
    identity: Identity,
    store: SecretStoreRef,
    standing: Standing,
    ask: Ask,
}

/// Under whose identity the provider is asked. Values that it gave to one are never shown to another (csi.md 9.2).
#[derive(Clone, PartialEq, Eq)]
enum Identity {
    /// The agent's own, or the store's.
    Store,
    /// That of a pod, or of all pods of its service account.
    Pods(PodCaller),
}

/// What the provider is asked for.
#[derive(Clone, PartialEq)]
enum Ask {
    Secret(RemoteRef),
    Map(RemoteRef),
    Find(Find),
}

/// What it answered. No Debug: these are secret values.
enum Answer {
    Secret(SecretValue),
    Map(BTreeMap<String, SecretValue>),
}

type Flight = BoxFuture<'static, Result<Arc<Answer>, FetchError>>;

/// A read that runs or has ended of late.
struct Read {
    number: u64,
    key: Key,
    began: Instant,
    state: State,
}

enum State {
    /// Nobody waits any more once it cannot be upgraded.
    Runs(WeakShared<Flight>),
    Ended(Arc<Answer>, usize),
}

/// All reads. The newest of a key is the last.
#[derive(Default)]
struct Reads {
    all: Mutex<Vec<Read>>,
    /// Told when an answer is kept.
    kept: Notify,
}

/// The entry of a read that runs: gone with it, unless it left an answer.
struct Departure {
    reads: Arc<Reads>,
    number: u64,
}

/// What a reader finds.
enum Found {
    Kept(Arc<Answer>),
    Running(Shared<Flight>),
    Started(Shared<Flight>),
    /// Too many reads.
    NoRoom,
}

// === impl SharedReads ===

impl<S: Source + 'static> SharedReads<S> {
    pub(super) fn new(source: Arc<S>, metrics: Metrics) -> Self {
        Self {
            source,
            reads: Arc::default(),
            metrics,
        }
    }

    /// For one fetch, which takes no answer of a read that began before `fresh_since`, and notes in `batch` what can be revoked.
    pub(super) fn reader<'a>(
        &'a self,
        fresh_since: Option<Instant>,
        batch: Option<&'a Batch>,
    ) -> Reader<'a, S> {
        Reader {
            shared: self,
            fresh_since,
            batch,
        }
    }

    /// Wipes answers when their time is over, until `cancel`.
    pub(super) fn wipe(&self, cancel: CancellationToken) -> impl Future<Output = ()> + use<S> {
        let reads = Arc::clone(&self.reads);
        async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = reads.wipe() => {}
            }
            reads.all.lock().clear();
        }
    }

    /// Reads that run or are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.reads.all.lock().len()
    }

    async fn read(
        &self,
        caller: &Caller,
        store: &SecretStoreRef,
        ask: Ask,
        fresh_since: Option<Instant>,
    ) -> Result<Arc<Answer>, FetchError> {
        let Ok(standing) = self.source.standing(caller, &[store]).await else {
            // The read itself says best why.
            return send(&*self.source, caller, store, &ask).await;
        };
        let key = Key {
            namespace: caller.namespace.clone(),
            identity: Identity::of(caller),
            store: store.clone(),
            standing,
            ask,
        };
        let source = Arc::clone(&self.source);
        let (asking, for_store, what) = (caller.clone(), store.clone(), key.ask.clone());
        let start = || async move { send(&*source, &asking, &for_store, &what).await };
        match self.reads.find(&key, fresh_since, start) {
            Found::Kept(answer) => {
                self.metrics.saved(Saved::Recent);
                Ok(answer)
            }
            Found::Running(flight) => {
                self.metrics.saved(Saved::InFlight);
                flight.await
            }
            Found::Started(flight) => flight.await,
            Found::NoRoom => send(&*self.source, caller, store, &key.ask).await,
        }
    }
}

async fn send<S: Source>(
    source: &S,
    caller: &Caller,
    store: &SecretStoreRef,
    ask: &Ask,
) -> Result<Arc<Answer>, FetchError> {
    let answer = match ask {
        Ask::Secret(remote) => Answer::Secret(source.secret(caller, store, remote).await?),
        Ask::Map(remote) => Answer::Map(source.secret_map(caller, store, remote).await?),
        Ask::Find(find) => Answer::Map(source.find(caller, store, find).await?),
    };
    Ok(Arc::new(answer))
}

// === impl Reader ===

impl<S: Source + 'static> Source for Reader<'_, S> {
    async fn secret(
        &self,
        caller: &Caller,
        store: &SecretStoreRef,
        remote: &RemoteRef,
    ) -> Result<SecretValue, FetchError> {
        let ask = Ask::Secret(remote.clone());
        let answer = self
            .shared
            .read(caller, store, ask, self.fresh_since)
            .await?;
        match &*answer {
            Answer::Secret(value) => Ok(value.clone()),
            // The request is part of the key.
            Answer::Map(_) => Err(FetchError::NoSecret),
        }
    }

    async fn secret_map(
        &self,
        caller: &Caller,
        store: &SecretStoreRef,
        remote: &RemoteRef,
    ) -> Result<BTreeMap<String, SecretValue>, FetchError> {
        let ask = Ask::Map(remote.clone());
        let answer = self
            .shared
            .read(caller, store, ask, self.fresh_since)
            .await?;
        Ok(answer.map())
    }

    async fn find(
        &self,
        caller: &Caller,
        store: &SecretStoreRef,
        find: &Find,
    ) -> Result<SecretData, FetchError> {
        let ask = Ask::Find(find.clone());
        let answer = self
            .shared
            .read(caller, store, ask, self.fresh_since)
            .await?;
        Ok(answer.map())
    }

    async fn standing(
        &self,
        caller: &Caller,
        stores: &[&SecretStoreRef],
    ) -> Result<Standing, FetchError> {
        self.shared.source.standing(caller, stores).await
    }

    /// Shared with nobody: whoever asks has values of its own made.
    async fn generate(
        &self,
        caller: &Caller,
        entry: usize,
        generator: &GeneratorRef,
    ) -> Result<Generated, GenerateError> {
        let generated = self.shared.source.generate(caller, entry, generator);
        let mut generated = generated.await?;
        if let (Some(batch), Some(left)) = (self.batch, generated.state.take()) {
            batch.note(entry, left).await.map_err(|error| {
                GenerateError::Use(FetchError::Failed {
                    class: FailureClass::Unavailable,
                    message: error.to_string(),
                    retry_after: None,
                })
            })?;
        }
        Ok(generated)
    }
}

// === impl Identity ===

impl Identity {
    fn of(caller: &Caller) -> Self {
        // In full: whoever gives callers an identity of their own has to say here whom its values may serve.
        let Caller {
            namespace: _,
            name: _,
            uid: _,
            pod,
        } = caller;
        pod.clone().map_or(Self::Store, Self::Pods)
    }
}

// === impl Answer ===

impl Answer {
    fn map(&self) -> BTreeMap<String, SecretValue> {
        match self {
            Self::Map(values) => values.clone(),
            Self::Secret(_) => BTreeMap::new(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Secret(value) => value.expose().len(),
            Self::Map(values) => values
                .iter()
                .map(|(key, value)| key.len() + value.expose().len())
                .sum(),
        }
    }
}

// === impl Reads ===

impl Reads {
    /// Finds an answer for `key` that is fresh enough, or a read that will have one, or starts a read.
    fn find<F>(
        self: &Arc<Self>,
        key: &Key,
        fresh_since: Option<Instant>,
        start: impl FnOnce() -> F,
    ) -> Found
    where
        F: Future<Output = Result<Arc<Answer>, FetchError>> + Send + 'static,
    {
        let now = Instant::now();
        let mut all = self.all.lock();
        expire(&mut all, now);
        let is_fresh =
            |read: &&Read| read.key == *key && fresh_since.is_none_or(|since| read.began > since);
        match all.iter().rev().find(is_fresh).map(|read| &read.state) {
            Some(State::Ended(answer, _)) => return Found::Kept(Arc::clone(answer)),
            Some(State::Runs(flight)) => {
                if let Some(flight) = flight.upgrade() {
                    return Found::Running(flight);
                }
            }
            None => {}
        }
        if all.len() >= MAX_READS {
            return Found::NoRoom;
        }
        let number = all.last().map_or(0, |read| read.number + 1);
        let departure = Departure {
            reads: Arc::clone(self),
            number,
        };
        let work = start();
        let flight = async move {
            let result = work.await;
            departure.arrive(&result);
            result
        };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            all.push(Read {
                number,
                key: key.clone(),
                began: now,
                state: State::Runs(weak),
            });
        }
        Found::Started(flight)
    }

    /// Wipes for ever.
    async fn wipe(&self) {
        loop {
            self.kept.notified().await;
            while self.has_answers() {
                sleep(KEPT).await;
                expire(&mut self.all.lock(), Instant::now());
            }
        }
    }

    fn has_answers(&self) -> bool {
        let all = self.all.lock();
        all.iter()
            .any(|read| matches!(read.state, State::Ended(..)))
    }
}

/// Forgets answers whose time is over.
fn expire(all: &mut Vec<Read>, now: Instant) {
    all.retain(|read| match read.state {
        State::Runs(_) => true,
        State::Ended(..) => now < read.began + KEPT,
    });
}

// === impl Departure ===

impl Departure {
    /// Keeps the answer, if it is one and there is room.
    fn arrive(self, result: &Result<Arc<Answer>, FetchError>) {
        let Ok(answer) = result else { return };
        let size = answer.bytes();
        let mut all = self.reads.all.lock();
        let kept: usize = all
            .iter()
            .map(|read| match read.state {
                State::Runs(_) => 0,
                State::Ended(_, size) => size,
            })
            .sum();
        if size > MAX_ANSWER || kept + size > MAX_BYTES {
            return;
        }
        if let Some(read) = all.iter_mut().find(|read| read.number == self.number) {
            read.state = State::Ended(Arc::clone(answer), size);
            self.reads.kept.notify_one();
        }
    }
}

/// What was read with nobody waiting any more, or failed, leaves nothing.
impl Drop for Departure {
    fn drop(&mut self) {
        let mut all = self.reads.all.lock();
        all.retain(|read| read.number != self.number || matches!(read.state, State::Ended(..)));
    }
}

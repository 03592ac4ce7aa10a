//! Stores, generators and namespaces through watches of single objects, for the role `node`.
//!
//! A watch begins with the first question about an object and ends when nobody has asked for a while, so that a node follows
//! only what is in use on it. While the API server is away, the last known state is answered.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, PartialObjectMeta};
use kube::core::DeserializeGuard;
use kube::runtime::{WatchStreamExt as _, watcher};
use latchkey_crds::generator::{ClusterGenerator, Generator};
use latchkey_crds::secret_store::{ClusterSecretStore, SecretStore};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::model::{Store, StoreKey};
use super::reader::{ReadError, StoreReader, unreachable};
use crate::namespaces::WatchNamespaces;

/// Times of a [`WatchReader`].
#[derive(Clone, Debug)]
pub struct WatchSettings {
    /// Longest wait for the first answer about an object. Default 10 s.
    pub first_answer: Duration,
    /// How long nobody may have asked before a watch ends. Default 2 h, so that hourly refreshes keep theirs.
    pub idle: Duration,
    /// Most objects that are watched at a time, per kind; the one unasked for longest gives way. Default 512.
    pub limit: usize,
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self {
            first_answer: Duration::from_secs(10),
            idle: Duration::from_secs(2 * 3600),
            limit: 512,
        }
    }
}

/// Reads through watches by name.
pub struct WatchReader {
    client: Client,
    settings: WatchSettings,
    reach: WatchNamespaces,
    stores: Watched<StoreKey, Store>,
    namespaces: Watched<String, BTreeMap<String, String>>,
}

impl WatchReader {
    /// Reads through `client`. All watches end with `cancel` or when the reader is dropped.
    #[must_use]
    pub fn new(client: Client, settings: WatchSettings, cancel: &CancellationToken) -> Self {
        Self {
            client,
            settings,
            reach: WatchNamespaces::all(),
            stores: Watched::new(cancel),
            namespaces: Watched::new(cancel),
        }
    }

    /// Reads only what an agent that works in `namespaces` may read.
    #[must_use]
    pub fn limited_to(self, namespaces: WatchNamespaces) -> Self {
        Self {
            reach: namespaces,
            ..self
        }
    }

    /// Follows one store or generator: a change of the value means that it may have become ready, or changed.
    ///
    /// The watch lives at least as long as the receiver is used through this reader.
    #[must_use]
    pub fn follow(&self, key: &StoreKey) -> watch::Receiver<Option<Result<Arc<Store>, ReadError>>> {
        self.stores
            .subscribe(key, &self.settings, || stores(&self.client, key))
    }
}

impl StoreReader for WatchReader {
    async fn store(&self, key: &StoreKey) -> Result<Arc<Store>, ReadError> {
        if let Some(reason) = unreachable(key, &self.reach) {
            return Err(ReadError::OutOfReach(reason));
        }
        first(self.follow(key), self.settings.first_answer).await
    }

    async fn namespace_labels(
        &self,
        name: &str,
    ) -> Result<Arc<BTreeMap<String, String>>, ReadError> {
        let owned = name.to_owned();
        let receiver = self.namespaces.subscribe(&owned, &self.settings, || {
            let api: Api<PartialObjectMeta<Namespace>> = Api::all(self.client.clone());
            single(api, name, |found: PartialObjectMeta<Namespace>| {
                found.metadata.labels.unwrap_or_default()
            })
        });
        first(receiver, self.settings.first_answer).await
    }
}

type State<V> = Option<Result<Arc<V>, ReadError>>;
type States<V> = futures::stream::BoxStream<'static, Result<Arc<V>, ReadError>>;

fn stores(client: &Client, key: &StoreKey) -> States<Store> {
    let (client, namespace, name) = (client.clone(), &*key.namespace, &*key.name);
    match (key.is_generator(), key.is_cluster()) {
        (false, false) => guarded(
            Api::<DeserializeGuard<SecretStore>>::namespaced(client, namespace),
            name,
            |found| Store::from(found),
        ),
        (false, true) => guarded(
            Api::<DeserializeGuard<ClusterSecretStore>>::all(client),
            name,
            |found| Store::from(found),
        ),
        (true, false) => guarded(
            Api::<DeserializeGuard<Generator>>::namespaced(client, namespace),
            name,
            |found| Store::from(found),
        ),
        (true, true) => guarded(
            Api::<DeserializeGuard<ClusterGenerator>>::all(client),
            name,
            |found| Store::from(found),
        ),
    }
}

fn guarded<K>(
    api: Api<DeserializeGuard<K>>,
    name: &str,
    convert: impl Fn(&K) -> Store + Send + 'static,
) -> States<Store>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
    DeserializeGuard<K>:
        kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    states(
        watcher::watch_object(api, name),
        move |found: DeserializeGuard<K>| match found.0 {
            Ok(object) => Ok(convert(&object)),
            Err(error) => Err(ReadError::Malformed(
                error.error.chars().take(256).collect(),
            )),
        },
    )
}

fn single<K, V>(api: Api<K>, name: &str, convert: impl Fn(K) -> V + Send + 'static) -> States<V>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
    V: Send + Sync + 'static,
{
    states(watcher::watch_object(api, name), move |found| {
        Ok(convert(found))
    })
}

fn states<K, V>(
    objects: impl Stream<Item = watcher::Result<Option<K>>> + Send + 'static,
    convert: impl Fn(K) -> Result<V, ReadError> + Send + 'static,
) -> States<V>
where
    K: Send + 'static,
    V: Send + Sync + 'static,
{
    objects
        .default_backoff()
        .map(move |object| match object {
            Ok(Some(object)) => convert(object).map(Arc::new),
            Ok(None) => Err(ReadError::Missing),
            Err(error) => Err(ReadError::Failed(
                error.to_string().chars().take(256).collect(),
            )),
        })
        .boxed()
}

/// Objects of one kind that are watched.
struct Watched<K, V> {
    entries: Mutex<HashMap<K, Entry<V>>>,
    cancel: CancellationToken,
}

struct Entry<V> {
    state: watch::Receiver<State<V>>,
    asked: Instant,
    cancel: CancellationToken,
}

impl<K: Clone + Eq + std::hash::Hash, V: Send + Sync + 'static> Watched<K, V> {
    fn new(cancel: &CancellationToken) -> Self {
        Self {
            entries: Mutex::new(HashMap::new()),
            cancel: cancel.child_token(),
        }
    }

    fn subscribe(
        &self,
        key: &K,
        settings: &WatchSettings,
        begin: impl FnOnce() -> States<V>,
    ) -> watch::Receiver<State<V>> {
        let now = Instant::now();
        let mut entries = self.entries.lock();
        entries.retain(|_, entry| {
            let is_kept =
                now.duration_since(entry.asked) < settings.idle && !entry.cancel.is_cancelled();
            if !is_kept {
                entry.cancel.cancel();
            }
            is_kept
        });
        if let Some(entry) = entries.get_mut(key) {
            entry.asked = now;
            return entry.state.clone();
        }
        if entries.len() >= settings.limit.max(1) {
            let oldest = entries
                .iter()
                .min_by_key(|(_, entry)| entry.asked)
                .map(|(key, _)| key.clone());
            if let Some(entry) = oldest.and_then(|oldest| entries.remove(&oldest)) {
                entry.cancel.cancel();
            }
        }
        let (sender, state) = watch::channel(None);
        let cancel = self.cancel.child_token();
        tokio::spawn(follow(begin(), sender, cancel.clone()));
        entries.insert(
            key.clone(),
            Entry {
                state: state.clone(),
                asked: now,
                cancel,
            },
        );
        state
    }
}

impl<K, V> Drop for Watched<K, V> {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

async fn follow<V>(
    mut states: States<V>,
    sender: watch::Sender<State<V>>,
    cancel: CancellationToken,
) {
    // Whatever ends this task, nobody may go on reading a state that no longer follows.
    let _end = cancel.clone().drop_guard();
    loop {
        let next = tokio::select! {
            () = cancel.cancelled() => return,
            next = states.next() => next,
        };
        let Some(next) = next else { return };
        sender.send_if_modified(|current| {
            // A broken watch is not news about the object.
            let keeps = matches!(next, Err(ReadError::Failed(_)))
                && current.is_some()
                && !matches!(current, Some(Err(ReadError::Failed(_))));
            if keeps {
                return false;
            }
            *current = Some(next);
            true
        });
    }
}

async fn first<V>(
    mut state: watch::Receiver<State<V>>,
    limit: Duration,
) -> Result<Arc<V>, ReadError> {
    let known = tokio::time::timeout(limit, state.wait_for(Option::is_some)).await;
    match known {
        Ok(Ok(known)) => known
            .clone()
            .unwrap_or(Err(ReadError::Failed("the watch has no state".into()))),
        Ok(Err(_)) => Err(ReadError::Failed("the watch ended".into())),
        Err(_) => Err(ReadError::Failed(format!(
            "no answer within {} s",
            limit.as_secs()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::StreamExt as _;
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::{ReadError, States, WatchSettings, Watched, first};

    type Sender = mpsc::UnboundedSender<Result<u32, ReadError>>;

    fn states() -> (Sender, States<u32>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let stream = tokio_stream::wrappers::UnboundedReceiverStream::new(receiver);
        (
            sender,
            stream
                .map(|item: Result<u32, ReadError>| item.map(std::sync::Arc::new))
                .boxed(),
        )
    }

    async fn settled() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn last_known_state_outlives_a_broken_watch_but_not_a_deletion() {
        let watched: Watched<u8, u32> = Watched::new(&CancellationToken::new());
        let (sender, stream) = states();
        let receiver = watched.subscribe(&1, &WatchSettings::default(), || stream);
        sender.send(Err(ReadError::Failed("down".into()))).unwrap();
        settled().await;
        let limit = Duration::from_secs(1);
        assert_eq!(
            first(receiver.clone(), limit).await,
            Err(ReadError::Failed("down".into()))
        );
        sender.send(Ok(7)).unwrap();
        settled().await;
        assert_eq!(first(receiver.clone(), limit).await.as_deref(), Ok(&7));
        sender.send(Err(ReadError::Failed("down".into()))).unwrap();
        settled().await;
        assert_eq!(first(receiver.clone(), limit).await.as_deref(), Ok(&7));
        sender.send(Err(ReadError::Missing)).unwrap();
        settled().await;
        assert_eq!(first(receiver, limit).await, Err(ReadError::Missing));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_as_a_failure_and_never_as_missing() {
        let watched: Watched<u8, u32> = Watched::new(&CancellationToken::new());
        let (_sender, stream) = states();
        let receiver = watched.subscribe(&1, &WatchSettings::default(), || stream);
        let answer = first(receiver, Duration::from_secs(10)).await;
        assert_eq!(
            answer,
            Err(ReadError::Failed("no answer within 10 s".into()))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn watches_end_when_idle_crowded_out_or_dropped() {
        let settings = WatchSettings {
            limit: 2,
            ..Default::default()
        };
        let watched: Watched<u8, u32> = Watched::new(&CancellationToken::new());
        let mut senders = Vec::new();
        for key in 0..3 {
            let (sender, stream) = states();
            let _ = watched.subscribe(&key, &settings, || stream);
            senders.push(sender);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        settled().await;
        assert!(senders[0].is_closed() && !senders[1].is_closed() && !senders[2].is_closed());

        tokio::time::advance(settings.idle).await;
        let (sender, stream) = states();
        let _ = watched.subscribe(&9, &settings, || stream);
        settled().await;
        assert!(senders[1].is_closed() && senders[2].is_closed() && !sender.is_closed());

        drop(watched);
        settled().await;
        assert!(sender.is_closed());
    }
}

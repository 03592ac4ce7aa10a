//! One backend fetch for all reads of one reconcile (specification 2.6).
//!
//! An agent asks for each entry of an ExternalSecret on its own. Reads that carry the same reconcile id and address the same
//! backend object are answered from one fetch, so they cost one call and see one version. A missing object is remembered in
//! the same way; other failures are shared by those who wait for them and then forgotten.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::{ErrorClass, Result};

/// Life of an entry of a reconcile.
const RECONCILE_TTL: Duration = Duration::from_secs(30);
/// Most entries.
const MAX_ENTRIES: usize = 1024;
/// Time between two removals of entries that ended.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// A cache of fetched objects. `T` should wipe itself when dropped.
pub struct ReadCache<T> {
    entries: Arc<Entries<T>>,
    reconcile_ttl: Duration,
    idle_ttl: Duration,
    hits: Counter,
}

struct Entries<T>(Mutex<HashMap<String, Entry<T>>>);

struct Entry<T> {
    cell: Arc<OnceCell<Result<Arc<T>>>>,
    ends: Instant,
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self {
            cell: self.cell.clone(),
            ends: self.ends,
        }
    }
}

// === impl ReadCache ===

impl<T: Send + Sync + 'static> ReadCache<T> {
    /// An empty cache. `ttl` is how long reads without reconcile id are shared, zero for not at all; `hits` counts answers
    /// from the cache. Must be called inside a Tokio runtime; the task that removes old entries ends with the cache or `stop`.
    #[must_use]
    pub fn new(ttl: Duration, hits: Counter, stop: CancellationToken) -> Self {
        Self::with_times(RECONCILE_TTL, ttl, SWEEP_INTERVAL, hits, stop)
    }

    fn with_times(
        reconcile_ttl: Duration,
        idle_ttl: Duration,
        sweep_interval: Duration,
        hits: Counter,
        stop: CancellationToken,
    ) -> Self {
        let entries = Arc::new(Entries(Mutex::new(HashMap::new())));
        tokio::spawn(sweep(Arc::downgrade(&entries), sweep_interval, stop));
        Self {
            entries,
            reconcile_ttl,
            idle_ttl,
            hits,
        }
    }

    /// Answers from the cache or by `fetch`, which runs once for all who ask meanwhile.
    ///
    /// `key` must name everything that the answer depends on: the client, the credentials, the backend object, the version and
    /// the mode.
    ///
    /// # Errors
    ///
    /// Those of `fetch`.
    ///
    /// # Cancel safety
    ///
    /// When the caller that fetches goes away, another one that waits fetches again.
    pub async fn fetch<F>(
        &self,
        reconcile_id: Option<&str>,
        key: &str,
        fetch: impl FnOnce() -> F,
    ) -> Result<Arc<T>>
    where
        F: Future<Output = Result<T>>,
    {
        let ttl = if reconcile_id.is_some() {
            self.reconcile_ttl
        } else {
            self.idle_ttl
        };
        if ttl.is_zero() {
            return fetch().await.map(Arc::new);
        }
        // Length first: no id and key can be cut differently and mean another pair.
        let id = reconcile_id.unwrap_or_default();
        let name = format!("{}:{id}{key}", id.len());
        let cell = self.entries.cell(&name, ttl);
        let mut fetched = false;
        let result = cell
            .get_or_init(|| {
                fetched = true;
                async { fetch().await.map(Arc::new) }
            })
            .await
            .clone();
        match &result {
            Err(error) if error.class() != ErrorClass::SecretNotFound => {
                self.entries.forget(&name, &cell)
            }
            _ if !fetched => {
                self.hits.inc();
            }
            _ => {}
        }
        result
    }

    /// Forgets every entry whose key ends with `key`: after a write to the object.
    pub fn invalidate(&self, key: &str) {
        self.entries.0.lock().retain(|name, _| !name.ends_with(key));
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.0.lock().len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

// === impl Entries ===

impl<T> Entries<T> {
    fn cell(&self, name: &str, ttl: Duration) -> Arc<OnceCell<Result<Arc<T>>>> {
        let now = Instant::now();
        let mut entries = self.0.lock();
        if let Some(entry) = entries.get(name).filter(|entry| entry.ends > now) {
            return entry.cell.clone();
        }
        if entries.len() >= MAX_ENTRIES {
            entries.retain(|_, entry| entry.ends > now);
        }
        if entries.len() >= MAX_ENTRIES
            && let Some(oldest) = entries
                .iter()
                .min_by_key(|(_, entry)| entry.ends)
                .map(|(name, _)| name.clone())
        {
            entries.remove(&oldest);
        }
        let cell = Arc::new(OnceCell::new());
        entries.insert(
            name.to_owned(),
            Entry {
                cell: cell.clone(),
                ends: now + ttl,
            },
        );
        cell
    }

    fn forget(&self, name: &str, cell: &Arc<OnceCell<Result<Arc<T>>>>) {
        let mut entries = self.0.lock();
        if entries
            .get(name)
            .is_some_and(|entry| Arc::ptr_eq(&entry.cell, cell))
        {
            entries.remove(name);
        }
    }
}

async fn sweep<T>(entries: Weak<Entries<T>>, interval: Duration, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
        let Some(entries) = entries.upgrade() else {
            return;
        };
        let now = Instant::now();
        entries.0.lock().retain(|_, entry| entry.ends > now);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::ProviderError;

    fn cache(ttl: Duration) -> ReadCache<usize> {
        ReadCache::new(ttl, Counter::default(), CancellationToken::new())
    }

    #[tokio::test]
    async fn reads_of_one_reconcile_share_one_fetch() {
        let cache = Arc::new(cache(Duration::ZERO));
        let fetches = Arc::new(AtomicUsize::new(0));
        let mut readers = tokio::task::JoinSet::new();
        for _ in 0..200 {
            let (cache, fetches) = (cache.clone(), fetches.clone());
            readers.spawn(async move {
                cache
                    .fetch(Some("r1"), "object", || async {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        Ok(fetches.fetch_add(1, Ordering::SeqCst))
                    })
                    .await
                    .map(|value| *value)
            });
        }
        while let Some(result) = readers.join_next().await {
            assert_eq!(result.unwrap(), Ok(0));
        }
        assert_eq!((fetches.load(Ordering::SeqCst), cache.hits.get()), (1, 199));
        assert_eq!(
            cache
                .fetch(Some("r2"), "object", async || Ok(7))
                .await
                .map(|value| *value),
            Ok(7)
        );
    }

    #[tokio::test]
    async fn entries_end_without_another_read() {
        let tick = Duration::from_millis(20);
        let cache = ReadCache::with_times(
            tick,
            tick,
            tick,
            Counter::default(),
            CancellationToken::new(),
        );
        cache.fetch(Some("r"), "k", async || Ok(1)).await.unwrap();
        assert_eq!(cache.len(), 1);
        tokio::time::sleep(tick * 20).await;
        assert!(cache.is_empty());
    }

    #[tokio::test]
    async fn reads_without_id_are_not_shared_by_default() {
        let off = cache(Duration::ZERO);
        assert_eq!(
            off.fetch(None, "k", async || Ok(1))
                .await
                .map(|value| *value),
            Ok(1)
        );
        assert_eq!(
            off.fetch(None, "k", async || Ok(2))
                .await
                .map(|value| *value),
            Ok(2)
        );
        let on = cache(Duration::from_secs(60));
        assert_eq!(
            on.fetch(None, "k", async || Ok(1))
                .await
                .map(|value| *value),
            Ok(1)
        );
        assert_eq!(
            on.fetch(None, "k", async || Ok(2))
                .await
                .map(|value| *value),
            Ok(1)
        );
        on.invalidate("k");
        assert_eq!(
            on.fetch(None, "k", async || Ok(3))
                .await
                .map(|value| *value),
            Ok(3)
        );
    }

    #[tokio::test]
    async fn a_missing_object_is_remembered_and_other_failures_are_not() {
        let cache = cache(Duration::ZERO);
        let missing = cache
            .fetch(Some("r"), "a", async || {
                Err(ProviderError::secret_not_found())
            })
            .await;
        assert_eq!(missing.unwrap_err().class(), ErrorClass::SecretNotFound);
        assert!(cache.fetch(Some("r"), "a", async || Ok(1)).await.is_err());
        assert!(
            cache
                .fetch(Some("r"), "b", async || Err(ProviderError::internal("x")))
                .await
                .is_err()
        );
        assert_eq!(
            cache
                .fetch(Some("r"), "b", async || Ok(1))
                .await
                .map(|value| *value),
            Ok(1)
        );
    }

    #[tokio::test]
    async fn the_number_of_entries_is_bounded() {
        let cache = cache(Duration::ZERO);
        for index in 0..MAX_ENTRIES + 10 {
            cache
                .fetch(Some(&index.to_string()), "k", async || Ok(index))
                .await
                .unwrap();
        }
        assert_eq!(cache.len(), MAX_ENTRIES);
    }
}

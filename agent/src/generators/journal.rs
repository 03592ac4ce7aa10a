//! What a node's volumes had made, on the node's own disk, until it is revoked (csi.md 6.4).
//!
//! ```text
//! Generate ─> noted (a file, before the values are used) ─> in use ─> replaced ─> due after the grace ─> Cleanup ─> gone
//!                └─ the fetch fails ─> due at once          └─ the last volume goes ─> due at once
//! ```
//!
//! A file holds what a GeneratorState holds ([`super::states`]): the snapshot of the generator and what its provider left. Neither
//! has values or credentials in it (generators.md 1.2), so that csi.md 7.1 admits it. It spares nodes every verb on
//! GeneratorStates, with which a node could have the values of all tenants revoked. A process that is killed leaves files: what was
//! noted and not yet in use is revoked by the next one.

mod files;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use latchkey_engine::source::{GeneratedState, Source};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use self::files::Owner;
use self::files::{Files, Note};
use super::states::pause;

/// Values that are revoked at a time.
const CONCURRENCY: usize = 4;
/// Most values that are kept in mind; beyond them nothing is made.
const MAX_RECORDS: usize = 4096;

/// All values of a node that can be revoked.
pub struct Journal {
    files: Arc<Files>,
    grace: Duration,
    records: Mutex<Vec<Record>>,
    /// Told when there may be something to do.
    wake: Notify,
}

/// What one fetch has made. Unless it is committed, all of it is revoked.
pub struct Batch {
    journal: Arc<Journal>,
    owner: Owner,
    ids: Mutex<Vec<u64>>,
}

/// What was made cannot be kept, and is revoked.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// There are too many already.
    #[error("{MAX_RECORDS} generated values of this node wait for their revocation")]
    Full,
    /// The disk refuses.
    #[error("failed to note what revokes generated values: {0}")]
    Disk(#[from] std::io::Error),
}

/// One value.
struct Record {
    id: u64,
    owner: Owner,
    entry: usize,
    made_on: Timestamp,
    left: Arc<GeneratedState>,
    stage: Stage,
    /// The file says something else.
    is_unsaved: bool,
    /// Consecutive failures of its revocation.
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The fetch that had it made is not over.
    Making,
    /// Volumes show it.
    InUse,
    /// It is revoked from then on.
    Due(Instant),
}

/// What there is to do.
#[derive(Debug, Default, PartialEq, Eq)]
struct Todo {
    save: Vec<u64>,
    revoke: Vec<u64>,
    /// When there is more.
    next: Option<Instant>,
}

// === impl Journal ===

impl Journal {
    /// Reads what an earlier process left in `directory`, which need not exist. Replaced values stay valid for `grace`. Blocks.
    #[must_use]
    pub fn open(directory: PathBuf, grace: Duration) -> Arc<Self> {
        let files = Files::new(directory);
        let records = files.load().into_iter();
        let records = records.map(|(id, note)| Record::of(id, note)).collect();
        Arc::new(Self {
            files: Arc::new(files),
            grace,
            records: Mutex::new(records),
            wake: Notify::new(),
        })
    }

    /// For one fetch of what `owner` shows.
    #[must_use]
    pub fn batch(self: &Arc<Self>, owner: Owner) -> Batch {
        Batch {
            journal: Arc::clone(self),
            owner,
            ids: Mutex::default(),
        }
    }

    /// How long ago the values were made that `owner` shows; `None` if there are none that can be revoked.
    #[must_use]
    pub fn age(&self, owner: &Owner) -> Option<Duration> {
        let records = self.records.lock();
        let in_use = records
            .iter()
            .filter(|record| record.owner == *owner && record.stage == Stage::InUse);
        let latest = in_use.map(|record| record.made_on).max()?;
        let age = Timestamp::now().duration_since(latest);
        Some(Duration::try_from(age).unwrap_or_default())
    }

    /// `owner` shows what has the numbers `kept`, and nothing older any more: that is revoked after the grace.
    pub fn supersede(&self, owner: &Owner, kept: &[u64]) {
        self.flag(self.grace, |record| {
            record.owner == *owner && !kept.contains(&record.id)
        });
    }

    /// Nobody shows what these owners had made: it is revoked.
    pub fn release(&self, is_unused: impl Fn(&Owner) -> bool) {
        self.flag(Duration::ZERO, |record| is_unused(&record.owner));
    }

    /// Values that are not revoked yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.lock().len()
    }

    /// Whether nothing is left to revoke, now or later.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Revokes through `source` what is due, until `cancel`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops at once; what was revoked and is still noted is revoked again, which is harmless.
    pub async fn run<S: Source>(&self, source: &S, cancel: CancellationToken) {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.work(source) => {}
        }
    }

    async fn work<S: Source>(&self, source: &S) {
        loop {
            let todo = todo(&self.records.lock(), Instant::now());
            for id in &todo.save {
                if let Err(error) = self.save(*id).await {
                    warn!(%error, "a generated value may be revoked later than it should");
                }
            }
            futures::stream::iter(&todo.revoke)
                .for_each_concurrent(CONCURRENCY, |id| self.revoke(source, *id))
                .await;
            if !todo.revoke.is_empty() {
                continue;
            }
            let next = async {
                match todo.next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.wake.notified() => {}
                () = next => {}
            }
        }
    }

    async fn revoke<S: Source>(&self, source: &S, id: u64) {
        let found = self.with(id, |record| {
            (record.owner.clone(), Arc::clone(&record.left))
        });
        let Some((owner, left)) = found else { return };
        let Err(error) = source.revoke(&owner.namespace, &left).await else {
            let files = Arc::clone(&self.files);
            if let Err(error) = blocking(move || files.remove(id)).await {
                warn!(%error, "the note of a revoked value stays");
            }
            self.records.lock().retain(|record| record.id != id);
            return;
        };
        warn!(namespace = owner.namespace, object = owner.object, %error, "generated values are revoked later");
        self.with(id, |record| {
            record.failures = record.failures.saturating_add(1);
            record.stage = Stage::Due(Instant::now() + pause(record.failures));
        });
    }

    /// Has records revoked that are in use.
    fn flag(&self, delay: Duration, is_meant: impl Fn(&Record) -> bool) {
        let at = Instant::now() + delay;
        let mut records = self.records.lock();
        for record in records.iter_mut() {
            if record.stage == Stage::InUse && is_meant(record) {
                record.stage = Stage::Due(at);
                record.is_unsaved = true;
            }
        }
        drop(records);
        self.wake.notify_one();
    }

    /// Writes the file of a record as it is.
    async fn save(&self, id: u64) -> std::io::Result<()> {
        let note = self.with(id, |record| {
            record.is_unsaved = false;
            record.note()
        });
        let Some(note) = note else { return Ok(()) };
        let files = Arc::clone(&self.files);
        blocking(move || files.save(id, &note)).await
    }

    fn with<T>(&self, id: u64, work: impl FnOnce(&mut Record) -> T) -> Option<T> {
        let mut records = self.records.lock();
        records.iter_mut().find(|record| record.id == id).map(work)
    }
}

// === impl Batch ===

impl Batch {
    /// Notes what the generator of an entry left, before its values are used.
    ///
    /// # Errors
    ///
    /// [`JournalError`]: the values must not be used.
    pub async fn note(&self, entry: usize, left: GeneratedState) -> Result<(), JournalError> {
        let id = rand::random();
        let is_full = {
            let mut records = self.journal.records.lock();
            let is_full = records.len() >= MAX_RECORDS;
            records.push(Record {
                id,
                owner: self.owner.clone(),
                entry,
                made_on: Timestamp::now(),
                left: Arc::new(left),
                stage: Stage::Making,
                is_unsaved: false,
                failures: 0,
            });
            is_full
        };
        self.ids.lock().push(id);
        if is_full {
            return Err(JournalError::Full);
        }
        Ok(self.journal.save(id).await?)
    }

    /// The values are about to be used; their numbers.
    ///
    /// # Errors
    ///
    /// [`JournalError`]: the values must not be used, and are revoked.
    pub async fn commit(self) -> Result<Vec<u64>, JournalError> {
        let ids = self.ids.lock().clone();
        for id in &ids {
            let note = self.journal.with(*id, |record| Note {
                due: None,
                ..record.note()
            });
            if let Some(note) = note {
                let (files, id) = (Arc::clone(&self.journal.files), *id);
                blocking(move || files.save(id, &note)).await?;
            }
        }
        self.ids.lock().clear();
        for id in &ids {
            self.journal.with(*id, |record| record.stage = Stage::InUse);
        }
        Ok(ids)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let now = Instant::now();
        for id in self.ids.get_mut().drain(..) {
            // The file says so already.
            self.journal
                .with(id, |record| record.stage = Stage::Due(now));
        }
        self.journal.wake.notify_one();
    }
}

// === impl Record ===

impl Record {
    fn of(id: u64, note: Note) -> Self {
        let Note {
            owner,
            entry,
            made_on,
            due,
            resource,
            state,
        } = note;
        let stage = due.map_or(Stage::InUse, |due| {
            let left = due.duration_since(Timestamp::now());
            Stage::Due(Instant::now() + Duration::try_from(left).unwrap_or_default())
        });
        Self {
            id,
            owner,
            entry,
            made_on,
            left: Arc::new(GeneratedState { resource, state }),
            stage,
            is_unsaved: false,
            failures: 0,
        }
    }

    fn note(&self) -> Note {
        let due = match self.stage {
            // Whoever finds it has it revoked.
            Stage::Making => Some(self.made_on),
            Stage::InUse => None,
            Stage::Due(at) => {
                let left = at.saturating_duration_since(Instant::now());
                Some(
                    Timestamp::now()
                        .saturating_add(left)
                        .unwrap_or(Timestamp::MAX),
                )
            }
        };
        Note {
            owner: self.owner.clone(),
            entry: self.entry,
            made_on: self.made_on,
            due,
            resource: self.left.resource.clone(),
            state: self.left.state.clone(),
        }
    }
}

fn todo(records: &[Record], now: Instant) -> Todo {
    let mut todo = Todo::default();
    for record in records {
        let Stage::Due(at) = record.stage else {
            continue;
        };
        if at <= now {
            todo.revoke.push(record.id);
            continue;
        }
        todo.next = Some(todo.next.map_or(at, |next| next.min(at)));
        if record.is_unsaved {
            todo.save.push(record.id);
        }
    }
    todo
}

async fn blocking(
    work: impl FnOnce() -> std::io::Result<()> + Send + 'static,
) -> std::io::Result<()> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

#[cfg(test)]
mod tests;

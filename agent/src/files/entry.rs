//! The task of one entry: first content, then every change, each written with one switch and told to whoever waits for it.
//!
//! Content comes from [`Volumes`], as for a mount: one fetch for all entries of an object, its schedule and its retries. A
//! failure of any kind leaves the files as they are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use latchkey_csi::backend::{Backend as _, FileSet, Update};
use latchkey_csi::directory::{DirectoryError, GENERATION_GRACE, Shown};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::action;
use super::config::Entry;
use super::metrics::Metrics;
use super::objects::Sources;
use crate::volumes::Volumes;

/// Longest wait for first content before it is told that there is none.
const FIRST_WAIT: Duration = Duration::from_secs(20);
/// Shortest and longest pause before first content is asked for again.
const FIRST_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Pause before a directory that could not be written is tried again.
const WRITE_PAUSE: Duration = Duration::from_secs(10);
/// How long an action may go on after the agent was told to stop.
const ACTION_DRAIN: Duration = Duration::from_secs(5);

/// How an entry stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing is known yet.
    Pending,
    /// The files are what the provider had.
    Current,
    /// The files are older, or not there.
    Failed(String),
}

/// How all entries stand. Clones share it.
#[derive(Clone)]
pub(super) struct Board(Arc<Shared>);

struct Shared {
    entries: Mutex<BTreeMap<String, Standing>>,
    changes: watch::Sender<u64>,
}

/// What all tasks use.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) volumes: Volumes<Sources>,
    pub(super) board: Board,
    pub(super) metrics: Metrics,
}

/// The task of an entry.
pub(super) struct Keeper {
    entry: Arc<Entry>,
    name: String,
    context: Context,
    cancel: CancellationToken,
    /// When what the last switch left is removed.
    sweep_at: Option<Instant>,
}

// === impl Board ===

impl Board {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared {
            entries: Mutex::default(),
            changes: watch::Sender::new(0),
        }))
    }

    pub(super) fn set(&self, name: &str, standing: Standing) {
        self.0.entries.lock().insert(name.to_owned(), standing);
        self.0.changes.send_modify(|count| *count += 1);
    }

    pub(super) fn remove(&self, name: &str) {
        self.0.entries.lock().remove(name);
        self.0.changes.send_modify(|count| *count += 1);
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    pub(super) fn all(&self) -> BTreeMap<String, Standing> {
        self.0.entries.lock().clone()
    }
}

// === impl Keeper ===

impl Keeper {
    pub(super) fn new(
        name: &str,
        entry: Arc<Entry>,
        context: Context,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            entry,
            name: name.to_owned(),
            context,
            cancel,
            sweep_at: None,
        }
    }

    /// Keeps the files current until the entry is taken away or the agent stops.
    pub(super) async fn run(mut self) {
        if self.entry.is_created_once && self.entry.directory.is_intact() {
            self.context.board.set(&self.name, Standing::Current);
            self.context.metrics.refreshed(&self.name);
            return self.cancel.cancelled().await;
        }
        let Some(first) = self.first().await else {
            return;
        };
        let mut updates = self.context.volumes.subscribe(&self.entry.plan);
        let mut wanted = Some(first);
        let mut again_at = None;
        loop {
            if again_at.is_none()
                && let Some(files) = wanted.take()
            {
                match self.show(files.clone()).await {
                    Ok(_) if self.entry.is_created_once => return self.rest().await,
                    Ok(_) => {}
                    Err(_) => {
                        wanted = Some(files);
                        again_at = Some(Instant::now() + WRITE_PAUSE);
                    }
                }
            }
            tokio::select! {
                () = self.cancel.cancelled() => return,
                update = updates.next() => match update {
                    Some(Update::Content(files, _)) => {
                        wanted = Some(files);
                        again_at = None;
                    }
                    Some(Update::Stale(reason, _)) => self.failed(&reason),
                    None => return,
                },
                () = at(again_at) => again_at = None,
                () = at(self.sweep_at) => self.sweep().await,
            }
        }
    }

    /// Writes what the provider has now, at the latest at `deadline`.
    pub(super) async fn once(mut self, deadline: Instant) -> Result<(), String> {
        if self.entry.is_created_once && self.entry.directory.is_intact() {
            return Ok(());
        }
        let first = self.context.volumes.first(&self.entry.plan, deadline).await;
        let files = first.map_err(|failure| failure.message)?;
        self.show(files).await?;
        if let Some(sweep_at) = self.sweep_at {
            sleep_until(sweep_at).await;
            self.sweep().await;
        }
        Ok(())
    }

    /// First content, however long it takes; `None` if the entry ends before.
    async fn first(&self) -> Option<FileSet> {
        let (shortest, longest) = FIRST_PAUSE;
        let mut pause = shortest;
        loop {
            let deadline = Instant::now() + FIRST_WAIT;
            let first = tokio::select! {
                () = self.cancel.cancelled() => return None,
                first = self.context.volumes.first(&self.entry.plan, deadline) => first,
            };
            let failure = match first {
                Ok(files) => return Some(files),
                Err(failure) => failure,
            };
            self.failed(&failure.message);
            tokio::select! {
                () = self.cancel.cancelled() => return None,
                () = tokio::time::sleep(failure.retry_after.unwrap_or(pause).min(longest)) => {}
            }
            pause = (pause * 2).min(longest);
        }
    }

    /// Makes `files` the content; the text of an error is told already.
    async fn show(&mut self, files: FileSet) -> Result<Shown, String> {
        let (directory, access) = (self.entry.directory.clone(), self.entry.access);
        let shown = blocking(move || directory.show(files, access)).await;
        let shown = match shown {
            Ok(shown) => shown,
            Err(reason) => {
                self.failed(&reason);
                return Err(reason);
            }
        };
        let before = self.context.board.all().remove(&self.name);
        if matches!(before, Some(Standing::Failed(_))) {
            info!(entry = self.name, "files are current again");
        }
        self.context.board.set(&self.name, Standing::Current);
        self.context.metrics.refreshed(&self.name);
        // A refresh that finds nothing new must not put off what the last switch left.
        if shown.untidy && (shown.changed || self.sweep_at.is_none()) {
            self.sweep_at = Some(Instant::now() + GENERATION_GRACE);
        }
        if shown.changed {
            self.context.metrics.changed(&self.name);
            info!(entry = self.name, directory = %self.entry.directory.path().display(), "files changed");
            self.act().await;
        }
        Ok(shown)
    }

    /// Tells whoever waits for the change. It is told once, whether or not that works.
    async fn act(&self) {
        let Some(action) = &self.entry.on_change else {
            return;
        };
        let stopped = async {
            self.cancel.cancelled().await;
            tokio::time::sleep(ACTION_DRAIN).await;
        };
        let run = action::run(action, &self.name, self.entry.directory.path());
        let result = tokio::select! {
            result = run => result.map_err(|error| super::chain(&error)),
            () = stopped => Err(String::from("the agent stopped before it was done")),
        };
        self.context.metrics.acted(&self.name, result.is_ok());
        match result {
            Ok(()) => info!(entry = self.name, "onChange is done"),
            Err(reason) => warn!(entry = self.name, reason, "onChange failed"),
        }
    }

    async fn sweep(&mut self) {
        self.sweep_at = None;
        let directory = self.entry.directory.clone();
        if let Err(reason) = blocking(move || directory.sweep()).await {
            warn!(entry = self.name, reason, "old files are still there");
        }
    }

    /// There is nothing to do but to tidy up.
    async fn rest(mut self) {
        tokio::select! {
            () = self.cancel.cancelled() => return,
            () = at(self.sweep_at) => self.sweep().await,
        }
        self.cancel.cancelled().await;
    }

    /// Tells each reason once in a row.
    fn failed(&self, reason: &str) {
        let standing = Standing::Failed(reason.to_owned());
        if self.context.board.all().get(&self.name) != Some(&standing) {
            warn!(entry = self.name, reason, "files are not current");
        }
        self.context.metrics.stale(&self.name);
        self.context.board.set(&self.name, standing);
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DirectoryError> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(String::from("the agent failed unexpectedly")),
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

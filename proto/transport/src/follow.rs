//! Keeps an identity equal to the files of a directory.
//!
//! Kubelet replaces the files of a mounted Secret by renaming the symlink `..data`, so the *directory* is watched: a watch on a
//! file would follow the old one for ever. A poll stands behind the watch, because watches can be lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::identity::{FileNames, Identity, IdentityError, SharedIdentity};

/// When files are looked at.
#[derive(Clone, Debug)]
pub struct FollowOptions {
    /// Time between two looks when no change is reported. Default 30 s.
    pub poll: Duration,
    /// Time from a reported change to the look, so that a set of files is complete. Default 200 ms.
    pub settle: Duration,
}

impl Default for FollowOptions {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(30),
            settle: Duration::from_millis(200),
        }
    }
}

/// Replaces `identity` whenever the files of `directory` hold another one, until `cancel`.
///
/// Material that is refused is logged and counted, and the old identity stays in use.
pub async fn follow_directory(
    identity: SharedIdentity,
    directory: PathBuf,
    names: FileNames,
    options: FollowOptions,
    cancel: CancellationToken,
) {
    let mut changes = Changes::new(&directory, &options);
    let mut complained = false;
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = changes.next() => {}
        }
        match load(&directory, &names).await {
            Ok(loaded) => {
                complained = false;
                let expiry = loaded.expiry();
                if identity.replace(loaded) {
                    tracing::info!(directory = %directory.display(), ?expiry, "identity was replaced");
                }
            }
            Err(error) => {
                identity.count_failure();
                // Once per streak: the poll would repeat it for as long as the files are wrong.
                if !complained {
                    complained = true;
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(directory = %directory.display(), error, "identity is refused, the old one stays");
                }
            }
        }
    }
}

/// Waits until `directory` holds an identity, for a process that may start before its Secret exists.
///
/// Returns `None` if `cancel` came first.
pub async fn wait_for_directory(
    directory: &Path,
    names: &FileNames,
    options: &FollowOptions,
    cancel: &CancellationToken,
) -> Option<SharedIdentity> {
    let mut changes = Changes::new(directory, options);
    let mut last = String::new();
    loop {
        match load(directory, names).await {
            Ok(identity) => return Some(SharedIdentity::new(identity)),
            Err(error) => {
                let text = error.to_string();
                if text != last {
                    tracing::info!(directory = %directory.display(), reason = text, "waiting for an identity");
                    last = text;
                }
            }
        }
        tokio::select! {
            () = cancel.cancelled() => return None,
            () = changes.next() => {}
            // Nobody serves before this returns, and the directory itself may appear late.
            () = sleep(Duration::from_secs(1).min(options.poll)) => {}
        }
    }
}

async fn load(directory: &Path, names: &FileNames) -> Result<Identity, IdentityError> {
    let (owned, names) = (directory.to_owned(), names.clone());
    match tokio::task::spawn_blocking(move || Identity::from_directory(&owned, &names)).await {
        Ok(loaded) => loaded,
        Err(error) => Err(IdentityError::Read {
            path: directory.to_owned(),
            source: std::io::Error::other(error),
        }),
    }
}

/// Reported changes of a directory, and the poll behind them.
struct Changes {
    directory: PathBuf,
    reported: Arc<Notify>,
    watcher: Option<notify::RecommendedWatcher>,
    tick: tokio::time::Interval,
    settle: Duration,
}

impl Changes {
    fn new(directory: &Path, options: &FollowOptions) -> Self {
        let mut tick = interval(options.poll.max(Duration::from_millis(10)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
        let mut changes = Self {
            directory: directory.to_owned(),
            reported: Arc::new(Notify::new()),
            watcher: None,
            tick,
            settle: options.settle,
        };
        changes.watch();
        changes
    }

    /// Sets up the watch; where that fails (no directory yet, no watches left) the poll has to do.
    fn watch(&mut self) {
        let reported = self.reported.clone();
        let made = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading the files reports accesses, which must not lead to reading them again.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                reported.notify_one();
            }
        });
        self.watcher = made.ok().and_then(|mut watcher| {
            watcher
                .watch(&self.directory, RecursiveMode::NonRecursive)
                .is_ok()
                .then_some(watcher)
        });
    }

    /// # Cancel safety
    ///
    /// A report that was taken but not yet returned is lost with the future; the poll makes up for it.
    async fn next(&mut self) {
        tokio::select! {
            () = self.reported.notified() => sleep(self.settle).await,
            _ = self.tick.tick() => {
                // The directory may have been replaced, which ends a watch silently.
                self.watch();
            }
        }
    }
}

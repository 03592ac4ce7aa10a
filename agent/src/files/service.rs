//! The life of `latchkey files`: what the file says becomes tasks, and a changed file other tasks.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use latchkey_csi::directory::is_in_memory;
use latchkey_engine::template::{self, Renderer};
use prometheus_client::registry::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::config::{Config, Entry};
use super::entry::{Board, Context, Keeper, Standing};
use super::metrics::Metrics;
use super::notify::Notifier;
use super::objects::{NoObjects, Sources, Specs};
use super::{Error, FilesArgs};
use crate::admin::{self, Health, Scope};
use crate::providers::{Pool, PoolSettings, ProviderMetrics};
use crate::runtime::register_build;
use crate::volumes::Volumes;

/// Time between two looks at the configuration file.
const CONFIG_INTERVAL: Duration = Duration::from_secs(2);
/// How long an entry's task may take to end.
const DRAIN: Duration = Duration::from_secs(8);
/// Pause before a task that panicked is started again.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// Everything that runs.
pub(super) struct Service {
    specs: Specs,
    sources: Sources,
    context: Context,
    stop: CancellationToken,
    running: BTreeMap<String, Running>,
}

struct Running {
    entry: Arc<Entry>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

// === impl Service ===

impl Service {
    /// Nothing runs yet; series are registered.
    pub(super) fn new(registry: &mut Registry, stop: CancellationToken) -> Self {
        let provider_metrics = ProviderMetrics::default();
        provider_metrics.register(registry);
        let metrics = Metrics::default();
        metrics.register(registry);
        let pool = Pool::new(PoolSettings::default(), provider_metrics);
        let (specs, sources) = (Specs::new(), Sources::new(pool.clone()));
        let pool_stop = stop.clone();
        // Ends with `stop`.
        tokio::spawn(async move { pool.maintain(pool_stop).await });
        let renderer = Renderer::new(template::Settings::default(), Arc::new(NoObjects));
        let volumes = Volumes::standalone(
            Arc::new(specs.clone()),
            Arc::new(sources.clone()),
            Arc::new(renderer),
            stop.clone(),
        );
        Self {
            specs,
            sources,
            context: Context {
                volumes,
                board: Board::new(),
                metrics,
            },
            stop,
            running: BTreeMap::new(),
        }
    }

    /// Makes the running tasks those of `config`. Entries that are as before are not disturbed; files of entries that are gone
    /// stay.
    pub(super) async fn apply(&mut self, config: Config) {
        self.take_over(&config).await;
        let gone: Vec<String> = self
            .running
            .iter()
            .filter(|(name, running)| {
                let wanted = config.entries.get(*name);
                wanted.is_none_or(|wanted| !is_same_task(wanted, &running.entry))
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if let Some(running) = self.running.remove(&name) {
                end(running).await;
            }
            if !config.entries.contains_key(&name) {
                info!(entry = name, "the entry is gone; its files stay");
                self.context.board.remove(&name);
                self.context.metrics.forget(&name);
            }
        }
        for (name, entry) in config.entries {
            if !self.running.contains_key(&name) {
                let running = self.start(&name, entry);
                self.running.insert(name, running);
            }
        }
    }

    async fn take_over(&self, config: &Config) {
        let changed = self.sources.apply(config).await;
        self.specs.apply(config, &changed);
        warn_about_places(config);
    }

    fn start(&self, name: &str, entry: Entry) -> Running {
        let entry = Arc::new(entry);
        let cancel = self.stop.child_token();
        let context = self.context.clone();
        context.metrics.begin(name);
        context.board.set(name, Standing::Pending);
        let task = {
            let (name, entry, cancel) = (name.to_owned(), Arc::clone(&entry), cancel.clone());
            tokio::spawn(async move {
                loop {
                    let keeper =
                        Keeper::new(&name, Arc::clone(&entry), context.clone(), cancel.clone());
                    if AssertUnwindSafe(keeper.run()).catch_unwind().await.is_ok() {
                        return;
                    }
                    error!(
                        entry = name,
                        "the task of an entry panicked and is started again"
                    );
                    tokio::time::sleep(AFTER_PANIC).await;
                }
            })
        };
        Running {
            entry,
            cancel,
            task,
        }
    }

    /// Writes all entries once; the names of those that are not there, with the reasons.
    pub(super) async fn once(self, config: Config, limit: Duration) -> Vec<(String, String)> {
        self.take_over(&config).await;
        let deadline = Instant::now() + limit;
        let entries = config.entries.into_iter().map(|(name, entry)| {
            let (context, cancel) = (self.context.clone(), self.stop.child_token());
            context.board.set(&name, Standing::Pending);
            async move {
                let keeper = Keeper::new(&name, Arc::new(entry), context, cancel);
                let result = keeper.once(deadline).await;
                result.err().map(|reason| (name, reason))
            }
        });
        let failed = futures::future::join_all(entries).await;
        self.stop.cancel();
        failed.into_iter().flatten().collect()
    }

    async fn drain(mut self) {
        self.stop.cancel();
        for (_, running) in std::mem::take(&mut self.running) {
            end(running).await;
        }
        let _ = tokio::time::timeout(DRAIN, self.context.volumes.join()).await;
    }
}

/// Whether a task for `left` does what one for `right` does. What the object asks for is followed by the task.
fn is_same_task(left: &Entry, right: &Entry) -> bool {
    let Entry {
        object: _,
        plan,
        directory,
        access,
        on_change,
        is_created_once,
    } = left;
    (plan, directory, access, on_change, is_created_once)
        == (
            &right.plan,
            &right.directory,
            &right.access,
            &right.on_change,
            &right.is_created_once,
        )
}

/// Two tasks must never write one directory.
async fn end(running: Running) {
    running.cancel.cancel();
    let abort = running.task.abort_handle();
    if tokio::time::timeout(DRAIN, running.task).await.is_err() {
        abort.abort();
    }
}

/// What is allowed and probably not meant.
fn warn_about_places(config: &Config) {
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    let is_apart =
        matches!((namespace("self"), namespace("1")), (Some(own), Some(first)) if own != first);
    for (name, entry) in &config.entries {
        let directory = entry.directory.path();
        if entry.directory.has_own_tmpfs() {
            if is_apart {
                warn!(
                    entry = name,
                    "this process has mounts of its own (ProtectSystem= and the like): no other service will see the entry's tmpfs"
                );
            }
        } else if !is_in_memory(directory) {
            warn!(entry = name, directory = %directory.display(), "the directory is on a disk, where secrets outlive a reboot");
        }
    }
}

/// Serves until SIGTERM or SIGINT.
pub(super) async fn serve(args: FilesArgs, config: Config) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(Error::Signals)?;
    let notifier = Notifier::from_environment();
    let stop = CancellationToken::new();
    let _stop_all = stop.clone().drop_guard();
    let mut registry = Registry::default();
    register_build(&mut registry);
    let mut service = Service::new(&mut registry, stop.clone());
    let (board, metrics) = (
        service.context.board.clone(),
        service.context.metrics.clone(),
    );
    if let Some(address) = args.metrics_address {
        let server = admin::Server::bind(address, health(&board), registry).await?;
        // Ends with `stop`.
        tokio::spawn(server.serve(stop.clone()));
    }
    let mut seen = stamp(&args.config);
    service.apply(config).await;
    info!(version = env!("CARGO_PKG_VERSION"), config = %args.config.display(), "started");

    let mut changes = board.changes();
    let mut look = interval(CONFIG_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut alive = notifier.watchdog_interval().map(interval);
    let mut is_ready = false;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => {
                seen = stamp(&args.config);
                reload(&args.config, &mut service, &metrics).await;
            }
            _ = look.tick() => {
                let now = stamp(&args.config);
                if now.is_some() && now != seen {
                    seen = now;
                    reload(&args.config, &mut service, &metrics).await;
                }
            }
            () = tick(&mut alive) => notifier.send("WATCHDOG=1"),
            _ = changes.changed() => {
                let all = board.all();
                let is_settled = all.values().all(|standing| *standing != Standing::Pending);
                let ready = if is_settled && !is_ready { "READY=1\n" } else { "" };
                is_ready |= is_settled;
                notifier.send(&format!("{ready}STATUS={}", summary(&all)));
            }
        }
    }
    info!("told to stop; files stay");
    notifier.send("STOPPING=1");
    service.drain().await;
    Ok(())
}

async fn reload(path: &Path, service: &mut Service, metrics: &Metrics) {
    match super::load(path) {
        Ok(config) => {
            info!(config = %path.display(), "the configuration is taken over");
            service.apply(config).await;
            metrics.reloaded(true);
        }
        Err(error) => {
            error!(reason = %error, "the configuration is refused, the old one stays in force");
            metrics.reloaded(false);
        }
    }
}

async fn tick(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Ready while every entry is current.
fn health(board: &Board) -> Health {
    let health = Health::default();
    let board = board.clone();
    health.register_question(Scope::Ready, "entries", move || {
        let failing: Vec<String> = board
            .all()
            .into_iter()
            .filter(|(_, standing)| *standing != Standing::Current)
            .map(|(name, _)| name)
            .collect();
        let answer = if failing.is_empty() {
            Ok(())
        } else {
            Err(format!("not current: {}", failing.join(", ")))
        };
        futures::future::ready(answer).boxed()
    });
    health
}

fn summary(all: &BTreeMap<String, Standing>) -> String {
    let current = all
        .values()
        .filter(|standing| **standing == Standing::Current)
        .count();
    format!("{current} of {} entries are current", all.len())
}

/// Another one whenever the file was written or replaced.
fn stamp(path: &Path) -> Option<(PathBuf, u64, u64, i64, i64)> {
    let path = std::fs::canonicalize(path).ok()?;
    let metadata = std::fs::metadata(&path).ok()?;
    Some((
        path,
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec(),
    ))
}

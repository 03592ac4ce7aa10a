//! Hours in the life of a thousand objects: the rules of scheduling together, with a clock that stands still unless all wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use latchkey_crds::external_secret::ExternalSecret;
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::backoff::{Backoff, Pace};
use super::decide;
use super::outcome::{self, Achievement, Success};
use super::references::{self, Dependents};
use crate::schedule::{Charge, Key, Lane, Next, Scheduler};

const COUNT: usize = 1000;
const HOUR: u64 = 3600;
/// What one fetch takes.
const FETCH: Duration = Duration::from_millis(50);
/// Places at the one store.
const PLACES: usize = 16;

/// Objects, their provider, and what happens to both.
struct World {
    objects: Mutex<HashMap<Key, ExternalSecret>>,
    is_up: AtomicBool,
    running: AtomicUsize,
    most: AtomicUsize,
    /// When the provider was asked, successfully or not.
    calls: Mutex<Vec<Duration>>,
    /// The longest time between two refreshes of an object while the provider was well.
    longest: Mutex<Duration>,
    backoff: Backoff,
    dependents: Dependents,
    start: Instant,
    std_start: std::time::Instant,
}

// === impl World ===

impl World {
    fn new() -> Self {
        let object = |number: usize| {
            let key = (format!("team-{}", number % 50), format!("app-{number}"));
            let object = json!({
                "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
                "metadata": {
                    "namespace": key.0, "name": key.1, "generation": 1,
                    "uid": format!("c0ffee00-0000-4000-8000-{:012x}", number * 7919),
                },
                "spec": {
                    "refreshInterval": "1h",
                    "secretStoreRef": {
                        "apiVersion": "secretstore.external-secrets.io/v2alpha1", "kind": "ClusterSecretStore", "name": "s",
                    },
                    "data": [{ "secretKey": "a", "remoteRef": { "key": "a" } }],
                },
            });
            (key, serde_json::from_value(object).unwrap())
        };
        Self {
            objects: Mutex::new((0..COUNT).map(object).collect()),
            is_up: AtomicBool::new(true),
            running: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            calls: Mutex::default(),
            longest: Mutex::default(),
            backoff: Backoff::default(),
            dependents: Dependents::default(),
            start: Instant::now(),
            std_start: std::time::Instant::now(),
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap() + self.start.elapsed()
    }

    /// The part of a pass that this is about.
    async fn pass(self: Arc<Self>, key: Key) -> Next {
        let object = self.objects.lock()[&key].clone();
        if let Some(pause) = decide::rest(&object, self.now()) {
            return Next::within(pause);
        }
        self.dependents.note(&key, references::of(&key.0, &object));
        let started = self.now();
        self.calls.lock().push(self.start.elapsed());
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        sleep(FETCH).await;
        self.running.fetch_sub(1, Ordering::SeqCst);
        if !self.is_up.load(Ordering::SeqCst) {
            let now = self.std_start + self.start.elapsed();
            self.dependents.failed(&key, true, None);
            return Next::After(self.backoff.failed(&key, Pace::Growing, None, now));
        }
        self.backoff.forget(&key);
        self.dependents.forget(&key);
        self.succeeded(&key, object, started)
    }

    fn succeeded(&self, key: &Key, mut object: ExternalSecret, started: Timestamp) -> Next {
        let success = Success {
            achievement: Achievement::Synced,
            binding: None,
            is_valid: true,
        };
        let before = object.status.as_ref().and_then(|s| s.refresh_time.clone());
        if let Some(before) = before {
            let gap: Duration = started.duration_since(before.0).try_into().unwrap();
            let mut longest = self.longest.lock();
            *longest = gap.max(*longest);
        }
        object.status = Some(outcome::succeeded(&object, &success, started));
        let pause = decide::after_success(&object, true, self.now());
        self.objects.lock().insert(key.clone(), object);
        Next::within(pause)
    }

    fn calls_between(&self, from: Duration, until: Duration) -> Vec<Duration> {
        let calls = self.calls.lock();
        let all = calls.iter().filter(|call| (from..until).contains(*call));
        all.copied().collect()
    }

    fn refreshed_since(&self, time: Timestamp) -> usize {
        let objects = self.objects.lock();
        let times = objects
            .values()
            .filter_map(|object| object.status.as_ref()?.refresh_time.clone());
        times.filter(|refreshed| refreshed.0 >= time).count()
    }
}

/// The most calls within `window`. They are in the order of their times.
fn densest(calls: &[Duration], window: Duration) -> usize {
    let mut first = 0;
    let counts = calls.iter().enumerate().map(|(last, call)| {
        while *call - calls[first] >= window {
            first += 1;
        }
        last + 1 - first
    });
    counts.max().unwrap_or_default()
}

/// An agent that has just started.
struct Agent {
    scheduler: Arc<Scheduler>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

// === impl Agent ===

impl Agent {
    fn start(world: &Arc<World>) -> Self {
        let scheduler = Arc::new(Scheduler::new(Box::new(|_| {
            vec![Charge {
                account: "s".into(),
                most: PLACES,
            }]
        })));
        for key in world.objects.lock().keys() {
            scheduler.trigger(key.clone(), Lane::Refresh);
        }
        let (stop, world) = (CancellationToken::new(), Arc::clone(world));
        let (driven, told) = (Arc::clone(&scheduler), stop.clone());
        let task = tokio::spawn(async move {
            let pass = |key| Arc::clone(&world).pass(key);
            driven.run(64, &told, pass).await;
        });
        Self {
            scheduler,
            stop,
            task,
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn neither_mass_creation_nor_outage_nor_restart_makes_a_herd() {
    let (seconds, minute) = (Duration::from_secs, Duration::from_secs(60));
    let world = Arc::new(World::new());
    let agent = Agent::start(&world);
    // All are made at once: as fast as the budget allows.
    sleep(seconds(10)).await;
    assert_eq!(world.calls.lock().len(), COUNT);
    assert_eq!(world.most.load(Ordering::SeqCst), PLACES);

    // Their first refreshes are spread, and none is late.
    sleep(seconds(HOUR)).await;
    let first = world.calls_between(minute, seconds(HOUR + 10));
    assert_eq!(first.len(), COUNT);
    assert!(densest(&first, minute) < 150, "{}", densest(&first, minute));

    // An outage of two hours: few calls although all fail.
    world.is_up.store(false, Ordering::SeqCst);
    let outage = world.start.elapsed();
    sleep(seconds(2 * HOUR)).await;
    let back = world.start.elapsed();
    let failed = world.calls_between(outage, back);
    assert!(
        densest(&failed, minute) <= 10 * 60 + 100,
        "{}",
        densest(&failed, minute)
    );

    // It ends, and somebody notices: all are in sync within seconds, a few at a time.
    world.is_up.store(true, Ordering::SeqCst);
    let time = world.now();
    for (key, _) in world.dependents.cut_off() {
        agent.scheduler.trigger(key, Lane::Refresh);
    }
    sleep(seconds(10)).await;
    assert_eq!(world.refreshed_since(time), COUNT);
    assert_eq!(world.most.load(Ordering::SeqCst), PLACES);
    assert!(world.dependents.cut_off().is_empty());

    // From then on nothing reminds of it.
    *world.longest.lock() = Duration::ZERO;
    sleep(seconds(4 * HOUR)).await;
    let after = world.calls_between(back + minute, world.start.elapsed());
    assert!(
        (4 * COUNT..=5 * COUNT).contains(&after.len()),
        "{}",
        after.len()
    );
    assert!(densest(&after, minute) < 150, "{}", densest(&after, minute));
    let longest = *world.longest.lock();
    assert!(longest <= seconds(HOUR + 2), "{longest:?}");

    // A restart asks for nothing before it is due, and for that in time.
    agent.stop().await;
    let restart = world.start.elapsed();
    let due_within = |span: Duration| {
        let (objects, now) = (world.objects.lock(), world.now());
        let pauses = objects.values().map(|object| decide::rest(object, now));
        pauses
            .filter(|pause| pause.is_none_or(|pause| pause.is_some_and(|pause| pause < span)))
            .count()
    };
    let due = due_within(10 * minute);
    let agent = Agent::start(&world);
    sleep(10 * minute).await;
    let calls = world.calls_between(restart, world.start.elapsed());
    assert!(due.abs_diff(calls.len()) <= 2, "{due} {}", calls.len());
    assert!(densest(&calls, minute) < 60, "{}", densest(&calls, minute));
    agent.stop().await;
}

//! ExternalSecrets become Secrets (`externalsecret.md` 2).
//!
//! Runs in every agent that holds a shard ([`crate::shards`]), for the objects of that shard. One pass per object: read it and its
//! target, decide, act, write the status if it differs. Every step is idempotent, so a pass that is cut off anywhere is repaired by
//! the next one.
//!
//! | object | verbs | why |
//! |---|---|---|
//! | ExternalSecrets | get, list, watch, patch; status: patch | the objects themselves; patch adds and removes the finalizer |
//! | Secrets | get, create, update, patch, delete; metadata: get, list, watch | targets; there is no list or watch of values |
//! | SecretStores, ClusterSecretStores, Generators, ClusterGenerators | get, list, watch | their rules; objects that failed are looked at again when one of theirs changes |
//! | kinds of providers; metadata | list, watch | the same for what stores name ([`crate::stores::objects`]) |
//! | GeneratorStates | list, create, patch | what generators left ([`crate::generators::states`]) |
//! | ConfigMaps, Secrets | get | those that `templateFrom` names ([`crate::templates`]) |
//! | objects of other kinds, where the administrator allows them | get, create, update, delete; metadata: list, watch | targets ([`generic`]) |
//! | Events | create, patch | |
//! | `/openapi/v3` | get | whether the installed ExternalSecret knows `secretStoreRef.apiVersion` |
//!
//! ```text
//! watch ExternalSecrets ─┐   lanes, turns, budget┌─ rest: nothing is due
//! watch Secret metadata ─┼─> reconcile ─> decide┼─ refuse: a field cannot be honoured; the message names it
//! stores, for what failed┤                      ├─ adopt: put our label on an existing target
//! timers ────────────────┘                      └─ resolve ─> engine: fetch, render ─> mutate (pure) ─> write ─> clean up
//! ```
//!
//! [`decide`], [`window`] and [`mutate`] are pure and hold the rules; [`reconcile`], [`deliver`], [`record`] and [`target`] act.

mod backoff;
mod classes;
mod decide;
mod deliver;
mod events;
mod generic;
mod installed;
mod metrics;
mod mutate;
mod names;
mod outcome;
mod reconcile;
mod record;
mod references;
mod target;
mod watched;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, SelectAll};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::PartialObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::{WatchStreamExt as _, watcher};
use latchkey_crds::external_secret::ExternalSecret;
use latchkey_engine::source::Source;
use latchkey_engine::template::Renderer;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::complaints::WatchComplaints;
use crate::namespaces::{Place, WatchNamespaces};
use crate::schedule::{Budget, Charge, Key, Lane, Next, Scheduler};
use crate::shards::Ownership;
use crate::stores::StoreCache;
use crate::stores::objects::{self, Change};

pub use metrics::Metrics;

use watched::Watched;

/// How long passes may go on after the controller was told to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// How long passes wait at most for the list of all targets, which saves a request for each object that has none yet.
const LISTING: Duration = Duration::from_secs(3);

/// What the controller needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Stores of another class are left to other controllers, and with them the objects that refer to them.
    pub controller_class: String,
    /// The most passes that run at once. Nearly all of their time they wait for the provider and the API server.
    pub concurrency: u16,
    /// The most of them that use the same store. Stores with the same address share half of all, or this if it is more.
    pub store_concurrency: u16,
    /// Only ExternalSecrets of these namespaces are looked at, and only their targets.
    pub namespaces: WatchNamespaces,
    /// Where stores and generators are looked for. Unless it is all namespaces, references to ClusterSecretStores and
    /// ClusterGenerators are refused: what lies outside namespaces needs a ClusterRole.
    pub reach: WatchNamespaces,
    /// Whether objects whose `secretStoreRef` names a ClusterSecretStore are looked at.
    pub cluster_stores: bool,
    /// How long replaced values of generators stay; `None` if what generators leave is not kept.
    pub generator_grace: Option<Duration>,
    /// Where stores are kept while the controller runs; whoever fetches reads the same.
    pub stores: StoreCache,
    /// Changes whenever a provider is reached again that could not be.
    pub recoveries: Option<watch::Receiver<u64>>,
    /// Whether targets of other kinds than Secret are written: values in them are as safe as these kinds are.
    pub generic_targets: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            controller_class: String::from("default"),
            concurrency: 64,
            store_concurrency: 16,
            namespaces: WatchNamespaces::all(),
            reach: WatchNamespaces::all(),
            cluster_stores: true,
            generator_grace: Some(Duration::from_secs(120)),
            stores: StoreCache::default(),
            recoveries: None,
            generic_targets: false,
        }
    }
}

/// Why the controller ended although it was not told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// All watches ended. They restart by themselves, so this does not happen while the program is sound.
    #[error("the watch of ExternalSecrets ended")]
    WatchEnded,
}

type Guarded = DeserializeGuard<ExternalSecret>;

/// Works on the objects that `ownership` gives it until `stop` is cancelled.
///
/// `metrics` was registered by the caller once; a process that works again passes the same handle.
///
/// # Errors
///
/// [`Error`] if the work ended before `stop`.
///
/// # Cancel safety
///
/// Dropping the future leaves every object as it was or completely written.
pub async fn run<S: Source + 'static>(
    client: Client,
    source: Arc<S>,
    renderer: Arc<Renderer>,
    config: Config,
    metrics: Metrics,
    ownership: Arc<Ownership>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let usable = installed::wait_until_usable(&client, &metrics);
    if stop.run_until_cancelled(usable).await.is_none() {
        return Ok(());
    }
    let _while_leading = metrics.while_leading();
    let places = config.namespaces.places();
    let external_secrets = watches(&places, |place| {
        watcher(place.api(&client), watcher::Config::default())
    });
    let managed = watcher::Config::default().labels(&format!("{}=true", names::MANAGED_LABEL));
    let secrets = watches(&places, |place| {
        watcher(place.api(&client), managed.clone())
    });
    let watched = Arc::new(Watched::default());
    let (informers, triggered) = generic::Informers::new(
        client.clone(),
        config.namespaces.clone(),
        Arc::clone(&watched),
    );
    let work = Work {
        scheduler: Scheduler::metered(budget(Arc::clone(&watched), &config), metrics.meter()),
        context: Arc::new(reconcile::Context::new(
            client.clone(),
            source,
            renderer,
            config.clone(),
            metrics.clone(),
            Arc::clone(&watched),
            informers,
        )),
        watched,
        metrics,
        ownership,
        complaints: WatchComplaints::default(),
    };
    let deadline = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        () = work.follow_stores(&client, &config) => {}
        () = work.follow_recoveries(config.recoveries.clone()) => {}
        () = work.follow_objects(external_secrets) => {}
        () = work.follow_targets(secrets) => {}
        () = work.follow_generic(triggered) => {}
        () = work.follow_shards() => {}
        () = work.make_passes(places.len(), config.concurrency, &stop) => {}
        () = deadline => {}
    }
    if stop.is_cancelled() {
        Ok(())
    } else {
        Err(Error::WatchEnded)
    }
}

/// What the parts of a running controller share.
struct Work<S> {
    scheduler: Scheduler,
    context: Arc<reconcile::Context<S>>,
    watched: Arc<Watched>,
    metrics: Metrics,
    ownership: Arc<Ownership>,
    complaints: WatchComplaints,
}

/// The watches of a kind, one for each place, as one stream.
type Watches<K> = SelectAll<BoxStream<'static, (Place, watcher::Result<watcher::Event<K>>)>>;

// === impl Work ===

impl<S: Source + 'static> Work<S> {
    /// Has objects that failed looked at again when something changes at their stores that may help.
    async fn follow_stores(&self, client: &Client, config: &Config) {
        let dependents = &self.watched.dependents;
        objects::follow(
            client,
            &config.reach,
            &config.stores,
            |store, change| match change {
                Change::Store { helps: false } => {}
                Change::Store { helps: true } => self.help(dependents.of(store, None)),
                Change::Object { callers } => self.help(dependents.of(store, callers)),
            },
        )
        .await;
    }

    async fn follow_objects(&self, mut watches: Watches<Guarded>) {
        while let Some((place, event)) = watches.next().await {
            self.complaints.hear("ExternalSecrets", &place, &event);
            let changed = event
                .ok()
                .and_then(|event| self.watched.note(&place, event, &self.metrics));
            if let Some(key) = changed {
                self.trigger(key);
            }
        }
    }

    async fn follow_targets(&self, mut watches: Watches<PartialObjectMeta<Secret>>) {
        while let Some((place, event)) = watches.next().await {
            self.complaints.hear("Secrets", &place, &event);
            let touched = event.map(|event| self.watched.note_target(&place, &event));
            for key in touched.unwrap_or_default() {
                self.trigger(key);
            }
        }
    }

    /// Has objects looked at whose targets of other kinds have changed.
    async fn follow_generic(&self, mut triggered: mpsc::Receiver<Key>) {
        while let Some(key) = triggered.recv().await {
            self.trigger(key);
        }
        // The informers ended: so does this controller, in a moment.
        std::future::pending::<()>().await;
    }

    /// Takes up the objects of shards that came, and forgets what is known of those that went.
    async fn follow_shards(&self) {
        let mut changes = self.ownership.changes();
        let mut before = changes.borrow_and_update().clone();
        while changes.changed().await.is_ok() {
            let now = changes.borrow_and_update().clone();
            for key in self.watched.keys() {
                let shard = self.ownership.shard_of(&key);
                match (before.contains(&shard), now.contains(&shard)) {
                    (false, true) => self.trigger(key),
                    (true, false) => {
                        self.scheduler.forget(&key);
                        self.watched.settled(&key);
                        self.metrics.left(&key.0, &key.1);
                    }
                    _ => {}
                }
            }
            before = now;
        }
        // The owner of the shards is gone: so is this controller, in a moment.
        std::future::pending::<()>().await;
    }

    /// Takes up what failed because its provider could not be reached, once it can.
    async fn follow_recoveries(&self, recoveries: Option<watch::Receiver<u64>>) {
        if let Some(mut recoveries) = recoveries {
            while recoveries.changed().await.is_ok() {
                self.help(self.watched.dependents.cut_off());
            }
        }
        std::future::pending::<()>().await;
    }

    /// Has objects that failed looked at again, but none before the time that somebody asked for. Their budget keeps them from coming
    /// all at once.
    fn help(&self, objects: Vec<(Key, Option<Instant>)>) {
        let now = Instant::now();
        for (key, not_before) in objects {
            match not_before.filter(|instant| *instant > now) {
                Some(instant) => self.scheduler.hasten(&key, instant),
                None => self.trigger(key),
            }
        }
    }

    fn trigger(&self, key: Key) {
        if self.ownership.of(&key).is_none() {
            return;
        }
        let lane = match self.watched.get(&key) {
            Some(object) if is_new(&object) => Lane::First,
            _ => Lane::Refresh,
        };
        self.scheduler.trigger(key, lane);
    }

    /// Makes the passes that are due until `stop`, once the targets of all `places` are known.
    async fn make_passes(&self, places: usize, concurrency: u16, stop: &CancellationToken) {
        let listed = tokio::time::timeout(LISTING, self.watched.targets_listed(places));
        // One that may not be read, or not yet, holds up nobody for long.
        let _ = stop.run_until_cancelled(listed).await;
        let pass = |key| self.pass(key);
        self.scheduler
            .run(concurrency.max(1).into(), stop, pass)
            .await;
    }

    /// One pass over an object, if it is still there and still ours.
    fn pass(&self, key: Key) -> impl Future<Output = Next> + Send + 'static {
        let mine = self.ownership.of(&key).zip(self.watched.get(&key));
        let context = Arc::clone(&self.context);
        async move {
            let Some((guard, object)) = mine else {
                return Next::Change;
            };
            // Boxed: a pass is large, and the scheduler moves what it is given.
            let pass = guard.protect(Box::pin(reconcile::reconcile(object, context)));
            pass.await.unwrap_or(Next::Change)
        }
    }
}

/// What a pass takes: a place at each store that the object refers to, and one at its address. An object that is to be let go takes
/// none, so that no store stands in the way of a deletion.
fn budget(watched: Arc<Watched>, config: &Config) -> Budget {
    let most_of_store = usize::from(config.store_concurrency.max(1));
    let most_of_address = most_of_store.max(usize::from(config.concurrency / 2));
    let stores = config.stores.clone();
    Box::new(move |key| {
        let object = watched.get(key);
        let Some(Ok(object)) = object.as_ref().map(|object| &object.0) else {
            return Vec::new();
        };
        if object.metadata.deletion_timestamp.is_some() {
            return Vec::new();
        }
        let mut charges: BTreeMap<String, usize> = BTreeMap::new();
        for store in references::of(&key.0, object) {
            if let Some(Ok(known)) = stores.get(&store) {
                let address = format!("address {}", known.provider.address);
                charges.insert(address, most_of_address);
            }
            charges.insert(format!("{store} in {}", store.namespace), most_of_store);
        }
        let charges = charges.into_iter().map(|(account, most)| Charge {
            account: account.into(),
            most,
        });
        charges.collect()
    })
}

/// Whether the object was never synced.
fn is_new(object: &Guarded) -> bool {
    object.0.as_ref().is_ok_and(|object| {
        let status = object.status.as_ref();
        status.is_none_or(|status| status.refresh_time.is_none())
    })
}

/// One watch for each of `places`.
fn watches<K, W>(places: &[Place], begin: impl Fn(&Place) -> W) -> Watches<K>
where
    K: Send + 'static,
    W: Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
{
    let watches = places.iter().map(|place| {
        let (events, place) = (begin(place).default_backoff(), place.clone());
        events.map(move |event| (place.clone(), event)).boxed()
    });
    futures::stream::select_all(watches)
}

#[cfg(test)]
mod model;

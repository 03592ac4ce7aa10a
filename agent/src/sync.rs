//! ExternalSecrets become Secrets (`externalsecret.md` 2).
//!
//! Runs in the elected sync leader only. One pass per object: read it and its target, decide, act, write the status if it
//! differs. Every step is idempotent, so a pass that is cut off anywhere is repaired by the next one.
//!
//! | object | verbs | why |
//! |---|---|---|
//! | ExternalSecrets | get, list, watch, patch; status: patch | the objects themselves; patch adds and removes the finalizer |
//! | Secrets | get, create, update, patch, delete; metadata: list, watch | targets; there is no list or watch of values |
//! | SecretStores, ClusterSecretStores | get | whether a store belongs to another controller class |
//! | ConfigMaps, Secrets | get | those that `templateFrom` names ([`crate::templates`]) |
//! | Events | create, patch | |
//! | `/openapi/v3` | get | whether the installed ExternalSecret knows `secretStoreRef.apiVersion` |
//!
//! ```text
//! watch ExternalSecrets ─┐                      ┌─ rest: nothing is due
//! watch Secret metadata ─┼─> reconcile ─> decide┼─ refuse: a field cannot be honoured; the message names it
//! timers ────────────────┘                      ├─ adopt: put our label on an existing target
//!                                               └─ resolve ─> engine: fetch, render ─> mutate (pure) ─> write ─> clean up
//! ```
//!
//! [`decide`] and [`mutate`] are pure and hold the rules; [`reconcile`] and [`target`] act.

mod backoff;
mod decide;
mod deliver;
mod events;
mod installed;
mod metrics;
mod mutate;
mod names;
mod outcome;
mod reconcile;
mod target;
mod watched;

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PartialObjectMeta};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config as ControllerConfig, Controller};
use kube::runtime::{
    Predicate as _, PredicateConfig, WatchStreamExt as _, predicates, reflector, watcher,
};
use kube::{Client, Resource as _};
use latchkey_crds::external_secret::ExternalSecret;
use latchkey_engine::source::Source;
use latchkey_engine::template::Renderer;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

pub use metrics::Metrics;

use watched::Watched;

/// How long passes may go on after the controller was told to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// What the controller needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Stores of another class are left to other controllers, and with them the objects that refer to them.
    pub controller_class: String,
    /// The most passes that run at once.
    pub concurrency: u16,
    /// Only this namespace is looked at; `None` means all.
    pub namespace: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            controller_class: String::from("default"),
            concurrency: 8,
            namespace: None,
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

/// Works until `stop` is cancelled.
///
/// `metrics` was registered by the caller once; a process that leads again passes the same handle.
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
    stop: CancellationToken,
) -> Result<(), Error> {
    let usable = installed::wait_until_usable(&client, &metrics);
    if stop.run_until_cancelled(usable).await.is_none() {
        return Ok(());
    }
    let _while_leading = metrics.while_leading();
    let watched = Arc::new(Watched::default());
    let concurrency = config.concurrency.max(1);
    let external_secrets: Api<Guarded> = scoped(&client, &config);
    let secrets: Api<PartialObjectMeta<Secret>> = scoped(&client, &config);
    let context = Arc::new(reconcile::Context::new(
        client,
        source,
        renderer,
        config,
        metrics.clone(),
        Arc::clone(&watched),
    ));

    let (reader, writer) = reflector::store();
    let seen = Arc::clone(&watched);
    let objects = watcher(external_secrets, watcher::Config::default())
        .default_backoff()
        // Ownership of fields in the ExternalSecret itself is of no use here and takes much room.
        .modify(|object| object.meta_mut().managed_fields = None)
        .inspect_ok(move |event| seen.note(event, &metrics))
        .reflect(writer)
        .applied_objects()
        .inspect_err(|error| {
            warn!(
                "the watch of ExternalSecrets broke: {}",
                target::describe_watch(error)
            )
        })
        .predicate_filter(
            predicates::generation
                .combine(predicates::labels)
                .combine(predicates::annotations)
                .combine(predicates::finalizers),
            PredicateConfig::default(),
        );
    let managed = watcher::Config::default().labels(&format!("{}=true", names::MANAGED_LABEL));
    let targets = watcher(secrets, managed)
        .default_backoff()
        .touched_objects()
        .inspect_err(|error| {
            warn!(
                "the watch of Secrets broke: {}",
                target::describe_watch(error)
            )
        });
    let stopped = stop.clone();
    let mut passes = Controller::for_stream(objects, reader)
        .with_config(ControllerConfig::default().concurrency(concurrency))
        .watches_stream(targets, move |secret| watched.owners_of(&secret))
        .graceful_shutdown_on(async move { stopped.cancelled().await })
        .run(reconcile::reconcile, |_, error, _| match *error {}, context)
        .boxed();
    let work = async {
        while let Some(pass) = passes.next().await {
            if let Err(error) = pass {
                debug!("a queued pass was not made: {error}");
            }
        }
    };
    let deadline = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        () = work => {}
        () = deadline => {}
    }
    if stop.is_cancelled() {
        Ok(())
    } else {
        Err(Error::WatchEnded)
    }
}

fn scoped<K>(client: &Client, config: &Config) -> Api<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    match &config.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The next pass after `pause`, or only after a change.
fn next(pause: Option<Duration>) -> Action {
    pause.map_or_else(Action::await_change, Action::requeue)
}

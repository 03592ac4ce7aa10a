//! ClusterExternalSecrets become ExternalSecrets in many namespaces (`externalsecret.md` 6).
//!
//! Runs in the elected sync leader only, and only where the agent looks at all namespaces. A pass reads its object, and decides
//! from what the watches have shown of namespaces and ExternalSecrets; it sends requests only where something is not as wanted.
//!
//! | object | verbs | why |
//! |---|---|---|
//! | ClusterExternalSecrets | get, list, watch, patch; status: patch | the objects themselves; patch adds and removes the finalizer |
//! | ClusterExternalSecrets, finalizers | update | they own what they make, and hold its owner back |
//! | ExternalSecrets | get, create, update, delete; metadata: list, watch | what is made |
//! | Namespaces | patch; metadata: list, watch | selection by labels; patch adds and removes the finalizer |
//!
//! ```text
//! watch ClusterExternalSecrets ───┐                  ┌─ provision: finalizer on the namespace, create or update
//! watch Namespace metadata ───────┼─> pass ─> plan ─>┼─ withdraw: delete what is ours, then the finalizer
//! watch ExternalSecret metadata ──┤                  └─ release: a namespace that ends
//! timers ─────────────────────────┘                        └─> status
//! ```
//!
//! The watches of namespaces and ExternalSecrets begin with the first ClusterExternalSecret: a cluster without any pays nothing.
//!
//! [`plan`] and [`generated`] are pure and hold the rules; [`reconcile`] acts.
//!
//! What differs from upstream: a namespace that is no longer selected loses our finalizer (D-03) and stays listed until its
//! ExternalSecret is deleted (D-04); a namespace that loses a matching label is noticed at once; of changes to nothing but the
//! status of an ExternalSecret one a second is looked at.

mod backoff;
mod generated;
mod metrics;
mod plan;
mod reconcile;
mod requests;
mod served;
mod shown;
mod watched;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::ready;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, PartialObjectMeta};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Config as ControllerConfig, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Client, Resource as _};
use latchkey_crds::cluster_external_secret::ClusterExternalSecret;
use latchkey_crds::external_secret::ExternalSecret;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

pub use metrics::Metrics;

use shown::Shown;
use watched::{Namespaces, Owned};

/// How long passes may go on after the controller was told to stop.
const DRAIN: Duration = Duration::from_secs(5);
/// The most passes that run at once.
const CONCURRENCY: u16 = 2;

/// Annotation that is copied from a ClusterExternalSecret to what it makes.
const FORCE_SYNC: &str = "external-secrets.io/force-sync";
/// Finalizer of every live ClusterExternalSecret.
const FINALIZER: &str = "externalsecrets.external-secrets.io/clusterexternalsecret-cleanup";
/// Prefix of the finalizers on namespaces; the name of the ClusterExternalSecret follows.
const NAMESPACE_FINALIZER_PREFIX: &str = "externalsecrets.external-secrets.io/ces-";
/// Field manager of all writes.
const FIELD_MANAGER: &str = "latchkey";
/// Group of the kinds.
const GROUP: &str = "external-secrets.io";
/// Kind of the owner in owner references.
const KIND: &str = "ClusterExternalSecret";

/// Why the controller ended although it was not told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// All watches ended. They restart by themselves, so this does not happen while the program is sound.
    #[error("the watch of ClusterExternalSecrets ended")]
    WatchEnded,
}

type Guarded = DeserializeGuard<ClusterExternalSecret>;

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
pub async fn run(client: Client, metrics: Metrics, stop: CancellationToken) -> Result<(), Error> {
    if stop
        .run_until_cancelled(served::wait_until_served(&client))
        .await
        .is_none()
    {
        return Ok(());
    }
    let _while_leading = metrics.while_leading();
    let (reader, writer) = reflector::store::<Guarded>();
    let first = CancellationToken::new();
    let (namespaces, owned) = (Arc::new(Namespaces::default()), Arc::new(Owned::default()));
    let context = Arc::new(reconcile::Context::new(
        client.clone(),
        metrics.clone(),
        Arc::clone(&namespaces),
        Arc::clone(&owned),
    ));

    let objects = objects(client.clone(), writer, first.clone(), Arc::clone(&context));
    let sets = reader.clone();
    let of_namespaces = from_the_first(
        first.clone(),
        watcher(
            Api::<PartialObjectMeta<Namespace>>::all(client.clone()),
            watcher::Config::default(),
        ),
        "Namespaces",
        move |event| {
            let changes = namespaces.note(event);
            let sets = sets.state();
            let sets = sets.iter().filter_map(|set| set.0.as_ref().ok());
            plan::affected(&changes, sets)
        },
    );
    let of_external_secrets = from_the_first(
        first,
        watcher(
            Api::<PartialObjectMeta<ExternalSecret>>::all(client),
            watcher::Config::default(),
        ),
        "ExternalSecrets",
        move |event| owned.note(event, Instant::now()),
    );

    let stopped = stop.clone();
    let passes = Controller::for_stream(objects, reader)
        .with_config(ControllerConfig::default().concurrency(CONCURRENCY))
        .reconcile_on(of_namespaces)
        .reconcile_on(of_external_secrets)
        .graceful_shutdown_on(async move { stopped.cancelled().await })
        .run(reconcile::reconcile, |_, error, _| match *error {}, context);
    let work = passes.for_each(|pass| {
        if let Err(error) = pass {
            debug!("a queued pass was not made: {error}");
        }
        ready(())
    });
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

/// Those that are to be looked at because they changed. They are kept with `writer`; `first` is cancelled once there is one, and
/// `context` forgets those that went.
fn objects(
    client: Client,
    writer: Writer<Guarded>,
    first: CancellationToken,
    context: Arc<reconcile::Context>,
) -> impl Stream<Item = watcher::Result<Guarded>> + Send + 'static {
    let known = Mutex::new(Shown::default());
    let api = Api::<Guarded>::all(client);
    watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(|object| object.meta_mut().managed_fields = None)
        .inspect_ok(move |event| {
            let (applied, gone) = known.lock().note(event, name_of);
            if applied.is_some() {
                first.cancel();
            }
            for name in gone {
                context.forget(&name);
            }
        })
        .reflect(writer)
        .applied_objects()
        .inspect_err(|error| warn!("the watch of ClusterExternalSecrets broke: {error}"))
}

/// What to look at because of the events of a watch that begins once `first` is cancelled.
fn from_the_first<K: 'static, I: IntoIterator<Item = String>>(
    first: CancellationToken,
    watch: impl Stream<Item = watcher::Result<Event<PartialObjectMeta<K>>>> + Send + 'static,
    kind: &'static str,
    note: impl Fn(&Event<PartialObjectMeta<K>>) -> I + Send + 'static,
) -> impl Stream<Item = ObjectRef<Guarded>> + Send + 'static
where
    PartialObjectMeta<K>: Send + 'static,
    I::IntoIter: Send + 'static,
{
    let events = watch.default_backoff();
    stream::once(async move {
        first.cancelled().await;
        events
    })
    .flatten()
    .flat_map(move |event| {
        let names: Vec<String> = match event {
            Ok(event) => note(&event).into_iter().collect(),
            Err(error) => {
                warn!("the watch of {kind} for ClusterExternalSecrets broke: {error}");
                Vec::new()
            }
        };
        stream::iter(names).map(|name| ObjectRef::new(&name))
    })
}

fn name_of(object: &Guarded) -> String {
    object.meta().name.clone().unwrap_or_default()
}

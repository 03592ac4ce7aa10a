//! One pass over one ExternalSecret: reads, asks [`decide`], acts, and writes the status if it differs (`externalsecret.md` 2.2).

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::core::error_boundary::InvalidObject;
use kube::{Client, Resource as _};
use latchkey_crds::external_secret::ExternalSecret;
use latchkey_engine::source::Source;
use latchkey_engine::template::Renderer;
use tracing::{Instrument as _, debug, info_span, warn};

use super::backoff::{Key, Pace};
use super::decide::{self, Plan};
use super::events::Events;
use super::generic::{Informers, Kinds};
use super::outcome::{self, Interrupted, Success};
use super::record::ready;
use super::target::{self, RequestError, TargetSecret, bounded};
use super::watched::{Watched, key};
use super::{Config, Guarded, Metrics, names, references};
use crate::passes::PassResult;
use crate::schedule::Next;
use crate::stores::CachedReader;

/// Looks at one target in one pass: the first may be none at all, the next put the label on, the last decides on what came of it.
const LOOKS: usize = 4;

/// What passes share.
pub(super) struct Context<S> {
    pub(super) client: Client,
    pub(super) source: Arc<S>,
    pub(super) renderer: Arc<Renderer>,
    pub(super) config: Config,
    pub(super) metrics: Metrics,
    pub(super) watched: Arc<Watched>,
    pub(super) events: Events,
    /// Stores and generators as passes see them.
    pub(super) stores: CachedReader,
    /// Of targets of other kinds, as are the informers.
    pub(super) kinds: Kinds,
    pub(super) informers: Informers,
}

/// How a pass ended, and when the next one is due.
pub(super) enum Ended {
    /// Nothing was due, or what was due succeeded.
    Well(Option<Duration>),
    /// The failure is on the object.
    Badly(Option<Duration>),
}

/// What a look led to.
pub(super) enum Acted {
    /// Nothing was due.
    Nothing(Option<Duration>),
    /// The object is another controller's.
    Foreign,
    /// Fetched and delivered.
    Synced(Success),
    /// The target has changed meanwhile: to be repeated after this time, and nothing is said.
    Again(Duration),
}

/// The controller's entry: one pass, measured. Failures are reported on the object, so there is no error to return.
pub(super) async fn reconcile<S: Source + 'static>(
    object: Arc<Guarded>,
    context: Arc<Context<S>>,
) -> Next {
    let key = key(&object);
    let span = info_span!("sync", namespace = key.0, name = key.1);
    let begin = Instant::now();
    let labels = object.meta().labels.as_ref();
    let pass = context.metrics.begin();
    context.metrics.describe(&key.0, &key.1, labels);
    context.metrics.called(&key.0, &key.1);
    let next = async {
        let result = match &object.0 {
            Ok(external_secret) => context.try_pass(&key, external_secret).await,
            Err(invalid) => context.pass_over(&key, invalid).await,
        };
        let has_failed = !matches!(result, Ok(Ended::Well(_)));
        (context.conclude(&key, result), has_failed)
    };
    let (next, has_failed) = next.instrument(span).await;
    pass.end(PassResult::of(has_failed, matches!(next, Next::After(_))));
    context.metrics.took(&key.0, &key.1, begin.elapsed());
    context.watched.end_pass(&key, &context.metrics);
    next
}

// === impl Context ===

impl<S: Source> Context<S> {
    pub(super) fn new(
        client: Client,
        source: Arc<S>,
        renderer: Arc<Renderer>,
        config: Config,
        metrics: Metrics,
        watched: Arc<Watched>,
        informers: Informers,
    ) -> Self {
        Self {
            events: Events::new(client.clone()),
            stores: CachedReader::new(config.stores.clone(), client.clone())
                .limited_to(config.reach.clone()),
            kinds: Kinds::new(client.clone()),
            informers,
            client,
            source,
            renderer,
            config,
            metrics,
            watched,
        }
    }

    /// When the next pass is due.
    fn conclude(&self, key: &Key, result: Result<Ended, RequestError>) -> Next {
        match result {
            Ok(Ended::Well(pause)) => {
                self.watched.settled(key);
                Next::within(pause)
            }
            Ok(Ended::Badly(Some(pause))) => Next::After(pause),
            Ok(Ended::Badly(None)) => {
                self.watched.settled(key);
                Next::Change
            }
            Err(error) => {
                if !matches!(error, RequestError::Conflict(_)) {
                    warn!("the pass failed and is repeated: {error}");
                    self.metrics.failed(&key.0, &key.1);
                }
                let (backoff, asked) = (&self.watched.backoff, error.retry_after());
                Next::After(backoff.failed(key, Pace::Growing, asked, Instant::now()))
            }
        }
    }

    /// An object that cannot be understood is only let go.
    async fn pass_over(&self, key: &Key, invalid: &InvalidObject) -> Result<Ended, RequestError> {
        warn!("the ExternalSecret cannot be read");
        debug!("{}", invalid.error);
        self.metrics.failed(&key.0, &key.1);
        if invalid.metadata.deletion_timestamp.is_some() {
            let objects: Api<ExternalSecret> = Api::namespaced(self.client.clone(), &key.0);
            self.let_go(key, &objects, &invalid.metadata).await?;
        }
        Ok(Ended::Badly(None))
    }

    /// The whole pass; the error is one that is not reported on the object.
    async fn try_pass(&self, key: &Key, cached: &ExternalSecret) -> Result<Ended, RequestError> {
        let objects: Api<ExternalSecret> = Api::namespaced(self.client.clone(), &key.0);
        let mut object = if self
            .watched
            .is_stale(key, cached.metadata.resource_version.as_deref())
        {
            match bounded(objects.get_opt(&key.1)).await? {
                Some(object) => object,
                None => return Ok(Ended::Well(None)),
            }
        } else {
            cached.clone()
        };
        let lost = self.watched.take_lost(key);
        if object.metadata.deletion_timestamp.is_some() {
            self.clean_up(key, &object).await?;
            self.let_go(key, &objects, &object.metadata).await?;
            return Ok(Ended::Well(None));
        }
        self.add_finalizer(key, &objects, &mut object).await?;

        let started = Timestamp::now();
        match self.look_and_act(key, &object, lost.as_deref()).await {
            Ok(Acted::Nothing(pause)) => {
                self.metrics.ready(&key.0, &key.1, ready(&object));
                Ok(Ended::Well(pause))
            }
            Ok(Acted::Foreign) => {
                self.metrics.ready(&key.0, &key.1, None);
                Ok(Ended::Well(None))
            }
            Ok(Acted::Synced(success)) => {
                let status = outcome::succeeded(&object, &success, started);
                self.write_status(key, &objects, &mut object, status)
                    .await?;
                Ok(Ended::Well(decide::after_success(
                    &object,
                    success.is_valid,
                    Timestamp::now(),
                )))
            }
            Ok(Acted::Again(pause)) => Ok(Ended::Badly(Some(pause))),
            Err(Interrupted::Again(error)) => Err(error),
            Err(Interrupted::Failed(failure)) => {
                self.report(key, &objects, &mut object, failure).await
            }
        }
    }

    /// Looks at the target, decides and acts, again after the label was put on.
    async fn look_and_act(
        &self,
        key: &Key,
        object: &ExternalSecret,
        lost: Option<&str>,
    ) -> Result<Acted, Interrupted> {
        if self.is_generic(object) {
            return self.look_at_generic(key, object, lost).await;
        }
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &key.0);
        let name = object.target_name();
        let target_key = (key.0.clone(), name.to_owned());
        if self.watched.is_known_valid(key, &target_key)
            && let Some(pause) = decide::rest(object, Timestamp::now())
        {
            return Ok(Acted::Nothing(pause));
        }
        let mut is_unseen =
            decide::may_be_made_unseen(object) && self.watched.seems_absent(&target_key);
        let mut is_known_as_ours = false;
        for _ in 0..LOOKS {
            let existing = if is_unseen {
                None
            } else {
                target::read(&secrets, name)
                    .await
                    .map_err(Interrupted::Again)?
            };
            let plan = decide::plan(object, existing.as_ref(), lost, Timestamp::now());
            if let Plan::Rest(pause) = plan {
                let managed = existing.filter(TargetSecret::is_managed);
                let version = managed.and_then(|target| target.metadata.resource_version);
                self.watched.found_valid(key, version.as_deref());
                return Ok(Acted::Nothing(pause));
            }
            if !is_known_as_ours
                && self
                    .belongs_to_others(key, object)
                    .await
                    .map_err(Interrupted::Again)?
            {
                return Ok(Acted::Foreign);
            }
            is_known_as_ours = true;
            if let Some(failure) = self.out_of_reach(key, object) {
                return Err(failure.into());
            }
            let acted = self.act(key, object, &secrets, plan, existing).await;
            // Not made although it seemed to be absent: what to do, and to say, depends on whether it is.
            let is_doubtful = is_unseen && matches!(acted, Err(Interrupted::Failed(_)));
            if !(is_doubtful && exists(&secrets, name).await?)
                && let Some(acted) = acted?
            {
                return Ok(acted);
            }
            is_unseen = false;
        }
        Err(Interrupted::Again(RequestError::Conflict(format!(
            "the label of secret {name} does not stay"
        ))))
    }

    /// Does what a look has shown to be due; `None` if another look has to follow.
    async fn act(
        &self,
        key: &Key,
        object: &ExternalSecret,
        secrets: &Api<Secret>,
        plan: Plan,
        existing: Option<TargetSecret>,
    ) -> Result<Option<Acted>, Interrupted> {
        let name = object.target_name();
        match plan {
            Plan::Rest(pause) => Ok(Some(Acted::Nothing(pause))),
            Plan::Refuse { message, detail } => Err(outcome::refused(message, detail).into()),
            Plan::RefuseTemplate(error) => {
                let existing = existing.is_some().then_some(name);
                Err(outcome::not_rendered(&error, existing).into())
            }
            Plan::Adopt => {
                let manager = names::field_manager(&key.1);
                target::adopt(secrets, name, &manager)
                    .await
                    .map_err(Interrupted::Again)?;
                Ok(None)
            }
            Plan::Resolve => {
                let stores = references::of(&key.0, object);
                self.watched.dependents.note(key, stores);
                let success = self.resolve(key, object, secrets, existing).await?;
                Ok(Some(Acted::Synced(success)))
            }
        }
    }
}

async fn exists(secrets: &Api<Secret>, name: &str) -> Result<bool, Interrupted> {
    let found = target::read_metadata(secrets, name).await;
    Ok(found.map_err(Interrupted::Again)?.is_some())
}

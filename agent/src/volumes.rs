//! Volumes: ExternalSecrets as files in pods.
//!
//! [`Volumes`] implements the [`Backend`] of the CSI node plugin. kubelet asks for a volume, its attributes name an
//! ExternalSecret of the pod's namespace ([`attributes`]), and the volume shows what that object resolves to: fetched through a
//! [`Source`] and rendered by the engine, laid out as files, never written to the API server. Attributes that list the keys of a
//! store themselves become such an object in memory.
//!
//! ```text
//! Volumes --acquire--> registry: one entry per ExternalSecret or inline data in use --spawns--> refresher
//!    |                     |  watch channel: object, content, trouble    <--writes--+   |
//!    | first: waits        v                                                            | watch of one object by name (objects)
//!    | subscribe: follow --+--> files laid out per volume                               | engine::resolve (resolve)
//! ```
//!
//! Volumes of one node share entries: content is fetched once, however many pods show it, and lives in memory only as long as
//! one of them does, and some seconds longer. The watch of the object, which holds no secret, outlives it by minutes. kubelet's
//! calls never fetch: they wait for the refresher.
//!
//! After a restart the content of mounted volumes is in their own mounts only; where a pod may start with it, it is read there
//! (`recall`).
//!
//! Where generators fill an ExternalSecret, each node has values made for itself, and revoked (`generated`).
//!
//! RBAC of the node role: `list`, `watch` on ExternalSecrets (watched by name, only those in use), the same on stores, generators and namespaces, `create` and `patch`
//! on events, `get` on ConfigMaps that `templateFrom` names ([`crate::templates`]). No verb on Secrets.

pub mod attributes;
mod events;
mod failure;
mod files;
mod follow;
mod generated;
mod hear;
mod metrics;
pub mod namespaces;
pub mod objects;
mod recall;
mod refresher;
mod registry;
mod resolve;
mod schedule;
mod shared_reads;
mod state;

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use kube::Client;
use kube::core::Selector;
use kube::runtime::events::Recorder;
use latchkey_csi::backend::{
    Backend, Description, Failure, FailureClass, FileSet, Refusal, ServiceAccountTokens, Shown,
    Update, VolumeRequest, VolumeSettings,
};
use latchkey_engine::source::Source;
use latchkey_engine::template::Renderer;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::attributes::{Plan, Rules};
pub use self::metrics::Metrics;
pub use self::state::ALLOWED_SERVICE_ACCOUNTS;

use self::events::{Events, Reason};
use self::failure::{Failed, Patience};
use self::metrics::Saved;
use self::namespaces::{Gate, NamespaceLabels};
use self::objects::{KubeObjects, Objects};
use self::registry::{Lease, Lives, Registry};
use self::resolve::Resolver;
use self::schedule::Clock;
use self::state::{Content, Patient, Snapshot, Verdict};
use crate::generators::journal::Journal;
use crate::providers::PodTokens;

/// Settings of [`Volumes`].
#[derive(Clone)]
pub struct Config {
    /// How long a first mount waits for an ExternalSecret or a store that does not exist (csi.md 2.2). Default 20 s.
    pub missing_wait: Duration,
    /// How long content outlives the last volume that shows it. Default 10 s, which covers the moment between a publish and
    /// its subscription and spares kubelet's quick retries a new watch.
    pub linger: Duration,
    /// How long after that the watch of an ExternalSecret goes on, without content: a pod that comes meanwhile waits for the
    /// provider and not for the API server. Default 5 min.
    pub warm: Duration,
    /// What attributes may ask for.
    pub rules: Rules,
    /// Whether pods get an event when their files change. Default false.
    pub rotation_events: bool,
    /// Name of this Kubernetes node, for events about it.
    pub node_name: String,
    /// Where it is noted what generators leave, so that it can be revoked. Without it nothing ever is.
    pub journal: Option<Arc<Journal>>,
    /// What is counted.
    pub metrics: Metrics,
}

/// The [`Backend`] that shows ExternalSecrets. Cheap to clone.
pub struct Volumes<S> {
    registry: Arc<Registry<S>>,
    events: Events,
    /// What concerns all volumes alike.
    config: Arc<Config>,
    gate: Option<Gate>,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            missing_wait: Duration::from_secs(20),
            linger: Duration::from_secs(10),
            warm: Duration::from_secs(300),
            rules: Rules::default(),
            rotation_events: false,
            node_name: String::new(),
            journal: None,
            metrics: Metrics::default(),
        }
    }
}

// === impl Volumes ===

impl<S> Clone for Volumes<S> {
    fn clone(&self) -> Self {
        Self {
            registry: Arc::clone(&self.registry),
            events: self.events.clone(),
            config: Arc::clone(&self.config),
            gate: self.gate.clone(),
        }
    }
}

impl<S: Source + 'static> Volumes<S> {
    /// A backend that watches through `client`, fetches from `source` and writes events with `recorder`, until `cancel`. It keeps
    /// in `pods` what kubelet hands over; `source` shows it to the stores that ask for it.
    ///
    /// Must be called within a Tokio runtime.
    #[must_use]
    pub fn new(
        client: Client,
        source: Arc<S>,
        renderer: Arc<Renderer>,
        pods: Arc<PodTokens>,
        config: Config,
        recorder: Recorder,
        cancel: CancellationToken,
    ) -> Self {
        let (events, notes) = Events::channel();
        let objects = Arc::new(KubeObjects::new(client));
        let volumes = Self::assemble(
            Resolver::new(
                source,
                renderer,
                pods,
                config.metrics.clone(),
                config.journal.clone(),
            ),
            objects,
            &config,
            events,
            Clock::new(),
            rand::random,
            cancel.clone(),
        );
        volumes
            .registry
            .tasks
            .spawn(events::write(notes, recorder, cancel));
        volumes
    }

    /// A backend over objects that are in no cluster ([`crate::files`]). Nobody reads its events: what happens is logged.
    ///
    /// Must be called within a Tokio runtime.
    #[must_use]
    pub fn standalone(
        objects: Arc<dyn Objects>,
        source: Arc<S>,
        renderer: Arc<Renderer>,
        cancel: CancellationToken,
    ) -> Self {
        let (events, _) = Events::channel();
        let config = Config::default();
        Self::assemble(
            // There are no pods, so that nothing is kept here.
            Resolver::new(
                source,
                renderer,
                Arc::new(PodTokens::new("")),
                config.metrics.clone(),
                None,
            ),
            objects,
            &config,
            events,
            Clock::new(),
            rand::random,
            cancel,
        )
    }

    fn assemble(
        resolver: Resolver<S>,
        objects: Arc<dyn Objects>,
        config: &Config,
        events: Events,
        clock: Clock,
        jitter: fn() -> f64,
        cancel: CancellationToken,
    ) -> Self {
        let lives = Lives {
            content: config.linger,
            watch: config.warm,
        };
        let registry = Registry::new(resolver, objects, clock, lives, jitter, cancel.clone());
        let wiping = registry.resolver.reads.wipe(cancel);
        registry.tasks.spawn(wiping);
        if let Some(journal) = &config.journal {
            generated::look_after(&registry, Arc::clone(journal));
        }
        Self {
            registry,
            events,
            config: Arc::new(config.clone()),
            gate: None,
        }
    }

    /// Lets pods mount volumes only in namespaces that `selector` chooses by the labels that they have at that moment.
    #[must_use]
    pub fn only_in(mut self, selector: Selector, labels: Arc<dyn NamespaceLabels>) -> Self {
        self.gate = Some(Gate { selector, labels });
        self
    }

    /// Waits until every task has ended; to be called after the token given to [`Volumes::new`] was cancelled.
    pub async fn join(&self) {
        self.registry.tasks.close();
        self.registry.tasks.wait().await;
    }

    /// The number of ExternalSecrets that are watched at the moment.
    #[must_use]
    pub fn objects_in_use(&self) -> usize {
        self.registry.len()
    }

    async fn wait_for_content(&self, plan: &Plan, deadline: Instant) -> Result<FileSet, Failed> {
        self.admit(plan, deadline).await?;
        let since = Instant::now();
        let times = Patient {
            since,
            missing_until: since + self.config.missing_wait,
            deadline,
        };
        let mut scope = self.registry.first_scope(plan);
        let mut lease = self.registry.acquire(&plan.key_as(scope), plan.refresh);
        let mut state = lease.state();
        let mut _demand = lease.demand();
        // The object of which mounted volumes were asked already.
        let mut asked = None;
        loop {
            let snapshot = state.borrow_and_update().clone().seen_by(plan);
            if let Some(wanted) = snapshot.wanted(scope) {
                self.check_identity(plan)?;
                scope = wanted;
                lease = self.registry.acquire(&plan.key_as(scope), plan.refresh);
                state = lease.state();
                _demand = lease.demand();
                asked = None;
                continue;
            }
            let lacking = snapshot.lacks_cached(plan);
            if let Some(seen) = lacking.filter(|seen| asked.as_ref() != Some(&seen.revision)) {
                asked = Some(Arc::clone(&seen.revision));
                // While it is fetched, so that it is there by the deadline.
                let asking = recall::recall(&self.registry, &lease, seen, plan);
                let _ = tokio::time::timeout_at(deadline, asking).await;
                continue;
            }
            match snapshot.verdict(plan, times, Instant::now()) {
                Verdict::Serve(content) => {
                    // What was fetched for this very mount was asked of the stores a moment ago.
                    if content.fetched < since && !self.stands(&lease, &snapshot, &content).await {
                        lease.doubt(&content);
                        continue;
                    }
                    if content.fetched < since {
                        self.config.metrics.saved(Saved::Source);
                    }
                    return files::show(&content, &plan.layout)
                        .map_err(|misfit| follow::misfit_failure(plan, &misfit));
                }
                Verdict::ServeNothing => return Ok(FileSet::default()),
                Verdict::Refuse(failed) => return Err(failed),
                Verdict::Wait(until, failed) => {
                    if let Some(failed) = failed {
                        self.events
                            .tell(plan, Reason::MountFailed(failed.class), &failed.message);
                    }
                    drop(snapshot);
                    // Time passing and a change are answered alike: look again. The sender lives as long as the lease.
                    tokio::select! {
                        () = self.registry.cancel.cancelled() => return Err(stopping()),
                        _ = tokio::time::timeout_at(until, state.changed()) => {}
                    }
                }
            }
        }
    }
}

impl<S: Source + 'static> Volumes<S> {
    /// What the administrator allows, asked for first mounts only (csi.md R3, 9.3).
    async fn admit(&self, plan: &Plan, deadline: Instant) -> Result<(), Failed> {
        if let Some(text) = &plan.forbidden {
            return Err(Failed::new(
                FailureClass::PermissionDenied,
                Patience::Never,
                text,
            ));
        }
        match &self.gate {
            Some(gate) => gate.admit(&plan.key.namespace, deadline).await,
            None => Ok(()),
        }
    }

    /// Whether the stores that kept content came from are what they were, and still admit the pod's namespace (SB-26).
    async fn stands(&self, lease: &Lease<S>, snapshot: &Snapshot, content: &Content) -> bool {
        let (Some(seen), Some(before)) = (snapshot.seen(), &content.standing) else {
            return false;
        };
        let now = resolve::standing(&self.registry.resolver, lease.key(), &seen.object).await;
        now.is_ok_and(|now| now == *before)
    }

    /// Whether the pod has what proves its identity to stores that are read under it.
    fn check_identity(&self, plan: &Plan) -> Result<(), Failed> {
        if self.pods().has(&plan.pod.uid, None) {
            return Ok(());
        }
        let text = format!(
            "{} is read under the identity of its pod, and kubelet handed over no token of service account {}; set chart value \
             node.tokenRequests",
            plan.key, plan.pod.service_account
        );
        Err(Failed::new(
            FailureClass::FailedPrecondition,
            Patience::Never,
            text,
        ))
    }

    /// An audience that the volume names must be one of those that kubelet makes tokens for (csi.md 8).
    fn check_audience(&self, plan: &Plan) -> Result<(), Failed> {
        match &plan.audience {
            Some(audience) if !self.pods().has(&plan.pod.uid, Some(audience)) => Err(Failed::new(
                FailureClass::FailedPrecondition,
                Patience::Never,
                format!(
                    "attribute audience: kubelet hands over no token for {audience:?}; add it to chart value node.tokenRequests"
                ),
            )),
            _ => Ok(()),
        }
    }

    fn pods(&self) -> &PodTokens {
        &self.registry.resolver.pods
    }
}

impl<S: Source + 'static> Backend for Volumes<S> {
    type Plan = Plan;

    fn plan(&self, request: &VolumeRequest) -> Result<Plan, Refusal> {
        Plan::try_new(request, &self.config.rules)
    }

    fn settings(&self, plan: &Plan) -> VolumeSettings {
        plan.settings
    }

    fn tokens(&self, plan: &Plan, tokens: &ServiceAccountTokens) {
        self.pods().keep(&plan.volume(), tokens);
        for entry in self.registry.entries_of(plan) {
            if entry.key.caller.is_some() {
                entry.hasten();
            }
        }
    }

    async fn first(&self, plan: &Plan, deadline: Instant) -> Result<FileSet, Failure> {
        let result = match self.check_audience(plan) {
            Ok(()) => self.wait_for_content(plan, deadline).await,
            Err(failed) => Err(failed),
        };
        result.map_err(|failed| {
            self.events
                .tell(plan, Reason::MountFailed(failed.class), &failed.message);
            failed.to_failure()
        })
    }

    fn subscribe(&self, plan: &Plan) -> BoxStream<'static, Update> {
        follow::follow(
            Arc::clone(&self.registry),
            plan.clone(),
            self.events.clone(),
        )
    }

    fn resume(&self, plan: &Plan, shown: Shown) -> BoxStream<'static, Update> {
        self.registry.adopted.keep(plan, shown);
        self.subscribe(plan)
    }

    fn describe(&self, plan: &Plan) -> Description {
        let entry = self.registry.entries_of(plan).into_iter().next();
        let due = entry.as_ref().and_then(|entry| entry.due());
        let trouble = entry.as_ref().and_then(|entry| {
            let state = entry.state.borrow();
            Some(state.trouble.as_ref()?.failed.message.clone())
        });
        Description {
            source: plan.key.subject.to_string(),
            next_refresh: due.map(|at| at.saturating_duration_since(Instant::now())),
            trouble,
        }
    }

    fn republished(&self, plan: &Plan) {
        for entry in self.registry.entries_of(plan) {
            // Nearly always there is nothing to do: the task is not woken for that.
            if entry.is_overdue() {
                entry.wake.notify_one();
            }
        }
    }

    fn released(&self, plan: &Plan) {
        self.pods().release(&plan.volume());
        self.registry.adopted.release(plan);
    }
}

fn stopping() -> Failed {
    let text = "the agent of this node is shutting down; the mount is tried again by itself";
    Failed::new(FailureClass::Unavailable, Patience::Later, text)
}

#[cfg(test)]
mod tests;

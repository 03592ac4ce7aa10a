//! One pass over one ClusterExternalSecret: reads it, asks [`plan`], acts, and writes the status if it differs
//! (`externalsecret.md` 6.2).

mod writes;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, PostParams};
use kube::runtime::controller::Action;
use kube::{Client, ResourceExt as _};
use latchkey_crds::cluster_external_secret::{ClusterExternalSecret, DEFAULT_REFRESH_TIME};
use latchkey_crds::external_secret::ExternalSecret;
use tokio::time::timeout;
use tracing::{Instrument as _, debug, info_span, warn};

use super::backoff::Backoff;
use super::generated::{Decision, Desired};
use super::plan::{self, Outcome, Selection, Step};
use super::requests::{Problem, bounded};
use super::watched::{Namespaces, Owned, Settled};
use super::{FIELD_MANAGER, Guarded, Metrics, name_of};
use crate::passes::PassResult;

/// The most namespaces that a pass works on at once.
const PARALLEL: usize = 8;
/// How long a pass waits for the watches to have shown everything.
const PATIENCE_WITH_WATCHES: Duration = Duration::from_secs(30);

const ALREADY_EXISTS: &str = "external secret already exists in namespace";

/// What passes share.
pub(super) struct Context {
    client: Client,
    metrics: Metrics,
    namespaces: Arc<Namespaces>,
    owned: Arc<Owned>,
    backoff: Backoff,
    external_secrets: ApiResource,
}

/// How a pass ended.
enum Ended {
    /// The next one is due after this time, or only after a change.
    Well(Option<Duration>),
    /// Something failed that trying again may mend.
    Again,
    /// The object is gone.
    Gone,
}

/// The controller's entry: one pass, measured. Failures are reported on the object, so there is no error to return.
pub(super) async fn reconcile(
    object: Arc<Guarded>,
    context: Arc<Context>,
) -> Result<Action, Infallible> {
    let name = name_of(&object);
    let span = info_span!("spread", name);
    let begin = Instant::now();
    let pass = context.metrics.begin();
    context.metrics.describe(&name, Some(object.labels()));
    let ended = async {
        match &object.0 {
            Ok(_) => context.pass(&name).await.unwrap_or_else(|problem| {
                warn!("the pass failed and is repeated: {problem}");
                Ended::Again
            }),
            Err(invalid) => {
                warn!("the ClusterExternalSecret cannot be read");
                debug!("{}", invalid.error);
                Ended::Well(None)
            }
        }
    };
    let ended = ended.instrument(span).await;
    context.metrics.took(&name, begin.elapsed());
    pass.end(match &ended {
        Ended::Again => PassResult::of(true, true),
        Ended::Well(Some(_)) => PassResult::RequeueAfter,
        Ended::Well(None) | Ended::Gone => PassResult::Success,
    });
    let pause = match ended {
        Ended::Well(pause) => {
            context.backoff.forget(&name);
            pause
        }
        Ended::Again => Some(context.backoff.failed(&name)),
        Ended::Gone => {
            context.forget(&name);
            None
        }
    };
    Ok(pause.map_or_else(Action::await_change, Action::requeue))
}

// === impl Context ===

impl Context {
    pub(super) fn new(
        client: Client,
        metrics: Metrics,
        namespaces: Arc<Namespaces>,
        owned: Arc<Owned>,
    ) -> Self {
        Self {
            client,
            metrics,
            namespaces,
            owned,
            backoff: Backoff::default(),
            external_secrets: ApiResource::erase::<ExternalSecret>(&()),
        }
    }

    /// Forgets an object that is gone.
    pub(super) fn forget(&self, name: &str) {
        self.metrics.gone(name);
        self.backoff.forget(name);
        self.owned.forget(name);
    }

    async fn pass(&self, name: &str) -> Result<Ended, Problem> {
        let sets: Api<ClusterExternalSecret> = Api::all(self.client.clone());
        // Not from the watch: what is written in the status must not be missed.
        let Some(set) = bounded(sets.get_opt(name)).await? else {
            return Ok(Ended::Gone);
        };
        if set.metadata.deletion_timestamp.is_some() {
            if plan::has_finalizer(&set) {
                self.clean_up(&set).await?;
                self.set_finalizer(&sets, &set, false).await?;
            }
            return Ok(Ended::Gone);
        }
        if !plan::has_finalizer(&set) {
            self.set_finalizer(&sets, &set, true).await?;
            return Ok(Ended::Well(None));
        }
        self.spread(&sets, &set).await
    }

    /// Steps 4 to 9 of 6.2.
    async fn spread(
        &self,
        sets: &Api<ClusterExternalSecret>,
        set: &ClusterExternalSecret,
    ) -> Result<Ended, Problem> {
        if let Some(former) = plan::former_name(set) {
            let (outcomes, last) = self.give_up(set, former).await;
            if let Some(problem) = last {
                let status = plan::status(former, &outcomes);
                self.write_status(sets, set, status).await?;
                return Err(problem);
            }
        }
        let selection = match Selection::of(&set.spec) {
            Ok(selection) => selection,
            Err(error) => {
                let status = plan::status_without_selection(set, &error);
                self.write_status(sets, set, status).await?;
                return Err(Problem::Refused(error.to_string()));
            }
        };
        let shown = async {
            self.owned.wait().await;
            self.namespaces.all().await
        };
        let Ok(namespaces) = timeout(PATIENCE_WITH_WATCHES, shown).await else {
            return Err(Problem::Unavailable(String::from(
                "namespaces and ExternalSecrets could not be listed",
            )));
        };
        let desired = Desired::of(set);
        let steps: Vec<_> = plan::plan(set, &selection, &namespaces)
            .into_iter()
            .map(|(namespace, step)| {
                let holds = namespaces.get(&namespace).is_some_and(|seen| {
                    seen.finalizers
                        .contains(&plan::namespace_finalizer(&desired.owner.name))
                });
                (namespace, step, holds)
            })
            .collect();
        let results: Vec<_> = stream::iter(steps)
            .map(|(namespace, step, holds)| self.carry_out(set, &desired, namespace, step, holds))
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        let again = results.iter().any(|(_, _, again)| *again);
        let outcomes = results
            .into_iter()
            .map(|(namespace, outcome, _)| (namespace, outcome))
            .collect();
        let mut status = plan::status(&desired.name, &outcomes);
        let pause = set.spec.refresh_time().unwrap_or_else(|error| {
            plan::blame(&mut status, &error);
            Some(DEFAULT_REFRESH_TIME)
        });
        self.write_status(sets, set, status).await?;
        Ok(if again {
            Ended::Again
        } else {
            Ended::Well(pause)
        })
    }

    /// Deletes the ExternalSecrets of a former name. The last problem, if there was any.
    async fn give_up(
        &self,
        set: &ClusterExternalSecret,
        former: &str,
    ) -> (BTreeMap<String, Outcome>, Option<Problem>) {
        let listed = plan::provisioned(set);
        // Where an update failed, the one of the former name may still be.
        let failed = set
            .status
            .iter()
            .flat_map(|status| &status.failed_namespaces);
        let mut namespaces: Vec<String> = failed.map(|failed| failed.namespace.clone()).collect();
        namespaces.extend_from_slice(listed);
        namespaces.sort();
        namespaces.dedup();
        let results: Vec<_> = stream::iter(namespaces)
            .map(|namespace| async move {
                let deleted = self.delete_owned(&namespace, former, plan::name(set)).await;
                (namespace, deleted)
            })
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        let mut last = None;
        let outcomes = results
            .into_iter()
            .map(|(namespace, deleted)| {
                let outcome = match deleted {
                    Ok(()) if listed.contains(&namespace) => Outcome::Provisioned,
                    Ok(()) => Outcome::Absent,
                    Err(problem) => {
                        let outcome = Outcome::Remains(not_deleted(&problem));
                        last = Some(problem);
                        outcome
                    }
                };
                (namespace, outcome)
            })
            .collect();
        (outcomes, last)
    }

    /// Does what is planned for a namespace. The last part of the answer: whether to try again soon.
    async fn carry_out(
        &self,
        set: &ClusterExternalSecret,
        desired: &Desired,
        namespace: String,
        step: Step,
        holds: bool,
    ) -> (String, Outcome, bool) {
        let (outcome, again) = match step {
            Step::Provision => self.provision(set, desired, &namespace, holds).await,
            Step::Release => self.release(&desired.owner.name, &namespace).await,
            Step::Withdraw => {
                let deleted = self
                    .delete_owned(&namespace, &desired.name, &desired.owner.name)
                    .await;
                match deleted {
                    Err(problem) => (Outcome::Remains(not_deleted(&problem)), true),
                    Ok(()) if holds => self.release(&desired.owner.name, &namespace).await,
                    Ok(()) => (Outcome::Absent, false),
                }
            }
        };
        (namespace, outcome, again)
    }

    /// 6.3: nothing is touched where somebody else's ExternalSecret is in the way.
    async fn provision(
        &self,
        set: &ClusterExternalSecret,
        desired: &Desired,
        namespace: &str,
        holds: bool,
    ) -> (Outcome, bool) {
        let key = (namespace.to_owned(), desired.name.clone());
        if holds && self.owned.is_settled(&key, desired, &set.metadata) {
            return (Outcome::Provisioned, false);
        }
        let objects: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &self.external_secrets);
        let existing = match bounded(objects.get_opt(&desired.name)).await {
            Ok(existing) => existing,
            Err(problem) => return not_written(&problem),
        };
        let settled = existing
            .as_ref()
            .map(|object| Settled::of(&object.metadata, &set.metadata));
        let decision = desired.decide(namespace, existing);
        if decision == Decision::Foreign {
            return (Outcome::Failed(ALREADY_EXISTS.to_owned()), false);
        }
        if !holds
            && let Err(problem) = self
                .mark_namespace(&desired.owner.name, namespace, true)
                .await
        {
            let reason = format!("could not add namespace finalizer: {problem}");
            return (Outcome::Failed(reason), problem.is_transient());
        }
        let parameters = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let written = match decision {
            Decision::Create(object) => bounded(objects.create(&parameters, &object)).await,
            Decision::Update(object) => {
                bounded(objects.replace(&desired.name, &parameters, &object)).await
            }
            Decision::Keep | Decision::Foreign => {
                if let Some(settled) = settled {
                    self.owned.settle(key, settled);
                }
                return (Outcome::Provisioned, false);
            }
        };
        match written {
            Ok(object) => {
                // Whatever defaults the API server has added: it is what was asked for.
                let settled = Settled::of(&object.metadata, &set.metadata);
                self.owned.settle(key, settled);
                (Outcome::Provisioned, false)
            }
            Err(problem) => not_written(&problem),
        }
    }

    async fn release(&self, set: &str, namespace: &str) -> (Outcome, bool) {
        match self.mark_namespace(set, namespace, false).await {
            Ok(()) => (Outcome::Absent, false),
            Err(problem) => (Outcome::Failed(not_released(&problem)), true),
        }
    }

    /// 6.4: everything of ours goes from every namespace that has it, or that carries our finalizer (D-03).
    async fn clean_up(&self, set: &ClusterExternalSecret) -> Result<(), Problem> {
        let set_name = plan::name(set);
        let finalizer = plan::namespace_finalizer(set_name);
        let api: Api<Namespace> = Api::all(self.client.clone());
        let listed = bounded(api.list_metadata(&ListParams::default())).await?;
        let marked: Vec<String> = listed
            .items
            .iter()
            .filter(|namespace| namespace.finalizers().contains(&finalizer))
            .map(|namespace| namespace.name_any())
            .collect();
        let mut all = marked.clone();
        all.extend_from_slice(plan::provisioned(set));
        all.sort();
        all.dedup();
        let external_secret = plan::former_name(set).unwrap_or_else(|| set.external_secret_name());
        let marked = &marked;
        let problems: Vec<String> = stream::iter(all)
            .map(|namespace| async move {
                if let Err(problem) = self
                    .delete_owned(&namespace, external_secret, set_name)
                    .await
                {
                    return Some(format!("{namespace}: {}", not_deleted(&problem)));
                }
                if !marked.contains(&namespace) {
                    return None;
                }
                match self.mark_namespace(set_name, &namespace, false).await {
                    Ok(()) => None,
                    Err(problem) => Some(format!("{namespace}: {}", not_released(&problem))),
                }
            })
            .buffer_unordered(PARALLEL)
            .filter_map(std::future::ready)
            .collect()
            .await;
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Problem::Unavailable(problems.join("; ")))
        }
    }
}

fn not_written(problem: &Problem) -> (Outcome, bool) {
    let reason = format!("could not create or update ExternalSecret: {problem}");
    (Outcome::Failed(reason), problem.is_transient())
}

fn not_deleted(problem: &Problem) -> String {
    format!("could not delete ExternalSecret: {problem}")
}

fn not_released(problem: &Problem) -> String {
    format!("could not remove namespace finalizer: {problem}")
}

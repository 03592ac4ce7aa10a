//! Reads, decides and writes. Runs in the elected sync leader only.
//!
//! | object | verbs | where |
//! |---|---|---|
//! | Secrets | get, create, update; list and watch of their metadata | release namespace and the allowed namespaces |
//! | Services (metadata) | list, watch | the allowed namespaces |
//! | ServiceAccounts | get, the one that owns our Secrets | release namespace |
//!
//! One pass looks at everything and is idempotent. It runs when a provider Service or one of our Secrets changes, and every ten
//! minutes. A failure concerns one Secret only; the pass is then repeated with a growing pause.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{BoxStream, SelectAll};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Secret, Service, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, ListParams, PartialObjectMeta};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use latchkey_secret::{SecretData, SecretValue};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::authority::Profile;
use super::decide::{self, Chain, ChainStep, Reason, Verdict};
use super::secrets::{Error, Result, is_owned, read, reference, request, words, write};
use super::{
    CA_CERTIFICATE_KEY, CERTIFICATE_KEY, COMPONENT, COMPONENT_LABEL, MANAGED_BY, MANAGED_BY_LABEL,
    Metrics, PRIVATE_KEY, PROVIDER_LABEL,
};

/// A pass at least this often, whatever is watched.
const INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Changes within this time are looked at together.
const SETTLE: Duration = Duration::from_millis(200);

/// First pause after a failed pass; doubles up to [`LONGEST_PAUSE`].
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause after failed passes.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What the controller needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespace of the CA and of the client identity.
    pub release_namespace: String,
    /// Name of the CA's Secret.
    pub ca_secret: String,
    /// Name of the client identity's Secret.
    pub client_secret: String,
    /// Namespaces whose provider Services get an identity.
    pub namespaces: BTreeSet<String>,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// ServiceAccount in the release namespace that owns the two Secrets there; `None` leaves them without owner.
    pub owner_service_account: Option<String>,
}

/// Issues and rotates all identities.
pub struct Controller {
    client: Client,
    settings: Settings,
    metrics: Metrics,
}

/// An identity that is to be kept.
#[derive(Clone, Copy)]
struct Leaf<'a> {
    namespace: &'a str,
    /// Name of its Secret.
    secret: &'a str,
    /// What the metrics call it: its Service, or the Secret of the client.
    service: &'a str,
    profile: &'a Profile,
    owner: Option<&'a OwnerReference>,
}

// === impl Controller ===

impl Controller {
    /// A controller that does nothing until it runs.
    #[must_use]
    pub fn new(client: Client, settings: Settings, metrics: Metrics) -> Self {
        Self {
            client,
            settings,
            metrics,
        }
    }

    /// Works until `stop` is cancelled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves every Secret as it was or completely written.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.work() => {}
        }
        self.metrics.clear();
    }

    async fn work(&self) {
        let mut changes = self.changes();
        let mut known = BTreeSet::new();
        let mut told = BTreeSet::new();
        let mut pause = SHORTEST_PAUSE;
        loop {
            let failures = self.pass(&mut known).await;
            let due = if failures.is_empty() {
                pause = SHORTEST_PAUSE;
                told.clear();
                INTERVAL
            } else {
                // Each failure once, until it is gone or reads otherwise.
                let texts: BTreeSet<String> = failures.iter().map(ToString::to_string).collect();
                for text in texts.difference(&told) {
                    warn!("{text}");
                }
                told = texts;
                pause = (pause * 2).min(LONGEST_PAUSE);
                pause
            };
            let due = Instant::now() + due.mul_f64(1.0 + 0.1 * rand::random::<f64>());
            tokio::select! {
                () = sleep_until(due) => {}
                _ = changes.next() => {}
            }
            // What follows at once belongs to the same pass.
            let settled = Instant::now() + SETTLE;
            while let Ok(Some(())) = tokio::time::timeout_at(settled, changes.next()).await {}
        }
    }

    /// One item per change of a provider Service or of a Secret of ours. Watches begin again by themselves.
    fn changes(&self) -> SelectAll<BoxStream<'static, ()>> {
        let services = watcher::Config::default().labels(&format!("{PROVIDER_LABEL}=true"));
        let secrets = watcher::Config::default().labels(&format!(
            "{MANAGED_BY_LABEL}={MANAGED_BY},{COMPONENT_LABEL}={COMPONENT}"
        ));
        let mut all = SelectAll::new();
        let release = &self.settings.release_namespace;
        for namespace in &self.settings.namespaces {
            let api: Api<PartialObjectMeta<Service>> =
                Api::namespaced(self.client.clone(), namespace);
            all.push(signals(
                watcher(api, services.clone()),
                "services",
                namespace,
            ));
        }
        for namespace in self
            .settings
            .namespaces
            .iter()
            .chain([release])
            .collect::<BTreeSet<_>>()
        {
            let api: Api<PartialObjectMeta<Secret>> =
                Api::namespaced(self.client.clone(), namespace);
            all.push(signals(watcher(api, secrets.clone()), "secrets", namespace));
        }
        all
    }

    /// Looks at everything once and returns what failed.
    async fn pass(&self, known: &mut BTreeSet<(String, String)>) -> Vec<Error> {
        let now = Timestamp::now();
        let release = &self.settings.release_namespace;
        let owner = match self.release_owner().await {
            Ok(owner) => owner,
            Err(error) => return vec![self.failed(release, &self.settings.ca_secret, error)],
        };
        let chain = match self.chain(owner.as_ref(), now).await {
            Ok(chain) => chain,
            Err(error) => return vec![self.failed(release, &self.settings.ca_secret, error)],
        };
        self.metrics
            .ca_ends(chain.current.facts().not_after.as_second());

        let mut failures = Vec::new();
        let client = &self.settings.client_secret;
        let own = Leaf {
            namespace: release,
            secret: client,
            service: client,
            profile: &Profile::Client,
            owner: owner.as_ref(),
        };
        failures.extend(self.keep(own, &chain, now).await.err());
        let mut seen = BTreeSet::new();
        for namespace in &self.settings.namespaces {
            let services = match self.services(namespace).await {
                Ok(services) => services,
                Err(error) => {
                    seen.extend(
                        known
                            .iter()
                            .filter(|(place, _)| place == namespace)
                            .cloned(),
                    );
                    failures.push(error);
                    continue;
                }
            };
            for (name, owner) in services {
                let profile = Profile::of_service(&name, namespace, &self.settings.cluster_domain);
                let server = Leaf {
                    namespace,
                    secret: &format!("{name}-tls"),
                    service: &name,
                    profile: &profile,
                    owner: Some(&owner),
                };
                failures.extend(self.keep(server, &chain, now).await.err());
                seen.insert((namespace.clone(), name));
            }
        }
        for (namespace, service) in known.difference(&seen) {
            self.metrics.forget(namespace, service);
        }
        *known = seen;
        failures
    }

    fn failed(&self, namespace: &str, service: &str, error: Error) -> Error {
        self.metrics.failed(namespace, service);
        error
    }

    /// The ServiceAccount that owns the Secrets of the release. If it is gone, so is the release: nothing may be written any more.
    async fn release_owner(&self) -> Result<Option<OwnerReference>> {
        let Some(name) = &self.settings.owner_service_account else {
            return Ok(None);
        };
        let namespace = &self.settings.release_namespace;
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let account = request("get", "service account", namespace, name, api.get(name)).await?;
        Ok(Some(reference(
            "ServiceAccount",
            name,
            account.metadata.uid.unwrap_or_default(),
        )))
    }

    /// The provider Services of a namespace, by name and as owners.
    async fn services(&self, namespace: &str) -> Result<Vec<(String, OwnerReference)>> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let parameters = ListParams::default().labels(&format!("{PROVIDER_LABEL}=true"));
        let list = request(
            "list",
            "services",
            namespace,
            "",
            api.list_metadata(&parameters),
        )
        .await?;
        let living = list
            .items
            .into_iter()
            .filter(|service| service.metadata.deletion_timestamp.is_none());
        Ok(living
            .map(|service| {
                let (name, uid) = (service.name_any(), service.metadata.uid.unwrap_or_default());
                let owner = reference("Service", &name, uid);
                (name, owner)
            })
            .collect())
    }

    /// Reads the CAs and takes the step that is due.
    async fn chain(&self, owner: Option<&OwnerReference>, now: Timestamp) -> Result<Chain> {
        let (namespace, name) = (&self.settings.release_namespace, &self.settings.ca_secret);
        let broken = |source| Error::Certificate {
            namespace: namespace.clone(),
            name: name.clone(),
            source,
        };
        let observed = read(&self.client, namespace, name).await?;
        let (chain, step) = match &observed {
            None => (Chain::begin(now).map_err(broken)?, ChainStep::Begin),
            Some(observed) => match Chain::from_data(&observed.data) {
                Ok(chain) if !observed.is_ours() => return Ok(chain),
                Ok(chain) => {
                    let step = chain.step(now);
                    (chain.take(step, now).map_err(broken)?, step)
                }
                Err(error) if !observed.is_ours() => {
                    let (namespace, name) = (namespace.clone(), name.clone());
                    return Err(Error::Foreign {
                        namespace,
                        name,
                        reason: error.to_string(),
                    });
                }
                Err(error) => {
                    warn!(
                        namespace,
                        name, "the CA is unusable and is replaced: {error}"
                    );
                    (Chain::begin(now).map_err(broken)?, ChainStep::Begin)
                }
            },
        };
        let owned = observed
            .as_ref()
            .is_some_and(|observed| is_owned(&observed.metadata, owner));
        if step == ChainStep::Keep && owned {
            return Ok(chain);
        }
        write(
            &self.client,
            namespace,
            name,
            "Opaque",
            observed,
            chain.to_data(),
            owner,
        )
        .await?;
        info!(namespace, name, ?step, "wrote the CA");
        Ok(chain)
    }

    /// Keeps one leaf as it should be.
    async fn keep(&self, leaf: Leaf<'_>, chain: &Chain, now: Timestamp) -> Result<()> {
        let Leaf {
            namespace, service, ..
        } = leaf;
        match self.step(leaf, chain, now).await {
            Ok((end, written)) => {
                if let Some(reason) = written {
                    self.metrics.rotated(namespace, service, reason);
                    info!(namespace, name = leaf.secret, %reason, "wrote an identity");
                }
                self.metrics.ends(namespace, service, end.as_second());
                Ok(())
            }
            Err(error) => Err(self.failed(namespace, service, error)),
        }
    }

    /// Takes the step that is due, and returns when the certificate ends and why it was written, if it was.
    async fn step(
        &self,
        leaf: Leaf<'_>,
        chain: &Chain,
        now: Timestamp,
    ) -> Result<(Timestamp, Option<Reason>)> {
        let (namespace, name) = (leaf.namespace, leaf.secret);
        let observed = read(&self.client, namespace, name).await?;
        let known = observed
            .as_ref()
            .map(|observed| (&observed.data, observed.is_ours()));
        let bundle = SecretValue::from(chain.bundle());
        let (data, reason, end) = match decide::leaf(known, leaf.profile, chain, now) {
            Verdict::Foreign(Some(end)) => return Ok((end, None)),
            Verdict::Foreign(None) => {
                return Err(Error::Foreign {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    reason: String::from(
                        "it needs ca.crt, tls.crt and the tls.key that belongs to it",
                    ),
                });
            }
            Verdict::Keep(end)
                if observed
                    .as_ref()
                    .is_some_and(|observed| is_owned(&observed.metadata, leaf.owner)) =>
            {
                return Ok((end, None));
            }
            Verdict::Keep(end) | Verdict::Publish(end) => {
                let data = observed.as_ref().map(|observed| observed.data.clone());
                let mut data = data.unwrap_or_default();
                data.insert(CA_CERTIFICATE_KEY.to_owned(), bundle);
                (data, Reason::Bundle, end)
            }
            Verdict::Issue(reason) => {
                let issued = chain.issue(leaf.profile, now);
                let identity = issued.map_err(|source| Error::Certificate {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    source,
                })?;
                let certificate = SecretValue::from(identity.certificate);
                let data = SecretData::from([
                    (CA_CERTIFICATE_KEY.to_owned(), bundle),
                    (CERTIFICATE_KEY.to_owned(), certificate),
                    (PRIVATE_KEY.to_owned(), identity.key),
                ]);
                (data, reason, chain.current.leaf_end(now))
            }
        };
        let kind = "kubernetes.io/tls";
        write(
            &self.client,
            namespace,
            name,
            kind,
            observed,
            data,
            leaf.owner,
        )
        .await?;
        Ok((end, Some(reason)))
    }
}

fn signals<K>(
    events: impl futures::Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
    kind: &'static str,
    namespace: &str,
) -> BoxStream<'static, ()>
where
    K: Send + 'static,
{
    let namespace = namespace.to_owned();
    events
        .default_backoff()
        .filter_map(move |event| {
            let signal = match event {
                Ok(
                    watcher::Event::Apply(_) | watcher::Event::Delete(_) | watcher::Event::InitDone,
                ) => Some(()),
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => None,
                Err(error) => {
                    // Decoding errors quote what they read; of these only the kind is told.
                    warn!(
                        namespace,
                        "failed to watch {kind}: {}",
                        reason(&watch_source(error))
                    );
                    None
                }
            };
            futures::future::ready(signal)
        })
        .boxed()
}

enum WatchSource {
    Kube(kube::Error),
    Text(String),
}

fn watch_source(error: watcher::Error) -> WatchSource {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => WatchSource::Kube(error),
        watcher::Error::WatchError(status) => {
            WatchSource::Text(format!("{} ({})", status.reason, status.code))
        }
        watcher::Error::NoResourceVersion => {
            WatchSource::Text(String::from("the list has no resource version"))
        }
    }
}

fn reason(source: &WatchSource) -> String {
    match source {
        WatchSource::Kube(error) => words(error),
        WatchSource::Text(text) => text.clone(),
    }
}

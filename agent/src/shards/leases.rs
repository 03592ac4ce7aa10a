//! The Leases of the shards at the API server.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, ListParams, PostParams};

/// Label of the Leases, with their common name as its value.
const LABEL: &str = "latchkey.dev/shards";
/// Annotation with the identity of an agent that asks for the shard.
const WANTED_BY: &str = "latchkey.dev/wanted-by";

/// What a Lease says, and what a write must carry to be refused if someone else wrote meanwhile.
#[derive(Clone, Debug)]
pub(super) struct Record<V> {
    /// Empty after a release.
    pub(super) holder: String,
    pub(super) wanted_by: Option<String>,
    pub(super) duration: Duration,
    /// As the holder's clock said; compared for equality only.
    pub(super) renewed: Timestamp,
    /// `None` to create it.
    pub(super) version: Option<V>,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Someone else wrote first.
    Conflict,
    /// The service account may not do that.
    Forbidden(&'static str),
    /// Anything else, in words.
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict => formatter.write_str("another agent wrote first"),
            Self::Forbidden(verb) => write!(
                formatter,
                "the service account may not {verb} them: grant list, get, update and (if they do not exist) create on leases.coordination.k8s.io in the agent's namespace"
            ),
            Self::Other(text) => formatter.write_str(text),
        }
    }
}

/// The Leases, each with compare-and-swap.
pub(super) trait Leases: Send + Sync {
    type Version: Clone + Send + Sync;

    /// Those that exist, by shard.
    fn list(
        &self,
    ) -> impl Future<Output = Result<BTreeMap<u16, Record<Self::Version>>, Failure>> + Send;

    fn write(
        &self,
        shard: u16,
        record: &Record<Self::Version>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Those at the API server.
pub(super) struct ApiLeases {
    api: Api<Lease>,
    name: String,
    count: u16,
}

// === impl ApiLeases ===

impl ApiLeases {
    pub(super) fn new(client: kube::Client, namespace: &str, name: &str, count: u16) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            count,
        }
    }

    fn name_of(&self, shard: u16) -> String {
        format!("{}-{shard}", self.name)
    }
}

impl Leases for ApiLeases {
    type Version = ObjectMeta;

    async fn list(&self) -> Result<BTreeMap<u16, Record<ObjectMeta>>, Failure> {
        // From the API server's cache: a write upon an old state is refused, and agents without work ask often.
        let parameters = ListParams::default()
            .labels(&format!("{LABEL}={}", self.name))
            .match_any();
        let leases = self
            .api
            .list(&parameters)
            .await
            .map_err(|error| failure("list", &error))?;
        let by_name: BTreeMap<String, Lease> = leases
            .items
            .into_iter()
            .filter_map(|lease| Some((lease.metadata.name.clone()?, lease)))
            .collect();
        let shards = (0..self.count).filter_map(|shard| {
            let lease = by_name.get(&self.name_of(shard))?;
            Some((shard, record(lease.clone())))
        });
        Ok(shards.collect())
    }

    async fn write(&self, shard: u16, record: &Record<ObjectMeta>) -> Result<(), Failure> {
        let name = self.name_of(shard);
        let mut metadata = record.version.clone().unwrap_or_else(|| ObjectMeta {
            name: Some(name.clone()),
            labels: Some(BTreeMap::from([(LABEL.to_owned(), self.name.clone())])),
            ..ObjectMeta::default()
        });
        metadata.managed_fields = None;
        let annotations = metadata.annotations.get_or_insert_default();
        match &record.wanted_by {
            Some(identity) => annotations.insert(WANTED_BY.to_owned(), identity.clone()),
            None => annotations.remove(WANTED_BY),
        };
        let lease = Lease {
            metadata,
            spec: Some(LeaseSpec {
                holder_identity: Some(record.holder.clone()),
                lease_duration_seconds: Some(
                    i32::try_from(record.duration.as_secs()).unwrap_or(i32::MAX),
                ),
                renew_time: Some(MicroTime(record.renewed)),
                ..LeaseSpec::default()
            }),
        };
        let parameters = PostParams::default();
        match record.version {
            Some(_) => self
                .api
                .replace(&name, &parameters, &lease)
                .await
                .map_err(|error| failure("update", &error))?,
            None => self
                .api
                .create(&parameters, &lease)
                .await
                .map_err(|error| failure("create", &error))?,
        };
        Ok(())
    }
}

fn record(lease: Lease) -> Record<ObjectMeta> {
    let Lease { metadata, spec } = lease;
    let spec = spec.unwrap_or_default();
    let wanted_by = metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(WANTED_BY));
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        wanted_by: wanted_by.filter(|identity| !identity.is_empty()).cloned(),
        duration: Duration::from_secs(
            u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or_default(),
        ),
        renewed: spec.renew_time.map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        version: Some(metadata),
    }
}

fn failure(verb: &'static str, error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) if status.code == 403 => Failure::Forbidden(verb),
        // 404 on an update: it was deleted; the next look finds nothing and creates it.
        kube::Error::Api(status) if matches!(status.code, 404 | 409) => Failure::Conflict,
        kube::Error::Api(status) => Failure::Other(format!("{} ({})", status.reason, status.code)),
        other => Failure::Other(other.to_string()),
    }
}

//! The record of an election in a Lease object.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};

use super::{Failure, Record, Register, Stored};

/// One Lease.
pub(super) struct LeaseRegister {
    pub(super) api: Api<Lease>,
    pub(super) name: String,
}

// === impl LeaseRegister ===

impl Register for LeaseRegister {
    type Version = ObjectMeta;

    async fn read(&self) -> Result<Option<Stored<ObjectMeta>>, Failure> {
        let lease = self
            .api
            .get_opt(&self.name)
            .await
            .map_err(|error| failure("get", &error))?;
        Ok(lease.map(stored))
    }

    async fn write(
        &self,
        record: &Record,
        version: Option<&ObjectMeta>,
    ) -> Result<Stored<ObjectMeta>, Failure> {
        let spec = LeaseSpec {
            holder_identity: Some(record.holder.clone()),
            lease_duration_seconds: Some(
                i32::try_from(record.duration.as_secs()).unwrap_or(i32::MAX),
            ),
            acquire_time: Some(MicroTime(record.acquired)),
            renew_time: Some(MicroTime(record.renewed)),
            lease_transitions: Some(record.transitions),
            ..LeaseSpec::default()
        };
        let parameters = PostParams::default();
        let lease = match version {
            Some(metadata) => {
                let lease = Lease {
                    metadata: metadata.clone(),
                    spec: Some(spec),
                };
                self.api
                    .replace(&self.name, &parameters, &lease)
                    .await
                    .map_err(|error| failure("update", &error))?
            }
            None => {
                let metadata = ObjectMeta {
                    name: Some(self.name.clone()),
                    ..ObjectMeta::default()
                };
                let lease = Lease {
                    metadata,
                    spec: Some(spec),
                };
                self.api
                    .create(&parameters, &lease)
                    .await
                    .map_err(|error| failure("create", &error))?
            }
        };
        Ok(stored(lease))
    }
}

fn stored(lease: Lease) -> Stored<ObjectMeta> {
    let Lease { metadata, spec } = lease;
    let spec = spec.unwrap_or_default();
    let time = |value: Option<MicroTime>| value.map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    Stored {
        record: Record {
            holder: spec.holder_identity.unwrap_or_default(),
            duration: Duration::from_secs(
                u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or_default(),
            ),
            acquired: time(spec.acquire_time),
            renewed: time(spec.renew_time),
            transitions: spec.lease_transitions.unwrap_or_default(),
        },
        id: metadata.resource_version.clone().unwrap_or_default(),
        version: metadata,
    }
}

fn failure(verb: &'static str, error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) if status.code == 403 => Failure::Forbidden(verb),
        // 404 on an update: it was deleted; the next read finds nothing and creates it.
        kube::Error::Api(status) if matches!(status.code, 404 | 409) => Failure::Conflict,
        kube::Error::Api(status) => Failure::Other(format!("{} ({})", status.reason, status.code)),
        other => Failure::Other(other.to_string()),
    }
}

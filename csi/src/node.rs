//! The Node service: NodePublishVolume, NodeUnpublishVolume, NodeGetVolumeStats, NodeGetInfo, NodeGetCapabilities.
//!
//! NodeStageVolume, NodeUnstageVolume and NodeExpandVolume are not advertised and answer UNIMPLEMENTED: inline volumes are never
//! staged (csi.md 1).

use std::sync::Arc;
use std::time::Duration;

use latchkey_proto::csi::v1::node_server::Node;
use latchkey_proto::csi::v1::node_service_capability::{Rpc, Type, rpc};
use latchkey_proto::csi::v1::volume_usage::Unit;
use latchkey_proto::csi::v1::{
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest,
    NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse,
    NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse, NodePublishVolumeRequest,
    NodePublishVolumeResponse, NodeServiceCapability, NodeStageVolumeRequest,
    NodeStageVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse,
    NodeUnstageVolumeRequest, NodeUnstageVolumeResponse, VolumeUsage,
};
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};

use crate::backend::Backend;
use crate::config::Config;
use crate::error::NodeError;
use crate::metrics::Metrics;
use crate::publish;
use crate::status::{Health, Trust};
use crate::volumes::{Published, Volumes};

/// kubelet's deadline for every call, and what a caller without one gets (csi.md 2.1).
const MAX_WAIT: Duration = Duration::from_secs(120);

/// Our answer comes this much before the caller's deadline, so that its text is shown (csi.md 1.6).
const MARGIN: Duration = Duration::from_secs(5);

pub(crate) struct NodeService<B: Backend> {
    pub(crate) config: Arc<Config>,
    pub(crate) volumes: Volumes<B>,
    pub(crate) metrics: Metrics,
    pub(crate) trust: Arc<Mutex<Trust>>,
    pub(crate) health: Arc<Health>,
}

impl<B: Backend> NodeService<B> {
    async fn publish(
        &self,
        request: NodePublishVolumeRequest,
        deadline: Instant,
    ) -> Result<Published, NodeError> {
        let trust = *self.trust.lock();
        let checked = publish::check(request, &self.config, &self.volumes.disk().roots, trust)?;
        let plan = self
            .volumes
            .backend()
            .plan(&checked.request)
            .map_err(|refusal| NodeError::Invalid(refusal.0))?;
        publish::check_settings(&self.config, &self.volumes.backend().settings(&plan))?;
        publish::check_policy(&self.config, &checked.request.namespace)?;
        if let Some(reason) = self.health.unfit() {
            return Err(NodeError::Unfit(reason));
        }
        let (namespace, pod) = (
            checked.request.namespace.clone(),
            checked.request.pod_name.clone(),
        );
        let expected = checked.target.expected_volume_id();
        if expected.is_some_and(|expected| expected != checked.request.volume_id) {
            // kubelet's way to make ids is its own affair; a driver must live with another one (csi.md 4.2).
            tracing::debug!(
                namespace,
                pod,
                "the volume id is not the one that kubelet makes of the target"
            );
        }
        let result = self.volumes.publish(checked, plan, deadline).await;
        match &result {
            Ok(Published::First) => tracing::info!(namespace, pod, "mounted a volume"),
            Ok(Published::Again) => {}
            Err(error) => {
                tracing::warn!(namespace, pod, code = ?error.code(), %error, "failed to mount a volume")
            }
        }
        result
    }

    async fn unpublish(
        &self,
        request: &NodeUnpublishVolumeRequest,
        deadline: Instant,
    ) -> Result<(), NodeError> {
        let target = publish::check_target(
            &request.volume_id,
            &request.target_path,
            &self.volumes.disk().roots,
        )?;
        let result = self.volumes.unpublish(&target, deadline).await;
        match &result {
            Ok(()) => tracing::info!(target = target.path(), "unmounted a volume"),
            Err(error) => {
                tracing::warn!(target = target.path(), %error, "failed to unmount a volume")
            }
        }
        result
    }

    async fn stats(
        &self,
        request: NodeGetVolumeStatsRequest,
    ) -> Result<NodeGetVolumeStatsResponse, NodeError> {
        if request.volume_id.is_empty() {
            return Err(NodeError::Invalid("volume_id is missing".to_owned()));
        }
        if request.volume_path.is_empty() {
            return Err(NodeError::Invalid("volume_path is missing".to_owned()));
        }
        let target = self
            .volumes
            .disk()
            .roots
            .parse(&request.volume_path)
            .map_err(|_| NodeError::NotFound)?;
        let usage = self.volumes.usage(&request.volume_id, target).await?;
        let entry = |unit: Unit, total: u64, free: u64| VolumeUsage {
            available: as_signed(free),
            total: as_signed(total),
            used: as_signed(total.saturating_sub(free)),
            unit: unit.into(),
        };
        Ok(NodeGetVolumeStatsResponse {
            usage: vec![
                entry(Unit::Bytes, usage.bytes, usage.free_bytes),
                entry(Unit::Inodes, usage.inodes, usage.free_inodes),
            ],
            ..NodeGetVolumeStatsResponse::default()
        })
    }
}

#[tonic::async_trait]
impl<B: Backend> Node for NodeService<B> {
    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        self.metrics.kubelet_call("NodePublishVolume");
        let started = Instant::now();
        let deadline = started + wait(request.metadata());
        let mut measure = Measure {
            metrics: &self.metrics,
            op: "publish",
            started,
            first: true,
            code: Code::Cancelled,
        };
        let result = self.publish(request.into_inner(), deadline).await;
        measure.first = result != Ok(Published::Again);
        measure.code = result.as_ref().map_or_else(NodeError::code, |_| Code::Ok);
        result?;
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        self.metrics.kubelet_call("NodeUnpublishVolume");
        let started = Instant::now();
        let deadline = started + wait(request.metadata());
        let mut measure = Measure {
            metrics: &self.metrics,
            op: "unpublish",
            started,
            first: false,
            code: Code::Cancelled,
        };
        let result = self.unpublish(request.get_ref(), deadline).await;
        measure.code = result.as_ref().map_or_else(NodeError::code, |()| Code::Ok);
        result?;
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        self.metrics.kubelet_call("NodeGetVolumeStats");
        let started = Instant::now();
        let mut measure = Measure {
            metrics: &self.metrics,
            op: "stats",
            started,
            first: false,
            code: Code::Cancelled,
        };
        let result = self.stats(request.into_inner()).await;
        measure.code = result.as_ref().map_or_else(NodeError::code, |_| Code::Ok);
        Ok(Response::new(result?))
    }

    async fn node_get_info(
        &self,
        _: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        self.metrics.kubelet_call("NodeGetInfo");
        Ok(Response::new(NodeGetInfoResponse {
            node_id: self.config.node_name.clone(),
            ..NodeGetInfoResponse::default()
        }))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        self.metrics.kubelet_call("NodeGetCapabilities");
        let capability = |kind: rpc::Type| NodeServiceCapability {
            r#type: Some(Type::Rpc(Rpc {
                r#type: kind.into(),
            })),
        };
        let capabilities = vec![
            capability(rpc::Type::VolumeMountGroup),
            capability(rpc::Type::GetVolumeStats),
        ];
        Ok(Response::new(NodeGetCapabilitiesResponse { capabilities }))
    }

    async fn node_stage_volume(
        &self,
        _: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        Err(Status::unimplemented("inline volumes are not staged"))
    }

    async fn node_unstage_volume(
        &self,
        _: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        Err(Status::unimplemented("inline volumes are not staged"))
    }

    async fn node_expand_volume(
        &self,
        _: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        Err(Status::unimplemented(
            "volumes follow the size of their content",
        ))
    }
}

/// Records a call when it ends, also when the caller goes away.
struct Measure<'service> {
    metrics: &'service Metrics,
    op: &'static str,
    started: Instant,
    first: bool,
    code: Code,
}

impl Drop for Measure<'_> {
    fn drop(&mut self) {
        self.metrics
            .operation(self.op, self.first, self.code, self.started.elapsed());
    }
}

/// How long a call may take: the caller's deadline less [`MARGIN`]; of a short one, half.
fn wait(metadata: &MetadataMap) -> Duration {
    let timeout = metadata
        .get("grpc-timeout")
        .and_then(|value| parse_timeout(value.to_str().ok()?))
        .unwrap_or(MAX_WAIT)
        .min(MAX_WAIT);
    timeout.saturating_sub(MARGIN).max(timeout / 2)
}

/// The header as the gRPC protocol over HTTP/2 writes it: at most eight digits and a unit.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value = digits.parse::<u64>().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

fn as_signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic::metadata::MetadataMap;

    use super::wait;

    /// csi.md 2.2: min(grpc-timeout, 120 s) - 5 s; csi-sanity sends no deadline.
    #[test]
    fn the_answer_comes_before_the_callers_deadline() {
        let table = [
            (None, 115_000),
            (Some("119990m"), 114_990),
            (Some("2M"), 115_000),
            (Some("1H"), 115_000),
            (Some("10S"), 5_000),
            (Some("100m"), 50),
            (Some("1000000n"), 0),
            (Some("S"), 115_000),
            (Some("-1S"), 115_000),
            (Some("123456789S"), 115_000),
            (Some("5x"), 115_000),
        ];
        for (header, expected) in table {
            let mut metadata = MetadataMap::new();
            if let Some(header) = header {
                metadata.insert("grpc-timeout", header.parse().unwrap());
            }
            assert_eq!(
                wait(&metadata).as_millis(),
                Duration::from_millis(expected).as_millis(),
                "{header:?}"
            );
        }
    }
}

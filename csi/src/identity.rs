//! The Identity service: GetPluginInfo, GetPluginCapabilities, Probe.

use std::collections::BTreeMap;
use std::sync::Arc;

use latchkey_proto::csi::v1::identity_server::Identity;
use latchkey_proto::csi::v1::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest,
    GetPluginInfoResponse, ProbeRequest, ProbeResponse,
};
use tonic::{Request, Response, Status};

use crate::config::Config;
use crate::metrics::Metrics;
use crate::status::Health;

pub(crate) struct IdentityService {
    pub(crate) config: Arc<Config>,
    pub(crate) metrics: Metrics,
    pub(crate) health: Arc<Health>,
}

#[tonic::async_trait]
impl Identity for IdentityService {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        self.metrics.kubelet_call("GetPluginInfo");
        let mut manifest = BTreeMap::new();
        if !self.config.commit.is_empty() {
            manifest.insert("commit".to_owned(), self.config.commit.clone());
        }
        let (name, vendor_version) = (self.config.driver_name.clone(), self.config.version.clone());
        Ok(Response::new(GetPluginInfoResponse {
            name,
            vendor_version,
            manifest,
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        self.metrics.kubelet_call("GetPluginCapabilities");
        Ok(Response::new(GetPluginCapabilitiesResponse::default()))
    }

    /// Fails only where the agent can never serve; a provider that is down is no reason (csi.md 1).
    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        self.metrics.kubelet_call("Probe");
        match self.health.unfit() {
            Some(reason) => Err(Status::failed_precondition(reason)),
            None => Ok(Response::new(ProbeResponse { ready: Some(true) })),
        }
    }
}
